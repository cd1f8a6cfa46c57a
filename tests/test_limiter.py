import asyncio
import gc
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lofty_async._wire import RateState
from lofty_async.errors import ClientClosedError, InvalidRequestError, RateLimitWaitError
from lofty_async.ratelimit import Lane, Permit, RateLimit, RateLimiter, WaitEvent
from lofty_async.ratelimit.window import Window
from tests.virtual import Caller, LoftyWindow, VirtualLoop, exhausted, limiter, now, run

LIMIT = 100


def told(remaining: int, *, left: float = 60.0, limit: int = LIMIT, **more: Any) -> RateState:
    return RateState(limit=limit, remaining=remaining, reset=left, **more)


async def asleep() -> None:
    """Let every task run as far as it comes by itself."""
    for _ in range(5):
        await asyncio.sleep(0)


class Calls:
    """Calls that write down, in the order of their turns, who they are."""

    def __init__(self, shared: RateLimiter) -> None:
        self.shared, self.order = shared, list[str]()
        self.permits: list[Permit] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, **options: Any) -> None:
        self.tasks.append(asyncio.ensure_future(self._call(name, options)))
        await asleep()

    async def _call(self, name: str, options: dict[str, Any]) -> None:
        permit = await self.shared.acquire(options.pop("route", ""), **options)
        self.order.append(name)
        self.permits.append(permit)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("reserve", -0.1),
        ("reserve", 1.1),
        ("floor", -1),
        ("max_in_flight", 0),
        ("wait_threshold", -1),
        ("floor", 50.0),
        ("max_in_flight", 2.5),
        ("max_in_flight", float("inf")),
        ("reserve", "half"),
        ("floor", "1"),
        ("max_in_flight", None),
        ("wait_threshold", True),
        ("store", "redis://localhost/0"),
        ("on_wait", "print"),
        ("on_wait", asyncio.sleep),
    ],
)
def test_an_argument_out_of_range_or_of_the_wrong_type_is_refused_by_name(argument: str, value: object) -> None:
    options: dict[str, Any] = {argument: value}
    with pytest.raises(InvalidRequestError) as caught:
        RateLimiter(**options)
    assert caught.value.argument == argument


def test_a_new_limiter_knows_nothing() -> None:
    empty = RateLimit(None, None, None, {Lane.INTERACTIVE: 0, Lane.BULK: 0}, 0)
    assert RateLimiter().snapshot == empty


def test_the_snapshot_tells_how_things_stand() -> None:
    async def main() -> RateLimit:
        calls = Calls(exhausted())
        await calls.ask("a", lane=Lane.BULK)
        await calls.ask("b")
        snapshot = calls.shared.snapshot
        await asyncio.sleep(60)
        assert calls.shared.snapshot.in_flight == 2
        return snapshot

    assert run(main()) == RateLimit(LIMIT, 0, 60.0, {Lane.INTERACTIVE: 1, Lane.BULK: 1}, 0)


def test_a_turn_that_has_come_is_given_without_waiting() -> None:
    async def main() -> list[Permit | None]:
        calls = Calls(exhausted())
        early = calls.shared.acquire_now()
        await asyncio.sleep(60)
        permit, after_a_wait = calls.shared.acquire_now("route", lane=Lane.BULK), calls.shared.acquire_now()
        for _ in range(LIMIT):
            await calls.ask("person")
        return [early, permit, after_a_wait, calls.shared.acquire_now()]

    early, permit, after_a_wait, while_others_wait = run(main())
    assert early is while_others_wait is None
    assert permit is not None
    assert (permit.route, permit.lane, permit.waited) == ("route", Lane.BULK, 0.0)
    assert repr(permit) == f"<Permit {permit.number} of the bulk lane for route>"
    assert after_a_wait is not None
    assert after_a_wait.number == permit.number + 1


@pytest.mark.parametrize("lane", Lane)
def test_first_come_first_served_in_a_lane(lane: Lane) -> None:
    async def main() -> list[str]:
        calls = Calls(exhausted())
        for name in "abcdef":
            await calls.ask(name, lane=lane, route=name)
        await asyncio.sleep(70)
        return calls.order

    assert run(main()) == list("abcdef")


