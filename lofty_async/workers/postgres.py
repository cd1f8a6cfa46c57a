"""The fleet's own table in PostgreSQL, beside those of the queue, and the statements on both."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import resources
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from psycopg import AsyncConnection
from psycopg.rows import class_row

from lofty_async._auth import Secret
from lofty_async.errors import LoftyError
from lofty_async.mirror import SyncReport
from lofty_async.mirror.postgres import IDLE_TIMEOUT, connect

from .status import AccountStatus

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]

SETUP_LOCK: Final = 0x4C6F6601
TICK_LOCK: Final = 0x4C6F6602
"""Advisory locks of a schema: of making the tables, and of the tick, which only one process does at a time."""
MIGRATIONS: Final = "CREATE TABLE migrations (name text PRIMARY KEY)"
ACCOUNTS: Final = (
    "CREATE TABLE accounts (account text PRIMARY KEY, due_at timestamptz NOT NULL DEFAULT now(),"
    " failures integer NOT NULL DEFAULT 0, host text, process integer, began_at timestamptz, ended_at timestamptz,"
    " synced_at timestamptz, error text, tasks integer, unproven integer, oldest_proof timestamptz)"
)
# Its channel does not tell schemas apart: it would cancel the job of this id of another fleet, or of another program.
QUIET: Final = """DO $$ DECLARE name text; BEGIN
FOR name IN SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE tgrelid = 'procrastinate_jobs'::regclass AND tgenabled <> 'D' AND proname LIKE 'procrastinate_notify_queue_abort%'
LOOP EXECUTE format('ALTER TABLE procrastinate_jobs DISABLE TRIGGER %I', name); END LOOP; END $$"""
TABLE_OF_SCHEMA: Final = (
    "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE nspname = %(name)s AND relkind IN ('r', 'p', 'v', 'm') ORDER BY relname LIMIT 1"
)
DUE: Final = (
    "SELECT account, EXISTS (SELECT 1 FROM procrastinate_jobs WHERE lock = account AND status IN ('todo', 'doing')"
    " AND NOT abort_requested) FROM accounts WHERE due_at <= now() ORDER BY due_at"
)
STALLED: Final = """(
    status = 'doing' AND NOT EXISTS (
        SELECT 1 FROM procrastinate_workers WHERE id = worker_id
        AND last_heartbeat >= now() - %(stalled_after)s * interval '1 second')
)"""
"""Whether the worker of a job is considered dead; the queue forgets one that another has found so."""
AWAITED: Final = f"""
SELECT EXISTS (
    SELECT 1 FROM procrastinate_jobs
    WHERE status = 'todo' AND lock IS NOT NULL AND priority >= %(priority)s
        AND (scheduled_at IS NULL OR scheduled_at <= now())
) OR EXISTS (
    SELECT 1 FROM accounts WHERE due_at <= now() AND NOT EXISTS (
        SELECT 1 FROM procrastinate_jobs WHERE lock = account AND status IN ('todo', 'doing'))
) OR EXISTS (
    SELECT 1 FROM procrastinate_jobs
    WHERE lock IS NOT NULL AND priority >= %(priority)s AND NOT abort_requested AND {STALLED}
)"""  # noqa: S608 - a constant
"""Whether a sync waits that comes before one of this priority which goes on later; also one that only a tick would
enqueue, because its account is due or its worker dead: while every place is taken, there is no tick."""
BEGIN: Final = (
    "UPDATE accounts SET host = %(host)s, process = %(process)s, began_at = clock_timestamp()"
    " WHERE account = %(account)s RETURNING 1"
)
SUCCEED: Final = (
    "UPDATE accounts SET error = NULL, failures = 0, ended_at = clock_timestamp(), synced_at = clock_timestamp(),"
    " tasks = %(tasks)s, unproven = %(unproven)s, oldest_proof = %(oldest_proof)s WHERE account = %(account)s"
)
FAIL: Final = (
    "UPDATE accounts SET error = %(error)s, failures = failures + %(failures)s, ended_at = clock_timestamp()"
    " WHERE account = %(account)s RETURNING failures"
)
REMOVE: Final = (
    "DELETE FROM accounts WHERE account = %(account)s",
    "DELETE FROM procrastinate_jobs WHERE lock = %(account)s AND status = 'todo'",
    "UPDATE procrastinate_jobs SET abort_requested = true WHERE lock = %(account)s AND status = 'doing'",
)
STATUS: Final = f"""
SELECT account, failures, host, process, began_at, ended_at, synced_at, error, tasks, unproven, oldest_proof,
    CASE WHEN scheduled_at > now() THEN scheduled_at ELSE due_at END AS due_at,
    CASE WHEN status IS NULL THEN 'waiting' WHEN status = 'doing' AND NOT is_stalled THEN 'running'
        WHEN scheduled_at > now() THEN 'retrying' ELSE 'queued' END AS state
