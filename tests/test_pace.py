"""A limit per second, found from bursts that were refused."""

from itertools import pairwise

import pytest

from lofty_async.ratelimit.pace import FIRST_REST, IN_A_ROW, LONGEST_REST, NEXT_REST, SECOND, Pace


def burst(pace: Pace, count: int, at: float = 0.0, *, refused: int = 0, answered: float = 0.1) -> None:
    """Requests sent at once; the answers come a tenth of a second later, or as late as `answered`."""
    for _ in range(count):
        pace.sent.append(at)
    for number in range(refused):
        pace.trip(at, at + answered, is_first=number == 0)
    for _ in range(count - refused):
        pace.accepted.append(at)


def tripped(count: int, refused: int) -> Pace:
    pace = Pace()
    burst(pace, count, refused=refused)
    return pace


def against(limit: int, pace: Pace, *, since: float, until: float) -> list[tuple[float, int]]:
    """As many calls as the pace allows, against a limit per second; the bursts with refusals: when, and how many."""
    found, now = list[tuple[float, int]](), since
    while now < until:
        now = pace.ready_at(now)
        count = 500 if pace.per_second is None else pace.per_second
        refused = max(0, count - limit)
        burst(pace, count, now, refused=refused)
        found += [(now, refused)] if refused else []
        now += 2 * SECOND if refused else SECOND  # a refusal also pauses its route
    return found


def test_nothing_is_held_back_until_a_burst_is_refused() -> None:
    pace = Pace()
    burst(pace, 500)
    assert pace.ready_at(0.0) == 0.0


@pytest.mark.parametrize(
    ("count", "refused", "left"),
    [(100, 1, 99), (100, 50, 50), (100, 80, 20), (100, 100, 1), (3, 1, 2), (2, 2, 1), (1, 1, 1), (0, 1, 1)],
)
def test_a_first_burst_tells_the_limit_by_what_was_refused_of_it(count: int, refused: int, left: int) -> None:
    assert tripped(count, refused).per_second == left


def test_a_burst_is_known_by_when_it_was_sent_however_late_the_answers_are() -> None:
    pace = Pace()
    burst(pace, 50, refused=30, answered=3.0)
    assert pace.per_second == 20


def test_one_refused_request_slows_the_next_second_only() -> None:
    pace = tripped(2, 1)
    burst(pace, 1, 0.2)
    assert pace.ready_at(0.2) > 0.2
    assert pace.ready_at(0.1 + SECOND) == 0.1 + SECOND
    assert pace.per_second is None


def test_a_second_refused_request_soon_after_the_first_sets_a_pace() -> None:
    pace = tripped(10, 1)
    pace.ready_at(SECOND + 0.1)
    burst(pace, 9, 10.0, refused=1)
    pace.ready_at(12.0)
    assert pace.per_second == 8


@pytest.mark.parametrize(("passed", "later"), [(10, 5.0), (0, IN_A_ROW)])
def test_refused_requests_far_apart_set_none(passed: int, later: float) -> None:
    """Far apart in time, or with a burst between them that passed whole."""
    pace = tripped(10, 1)
    burst(pace, passed, 2.0)
    pace.ready_at(SECOND + 0.1)
    burst(pace, 10, 1.0 + later, refused=1)
    pace.ready_at(3.0 + later)
    assert pace.per_second is None


def test_a_route_that_stays_refused_trips_the_pace_once() -> None:
    pace = tripped(100, 80)
    burst(pace, 2, 5.0)
    pace.trip(5.0, 5.1, is_first=False)
    assert pace.per_second == 20


def test_the_pace_does_not_fall_below_what_was_lately_accepted() -> None:
    pace = Pace()
    for second in range(10):
        burst(pace, 50, float(second) * 2, refused=2 if second % 3 == 2 else 0)
    assert (pace.per_second or 50) >= 48


def test_one_refused_request_within_the_pace_changes_nothing() -> None:
    pace = tripped(100, 80)
    burst(pace, 20, 2.0, refused=1)
    assert pace.per_second == 20


def test_one_refused_request_in_each_second_lowers_the_pace() -> None:
    pace = tripped(100, 80)
    for second in range(1, 5):
        burst(pace, 20, 10.0 * second, refused=1)
    assert pace.per_second == 19


def test_the_next_request_goes_when_the_oldest_of_a_second_is_out_of_it() -> None:
    pace = tripped(4, 2)
    burst(pace, 1, 2.0)
    assert pace.ready_at(2.0) == 2.0
    burst(pace, 1, 2.5)
    assert pace.ready_at(2.6) == 2.0 + SECOND
    assert pace.ready_at(2.0 + SECOND) == 2.0 + SECOND


def test_a_pace_that_was_not_used_does_not_rise() -> None:
    pace = tripped(100, 80)
    pace.ready_at(LONGEST_REST)
    assert pace.per_second == 20
    burst(pace, 15, LONGEST_REST)
    pace.ready_at(LONGEST_REST + 1)
    assert pace.per_second == 20


def test_a_pace_that_was_used_rises_by_steps_that_double() -> None:
    pace, paces, now = tripped(100, 80), list[int | None](), FIRST_REST
    for _ in range(5):
        now += NEXT_REST
        burst(pace, pace.per_second or 0, now)
        pace.ready_at(now + SECOND)
        paces.append(pace.per_second)
    assert paces == [21, 23, 27, 35, 51]


@pytest.mark.parametrize("limit", [2, 5, 20, 50, 120])
def test_a_limit_that_stays_is_tried_ever_more_seldom(limit: int) -> None:
    pace = tripped(limit + 80, 80)
    found = against(limit, pace, since=2.0, until=3600.0)
    times, refused = [at for at, _ in found], [number for _, number in found]
    gaps = [round(later - earlier) for earlier, later in pairwise(times)]
    assert times[0] >= FIRST_REST
    assert gaps == sorted(gaps)
    assert max(gaps) <= LONGEST_REST + 2
    assert set(refused) == {1}
    assert len(found) <= 10


@pytest.mark.parametrize("limit", [2, 5, 20, 50])
def test_a_limit_that_is_lifted_is_forgotten_within_seconds(limit: int) -> None:
    pace = tripped(limit + 80, 80)
    against(limit, pace, since=2.0, until=10.0)
    lifted = max(10.0, pace.rests_until)
    against(10_000, pace, since=lifted, until=lifted + 30.0)
    assert pace.per_second is None
    burst(pace, 500, lifted + 31)
    assert pace.ready_at(lifted + 31) == lifted + 31


def test_a_limit_that_falls_is_found_again_by_one_burst() -> None:
    pace = tripped(100, 50)
    against(50, pace, since=2.0, until=10.0)
    found = against(10, pace, since=20.0, until=60.0)
    assert sum(refused for _, refused in found) <= 50
    assert pace.per_second in {10, 11}
