"""The database of a mirror: five members that each kind has of its own, and all that is built on them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from lofty_async import _checks
from lofty_async.models import CalendarEntry, Task

from . import sources
from .decide import ClassCount, Reason, TaskFacts
from .dialects import Dialect
from .lists import Lists
from .records import Change, ListPage, Phase, Run, Summary
from .rows import Rows
from .runs import ABANDON, END, FORGET, RELEASE, RENEW, SET_PHASE, Claim, Runs, end_values, update
from .sinks import Changes, Merged
from .sources import Source
from .statements import NOW, Work

T = TypeVar("T")

POLL_SECONDS: Final = 1.0
CHANGES_A_READ: Final = 500
LONGEST_AGE: Final = timedelta(days=36_500)


class Database(ABC):
    """The mirror of one account; `SqliteDatabase` and `PostgresDatabase` are the kinds.

    A kind of database has `account`, `dialect`, `async with` that opens and closes it, `transact` and `read`. Every
    other method is one transaction, written once for all kinds, and runs to its end even if its caller is cancelled.

    A run claims the database first. While it holds the claim, the methods that write raise SyncRunningError if
    another process has taken the claim over.
    """

    def __init__(self, account: str, dialect: Dialect) -> None:
        self.account, self.dialect = account, dialect
        self._rows, self._runs = Rows(dialect), Runs(dialect)
        self._lists = Lists(self._rows)
        self._claim: Claim | None = None
        self._scope: str | None = None
        """The scope of the run that is claimed and has not begun."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def transact(self, work: Work[T]) -> T:
        """Runs work as a transaction, and to its end even if the caller is cancelled.

        Transactions of one account take turns, also those of other processes.
        """

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Runs work that writes nothing."""

    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return await self.read(self._rows.tasks(lead_id))

    async def leads(self) -> frozenset[int]:
        """The leads of the rows."""
        return await self.read(self._lists.leads())

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks; returns the changes."""

        def work(now: Any) -> Work[Changes[int]]:
            changes = yield from self._rows.replace(leads, now)
            yield from self._rows.prove_leads(leads, self._run, now)
            return changes

        return await self._write(work)

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates the rows of leads that were read, but for those in doubt; those done are proven."""

        def work(now: Any) -> Work[Merged]:
            result = yield from self._rows.merge(leads, now)
            proven = set(done) - {doubt.lead_id for doubt in result.doubts}
            yield from self._rows.prove_leads(proven, self._run, now)
            return result

        return await self._write(work)

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone."""

        def work(now: Any) -> Work[Changes[int]]:
            changes = yield from self._rows.settle(moved, gone, now)
            yield from self._rows.prove_leads(done, self._run, now)
            return changes

        return await self._write(work)

    async def changes(self, since: int = 0, limit: int = 500) -> list[Change]:
        """The changes after the one numbered `since`, at most `limit`.

        Raises: ChangesPrunedError if some of these were removed; InvalidRequestError if `since` is beyond the last.
        """
        since = _checks.within("since", since, 0, _checks.LARGEST_ID)
        return await self.read(self._rows.changes(since, _limited(limit)))

    async def prune_changes(self, older_than: timedelta) -> int:
        """Removes the changes that were written longer ago than that; returns their number.

        Raises: InvalidRequestError if it is no duration, or a negative one.
        """
        age = min(checked_age("older_than", older_than), LONGEST_AGE)

        def work() -> Work[int]:
            ((now,),) = yield NOW
            before = self.dialect.from_time(now) - age
            return (yield from self._rows.prune(self.dialect.to_time(before)))

        return await self.transact(work())

    async def summary(self) -> Summary:
        """Counts of the rows and leads."""
        return await self.read(self._lists.summary())

    async def check(self, source: Source, *, allow_new_server: bool = False) -> None:
        """Whether a run over this source could begin.

        Raises: OtherAccountError if the rows are another's; SyncRunningError if a run is under way.
        """

        def work() -> Work[None]:
            yield from sources.check(source, allow_new_server=allow_new_server)
            ((now,),) = yield NOW
            yield from self._runs.interrupted(now)

        await self.read(work())

    async def adopt(self, source: Source, *, allow_new_server: bool = False) -> None:
        """Notes whose rows are to come, and begins the run that is claimed, if it has not begun.

        Raises: OtherAccountError if the rows held are another's.
        """

        def work(_: Any) -> Work[None]:
            yield from sources.adopt(source, allow_new_server=allow_new_server)
            yield from self._begin()

        await self._with_claim(self._write(work))

    async def claim(
        self, scope: str, *, strategy: str | None, fresh: bool, resume_within: float, begin: bool = True
    ) -> Run:
        """Begins a run, or goes on with the last one of this scope that was interrupted in the last seconds.

        Without `begin`, a new run begins with `adopt`; until then it can be given up without a trace.

        Raises: SyncRunningError if a run is under way.
        """

        def work() -> Work[Run]:
            ((now,),) = yield NOW
            run, self._claim = yield from self._runs.claim(scope, strategy, -1.0 if fresh else resume_within, now)
            self._scope = None if run.is_resumed else scope
            if begin:
                yield from self._begin()
            return run

        return await self._with_claim(self.transact(work()))

    async def renew(self) -> None:
        """Keeps the claim, which otherwise ends some seconds after the last call."""
        await self._write(lambda now: update(self._claim, RENEW, now=now))

    async def set_phase(self, phase: Phase, strategy: str) -> None:
        """Notes the phase that the run has come to."""
        values = {"phase": phase.value, "strategy": strategy}
        await self._write(lambda _: update(self._claim, SET_PHASE, **values))

    async def release(self) -> None:
        """Gives the claim up; the run is interrupted and can be resumed."""

        def work() -> Work[None]:
            ((now,),) = yield NOW
            yield from self._leave(RELEASE if self._scope is None else FORGET, now=now)

        await self.transact(work())

    async def abandon(self) -> None:
        """Ends the run without a result, so that the next one begins anew."""
        await self._with_claim(self._write(lambda now: self._leave(ABANDON, now=now)))

    async def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        """Ends the run and gives the claim up; after a sweep, takes over which lists show each task."""

        def work(now: Any) -> Work[None]:
            if was_swept:
                yield from self._lists.take_over_sightings(self._run)
            yield from self._leave(END, now=now, was_swept=was_swept, **end_values(report))

        await self._with_claim(self._write(work))

    async def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        return await self.read(self._runs.latest(_limited(limit)))

    async def cycles_since_sweep(self) -> int | None:
        """The number of runs over all leads since the last that swept the lists; `None` if none did."""
        return await self.read(self._runs.cycles_since_sweep())

    async def is_first(self) -> bool:
        """Whether no run over all leads has ended yet."""
        return await self.read(self._runs.is_first())

    async def list_pages(self) -> dict[str, ListPage]:
        """The last page of each list that this run has read."""
        return await self.read(self._lists.pages())

    async def note_leads(self, leads: Mapping[int, int | None], page: ListPage) -> None:
        """Notes leads that the API lists, each with the user it is assigned to."""
        await self._write(lambda _: self._lists.note_leads(leads, page, self._run))

    async def note_tasks(self, tasks: Sequence[Task], unread: Collection[int], page: ListPage) -> Changes[int]:
        """Notes tasks that my-tasks shows, and takes over those that differ, as unproven rows."""
        return await self._write(lambda now: self._lists.note_tasks(tasks, unread, page, self._run, now))

    async def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        """Notes tasks that the calendar shows, and where they differ from rows; with `keep_new`, adds new ones."""
        return await self._write(
            lambda now: self._lists.note_entries(entries, unread, page, keep_new=keep_new, now=now)
        )

    async def users(self) -> frozenset[int]:
        """The users to whom leads or tasks are assigned."""
        return await self.read(self._lists.users())

    async def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        """Those of the tasks that a list has shown in this run."""
        return await self.read(self._lists.sighted(ids))

    async def shown(self) -> dict[int, tuple[int, int]]:
        """For each list's bit, the number of rows that it showed before this run, and of tasks in this run."""
        return await self.read(self._lists.shown())

    async def facts(self) -> list[TaskFacts]:
        """The tasks that need a decision: lost, new or differing ones, and those that no list shows; grouped."""
        return await self.read(self._lists.facts())

    async def ages(self) -> dict[int, int]:
        """The number of listed leads that are not due, by the number of cycles since they were read."""
        return await self.read(self._lists.ages(self._run))

    async def unlisted(self) -> frozenset[int]:
        """The leads of rows that this run's list of leads lacks."""
        return await self.read(self._lists.unlisted(self._run))

    async def strangers(self) -> frozenset[int]:
        """The leads that were read before and that this run's list of leads lacks."""
        return await self.read(self._lists.strangers(self._run))

    async def request_reads(self, reads: Mapping[int, Reason]) -> None:
        """Makes leads due."""
        await self._write(lambda _: self._lists.request_reads(reads, self._run))

    async def request_oldest(self, count: int) -> None:
        """Makes due the leads whose last proof is oldest."""
        await self._write(lambda _: self._lists.request_oldest(count, self._run))

    async def request_all(self) -> None:
        """Makes every lead due: those listed, and those of rows."""
        await self._write(lambda _: self._lists.request_all(self._run))

    async def due(self, *, resume_within: float) -> tuple[list[int], int]:
        """The leads that are due and not read in the last seconds of this run, and the number of those that are."""
        return await self.read(self._lists.due(self._run, resume_within))

    async def done(self, *, resume_within: float) -> frozenset[int]:
        """The leads that this run has read in the last seconds."""
        return await self.read(self._lists.done(self._run, resume_within))

    async def known_leads(self) -> frozenset[int]:
        """The leads of the rows, and those that a list of leads has shown."""
        return await self.read(self._lists.known_leads())

    async def classes(self) -> list[ClassCount]:
        """The rows by class, and which lists showed them in the last sweep."""
        return await self.read(self._lists.classes())

    async def every_run(self) -> int:
        """The number of leads with open tasks that no list showed in the last sweep."""
        return await self.read(self._lists.every_run())

    @property
    def _run(self) -> int | None:
        """The run that is claimed."""
        return None if self._claim is None else self._claim.run

    async def _write(self, work: Callable[[Any], Work[T]]) -> T:
        """Runs work that takes the time, unless another process has taken over the claim."""

        def checked() -> Work[T]:
            now = yield from self._runs.enter(self._claim)
            return (yield from work(now))

        return await self.transact(checked())

    async def _with_claim(self, writing: Awaitable[T]) -> T:
        """Waits for a transaction that changes the claim; one that fails leaves the claim as it was."""
        held = self._claim, self._scope
        try:
            return await writing
        except Exception:  # a caller that is cancelled ends no transaction
            self._claim, self._scope = held
            raise

    def _begin(self) -> Work[None]:
        if self._claim is not None and self._scope is not None:
            yield from self._runs.begin(self._claim, self._scope)
            self._scope = None

    def _leave(self, sql: str, **values: Any) -> Work[None]:
        yield from update(self._claim, sql, **values)
        self._claim = self._scope = None


def _limited(limit: object) -> int:
    return _checks.within("limit", limit, 0, _checks.LARGEST_ID)


def checked_age(argument: str, value: object) -> timedelta:
    age = _checks.instance(argument, value, timedelta)
    if age < timedelta(0):
        raise _checks.refuse(argument, f"must not be negative, but is {age}")
    return age


async def read_changes(
    database: Database, since: int | None = 0, *, follow: bool = False
) -> AsyncGenerator[Change, None]:
    """Yields the changes after the one numbered `since`, oldest first; with `follow`, also those to come.

    `None` begins with the oldest that is kept.

    Raises: ChangesPrunedError if changes after `since` were removed; InvalidRequestError if it is beyond the last.
    """
    if since is None:
        since = (await database.summary()).pruned_changes
    while True:
        changes = await database.changes(since, CHANGES_A_READ)
        for change in changes:
            since = change.seq
            yield change
        if not changes and not follow:
            return
        if not changes:
            await asyncio.sleep(POLL_SECONDS)
