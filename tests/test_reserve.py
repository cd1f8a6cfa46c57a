from math import inf

import pytest

from lofty_async.ratelimit.reserve import floor_of, kept, next_look, reserved
from lofty_async.ratelimit.window import Window


def window(remaining: int = 100, *, ends_at: float | None = 180.0) -> Window:
    """One of a minute, of a hundred requests, that began at 120."""
    return Window(limit=100, lowest=remaining, ends_at=ends_at, length=60.0, seen=True)


@pytest.mark.parametrize(("at", "expected"), [(120, 10), (150, 5), (165, 2), (179, 0), (190, 0)])
def test_the_reserve_shrinks_to_nothing(at: float, expected: int) -> None:
    assert reserved(window(), 0.1, at) == expected


def test_nothing_is_reserved_of_what_is_not_known() -> None:
    assert reserved(Window(), 0.1, 0.0) == 0
    assert reserved(window(), 0.0, 120) == 0
    assert reserved(window(ends_at=None), 0.1, 120) == 10


@pytest.mark.parametrize(("floor", "expected"), [(0, 0), (20, 20), (99, 99), (100, 99), (1000, 99)])
def test_a_floor_leaves_each_window_one_request(floor: int, expected: int) -> None:
    assert floor_of(window(), floor) == expected
    assert floor_of(Window(), floor) == 0


@pytest.mark.parametrize(
    ("share", "floor", "expected"), [(0.0, 0, 0), (0.1, 0, 10), (0.1, 20, 30), (0.1, 95, 99), (1.0, 0, 99)]
)
def test_floor_and_reserve_add_up_to_less_than_the_limit(share: float, floor: int, expected: int) -> None:
    assert kept(window(), share, floor, 120) == expected


@pytest.mark.parametrize("floor", [0, 3])
@pytest.mark.parametrize("spare", [4, 5, 8])
def test_the_next_look_is_when_the_reserve_lets_one_more_go(spare: int, floor: int) -> None:
    aging = window(spare)
    look = next_look(aging, 0.1, floor, 121)
    assert reserved(aging, 0.1, look - 0.01) >= spare - floor
    assert reserved(aging, 0.1, look) < spare - floor


@pytest.mark.parametrize(("remaining", "share", "floor"), [(50, 0.1, 0), (5, 0.0, 0), (5, 0.1, 5), (0, 0.1, 0)])
def test_what_the_reserve_does_not_hold_up_waits_for_the_windows_end(remaining: int, share: float, floor: int) -> None:
    assert next_look(window(remaining), share, floor, 121) == 180


def test_of_a_window_that_is_not_known_only_an_answer_tells() -> None:
    assert next_look(Window(), 0.1, 0, 0.0) == inf
