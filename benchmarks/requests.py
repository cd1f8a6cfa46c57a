"""The cost of a GET through the SDK, against aiohttp and a JSON decoder alone, and against other ways to do it.

CPU of the client's process alone; the server is another one. Each candidate asks for a lead's tasks and has them
decoded: as dicts by the bare ones, as models by the SDKs. Instructions are counted by callgrind, as the difference
between N requests and 2N, each the least of several tries: a second or a minute that begins costs whoever it strikes.
httpx is only timed, as it takes callgrind longer than all others together.
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.util import find_spec
from itertools import count, product, repeat
from typing import Any

import aiohttp
import attrs
import backoff
from attrs import frozen
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override
from yarl import URL

from benchmarks.conversion import wire_name
from benchmarks.harness import Table, at_once, count_instructions, in_turn, mark, publish, read_options, worker
from benchmarks.server import (
    LEAD_LACKING_ONE,
    LEAD_WITH_FRESH_PAGES,
    LEAD_WITH_ONE,
    LEAD_WITH_PAGE,
    LEAD_WITH_PAGE_LACKING,
    LEAD_WITH_PAGE_SPARSE,
    serving,
)
from lofty_async import ApiKey, LoftyClient, Task
from lofty_async._wire import Request
from lofty_async.endpoints.tasks import LIST

Get = Callable[[int], Awaitable[Any]]
Client = Callable[[str], AbstractAsyncContextManager[Get]]

HEADERS = {
    "Accept": "application/json",
    "Authorization": "token benchmark",
    "Content-Type": "application/json",
    "User-Agent": "benchmark",
}
PATH = "/v2.0/tasks"
SECONDS = 30.0


@frozen
class Load:
    """The calls to measure, and how: `timed` and `counted` are numbers of requests."""

    name: str
    lead_ids: Iterator[int]
    width: int
    timed: int = 0
    counted: int = 0


LOADS = [
    Load("GET of one task, 10 at once", repeat(LEAD_WITH_ONE), 10, timed=60, counted=30),
    Load("GET of one task, one key absent, 10 at once", repeat(LEAD_LACKING_ONE), 10, counted=30),
    Load("GET of one task, of another lead each time, 10 at once", count(1000), 10, counted=30),
    Load("GET of 100 tasks, one at a time", repeat(LEAD_WITH_PAGE), 1, timed=10),
    Load("GET of 100 tasks, the same page each time, 10 at once", repeat(LEAD_WITH_PAGE), 10, timed=10, counted=10),
    Load("GET of 100 tasks, a fresh page each time, 10 at once", repeat(LEAD_WITH_FRESH_PAGES), 10, counted=10),
    Load("GET of 100 tasks, one key absent, 10 at once", repeat(LEAD_WITH_PAGE_LACKING), 10, counted=10),
    Load("GET of 100 tasks, nulls left out, 10 at once", repeat(LEAD_WITH_PAGE_SPARSE), 10, counted=10),
]
TIMED = [load for load in LOADS if load.timed]
COUNTED = [load for load in LOADS if load.counted]
TRIES = 3


def bare(loads: Callable[[bytes], Any], seconds: float | None) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Get]:
        address = URL(url + PATH)
        async with aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(seconds)) as session:

            async def get(lead_id: int) -> Any:
                async with session.get(address, params={"leadId": str(lead_id)}) as response:
                    return loads(await response.read())

            yield get

    return client


@asynccontextmanager
async def naive(url: str) -> AsyncGenerator[Get]:
    """An SDK as one writes it in an afternoon."""
    converter = Converter()
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_structure_hook_func(lambda kind: kind == int | str | None, lambda code, _: code)
    names = {one.name: override(rename=wire_name(Task, one.name)) for one in attrs.fields(Task)}
    converter.register_structure_hook(Task, make_dict_structure_fn(Task, converter, **names))  # type: ignore[arg-type] # field names, none of which is an option
    async with aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(SECONDS)) as session:

        @backoff.on_exception(backoff.expo, aiohttp.ClientError, max_tries=3)
        async def get(lead_id: int) -> Any:
            async with session.get(f"{url}{PATH}?leadId={lead_id}") as response:
                response.raise_for_status()
                return converter.structure((await response.json())["tasks"], list[Task])

        yield get


@asynccontextmanager
async def with_httpx(url: str) -> AsyncGenerator[Get]:
    import httpx

    async with httpx.AsyncClient(headers=HEADERS, timeout=SECONDS) as client:

        async def get(lead_id: int) -> Any:
            return json.loads((await client.get(url + PATH, params={"leadId": lead_id})).content)

        yield get


@asynccontextmanager
async def ours(url: str) -> AsyncGenerator[Get]:
    async with LoftyClient(ApiKey("benchmark"), base_url=url, timeout=SECONDS) as lofty:
        yield lambda lead_id: lofty.tasks.list(lead_id).collect()


@asynccontextmanager
async def ours_decoded(url: str) -> AsyncGenerator[Get]:
    """Everything but models: the limiter, retries, a deadline, and decoding."""
    async with LoftyClient(ApiKey("benchmark"), base_url=url, timeout=SECONDS) as lofty:
        calls, options = lofty._caller.manager, lofty._caller.options  # noqa: SLF001 - the layer below the lists
        yield lambda lead_id: calls.call(Request(LIST, LIST.template, {"leadId": str(lead_id)}), options)


def clients() -> dict[str, Client]:
    """Every candidate whose library is there; the first is the baseline."""
    found: dict[str, Client] = {}
    if find_spec("orjson"):
        import orjson

        found["aiohttp + orjson"] = bare(orjson.loads, None)
        found["aiohttp + orjson, its timeout"] = bare(orjson.loads, SECONDS)
    found["aiohttp + json"] = bare(json.loads, None)
    found["lofty_async"] = ours
    found["lofty_async, without models"] = ours_decoded
    found["a naive SDK"] = naive
    if find_spec("httpx"):
        found["httpx + json"] = with_httpx
    return found


def countable() -> dict[str, Client]:
    return {name: client for name, client in clients().items() if client is not with_httpx}


@asynccontextmanager
async def opened(url: str, clients: Mapping[str, Client]) -> AsyncGenerator[dict[str, Get]]:
    """All clients, warmed up; what they hold is out of the collector's way."""
    async with AsyncExitStack() as stack:
        gets = {name: await stack.enter_async_context(client(url)) for name, client in clients.items()}
        for get in gets.values():
            for load in LOADS:
                await at_once(load.width, load.width, calling(get, load))
        gc.collect()
        gc.freeze()
        try:
            yield gets
        finally:
            gc.unfreeze()


