"""Calls ended from outside, by a deadline or by closing, and never mistaken for what somebody else cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lofty_async.dispatch.watch import Closed, DeadlinePassed, Watch, Watched
from tests.virtual import VirtualLoop, now, run


async def watched(watch: Watch, seconds: float | None, work: Awaitable[None]) -> str:
    """How the work ended, and when, as a call would see it."""
    call = Watched()
    watch.begin(call)
    try:
        if seconds is not None:
            watch.send(call, seconds)
        await work
    except asyncio.CancelledError:
        reasons = [reason.__name__ for reason in (DeadlinePassed, Closed) if call.was_ended_by(reason)]
        if not reasons:
            raise
        return f"{reasons[0]} at {now():.1f}"
    finally:
        watch.finish(call)
    return f"done at {now():.1f}"


def ends(*calls: tuple[float | None, float], close_at: float | None = None) -> list[str]:
    """The ends of calls, each with its deadline and the time that it takes."""

    async def main() -> list[str]:
        watch = Watch()
        if close_at is not None:
            asyncio.get_running_loop().call_later(close_at, watch.end_all)
        found = await asyncio.gather(*(watched(watch, seconds, asyncio.sleep(takes)) for seconds, takes in calls))
        assert watch.calls == {}
        await asyncio.sleep(max((seconds or 0) for seconds, _ in calls) + 1)
        assert watch._timer is None
        return found

    return run(main())


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([(None, 5)], ["done at 5.0"]),
        ([(2, 1)], ["done at 1.0"]),
        ([(2, 3)], ["DeadlinePassed at 2.0"]),
        (
            [(2, 3), (1, 3), (4, 3), (None, 6)],
            ["DeadlinePassed at 2.0", "DeadlinePassed at 1.0", "done at 3.0", "done at 6.0"],
        ),
        ([(1, 0.5), (3, 4)], ["done at 0.5", "DeadlinePassed at 3.0"]),
    ],
)
def test_a_call_ends_at_its_deadline_or_before(calls: list[tuple[float | None, float]], expected: list[str]) -> None:
    assert ends(*calls) == expected


def test_deadlines_close_together_share_a_look() -> None:
    found = ends(*((1 + number / 10_000, 9) for number in range(100)))
    # The first look comes half a tick after the first deadline, and finds them all.
    assert set(found) == {"DeadlinePassed at 1.0"}


def test_closing_ends_every_call() -> None:
    assert ends((None, 5), (9, 8), (9, 0.5), close_at=1) == ["Closed at 1.0", "Closed at 1.0", "done at 0.5"]


def test_a_call_ended_once_is_not_ended_again() -> None:
    async def main() -> str:
        watch = Watch()
        task = asyncio.create_task(watched(watch, None, asyncio.sleep(5)))
        await asyncio.sleep(1)
        watch.end_all()
        watch.end_all()
        return await task

    assert run(main()) == "Closed at 1.0"


@pytest.mark.parametrize("end", [Watch.end_all, lambda _: None])
def test_a_cancellation_by_somebody_else_stays_one(end: Callable[[Watch], None]) -> None:
    async def main() -> bool:
        watch = Watch()
        task = asyncio.create_task(watched(watch, 9, asyncio.sleep(5)))
        await asyncio.sleep(1)
        end(watch)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled() and not watch.calls

    assert run(main())


def test_calls_that_follow_each_other_share_a_timer() -> None:
    async def main() -> list[asyncio.TimerHandle | None]:
        watch, timers = Watch(), list[asyncio.TimerHandle | None]()
        for _ in range(3):
            await watched(watch, 30, asyncio.sleep(1))
            timers.append(watch._timer)
        return timers

    first, *others = run(main())
    assert first
    assert others == [first] * 2


def test_closing_leaves_no_timer() -> None:
    async def main() -> asyncio.TimerHandle | None:
        watch = Watch()
        await watched(watch, 30, asyncio.sleep(1))
        watch.end_all()
        return watch._timer

    assert run(main()) is None


def test_the_call_may_go_on_after_its_deadline() -> None:
    async def main() -> str:
        watch = Watch()
        first = await watched(watch, 1, asyncio.sleep(5))
        await asyncio.sleep(1)
        return f"{first}, {await watched(watch, 3, asyncio.sleep(2))}"

    assert run(main()) == "DeadlinePassed at 1.0, done at 4.0"


@pytest.mark.parametrize("seconds", [None, 30])
def test_a_call_knows_for_how_long_it_was_under_way(seconds: float | None) -> None:
    async def main() -> list[float]:
        watch, call = Watch(), Watched()
        watch.begin(call)
        await asyncio.sleep(1)
        watch.send(call, seconds)
        await asyncio.sleep(2)
        first = call.under_way
        watch.send(call, seconds)
        second = call.under_way
        watch.finish(call)
        watch.end_all()
        return [first, second]

    assert run(main()) == pytest.approx([2, 0])


def test_another_event_loop_has_its_own_timer() -> None:
    watch = Watch()

    async def one() -> str:
        return await watched(watch, 1, asyncio.sleep(5))

    assert [run(one()), run(one())] == ["DeadlinePassed at 1.0"] * 2


def test_what_a_dead_loop_left_keeps_nobody_from_ending() -> None:
    watch, dead = Watch(), VirtualLoop()
    dead.set_exception_handler(lambda *_: None)  # which would tell of the task that it left
    left = dead.create_task(watched(watch, 1, asyncio.sleep(5)))
    dead.run_until_complete(asyncio.sleep(0))
    dead.close()
    assert run(watched(watch, 1, asyncio.sleep(5))) == "DeadlinePassed at 1.0"
    watch.end_all()
    assert not left.done()
