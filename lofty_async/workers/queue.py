"""The queue of a fleet: procrastinate's tables, jobs and worker; needs the extra `workers`.

A sync whose worker is killed goes on elsewhere after at most `longest_takeover()` seconds, if another worker has a
place free:

1. The heartbeat of the dead worker grows old: `stalled_after` seconds after the last one.
2. A tick finds it: they are `tick_seconds()` apart, and each begins up to `TICK_DELAY` late.
3. A place fetches the job: at most `POLL_SECONDS` later.

With `stalled_after=20` that is 32 s. On the dead worker's machine its claim of the mirror is void at once. Elsewhere
the claim ends when it has not been renewed for the mirror's own time; until then the job is tried again every
`CLAIM_DELAY` and fetched within `POLL_SECONDS`. No clock but the server's decides, so that a machine whose clock is
wrong delays nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from attrs import frozen
from croniter import croniter
from croniter.croniter import CroniterError
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job, Status

from lofty_async.errors import AuthenticationError, CallError, InvalidRequestError, LoftyError
from lofty_async.mirror import SyncRunningError
from lofty_async.mirror.postgres import IDLE_TIMEOUT, connection_options

from .postgres import search_path
from .slices import PlaceGivenError

log = logging.getLogger("lofty_async.workers")

SYNC: Final = "lofty.sync"
TICK: Final = "lofty.tick"
URGENT: Final = 100
"""The priority of the tick: without it, nothing is rescued."""
LONGEST_TICK: Final = 10
"""Seconds between two ticks, at most."""
TICK_DELAY: Final = 1.0
"""Seconds by which procrastinate enqueues a tick late, and by which a worker begins it."""
POLL_SECONDS: Final = 1.0
ABORT_POLL_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 2.0
"""How long a worker that stops lets its jobs go on; then they are cancelled, and keep what they have."""
CONNECT_TIMEOUT: Final = 3.0
"""Seconds for a connection: a worker that stops asks for two, and has 10 s in all."""
FINAL_ERRORS: Final = (AuthenticationError, InvalidRequestError)
"""Errors of calls that another attempt does not mend; the account's next turn tries again."""
MAX_RETRIES: Final = 6
FIRST_DELAY: Final = 15
CLAIM_DELAY: Final = 2
"""Seconds until another attempt, if another process holds the mirror: a dead one's claim ends within a minute."""
MAX_CLAIM_ATTEMPTS: Final = 45
AT_ONCE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""A time in the past by every clock."""


class DatabaseLostError(Exception):
    """The database cannot be reached, or other workers have taken this one for dead."""


class ClientForCancelledError(Exception):
    """`client_for`, or what it awaits, was cancelled, and this worker was not."""


class SyncFailedError(Exception):
    """A sync has failed; it is tried again at `retry_at` by the server's clock, or, if `None`, at its next turn."""

    def __init__(self, message: str, retry_at: datetime | None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


def retry_delay(error: Exception, *, failures: int, attempts: int) -> int | None:
    """Seconds until a sync is tried again: 15, 30 and so on; `None` if it waits for its next turn.

    `failures` counts those of this turn, this one included, and `attempts` all earlier attempts.
    """
    if isinstance(error, SyncRunningError):
        return CLAIM_DELAY if attempts < MAX_CLAIM_ATTEMPTS else None
    # Of the errors of no call, the mirror refuses what it has seen: too many deletions, rows of another account.
    is_refusal = isinstance(error, LoftyError) and not isinstance(error, CallError)
    if is_refusal or isinstance(error, FINAL_ERRORS) or failures > MAX_RETRIES:
        return None
    return FIRST_DELAY * int(2 ** (failures - 1))


def tick_seconds(stalled_after: float) -> int:
    """Seconds between two ticks."""
    return max(1, min(LONGEST_TICK, ceil(stalled_after / 2)))


def longest_takeover(stalled_after: float) -> float:
    """Seconds until the sync of a worker that was killed is begun elsewhere, at most, if a place is free."""
    return stalled_after + tick_seconds(stalled_after) + TICK_DELAY + POLL_SECONDS


class Retries(BaseRetryStrategy):
    """Tries again when the error says; at once, on another worker, if this one stops."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError):
            return RetryDecision(retry_at=AT_ONCE)
        if isinstance(exception, PlaceGivenError):
            return RetryDecision(retry_at=AT_ONCE, priority=job.priority - 1)
        if isinstance(exception, SyncFailedError):
            return None if exception.retry_at is None else RetryDecision(retry_at=exception.retry_at)
        # The database has failed, and its clock with it.
        return RetryDecision(retry_in={"seconds": FIRST_DELAY}) if _attempts(job) < MAX_RETRIES else None


def _attempts(job: Job) -> int:
    """The earlier attempts, but for those that have given their place away: each lowered the priority."""
    return job.attempts + job.priority


@frozen
class Queue:
    """Jobs that call `sync` with an account, its earlier attempts and its priority; ticks that call `tick`."""

    app: App
    name: str
    stalled_after: float

    @classmethod
    def of(
        cls,
        dsn: str,
        schema: str,
        sync: Callable[[str, int, int], Awaitable[None]],
        tick: Callable[["Queue"], Awaitable[None]],
        *,
        stalled_after: float,
    ) -> "Queue":
        """The queue in a schema, whose name it has: notifications of the server do not tell schemas apart."""
        connector = PsycopgConnector(
            conninfo=dsn,
            kwargs=connection_options(dsn),
            configure=_configure(schema),
            min_size=1,
            max_size=4,
            timeout=CONNECT_TIMEOUT,
        )
        app = App(connector=connector, periodic_defaults={"max_delay": 60})
        queue = cls(app, schema, stalled_after)

        async def run_sync(context: JobContext, account: str) -> None:
            await sync(account, _attempts(context.job), context.job.priority)

        async def run_tick(timestamp: int) -> None:  # noqa: ARG001 - procrastinate passes it
            await tick(queue)

        # Syncs have no `queueing_lock`, which a rescue would violate; ticks no `lock`, which a dead worker would keep.
        app.task(name=SYNC, queue=schema, retry=Retries(), pass_context=True)(run_sync)
        ticking = app.task(name=TICK, queue=schema, priority=URGENT, queueing_lock=TICK)(run_tick)
        app.periodic(cron=f"* * * * * */{tick_seconds(stalled_after)}")(ticking)
        return queue

    @staticmethod
    def schema() -> str:
        """The statements that make the queue's tables."""
        return App(connector=PsycopgConnector()).schema_manager.get_schema()

    async def enqueue(self, account: str) -> None:
        """Enqueues a sync; jobs of one account run one after the other."""
        await self.app.configure_task(SYNC, lock=account).defer_async(account=account)

    async def rescue(self) -> None:
        """Enqueues the jobs of dead workers again; their ticks are dropped. No other process may do so meanwhile."""
        manager = self.app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self.stalled_after):
            if job.task_name == SYNC:
                log.warning("a worker is dead: the sync of account %s goes on elsewhere", job.lock)
                await manager.retry_job(job, retry_at=AT_ONCE)
            else:
                await manager.finish_job(job, status=Status.FAILED, delete_job=True)

    async def work(self, concurrency: int) -> None:
        """Runs jobs until cancelled.

        Raises: DatabaseLostError.
        """
        try:
            await self._work(concurrency)
        except ConnectorException as error:
            raise DatabaseLostError from error
        raise DatabaseLostError  # procrastinate ends if its heartbeat fails

    async def _work(self, concurrency: int) -> None:
        async with self.app.open_async():
            await self.app.run_worker_async(
                queues=[self.name],
                concurrency=concurrency,
                fetch_job_polling_interval=POLL_SECONDS,
                abort_job_polling_interval=ABORT_POLL_SECONDS,
                shutdown_graceful_timeout=GRACE_SECONDS,
                delete_jobs=DeleteJobCondition.ALWAYS,
                install_signal_handlers=False,
                update_heartbeat_interval=self.stalled_after / 4,
                stalled_worker_timeout=self.stalled_after,
            )


def is_cron(text: str) -> bool:
    """Whether it is a cron expression that has a next time."""
    try:
        next_after(text, datetime.now(UTC))
    except (CroniterError, ValueError, KeyError):
        return False
    return True


def next_after(cron: str, moment: datetime) -> datetime:
    """The next time of a cron expression, in UTC."""
    following: datetime = croniter(cron, moment).get_next(datetime)
    return following


def _configure(schema: str) -> Callable[[Any], Awaitable[None]]:
    async def configure(connection: Any) -> None:
        await connection.execute(search_path(schema))
        await connection.execute(IDLE_TIMEOUT)
        await connection.commit()

    return configure