def test_interactive_calls_go_before_bulk_and_every_tenth_turn_is_bulks() -> None:
    async def main() -> list[str]:
        calls = Calls(exhausted(reserve=0.1))
        for _ in range(3):
            await calls.ask("bulk", lane=Lane.BULK)
        for _ in range(20):
            await calls.ask("person")
        await asyncio.sleep(70)
        return calls.order

    order = run(main())
    assert len(order) == 23
    assert order.index("bulk") <= 9
    assert order[order.index("bulk") + 1 :].index("bulk") == 9


def test_bulk_leaves_a_reserve_that_shrinks_to_nothing() -> None:
    async def main() -> tuple[int, float, float]:
        calls = Calls(exhausted(reserve=0.1))
        await asyncio.sleep(60)
        began = now()
        for _ in range(LIMIT):
            await calls.ask("bulk", lane=Lane.BULK)
        at_once = len(calls.order)
        calls.permits[0].settle(told(LIMIT - 1))
        await calls.ask("person")
        person_after = now() - began
        await asyncio.wait(calls.tasks[: LIMIT - 1])
        return at_once, person_after, now() - began

    at_once, person_after, bulk_after = run(main())
    assert at_once == 90
    assert person_after == 0
    assert 50 < bulk_after <= 60


def test_the_floor_is_never_spent() -> None:
    async def main() -> int:
        server = LoftyWindow()
        caller = Caller(limiter(floor=30), server, lane=Lane.BULK)
        await caller.calls(300, at_once=200)
        return max(server.per_window())

    assert run(main()) == 70


LEFT = [
    *[({"floor": 100}, 100), ({"floor": 500}, 100), ({"floor": 9}, 10), ({"floor": 20, "reserve": 0.0}, 10)],
    *[({"reserve": 1.0}, 100), ({"floor": 90}, 100), ({"floor": 50, "reserve": 0.5}, 100), ({"floor": 1}, 1)],
]


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(("rules", "limit"), LEFT)
def test_whatever_is_to_be_left_of_a_window_one_request_of_it_goes(
    rules: dict[str, Any], limit: int, lane: Lane
) -> None:
    async def main() -> None:
        server = LoftyWindow(limit, phase=1)
        caller = Caller(limiter(**rules), server, lane=lane)
        await caller.call()
        await asyncio.sleep(100)
        began = now()
        await caller.call()
        assert now() - began < 1
        await caller.calls(3, at_once=3)
        assert now() - began < 5 * 60
        assert server.refused == 0

    run(main())


def test_a_reserve_of_everything_leaves_nothing_unused() -> None:
    server = LoftyWindow(phase=0)

    async def main() -> None:
        await Caller(limiter(reserve=1.0), server, lane=Lane.BULK).calls(3 * LIMIT, at_once=LIMIT)

    run(main())
    # The last of a window may be on its way when that ends.
    assert min(server.per_window()[:3]) >= LIMIT - 1


def test_an_endpoints_own_limit_below_the_floor_stops_nobody_for_long() -> None:
    async def main() -> None:
        server = LoftyWindow(500, phase=1, own={"slow": LoftyWindow(10, phase=1)})
        shared = limiter(floor=20)
        await Caller(shared, server, route="slow").call()
        await Caller(shared, server, route="fast").call()
        assert now() < 61
        assert shared.snapshot.limit == 500

    run(main())


def test_a_guess_below_the_floor_stops_nobody() -> None:
    async def main() -> None:
        caller = Caller(limiter(floor=10), LoftyWindow(10, phase=21, silent=True))
        await caller.calls(20, at_once=20)
        assert now() < 20 * 60

    run(main())


def test_when_all_that_was_carried_over_ended_without_an_answer_the_next_call_waits_for_one_window() -> None:
    async def main() -> float:
        calls = Calls(exhausted(limit=10))
        await asyncio.sleep(60)
        for _ in range(10):
            await calls.ask("lost")
        await asyncio.sleep(61)
        calls.shared.acquire_now()
        for permit in calls.permits:
            permit.settle()
        began = now()
        await calls.shared.acquire()
        return now() - began

    assert run(main()) <= 60


def test_no_more_than_max_burst_are_in_flight() -> None:
    async def main() -> int:
        calls = Calls(exhausted(max_in_flight=7))
        await asyncio.sleep(60)
        for _ in range(20):
            await calls.ask("a")
        return calls.shared.snapshot.in_flight

    assert run(main()) == 7


def test_a_wait_known_to_be_too_long_is_refused_at_once() -> None:
    async def main() -> None:
        shared = exhausted()
        began = now()
        with pytest.raises(RateLimitWaitError) as caught:
            await shared.acquire(max_wait=20)
        assert (caught.value.predicted, caught.value.max_wait) == (60.0, 20)
        assert now() == began
        assert shared.predict() == 60.0
        await shared.acquire(max_wait=60)

    run(main())


