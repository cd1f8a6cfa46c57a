"""The mirror's database in PostgreSQL, where one database holds the mirrors of many accounts."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import wraps
from types import CoroutineType, TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async.errors import LoftyError
from lofty_async.models import CalendarEntry, Task

from .database import Change, ListPage, Phase, Run, Summary
from .decide import ClassCount, Reason, TaskFacts
from .postgres_lists import Lists
from .postgres_rows import Rows
from .postgres_runs import Runs
from .postgres_schema import ADD_COLUMNS, CREATE, VERSION
from .postgres_session import Session
from .sinks import Changes, Merged

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA: Final = "lofty"
SCHEMA_LOCK: Final = 0x4C6F667479
"""The advisory lock of making the tables."""
JOIN: Final = "INSERT INTO accounts (account) VALUES (%(account)s) ON CONFLICT DO NOTHING"
TAKE_TURN: Final = "SELECT 1 FROM accounts WHERE account = %(account)s FOR UPDATE"
ANALYZE: Final = "ANALYZE tasks, leads, changes, sightings"
ANALYZE_AFTER: Final = 500
"""New rows after which the planner is told how many there are; twice as many each time."""
HINT: Final = 'PostgresDatabase needs its extra: pip install "lofty-async[postgres]"'


def whole(
    method: "Callable[Concatenate[PostgresDatabase, P], Coroutine[Any, Any, T]]",
) -> "Callable[Concatenate[PostgresDatabase, P], CoroutineType[Any, Any, T]]":
    """Makes a method run to its end even if its caller is cancelled, one after the other.

    It raises RuntimeError while the database is not open.
    """

    @wraps(method)
    async def call(self: "PostgresDatabase", *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(lambda: method(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage] - its half

    return cast("Callable[Concatenate[PostgresDatabase, P], CoroutineType[Any, Any, T]]", call)


class PostgresDatabase:
    """The mirror of an account in PostgreSQL; needs the extra `postgres`.

    The tables are those of `SqliteDatabase`, in the schema `lofty`, which is made when it is missing, with a column
    `account` in every key: `tasks`, `leads`, `changes` and `runs`. Times are `timestamptz`; `changes` has `jsonb`, and
    its `seq` counts the changes of each account. `account` is a name of your own.

    Use it as `async with PostgresDatabase(dsn, account=…) as database`: it has one connection. Writers of one account
    take turns; runs of one account exclude each other by the server's clock, so that processes on many machines may
    share a database. `now` replaces that clock.

    Raises: psycopg.Error if the server cannot be reached or refuses; LoftyError if the tables are a later version's;
    ModuleNotFoundError without the extra.
    """

    def __init__(self, dsn: str, *, account: str, now: Callable[[], datetime] | None = None) -> None:
        self._dsn = hidden(_checks.text("dsn", dsn))
        self.account = _checks.text("account", account)
        self._now = now
        self._session: Session | None = None
        self._turn = asyncio.Lock()
        self._added, self._analyze_at = 0, ANALYZE_AFTER
        self._runs: Runs
        self._rows: Rows
        self._lists: Lists

    async def __aenter__(self) -> Self:
        try:
            from psycopg import AsyncConnection  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(HINT, name="psycopg") from error
        connection = await AsyncConnection.connect(self._dsn, autocommit=True)
        session = Session(connection, self.account, self._now)
        try:
            await _prepare(session)
        except BaseException:
            await connection.close()
            raise
        self._session, self._runs, self._rows = session, Runs(session), Rows(session)
        self._lists = Lists(session, self._rows)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finishes the write under way and closes the connection; closing twice is no error."""
        session, self._session = self._session, None
        if session is not None:
            async with self._turn:
                await session.connection.close()

    @whole
    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return await self._rows.tasks(lead_id)

    @whole
    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks, in one transaction; returns the changes."""
        async with self._writing():
            changes = await self._rows.replace_all(leads)
            await self._rows.prove_leads(leads, self._runs.number)
        return await self._counted(changes)

    @whole
    async def leads(self) -> frozenset[int]:
        """The leads of the rows."""
        return await self._lists.leads()

    @whole
    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates rows of leads that were read in one transaction, but for those in doubt; removes none."""
        async with self._writing():
            result = await self._rows.merge_all(leads)
            proven = set(done) - {doubt.lead_id for doubt in result.doubts}
            await self._rows.prove_leads(proven, self._runs.number)
        await self._counted(result.changes)
        return result

    @whole
    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone, in one transaction."""
        async with self._writing():
            changes = await self._rows.settle(moved, gone)
            await self._rows.prove_leads(done, self._runs.number)
        return changes

    @whole
    async def changes(self, since: int = 0, limit: int = 500) -> list[Change]:
        """The changes after the one numbered `since`, at most `limit`."""
        return await self._rows.changes(since, limit)

    @whole
    async def claim(self, scope: str, *, strategy: str | None, fresh: bool, resume_within: float) -> Run:
        """Begins a run, or goes on with the last one of this scope that was interrupted in the last seconds.

        Raises: SyncRunningError if a run is under way.
        """
        async with self._in_turn():
            return await self._runs.begin(scope, strategy, -1.0 if fresh else resume_within)

    @whole
    async def renew(self) -> None:
        """Keeps the claim for another minute."""
        async with self._in_turn():
            await self._runs.renew()

    @whole
    async def set_phase(self, phase: Phase, strategy: str) -> None:
        """Notes the phase that the run has come to."""
        async with self._in_turn():
            await self._runs.set_phase(phase, strategy)

    @whole
    async def release(self) -> None:
        """Gives the claim up; the run can be resumed."""
        async with self._in_turn():
            await self._runs.release()

    @whole
    async def abandon(self) -> None:
        """Ends the run without a result, so that the next one begins anew."""
        async with self._in_turn():
            await self._runs.abandon()

    @whole
    async def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        """Ends the run; after a sweep, takes over which lists show each task."""
        async with self._writing():
            if was_swept:
                await self._lists.take_over_sightings(self._runs.number)
            await self._runs.end(report, was_swept=was_swept)

    @whole
    async def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        return await self._runs.latest(limit)

    @whole
    async def cycles_since_sweep(self) -> int | None:
        """The number of runs over all leads since the last that swept the lists; `None` if none did."""
        return await self._runs.cycles_since_sweep()

    @whole
    async def is_first(self) -> bool:
        """Whether no run over all leads has ended yet."""
        return await self._runs.is_first()

    @whole
    async def list_pages(self) -> dict[str, ListPage]:
        """The last page of each list that the run has read."""
        return await self._lists.pages()

    @whole
    async def note_leads(self, leads: Mapping[int, int | None], page: ListPage) -> None:
        """Notes leads that the API lists, each with the user it is assigned to."""
        async with self._writing():
            await self._lists.note_leads(leads, page, self._runs.number)

    @whole
    async def note_tasks(self, tasks: Sequence[Task], unread: Collection[int], page: ListPage) -> Changes[int]:
        """Notes tasks that my-tasks shows, and takes over those that differ, as unproven rows."""
        async with self._writing():
            changes = await self._lists.note_tasks(tasks, unread, page, self._runs.number)
        return await self._counted(changes)

    @whole
    async def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        """Notes tasks that the calendar shows, and where they differ from rows; with `keep_new`, adds new ones."""
        async with self._writing():
            return await self._lists.note_entries(entries, unread, page, keep_new=keep_new)

    @whole
    async def users(self) -> frozenset[int]:
        """The users to whom leads or tasks are assigned."""
        return await self._lists.users()

    @whole
    async def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        """Those of the tasks that a list has shown in this run."""
        return await self._lists.sighted(ids)

    @whole
    async def shown(self) -> dict[int, tuple[int, int]]:
        """For each list's bit, the number of rows that it showed before this run, and of tasks in this run."""
        return await self._lists.shown()

    @whole
    async def facts(self) -> list[TaskFacts]:
        """The tasks that need a decision, grouped."""
        return await self._lists.facts()

    @whole
    async def ages(self) -> dict[int, int]:
        """The number of listed leads that are not due, by the number of cycles since they were read."""
        return await self._lists.ages(self._runs.number)

    @whole
    async def unlisted(self) -> frozenset[int]:
        """The leads of rows that this run's list of leads lacks."""
        return await self._lists.unlisted(self._runs.number)

    @whole
    async def strangers(self) -> frozenset[int]:
        """The leads that were read before and that this run's list of leads lacks."""
        return await self._lists.strangers(self._runs.number)

    @whole
    async def request_reads(self, reads: Mapping[int, Reason]) -> None:
        """Makes leads due."""
        async with self._writing():
            await self._lists.request_reads(reads, self._runs.number)

    @whole
    async def request_oldest(self, count: int) -> None:
        """Makes due the leads whose last proof is oldest."""
        async with self._writing():
            await self._lists.request_oldest(count, self._runs.number)

    @whole
    async def request_all(self) -> None:
        """Makes every lead due: those listed, and those of rows."""
        async with self._writing():
            await self._lists.request_all(self._runs.number)

    @whole
    async def due(self, *, resume_within: float) -> tuple[list[int], int]:
        """The leads that are due and not read in the last seconds of this run, and the number of those that are."""
        return await self._lists.due(self._runs.number, resume_within)

    @whole
    async def done(self, *, resume_within: float) -> frozenset[int]:
        """The leads that the run has read in the last seconds."""
        return await self._lists.done(self._runs.number, resume_within)

    @whole
    async def known_leads(self) -> frozenset[int]:
        """The leads of the rows, and those that a list of leads has shown."""
        return await self._lists.known_leads()

    @whole
    async def classes(self) -> list[ClassCount]:
        """The rows by class, and which lists showed them in the last sweep."""
        return await self._lists.classes()

    @whole
    async def every_run(self) -> int:
        """The number of leads with open tasks that no list showed in the last sweep."""
        return await self._lists.every_run()

    @whole
    async def summary(self) -> Summary:
        """Counts of the rows and leads."""
        return await self._lists.summary()

    async def _counted(self, changes: Changes[int]) -> Changes[int]:
        """Lets the server count its rows while a mirror grows: until then it takes the slowest ways to them."""
        self._added += len(changes.added)
        if self._session is not None and self._added >= self._analyze_at:
            self._analyze_at = 2 * self._added
            await self._session.run(ANALYZE)
        return changes

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._session is None:
            raise RuntimeError("the database is not open: use it in `async with PostgresDatabase(dsn, …) as database`")
        return await asyncio.shield(asyncio.ensure_future(self._in_order(work)))

    async def _in_order(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            return await work()

    @asynccontextmanager
    async def _in_turn(self) -> AsyncGenerator[None, None]:
        """A transaction that other writers of the account wait for."""
        assert self._session is not None, "only an open database calls its methods"  # noqa: S101 - `_call` sees to it
        async with self._session.connection.transaction():
            await self._session.run(TAKE_TURN)
            yield

    @asynccontextmanager
    async def _writing(self) -> AsyncGenerator[None, None]:
        """The same, if no other process's claim has come before."""
        async with self._in_turn():
            await self._runs.check()
            yield


async def _prepare(session: Session) -> None:
    """Makes the tables and columns that are missing.

    Raises: LoftyError if they are a later version's.
    """
    async with session.connection.transaction():
        await session.run("SELECT pg_advisory_xact_lock(%(lock)s)", lock=SCHEMA_LOCK)
        await session.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}".encode())
        await session.connection.execute(f"SET search_path TO {SCHEMA}".encode())
        await session.connection.execute(b"SET TIME ZONE 'UTC'")
        await session.connection.execute(CREATE.encode())
        ((version,),) = await session.all("SELECT max(version) FROM mirror")
        if version is None:
            await session.run("INSERT INTO mirror VALUES (%(version)s)", version=VERSION)
        elif version > VERSION:
            raise LoftyError(f"the tables are of form {version}, this version knows {VERSION}: upgrade lofty-async")
        await session.connection.execute(f"ALTER TABLE tasks {ADD_COLUMNS}".encode())
        await session.run(JOIN)
