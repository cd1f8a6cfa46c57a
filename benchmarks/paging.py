"""Does the SDK fetch the next page while this one is read?

A page is read for as long as one takes to fetch. One after the other that takes twice as long as the slower of the
two; fetched ahead, hardly longer.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.harness import Table, in_turn, publish, read_options
from benchmarks.server import PAGE, serving
from lofty_async import ApiKey, LoftyClient

SLOWER = "the slower of the two"


async def seconds(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def read(lofty: LoftyClient, prefetch: int, seconds_a_page: float) -> None:
    async for _ in lofty.tasks.mine(prefetch=prefetch).pages():
        await asyncio.sleep(seconds_a_page)


async def only_sleep(pages: int, seconds_a_page: float) -> None:
    for _ in range(pages):
        await asyncio.sleep(seconds_a_page)


async def measure(lofty: LoftyClient, pages: int, rounds: int) -> Table:
    table = Table(f"{pages} pages, each read for as long as it takes to fetch", "s", SLOWER)
    table.measured[SLOWER] = []
    ways: dict[str, Callable[[float], Awaitable[None]]] = {
        "fetched ahead (prefetch=1)": lambda each: read(lofty, 1, each),
        "one after the other (prefetch=0)": lambda each: read(lofty, 0, each),
    }
    for _ in range(rounds):
        fetching = await seconds(read(lofty, 0, 0.0))
        reading = await seconds(only_sleep(pages, fetching / pages))
        table.add(SLOWER, max(fetching, reading))
        for name, way in in_turn(ways, 1):
            table.add(name, await seconds(way(fetching / pages)))
    return table


async def ask(options: argparse.Namespace) -> Table:
    # The last page is a short one, so that no request is spent on finding the end.
    with serving(tasks=options.pages * PAGE - 1, delay=options.latency) as url:
        async with LoftyClient(ApiKey("benchmark"), base_url=url) as lofty:
            await lofty.tasks.mine().first()
            return await measure(lofty, options.pages, options.rounds)


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, rounds=3, pages=30, latency=0.02)
    table = asyncio.run(ask(options))
    print(table)
    publish([table], options)


if __name__ == "__main__":
    main()
