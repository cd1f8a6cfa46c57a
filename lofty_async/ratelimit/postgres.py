"""A ledger in PostgreSQL, for the processes of many hosts: the only module of the limiter that knows psycopg.

A change takes two round trips: the first begins a transaction and locks the ledger's row, the second writes and
commits. Others wait for the lock on the server, in turn, so that no change is ever tried in vain. Three bounds keep
one process from holding up the others:

- The first answer of the server tells that it works, before it waits for the lock: it has `timeout` seconds.
- The lock itself has `MAX_LOCK_WAIT` seconds, counted by the server.
- The server ends a transaction that is idle for `MAX_LOCK_HOLD` seconds, such as that of a stopped process.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import copy
from random import uniform
from typing import TYPE_CHECKING, Any, Final, LiteralString, Protocol, Self, TypeVar

from attrs import define, field, frozen

from lofty_async._auth import hidden
from lofty_async._deadlines import lenient_timeout
from lofty_async._wire import BASE_URL
from lofty_async.errors import InvalidRequestError, StoreUnavailableError

from .ledger import Ledger
from .per_loop import PerLoop
from .stores import Store, application_key, read_ledger, write_ledger

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor

R = TypeVar("R")

TIMEOUT: Final = 0.25  # seconds for one answer of the server
CONNECT_TIMEOUT: Final = 3.0  # seconds more for a connection: TCP, TLS and a password take up to eight round trips
IDLE: Final = 10.0  # seconds of silence after which the network may have dropped a connection
MAX_LOCK_WAIT: Final = 10.0  # seconds: fifty processes in turn, each 150 ms away, and some to spare
MAX_LOCK_HOLD: Final = 2.0  # seconds between two messages of a transaction
CUT_TIMEOUT: Final = 1.0  # seconds for a statement to notice that its connection is cut; it takes one turn of the loop
MAX_PAUSE: Final = 15.0  # seconds between two attempts to connect
FIRST_PAUSE: Final = 0.25

TABLE: Final = "lofty_rate_limit_v1"
CREATE: Final = f"""
CREATE UNLOGGED TABLE IF NOT EXISTS {TABLE} (
    key text PRIMARY KEY,
    ledger text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50)
"""
CREATING: Final = 7_031_662_045_110_433  # the advisory lock of who creates the table
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"  # whatever the role's defaults
BOUNDS: Final = """
SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true),
    set_config('statement_timeout', '0', true)
"""
NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
# The time is that after the wait: a row that is locked is computed before.
LOCK: Final = f"WITH locked AS (SELECT ledger FROM {TABLE} WHERE key = %s FOR UPDATE) SELECT {NOW}, ledger FROM locked"  # noqa: S608 - constants
INSERT: Final = f"INSERT INTO {TABLE} (key, ledger) VALUES (%s, '') ON CONFLICT DO NOTHING"  # noqa: S608
READ: Final = f"SELECT {NOW}, (SELECT ledger FROM {TABLE} WHERE key = %s)"  # noqa: S608
READ_TIME: Final = f"SELECT {NOW}, ''"
WRITE: Final = f"UPDATE {TABLE} SET ledger = %s, changed_at = clock_timestamp() WHERE key = %s"  # noqa: S608

PORTS: Final = re.compile(r"[0-9]*(,[0-9]*)*")
CAUSES: Final = (
    *("Connection refused", "failed to resolve host", "password authentication failed", "no password supplied"),
    *("no pg_hba.conf entry", "does not exist", "too many clients", "remaining connection slots", "certificate"),
)
"""Of a connection that fails: psycopg has one class for all of them, and its message may repeat what was passed."""
LOCK_NOT_AVAILABLE, INSUFFICIENT_PRIVILEGE = "55P03", "42501"


@frozen
class Known:
    """A ledger as it was read: its text, empty for a new one, and the server's time in seconds."""

    now: float
    text: str


