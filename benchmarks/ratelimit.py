"""How long 1,000 calls take under 100 a minute, and how many are refused: this limiter beside the usual ways.

First on a virtual clock, with answers that come out of order; then over sockets, with real processes, files and a
real Redis, in a shortened window. Prints, and writes JSON and a picture on request.
"""

import argparse
import asyncio
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

from attrs import asdict, frozen

from benchmarks.harness import page_plots, save_for_page
from lofty_async import FileStore, Lane, LoftyClient, MemoryStore, RateLimiter, RedisStore
from lofty_async.auth import ApiKey
from lofty_async.sandbox import Sandbox
from tests.virtual import Caller, LoftyWindow, best_possible, limiter, now, run, together

CALLS, AT_ONCE = 1000, 50
STYLE = "epoch_ms"


@frozen
class Row:
    """One way of sending them all."""

    way: str
    seconds: float
    against_best: float
    refused: int
    max_delay: float
    shares: list[int]
    sent_at: list[float]

    def __str__(self) -> str:
        shares = "/".join(str(share) for share in self.shares)
        return (
            f"{self.way:<38} {self.seconds:7.1f} s  {self.against_best:6.3f} x  {self.refused:5} refused  "
            f"longest wait {self.max_delay:6.1f} s  {shares}"
        )


class Naive:
    """A caller without the limiter: sends, and when refused sleeps until the window that it is told of ends."""

    def __init__(self, server: LoftyWindow, seed: int, turn: Callable[[], Awaitable[None]]) -> None:
        self.server, self.random, self.turn = server, Random(seed), turn
        self.done, self.longest = 0, 0.0

    async def call(self) -> None:
        asked = now()
        while True:
            await self.turn()
            await asyncio.sleep(self.random.uniform(0.02, 0.1))
            status, _ = self.server.handle(now())
            await asyncio.sleep(self.random.uniform(0.02, 0.1))
            if status == 200:
                break
            await asyncio.sleep(self.server.began + self.server.length - now())
        self.done, self.longest = self.done + 1, max(self.longest, now() - asked)


class Bucket:
    """A leaky bucket: one request each `period` seconds."""

    def __init__(self, period: float) -> None:
        self.period, self.next_at = period, 0.0

    async def turn(self) -> None:
        self.next_at = max(self.next_at, now()) + self.period
        await asyncio.sleep(self.next_at - self.period - now())


async def at_will() -> None:
    """The turn of a caller that knows no limit."""


async def measure(way: str, make: Callable[[LoftyWindow], list[Any]]) -> Row:
    server = LoftyWindow(style=STYLE)
    callers = make(server)
    left, began = iter(range(CALLS)), now()

    async def work(caller: Any) -> None:
        for _ in left:
            await caller.call()

    await together(*(work(caller) for caller in callers for _ in range(AT_ONCE)))
    seconds, best = now() - began, best_possible(server, CALLS)
    for caller in callers:
        if isinstance(caller, Caller):
            await caller.limiter.close()
    longest = max(caller.longest for caller in callers)
    return Row(way, seconds, seconds / best, server.refused, longest, [one.done for one in callers], server.served)


class NearbyStore(MemoryStore):
    """A store half a millisecond away."""

    async def change(self, step: Any) -> Any:
        await asyncio.sleep(0.0005)
        result = await super().change(step)
        await asyncio.sleep(0.0005)
        return result


def limited(count: int, *, shared: bool = False, lane: Lane = Lane.INTERACTIVE) -> Callable[[LoftyWindow], list[Any]]:
    def make(server: LoftyWindow) -> list[Any]:
        store = NearbyStore(clock=now) if shared else None
        return [Caller(limiter(store=store), server, Random(seed), lane=lane) for seed in range(count)]

    return make


def buckets(count: int, per_minute: float) -> Callable[[LoftyWindow], list[Any]]:
    return lambda server: [Naive(server, seed, Bucket(60 / per_minute).turn) for seed in range(count)]


VIRTUAL: list[tuple[str, Callable[[LoftyWindow], list[Any]]]] = [
    ("a cap on concurrency alone", lambda server: [Naive(server, 1, at_will)]),
    ("a local leaky bucket", buckets(1, 100)),
    ("4 processes, a fixed share each", buckets(4, 25)),
    ("this limiter", limited(1)),
    ("4 processes, no store", limited(4)),
    ("8 processes, no store", limited(8)),
    ("4 processes, a store", limited(4, shared=True)),
    ("8 processes, a store", limited(8, shared=True)),
]


def make_store(kind: str) -> FileStore | RedisStore | None:
    kind, _, place = kind.partition("=")
    if kind == "file":
        return FileStore("benchmark", directory=place)
    return RedisStore.from_url(place, "benchmark") if kind == "redis" else None


