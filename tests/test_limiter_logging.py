"""What the limiter logs: at INFO a line for each fact that it learns, and for each long wait."""

import asyncio
import logging
from random import Random

import pytest

from lofty_async._wire import RateState
from lofty_async.ratelimit import Lane, RateLimiter
from tests.company import Company
from tests.virtual import Caller, LoftyWindow, exhausted, limiter, now, run

LOGGER = "lofty_async.ratelimit"


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)


async def answered(
    shared: RateLimiter, state: RateState, route: str = "GET /v2.0/tasks", *, refused: bool = False
) -> None:
    (await shared.acquire(route)).settle(state, refused=refused)


def test_a_limit_is_logged_when_it_is_seen_and_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        shared = limiter()
        for limit in (100, 100, 500):
            await answered(shared, RateState(limit, limit - 1, 60.0))

    run(main())
    assert caplog.messages == [
        "the application's rate limit is 100 requests per window (was unknown)",
        "the application's rate limit is 500 requests per window (was 100)",
    ]


def test_a_limit_that_another_process_has_seen_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        company = Company()
        first, second = company.join(), company.join()
        await first.call()
        caplog.clear()
        (await second.limiter.acquire()).release()
        await company.close()

    run(main())
    assert caplog.messages == ["the application's rate limit is 100 requests per window (was unknown)"]


def test_a_routes_own_limit_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        for remaining in (4, 3):
            await answered(shared, RateState(5, remaining, 60.0))

    run(main())
    assert caplog.messages == ["GET /v2.0/tasks has a rate limit of its own: 5 requests per window"]


@pytest.mark.parametrize(
    ("remaining", "message"),
    [
        (0, "HTTP 429: nothing remains of the rate limit; held for 20.0 s"),
        (40, "HTTP 429: GET /v2.0/tasks is paused for 20.0 s"),
    ],
)
def test_a_429_is_logged_with_its_effect(remaining: int, message: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        permits = [await shared.acquire("GET /v2.0/tasks") for _ in range(3)]
        for permit in permits:  # of one burst: one fact
            permit.settle(RateState(100, remaining, 60.0, retry_after=20.0), refused=True)

    run(main())
    assert [text for text in caplog.messages if "429" in text] == [message]


def test_a_pace_is_logged_when_it_is_found_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        permits = [await shared.acquire() for _ in range(10)]
        permits[0].settle(RateState(100, 40, 60.0), refused=True)
        await asyncio.sleep(10)
        await shared.acquire()

    run(main())
    paces = [text for text in caplog.messages if "paced" in text]
    assert paces == ["requests are paced: at most 9 in any second", "requests are no longer paced"]


def test_the_size_of_a_window_without_figures_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await Caller(limiter(), LoftyWindow(silent=True), Random(1)).calls(150, at_once=50)

    run(main())
    told = [text for text in caplog.messages if "tells no rate limit" in text]
    assert told == ["the server tells no rate limit; a window lets about 100 requests through"]


@pytest.mark.parametrize(("threshold", "lines"), [(1.0, 1), (100.0, 0)])
def test_a_wait_above_the_threshold_is_logged_without_a_listener(
    threshold: float, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        shared = exhausted(wait_threshold=threshold)
        await shared.acquire("GET /v2.0/tasks", lane=Lane.BULK)
        assert now() == 60

    run(main())
    waits = [text for text in caplog.messages if "waited" in text]
    assert waits == ["GET /v2.0/tasks waited 60.0 s for the rate limit (bulk lane)"] * lines


def test_nothing_is_logged_above_info_where_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await Caller(limiter(), LoftyWindow(), Random(1)).calls(300, at_once=100)

    run(main())
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert {record.name for record in caplog.records} == {LOGGER}