class Session(Protocol):
    """A connection as the store uses it. An error leaves it in no state to be used again."""

    @property
    def has_answered(self) -> bool:
        """Whether the server has begun the transaction for whose lock it waits."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether the server or the network has ended the connection."""
        ...

    async def read(self, key: str) -> Known:
        """Reads the ledger; changes nothing."""
        ...

    async def lock(self, key: str) -> Known:
        """Begins a transaction, and reads the ledger when it is nobody else's to change."""
        ...

    async def commit(self, key: str, text: str) -> None:
        """Writes the ledger and ends the transaction."""
        ...

    def cut(self) -> None:
        """Makes the statement under way fail at once, whatever the server does."""
        ...

    async def close(self) -> None:
        """Closes the connection; the server rolls a transaction back that has not ended."""
        ...


@define(eq=False)
class PsycopgSession:
    """A connection of psycopg."""

    _connection: "AsyncConnection[Any]"
    _transaction: AsyncExitStack = field(factory=AsyncExitStack)  # the pipeline that it is sent in
    _begun: "AsyncCursor[Any] | None" = None
    _has_begun: bool = False  # before: a new table or row takes several transactions

    @property
    def has_answered(self) -> bool:
        return self._has_begun or (self._begun is not None and self._begun.pgresult is not None)

    @property
    def is_lost(self) -> bool:
        return self._connection.closed

    async def read(self, key: str) -> Known:
        from psycopg.errors import UndefinedTable  # noqa: PLC0415 - an extra

        try:
            found = await self._connection.execute(READ, (key,))
        except UndefinedTable:
            found = await self._connection.execute(READ_TIME)
        now, text = await found.fetchone() or (0.0, None)
        return Known(now, text or "")

    async def lock(self, key: str) -> Known:
        from psycopg.errors import UndefinedTable  # noqa: PLC0415

        self._begun, self._has_begun = None, False
        try:
            known = await self._begin(key)
        except UndefinedTable:
            self._has_begun = True
            await self._transaction.aclose()  # until then, the server skips all that follows the error
            await self._connection.execute("ROLLBACK")
            await self._create_table()
            known = await self._begin(key)
        while known is None:
            self._has_begun = True
            await self._commit(INSERT, key)
            known = await self._begin(key)
        return known

    async def _begin(self, key: str) -> Known | None:
        """Begins a transaction and locks the row in one round trip; returns `None` if there is no row."""
        connection, bounds = self._connection, [str(int(bound * 1000)) for bound in (MAX_LOCK_WAIT, MAX_LOCK_HOLD)]
        pipeline = await self._transaction.enter_async_context(connection.pipeline())
        await connection.execute(BEGIN)
        self._begun = await connection.execute(BOUNDS, bounds)
        connection.pgconn.send_flush_request()  # the server answers so far before it waits
        found = await connection.execute(LOCK, (key,))
        # To leave the pipeline would send one more flush, and after that the server bounds no idle transaction.
        await pipeline.sync()
        row = await found.fetchone()
        return row and Known(*row)

    async def commit(self, key: str, text: str) -> None:
        self._begun, self._has_begun = None, False
        await self._commit(WRITE, text, key)

    async def _commit(self, statement: LiteralString, *values: str) -> None:
        """Executes the statement and ends the transaction in one round trip."""
        await self._connection.execute(statement, values)
        await self._connection.execute("COMMIT")
        await self._transaction.aclose()

    async def _create_table(self) -> None:
        connection = self._connection
        async with connection.pipeline(), connection.transaction():
            # Two at once would collide, also with IF NOT EXISTS.
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATING,))
            await connection.execute(CREATE)

    def cut(self) -> None:
        # psycopg would answer a cancellation by asking the server to cancel, and wait for what it says.
        from psycopg import Error  # noqa: PLC0415

        with suppress(OSError, Error):
            end = socket.socket(fileno=self._connection.pgconn.socket)
            try:
                end.shutdown(socket.SHUT_RDWR)
            finally:
                end.detach()

    async def close(self) -> None:
        from psycopg import Error  # noqa: PLC0415

        await self._connection.close()
        with suppress(Error):
            await self._transaction.aclose()


