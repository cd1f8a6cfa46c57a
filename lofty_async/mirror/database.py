"""The database of a mirror: five members that each kind has of its own, and all that is built on them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from lofty_async import _checks
from lofty_async.models import Task

from . import sources
from .dialects import Dialect
from .records import Change, Phase, Run, Summary
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
        self.rows, self._runs = Rows(dialect), Runs(dialect)
        self._claim: Claim | None = None

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

    async def transact_claimed(self, work: Callable[[Any], Work[T]]) -> T:
        """Runs work that takes the time as a transaction of the run that is claimed, if one is.

        Raises: SyncRunningError if another process has taken over the claim.
        """

        def checked() -> Work[T]:
            now = yield from self._runs.enter(self._claim)
            return (yield from work(now))

        return await self.transact(checked())

    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return await self.read(self.rows.tasks(lead_id))

    async def leads(self) -> frozenset[int]:
        """The leads of the rows."""
        return await self.read(self.rows.leads())

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks; returns the changes."""

        def work(now: Any) -> Work[Changes[int]]:
            changes = yield from self.rows.replace(leads, now)
            yield from self.rows.prove_leads(leads, self._run, now)
            return changes

        return await self.transact_claimed(work)

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates the rows of leads that were read, but for those in doubt; those done are proven."""

        def work(now: Any) -> Work[Merged]:
            result = yield from self.rows.merge(leads, now)
            proven = set(done) - {doubt.lead_id for doubt in result.doubts}
            yield from self.rows.prove_leads(proven, self._run, now)
            return result

        return await self.transact_claimed(work)

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone."""

        def work(now: Any) -> Work[Changes[int]]:
            changes = yield from self.rows.settle(moved, gone, now)
            yield from self.rows.prove_leads(done, self._run, now)
            return changes

        return await self.transact_claimed(work)

    async def changes(self, since: int = 0, limit: int = 500) -> list[Change]:
        """The changes after the one numbered `since`, at most `limit`.

        Raises: ChangesPrunedError if some of these were removed; InvalidRequestError if `since` is beyond the last.
        """
        since = _checks.within("since", since, 0, _checks.LARGEST_ID)
        return await self.read(self.rows.changes(since, _limited(limit)))

    async def prune_changes(self, older_than: timedelta) -> int:
        """Removes the changes that were written longer ago than that; returns their number.

        Raises: InvalidRequestError if it is no duration, or a negative one.
        """
        age = min(checked_age("older_than", older_than), LONGEST_AGE)

        def work() -> Work[int]:
            ((now,),) = yield NOW
            before = self.dialect.from_time(now) - age
            return (yield from self.rows.prune(self.dialect.to_time(before)))

        return await self.transact(work())

    async def summary(self) -> Summary:
        """Counts of the rows and leads."""
        return await self.read(self.rows.summary())

    async def check(self, source: Source, *, allow_new_server: bool = False) -> None:
        """Whether a run over this source could begin.

        Raises: OtherAccountError if the rows are another's; SyncRunningError if a run is under way.
        """

        def work() -> Work[None]:
            yield from sources.check(source, allow_new_server=allow_new_server)
            ((now,),) = yield NOW
            yield from self._runs.interrupted(now, self._claim)

        await self.read(work())

    async def adopt(self, source: Source, *, allow_new_server: bool = False) -> None:
        """Notes whose rows are to come, and begins the run that is claimed, if it has not begun.

        Raises: OtherAccountError if the rows held are another's.
        """

        def work() -> Work[None]:
            yield from self._runs.enter(self._claim)
            yield from sources.adopt(source, allow_new_server=allow_new_server)
            yield from self._begin()

        await self._change_claim(work())

    async def claim(
        self, scope: str, *, strategy: str | None, fresh: bool, resume_within: float, begin: bool = True
    ) -> Run:
        """Begins a run, or goes on with the last one of this scope that was interrupted in the last seconds.

        Without `begin`, a new run begins with `adopt`; until then it can be given up without a trace.

        Raises: SyncRunningError if a run is under way.
        """

        def work() -> Work[Run]:
            ((now,),) = yield NOW
            within = -1.0 if fresh else resume_within
            run, self._claim = yield from self._runs.claim(scope, strategy, within, now, self._claim)
            if begin:
                yield from self._begin()
            return run

        return await self._change_claim(work())

    async def renew(self) -> None:
        """Keeps the claim, which otherwise ends some seconds after the last call."""
        await self.transact_claimed(lambda now: update(self._claim, RENEW, now=now))

    async def set_phase(self, phase: Phase, strategy: str) -> None:
        """Notes the phase that the run has come to."""
        values = {"phase": phase.value, "strategy": strategy}
        await self.transact_claimed(lambda _: update(self._claim, SET_PHASE, **values))

    async def release(self, run: int | None = None) -> None:
        """Gives the claim up, unless it is of another run than that one; the run is interrupted and can be resumed."""

        def work() -> Work[None]:
            ((now,),) = yield NOW
            if self._claim is not None and run in {None, self._run}:
                yield from self._leave(RELEASE if self._claim.scope is None else FORGET, now=now)

        try:
            await self.transact(work())
        except Exception:  # whatever a kind of database raises that cannot be reached: there, the claim ends by itself
            if run in {None, self._run}:
                self._claim = None
            raise

    async def abandon(self) -> None:
        """Ends the run without a result, so that the next one begins anew."""

        def work() -> Work[None]:
            now = yield from self._runs.enter(self._claim)
            yield from self._leave(ABANDON, now=now)

        await self._change_claim(work())

    async def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        """Ends the run and gives the claim up; after a sweep, takes over which lists show each task."""

        def work() -> Work[None]:
            now = yield from self._runs.enter(self._claim)
            if was_swept:
                yield from self.rows.take_over_sightings(self._run)
            yield from self._leave(END, now=now, was_swept=was_swept, **end_values(report))

        await self._change_claim(work())

    async def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        return await self.read(self._runs.latest(_limited(limit)))

    @property
    def _run(self) -> int | None:
        """The run that is claimed."""
        return None if self._claim is None else self._claim.run

    async def _change_claim(self, work: Work[T]) -> T:
        """Runs work that changes the claim as a transaction; one that fails leaves the claim as it was."""
        before = after = self._claim

        def noted() -> Work[T]:
            nonlocal before, after
            before = self._claim  # as the transactions before this one have left it
            try:
                return (yield from work)
            finally:
                after = self._claim

        try:
            return await self.transact(noted())
        except Exception:  # a caller that is cancelled ends no transaction
            if self._claim is after:
                self._claim = before
            raise

    def _begin(self) -> Work[None]:
        if self._claim is not None and self._claim.scope is not None:
            self._claim = yield from self._runs.begin(self._claim)

    def _leave(self, sql: str, **values: Any) -> Work[None]:
        yield from update(self._claim, sql, **values)
        self._claim = None


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
