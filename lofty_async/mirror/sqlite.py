"""The mirror's database in an SQLite file, which one thread of its own talks to."""

import sqlite3
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from lofty_async.models import CalendarEntry, Task

from .database import Change, ListPage, Phase, Run, Summary
from .decide import ClassCount, Reason, TaskFacts
from .sinks import Changes, Merged, ThreadedSink, in_thread, merged
from .sqlite_lists import Lists, oldest_of
from .sqlite_rows import Rows
from .sqlite_runs import Runs
from .sqlite_schema import connect, transaction


def utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteDatabase(ThreadedSink):
    """The mirror of one account in an SQLite file.

    Table `tasks` has a row per task and a column per field of `Task`. Besides, `proven_at` is the time at which reading
    its lead confirmed the row as it stands, NULL for one that only a list has shown, and `shown_in` says which lists
    showed it in the last sweep: 1 my-tasks, 2 the calendar, 3 both. Table `leads` has in `proven_at` when each lead was
    last read, which confirmed all its rows. Table `changes` has every change of a task, as JSON before and after; table
    `runs` the runs. The other tables are the running sync's own.

    Times are text in UTC, as SQLite's own functions write it: `2026-03-01 23:00:00`, with milliseconds or
    microseconds only if there are any. So they sort as they are and compare with each other, with `datetime('now')`
    and with literals of that form: `WHERE end_at < '2026-03-08 06:30:00'`. Columns that hold none are NULL.

    Use it as `async with SqliteDatabase(path) as database`: one thread of its own talks to SQLite, so that the event
    loop never waits for a disk. A new file can be read by its owner alone; an existing one keeps its permissions.
    `now` is the clock, UTC.

    Raises: sqlite3.Error if the file cannot be opened, is no database, has tables of these names that are not a
    mirror's, has the form of another version, or cannot be written.
    """

    _connection: sqlite3.Connection
    _rows: Rows
    _runs: Runs
    _lists: Lists

    def __init__(self, path: str | PathLike[str], *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__()
        self.path = Path(path)
        self._now = now

    @in_thread
    def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return self._rows.tasks(lead_id)

    @in_thread
    def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks, in one transaction; returns the changes."""
        with self._writing():
            changes = [self._rows.replace(lead_id, tasks) for lead_id, tasks in leads.items()]
            self._rows.prove_leads(leads, self._runs.number)
        return merged(changes)

    @in_thread
    def leads(self) -> frozenset[int]:
        """The leads of the rows."""
        query = "SELECT DISTINCT lead_id FROM tasks WHERE lead_id IS NOT NULL"
        return frozenset(lead_id for (lead_id,) in self._connection.execute(query))

    @in_thread
    def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates rows of leads that were read in one transaction, but for those in doubt; removes none."""
        with self._writing():
            result = self._rows.merge_all(leads)
            self._rows.prove_leads(set(done) - {doubt.lead_id for doubt in result.doubts}, self._runs.number)
        return result

    @in_thread
    def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone, in one transaction."""
        with self._writing():
            changes = self._rows.settle(moved, gone)
            self._rows.prove_leads(done, self._runs.number)
        return changes

    @in_thread
    def changes(self, since: int = 0, limit: int = 500) -> list[Change]:
        """The changes after the one numbered `since`, at most `limit`."""
        return self._rows.changes(since, limit)

    @in_thread
    def claim(self, scope: str, *, strategy: str | None, fresh: bool, resume_within: float) -> Run:
        """Begins a run, or goes on with the last one of this scope that was interrupted in the last seconds.

        Raises: SyncRunningError if a run is under way.
        """
        with transaction(self._connection):
            return self._runs.begin(scope, strategy, -1.0 if fresh else resume_within)

    @in_thread
    def renew(self) -> None:
        """Keeps the claim for another minute."""
        with transaction(self._connection):
            self._runs.renew()

    @in_thread
    def set_phase(self, phase: Phase, strategy: str) -> None:
        """Notes the phase that the run has come to."""
        with transaction(self._connection):
            self._runs.set_phase(phase, strategy)

    @in_thread
    def release(self) -> None:
        """Gives the claim up; the run can be resumed."""
        with transaction(self._connection):
            self._runs.release()

    @in_thread
    def abandon(self) -> None:
        """Ends the run without a result, so that the next one begins anew."""
        with transaction(self._connection):
            self._runs.abandon()

    @in_thread
    def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        """Ends the run; after a sweep, takes over which lists show each task."""
        with self._writing():
            if was_swept:
                self._lists.take_over_sightings(self._runs.number)
            self._runs.end(report, was_swept=was_swept)

    @in_thread
    def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        return self._runs.latest(limit)

    @in_thread
    def cycles_since_sweep(self) -> int | None:
        """The number of runs over all leads since the last that swept the lists; `None` if none did."""
        return self._runs.cycles_since_sweep()

    @in_thread
    def is_first(self) -> bool:
        """Whether no run over all leads has ended yet."""
        return self._runs.is_first()

    @in_thread
    def list_pages(self) -> dict[str, ListPage]:
        """The last page of each list that the run has read."""
        return self._lists.pages()

    @in_thread
    def note_leads(self, leads: Mapping[int, int | None], page: ListPage) -> None:
        """Notes leads that the API lists, each with the user it is assigned to."""
        with self._writing():
            self._lists.note_leads(leads, page, self._runs.number)

    @in_thread
    def note_tasks(self, tasks: Sequence[Task], unread: Collection[int], page: ListPage) -> Changes[int]:
        """Notes tasks that my-tasks shows, and takes over those that differ, as unproven rows."""
        with self._writing():
            return self._lists.note_tasks(tasks, unread, page, self._runs.number)

    @in_thread
    def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        """Notes tasks that the calendar shows, and where they differ from rows; with `keep_new`, adds new ones."""
        with self._writing():
            return self._lists.note_entries(entries, unread, page, keep_new=keep_new)

    @in_thread
    def users(self) -> frozenset[int]:
        """The users to whom leads or tasks are assigned."""
        return self._lists.users()

    @in_thread
    def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        """Those of the tasks that a list has shown in this run."""
        return self._lists.sighted(ids)

    @in_thread
    def shown(self) -> dict[int, tuple[int, int]]:
        """For each list's bit, the number of rows that it showed before this run, and of tasks in this run."""
        return self._lists.shown()

    @in_thread
    def facts(self) -> list[TaskFacts]:
        """The tasks that need a decision, grouped."""
        return self._lists.facts()

    @in_thread
    def ages(self) -> dict[int, int]:
        """The number of listed leads that are not due, by the number of cycles since they were read."""
        return self._lists.ages(self._runs.number)

    @in_thread
    def unlisted(self) -> frozenset[int]:
        """The leads of rows that this run's list of leads lacks."""
        return self._lists.unlisted(self._runs.number)

    @in_thread
    def strangers(self) -> frozenset[int]:
        """The leads that were read before and that this run's list of leads lacks."""
        return self._lists.strangers(self._runs.number)

    @in_thread
    def request_reads(self, reads: Mapping[int, Reason]) -> None:
        """Makes leads due."""
        with self._writing():
            self._lists.request_reads(reads, self._runs.number)

    @in_thread
    def request_oldest(self, count: int) -> None:
        """Makes due the leads whose last proof is oldest."""
        with self._writing():
            self._lists.request_oldest(count, self._runs.number)

    @in_thread
    def request_all(self) -> None:
        """Makes every lead due: those listed, and those of rows."""
        with self._writing():
            self._lists.request_all(self._runs.number)

    @in_thread
    def due(self, *, resume_within: float) -> tuple[list[int], int]:
        """The leads that are due and not read in the last seconds of this run, and the number of those that are."""
        return self._lists.due(self._runs.number, oldest_of(self._now(), resume_within))

    @in_thread
    def done(self, *, resume_within: float) -> frozenset[int]:
        """The leads that the run has read in the last seconds."""
        return self._lists.done(self._runs.number, oldest_of(self._now(), resume_within))

    @in_thread
    def known_leads(self) -> frozenset[int]:
        """The leads of the rows, and those that a list of leads has shown."""
        return self._lists.known_leads()

    @in_thread
    def classes(self) -> list[ClassCount]:
        """The rows by class, and which lists showed them in the last sweep."""
        return self._lists.classes()

    @in_thread
    def every_run(self) -> int:
        """The number of leads with open tasks that no list showed in the last sweep."""
        return self._lists.every_run()

    @in_thread
    def summary(self) -> Summary:
        """Counts of the rows and leads."""
        return self._lists.summary()

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        """A transaction that another process's claim has not come before."""
        with transaction(self._connection):
            self._runs.check()
            yield

    def _open(self) -> None:
        self._connection = connect(self.path)
        self._rows = Rows(self._connection, self._now)
        self._runs = Runs(self._connection, self._now)
        self._lists = Lists(self._connection, self._rows)

    def _close(self) -> None:
        self._connection.close()