@define(eq=False)
class Link:
    """One loop's connection, made when it is needed, and how the attempts to make one ended."""

    open: Callable[[], Awaitable[Session]]
    session: Session | None = None
    turn: asyncio.Lock = field(factory=asyncio.Lock)  # a connection has one transaction
    answered_at: float = 0.0
    is_lost: bool = False
    failures: int = 0
    retry_at: float = 0.0
    is_closed: bool = False

    async def connect(self, seconds: float) -> Session:
        """Returns a new connection.

        Raises: StoreUnavailableError if there is none within so many seconds, or the latest failures are too recent.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self.retry_at:
            raise StoreUnavailableError(f"PostgreSQL: cannot connect; next attempt in {self.retry_at - clock():.1f} s")
        try:
            async with lenient_timeout(seconds):
                self.session = await self.open()
        except TimeoutError:
            failure = f"no connection within {seconds:g} s"
        except Exception as error:  # noqa: BLE001 - none of it may stop a call
            cause = next((cause for cause in CAUSES if cause in str(error)), type(error).__name__)
            failure = f"cannot connect: {cause}"
        else:
            self.failures = 0
            return self.session
        self.failures = min(self.failures + 1, 10)  # more make the pause no longer
        pause = min(MAX_PAUSE, FIRST_PAUSE * (2 ** (self.failures - 1) - 1))
        self.retry_at = clock() + pause * uniform(0.5, 1.0)  # noqa: S311 - no secret
        raise StoreUnavailableError(f"PostgreSQL: {failure}")  # its frames hold the password: not as the cause

    async def aclose(self) -> None:
        """Closes the connection after the exchanges under way; if it is cancelled, the last of them does."""
        self.is_closed = True
        async with self.turn:
            await self.drop()

    async def drop(self) -> None:
        session, self.session = self.session, None
        if session:
            await session.close()


class PostgresStore(Store):
    """A ledger in one row of PostgreSQL, named by a hash of `app_id` and the client's base URL, never by a secret.

    `dsn` is an address such as postgresql://user@host/database, or libpq's `host=… dbname=…`; needs the extra
    `postgres`. The table `lofty_rate_limit_v1` is created, unlogged, in the first schema of the search path when it is
    first needed; a role that may not create it needs SELECT, INSERT and UPDATE on one that exists. Each event loop has
    one connection, closed with the store or its loop. `timeout` bounds one answer in seconds; connecting may take 3
    more, and a change waits up to 10 for the changes of others. Times are the PostgreSQL server's.

    Raises: InvalidRequestError where `app_id` is empty or `dsn` malformed; ModuleNotFoundError without the extra.
    """

    change_timeout = None  # each answer has its own bound, and what others change meanwhile is no failure
    remedy = "give all processes PostgresStore with the same database, schema and app_id"

    def __init__(self, app_id: str, dsn: str, *, timeout: float = TIMEOUT) -> None:
        dsn = hidden(dsn)
        if not isinstance(dsn, str) or not _is_address(dsn):
            message = "dsn must look like postgresql://user@host:5432/database or host=… dbname=…"
            raise InvalidRequestError(message, argument="dsn")
        self._app_id, self._timeout = app_id, timeout
        self._key = application_key(app_id, BASE_URL)
        self._links = PerLoop(lambda: Link(lambda: _open(dsn)))

    def for_server(self, base_url: str) -> Self:
        other = copy(self)
        other._key = application_key(self._app_id, base_url)  # noqa: SLF001 - a store of this class
        return other

    async def close(self) -> None:
        await self._links.aclose()

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        async with self._turn() as link:
            known = await self._first_answer(link, lambda session: session.lock(self._key))
            ledger = read_ledger(known.text.encode(), known.now)
            result = step(ledger, known.now)
            text = write_ledger(ledger, known.now).decode()
            await self._answer(link, lambda session: session.commit(self._key, text))
            return result

    async def read(self, step: Callable[[Ledger, float], R]) -> R:
        async with self._turn() as link:
            known = await self._first_answer(link, lambda session: session.read(self._key))
        return step(read_ledger(known.text.encode(), known.now), known.now)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[Link, None]:
        """The running loop's connection for one exchange; one that fails, or is cancelled, closes it."""
        link = await self._links.here()
        async with link.turn:
            try:
                yield link
            except BaseException:
                await link.drop()
                raise
            if link.is_closed:
                await link.drop()

    async def _first_answer(self, link: Link, ask: Callable[[Session], Coroutine[Any, Any, Known]]) -> Known:
        """The answer that begins an exchange; a connection that was lost meanwhile is made again."""
        now = asyncio.get_running_loop().time()
        if link.session:
            try:
                return await self._answer(link, ask)
            except StoreUnavailableError:
                if not link.is_lost and now - link.answered_at < IDLE:
                    raise
            await link.drop()
        await link.connect(self._timeout + CONNECT_TIMEOUT)
        return await self._answer(link, ask)

    async def _answer(self, link: Link, ask: Callable[[Session], Coroutine[Any, Any, R]]) -> R:
        """One answer in the time for it; what is asked of a server that says nothing is cut off."""
        loop, session = asyncio.get_running_loop(), link.session
        assert session, "an exchange holds its connection"  # noqa: S101
        link.is_lost = False
        asking = loop.create_task(ask(session), name="lofty_async PostgreSQL store")
        try:
            await _wait(asking, self._timeout)
            if not asking.done() and session.has_answered:
                await _wait(asking, MAX_LOCK_WAIT)
            is_silent = not asking.done()
        finally:
            await _cut_off(session, asking)
        if is_silent:
            raise StoreUnavailableError(f"PostgreSQL did not answer within {self._timeout:g} s")
        if failure := asking.exception():
            link.is_lost = session.is_lost
            raise StoreUnavailableError(f"PostgreSQL: {_reason(failure)}")  # its frames are psycopg's: not as the cause
        link.answered_at = loop.time()
        return asking.result()


