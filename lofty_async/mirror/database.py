"""The protocol of the databases of a mirror, and the records that go in and out of them."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import field, frozen

from lofty_async.models import CalendarEntry, Task

from .decide import ClassCount, Reason, TaskFacts
from .sinks import Changes, Merged

ALL_LEADS: Final = "all"
"""The scope of a run that is about every lead."""
RESUME_WITHIN: Final = 6 * 3600.0
"""Seconds for which a lead that an interrupted run has read counts as read."""
LEASE_SECONDS: Final = 60.0
"""Seconds after which a run that gives no sign of life is taken for dead."""
POLL_SECONDS: Final = 1.0
CHANGES_A_READ: Final = 500


class ChangeKind(StrEnum):
    """The way in which a task has changed; of several, the first of moved, finished or reopened, and updated."""

    CREATED = "created"
    UPDATED = "updated"
    FINISHED = "finished"
    REOPENED = "reopened"
    MOVED = "moved"
    DELETED = "deleted"


@frozen(kw_only=True)
class Change:
    """A change of the mirror's table `tasks`.

    `task` is the row after it, `None` for a deleted one; `before` the row before it, `None` for a created one. `seq`
    increases with every change; `at` is the time of the mirror's write, in UTC.
    """

    seq: int
    at: datetime
    kind: ChangeKind
    task: Task | None
    before: Task | None


class Phase(StrEnum):
    """The part of a run that is under way; each begins once the one before it is complete."""

    LISTING = "listing"
    SWEEPING = "sweeping"
    PROVING = "proving"
    DONE = "done"


@frozen(kw_only=True)
class Run:
    """A run of a sync.

    `scope` is `all`, or names some leads. `strategy` is `None` until it is chosen. `ended_at` is `None` while it runs,
    and after it was interrupted. `cycle` numbers the runs over all leads. `report` is what the run counted at its end.
    """

    number: int
    cycle: int
    scope: str
    strategy: str | None
    phase: Phase
    started_at: datetime
    ended_at: datetime | None = None
    host: str | None = None
    process: int | None = None
    report: Mapping[str, Any] | None = None
    is_resumed: bool = False


def _machine() -> str:
    """The boot and the process namespace: within one of these, a process id names one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@frozen
class Holder:
    """The process that holds a claim; `machine` tells the sets of process ids apart, `""` if that is not known."""

    host: str = field(factory=socket.gethostname)
    process: int = field(factory=os.getpid)
    machine: str = field(factory=_machine)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended: only of a process of this machine."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
            state = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return state.split()[0] == "Z"  # a killed process that its parent has not waited for keeps its id


@frozen
class ListPage:
    """The place of a page in one of the API's lists, kept with its records so that a killed run goes on behind it.

    `cursor` is where the next page begins. `is_complete` says of the list of leads that no lead is missing from it.
    `note` is a number to keep.
    """

    list: str
    cursor: str | None
    records: int = 0
    is_done: bool = False
    is_complete: bool = False
    note: int | None = None


@frozen(kw_only=True)
class Summary:
    """Counts of a database: rows, those that reading their lead has confirmed, and the oldest proof of a lead."""

    tasks: int = 0
    proven: int = 0
    leads: int = 0
    users: int = 0
    oldest_proof: datetime | None = None


class Database(Protocol):
    """A mirror's tables. Every method is one transaction.

    A run claims the database first. While it holds the claim, the methods that write raise SyncRunningError if
    another process has taken the claim over.
    """

    async def claim(self, scope: str, *, strategy: str | None, fresh: bool, resume_within: float) -> Run:
        """Begins a run, or goes on with the last one of this scope that was interrupted in the last seconds.

        Raises: SyncRunningError if a run is under way.
        """
        ...

    async def renew(self) -> None:
        """Keeps the claim for another minute."""
        ...

    async def set_phase(self, phase: Phase, strategy: str) -> None: ...

    async def release(self) -> None:
        """Gives the claim up; the run is interrupted and can be resumed."""
        ...

    async def abandon(self) -> None:
        """Ends the run without a result, so that the next one begins anew."""
        ...

    async def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        """Ends the run and gives the claim up; after a sweep, takes over which lists show each task."""
        ...

    async def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        ...

    async def cycles_since_sweep(self) -> int | None:
        """The number of runs over all leads since the last that swept the lists; `None` if none did."""
        ...

    async def is_first(self) -> bool:
        """Whether no run over all leads has ended yet."""
        ...

    async def list_pages(self) -> dict[str, ListPage]:
        """The last page of each list that this run has read."""
        ...

    async def note_leads(self, leads: Mapping[int, int | None], page: ListPage) -> None:
        """Notes leads that the API lists, each with the user it is assigned to."""
        ...

    async def note_tasks(self, tasks: Sequence[Task], unread: Collection[int], page: ListPage) -> Changes[int]:
        """Notes tasks that my-tasks shows, and takes over those that differ, as unproven rows."""
        ...

    async def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        """Notes entries that the calendar shows, and where they differ from rows; new ones are kept as told."""
        ...

    async def users(self) -> frozenset[int]:
        """The users to whom leads or tasks are assigned."""
        ...

    async def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        """Those of the tasks that a list has shown in this run."""
        ...

    async def shown(self) -> dict[int, tuple[int, int]]:
        """For each list's bit, the number of rows that it showed before this run, and of those in this run."""
        ...

    async def facts(self) -> list[TaskFacts]:
        """The tasks that need a decision: lost, new or differing ones, and those that no list shows; grouped."""
        ...

    async def ages(self) -> dict[int, int]:
        """The number of leads that are not due, by the number of cycles since they were read."""
        ...

    async def unlisted(self) -> frozenset[int]:
        """The leads of rows that this run's list of leads lacks."""
        ...

    async def strangers(self) -> frozenset[int]:
        """The leads that were read before and that this run's list of leads lacks."""
        ...

    async def request_reads(self, reads: Mapping[int, Reason]) -> None:
        """Makes leads due."""
        ...

    async def request_oldest(self, count: int) -> None:
        """Makes due the leads whose last proof is oldest."""
        ...

    async def request_all(self) -> None:
        """Makes every lead due."""
        ...

    async def due(self, *, resume_within: float) -> tuple[list[int], int]:
        """The leads that are due and not read, and the number of those that are read."""
        ...

    async def done(self, *, resume_within: float) -> frozenset[int]:
        """The leads that this run has read in the last seconds."""
        ...

    async def leads(self) -> frozenset[int]:
        """The leads of the rows."""
        ...

    async def known_leads(self) -> frozenset[int]:
        """The leads of the rows, and those that a list of leads has shown."""
        ...

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates the rows of leads that were read, but for those in doubt; those done are proven."""
        ...

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone."""
        ...

    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id."""
        ...

    async def changes(self, since: int = 0, limit: int = 500) -> list[Change]:
        """The changes after the one numbered `since`."""
        ...

    async def classes(self) -> list[ClassCount]:
        """The rows by class, and which lists showed them in the last sweep."""
        ...

    async def every_run(self) -> int:
        """The number of leads with open tasks that no list showed in the last sweep."""
        ...

    async def summary(self) -> Summary: ...


async def read_changes(database: Database, since: int = 0, *, follow: bool = False) -> AsyncGenerator[Change, None]:
    """Yields the changes after the one numbered `since`, oldest first; with `follow`, also those to come."""
    while True:
        changes = await database.changes(since, CHANGES_A_READ)
        for change in changes:
            since = change.seq
            yield change
        if not changes and not follow:
            return
        if not changes:
            await asyncio.sleep(POLL_SECONDS)
