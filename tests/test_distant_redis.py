"""A Redis some milliseconds away, on a clock that jumps: its distance costs time, never the shared budget."""

import asyncio
import logging
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest
from attrs import define, field

from lofty_async import Lane, RedisStore
from lofty_async.ratelimit.redis import READ
from tests.company import share_out
from tests.virtual import Caller, LoftyWindow, best_possible, limiter, now, run

SECONDS_OF_REDIS = 1_780_000_000


@define(eq=False)
class DistantRedis:
    """Runs the two scripts on one hash; each round trip takes `trip` seconds, a connection `to_connect` more."""

    trip: float
    to_connect: float = 0.0
    trips: int = 0
    random: Random = field(factory=lambda: Random(7))
    _hash: tuple[bytes, bytes] = (b"", b"")

    async def evalsha(self, sha: str, _keys: int, _key: str, /, *arguments: Any) -> list[Any]:
        self.trips += 1
        to_connect, self.to_connect = self.to_connect, 0.0
        await asyncio.sleep(to_connect + self._way())
        at, swapped = SECONDS_OF_REDIS + now(), False
        if sha != READ.digest and self._hash[0].decode() == arguments[0]:
            self._hash, swapped = (arguments[1].encode(), arguments[2]), True
        answer = [int(swapped), int(at), int(at % 1 * 1e6), *self._hash]
        await asyncio.sleep(self._way())
        return answer

    async def eval(self, script: str, _keys: int, /, *_: Any) -> Any:
        raise AssertionError(f"it has {script} already")

    def _way(self) -> float:
        return self.trip / 2 * self.random.uniform(0.9, 1.1)


def shared(
    redis: DistantRedis, processes: int, lane: Lane, calls: int, **options: Any
) -> Coroutine[Any, Any, tuple[LoftyWindow, float]]:
    """Processes that each have a store of their own on one Redis make `calls` together."""
    return share_out([RedisStore(redis, "app", **options) for _ in range(processes)], lane, calls)


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(("processes", "trip"), [(16, 0.001), (16, 0.02), (2, 0.1), (1, 0.15), (8, 0.15)])
def test_all_calls_share_the_budget_whatever_the_distance(
    processes: int, trip: float, lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    redis = DistantRedis(trip)
    server, seconds = run(shared(redis, processes, lane, 300))
    assert server.refused == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert redis.trips <= 10 * 300
    assert seconds < best_possible(server, 300) + 65  # at the beginning of one more window at the latest


def test_two_processes_ask_no_more_than_a_few_times_for_each_permit() -> None:
    redis = DistantRedis(0.001)
    run(shared(redis, 2, Lane.INTERACTIVE, 300))
    assert redis.trips <= 3 * 300


def test_connecting_has_a_time_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    run(shared(DistantRedis(0.15, to_connect=2.5), 1, Lane.INTERACTIVE, 5))
    assert "unavailable" not in caplog.text


def test_a_longer_timeout_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    run(shared(DistantRedis(0.8), 1, Lane.INTERACTIVE, 5, timeout=1.0))
    assert "unavailable" not in caplog.text


def test_a_connection_that_was_idle_may_be_made_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        redis = DistantRedis(0.1)
        caller = Caller(limiter(store=RedisStore(redis, "app")), LoftyWindow())
        await caller.call()
        await asyncio.sleep(300)
        redis.to_connect = 0.7
        await caller.call()

    run(main())
    assert "unavailable" not in caplog.text


def test_an_answer_that_does_not_come_costs_the_timeout_and_no_more() -> None:
    async def main() -> None:
        redis = DistantRedis(0.1)
        caller = Caller(limiter(store=RedisStore(redis, "app")), LoftyWindow(), way=lambda _: 0.0)
        await caller.call()
        await asyncio.sleep(1)
        redis.trip = 1000.0
        began = now()
        await caller.call()
        assert now() - began <= 0.25 + 1e-6

    run(main())
