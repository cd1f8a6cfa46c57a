"""Calls ended by their deadline or by closing, in virtual time: a trace keeps each request from being sent."""

import asyncio
import threading
from contextvars import ContextVar
from time import monotonic
from typing import Any

import pytest
from aiohttp import TraceConfig

from lofty_async import ApiKey, ClientClosedError, LoftyClient, RateLimiter, RequestTimeoutError
from lofty_async._wire import RateState
from lofty_async.sandbox import Sandbox, faults
from tests.raw_server import CREATED, raw_server_in_thread
from tests.virtual import VirtualLoop, now, run, run_with_sandbox

URL = "http://127.0.0.1:9"  # where nothing listens
TAKES: ContextVar[float] = ContextVar("TAKES")


class Over(Exception):  # noqa: N818 - it says how a call ended
    """The request took as long as it was meant to."""


def ignore(*_: Any) -> None:
    """Nothing to report."""


async def wait(*_: Any) -> None:
    await asyncio.sleep(TAKES.get())
    raise Over


async def client() -> LoftyClient:
    """A client whose limiter knows a limit that many calls fit in."""
    trace, limiter = TraceConfig(), RateLimiter()
    trace.on_request_start.append(wait)
    (await limiter.acquire()).settle(RateState(limit=1000, remaining=999, reset=60))
    return LoftyClient(ApiKey("key"), base_url=URL, limiter=limiter, trace_configs=[trace])


async def end_of(lofty: LoftyClient, seconds: float | None, takes: float) -> str:
    """How a call ended, and when."""
    TAKES.set(takes)
    try:
        await lofty.with_options(timeout=seconds, retries=0).me()
    except RequestTimeoutError:
        return f"timeout at {now():.1f}"
    except ClientClosedError:
        return f"closed at {now():.1f}"
    except Over:
        return f"done at {now():.1f}"
    raise AssertionError("nothing answers there")


def timers() -> int:
    """The timers of the client that are still to come in the running loop."""
    loop: Any = asyncio.get_running_loop()
    homes = [getattr(handle._callback, "__module__", "") for handle in loop._scheduled if not handle.cancelled()]
    return sum(home.startswith("lofty_async") and "sandbox" not in home for home in homes)


def ends(*calls: tuple[float | None, float], close_at: float | None = None) -> list[str]:
    """The ends of calls that begin together, each with its timeout and the time that it takes."""

    async def main() -> list[str]:
        async with await client() as lofty:
            closing = asyncio.ensure_future(close(lofty, close_at))
            found = await asyncio.gather(*(end_of(lofty, timeout, takes) for timeout, takes in calls))
            await closing
            assert lofty.rate_limit.in_flight == 0
            await asyncio.sleep(max((timeout or 0) for timeout, _ in calls) + 1)
            assert timers() == 0
            return found

    return run(main())


async def close(lofty: LoftyClient, at: float | None) -> None:
    if at is not None:
        await asyncio.sleep(at)
        await lofty.close()


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([(None, 5)], ["done at 5.0"]),
        ([(2, 1)], ["done at 1.0"]),
        ([(2, 3)], ["timeout at 2.0"]),
        ([(2, 3), (1, 3), (4, 3), (None, 6)], ["timeout at 2.0", "timeout at 1.0", "done at 3.0", "done at 6.0"]),
        ([(1, 0.5), (3, 4)], ["done at 0.5", "timeout at 3.0"]),
    ],
)
def test_a_call_ends_at_its_deadline_or_before(calls: list[tuple[float | None, float]], expected: list[str]) -> None:
    assert ends(*calls) == expected


def test_deadlines_close_together_share_a_timer() -> None:
    found = ends(*((1 + number / 10_000, 9) for number in range(100)))
    # The timer fires half its tolerance after the first deadline, and ends them all.
    assert set(found) == {"timeout at 1.0"}


async def test_an_answer_that_came_while_the_loop_stood_still_is_taken(
    monkeypatch: pytest.MonkeyPatch, call_fields: Any, until: Any
) -> None:
    arrived, released, answered = threading.Event(), threading.Event(), threading.Event()

    def reply(_: str) -> bytes:
        arrived.set()
        released.wait(10)
        return CREATED

    with raw_server_in_thread(reply=reply, hangs_up=True, closed=answered) as server:
        async with LoftyClient(ApiKey("key"), base_url=server.url, timeout=30) as lofty:
            call = asyncio.create_task(lofty.tasks.create(**call_fields))
            await until(arrived.is_set)
            released.set()
            assert answered.wait(10)  # as a program that computes, or a container that is frozen
            monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: monotonic() + 60)
            assert await call == 9


def test_closing_ends_every_call() -> None:
    assert ends((None, 5), (9, 8), (9, 0.5), close_at=1) == ["closed at 1.0", "closed at 1.0", "done at 0.5"]


def test_closing_twice_ends_a_call_once() -> None:
    async def main() -> str:
        lofty = await client()
        call = asyncio.create_task(end_of(lofty, None, 5))
        await asyncio.sleep(1)
        await asyncio.gather(lofty.close(), lofty.close())
        return await call

    assert run(main()) == "closed at 1.0"


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_cancellation_by_somebody_else_stays_one(*, is_closed: bool) -> None:
    async def main() -> bool:
        async with await client() as lofty:
            call = asyncio.create_task(end_of(lofty, 9, 5))
            await asyncio.sleep(1)
            closing = asyncio.ensure_future(close(lofty, 0 if is_closed else None))
            if is_closed:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call, closing})
            return call.cancelled() and lofty.rate_limit.in_flight == 0

    assert run(main())


def test_calls_that_follow_each_other_share_a_timer() -> None:
    async def main() -> list[int]:
        async with await client() as lofty:
            found = [timers()]
            for _ in range(3):
                await end_of(lofty, 30, 1)
                found.append(timers())
        return [*found, timers()]

    assert run(main()) == [0, 1, 1, 1, 0]


def test_a_call_goes_on_after_an_attempt_that_timed_out() -> None:
    async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> tuple[float, int]:
        sandbox.faults.add(kind=faults.Latency(5), times=2)
        await lofty.with_options(timeout=1).me()
        return round(now(), 1), lofty.stats.requests

    assert run_with_sandbox(scenario) == (2.0, 3)


def test_another_event_loop_has_its_own_timer() -> None:
    lofties: list[LoftyClient] = []

    async def first() -> str:
        lofties.append(await client())
        return await end_of(lofties[0], 1, 5)

    async def second() -> str:
        async with lofties[0] as lofty:
            return await end_of(lofty, 1, 5)

    assert [run(first()), run(second())] == ["timeout at 1.0"] * 2


def test_a_loop_that_died_during_a_call_keeps_no_call_from_ending() -> None:
    dead = VirtualLoop()
    lofty = dead.run_until_complete(client())
    dead.set_exception_handler(ignore)  # it would report the task that it leaves
    left = dead.create_task(end_of(lofty, 1, 5))
    dead.run_until_complete(asyncio.sleep(0.5))
    dead.close()

    async def second() -> str:
        async with lofty:
            return await end_of(lofty, 1, 5)

    assert run(second()) == "timeout at 1.0"
    assert not left.done()
