"""A limit per second, found from bursts that were refused."""

import pytest

from lofty_async.ratelimit.pace import FASTEST, MEMORY, PATIENCE, SECOND, UNPROVEN, Pace


def burst(pace: Pace, count: int, at: float = 0.0, *, refused: int = 0) -> None:
    """Requests sent at once; the answers come a tenth of a second later."""
    for _ in range(count):
        pace.sent.append(at)
    for number in range(refused):
        pace.trip(at + 0.1, is_first=number == 0)
    for _ in range(count - refused):
        pace.accepted.append(at)


def tripped(count: int, refused: int) -> Pace:
    pace = Pace()
    burst(pace, count, refused=refused)
    return pace


def proven(per_second: int) -> Pace:
    """Two bursts in a row were refused what was above the pace."""
    pace = tripped(100, 100 - per_second)
    burst(pace, per_second + 3, 5.0, refused=3)
    return pace


def test_nothing_is_held_back_until_a_burst_is_refused() -> None:
    pace = Pace()
    burst(pace, 500)
    assert pace.ready_at(0.0) == 0.0


@pytest.mark.parametrize(
    ("count", "refused", "left"),
    [(100, 1, 50), (100, 50, 50), (100, 80, 20), (100, 100, 1), (3, 1, 1), (1, 1, 1), (0, 1, 1)],
)
def test_a_first_burst_tells_the_limit_by_what_was_refused_of_it(count: int, refused: int, left: int) -> None:
    assert tripped(count, refused).per_second == left


def test_one_refused_request_slows_the_next_second_only() -> None:
    pace = tripped(2, 1)
    assert pace.ready_at(0.2) > 0.2
    assert pace.ready_at(0.1 + SECOND) == 0.1 + SECOND
    assert pace.per_second is None


def test_a_route_that_stays_refused_trips_the_pace_once() -> None:
    pace = tripped(100, 80)
    burst(pace, 1, 5.0)
    pace.trip(5.1, is_first=False)
    assert pace.per_second == 20


def test_the_pace_does_not_fall_below_what_was_lately_accepted() -> None:
    pace = Pace()
    for second in range(10):
        burst(pace, 50, float(second) * 2, refused=2 if second % 3 == 2 else 0)
    assert (pace.per_second or FASTEST) >= 48


def test_the_next_request_goes_when_the_oldest_of_a_second_is_out_of_it() -> None:
    pace = tripped(4, 2)
    burst(pace, 1, 2.0)
    assert pace.ready_at(2.0) == 2.0
    burst(pace, 1, 2.5)
    assert pace.ready_at(2.6) == 2.0 + SECOND
    assert pace.ready_at(2.0 + SECOND) == 2.0 + SECOND


def test_a_pace_found_once_rises_within_seconds() -> None:
    pace = tripped(100, 80)
    pace.ready_at(0.1 + UNPROVEN - 0.01)
    assert pace.per_second == 20
    pace.ready_at(0.1 + UNPROVEN)
    assert pace.per_second == 30


def test_a_pace_found_twice_rises_to_below_where_it_tripped() -> None:
    pace, paces = proven(20), list[int | None]()
    for step in range(1, 5):
        pace.ready_at(5.2 + step * PATIENCE)
        paces.append(pace.per_second)
    assert pace.is_proven
    assert max(one or 0 for one in paces) <= 20


def test_a_proven_pace_is_tried_again_after_a_long_while_and_then_forgotten() -> None:
    pace, paces, now = proven(20), list[int | None](), 0.0
    for step in range(10):
        now = 6.0 + MEMORY + 2 * step * PATIENCE
        pace.ready_at(now)
        paces.append(pace.per_second)
    assert paces[0] is not None
    assert paces[0] > 20
    assert paces[-1] is None
    assert max(one or 0 for one in paces) < FASTEST
    burst(pace, 500, now)
    assert pace.ready_at(now) == now
