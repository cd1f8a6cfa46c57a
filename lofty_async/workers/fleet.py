"""A fleet: accounts whose mirrors are kept by worker processes on many machines."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import Final

from lofty_async import _checks
from lofty_async._auth import Secret
from lofty_async.client import LoftyClient
from lofty_async.errors import LoftyError
from lofty_async.mirror import Mirror, PostgresDatabase, SyncReport, SyncRunningError
from lofty_async.mirror.postgres import connection_options

from .postgres import Tables, forget_ended, take_due
from .queue import (
    ClientForCancelledError,
    DatabaseLostError,
    Queue,
    SyncFailedError,
    is_cron,
    next_after,
    retry_delay,
)
from .slices import in_slices
from .status import AccountStatus
from .stopping import until_signal

log = logging.getLogger("lofty_async.workers")

ClientFor = Callable[[str], LoftyClient | Awaitable[LoftyClient]]

SCHEMA: Final = "lofty_fleet"
SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
MAX_RECONNECT_SECONDS: Final = 15.0
"""Between two attempts to reach a database that is lost."""


class Fleet:
    """Keeps the mirrors of many accounts in one PostgreSQL database; needs the extra `workers`.

    `client_for(account)` returns a client that is not open, or a coroutine of one; it is opened for one sync and
    closed after it. The database holds no secret. Accounts of one application share its rate limit: give their clients
    one limiter, whose store is `PostgresStore` on the same database.

    An account is due when it is added, and then at the times of `every`, a cron expression in UTC of five fields, or
    six of which the last is the second. Syncs of one account never overlap, and one that is late is not repeated for
    the times that it has missed. One that fails is tried again after 15 s, 30 s and so on up to 8 min, six times, but
    for a refused credential or argument and suspicious deletions, which wait for the next time. One that has lasted
    `time_slice` seconds, 1 or more, gives its place to an account that waits for one, and goes on later.

    A worker without a heartbeat for `stalled_after` seconds, 4 or more, is considered dead. With 20, another worker
    takes over its syncs within 32 s, if it has a place free, and continues the interrupted run; on another machine it
    also waits until the mirror's claim ends, within 60 s in all. All workers of a fleet take the same `every` and
    `stalled_after`.

    The tables are in `schema`, lower case and up to 40 characters; another makes another fleet in the same database.
    Fleets share the mirrors of accounts of the same name.

    Raises: InvalidRequestError if an argument is wrong. Methods raise psycopg.Error if the server cannot be reached,
    and LoftyError before `setup`.
    """

    def __init__(
        self,
        dsn: str,
        client_for: ClientFor,
        *,
        every: str = "*/15 * * * *",
        stalled_after: float = 20.0,
        time_slice: float = 600.0,
        schema: str = SCHEMA,
    ) -> None:
        self._dsn = Secret(_checks.text("dsn", dsn))
        connection_options(self._dsn)  # refuses one that is no address
        if not callable(client_for):
            raise _checks.refuse("client_for", "must be a function of an account that returns a LoftyClient")
        if not is_cron(_checks.text("every", every)):
            raise _checks.refuse("every", f"must be a cron expression such as '*/15 * * * *', not {every!r}")
        if not SCHEMA_NAME.fullmatch(_checks.text("schema", schema)):
            raise _checks.refuse("schema", f"must be 1 to 40 of a-z, 0-9 and _, such as 'lofty_fleet', not {schema!r}")
        self._client_for = client_for
        self._every = every
        self._time_slice = _seconds("time_slice", time_slice, least=1)
        self._tables = Tables(self._dsn, schema, _seconds("stalled_after", stalled_after, least=4))
        self._is_working = False

    async def setup(self) -> None:
        """Makes the tables, or brings them up to date; call it before anything else.

        Doing it again is no error, also in many processes at once.

        Raises: LoftyError if the schema has tables of another program.
        """
        await self._tables.make(Queue.schema())

    async def add(self, account: str) -> None:
        """Adds an account, whose first sync is due at once; one that is there stays as it is."""
        await self._tables.add(_checks.account(account))

    async def remove(self, account: str) -> None:
        """Removes an account and cancels its sync; its mirror keeps its rows."""
        await self._tables.remove(_checks.account(account))

    async def status(self) -> list[AccountStatus]:
        """The accounts, by name."""
        return await self._tables.status()

    async def run_worker(self, *, concurrency: int = 4) -> None:
        """Syncs accounts, `concurrency` at the same time, until SIGTERM, SIGINT or the cancellation of this call.

        At the end, syncs may go on for 2 s and are then interrupted; other workers continue them at once. A second
        signal ends the process, and so do 9 s in which the database does not answer. If the connection is lost, the
        worker waits until the database is back. A program that has a handler of its own for one of these signals keeps
        it, and cancels this call.

        Raises: LoftyError if the tables are missing; psycopg.Error if the server cannot be reached at the beginning.
        """
        concurrency = _checks.within("concurrency", concurrency, 1)
        if self._is_working:
            raise RuntimeError("this Fleet runs a worker already: raise its concurrency instead")
        self._is_working = True
        try:
            await self._tables.check()
            await until_signal(self._work(concurrency))
        finally:
            self._is_working = False

    async def _work(self, concurrency: int) -> None:
        """Runs jobs; begins again when the database has been away, or other workers took this one for dead."""
        while not _is_cancelled():
            tables = self._tables
            queue = Queue.of(self._dsn, tables.schema, self._run, self._tick, stalled_after=tables.stalled_after)
            try:
                await queue.work(concurrency)
            except DatabaseLostError:
                if _is_cancelled():  # while the queue found that out, which then forgets it
                    return
                log.warning("connection to the database lost, or this worker was considered dead; starting again")
            await self._database_back()

    async def _database_back(self) -> None:
        """Waits until the tables can be read.

        Raises: LoftyError if they are gone.
        """
        seconds = 1.0
        while True:
            await asyncio.sleep(seconds)
            try:
                return await self._tables.check()
            except LoftyError:
                raise
            except Exception as error:  # noqa: BLE001 - of the server, the network or the resolver
                seconds = min(2 * seconds, MAX_RECONNECT_SECONDS)
                log.warning("the database cannot be reached (%s); next attempt in %g s", type(error).__name__, seconds)

    async def _tick(self, queue: Queue) -> None:
        try:
            await self._rescue_and_enqueue(queue)
        except Exception as error:
            log.warning("accounts that are due cannot be enqueued: %s", type(error).__name__)
            raise

    async def _rescue_and_enqueue(self, queue: Queue) -> None:
        """Takes over what dead workers have left, and enqueues the accounts that are due."""
        async with self._tables.tick() as connection:
            if connection is None:
                return
            await queue.rescue()
            await forget_ended(connection)
            # The jobs come before the commit of the next times: an interrupted tick is done again, and finds them.
            for account in await take_due(connection, lambda now: next_after(self._every, now)):
                await queue.enqueue(account)

    async def _run(self, account: str, attempts: int, priority: int) -> None:
        """Syncs an account, for as long as none waits for its place."""
        is_place_awaited = partial(self._tables.is_place_awaited, priority)
        await in_slices(self._sync(account, attempts), self._time_slice, is_place_awaited)

    async def _sync(self, account: str, attempts: int) -> None:
        if not await self._tables.begin(account, socket.gethostname(), os.getpid()):
            return
        try:
            report = await self._mirror(account)
        except Exception as error:
            raise await self._failure(account, error, attempts) from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            raise await self._failure(account, ClientForCancelledError(), attempts) from error
        await self._tables.succeed(account, report)

    async def _mirror(self, account: str) -> SyncReport:
        made = self._client_for(account)
        client = _checks.instance("client_for", await made if isawaitable(made) else made, LoftyClient)
        async with client, PostgresDatabase(self._dsn, account=account) as database:
            report = await Mirror(client, database).sync()
        changed = (report.added, report.changed, report.removed, report.requests)
        log.info("account %s: %d added, %d changed, %d removed, %d requests", account, *changed)
        return report

    async def _failure(self, account: str, error: Exception, attempts: int) -> Exception:
        """Notes why a sync was not done; returns the error that says when it is tried again."""
        # Other errors may be a program's own, and carry what it holds.
        text = str(error) if isinstance(error, LoftyError) else type(error).__name__
        is_failure = not isinstance(error, SyncRunningError)
        if is_failure:
            log.warning("account %s: %s", account, text)
        elif not attempts:  # the others follow every few seconds
            log.info("account %s: %s", account, text)
        failures, now = await self._tables.fail(account, text, is_failure=is_failure)
        delay = retry_delay(error, failures=failures, attempts=attempts)
        return SyncFailedError(text, None if delay is None else now + timedelta(seconds=delay))


def _seconds(argument: str, value: float, *, least: int) -> float:
    seconds = _checks.seconds(argument, value)
    if seconds is None or seconds < least:
        raise _checks.refuse(argument, f"must be {least} seconds or more, not {value!r}")
    return seconds


def _is_cancelled() -> bool:
    """Whether this task has been cancelled, and not merely what it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
