"""One run of a mirror, or of its baseline, in a process of its own: prints what it took as JSON."""

import asyncio
import json
import math
import sys
import time
from contextlib import AbstractAsyncContextManager

from attrs import asdict, frozen

from benchmarks.memory import MEBI, resident
from lofty_async import ApiKey, LoftyClient
from lofty_async.mirror import Mirror, PostgresDatabase, SqliteDatabase, SyncReport

NOTHING = "nothing"
"""The target of the baseline, which reads every lead and keeps nothing."""


@frozen(kw_only=True)
class Cost:
    """The cost of a run; `usable` is the requests until the database holds all that the lists show."""

    requests: int
    usable: int
    rows: int
    wall: float
    cpu: float
    peak: float

    @property
    def rows_a_second(self) -> float:
        return self.rows / self.wall

    @property
    def rows_a_cpu_second(self) -> float:
        return self.rows / self.cpu

    def minutes(self, limit: int) -> str:
        """Until usable and until the end: whole windows after the first."""
        usable, end = (max(0, math.ceil(count / limit) - 1) for count in (self.usable, self.requests))
        return f"{usable:,} / {end:,}" if usable != end else f"{end:,}"


def opened(target: str) -> AbstractAsyncContextManager[SqliteDatabase | PostgresDatabase]:
    """The database of an address: `postgresql://…#account`, or the path of an SQLite file."""
    dsn, _, account = target.partition("#")
    return PostgresDatabase(dsn, account=account) if account else SqliteDatabase(target)


async def read(lofty: LoftyClient) -> tuple[int, int]:
    """Reads every lead and keeps nothing; returns the rows read and the requests until they are usable."""
    async with lofty.tasks.for_leads(lead.id async for lead in lofty.leads.list()) as leads:
        rows = sum([len(lead.tasks) async for lead in leads])
    return rows, lofty.stats.requests


async def sync(lofty: LoftyClient, target: str, strategy: str) -> tuple[int, int]:
    """Syncs once; returns the rows held and the requests until they are usable."""
    swept: list[int] = []

    def look(report: SyncReport) -> None:
        if report.phase == "proving" and not swept:
            swept.append(report.requests)

    async with opened(target) as database:
        report = await Mirror(lofty, database).sync(strategy=strategy, on_progress=look)
    return report.usable, swept[0] if strategy == "lists" else report.requests


async def work(url: str, key: str, target: str, strategy: str) -> None:
    """One process: prints what its run took."""
    async with LoftyClient(ApiKey(key), base_url=url) as lofty:
        began, cpu = time.perf_counter(), time.process_time()
        rows, usable = await (read(lofty) if target == NOTHING else sync(lofty, target, strategy))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        requests = lofty.stats.requests
    peak = resident("VmHWM") / MEBI
    print(json.dumps(asdict(Cost(requests=requests, usable=usable, rows=rows, wall=wall, cpu=cpu, peak=peak))))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[2:]))