def test_the_prediction_counts_whole_windows_for_those_ahead() -> None:
    async def main() -> list[float]:
        calls = Calls(exhausted())
        for _ in range(LIMIT):
            await calls.ask("bulk", lane=Lane.BULK)
        return [calls.shared.predict(lane) for lane in Lane]

    assert run(main()) == [60.0, 120.0]


async def with_a_slow_route(waiting: int) -> Calls:
    """A window of a hundred that has just begun; one route has a limit of two of its own, and calls wait for it."""
    calls = Calls(exhausted())
    await asyncio.sleep(60)
    (await calls.shared.acquire("fast")).settle(told(99))
    (await calls.shared.acquire("slow")).settle(told(0, limit=2))
    for _ in range(waiting):
        await calls.ask("slow", route="slow")
    return calls


@pytest.mark.parametrize("lane", Lane)
def test_calls_that_wait_for_another_endpoint_alone_are_not_ahead(lane: Lane) -> None:
    async def main() -> None:
        calls = await with_a_slow_route(waiting=3 * LIMIT)
        assert calls.shared.predict(lane) == calls.shared.predict(lane, "fast") == 0
        began = now()
        await calls.shared.acquire("fast", lane=lane, max_wait=0)
        assert now() == began

    run(main())


def test_calls_that_wait_for_the_same_endpoint_are_ahead() -> None:
    async def main() -> None:
        calls = await with_a_slow_route(waiting=3 * LIMIT)
        assert calls.shared.predict(route="slow") == pytest.approx(60 + 2 * 60)
        with pytest.raises(RateLimitWaitError):
            await calls.shared.acquire("slow", max_wait=120)

    run(main())


def test_of_calls_for_an_endpoint_that_is_open_only_those_it_has_room_for_are_ahead() -> None:
    async def main() -> None:
        calls = Calls(exhausted())
        calls.shared._limits.routes.windows["slow"] = Window(
            limit=2, remaining=2, ends_at=now() + 60, has_figures=True, contention=0
        )
        for _ in range(3 * LIMIT):
            await calls.ask("slow", route="slow")
        await asyncio.sleep(50)
        began = now()
        assert calls.shared.predict(route="fast") == pytest.approx(10)
        await calls.shared.acquire("fast", max_wait=10)
        assert now() - began == pytest.approx(10)

    run(main())


def test_a_bulk_call_whose_turn_comes_in_time_is_not_refused_for_the_interactive_ones() -> None:
    async def main() -> None:
        calls = Calls(exhausted())
        for _ in range(LIMIT + 50):
            await calls.ask("person")
        await asyncio.sleep(50)
        began = now()
        assert calls.shared.predict(Lane.BULK) == pytest.approx(10)
        await calls.shared.acquire(lane=Lane.BULK, max_wait=10)
        assert now() - began == pytest.approx(10)

    run(main())


