"""The fleet's own table in PostgreSQL, beside those of the queue, and the statements on both."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import field, frozen

from lofty_async._auth import Secret
from lofty_async.errors import LoftyError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

Connection: TypeAlias = "AsyncConnection[tuple[Any, ...]]"

SCHEMA: Final = "lofty_fleet"
SETUP_LOCK: Final = 0x4C6F667479_01
TICK_LOCK: Final = 0x4C6F667479_02
"""Advisory locks: of making the tables, and of the tick, which only one process does at a time."""

# ruff: noqa: S608 - the parts are constants, and all values are bound
SEARCH_PATH: Final = f"SET search_path TO {SCHEMA}"
MIGRATIONS: Final = "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)"
ACCOUNTS: Final = (
    "CREATE TABLE IF NOT EXISTS accounts (account text PRIMARY KEY, due_at timestamptz NOT NULL DEFAULT now(),"
    " synced_at timestamptz, error text)"
)
BUSY: Final = (
    "SELECT status::text, scheduled_at, attempts FROM procrastinate_jobs WHERE lock = account"
    " AND status IN ('todo', 'doing') AND NOT abort_requested ORDER BY status = 'doing' DESC, id LIMIT 1"
)
DUE: Final = (
    f"SELECT account, job.status IS NOT NULL FROM accounts LEFT JOIN LATERAL ({BUSY}) job ON true"
    " WHERE due_at <= now() ORDER BY due_at"
)
STATUS: Final = (
    "SELECT account, due_at, synced_at, error, job.status, job.scheduled_at, job.attempts, job.scheduled_at > now()"
    f" FROM accounts LEFT JOIN LATERAL ({BUSY}) job ON true ORDER BY account"
)


class AccountState(StrEnum):
    """Where an account's next sync is."""

    WAITING = "waiting"
    """Until `due_at`."""
    QUEUED = "queued"
    """Until a worker has a place for it."""
    RETRYING = "retrying"
    """Until `due_at`, after a failure."""
    RUNNING = "running"


@frozen(kw_only=True)
class AccountStatus:
    """An account of a fleet: its state, and how its last syncs ended.

    `due_at` is when the next sync begins at the earliest, `attempts` the number of times that the sync under way was
    begun before. `synced_at` is when a sync last succeeded; `error` is why the last one failed, `None` if it succeeded.
    """

    account: str
    state: AccountState
    due_at: datetime
    attempts: int = 0
    synced_at: datetime | None = None
    error: str | None = None


@frozen
class Tables:
    """The accounts of a fleet; each call has a connection of its own."""

    dsn: Secret = field(repr=False)

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection, None]:
        """Yields a connection within a transaction.

        Raises: LoftyError if the tables have not been made.
        """
        async with self._transaction() as connection:
            ((found,),) = await rows(connection, "SELECT to_regclass('accounts') IS NOT NULL")
            if not found:
                raise LoftyError("the fleet's tables are missing: call `await fleet.setup()` once")
            yield connection

    async def make(self, schema: str) -> None:
        """Makes the tables that are missing, and brings those of the queue to its installed version."""
        async with self._transaction() as connection:
            await rows(connection, "SELECT pg_advisory_xact_lock(%(lock)s)", lock=SETUP_LOCK)
            await rows(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await rows(connection, MIGRATIONS)
            done = {name for (name,) in await rows(connection, "SELECT name FROM migrations")}
            scripts = _migrations()
            if not done:
                await connection.execute(schema.encode())
            for name in sorted(scripts.keys() - done):
                if done:
                    await connection.execute(scripts[name].encode())
                await rows(connection, "INSERT INTO migrations VALUES (%(name)s)", name=name)
            await rows(connection, ACCOUNTS)

    async def add(self, account: str) -> None:
        async with self.connected() as connection:
            await rows(connection, "INSERT INTO accounts VALUES (%(account)s) ON CONFLICT DO NOTHING", account=account)

    async def remove(self, account: str) -> None:
        async with self.connected() as connection:
            await rows(connection, "DELETE FROM accounts WHERE account = %(account)s", account=account)

    async def has(self, account: str) -> bool:
        async with self.connected() as connection:
            sql = "SELECT 1 FROM accounts WHERE account = %(account)s"
            return bool(await rows(connection, sql, account=account))

    async def note(self, account: str, error: str | None) -> None:
        """Notes how a sync has ended."""
        async with self.connected() as connection:
            sql = (
                "UPDATE accounts SET error = %(error)s, synced_at = CASE WHEN %(error)s::text IS NULL THEN"
                " clock_timestamp() ELSE synced_at END WHERE account = %(account)s"
            )
            await rows(connection, sql, account=account, error=error)

    async def status(self) -> list[AccountStatus]:
        async with self.connected() as connection:
            return [_status(row) for row in await rows(connection, STATUS)]

    @asynccontextmanager
    async def tick(self) -> AsyncGenerator["Connection | None", None]:
        """Yields a connection while no other process's tick can begin; `None` if one is under way."""
        async with self.connected() as connection:
            # A machine that vanishes in here would hold the lock as long as TCP takes to notice.
            await rows(connection, "SET LOCAL idle_in_transaction_session_timeout = '20s'")
            ((is_mine,),) = await rows(connection, "SELECT pg_try_advisory_xact_lock(%(lock)s)", lock=TICK_LOCK)
            yield connection if is_mine else None

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection, None]:
        from psycopg import AsyncConnection  # noqa: PLC0415 - an extra

        async with await AsyncConnection.connect(self.dsn) as connection:
            await connection.execute(SEARCH_PATH.encode())
            await connection.execute(b"SET TIME ZONE 'UTC'")
            yield connection


async def take_due(connection: Connection, next_after: Callable[[datetime], datetime]) -> list[str]:
    """Moves the accounts that are due to their next time; returns those of them without a job, earliest first."""
    due = await rows(connection, DUE)
    ((now,),) = await rows(connection, "SELECT now()")
    sql = "UPDATE accounts SET due_at = %(next)s WHERE account = ANY(%(accounts)s)"
    await rows(connection, sql, next=next_after(now), accounts=[account for account, _ in due])
    return [account for account, is_busy in due if not is_busy]


async def forget_ended(connection: Connection) -> None:
    """Deletes the jobs that were aborted when their accounts were removed."""
    await rows(connection, "DELETE FROM procrastinate_jobs WHERE status NOT IN ('todo', 'doing')")


async def rows(connection: Connection, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(sql.encode(), values or None)
    return await cursor.fetchall() if cursor.description else []


def _migrations() -> dict[str, str]:
    """The scripts by which the queue's tables go from one version to the next, by name, in whose order they run."""
    folder = resources.files("procrastinate") / "sql" / "migrations"
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}


def _status(row: tuple[Any, ...]) -> AccountStatus:
    account, due_at, synced_at, error, job, scheduled_at, attempts, is_later = row
    state = AccountState.WAITING
    if job == "doing":
        state = AccountState.RUNNING
    elif job is not None:
        state = AccountState.RETRYING if is_later else AccountState.QUEUED
    return AccountStatus(
        account=account,
        state=state,
        due_at=scheduled_at if is_later else due_at,
        attempts=attempts or 0,
        synced_at=synced_at,
        error=error,
    )
