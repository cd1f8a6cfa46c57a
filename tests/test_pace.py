import pytest

from lofty_async.ratelimit.pace import FORGET, MEMORY, PATIENCE, SECOND, Pace


def burst(pace: Pace, count: int, at: float = 0.0) -> None:
    for _ in range(count):
        pace.sent.append(at)


def tripped(count: int, refused: int) -> Pace:
    pace = Pace()
    burst(pace, count)
    for _ in range(refused):
        pace.trip(0.1)
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


def test_a_pace_thought_right_falls_by_a_quarter() -> None:
    pace = tripped(100, 80)
    burst(pace, 20, 5.0)
    pace.trip(5.1)
    assert (pace.per_second, pace.tripped) == (15, 20)


def test_the_next_request_goes_when_the_oldest_of_a_second_is_out_of_it() -> None:
    pace = tripped(4, 2)
    burst(pace, 1, 2.0)
    assert pace.ready_at(2.0) == 2.0
    burst(pace, 1, 2.5)
    assert pace.ready_at(2.6) == 2.0 + SECOND
    assert pace.ready_at(2.0 + SECOND) == 2.0 + SECOND


def test_the_pace_rises_half_way_to_where_it_tripped() -> None:
    pace = tripped(100, 79)
    burst(pace, 21, 5.0)
    pace.trip(5.5)
    assert pace.per_second == 15
    paces = []
    for step in range(1, 5):
        pace.ready_at(5.5 + step * PATIENCE)
        paces.append(pace.per_second)
    assert paces == [18, 19, 20, 20]


def test_it_does_not_rise_before_its_time() -> None:
    pace = tripped(100, 80)
    pace.ready_at(0.1 + PATIENCE - 0.01)
    assert pace.per_second == 20


def test_what_tripped_is_tried_again_after_a_long_while_and_then_forgotten() -> None:
    pace, paces = tripped(100, 80), list[int | None]()
    for step in range(8):
        now = 1.0 + MEMORY + 2 * step * PATIENCE
        pace.ready_at(now)
        paces.append(pace.per_second)
    assert paces == [30, 45, 67, 100, 150, None, None, None]
    assert max(one or 0 for one in paces) < FORGET
    burst(pace, 500, now)
    assert pace.ready_at(now) == now
