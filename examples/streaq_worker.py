"""streaq workers: one client per process, one budget for all, and jobs that outlive a killed worker.

    pip install "lofty-async[redis]" streaq
    export LOFTY_API_KEY=… REDIS_URL=redis://localhost:6379
    streaq run streaq_worker:worker
    python streaq_worker.py        # queues a job for each lead

Any number of workers on any number of machines will do.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from streaq import Worker

from lofty_async import Lane, LoftyClient, RateLimiter, RedisStore

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


@asynccontextmanager
async def lifespan() -> AsyncGenerator[LoftyClient, None]:
    """One client a process; the store makes one budget of all processes, on however many machines."""
    async with (
        RateLimiter(store=RedisStore.from_url(REDIS_URL, app_id="my-app")) as limiter,
        LoftyClient.from_env(limiter=limiter, lane=Lane.BULK) as lofty,
    ):
        yield lofty


worker = Worker(
    REDIS_URL,
    lifespan=lifespan,
    # A worker renews its claim on a job while the job runs, so this may be shorter than a job: it is the time
    # after which the jobs of a killed worker are done by another.
    idle_timeout=float(os.environ.get("IDLE_SECONDS", "60")),
)


@worker.task
async def finish_overdue(lead_id: int) -> int:
    """Finish the overdue tasks of a lead, which may be done twice: a job that was abandoned runs again."""
    lofty = worker.context
    overdue = [task for task in await lofty.tasks.list(lead_id).collect() if task.overdue]
    for task in overdue:
        await lofty.tasks.finish(task.id)
    return len(overdue)


async def main() -> None:
    async with worker, LoftyClient.from_env() as lofty:
        async for lead in lofty.leads.list():
            await finish_overdue.enqueue(lead.id)


if __name__ == "__main__":
    asyncio.run(main())