def test_the_prediction_for_bulk_counts_nine_interactive_calls_to_each_of_its_own() -> None:
    async def main() -> list[float]:
        calls, predicted = Calls(exhausted()), list[float]()
        for _ in range(3 * LIMIT):
            await calls.ask("person")
        for _ in range(LIMIT // 10 + 1):
            predicted.append(calls.shared.predict(Lane.BULK))
            await calls.ask("bulk", lane=Lane.BULK)
        await asyncio.sleep(70)
        assert calls.order.count("bulk") == LIMIT // 10
        return predicted

    assert run(main()) == [60.0] * 10 + [120.0]


def test_a_wait_that_turns_out_too_long_ends_when_it_does() -> None:
    async def main() -> None:
        shared = limiter()
        await shared.acquire()
        await shared.acquire()  # a second later, since nothing was answered
        began = now()
        with pytest.raises(RateLimitWaitError) as caught:
            await shared.acquire(max_wait=0.5)
        assert now() - began == pytest.approx(caught.value.predicted) == pytest.approx(0.5)
        assert shared.snapshot.queued[Lane.INTERACTIVE] == 0

    run(main())


@pytest.mark.parametrize("ahead", [0, 150])
def test_a_call_that_has_waited_tells_the_wait_still_to_come(ahead: int) -> None:
    async def main() -> None:
        shared = limiter()
        first = await shared.acquire()
        patient = [asyncio.ensure_future(shared.acquire()) for _ in range(ahead)]
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(shared.acquire(max_wait=0.5))
        behind = [asyncio.ensure_future(shared.acquire()) for _ in range(300)]
        await asyncio.sleep(0.25)
        first.settle(told(0))  # somebody else has spent the window, which ends in 60 s
        with pytest.raises(RateLimitWaitError, match=r"would wait .* more, longer than max_wait=0\.5 s") as caught:
            await waiting
        assert now() == pytest.approx(0.5)
        assert caught.value.predicted == pytest.approx(59.75 + 60 * (ahead // 100), abs=1)
        for task in (*patient, *behind):
            task.cancel()
        await asyncio.wait([*patient, *behind])

    run(main())


def test_the_pace_counts_in_the_wait_to_come() -> None:
    async def main() -> None:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("a")).settle(told(50), refused=True)  # a limit per second: nothing more for a second
        with pytest.raises(RateLimitWaitError) as caught:
            await shared.acquire("b", max_wait=0.5)
        assert caught.value.predicted == pytest.approx(1.1)

    run(main())


def test_a_refused_call_goes_back_to_the_front() -> None:
    async def main() -> list[str]:
        shared = exhausted()
        await asyncio.sleep(60)
        refused = [await shared.acquire(), await shared.acquire()]
        refused[0].settle(told(0), refused=True)
        refused[1].settle(told(0), refused=True)
        calls = Calls(shared)
        await calls.ask("later")
        await calls.ask("second", returning=refused[1])
        await calls.ask("first", returning=refused[0])
        await asyncio.sleep(70)
        return calls.order

    assert run(main()) == ["first", "second", "later"]


def test_who_returns_is_not_refused_for_those_behind() -> None:
    async def main() -> None:
        shared = exhausted()
        calls = Calls(shared)
        for _ in range(3 * LIMIT):
            await calls.ask("a")
        await asyncio.sleep(60)
        calls.permits[0].settle(told(0), refused=True)
        await calls.ask("back", max_wait=61, returning=calls.permits[0])
        assert not calls.tasks[-1].done()
        with pytest.raises(RateLimitWaitError):
            await shared.acquire(max_wait=61)

    run(main())


@pytest.mark.parametrize("first", ["settle", "release"])
@pytest.mark.parametrize("second", ["settle", "release"])
def test_a_permit_ends_once(first: str, second: str) -> None:
    async def main() -> int:
        shared = limiter()
        permit, _ = await shared.acquire(), await shared.acquire()
        getattr(permit, first)()
        getattr(permit, second)()
        return shared.snapshot.in_flight

    assert run(main()) == 1


def test_a_released_permit_goes_to_the_next_at_once() -> None:
    async def main() -> float:
        shared = limiter()
        permit, calls = await shared.acquire(), Calls(shared)
        await calls.ask("next")
        assert calls.order == []
        permit.release()
        await asleep()
        assert calls.order == ["next"]
        return now()

    assert run(main()) == 0


def test_leaving_the_limiter_ends_who_waits() -> None:
    async def main() -> None:
        async with exhausted() as shared:
            calls = Calls(shared)
            await calls.ask("a")
        with pytest.raises(ClientClosedError):
            await calls.tasks[0]

    run(main())


def test_long_waits_are_told() -> None:
    heard: list[WaitEvent] = []

    async def main() -> None:
        calls = Calls(exhausted(on_wait=heard.append, wait_threshold=30))
        await calls.ask("a", route="GET /tasks", lane=Lane.BULK)
        await asyncio.sleep(30)
        await calls.ask("b")
        await asyncio.sleep(40)

    run(main())
    assert heard == [WaitEvent("GET /tasks", Lane.BULK, 60.0)]


def test_a_listener_that_fails_costs_nobody_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: WaitEvent) -> None:
        raise ZeroDivisionError

    async def main() -> list[str]:
        calls = Calls(exhausted(on_wait=fail))
        await calls.ask("a")
        await asyncio.sleep(70)
        return calls.order

    assert run(main()) == ["a"]
    assert "on_wait failed" in caplog.text


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        pytest.param(told(50, retry_after=7.0), 7.0, id="with figures that leave some"),
        pytest.param(told(0, left=20, retry_after=35.0), 35.0, id="longer than the window"),
        pytest.param(told(0, left=20, retry_after=5.0), 20.0, id="shorter than the window"),
        pytest.param(RateState(retry_after=12.0), 12.0, id="without figures"),
    ],
)
def test_the_time_a_server_names_is_waited_for(state: RateState, seconds: float) -> None:
    async def main() -> float:
        shared = limiter()
        (await shared.acquire("a")).settle(state, refused=True)
        began = now()
        await shared.acquire("a")
        return now() - began

    assert run(main()) == pytest.approx(seconds, abs=0.01)