def calling(get: Get, load: Load) -> Callable[[], Awaitable[Any]]:
    return lambda: get(next(load.lead_ids))


async def cpu(get: Get, load: Load) -> float:
    """Microseconds of CPU a request."""
    began = time.process_time()
    await at_once(load.width, load.timed, calling(get, load))
    return (time.process_time() - began) / load.timed * 1e6


async def measure_cpu(url: str, rounds: int) -> AsyncIterator[Table]:
    async with opened(url, clients()) as gets:
        for load in TIMED:
            table = Table(load.name, "us of CPU a request", next(iter(gets)), {name: [] for name in gets})
            for name, get in in_turn(gets, rounds):
                table.add(name, await cpu(get, load))
            yield table


async def run_marked(url: str, share: float) -> None:
    """The run that callgrind watches: per load and client N requests, then 2N."""
    async with opened(url, countable()) as gets:
        gc.disable()  # it would strike some stretches and not others
        for load, get, repeats in product(COUNTED, gets.values(), (1, 2) * TRIES):
            mark()
            await at_once(load.width, repeats * counted(load, share), calling(get, load))
        mark()


def counted(load: Load, share: float) -> int:
    return max(load.width, round(load.counted * share))


def measure_instructions(url: str, share: float) -> Iterator[Table]:
    names = list(countable())
    stretches = count_instructions(worker("benchmarks.requests", url, share))
    tries = iter(zip(*[iter(stretches)] * (2 * TRIES), strict=True))
    differences = (min(each[1::2]) - min(each[::2]) for each in tries)
    for load in COUNTED if stretches else ():
        each = {name: [next(differences) / counted(load, share)] for name in names}
        yield Table(load.name, "instructions a request", names[0], each)


async def ask(options: argparse.Namespace) -> list[Table]:
    with serving() as url:
        tables: list[Table] = []
        async for table in measure_cpu(url, options.rounds):
            print(table)
            tables.append(table)
        for table in measure_instructions(url, options.counted) if options.counted else ():
            print(table)
            tables.append(table)
        return tables


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, rounds=40, counted=1.0)
    if options.worker:
        url, share = options.worker
        asyncio.run(run_marked(url, float(share)))
    else:
        publish(asyncio.run(ask(options)), options)


if __name__ == "__main__":
    main()
