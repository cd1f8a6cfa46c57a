"""One client, one running event loop at a time; several loops share a budget through a store."""

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from lofty_async import FileStore, Lane, LoftyClient, LoftyError, MemoryStore, RateLimiter, Store, WrongEventLoopError
from lofty_async.sandbox import Sandbox
from tests.conftest import Hold

PATIENCE = 30.0

FORKED = """
import asyncio, os, sys
from lofty_async import ApiKey, LoftyClient

async def call(lofty):
    print((await lofty.me()).id, flush=True)
    os._exit(0)

async def start():
    lofty = LoftyClient(ApiKey(sys.argv[2]), base_url=sys.argv[1])
    await lofty.me()
    child = os.fork()
    if child:
        await lofty.close()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    asyncio.events._set_running_loop(None)
    asyncio.new_event_loop().run_until_complete(call(lofty))

sys.exit(asyncio.run(start()))
"""


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """All of them at once; none may hang."""
    failures: list[Exception] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as failure:  # noqa: BLE001 - raised below, in the test
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox.in_thread(2, 3, limit=10_000) as running:
        yield running


async def in_another_loop(work: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        await work()

    await asyncio.to_thread(asyncio.run, main())


USES: list[Callable[[LoftyClient], Awaitable[object]]] = [
    lambda lofty: lofty.me(),
    lambda lofty: lofty.tasks.mine().first(),
    lambda lofty: lofty.with_options(lane=Lane.BULK).me(),
    lambda lofty: lofty.tasks.finish(7),
    lambda lofty: lofty.close(),
    lambda lofty: lofty.__aexit__(None, None, None),
]


@pytest.mark.parametrize("use", USES, ids=["get", "list", "copy", "write", "close", "exit"])
async def test_a_second_running_loop_is_refused_at_once(use: Callable[[LoftyClient], Any], box: Sandbox) -> None:
    async with LoftyClient(box.auth, base_url=box.url) as lofty:
        await lofty.me()
        with pytest.raises(WrongEventLoopError, match=r"one client .*per event loop.*store") as caught:
            await in_another_loop(lambda: use(lofty))
        assert isinstance(caught.value, LoftyError)
        assert isinstance(caught.value, RuntimeError)
        assert (await lofty.me()).id
        assert lofty.stats.requests == 2


async def test_a_lead_of_a_bulk_run_that_meets_a_second_running_loop_says_so(box: Sandbox) -> None:
    async with LoftyClient(box.auth, base_url=box.url) as lofty:
        await lofty.me()
        errors: list[LoftyError | None] = []

        async def read() -> None:
            errors.extend([lead.error async for lead in lofty.tasks.for_leads([1, 2])])

        await in_another_loop(read)
        assert [type(error) for error in errors] == [WrongEventLoopError] * 2


async def test_a_limiter_refuses_a_second_running_loop_and_serves_the_first(box: Sandbox) -> None:
    limiter = RateLimiter()
    async with LoftyClient(box.auth, base_url=box.url, limiter=limiter) as lofty:
        await lofty.me()
        for use in (limiter.acquire, lambda: limiter.__aexit__(None, None, None)):
            with pytest.raises(WrongEventLoopError):
                await in_another_loop(use)

        async def other_client() -> None:
            async with LoftyClient(box.auth, base_url=box.url, limiter=limiter) as other:
                await other.me()

        with pytest.raises(WrongEventLoopError, match="rate limiter"):
            await in_another_loop(other_client)
        assert (await lofty.me()).id


async def test_figures_may_be_read_from_any_thread(sandbox: Sandbox, hold: "Hold") -> None:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        await lofty.me()
        sandbox.faults.add("GET *", hold)
        call = asyncio.create_task(lofty.me())
        await hold.reached()
        limit, stats = await asyncio.to_thread(lambda: (lofty.rate_limit, lofty.stats))
        assert (limit.limit, limit.in_flight, stats.requests) == (10_000, 1, 2)
        hold.gate.set()
        await call


async def test_a_permit_that_ends_in_another_thread_wakes_who_waits_here() -> None:
    limiter = RateLimiter(max_in_flight=1)
    for end in ("release", "settle"):
        permit = await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        await asyncio.to_thread(getattr(permit, end))
        async with asyncio.timeout(PATIENCE):
            (await waiting).release()
    assert limiter.snapshot.in_flight == 0


def test_a_loop_that_stopped_is_replaced_and_its_waiters_fail(box: Sandbox) -> None:
    limiter = RateLimiter(max_in_flight=1)
    lofty = LoftyClient(box.auth, base_url=box.url, limiter=limiter)
    with asyncio.Runner() as stopped, asyncio.Runner() as later:

        async def hold_up() -> tuple[Any, asyncio.Task[Any]]:
            permit = await limiter.acquire()
            call = asyncio.create_task(lofty.me())
            await asyncio.sleep(0.05)
            return permit, call

        permit, call = stopped.run(hold_up())

        async def go_on() -> object:
            waiting = asyncio.create_task(lofty.me())
            await asyncio.sleep(0.05)
            assert not waiting.done()
            permit.release()
            return await asyncio.wait_for(waiting, PATIENCE)

        assert later.run(go_on())
        assert limiter.snapshot.in_flight == 0
        with pytest.raises(WrongEventLoopError):
            stopped.run(asyncio.wait_for(call, PATIENCE))
        later.run(lofty.close())


@pytest.mark.parametrize("keeps_loop", [False, True], ids=["a loop a call", "a loop a thread"])
@pytest.mark.parametrize("limit", [10_000, 8])
def test_threads_that_fight_over_a_client_get_answers_or_the_error(limit: int, *, keeps_loop: bool) -> None:
    ended: Counter[str] = Counter()
    with Sandbox.in_thread(1, limit=limit, window=0.5) as box:
        lofty = LoftyClient(box.auth, base_url=box.url, timeout=5)

        def work(_number: int) -> None:
            with asyncio.Runner() as kept:
                for _ in range(20):
                    try:
                        call = asyncio.wait_for(lofty.me(), PATIENCE / 2)
                        _run(kept if keeps_loop else None, call)
                    except WrongEventLoopError:
                        ended["refused"] += 1
                    else:
                        ended["done"] += 1

        in_threads(4, work)
        assert ended["done"] + ended["refused"] == 80
        assert ended["done"] > 0
        assert lofty.rate_limit.in_flight == 0
        assert lofty.rate_limit.queued == dict.fromkeys(Lane, 0)
        asyncio.run(lofty.close())


def _run(runner: asyncio.Runner | None, call: Any) -> None:
    async def main() -> None:
        await call

    if runner:
        runner.run(main())
    else:
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["memory", "file", "a file each"])
def test_clients_of_several_threads_share_a_budget_through_a_store(kind: str, tmp_path: Path) -> None:
    shared = MemoryStore() if kind == "memory" else FileStore("app", directory=tmp_path)

    def store() -> Store:
        return FileStore("app", directory=tmp_path) if kind == "a file each" else shared

    with Sandbox.in_thread(1, limit=12, window=1.0) as box:

        async def main() -> None:
            async with AsyncExitStack() as stack:
                limiter = await stack.enter_async_context(RateLimiter(store=store()))
                client = LoftyClient(box.auth, base_url=box.url, limiter=limiter)
                lofty = await stack.enter_async_context(client)
                await asyncio.gather(*(lofty.me() for _ in range(6)))

        in_threads(4, lambda _: asyncio.run(main()))
        assert [record.status for record in box.requests] == [200] * 24


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_does_not_wait_for_the_loop_of_its_parent(box: Sandbox) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", FORKED, box.url, box.auth.key]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout.strip().isdecimal()) == (0, True), done.stderr