def test_a_named_time_does_not_spend_what_is_left() -> None:
    async def main() -> int | None:
        shared = limiter()
        (await shared.acquire()).settle(told(50, retry_after=7.0), refused=True)
        await asyncio.sleep(8)
        return shared.snapshot.remaining

    assert run(main()) == 50


def test_a_wait_that_the_server_named_is_predicted() -> None:
    async def main() -> None:
        shared = limiter()
        (await shared.acquire("a")).settle(RateState(retry_after=30.0), refused=True)
        with pytest.raises(RateLimitWaitError):
            await shared.acquire("a", max_wait=20)

    run(main())


def test_a_refusal_without_figures_pauses_its_route_only() -> None:
    async def main() -> tuple[float, float]:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("fast")).settle(told(99))
        await asyncio.sleep(5)
        (await shared.acquire("slow")).settle(RateState(), refused=True)
        assert shared.predict(route="slow") == pytest.approx(1.1)  # the pace holds everything for a little longer
        began = now()
        await shared.acquire("fast")
        fast = now() - began
        await shared.acquire("slow")
        return fast, now() - began

    fast, slow = run(main())
    assert fast <= 1.1  # the pace, in case a burst was the reason
    assert slow >= 1.0


def test_one_request_tries_a_paused_route_and_frees_it() -> None:
    async def main() -> list[str]:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("slow")).settle(RateState(), refused=True)
        calls = Calls(shared)
        for name in "abc":
            await calls.ask(name, route="slow")
        await asyncio.sleep(30)
        assert calls.order == ["a"]
        calls.permits[0].settle()  # lost: the next one tries
        await asyncio.sleep(5)
        assert calls.order == ["a", "b"]
        calls.permits[1].settle(told(98))
        await asyncio.sleep(5)
        return calls.order

    assert run(main()) == ["a", "b", "c"]


def test_figures_that_come_back_with_a_refusal_do_not_leave_the_route_paused() -> None:
    async def main() -> float:
        shared = limiter()
        (await shared.acquire("a")).settle(RateState(), refused=True)
        (await shared.acquire("a")).settle(told(0, left=30), refused=True)
        began = now()
        await shared.acquire("a")
        return now() - began

    assert run(main()) == pytest.approx(30)


def test_without_headers_the_limit_stays_unknown_and_each_window_is_found_and_spent() -> None:
    server = LoftyWindow(silent=True, limit=40)

    async def main() -> RateLimit:
        caller = Caller(limiter(), server)
        await caller.calls(200, at_once=40)
        return caller.limiter.snapshot

    snapshot = run(main())
    assert snapshot.limit is None
    assert server.per_window() == [40] * 5
    assert server.refused <= 25


def test_an_endpoint_with_a_lower_limit_waits_alone() -> None:
    async def main() -> tuple[float, float]:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("fast")).settle(told(99))
        (await shared.acquire("slow")).settle(told(1, limit=20))
        (await shared.acquire("slow")).settle(told(0, limit=20))
        began = now()
        assert shared.predict(route="slow") == pytest.approx(60)
        await shared.acquire("fast")
        fast = now() - began
        permit = await shared.acquire("slow")
        slow = now() - began
        permit.release()
        (await shared.acquire("slow")).settle()
        (await shared.acquire("slow")).settle(RateState())
        refused = await shared.acquire("slow")
        refused.settle(told(0, limit=20), refused=True)
        lost = shared.snapshot.in_flight
        assert lost == 1
        return fast, slow

    fast, slow = run(main())
    assert fast == 0
    assert slow == pytest.approx(60)


def test_a_silent_refusal_of_an_endpoint_with_a_window_counts_nowhere() -> None:
    async def main() -> int:
        shared = exhausted()
        await asyncio.sleep(60)
        (await shared.acquire("slow")).settle(told(10, limit=20))
        (await shared.acquire("slow")).settle(RateState(), refused=True)
        return shared._limits.routes.windows["slow"].remaining

    assert run(main()) == 10


