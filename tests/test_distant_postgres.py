"""A PostgreSQL some milliseconds away, on a clock that jumps: its distance costs time, never the shared budget."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from attrs import define, field

from lofty_async import Lane, PostgresStore
from lofty_async.errors import StoreUnavailableError
from lofty_async.ratelimit.per_loop import PerLoop
from lofty_async.ratelimit.postgres import CONNECT_TIMEOUT, IDLE, MAX_LOCK_HOLD, MAX_PAUSE, TIMEOUT, Known, Link
from tests.company import share_out
from tests.postgres_server import needs_postgres
from tests.virtual import Caller, LoftyWindow, best_possible, limiter, now, run

pytestmark = needs_postgres
T = TypeVar("T")
SECONDS_OF_POSTGRES = 1_780_000_000


@define(eq=False)
class DistantPostgres:
    """One row, locked in turn; each round trip takes `trip` seconds, a connection `to_connect`."""

    trip: float
    to_connect: float = 0.0
    trips: int = 0
    connections: int = 0
    is_gone: bool = False
    longest_hold: float = 0.0
    text: str = ""
    row: asyncio.Lock = field(factory=asyncio.Lock)
    random: Random = field(factory=lambda: Random(7))

    async def connect(self) -> "DistantSession":
        self.connections += 1
        if self.is_gone:
            raise ConnectionRefusedError
        await asyncio.sleep(self.to_connect)
        return DistantSession(self)

    async def way(self) -> None:
        await asyncio.sleep(self.trip / 2 * self.random.uniform(0.9, 1.1))


@define(eq=False)
class DistantSession:
    server: DistantPostgres
    is_lost: bool = False
    has_answered: bool = False
    _locked_at: float | None = None
    _task: asyncio.Task[Any] | None = None

    async def read(self, _key: str) -> Known:
        return await self._statement(self._known)

    async def lock(self, _key: str) -> Known:
        self.has_answered = False
        return await self._statement(self._lock)

    async def _lock(self) -> Known:
        asyncio.get_running_loop().call_later(self.server.trip / 2, setattr, self, "has_answered", True)
        await self.server.row.acquire()
        self._locked_at = now()
        return await self._known()

    async def _known(self) -> Known:
        return Known(SECONDS_OF_POSTGRES + now(), self.server.text)

    async def commit(self, _key: str, text: str) -> None:
        self.has_answered = False
        await self._statement(lambda: self._commit(text))

    async def _commit(self, text: str) -> None:
        self.server.text = text
        self._unlock()

    async def _statement(self, work: Callable[[], Awaitable[T]]) -> T:
        self._task = asyncio.current_task()
        self.server.trips += 1
        await self.server.way()
        answer = await work()
        await self.server.way()
        return answer

    def _unlock(self) -> None:
        if self._locked_at is not None:
            self.server.longest_hold = max(self.server.longest_hold, now() - self._locked_at)
            self._locked_at = None
            self.server.row.release()

    def cut(self) -> None:
        self.is_lost = True
        assert self._task
        self._task.cancel()

    async def close(self) -> None:
        self._unlock()


def store_at(server: DistantPostgres, **options: Any) -> PostgresStore:
    store = PostgresStore("app", "postgresql://distant/lofty", **options)
    store._links = PerLoop(lambda: Link(server.connect))
    return store


def shared(
    postgres: DistantPostgres, processes: int, lane: Lane, calls: int, **options: Any
) -> Coroutine[Any, Any, tuple[LoftyWindow, float]]:
    """Processes that each have a store of their own on one PostgreSQL make `calls` together."""
    return share_out([store_at(postgres, **options) for _ in range(processes)], lane, calls)


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(
    ("processes", "trip"), [(16, 0.001), (16, 0.02), (16, 0.1), (2, 0.1), (1, 0.15), (8, 0.15), (40, 0.02)]
)
def test_all_calls_share_the_budget_whatever_the_distance(
    processes: int, trip: float, lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    postgres = DistantPostgres(trip)
    server, seconds = run(shared(postgres, processes, lane, 300))
    assert server.refused == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert postgres.trips <= 10 * 300
    assert postgres.connections <= processes
    assert postgres.longest_hold < MAX_LOCK_HOLD
    assert seconds < best_possible(server, 300) + 65  # at the beginning of one more window at the latest


def test_two_processes_ask_no_more_than_a_few_times_for_each_permit() -> None:
    postgres = DistantPostgres(0.001)
    run(shared(postgres, 2, Lane.INTERACTIVE, 300))
    assert postgres.trips <= 3 * 300


def test_connecting_has_a_time_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    run(shared(DistantPostgres(0.15, to_connect=2.5), 1, Lane.INTERACTIVE, 5))
    assert "unavailable" not in caplog.text


def test_a_longer_timeout_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    run(shared(DistantPostgres(0.8), 1, Lane.INTERACTIVE, 5, timeout=1.0))
    assert "unavailable" not in caplog.text


def test_a_shorter_one_as_well(caplog: pytest.LogCaptureFixture) -> None:
    run(shared(DistantPostgres(0.2), 1, Lane.INTERACTIVE, 5, timeout=0.1))
    assert "PostgreSQL did not answer within 0.1 s" in caplog.text


def test_a_connection_that_was_idle_may_be_made_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        postgres = DistantPostgres(0.1)
        caller = Caller(limiter(store=store_at(postgres)), LoftyWindow())
        await caller.call()
        await asyncio.sleep(300)
        # The network has dropped the connection, and tells nobody.
        asyncio.get_running_loop().call_later(TIMEOUT, setattr, postgres, "trip", 0.1)
        postgres.trip = 1000.0
        await caller.call()
        assert postgres.connections == 2

    run(main())
    assert "unavailable" not in caplog.text


def test_an_answer_that_does_not_come_costs_the_timeout_and_no_more() -> None:
    async def main() -> None:
        postgres = DistantPostgres(0.1)
        caller = Caller(limiter(store=store_at(postgres)), LoftyWindow(), way=lambda _: 0.0)
        await caller.call()
        await asyncio.sleep(1)
        postgres.trip = 1000.0
        began = now()
        await caller.call()
        assert now() - began <= TIMEOUT + 1e-6

    run(main())


def test_a_server_that_is_gone_is_tried_less_and_less_often() -> None:
    async def main() -> None:
        postgres = DistantPostgres(0.01, is_gone=True)
        store = store_at(postgres)
        while now() < 600:
            with pytest.raises(StoreUnavailableError, match=r"^PostgreSQL: cannot connect(: Conn|; next attempt in )"):
                await store.snapshot()
            await asyncio.sleep(0.5)
        assert 600 / MAX_PAUSE <= postgres.connections <= 2 * 600 / MAX_PAUSE + 10
        postgres.is_gone = False
        await asyncio.sleep(MAX_PAUSE)
        await store.snapshot()
        # A server that went away for a moment is tried again at once.
        postgres.is_gone = True
        link = await store._links.here()
        await link.drop()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="cannot connect: ConnectionRefusedError"):
                await store.snapshot()

    run(main())


def test_a_connection_that_takes_too_long_is_given_up() -> None:
    async def main() -> None:
        with pytest.raises(StoreUnavailableError, match=r"no connection within 3\.25 s"):
            await store_at(DistantPostgres(0.1, to_connect=IDLE)).snapshot()
        assert now() == pytest.approx(TIMEOUT + CONNECT_TIMEOUT)

    run(main())
