"""A 429 always reduces what goes next, and only what it speaks of: servers with odd figures, on a clock that jumps."""

import asyncio
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

import pytest
from attrs import define, evolve, field

from lofty_async._wire import RateState
from lofty_async.ratelimit import Lane, RateLimiter
from tests.virtual import Caller, LoftyWindow, best_possible, exhausted, limiter, now, run

LIMIT = 100


@define
class Odd(LoftyWindow):
    """A server whose figures are changed by `change`, and which answers 429 at random to a `share` of requests."""

    change: Callable[[RateState], RateState] = lambda state: state
    share: float = 0.0
    random: Random = field(factory=lambda: Random(7))

    def handle(self, at: float, route: str = "") -> tuple[int, RateState]:
        if self.share and self.random.random() < self.share:
            self._turn(at)
            self.refused += 1
            return 429, self.change(self._state(at))
        status, state = LoftyWindow.handle(self, at, route)
        return status, self.change(state)


ODD_FIGURES: list[Any] = [
    pytest.param(lambda state: evolve(state, limit=None), 0.0, id="no Limit"),
    pytest.param(lambda state: evolve(state, reset=0.0), 0.0, id="Reset is 0"),
    pytest.param(lambda state: evolve(state, reset=(state.reset or 0.0) - 3600), 0.0, id="Reset has passed"),
    pytest.param(lambda state: evolve(state, server_time=None), 300.0, id="clock 300 s ahead, no Date"),
    pytest.param(lambda state: evolve(state, server_time=None), -300.0, id="clock 300 s behind, no Date"),
    pytest.param(lambda state: evolve(state, server_time=None), 20.0, id="clock 20 s ahead, no Date"),
    pytest.param(lambda state: evolve(state, remaining=None), 0.0, id="no Remaining"),
    pytest.param(lambda state: evolve(state, reset=None), 0.0, id="no Reset"),
    pytest.param(lambda state: evolve(state, limit=None, reset=None), 0.0, id="Remaining alone"),
]


@pytest.mark.parametrize(("change", "wall_error"), ODD_FIGURES)
@pytest.mark.parametrize("phase", [0.0, 46.0])
def test_figures_that_lack_a_part_or_make_no_sense_cost_time_but_few_refusals(
    change: Callable[[RateState], RateState], wall_error: float, phase: float
) -> None:
    server = Odd(change=change, phase=phase)

    async def main() -> None:
        await Caller(limiter(wall_error=wall_error), server).calls(500, at_once=100)
        assert now() <= best_possible(server, 500) + 75

    run(main())
    assert server.refused <= 40


@define
class FullFiguresOfOne(LoftyWindow):
    """One route has a limit of its own; its 429 carries the application's figures."""

    def handle(self, at: float, route: str = "") -> tuple[int, RateState]:
        self._turn(at)
        own = self.own.get(route)
        if own and own.handle(at)[0] == 429:
            return 429, self._state(at)
        return LoftyWindow.handle(self, at)


def test_an_endpoints_429_with_the_applications_figures_pauses_that_endpoint_alone() -> None:
    waits = list[float]()

    async def main() -> None:
        server = FullFiguresOfOne(limit=500, own={"slow": LoftyWindow(limit=5)})
        shared = limiter()
        slow, rest = Caller(shared, server, Random(2), route="slow"), Caller(shared, server)
        flood = asyncio.ensure_future(slow.calls(1000, at_once=20))

        async def visit() -> None:
            began = now()
            await rest.call()
            waits.append(now() - began)

        visits = []
        for _ in range(300):
            await asyncio.sleep(0.7)
            visits.append(asyncio.ensure_future(visit()))
        await asyncio.wait(visits)
        flood.cancel()
        assert slow.done >= 12
        assert slow.refused <= 100

    run(main())
    assert median(waits) < 0.3
    assert sorted(waits)[len(waits) * 95 // 100] < 3


REFUSALS: list[tuple[RateState, bool]] = [
    (RateState(LIMIT, 0, 30.0), True),
    (RateState(LIMIT, 40, 30.0), False),
    (RateState(LIMIT, 40, 30.0, retry_after=86_400.0), False),
    (RateState(20, 0, 30.0), False),
    (RateState(), False),
    (RateState(LIMIT, None, 30.0), False),
    (RateState(retry_after=86_400.0), False),
]


@pytest.mark.parametrize(("state", "closes"), REFUSALS)
def test_a_429_closes_the_application_only_if_nothing_of_its_limit_remains(state: RateState, closes: bool) -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("fast")).settle(RateState(LIMIT, 99, 60.0))
        await asyncio.sleep(30)
        (await shared.acquire("slow")).settle(state, refused=True)
        began = now()
        await shared.acquire("fast")
        assert now() - began == pytest.approx(30.0 if closes else 0.6, abs=0.6)

    run(main())


