"""Cancelling is a normal event: at whatever step it comes, nothing is held, nobody hangs, everyone else is served."""

import asyncio
import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lofty_async._wire import RateState
from lofty_async.errors import RateLimitWaitError
from lofty_async.ratelimit import Lane, RateLimiter
from lofty_async.ratelimit.lanes import Queue
from tests.virtual import at_turn, exhausted, limiter, now, run

MANY, SOME = 10_000, 2_000
TURNS = 20


def told(remaining: int, limit: int = 100) -> RateState:
    return RateState(limit=limit, remaining=remaining, reset=60.0)


def assert_is_as_new(shared: RateLimiter) -> None:
    snapshot = shared.snapshot
    assert snapshot.queued == {Lane.INTERACTIVE: 0, Lane.BULK: 0}
    assert snapshot.in_flight == 0
    assert shared._lanes.routes() == set()
    assert shared._timer is None


async def send(shared: RateLimiter, served: list[str], name: str, **options: Any) -> None:
    """One call as the dispatcher makes it."""
    permit = await shared.acquire("a", **options)
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        served.append(name)
        permit.settle(told(99))
    finally:
        permit.settle()


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("turn", range(1, TURNS))
def test_cancelled_at_any_turn_a_call_takes_nothing_with_it(turn: int, lane: Lane) -> None:
    async def main() -> None:
        shared, served = exhausted(), list[str]()
        others = [asyncio.create_task(send(shared, served, f"before {n}")) for n in range(3)]
        victim = asyncio.create_task(send(shared, served, "victim", lane=lane, max_wait=90))
        others += [asyncio.create_task(send(shared, served, f"after {n}", lane=Lane.BULK)) for n in range(3)]
        at_turn(turn, victim.cancel)
        await asyncio.wait_for(asyncio.gather(*others), 70)
        await asyncio.wait([victim], timeout=1)
        assert len([name for name in served if name != "victim"]) == 6
        assert victim.cancelled() or "victim" in served
        assert_is_as_new(shared)

    run(main())


def test_the_last_turns_are_after_the_call() -> None:
    async def main() -> list[str]:
        shared, served = exhausted(), list[str]()
        victim = asyncio.create_task(send(shared, served, "victim"))
        at_turn(TURNS - 1, victim.cancel)
        await victim
        return served

    assert run(main()) == ["victim"]


def test_cancelled_between_grant_and_waking_up_the_turn_goes_to_the_next() -> None:
    async def main() -> None:
        shared = limiter()
        first = await shared.acquire()
        victim, after = (asyncio.ensure_future(shared.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        first.release()
        victim.cancel()
        (await asyncio.wait_for(after, 0.01)).release()
        assert victim.cancelled()
        assert_is_as_new(shared)

    run(main())


def test_cancelled_as_it_gives_up_a_call_ends_as_one_or_the_other() -> None:
    async def main() -> None:
        shared = limiter()
        permit = await shared.acquire()
        victim = asyncio.ensure_future(shared.acquire(max_wait=0.5))
        await asyncio.sleep(0.5)
        victim.cancel()
        with pytest.raises((asyncio.CancelledError, RateLimitWaitError)):
            await victim
        permit.release()
        assert_is_as_new(shared)

    run(main())


def test_timeouts_around_a_wait_are_safe() -> None:
    async def main() -> float:
        shared = exhausted()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await shared.acquire()
        assert_is_as_new(shared)
        began = now()
        await shared.acquire()
        return now() - began

    assert run(main()) == pytest.approx(57)


@pytest.mark.parametrize("order", ["as they came", "last first", "every other"])
@pytest.mark.parametrize("max_wait", [None, 1e6])
def test_cancelling_all_of_many_waiters_leaves_the_limiter_as_new(order: str, max_wait: float | None) -> None:
    async def main() -> None:
        shared = exhausted()
        waiting = [
            asyncio.ensure_future(shared.acquire(lane=lane, max_wait=max_wait))
            for lane in Lane
            for _ in range(MANY // 2)
        ]
        await asyncio.sleep(1)
        assert sum(shared.snapshot.queued.values()) == MANY
        rows = {"as they came": waiting, "last first": waiting[::-1], "every other": waiting[::2] + waiting[1::2]}
        for task in rows[order]:
            task.cancel()
        await asyncio.wait(waiting)
        assert_is_as_new(shared)

    run(main())


def kept_by_the_limiter(count: int, *, max_wait: float | None) -> int:
    """Bytes that modules of the limiter allocate, futures included, for so many waiters."""

    async def main() -> int:
        shared = exhausted()
        gc.collect()
        tracemalloc.start()
        try:
            waiting = [asyncio.ensure_future(shared.acquire(max_wait=max_wait)) for _ in range(count)]
            await asyncio.sleep(0)
            ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/lofty_async/ratelimit/*")
            snapshot = tracemalloc.take_snapshot().filter_traces([ours])
        finally:
            tracemalloc.stop()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        return sum(statistic.size for statistic in snapshot.statistics("filename"))

    return run(main())


def test_a_waiter_costs_less_than_a_kilobyte() -> None:
    # In a process that nothing traces: measuring coverage costs memory of its own, on the account of the same lines.
    program = (
        "from tests.test_limiter_cancel import *\n"
        f"print(max(kept_by_the_limiter({SOME}, max_wait=max_wait) for max_wait in (None, 1e6)))"
    )
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    root = Path(__file__).parents[1]
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, env=untraced, capture_output=True, check=True)
    assert int(answer.stdout) / SOME < 1024


def counted(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> int:
    """How often the first of a queue is looked for."""
    looks, first = 0, Queue.first

    def look(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return first(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "first", look)
        work()
    return looks


def serve(count: int) -> None:
    """Let so many that wait all go, one answer after the other."""

    async def call(shared: RateLimiter) -> None:
        permit = await shared.acquire()
        await asyncio.sleep(0.01)
        permit.settle(RateState(limit=10**6, remaining=10**6 - 1, reset=60.0))

    async def main() -> None:
        shared = exhausted(10**6)
        await asyncio.gather(*(call(shared) for _ in range(count)))

    run(main())


def test_waking_takes_no_longer_for_more_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (counted(monkeypatch, partial(serve, count)) for count in (1000, 2000))
    assert 1000 <= few <= 2 * 1000
    assert many <= 2.05 * few


def test_cancelling_looks_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        async def main() -> None:
            shared = exhausted()
            waiting = [asyncio.ensure_future(shared.acquire()) for _ in range(1000)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

        run(main())

    assert counted(monkeypatch, work) == 0
