"""How long people wait for a page of a web app while a bulk job runs beside them.

`examples/fastapi_app.py` under uvicorn, the sandbox in a process of its own, and people who ask for a lead's tasks at
random moments, as many as a share of the limit: first alone, then beside a sync of all leads. Prints, and writes JSON
on request.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from attrs import asdict, define, field, frozen

from benchmarks.harness import ROOT
from lofty_async import ApiKey, LoftyClient

KEY = "sandbox-key-0"
LATENCY = 0.1  # seconds that the sandbox takes for each answer, as a server elsewhere does


@frozen
class Options:
    leads: int
    limit: int
    window: float
    idle: float


@define
class Pages:
    """The statuses of the answers, and the seconds that each took."""

    seconds: list[float] = field(factory=list[float])
    statuses: Counter[int] = field(factory=Counter[int])

    def at(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@frozen
class Row:
    """One share of the limit that people ask for."""

    share: float
    pages: int
    idle_p50: float
    idle_p99: float
    bulk_p50: float
    bulk_p99: float
    bulk_max: float
    refused: int
    sync_seconds: float

    @property
    def factor(self) -> float:
        return self.bulk_p99 / self.idle_p99

    def __str__(self) -> str:
        return (
            f"{self.share:4.0%} of the limit: {self.pages} pages; alone p50 {1000 * self.idle_p50:.0f} ms, "
            f"p99 {1000 * self.idle_p99:.0f} ms; beside the sync p50 {1000 * self.bulk_p50:.0f} ms, "
            f"p99 {1000 * self.bulk_p99:.0f} ms ({self.factor:.1f} x), longest {1000 * self.bulk_max:.0f} ms; "
            f"{self.refused} answers of 503; the sync took {self.sync_seconds:.0f} s"
        )


@asynccontextmanager
async def server(*command: str, port: int, env: dict[str, str] | None = None) -> AsyncIterator[None]:
    """A process that listens on a port of this machine."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=quiet, stderr=quiet
    )
    try:
        async with asyncio.timeout(60):
            while not await _listens(port):  # noqa: ASYNC110 - it polls a real process
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def visit(session: aiohttp.ClientSession, leads: list[int], per_second: float, pages: Pages, seed: int) -> None:
    """People who come at random moments, until cancelled."""
    random = Random(seed)

    async def one(lead_id: int) -> None:
        began = time.perf_counter()
        async with session.get(f"/leads/{lead_id}/tasks") as response:
            await response.read()
        pages.seconds.append(time.perf_counter() - began)
        pages.statuses[response.status] += 1

    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(random.expovariate(per_second))
            group.create_task(one(random.choice(leads)))


@asynccontextmanager
async def visitors(session: aiohttp.ClientSession, leads: list[int], per_second: float) -> AsyncIterator[Pages]:
    pages = Pages()
    visiting = asyncio.create_task(visit(session, leads, per_second, pages, 7))
    try:
        yield pages
    finally:
        visiting.cancel()
        await asyncio.wait([visiting])


async def measure(share: float, options: Options, folder: str) -> Row:
    sandbox_port, app_port = free_port(), free_port()
    url = f"http://127.0.0.1:{sandbox_port}"
    sizes = {"leads": options.leads, "limit": options.limit, "window": options.window, "latency": LATENCY}
    flags = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    env = {
        "LOFTY_API_KEY": KEY,
        "LOFTY_BASE_URL": url,
        "TASKS_DB": f"{folder}/{share}.sqlite",
        "PYTHONPATH": os.pathsep.join(["examples", *sys.path]),
    }
    sandbox = ("-m", "lofty_async", "sandbox", "--port", str(sandbox_port), *flags)
    web = ("-m", "uvicorn", "--log-level", "error", "--port", str(app_port), "fastapi_app:app")
    async with server(*sandbox, port=sandbox_port), server(*web, port=app_port, env=env):
        async with LoftyClient(ApiKey(KEY), base_url=url) as lofty:
            leads = [lead.id for lead in await lofty.leads.list().collect(limit=100)]
        await asyncio.sleep(options.window)  # what that spent is of another window
        async with aiohttp.ClientSession(f"http://127.0.0.1:{app_port}") as session:
            return await compare(session, leads, share, options)


async def compare(session: aiohttp.ClientSession, leads: list[int], share: float, options: Options) -> Row:
    per_second = share * options.limit / options.window
    async with visitors(session, leads, per_second) as alone:
        await asyncio.sleep(options.idle)
    async with visitors(session, leads, per_second) as beside:
        began = time.perf_counter()
        progress = await _json(session.post("/sync"))
        while progress["running"]:
            await asyncio.sleep(0.2)
            progress = await _json(session.get("/sync"))
        took = time.perf_counter() - began
    assert progress["complete"]
    assert progress["leads"] == options.leads
    assert set(beside.statuses) <= {200, 503}
    return Row(
        share,
        len(beside.seconds),
        alone.at(0.5),
        alone.at(0.99),
        beside.at(0.5),
        beside.at(0.99),
        max(beside.seconds),
        beside.statuses[503],
        took,
    )


async def _json(request: Any) -> dict[str, Any]:
    async with request as response:
        answer: dict[str, Any] = await response.json()
        return answer


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.08, 0.2], help="of the limit, asked by people")
    parser.add_argument("--leads", type=int, default=2000)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--window", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS", help="before the sync begins")
    given = parser.parse_args(arguments)
    options = Options(given.leads, given.limit, given.window, given.idle)
    print(f"{options.leads} leads, {options.limit} requests in {options.window:g} s, {1000 * LATENCY:.0f} ms an answer")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for share in given.shares:
            rows.append(asyncio.run(measure(share, options, folder)))
            print(rows[-1], flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
