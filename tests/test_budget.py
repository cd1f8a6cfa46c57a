"""The short way of learning from an answer, which is for bursts, leads to the same as the long one."""

import math
from random import Random
from typing import Any

import attrs
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async._wire import RateState
from lofty_async.ratelimit import Permit
from lofty_async.ratelimit.budget import Budget
from lofty_async.ratelimit.window import ROUNDING
from tests.virtual import EPOCH, LoftyWindow

ROUTES = ["GET /a", "GET /b"]


@define(eq=False)
class Thorough(Budget):
    """Learns from every answer the long way."""

    def settle_alike(self, permit: Permit, state: RateState, now: float) -> bool:  # noqa: ARG002 - none is
        return False


@define(eq=False)
class Counting(Budget):
    short_ways: int = 0

    def settle_alike(self, permit: Permit, state: RateState, now: float) -> bool:
        is_alike = super().settle_alike(permit, state, now)
        self.short_ways += is_alike
        return is_alike


@define
class Pair:
    """Two budgets that live through the same."""

    short: Counting = field(factory=Counting)
    long: Thorough = field(factory=Thorough)
    under_way: list[tuple[Permit, Permit, tuple[int, RateState]]] = field(
        factory=list[tuple[Permit, Permit, tuple[int, RateState]]]
    )

    def take(self, route: str, now: float, answer: tuple[int, RateState]) -> None:
        ours, theirs = Permit(), Permit()
        for budget, permit in ((self.short, ours), (self.long, theirs)):
            permit.route, permit.granted_at = route, now
            budget.window.roll(now)
            budget.take(permit)
        self.under_way.append((ours, theirs, answer))

    def end(self, place: int, what: str, now: float) -> None:
        ours, theirs, (status, state) = self.under_way.pop(place)
        refused = status == 429
        if now - ours.granted_at >= ROUNDING:
            what = "lost"  # the long way may take the figures of an answer as late as that for a newer window's
        for budget, permit in ((self.short, ours), (self.long, theirs)):
            match what:
                case "answered":
                    if refused or not budget.settle_alike(permit, state, now):
                        budget.settle(permit, state, refused=refused, now=now, wall=EPOCH + now)
                case "lost":
                    budget.lose(permit, now)
                case _:
                    budget.release(permit)

    def check(self) -> None:
        assert standing(self.short) == pytest.approx(standing(self.long), abs=1e-5)

    def check_at(self, now: float) -> None:
        assert self.short.window.lets_one_go(now) == (self.long.window.free(now) > 0)
        self.check()


def standing(budget: Budget) -> dict[str, Any]:
    """Everything that is known, with numbers in place of `None`."""
    known = attrs.asdict(budget.window) | {"pauses": len(budget.routes.pauses), "own": len(budget.routes.windows)}
    return {name: math.inf if value is None else value for name, value in known.items()}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "answered", "answered", "lost", "released", "other"]),
        st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 1.0, 20.0]),
        st.integers(0, 9),
    ),
    min_size=10,
    max_size=40,
)


@given(
    STEPS,
    st.sampled_from(["epoch_s", "epoch_s_floor", "epoch_ms", "ms_left", "s_left"]),
    st.sampled_from([3, 20, 100]),
    st.booleans(),
    st.booleans(),
)
def test_both_ways_lead_to_the_same(
    steps: list[tuple[str, float, int]], style: str, limit: int, dated: bool, has_own: bool
) -> None:
    own = {ROUTES[1]: LoftyWindow(2, style=style)} if has_own else {}
    pair, server, now = Pair(), LoftyWindow(limit, style=style, dated=dated, own=own), 0.0
    for what, passed, number in steps:
        now += passed
        for place in range(number, -1, -1):
            if what == "take":
                pair.take(ROUTES[number % 2], now, server.handle(now, ROUTES[number % 2]))
            elif what == "other":
                server.limit = server.limit + 10 if number == 9 else server.limit
                server.handle(now)
            elif place < len(pair.under_way):
                pair.end(place, what, now)
            pair.check_at(now)


def test_a_burst_goes_the_short_way_once_a_second_and_a_window_are_known() -> None:
    pair, server, dice = Pair(), LoftyWindow(100), Random(0)
    for _ in range(50):
        pair.take(ROUTES[0], 0.0, server.handle(0.0))
    for left in range(50, 0, -1):
        pair.end(dice.randrange(left), "answered", 0.0)
    pair.check()
    assert pair.short.short_ways == 49


FIGURES = RateState(100, 99, 60.0, 1000.0)


@pytest.mark.parametrize(
    "change",
    [{"limit": 99}, {"remaining": None}, {"reset": 59.0}, {"server_time": 1001.0}, {"server_time": None}],
)
def test_news_of_any_kind_go_the_long_way(change: dict[str, Any]) -> None:
    assert short_ways((200, FIGURES, 0.0), (200, attrs.evolve(FIGURES, **change), 0.0)) == 0


def test_what_is_like_the_answer_before_goes_the_short_way() -> None:
    assert short_ways((200, FIGURES, 0.0), (200, attrs.evolve(FIGURES, remaining=98), 0.9)) == 1


def test_a_refusal_goes_the_long_way() -> None:
    assert short_ways((200, FIGURES, 0.0), (429, FIGURES, 0.0)) == 0


def test_a_window_that_has_ended_goes_the_long_way() -> None:
    pair = Pair()
    for at in (0.0, 59.9):
        pair.take(ROUTES[0], at, (200, FIGURES))
    pair.end(0, "answered", 0.0)
    pair.end(0, "answered", 60.1)
    pair.check()
    assert pair.short.short_ways == 0


def test_figures_of_the_window_before_go_the_long_way() -> None:
    ending = RateState(100, 3, EPOCH + 60, EPOCH + 59)
    assert short_ways((200, ending, 0.0), (200, ending, 1.1), (200, ending, 1.2)) == 0


def test_a_limit_that_another_route_told_meanwhile_goes_the_long_way() -> None:
    pair = Pair()
    for route, limit in ((ROUTES[1], 100), (ROUTES[0], 100), (ROUTES[1], 50), (ROUTES[0], 100)):
        pair.take(route, 0.0, (200, attrs.evolve(FIGURES, limit=limit)))
        pair.end(0, "answered", 0.0)
    pair.check()
    assert pair.short.short_ways == 0


def test_the_short_way_notices_company() -> None:
    figures = [attrs.evolve(FIGURES, remaining=remaining) for remaining in (99, 98, 60)]
    pair = Pair()
    for state in figures:
        pair.take(ROUTES[0], 0.0, (200, state))
        pair.end(0, "answered", 0.0)
        pair.check()
    assert pair.short.short_ways == 2
    assert pair.short.window.company


def test_while_a_route_is_paused_all_answers_go_the_long_way() -> None:
    pair = Pair()
    for route, status, state in ((ROUTES[0], 200, FIGURES), (ROUTES[1], 429, RateState()), (ROUTES[0], 200, FIGURES)):
        pair.take(route, 0.0, (status, state))
        pair.end(0, "answered", 0.0)
    pair.check()
    assert pair.short.short_ways == 0


def short_ways(*answers: tuple[int, RateState, float]) -> int:
    """How many of these, to requests one after the other, were learnt from the short way."""
    pair = Pair()
    for status, state, at in answers:
        pair.take(ROUTES[0], at, (status, state))
        pair.end(0, "answered", at)
    pair.check()
    return pair.short.short_ways