def test_a_second_event_loop_begins_anew_after_the_first_died_with_waiters() -> None:
    shared = RateLimiter(clock=lambda: 0.0)
    dead = VirtualLoop()
    calls = Calls(shared)
    for name in ("served", "waiting", "waiting too"):
        dead.run_until_complete(calls.ask(name))
    assert calls.order == ["served"]
    dead.close()
    for task in calls.tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the loop's death is what is tested

    async def main() -> None:
        calls.permits[0].settle()  # its answer came to nothing, in a loop that is gone
        (await shared.acquire()).settle(told(99))
        (await shared.acquire()).settle(told(98))

    run(main())
    calls.tasks.clear()
    gc.collect()
    assert shared.snapshot.queued == {Lane.INTERACTIVE: 0, Lane.BULK: 0}
    assert shared.snapshot.in_flight == 0


def test_a_permit_on_its_way_to_a_caller_whose_loop_died_is_given_back() -> None:
    shared = RateLimiter(clock=lambda: 0.0)
    dead, calls = VirtualLoop(), Calls(shared)
    for name in ("a", "b", "c"):
        dead.run_until_complete(calls.ask(name))
    calls.permits[0].settle()  # b is served, but never runs again; c waits on
    dead.close()
    for task in calls.tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the loop's death is what is tested
    calls.tasks.clear()
    del task
    gc.collect()
    assert shared.snapshot.in_flight == 0
    assert shared.snapshot.queued[Lane.INTERACTIVE] == 0


def test_who_waits_in_another_loop_that_lives_is_told() -> None:
    shared = RateLimiter(clock=lambda: 0.0)
    first, calls = VirtualLoop(), Calls(shared)
    for name in ("a", "b"):
        first.run_until_complete(calls.ask(name))

    async def main() -> None:
        await asyncio.wait_for(shared.acquire(), 5)

    with pytest.raises(TimeoutError):
        run(main())  # a's request may still be counted
    with pytest.raises(RuntimeError, match="another event loop"):
        first.run_until_complete(calls.tasks[1])
    first.close()


class LimiterMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, a permit is granted once, and ends once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.wall = 1_780_000_000.0
        self.limiter = RateLimiter(clock=self.loop.time, wall=lambda: self.wall + self.loop.time())
        self.server = LoftyWindow(limit=12)
        self.waiting: list[asyncio.Task[Permit]] = []
        self.held: list[Permit] = []
        self.seen: set[int] = set()

    def step(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_complete(asleep())
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if not task.cancelled() and not task.exception():
                assert task.result().number not in self.seen
                self.seen.add(task.result().number)
                self.held.append(task.result())

    @rule(lane=st.sampled_from(Lane), route=st.sampled_from("ab"), max_wait=st.sampled_from([None, 0.5, 30.0]))
    def ask(self, lane: Lane, route: str, max_wait: float | None) -> None:
        acquire = self.limiter.acquire(route, lane=lane, max_wait=max_wait)
        self.waiting.append(self.loop.create_task(acquire))
        self.step()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), end=st.sampled_from(["answer", "silent", "refuse", "lose", "release"]))
    def end(self, data: st.DataObject, end: str) -> None:
        permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        status, state = self.server.handle(self.loop.time())
        if end == "release":
            permit.release()
        elif end == "lose":
            permit.settle()
        else:
            permit.settle(RateState() if end == "silent" else state, refused=status == 429 or end == "refuse")
        permit.release()
        self.step()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))].cancel()
        self.step()

    @precondition(lambda self: self.waiting and self.held)
    @rule(data=st.data())
    def cancel_as_another_ends(self, data: st.DataObject) -> None:
        self.held.pop().release()
        self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))].cancel()
        self.step()

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.step(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -5.0, 5.0, 3600.0]))
    def step_the_wall_clock(self, seconds: float) -> None:
        self.wall += seconds

    @invariant()
    def every_open_permit_is_in_flight(self) -> None:
        assert self.limiter.snapshot.in_flight == len(self.held)

    @invariant()
    def everyone_who_waits_is_queued(self) -> None:
        assert sum(self.limiter.snapshot.queued.values()) == len(self.waiting)

    def teardown(self) -> None:
        while self.held:
            self.held.pop().settle()
        for _ in range(400):
            if not self.waiting:
                break
            self.step(1.0)
            while self.held:
                permit = self.held.pop()
                status, state = self.server.handle(self.loop.time())
                permit.settle(state, refused=status == 429)
        assert not self.waiting
        assert self.limiter._timer is None
        self.loop.close()


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
