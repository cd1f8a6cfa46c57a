"""How near does the SDK come to the bound of latency, with the limiter on and a limit that never binds?

Calls take 80 ms at the server. With so many under way at any time none can be faster than calls * latency / at once.
The limit is known when the clock starts: who begins cold waits one latency longer, for the first answer.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from benchmarks.harness import Table, at_once, in_turn, publish, read_options
from benchmarks.requests import clients
from benchmarks.server import LEAD_WITH_ONE, serving

WIDTHS = (10, 50, 100)
BOUND = "calls * latency / at once"
LONGEST = 5.0  # seconds of a bound above which a run is made once


async def seconds(width: int, calls: int, call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await at_once(width, calls, call)
    return time.perf_counter() - began


async def measure(url: str, width: int, options: argparse.Namespace) -> Table:
    bound = options.calls * options.latency / width
    table = Table(f"{options.calls:g} calls at {options.latency:g} s, {width} at once", "s", BOUND, {BOUND: [bound]})
    ways = {name: client for name, client in clients().items() if name in {"aiohttp + json", "lofty_async"}}
    for name, client in in_turn(ways, 1 if bound > LONGEST else options.rounds):
        async with client(url) as get:
            await get(LEAD_WITH_ONE)
            table.add(name, await seconds(width, options.calls, partial(get, LEAD_WITH_ONE)))
    return table


async def ask(options: argparse.Namespace) -> list[Table]:
    tables: list[Table] = []
    with serving(delay=options.latency) as url:
        for width in WIDTHS:
            tables.append(await measure(url, width, options))
            print(tables[-1])
    return tables


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, rounds=2, calls=2000, latency=0.08)
    publish(asyncio.run(ask(options)), options)


if __name__ == "__main__":
    main()
