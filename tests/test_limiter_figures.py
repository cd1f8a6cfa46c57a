"""What the limiter promises in figures: time against the best possible, and refusals, on a clock that jumps."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from lofty_async.ratelimit import Lane, RateLimiter
from tests.virtual import Caller, LoftyWindow, best_possible, limiter, now, run, together

CALLS = 1000
STYLES = ["epoch_s", "epoch_ms", "ms_left", "s_left"]
Beside = Callable[[LoftyWindow], Awaitable[None]]


def callers(server: LoftyWindow, processes: int = 1, **options: object) -> list[Caller]:
    return [Caller(limiter(**options), server, Random(number)) for number in range(processes)]


def seconds(server: LoftyWindow, *, calls: int = CALLS, processes: int = 1, **options: object) -> float:
    """How long `calls` take, shared out evenly to processes that know nothing of each other."""

    async def main() -> float:
        works = callers(server, processes, **options)
        await together(*(caller.calls(calls // processes, at_once=250 // processes) for caller in works))
        return now()

    return run(main())


@pytest.mark.parametrize("style", STYLES)
def test_one_process_spends_every_window_at_once_and_is_never_refused(style: str) -> None:
    server = LoftyWindow(style=style)
    assert seconds(server) <= best_possible(server, CALLS) * 1.005
    assert server.refused == 0


@pytest.mark.parametrize("style", STYLES)
def test_four_processes_that_know_nothing_of_each_other_lose_little(style: str) -> None:
    server = LoftyWindow(style=style)
    assert seconds(server, processes=4) <= best_possible(server, CALLS) * 1.02
    assert server.refused <= CALLS * 0.03


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("wall_error", [5.0, -5.0])
def test_a_local_clock_that_is_wrong_changes_nothing(style: str, wall_error: float) -> None:
    server = LoftyWindow(style=style)
    assert seconds(server, wall_error=wall_error) <= best_possible(server, CALLS) * 1.01
    assert server.refused <= 1


def test_a_reset_cut_to_the_second_costs_one_refusal() -> None:
    server = LoftyWindow(style="epoch_s_floor")
    assert seconds(server) <= best_possible(server, CALLS) * 1.005
    assert server.refused <= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("way", [0.0, 0.3, 2.0])
def test_answers_may_take_as_long_as_they_like(style: str, way: float) -> None:
    server = LoftyWindow(style=style, phase=0)

    async def main() -> float:
        caller = Caller(limiter(), server, way=lambda source: source.uniform(0.0, way))
        await caller.calls(CALLS - 50, at_once=250)
        return now()

    # The first window may have been another's, so it is spent with care, and slow answers leave some of it over.
    assert run(main()) <= best_possible(server, CALLS) * 1.01 + 2 * way
    assert server.refused <= 1


def test_an_api_key_at_ten_a_minute() -> None:
    server = LoftyWindow(limit=10)
    assert seconds(server, calls=50) <= best_possible(server, 50) + 2
    assert server.refused == 0


def test_bulk_work_uses_every_permit_of_each_window() -> None:
    server = LoftyWindow()

    async def main() -> None:
        await Caller(limiter(), server, lane=Lane.BULK).calls(CALLS, at_once=250)

    run(main())
    assert server.per_window() == [100] * 10
    assert server.refused == 0


def test_an_interactive_call_beside_bulk_work_hardly_waits() -> None:
    server = LoftyWindow()

    async def main() -> float:
        shared = limiter()
        bulk, person = Caller(shared, server, lane=Lane.BULK), Caller(shared, server, Random(2))

        async def visit() -> None:
            for _ in range(40):
                await asyncio.sleep(12)
                await person.call()

        await together(bulk.calls(CALLS - 40, at_once=250), visit())
        return person.longest

    assert run(main()) < 12
    assert server.refused == 0


async def spend_beside(server: LoftyWindow, per_window: int) -> None:
    """Another client, evenly spread."""
    while True:
        await asyncio.sleep(server.length / per_window)
        server.handle(now())


async def change_limit(server: LoftyWindow, limit: int) -> None:
    await asyncio.sleep(100)
    server.limit = limit


async def fall_silent(server: LoftyWindow) -> None:
    await asyncio.sleep(100)
    server.silent = True
    await asyncio.sleep(150)
    server.silent = False


def beside(server: LoftyWindow, other: Awaitable[None], calls: int = CALLS) -> tuple[float, Caller]:
    """Seconds that calls take while something else happens to the server, and who made them."""

    async def main() -> tuple[float, Caller]:
        caller, task = Caller(limiter(), server), asyncio.ensure_future(other)
        await caller.calls(calls, at_once=250)
        task.cancel()
        return now(), caller

    return run(main())


def test_another_client_that_takes_thirty_of_a_hundred() -> None:
    server = LoftyWindow()
    took, caller = beside(server, spend_beside(server, 30))
    # Whoever is first at a window's start has it: the other, evenly spread, gets less than it asks for.
    assert took <= 14 + 9 * 60 + 3
    assert caller.refused <= CALLS * 0.005


def test_a_limit_that_rises_is_used_from_then_on() -> None:
    server = LoftyWindow()
    took, _ = beside(server, change_limit(server, 200))
    assert took <= 14 + 5 * 60 + 3
    assert server.refused == 0


def test_a_limit_that_falls_is_overdrawn_once() -> None:
    server = LoftyWindow()
    took, _ = beside(server, change_limit(server, 40))
    assert took <= 14 + 120 + 17 * 60 + 3
    assert server.refused <= 60


def test_headers_that_are_gone_for_a_while_cost_nothing() -> None:
    server = LoftyWindow()
    took, _ = beside(server, fall_silent(server))
    assert took <= best_possible(server, CALLS) * 1.005
    assert server.refused == 0


@pytest.mark.parametrize(("phase", "refused"), [(46.0, 17), (0.0, 18)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_server_without_headers_is_found_out_by_trying(seed: int, phase: float, refused: int) -> None:
    server = LoftyWindow(silent=True, phase=phase)

    async def main() -> float:
        await Caller(limiter(), server, Random(seed)).calls(CALLS, at_once=250)
        return now()

    # The later in a window it is spent, the later is it known when the next one begins.
    assert run(main()) <= best_possible(server, CALLS) + (7 if phase else 9)
    assert server.refused <= refused


@pytest.mark.parametrize("own", [5, 20])
@pytest.mark.parametrize("other_first", [True, False])
def test_an_endpoint_with_a_lower_limit_of_its_own_does_not_slow_the_others(own: int, other_first: bool) -> None:
    server = LoftyWindow(own={"slow": LoftyWindow(limit=own)})

    async def main() -> tuple[float, int]:
        shared = limiter()
        slow, rest = Caller(shared, server, Random(2), route="slow"), Caller(shared, server)
        await (rest if other_first else slow).call()
        await (slow if other_first else rest).call()
        waiting = asyncio.ensure_future(slow.calls(10 * own, at_once=3 * own))
        await rest.calls(CALLS - 12 * own, at_once=100)
        waiting.cancel()
        return now(), slow.done

    took, done = run(main())
    assert took <= best_possible(server, CALLS) + 2
    assert done >= 4 * own  # of ten windows; the others were there first in some
    assert server.refused + server.own["slow"].refused <= 3


@pytest.mark.parametrize("per_second", [3, 5, 10, 20, 50])
def test_a_limit_per_second_is_found_and_kept(per_second: int) -> None:
    server = LoftyWindow(per_second=per_second, phase=0)
    took = seconds(server, calls=300)
    # The first two windows can be spent whole; the last one's requests go at the pace that the server allows.
    assert took <= 120 + 100 / per_second * 1.15 + 2
    assert server.refused <= 14


@pytest.mark.parametrize("per_second", [5, 20, 50])
def test_a_limit_per_second_that_is_lifted_is_forgotten_within_seconds(per_second: int) -> None:
    server = LoftyWindow(limit=5000, per_second=per_second)

    async def lift() -> None:
        await asyncio.sleep(20)
        server.per_second = None

    took, _ = beside(server, lift(), calls=5000)
    assert took <= 20 + 35


@pytest.mark.parametrize("way", [0.5, 0.7, 1.5])
def test_a_limit_per_second_is_kept_where_answers_take_longer_than_a_pause(way: float) -> None:
    server = LoftyWindow(limit=5000, per_second=20)

    async def main() -> float:
        caller = Caller(limiter(), server, way=lambda source: source.uniform(way, way + 0.1))
        await caller.calls(600, at_once=100)
        return now()

    assert run(main()) <= 600 / 20 * 1.5 + 8 * way
    assert server.refused <= 150


@pytest.mark.parametrize(("share", "longest"), [(0.01, 110), (0.02, 125), (0.05, 260)])
def test_answers_of_429_by_chance_do_not_slow_it_for_good(share: float, longest: float) -> None:
    chance = Random(1)

    class Moody(LoftyWindow):
        def _is_full(self, at: float) -> bool:
            return super()._is_full(at) or chance.random() < share

    async def main() -> float:
        await Caller(limiter(), Moody(limit=5000)).calls(5000, at_once=50)
        return now()

    # Most of it is the pause after each.
    assert run(main()) <= longest


def test_four_processes_that_share_one_limiter_are_one() -> None:
    server = LoftyWindow()

    async def main() -> float:
        shared: RateLimiter = limiter()
        works = [Caller(shared, server, Random(number)) for number in range(4)]
        await together(*(caller.calls(CALLS // 4, at_once=60) for caller in works))
        return now()

    assert run(main()) <= best_possible(server, CALLS) * 1.005
    assert server.refused == 0