FROM accounts LEFT JOIN LATERAL (
    SELECT status, scheduled_at, {STALLED} AS is_stalled FROM procrastinate_jobs
    WHERE lock = account AND status IN ('todo', 'doing') AND NOT abort_requested
    ORDER BY status = 'doing' DESC, id LIMIT 1
) job ON true
ORDER BY account"""  # noqa: S608 - a constant


@frozen
class Tables:
    """The accounts of a fleet; each call has a connection of its own."""

    dsn: Secret = field(repr=False)
    schema: str
    stalled_after: float

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection, None]:
        """Yields a connection within a transaction.

        Raises: LoftyError if the tables have not been made.
        """
        async with self._transaction() as connection:
            if not await _is_there(connection, "accounts"):
                raise LoftyError(
                    f"schema {self.schema} has no tables of a fleet: name the right schema, call `await fleet.setup()`"
                    " once, or start `lofty-async worker --accounts FILE`"
                )
            yield connection

    async def check(self) -> None:
        """Raises: LoftyError if the tables have not been made."""
        async with self.connected():
            pass

    async def make(self, queue: str) -> None:
        """Makes the tables that are missing, and brings those of the queue to its installed version."""
        async with self._transaction() as connection:
            await _take_lock(connection, "pg_advisory_xact_lock", SETUP_LOCK, self.schema)
            # A role that may not make schemas may use one that is there.
            if not await rows(connection, "SELECT 1 FROM pg_namespace WHERE nspname = %(name)s", name=self.schema):
                await rows(connection, f'CREATE SCHEMA "{self.schema}"')
            is_new = not await _is_there(connection, "migrations")
            if is_new:
                await self._check_empty(connection)
                await rows(connection, MIGRATIONS)
                await connection.execute(queue.encode())
            done = {name for (name,) in await rows(connection, "SELECT name FROM migrations")}
            scripts = _migrations()
            for name in sorted(scripts.keys() - done):
                if not is_new:
                    await connection.execute(scripts[name].encode())
                await rows(connection, "INSERT INTO migrations VALUES (%(name)s)", name=name)
            await rows(connection, QUIET)
            if not await _is_there(connection, "accounts"):
                await rows(connection, ACCOUNTS)

    async def _check_empty(self, connection: Connection) -> None:
        """Raises: LoftyError if the schema has tables, some of which may have the names of the fleet's."""
        found = await rows(connection, TABLE_OF_SCHEMA, name=self.schema)
        if found:
            raise LoftyError(f"schema {self.schema} has tables of another program, such as {found[0][0]}: take another")

    async def add(self, account: str) -> None:
        async with self.connected() as connection:
            await rows(connection, "INSERT INTO accounts VALUES (%(account)s) ON CONFLICT DO NOTHING", account=account)

    async def remove(self, account: str) -> None:
        """Removes an account and its jobs that wait; has the worker of the one under way cancel it."""
        async with self.connected() as connection:
            for sql in REMOVE:
                await rows(connection, sql, account=account)

    async def begin(self, account: str, host: str, process: int) -> bool:
        """Notes where a sync has begun; returns whether there is such an account."""
        async with self.connected() as connection:
            return bool(await rows(connection, BEGIN, account=account, host=host, process=process))

    async def succeed(self, account: str, report: SyncReport) -> None:
        """Notes that a sync has succeeded."""
        values = {"tasks": report.usable, "unproven": report.unproven, "oldest_proof": report.oldest_proof}
        async with self.connected() as connection:
            await rows(connection, SUCCEED, account=account, **values)

    async def fail(self, account: str, error: str, *, is_failure: bool) -> tuple[int, datetime]:
        """Notes why a sync was not done; returns the failures of this turn and the server's time."""
        async with self.connected() as connection:
            found = await rows(connection, FAIL, account=account, error=error, failures=int(is_failure))
            ((now,),) = await rows(connection, "SELECT clock_timestamp()")
        failures = found[0][0] if found else 0  # it was removed meanwhile
        return max(failures, int(is_failure)), now

    async def is_place_awaited(self, priority: int) -> bool:
        """Whether an account waits for a place that has not had more of them than one of this priority."""
        async with self.connected() as connection:
            ((is_awaited,),) = await rows(connection, AWAITED, priority=priority, stalled_after=self.stalled_after)
        return bool(is_awaited)

    async def status(self) -> list[AccountStatus]:
        async with self.connected() as connection, connection.cursor(row_factory=class_row(AccountStatus)) as cursor:
            await cursor.execute(STATUS.encode(), {"stalled_after": self.stalled_after})
            return await cursor.fetchall()

    @asynccontextmanager
    async def tick(self) -> AsyncGenerator["Connection | None", None]:
        """Yields a connection while no other process's tick can begin; `None` if one is under way."""
        async with self.connected() as connection:
            is_mine = await _take_lock(connection, "pg_try_advisory_xact_lock", TICK_LOCK, self.schema)
            yield connection if is_mine else None

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection, None]:
        async with await connect(self.dsn) as connection:
            await connection.execute(search_path(self.schema))
            await connection.execute(IDLE_TIMEOUT)
            await connection.execute(b"SET TIME ZONE 'UTC'")
            yield connection


