"""The mirror's database in PostgreSQL, where one database holds the mirrors of many accounts."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from attrs import define, field

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async.errors import LoftyError

from .database import Database
from .dialects import POSTGRES
from .schema import VERSION, prepare, refusal
from .statements import NOW, Row, Statement, Work, drive_async, query

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

SCHEMA: Final = "lofty"
SCHEMA_LOCK: Final = 0x4C6F667479
"""The advisory lock of making the tables."""
PREPARE: Final = (
    f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})",
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"SET search_path TO {SCHEMA}",
    "SET TIME ZONE 'UTC'",
)
TAKE_TURN: Final = query("SELECT 1 FROM sources WHERE account = :account FOR UPDATE")
SERVER_TIME: Final = query("SELECT date_trunc('second', clock_timestamp())")
ANALYZE: Final = query("ANALYZE tasks, leads, changes, sightings")
ANALYZE_AFTER: Final = 500
"""New rows after which the planner is told how many there are; twice as many each time."""
HINT: Final = 'PostgresDatabase needs its extra: pip install "lofty-async[postgres]"'
REMEDY: Final = f"DROP SCHEMA {SCHEMA} CASCADE, and sync again"


@define(eq=False)
class Session:
    """A connection that works for one account; `clock` replaces the server's clock."""

    connection: "AsyncConnection[Row]"
    account: str
    clock: Callable[[], datetime] | None
    _written: int = field(default=0, init=False)
    _analyze_at: int = field(default=ANALYZE_AFTER, init=False)

    async def transact(self, work: Work[T]) -> T:
        async with self.connection.transaction():
            await self.execute(TAKE_TURN)
            result = await self.read(work)
        # The server counts its rows too late while a mirror grows: until then it takes the slowest ways to them.
        if self._written >= self._analyze_at:
            self._analyze_at = 2 * self._written
            await self.execute(ANALYZE)
        return result

    async def read(self, work: Work[T]) -> T:
        return await drive_async(work, self.execute)

    async def execute(self, statement: Statement) -> list[Row]:
        if statement is NOW and self.clock is not None:
            return [(self.clock(),)]
        text, own = _rendered((SERVER_TIME if statement is NOW else statement).sql), {"account": self.account}
        if statement.rows is None:
            cursor = await self.connection.execute(text, own | dict(statement.values))
            return await cursor.fetchall() if cursor.description else []
        self._written += len(statement.rows)
        async with self.connection.cursor() as cursor:
            await cursor.executemany(text, [own | dict(row) for row in statement.rows])
        return []

    async def prepare(self) -> None:
        """Raises: LoftyError if the tables are another version's."""
        async with self.connection.transaction():
            for text in PREPARE:
                await self.execute(query(text))
            version = await self.read(prepare(POSTGRES))
            if version != VERSION:
                raise LoftyError(refusal(version, f"the schema {SCHEMA}", REMEDY))


class PostgresDatabase(Database):
    """The mirror of an account in PostgreSQL; needs the extra `postgres`.

    The tables are those of `SqliteDatabase`, in the schema `lofty`, which is made when it is missing, with a column
    `account` in every key: `tasks`, `leads`, `changes` and `runs`. Times are `timestamptz`; `changes` has `jsonb`, and
    its `seq` counts the changes of each account. `account` is a name of your own, up
    to 200 characters.

    Use it as `async with PostgresDatabase(dsn, account=…) as database`: it has one connection. Writers of one account
    take turns; runs of one account exclude each other by the server's clock, so that processes on many machines may
    share a database. `now` replaces that clock.

    Raises: psycopg.Error if the server cannot be reached or refuses; InvalidRequestError if `dsn` cannot be read;
    LoftyError if the tables are another version's; ModuleNotFoundError without the extra.
    """

    def __init__(self, dsn: str, *, account: str, now: Callable[[], datetime] | None = None) -> None:
        super().__init__(_checks.account(account), POSTGRES)
        self._dsn = hidden(_checks.text("dsn", dsn))
        self._now = now
        self._session: Session | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            from psycopg import AsyncConnection  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(HINT, name="psycopg") from error
        check_dsn(self._dsn)
        connection = await AsyncConnection.connect(self._dsn, autocommit=True)
        session = Session(connection, self.account, self._now)
        try:
            await session.prepare()
        except BaseException:
            await connection.close()
            raise
        self._session = session
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

    async def transact(self, work: Work[T]) -> T:
        return await self._to_its_end(_opened(self._session).transact(work))

    async def read(self, work: Work[T]) -> T:
        return await self._to_its_end(_opened(self._session).read(work))

    async def _to_its_end(self, use: Awaitable[T]) -> T:
        """Uses the connection, one call after the other."""

        async def in_order() -> T:
            async with self._turn:
                return await use

        return await asyncio.shield(asyncio.ensure_future(in_order()))


def check_dsn(dsn: str) -> None:
    """Raises: InvalidRequestError if it cannot be read: psycopg's own error would repeat a password."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - an extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        conninfo_to_dict(dsn)
    except ProgrammingError:
        is_readable = False
    else:
        is_readable = True
    if not is_readable:  # not within `except`, whose error would be the context of this one
        raise _checks.refuse("dsn", "must be an address of PostgreSQL such as postgresql://user@host/database")


def _opened(session: Session | None) -> Session:
    if session is None:
        raise RuntimeError("the database is not open: use it in `async with PostgresDatabase(dsn, …) as database`")
    return session


@cache
def _rendered(sql: str) -> bytes:
    """The text in the words of the driver, whose named values are `%(name)s`."""
    return re.sub(r":(\w+)", r"%(\1)s", POSTGRES.render(sql).replace("%", "%%")).encode()
