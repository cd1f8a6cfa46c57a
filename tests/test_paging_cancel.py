"""A reading cancelled at every await it makes: afterwards it can be read on from where it was, and nothing is left."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from lofty_async.listing import Listing
from lofty_async.paging import Pager

from lofty_async import LoftyClient
from lofty_async.sandbox import Sandbox
from tests.leaks import others, settled
from tests.test_paging import Server, after_id, ids, numbered, offset
from tests.virtual import run

ROWS = list(range(1, 12))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterable[None]:
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def cancelled_after(steps: int, reading: Any, into: list[int]) -> bool:
    """Read until the loop has turned so often, then be cancelled; whether the end came first."""

    async def read() -> None:
        async for page in reading:
            into.extend(ids(page.items))

    task = asyncio.ensure_future(read())
    for _ in range(steps):
        await asyncio.sleep(0)
    is_done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return is_done


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
def test_a_reading_goes_on_from_where_it_was_cancelled(listing: Listing[Any], prefetch: int) -> None:
    async def main() -> None:
        steps, is_done = 0, False
        while not is_done:
            reading = Pager(listing, Server(ROWS), prefetch=prefetch).pages()
            read: list[int] = []
            is_done = await cancelled_after(steps, reading, read)
            async for page in reading:
                read.extend(ids(page.items))
            assert read == ROWS
            steps += 1
        assert steps > 6

    run(main())


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_a_reading_goes_on_though_it_is_cancelled_again_and_again(prefetch: int) -> None:
    async def main() -> None:
        for steps in range(4, 12):
            reading = Pager(numbered(), Server(ROWS), prefetch=prefetch).pages()
            read: list[int] = []
            for _ in range(100):
                if await cancelled_after(steps, reading, read):
                    break
            assert read == ROWS

    run(main())


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_a_reading_that_is_dropped_then_leaves_nothing(prefetch: int) -> None:
    async def main() -> None:
        steps, is_done = 0, False
        while not is_done:
            server = Server(ROWS)
            is_done = await cancelled_after(steps, Pager(numbered(), server, prefetch=prefetch).pages(), [])
            await settled()
            assert others() == set()
            assert server.under_way == 0
            steps += 1

    run(main())


async def take(items: AsyncIterator[Any], into: list[int]) -> None:
    async for item in items:
        into.append(int(item.id))  # noqa: PERF401 - what came before a cancellation has to stay


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_records_one_by_one_go_on_likewise(prefetch: int) -> None:
    async def main() -> None:
        for steps in range(40):
            items = aiter(Pager(numbered(), Server(ROWS), prefetch=prefetch))
            read: list[int] = []
            task = asyncio.ensure_future(take(items, read))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await take(items, read)
            assert read == ROWS

    run(main())


async def test_over_sockets_a_cancelled_reading_goes_on_and_holds_no_place() -> None:
    async with Sandbox(20, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        for steps in range(0, 120, 3):
            reading = lofty.leads.list(page_size=5).pages()
            read: list[int] = []
            await cancelled_after(steps, reading, read)
            async for page in reading:
                read.extend(ids(page.items))
            assert read == list(sandbox.state.leads)
        await settled()
        assert lofty.rate_limit.in_flight == 0
