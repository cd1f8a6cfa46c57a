"""A fleet: accounts whose mirrors are kept by worker processes on many machines."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Final

from lofty_async import _checks
from lofty_async._auth import Secret
from lofty_async.client import LoftyClient
from lofty_async.errors import LoftyError
from lofty_async.mirror import Mirror, PostgresDatabase, SyncRunningError

from .postgres import AccountStatus, Tables, forget_ended, take_due

if TYPE_CHECKING:
    from .queue import Queue

log = logging.getLogger("lofty_async.workers")

ClientFor = Callable[[str], LoftyClient | Awaitable[LoftyClient]]

HINT: Final = 'Fleet needs its extra: pip install "lofty-async[workers]"'
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Fleet:
    """Keeps the mirrors of many accounts in one PostgreSQL database; needs the extra `workers`.

    `client_for(account)` returns a client that is not open, or a coroutine of one; it is opened for one sync and
    closed after it. The database holds no secret. Accounts of one application share its rate limit: give their clients
    limiters of one store.

    An account is due when it is added, and then at the times of `every`, a cron expression in UTC. Syncs of one account
    never overlap, and one that is late is not repeated for the times that it has missed. One that fails is tried again
    after 15 s, 30 s and so on up to 8 min, six times, but for a refused credential or argument and suspicious
    deletions, which wait for the next time.

    A worker that gives no sign of life for `stalled_after` seconds, 4 or more, is taken for dead. Another takes its
    syncs over within another 10 seconds, and goes on with the interrupted run; off the dead one's machine, once the
    claim has ended, within 60 s.

    Raises: InvalidRequestError if an argument is wrong; ModuleNotFoundError without the extra. Methods raise
    psycopg.Error if the server cannot be reached, and LoftyError before `setup`.
    """

    def __init__(
        self, dsn: str, client_for: ClientFor, *, every: str = "*/15 * * * *", stalled_after: float = 20.0
    ) -> None:
        try:
            from . import queue  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(HINT, name=error.name) from error
        self._dsn = Secret(_checks.text("dsn", dsn))
        self._client_for = client_for
        self.every = _checks.text("every", every)
        if not callable(client_for):
            raise _checks.refuse("client_for", "must be a function of an account that returns a LoftyClient")
        if not queue.is_cron(every):
            raise _checks.refuse("every", f"must be a cron expression such as '*/15 * * * *', not {every!r}")
        seconds = _checks.seconds("stalled_after", stalled_after)
        if seconds is None or seconds < 4:
            raise _checks.refuse("stalled_after", f"must be 4 seconds or more, not {stalled_after!r}")
        self._tables = Tables(self._dsn)
        self._next_after, self._schema = queue.next_after, queue.Queue.schema
        make = partial(queue.Queue, self._dsn, self._sync, self._tick, stalled_after=seconds)
        self._new_queue: Callable[[], Queue] = make
        self._queue: Queue | None = None

    async def setup(self) -> None:
        """Makes the tables, in the schema `lofty_fleet`, or brings them up to date; call it before anything else.

        Doing it again is no error, also in many processes at once.
        """
        await self._tables.make(self._schema())

    async def add(self, account: str) -> None:
        """Adds an account, whose first sync is due at once; one that is there stays as it is."""
        await self._tables.add(_checks.text("account", account))

    async def remove(self, account: str) -> None:
        """Removes an account and cancels its sync; its mirror keeps its rows."""
        account = _checks.text("account", account)
        await self._tables.remove(account)
        await self._new_queue().cancel(account)

    async def status(self) -> list[AccountStatus]:
        """The accounts, by name."""
        return await self._tables.status()

    async def run_worker(self, *, concurrency: int = 4) -> None:
        """Syncs accounts, `concurrency` at the same time, until SIGTERM, SIGINT or the cancellation of this call.

        It then lets its syncs go on for 2 s and interrupts the others, which other workers take over at once. A second
        signal ends the process.

        Raises: LoftyError if the database is lost.
        """
        concurrency = _checks.within("concurrency", concurrency, 1)
        if self._queue is not None:
            raise RuntimeError("this Fleet runs a worker already: raise its concurrency instead")
        self._queue = self._new_queue()
        try:
            await self._tables.status()  # the tables are there
            with _stop_signals() as stopping:
                await _until(stopping, self._queue.work(concurrency))
        finally:
            self._queue = None

    async def _tick(self) -> None:
        """Takes over what dead workers have left, and enqueues the accounts that are due."""
        assert self._queue is not None, "a tick is a worker's job"  # noqa: S101 - `run_worker` sees to it
        async with self._tables.tick() as connection:
            if connection is None:
                return
            await self._queue.rescue()
            await forget_ended(connection)
            # The jobs come before the commit of the next times: an interrupted tick is done again, and finds them.
            for account in await take_due(connection, lambda now: self._next_after(self.every, now)):
                await self._queue.enqueue(account)

    async def _sync(self, account: str) -> None:
        if not await self._tables.has(account):
            return
        try:
            await self._mirror(account)
        except SyncRunningError:
            raise  # of the last run it says nothing
        except Exception as error:
            # Other errors may be a program's own, and carry what it holds.
            text = str(error) if isinstance(error, LoftyError) else type(error).__name__
            log.warning("account %s: %s", account, text)
            await self._tables.note(account, text)
            raise
        await self._tables.note(account, None)

    async def _mirror(self, account: str) -> None:
        made = self._client_for(account)
        client = _checks.instance("client_for", await made if isawaitable(made) else made, LoftyClient)
        async with client, PostgresDatabase(self._dsn, account=account) as database:
            report = await Mirror(client, database).sync()
        changed = (report.added, report.changed, report.removed, report.requests)
        log.info("account %s: %d added, %d changed, %d removed, %d requests", account, *changed)


async def _until(stopping: asyncio.Event, work: Awaitable[None]) -> None:
    """Cancels the work when told to, and waits for its end."""
    working, waiting = asyncio.ensure_future(work), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.wait({working, waiting})
    if not working.cancelled():
        await working


@contextmanager
def _stop_signals() -> Generator[asyncio.Event, None, None]:
    """Yields an event that the first signal sets; the second has its usual effect."""
    loop, stopping, handled = asyncio.get_running_loop(), asyncio.Event(), list[int]()

    def stop() -> None:
        stopping.set()
        remove()

    def remove() -> None:
        for number in handled:
            loop.remove_signal_handler(number)

    for number in STOP_SIGNALS:
        # Windows has no handlers, and other threads may set none: the caller stops the worker by cancelling it.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
            handled.append(number)
    try:
        yield stopping
    finally:
        remove()
