"""The queue of a fleet: procrastinate's tables, jobs and worker; needs the extra `workers`."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from math import ceil
from typing import Any, Final

from croniter import croniter
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job, Status

from lofty_async.errors import AuthenticationError, InvalidRequestError, LoftyError
from lofty_async.mirror import SuspiciousDeletionError, SyncRunningError

from .postgres import SEARCH_PATH

log = logging.getLogger("lofty_async.workers")

QUEUE: Final = "lofty"
SYNC: Final = "lofty.sync"
TICK: Final = "lofty.tick"
URGENT: Final = 100
"""The priority of the tick: without it, nothing is rescued."""
LONGEST_TICK: Final = 10
"""Seconds between two ticks, at most."""
GRACE_SECONDS: Final = 2.0
"""How long a worker that stops lets its jobs go on; then they are cancelled, and keep what they have."""
LOST: Final = "the worker has lost its database, or was taken for dead: start it again"
FINAL_ERRORS: Final = (AuthenticationError, InvalidRequestError, SuspiciousDeletionError)
"""Errors that another attempt does not mend; the account's next turn tries again."""
MAX_ATTEMPTS: Final = 6
FIRST_DELAY: Final = 15
CLAIM_DELAY: Final = 2
"""Seconds until another attempt, if another process holds the mirror: a dead one's claim ends within a minute."""
MAX_CLAIM_ATTEMPTS: Final = 45


class Retries(BaseRetryStrategy):
    """Tries again after 15 s, 30 s and so on; at once, on another worker, if this one stops."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        seconds = self.delay(exception, job.attempts)
        return None if seconds is None else RetryDecision(retry_in={"seconds": seconds})

    def delay(self, exception: BaseException, attempts: int) -> int | None:
        if isinstance(exception, asyncio.CancelledError):
            return 0
        if isinstance(exception, SyncRunningError):
            return CLAIM_DELAY if attempts < MAX_CLAIM_ATTEMPTS else None
        if isinstance(exception, FINAL_ERRORS) or attempts >= MAX_ATTEMPTS:
            return None
        return FIRST_DELAY * int(2**attempts)


class Queue:
    """Jobs that call `sync` with an account, and a tick every few seconds that calls `tick`."""

    def __init__(
        self,
        dsn: str,
        sync: Callable[[str], Awaitable[None]],
        tick: Callable[[], Awaitable[None]],
        *,
        stalled_after: float,
    ) -> None:
        self._dsn, self._sync, self._tick, self._stalled_after = dsn, sync, tick, stalled_after
        self.app = self._new_app()

    def _new_app(self) -> App:
        app = App(
            connector=PsycopgConnector(conninfo=self._dsn, configure=_configure, min_size=1, max_size=4),
            periodic_defaults={"max_delay": 60},
        )

        async def sync(account: str) -> None:
            await self._sync(account)

        async def tick(timestamp: int) -> None:  # noqa: ARG001 - procrastinate passes it
            await self._tick()

        # Syncs have no `queueing_lock`, which a rescue would violate; ticks no `lock`, which a dead worker would keep.
        app.task(name=SYNC, queue=QUEUE, retry=Retries())(sync)
        seconds = max(1, min(LONGEST_TICK, ceil(self._stalled_after / 2)))
        every_few_seconds = f"* * * * * */{seconds}"
        app.periodic(cron=every_few_seconds)(app.task(name=TICK, queue=QUEUE, priority=URGENT)(tick))
        return app

    @staticmethod
    def schema() -> str:
        """The statements that make the queue's tables."""
        return App(connector=PsycopgConnector()).schema_manager.get_schema()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        async with self.app.open_async():
            yield

    async def enqueue(self, account: str) -> None:
        """Enqueues a sync; jobs of one account run one after the other."""
        await self.app.configure_task(SYNC, lock=account).defer_async(account=account)

    async def cancel(self, account: str) -> None:
        """Drops the jobs of an account that wait and cancels the one under way."""
        async with self.opened():
            for status in (Status.TODO, Status.DOING):  # the queue's words for waiting and under way
                for job in await self.app.job_manager.list_jobs_async(lock=account, status=status.value):
                    if job.id is not None:
                        await self.app.job_manager.cancel_job_by_id_async(job.id, abort=True, delete_job=True)

    async def rescue(self) -> None:
        """Enqueues the jobs of dead workers again; their ticks are dropped. No other process may do so meanwhile."""
        manager = self.app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_after):
            if job.task_name == SYNC:
                log.warning("a worker is dead: the sync of account %s goes on elsewhere", job.lock)
                await manager.retry_job(job)
            else:
                await manager.finish_job(job, status=Status.FAILED, delete_job=True)

    async def work(self, concurrency: int) -> None:
        """Runs jobs until cancelled.

        Raises: LoftyError if the database is lost.
        """
        try:
            await self._work(concurrency)
        except ConnectorException as error:
            raise LoftyError(LOST) from error
        raise LoftyError(LOST)  # procrastinate ends if its heartbeat fails

    async def _work(self, concurrency: int) -> None:
        async with self.opened():
            await self.app.run_worker_async(
                queues=[QUEUE],
                concurrency=concurrency,
                fetch_job_polling_interval=1.0,
                abort_job_polling_interval=2.0,
                shutdown_graceful_timeout=GRACE_SECONDS,
                delete_jobs=DeleteJobCondition.ALWAYS,
                install_signal_handlers=False,
                update_heartbeat_interval=self._stalled_after / 4,
                stalled_worker_timeout=self._stalled_after,
            )


def is_cron(text: str) -> bool:
    return bool(croniter.is_valid(text))


def next_after(cron: str, moment: datetime) -> datetime:
    """The next time of a cron expression, in UTC."""
    following: datetime = croniter(cron, moment).get_next(datetime)
    return following


async def _configure(connection: Any) -> None:
    await connection.execute(SEARCH_PATH)
    await connection.commit()
