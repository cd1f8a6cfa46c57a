"""taskiq workers: one client per process, one budget for all, and jobs that outlive a killed worker.

    pip install "lofty-async[redis]" taskiq taskiq-redis
    export LOFTY_API_KEY=… REDIS_URL=redis://localhost:6379
    taskiq worker --max-async-tasks 20 taskiq_worker:broker
    python taskiq_worker.py        # queues a job for each lead

Of the brokers of taskiq-redis, only the stream broker keeps a job until it is done. Its defaults do not suit jobs that
must not be lost; the settings below say why.
"""

import asyncio
import os
from contextlib import suppress

from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from lofty_async import Lane, LoftyClient, RateLimiter, RedisStore

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
JOB_SECONDS = float(os.environ.get("JOB_SECONDS", "240"))
"""The longest that a job may take, waits for the rate limit included."""
IDLE_SECONDS = 1.25 * JOB_SECONDS
"""After this time without an acknowledgement another worker does the job."""

broker = RedisStreamBroker(
    REDIS_URL,
    # Jobs sent before the first worker started are read too; by default they are lost.
    consumer_id="0",
    # A worker owns what it has fetched, done or not, and its clock runs. By default it fetches 100.
    xread_count=1,
    # Longer than a job takes, else two workers do it. By default 10 minutes.
    idle_timeout=round(1000 * IDLE_SECONDS),
    # A worker that is killed while it looks for abandoned jobs must not keep others from looking.
    unacknowledged_lock_timeout=30,
)
# A job that fails, or that takes too long, is acknowledged too: without this it would be lost.
broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=5, default_retry_label=True))


@broker.task
async def finish_overdue(lead_id: int, context: Context = TaskiqDepends()) -> int:
    """Finish the overdue tasks of a lead, which may be done twice: a job that was abandoned runs again."""
    lofty: LoftyClient = context.state.lofty
    async with asyncio.timeout(JOB_SECONDS):
        overdue = [task for task in await lofty.tasks.list(lead_id).collect() if task.overdue]
        for task in overdue:
            await lofty.tasks.finish(task.id)
    return len(overdue)


@broker.task
async def look_for_abandoned() -> None:
    """Nothing: the broker looks for abandoned jobs after each new one, so a queue without new ones needs this."""


async def wake_broker() -> None:
    while True:
        await asyncio.sleep(IDLE_SECONDS)
        await look_for_abandoned.kiq()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    """One client a process; the store makes one budget of all processes, on however many machines."""
    state.limiter = RateLimiter(store=RedisStore.from_url(REDIS_URL, app_id="my-app"))
    state.lofty = LoftyClient.from_env(limiter=state.limiter, lane=Lane.BULK)
    state.waking = asyncio.create_task(wake_broker())


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    state.waking.cancel()
    with suppress(asyncio.CancelledError):
        await state.waking
    await state.lofty.close()
    await state.limiter.close()


async def main() -> None:
    await broker.startup()
    async with LoftyClient.from_env() as lofty:
        async for lead in lofty.leads.list():
            await finish_overdue.kiq(lead.id)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