async def _wait(asking: asyncio.Task[Any], seconds: float) -> None:
    with suppress(TimeoutError):
        async with lenient_timeout(seconds):
            await asyncio.wait({asking})


async def _cut_off(session: Session, asking: asyncio.Task[Any]) -> None:
    try:
        if not asking.done():
            session.cut()
            await asyncio.wait({asking}, timeout=CUT_TIMEOUT)
    finally:
        asking.add_done_callback(_retrieve)  # who was cancelled asks for it no more


def _retrieve(done: asyncio.Task[Any]) -> None:
    if not done.cancelled():
        done.exception()


def _reason(failure: BaseException) -> str:
    code = getattr(failure, "sqlstate", None)
    if code == LOCK_NOT_AVAILABLE:
        return "too many others change the ledger"
    if code == INSUFFICIENT_PRIVILEGE:
        return f"the role may not create or change the table {TABLE} ({type(failure).__name__})"
    return type(failure).__name__


async def _open(dsn: str) -> Session:
    from psycopg import AsyncConnection  # noqa: PLC0415 - an extra

    # Statements are not prepared: a pooler may give each transaction another connection of its own.
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
    return PsycopgSession(await AsyncConnection.connect(dsn, fallback_application_name="lofty_async", **options))


def _is_address(dsn: str) -> bool:
    try:
        from psycopg import ProgrammingError  # noqa: PLC0415
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
    except ImportError as error:  # also where psycopg is installed without libpq
        message = 'PostgresStore needs psycopg: pip install "lofty-async[postgres]"'
        raise ModuleNotFoundError(message, name="psycopg") from error
    if not dsn:
        return False
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        return False
    return bool(PORTS.fullmatch(str(parts.get("port", ""))))
