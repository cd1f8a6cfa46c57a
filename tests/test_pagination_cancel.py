"""An iteration cancelled at every await it makes: afterwards it goes on from where it was, and nothing is left."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lofty_async import LoftyClient
from lofty_async.sandbox import Sandbox
from tests.changing import ALL_KINDS, ListServer, ids, pager, read
from tests.leaks import others, settled
from tests.virtual import run

pytestmark = pytest.mark.usefixtures("quiet")

ROWS = list(range(1, 12))
EVERY_KIND = pytest.mark.parametrize("kind", ALL_KINDS)
PREFETCH = pytest.mark.parametrize("prefetch", [0, 1, 3])


async def read_records(records: Any, into: list[int]) -> None:
    async for record in records:
        into += ids([record])


async def cancelled_after(steps: int, reading: Awaitable[None]) -> bool:
    """Read until the loop has turned so often, then be cancelled; whether the end came first."""
    task = asyncio.ensure_future(reading)
    for _ in range(steps):
        await asyncio.sleep(0)
    is_done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return is_done


@pytest.mark.parametrize(("begin", "read_on"), [(lambda whole: whole.pages(), read), (aiter, read_records)])
@PREFETCH
@EVERY_KIND
def test_an_iteration_goes_on_from_where_it_was_cancelled(
    kind: str, prefetch: int, begin: Callable[[Any], Any], read_on: Callable[[Any, list[int]], Awaitable[None]]
) -> None:
    async def main() -> None:
        steps, is_done = 0, False
        while not is_done:
            iterator, taken = begin(pager(ListServer(kind, ROWS), prefetch=prefetch)), list[int]()
            is_done = await cancelled_after(steps, read_on(iterator, taken))
            await read_on(iterator, taken)
            assert taken == ROWS
            steps += 1
        assert steps > 6

    run(main())


@PREFETCH
@EVERY_KIND
def test_an_iteration_goes_on_though_it_is_cancelled_again_and_again(kind: str, prefetch: int) -> None:
    async def main() -> None:
        for steps in range(4, 12):
            pages, taken = pager(ListServer(kind, ROWS), prefetch=prefetch).pages(), list[int]()
            for _ in range(100):
                if await cancelled_after(steps, read(pages, taken)):
                    break
            assert taken == ROWS

    run(main())


@PREFETCH
def test_an_iteration_that_is_dropped_then_leaves_nothing(prefetch: int) -> None:
    async def main() -> None:
        steps, is_done = 0, False
        while not is_done:
            server = ListServer("calendar", ROWS)
            is_done = await cancelled_after(steps, read(pager(server, prefetch=prefetch).pages(), []))
            await settled()
            assert others() == set()
            assert server.under_way == 0
            steps += 1

    run(main())


async def test_over_sockets_a_cancelled_iteration_goes_on_and_holds_no_place() -> None:
    async with Sandbox(20, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        for steps in range(0, 120, 3):
            pages, taken = lofty.leads.list(page_size=5).pages(), list[int]()
            await cancelled_after(steps, read(pages, taken))
            await read(pages, taken)
            assert taken == list(sandbox.state.leads)
        await settled()
        assert lofty.rate_limit.in_flight == 0