@pytest.mark.parametrize("remaining", [0, 40])
def test_a_server_that_asks_for_a_day_is_asked_again_after_an_hour(remaining: int) -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        state = RateState(LIMIT, remaining, 30.0, retry_after=86_400.0)
        (await shared.acquire("slow")).settle(state, refused=True)
        began = now()
        await shared.acquire("slow")
        assert now() - began == pytest.approx(3600, abs=1)

    run(main())


def test_an_application_that_stays_refused_is_asked_ever_more_seldom() -> None:
    async def main() -> int:
        shared, asked = exhausted(), 0
        await asyncio.sleep(60)
        while now() < 360:
            # Its window seems to end at once, again and again.
            (await shared.acquire("a")).settle(RateState(LIMIT, 0, 0.5), refused=True)
            asked += 1
        return asked

    assert run(main()) <= 12


@pytest.mark.parametrize(("share", "best"), [(0.01, 75), (0.02, 80), (0.05, 110)])
def test_scattered_refusals_do_not_ratchet_the_pace_down(share: float, best: float) -> None:
    server = Odd(limit=500, share=share, phase=0.0)

    async def main() -> None:
        await Caller(limiter(), server).calls(1000, at_once=250)
        assert now() <= best

    run(main())
    assert server.refused <= 1000 * share * 2 + 10


def test_a_limit_per_second_is_kept_for_ten_windows() -> None:
    server = LoftyWindow(per_second=5)

    async def main() -> None:
        await Caller(limiter(), server).calls(1000, at_once=250)
        assert now() <= 565

    run(main())
    assert server.refused <= 15


async def beside_bulk(
    shared: RateLimiter, server: LoftyWindow, per_minute: float, minutes: float, seed: int
) -> list[float]:
    """Interactive calls at random times beside as much bulk work as goes: the seconds that each took."""
    random, waits = Random(seed), list[float]()
    person = Caller(shared, server, Random(seed + 5))

    async def visit() -> None:
        began = now()
        await person.call()
        if began > 120:  # until then, no window has told how many to expect
            waits.append(now() - began)

    bulk = [
        asyncio.ensure_future(_forever(Caller(shared, server, Random(seed + 7), lane=Lane.BULK))) for _ in range(120)
    ]
    visits = []
    while now() < minutes * 60:
        await asyncio.sleep(random.expovariate(per_minute / 60))
        visits.append(asyncio.ensure_future(visit()))
    await asyncio.wait(visits)
    for task in bulk:
        task.cancel()
    await asyncio.wait(bulk)
    return sorted(waits)


async def _forever(caller: Caller) -> None:
    while True:
        await caller.call()


@pytest.mark.parametrize("seed", [1, 5, 6, 8, 20])  # the last: two quiet minutes, then twice the usual
def test_by_default_bulk_leaves_what_interactive_calls_are_going_to_need(seed: int) -> None:
    server = LoftyWindow(phase=0)

    async def main() -> None:
        waits = await beside_bulk(limiter(), server, per_minute=15, minutes=30, seed=seed)
        assert waits[len(waits) * 99 // 100] <= 6
        assert median(waits) < 0.3

    run(main())
    windows = server.per_window()[1:-1]
    assert sum(windows) >= 0.98 * LIMIT * len(windows)
    assert server.refused == 0


def test_bulk_alone_leaves_nothing() -> None:
    server = LoftyWindow(phase=0)

    async def main() -> None:
        await Caller(limiter(), server, lane=Lane.BULK).calls(10 * LIMIT, at_once=250)
        assert now() <= best_possible(server, 10 * LIMIT) * 1.01

    run(main())


def test_a_wake_does_not_look_at_every_route() -> None:
    looked = list[str]()

    async def main() -> None:
        shared = exhausted()
        waiting = [asyncio.ensure_future(shared.acquire(f"route {number}")) for number in range(1000)]
        await asyncio.sleep(0)
        routes, ready_at = shared._limits.routes, type(shared._limits.routes).ready_at

        def look(self: Any, route: str, at: float) -> float:
            looked.append(route)
            return ready_at(self, route, at)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(routes), "ready_at", look)
            for _ in range(100):
                shared._pump()
            await asyncio.sleep(61)
        assert sum(task.done() for task in waiting) >= 50
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    run(main())
    assert len(looked) < 1000
