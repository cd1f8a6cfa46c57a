"""What a shared limiter promises in figures: time against the best possible, and refusals, on a clock that jumps."""

import asyncio
from random import Random

import pytest

from lofty_async.ratelimit import Lane
from tests.company import Company, spend_beside
from tests.virtual import best_possible, now, run, together

CALLS = 1000
STYLES = ["epoch_s", "epoch_ms", "ms_left", "s_left"]


def company_of(processes: int, style: str) -> Company:
    company = Company()
    company.server.style = style
    for _ in range(processes):
        company.join()
    return company


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("processes", [4, 8])
def test_busy_processes_spend_every_window_at_once_and_are_never_refused(style: str, processes: int) -> None:
    async def main() -> None:
        company = company_of(processes, style)
        await company.share_out(CALLS)
        assert now() <= best_possible(company.server, CALLS) * 1.01
        assert company.server.refused == 0

    run(main())


@pytest.mark.parametrize("style", STYLES)
def test_one_busy_process_and_three_light_ones_waste_nothing(style: str) -> None:
    async def main() -> None:
        company = company_of(4, style)
        busy, *light = company.callers
        working = asyncio.ensure_future(busy.calls(CALLS, at_once=250))

        async def visit(number: int) -> None:
            random = Random(number)
            while not working.done():
                await asyncio.sleep(random.uniform(3, 20))
                await light[number].call()

        visits = [asyncio.ensure_future(visit(number)) for number in range(3)]
        await working
        took, theirs = now(), sum(caller.done for caller in light)
        await together(*visits)
        # What the light ones had was not there for the busy one.
        assert took <= best_possible(company.server, CALLS + theirs) * 1.01
        assert company.server.refused == 0
        assert max(caller.longest for caller in light) < 61

    run(main())


@pytest.mark.parametrize("wall_error", [5.0, -5.0])
@pytest.mark.parametrize("style", STYLES)
def test_local_clocks_that_are_wrong_change_nothing(wall_error: float, style: str) -> None:
    async def main() -> None:
        company = company_of(2, style)
        for _ in range(2):
            company.join(wall_error=wall_error)
        await company.share_out(CALLS)
        assert now() <= best_possible(company.server, CALLS) * 1.01
        assert company.server.refused <= 1

    run(main())


@pytest.mark.parametrize("style", STYLES)
def test_another_client_that_takes_thirty_in_each_hundred_leaves_the_rest_to_be_used(style: str) -> None:
    async def main() -> None:
        company = company_of(4, style)
        other = asyncio.ensure_future(spend_beside(company.server, 30, 2.0))
        await company.share_out(CALLS)
        other.cancel()
        # 70 are left of each window, so the last of them go in the fifteenth.
        assert now() <= (14 + 13 * 60) * 1.03
        assert company.refused <= CALLS * 0.005

    run(main())


def test_bulk_work_is_finished_in_the_window_in_which_all_of_it_fits() -> None:
    async def main() -> None:
        company = company_of(4, "epoch_ms")
        for caller in company.callers:
            caller.lane = Lane.BULK
        await company.share_out(CALLS)
        assert company.server.per_window() == [100] * 10
        assert company.server.refused == 0

    run(main())
