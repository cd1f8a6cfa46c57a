"""Does memory stay flat, however much is streamed?

Peaks of processes of their own that read their own tasks or calendar page by page, or the tasks of many leads, and
keep nothing.
What a process had before its first call is counted apart: imports would hide a growth.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from benchmarks.harness import Table, publish, read_options, told_by, worker
from benchmarks.server import CALENDAR_START, LEAD_WITH_ONE, serving
from lofty_async import ApiKey, LoftyClient

STATUS = Path("/proc/self/status")
MEBI = 2**20


def resident(kind: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most so far."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(kind))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def stream(lofty: LoftyClient, count: int) -> None:
    async for _ in lofty.tasks.mine():
        count -= 1
        if not count:
            break
    assert count == 0


async def entries(lofty: LoftyClient, count: int) -> None:
    async for _ in lofty.calendar.list(start=CALENDAR_START):
        count -= 1
        if not count:
            break
    assert count == 0


async def bulk(lofty: LoftyClient, count: int) -> None:
    async for lead in lofty.tasks.for_leads(range(1000, 1000 + count)):
        count -= len(lead.tasks)
    assert count == 0


WORK = {"tasks streamed": stream, "entries streamed": entries, "leads in bulk": bulk}


async def work(kind: str, url: str, count: int) -> None:
    """One process: what it held before its first call, and its peak."""
    async with LoftyClient(ApiKey("benchmark"), base_url=url) as lofty:
        await lofty.tasks.list(LEAD_WITH_ONE).collect()
        before = resident("VmRSS")
        await WORK[kind](lofty, count)
        print(before, resident("VmHWM"))


def measure(kind: str, counts: list[int], rounds: int) -> list[Table]:
    names = [f"{count:,} {kind}" for count in counts]
    whole = Table(f"peak memory, {kind}", "MiB", names[0])
    above = Table(f"peak memory above that of one call, {kind}", "MiB", names[0])
    with serving(tasks=max(counts)) as url:
        for name, count in [*zip(names, counts, strict=True)] * rounds:
            before, peak = map(int, told_by(worker("benchmarks.memory", kind, url, count)).split())
            whole.add(name, peak / MEBI)
            above.add(name, (peak - before) / MEBI)
    return [whole, above]


def ask(options: argparse.Namespace) -> list[Table]:
    tables: list[Table] = []
    most_of = {"tasks streamed": options.tasks, "entries streamed": options.entries, "leads in bulk": options.leads}
    for kind, most in most_of.items():
        tables += measure(kind, [options.few, most], options.rounds)
        print(tables[-2], tables[-1], sep="\n")
    return tables


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, rounds=1, few=10_000, tasks=1_000_000, entries=1_000_000, leads=30_000)
    if options.worker:
        kind, url, count = options.worker
        asyncio.run(work(kind, url, int(count)))
    else:
        publish(ask(options), options)


if __name__ == "__main__":
    main()