def search_path(schema: str) -> bytes:
    """The statement that makes unqualified names those of the schema; its name has been checked."""
    return f'SET search_path TO "{schema}"'.encode()


async def take_due(connection: Connection, next_after: Callable[[datetime], datetime]) -> list[str]:
    """Moves the accounts that are due to their next time; returns those of them without a job, earliest first.

    Accounts whose next time is later than that, because `every` was another, are moved to it too.
    """
    due = await rows(connection, DUE)
    ((now,),) = await rows(connection, "SELECT now()")
    following = next_after(now)
    idle = [account for account, is_busy in due if not is_busy]
    sql = (
        "UPDATE accounts SET due_at = %(next)s, failures = CASE WHEN account = ANY(%(idle)s) THEN 0 ELSE failures END"
        " WHERE account = ANY(%(due)s)"
    )
    await rows(connection, sql, next=following, idle=idle, due=[account for account, _ in due])
    await rows(connection, "UPDATE accounts SET due_at = %(next)s WHERE due_at > %(next)s", next=following)
    return idle


async def forget_ended(connection: Connection) -> None:
    """Deletes the jobs that were aborted when their accounts were removed."""
    await rows(connection, "DELETE FROM procrastinate_jobs WHERE status NOT IN ('todo', 'doing')")


async def rows(connection: Connection, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(sql.encode(), values or None)
    return await cursor.fetchall() if cursor.description else []


async def _is_there(connection: Connection, table: str) -> bool:
    ((found,),) = await rows(connection, "SELECT to_regclass(%(table)s) IS NOT NULL", table=table)
    return bool(found)


async def _take_lock(connection: Connection, function: str, lock: int, schema: str) -> bool:
    """Takes a lock of the schema until the transaction ends; returns whether it is taken."""
    sql = f"SELECT {function}(%(lock)s, hashtext(%(schema)s))"
    ((taken,),) = await rows(connection, sql, lock=lock, schema=schema)
    return taken is not False


def _migrations() -> dict[str, str]:
    """The scripts by which the queue's tables go from one version to the next, by name, in whose order they run."""
    folder = resources.files("procrastinate") / "sql" / "migrations"
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}