async def worker(url: str, key: str, kind: str, calls: int) -> None:
    """One process of the real run: prints when each call was done, and how long the longest waited for its turn."""
    done: list[float] = []
    waits = [0.0]
    async with (
        RateLimiter(
            store=make_store(kind), on_wait=lambda waited: waits.append(waited.seconds), wait_threshold=0
        ) as shared,
        LoftyClient(ApiKey(key), base_url=url, limiter=shared, lane=Lane.INTERACTIVE) as lofty,
    ):
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                await lofty.me()
                done.append(time.monotonic())

        await together(*(work() for _ in range(25)))
    print(json.dumps({"done": done, "max_delay": max(waits)}))


@asynccontextmanager
async def redis_server() -> AsyncIterator[str | None]:
    """A Redis of our own on a free port; `None` where there is none to run."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        binary, "--port", str(port), "--save", "", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_it_listens(port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        await server.wait()


async def _until_it_listens(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise RuntimeError("redis-server does not listen")


async def over_sockets(way: str, kind: str, *, processes: int, window: float) -> Row:
    calls, limit = 400, 100
    with Sandbox.in_thread(leads=0, limit=limit, window=window, reset_style="epoch_ms") as sandbox:
        began = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.ratelimit", "--worker", sandbox.url, sandbox.auth.key, kind]
        started = [
            await asyncio.create_subprocess_exec(*command, str(calls // processes), stdout=asyncio.subprocess.PIPE)
            for _ in range(processes)
        ]
        told = [json.loads((await process.communicate())[0]) for process in started]
        seconds = time.perf_counter() - began
        best = (calls // limit - 1) * window
        longest = max(one["max_delay"] for one in told)
        return Row(way, seconds, seconds / best, sandbox.rejected, longest, _shares_of_first_half(told), [])


def _shares_of_first_half(told: list[dict[str, Any]]) -> list[int]:
    """How many of the first half of all calls each process got: in the end, each gets all of its own."""
    moments = sorted(moment for one in told for moment in one["done"])
    half = moments[len(moments) // 2]
    return [sum(moment < half for moment in one["done"]) for one in told]


async def real(window: float) -> AsyncIterator[Row]:
    yield await over_sockets("4 real processes, no store", "none", processes=4, window=window)
    with tempfile.TemporaryDirectory() as directory:
        yield await over_sockets("4 real processes, a file", f"file={directory}", processes=4, window=window)
    async with redis_server() as url:
        if url:
            yield await over_sockets("4 real processes, Redis", f"redis={url}", processes=4, window=window)


def draw(rows: list[Row], path: Path) -> None:
    """Requests per second against the windows' budget, for a few ways; it reads on a light page and on a dark one."""
    shown = [row for row in rows if row.sent_at][:1] + [
        row for row in rows if row.way in {"this limiter", "4 processes, a store"}
    ]
    figure, axes = page_plots("ratelimit").subplots(
        len(shown), 1, sharex=True, figsize=(8, 1.6 * len(shown)), layout="constrained"
    )
    for axis, row in zip(axes, shown, strict=True):
        axis.hist(row.sent_at, bins=range(0, 560, 2), histtype="stepfilled", color="#3b8fc2")
        for end in range(14, 560, 60):
            axis.axvline(end, color="#8c959f", linewidth=0.8, zorder=0)
        axis.set_title(f"{row.way}: {row.seconds:.0f} s, {row.refused} refused", fontsize=9, loc="left")
        axis.set_ylabel("accepted / 2 s", fontsize=8)
    axes[-1].set_xlabel("seconds; a line where the server's window ends")
    save_for_page(figure, path)


async def _real_rows(window: float) -> list[Row]:
    rows = []
    async for row in real(window):
        print(row)
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--picture", type=Path, help="draw them there (SVG)")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of the real run's window")
    parser.add_argument("--worker", nargs=4, metavar=("URL", "KEY", "STORE", "CALLS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        url, key, kind, calls = options.worker
        asyncio.run(worker(url, key, kind, int(calls)))
        return
    rows = []
    print(f"{CALLS} calls, 100 a minute, 14 s left of the first window; the best possible is 494 s")
    for way, make in VIRTUAL:
        rows.append(run(measure(way, make)))
        print(rows[-1])
    print(f"over sockets: 400 calls, 100 in {options.window:g} s")
    rows += asyncio.run(_real_rows(options.window))
    with options.json.open("w") if options.json else nullcontext() as file:
        if file:
            json.dump([asdict(row) for row in rows], file, indent=1)
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
