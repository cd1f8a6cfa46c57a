"""The mirror's database in PostgreSQL, where one database holds the mirrors of many accounts."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

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
IDLE_TIMEOUT: Final = b"SET idle_in_transaction_session_timeout = '20s'"
"""A machine that vanishes would hold its locks as long as TCP takes to notice."""
KEEPALIVE: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Options of libpq that notice within half a minute that the server's machine has vanished."""
SETTINGS: Final = (
    IDLE_TIMEOUT,
    f"SET search_path TO {SCHEMA}".encode(),
    b"SET TIME ZONE 'UTC'",
    # Whatever the role's defaults; who has waited for its turn has to see what the others wrote.
    b"SET default_transaction_isolation TO 'read committed'",
    b"SET default_transaction_read_only TO off",
    b"SET datestyle TO 'ISO'",
)
ENCODING: Final = "UTF8"
PORTS: Final = re.compile(r"[0-9]*(,[0-9]*)*")
SCHEMA_LOCK: Final = query(f"SELECT pg_advisory_xact_lock({0x4C6F667479})")
"""Waits until nobody else makes the tables."""
IS_SCHEMA: Final = query("SELECT 1 FROM pg_namespace WHERE nspname = :name", name=SCHEMA)
FOREIGN: Final = query(
    "SELECT min(tablename) FROM pg_tables WHERE schemaname = current_schema()"
    " AND tablename IN ('tasks', 'leads', 'changes', 'runs', 'sources', 'sweeps', 'sightings')"
    " AND to_regclass('mirror') IS NULL"
)
"""Finds a table that another program has made."""
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
        if not statement.rows:
            return []
        self._written += len(statement.rows)
        async with self.connection.cursor() as cursor:
            await cursor.executemany(text, [own | dict(row) for row in statement.rows])
        return []

    async def prepare(self) -> None:
        """Raises: LoftyError if the tables are another version's, or another program's."""
        encoding = self.connection.info.parameter_status("server_encoding")
        if encoding != ENCODING:
            raise LoftyError(f"the database's encoding is {encoding}, which cannot hold every text: it must be UTF8")
        await self.connection.execute(b"; ".join(SETTINGS))
        async with self.connection.transaction():
            await self.execute(SCHEMA_LOCK)
            # A role that may not make schemas may use one that is there.
            if not await self.execute(IS_SCHEMA):
                await self.execute(query(f"CREATE SCHEMA {SCHEMA}"))
            ((table,),) = await self.execute(FOREIGN)
            if table is not None:
                raise LoftyError(f"table {SCHEMA}.{table} was not made by a sync: name another database")
            version = await self.read(prepare(POSTGRES))
            if version != VERSION:
                raise LoftyError(refusal(version, f"the schema {SCHEMA}", REMEDY))


class PostgresDatabase(Database):
    """The mirror of an account in PostgreSQL; needs the extra `postgres`.

    The tables are those of `SqliteDatabase`, in the schema `lofty`, which is made when it is missing, with a column
    `account` in every key: `tasks`, `leads`, `changes` and `runs`. Times are `timestamptz`; `changes` has `jsonb`, and
    its `seq` counts the changes of each account. `account` is a name of your own, up to 200 characters.

    Use it as `async with PostgresDatabase(dsn, account=…) as database`: it has one connection, and makes another one
    for the next call if the server or the network has ended it. Writers of one account take turns; runs of one account
    exclude each other by the server's clock, so that processes on many machines may share a database. `now` replaces
    that clock.

    Raises: psycopg.Error if the server cannot be reached or refuses; LoftyError if the tables are another version's or
    the database's encoding is not UTF8; InvalidRequestError if `dsn` is no address; ModuleNotFoundError without the
    extra.
    """

    def __init__(self, dsn: str, *, account: str, now: Callable[[], datetime] | None = None) -> None:
        super().__init__(_checks.account(account), POSTGRES)
        self._dsn = hidden(_checks.text("dsn", dsn))
        self._now = now
        self._session: Session | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = await _connected(self._dsn, self.account, self._now)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finishes the write under way and closes the connection; closing twice is no error."""

        async def disconnect() -> None:
            session, self._session = self._session, None
            if session is not None:
                await session.connection.close()

        await self._in_turn(disconnect)

    async def transact(self, work: Work[T]) -> T:
        return await self._use(lambda session: session.transact(work))

    async def read(self, work: Work[T]) -> T:
        return await self._use(lambda session: session.read(work))

    async def _use(self, use: Callable[[Session], Awaitable[T]]) -> T:
        _opened(self._session)

        async def call() -> T:
            session = _opened(self._session)
            if session.connection.closed:
                self._session = session = await _connected(self._dsn, self.account, self._now)
            return await use(session)

        return await self._in_turn(call)

    async def _in_turn(self, call: Callable[[], Awaitable[T]]) -> T:
        """Uses the connection, one call after the other, each to its end although its caller is cancelled."""

        async def in_order() -> T:
            async with self._turn:
                return await call()

        return await asyncio.shield(asyncio.ensure_future(in_order()))


async def _connected(dsn: str, account: str, clock: Callable[[], datetime] | None) -> Session:
    connection = await connect(dsn, autocommit=True, client_encoding=ENCODING)
    session = Session(connection, account, clock)
    try:
        await session.prepare()
    except BaseException:
        await connection.close()
        raise
    return session


async def connect(dsn: str, **options: Any) -> "AsyncConnection[tuple[Any, ...]]":
    """A connection with the options of `KEEPALIVE`; an error of psycopg holds no password.

    Raises: InvalidRequestError if `dsn` is no address.
    """
    try:
        from psycopg import AsyncConnection, Error, OperationalError  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(HINT, name="psycopg") from error
    try:
        return await AsyncConnection.connect(dsn, **options, **connection_options(dsn))
    except Error as error:
        failure = type(error)(*error.args)
    except UnicodeError as error:  # of a host's name
        failure = OperationalError(str(error))
    # Raised out here, and as a new one: psycopg's frames hold the password, as does what the error knows of it.
    raise failure


def connection_options(dsn: str) -> dict[str, Any]:
    """The options of `KEEPALIVE` that the address leaves open.

    Raises: InvalidRequestError if it is no address.
    """
    names = _options_in(dsn)
    if names is None:
        raise _checks.refuse(
            "dsn",
            "must look like postgresql://user@host:5432/database or host=… dbname=…;"
            " write @, / and % within a password as %40, %2F and %25",
        )
    return {name: value for name, value in KEEPALIVE.items() if name not in names}


def _options_in(dsn: str) -> frozenset[str] | None:
    """The names of the options that an address has, `None` if it is none."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - an extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        return None
    # An error of psycopg repeats what it takes for a host or a port, and that may be a part of a password.
    is_address = PORTS.fullmatch(str(parts.get("port") or "")) and "@" not in str(parts.get("host"))
    return frozenset(parts) if is_address else None


def _opened(session: Session | None) -> Session:
    if session is None:
        raise RuntimeError("the database is not open: use it in `async with PostgresDatabase(dsn, …) as database`")
    return session


@cache
def _rendered(sql: str) -> bytes:
    """The text in the words of the driver, whose named values are `%(name)s`."""
    return re.sub(r":(\w+)", r"%(\1)s", POSTGRES.render(sql).replace("%", "%%")).encode()
