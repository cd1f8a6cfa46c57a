from math import ceil

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from lofty_async.ratelimit.window import (
    BLIND_IN_FLIGHT,
    EARLY_STEP,
    FADE,
    FIRST_HOLD,
    LAST,
    LATEST_BIAS,
    LONGEST_HOLD,
    PROBE_INTERVAL,
    TAPER,
    Reserve,
    Window,
)

LIMIT = 100


def answer(window: Window, remaining: int, *, at: float, end: float | None = 60.0, limit: int = LIMIT) -> None:
    """One request alone: taken and answered at once."""
    lowest = window.remaining if window.has_figures else None
    window.answer(window.take(at), limit, remaining, end, at, lowest=lowest)


def told(remaining: int = 99, *, at: float = 0.0) -> Window:
    window = Window()
    answer(window, remaining, at=at)
    return window


def settled() -> Window:
    """In its third window, with nobody beside it."""
    window = told()
    answer(window, 99, at=60, end=120)
    window.roll(120)
    return window


def take(window: Window, count: int, at: float) -> list[int]:
    return [window.take(at) for _ in range(count)]


def test_before_any_answer_one_request_goes_and_one_more_each_second() -> None:
    window = Window()
    assert window.free(0.0) == 1
    window.take(0.0)
    assert [window.free(at) for at in (0.0, 0.9, PROBE_INTERVAL, 5.0)] == [0, 0, 1, 5]
    assert window.next_look(0.5) == PROBE_INTERVAL


def test_a_server_that_tells_nothing_gets_few_at_once() -> None:
    window = Window()
    window.lose(window.take(0.0), 0.0)
    assert window.free(0.1) == BLIND_IN_FLIGHT


def opened(passed: int) -> Window:
    """A window without figures that began at 100 s; the one before let `passed` requests through."""
    window = Window()
    window.lose(window.take(100.0), 100.0)
    window.open(passed, 100.0)
    return window


def test_without_figures_as_many_go_as_passed_before_and_then_one_at_a_time() -> None:
    window = opened(4)
    assert window.free(101.0) == 3  # the request that opened it is the first
    for serial in take(window, 3, 101.0):
        window.lose(serial, 101.1)
    assert window.free(101.1) == 1
    window.lose(window.take(101.1), 101.2)
    assert window.free(101.2) == 1
    window.roll(160.0)
    assert window.free(160.0) == 5


def test_without_figures_a_refusal_lowers_what_the_next_window_lets_through() -> None:
    window = opened(50)
    for serial in take(window, 10, 101.0):
        window.lose(serial, 101.1)
    window.lose(window.take(101.1), 101.2, is_refused=True)
    window.roll(160.0)
    assert window.passed == 11


def test_without_figures_windows_follow_each_other_also_where_none_is_used() -> None:
    window = opened(4)
    for now, end in [(159.9, 160.0), (160.0, 220.0), (500.0, 520.0)]:
        window.roll(now)
        assert window.ends_at == end


def test_the_first_window_is_spent_in_parts_since_others_may_be_there() -> None:
    assert told().free(1.0) == 99 // TAPER
    assert told(remaining=3).free(1.0) == 1


def test_alone_a_window_is_spent_at_once() -> None:
    assert settled().free(120.0) == LIMIT


def test_the_first_window_of_all_is_tested_by_one_request_after_it_began() -> None:
    window = told()
    assert window.free(60.0) == 1


def test_in_company_the_next_window_is_tested_and_the_rest_spent_in_parts() -> None:
    window = settled()
    answer(window, 80, at=121, end=180)
    assert window.free(122) == 80 // TAPER
    assert window.free(180) == 1
    answer(window, 99, at=181, end=240)
    assert window.free(182) == 99 // TAPER


def test_another_client_seen_in_one_window_counts_in_the_next_and_no_longer() -> None:
    window = settled()
    answer(window, 80, at=121, end=180)
    answer(window, 99, at=181, end=240)
    assert window.free(182) == 99 // TAPER
    window.roll(240)
    assert window.free(240) == LIMIT


def test_the_lowest_remaining_counts_less_what_is_in_flight() -> None:
    window = settled()
    first, second = take(window, 2, 120)
    window.answer(second, LIMIT, 98, 180, 121)
    window.answer(first, LIMIT, 99, 180, 122)
    take(window, 3, 123)
    assert (window.remaining, window.in_flight, window.spare) == (98, 3, 95)


def test_the_lowest_end_counts() -> None:
    window = told()
    for end in (60.8, 59.9, 60.4):
        answer(window, 90, at=5, end=end)
    assert window.ends_at == 59.9


def test_an_answer_of_the_window_before_tells_nothing_of_this_one() -> None:
    window = settled()
    answer(window, 99, at=120, end=180)
    late = window.take(179)
    window.roll(180)
    assert (window.in_flight, window.late, window.spare) == (1, 1, 99)
    window.answer(late, LIMIT, 3, 180, 181)
    assert (window.in_flight, window.late, window.spare) == (0, 0, LIMIT)


def test_a_permit_carried_over_that_counts_here_is_counted_here() -> None:
    window = settled()
    answer(window, 99, at=120, end=180)
    late = window.take(179)
    window.roll(180)
    window.answer(late, LIMIT, 99, 240, 181)
    assert window.spare == 99


def test_an_end_that_proved_too_early_moves_and_all_later_ones_with_it() -> None:
    window = settled()
    answer(window, 0, at=120.1, end=120)
    assert window.free(120.2) == 0
    assert window.ends_at == pytest.approx(120.1 + EARLY_STEP)
    assert window.bias == EARLY_STEP
    assert window.free(120.7) == 1  # the next is tested again
    answer(window, 99, at=120.8, end=180)
    assert window.ends_at == 180 + EARLY_STEP


def test_ends_are_moved_by_a_bounded_time() -> None:
    window = told()
    for minute in range(1, 12):
        window.previous_end, window.has_figures = 60.0 * minute, False
        answer(window, 0, at=(window.ends_at or 0.0) - 0.01, end=60.0 * minute)
    assert window.bias == LATEST_BIAS


def test_a_window_that_begins_before_its_time_is_seen_by_its_end() -> None:
    window = told(remaining=10)
    answer(window, 99, at=30, end=90)
    assert (window.remaining, window.ends_at, window.serial) == (99, 90, 1)


def test_a_request_that_is_not_counted_begins_no_window() -> None:
    window = told(remaining=50)
    for _ in range(3):
        answer(window, 50, at=10)
    assert (window.serial, window.remaining) == (0, 50)


def test_without_an_end_more_than_before_tells_of_a_new_window() -> None:
    window = Window()
    answer(window, 5, at=0, end=None)
    answer(window, 99, at=30, end=None)
    assert (window.serial, window.remaining) == (1, 99)


def test_without_an_end_an_older_request_tells_of_none() -> None:
    window = Window()
    first, second = take(window, 2, 0)
    window.answer(second, LIMIT, 5, None, 1)
    window.answer(first, LIMIT, 6, None, 2)
    assert (window.serial, window.remaining) == (0, 5)


def test_an_end_nobody_told_is_a_windows_length_after_the_first_request() -> None:
    window = Window()
    window.take(7.0)
    assert (window.ends_at, window.end_is_assumed) == (67.0, True)


def test_a_told_end_replaces_an_assumed_one() -> None:
    window = Window()
    answer(window, 99, at=0, end=None)
    answer(window, 98, at=1, end=80)
    assert (window.ends_at, window.serial) == (80, 0)


def test_figures_without_an_end_after_a_roll_assume_one() -> None:
    window = told()
    late = window.take(59)
    window.roll(60)
    window.answer(late, LIMIT, 98, None, 61)
    assert (window.ends_at, window.end_is_assumed) == (61 + window.length, True)


def test_more_remaining_than_the_limit_is_the_limit() -> None:
    assert told(remaining=1000).remaining == LIMIT


def test_a_request_without_figures_counts_as_spent() -> None:
    window = settled()
    before = window.take(120)
    window.lose(window.take(120), 121)
    after = window.take(122)
    assert window.remaining == LIMIT - 1
    window.answer(before, LIMIT, 99, 180, 123)
    assert window.remaining == 99
    window.answer(after, LIMIT, 96, 180, 124)
    assert window.remaining == 96


def test_a_silent_refusal_does_not_count() -> None:
    window = settled()
    window.lose(window.take(120), 121, is_refused=True)
    assert (window.remaining, window.sent) == (LIMIT, 0)


def test_a_release_leaves_no_trace() -> None:
    window = settled()
    window.release(window.take(120))
    assert (window.spare, window.sent, window.in_flight) == (LIMIT, 0, 0)
    answer(window, 99, at=120, end=180)
    late = window.take(179)
    window.roll(180)
    window.release(late)
    assert (window.spare, window.late, window.in_flight) == (LIMIT, 0, 0)


@pytest.mark.parametrize(("limit", "remaining", "lowest"), [(200, 150, 150), (200, 149, 149), (60, 10, 10), (40, 0, 0)])
def test_a_limit_that_changes_within_a_window_moves_what_remains(limit: int, remaining: int, lowest: int) -> None:
    window = told(remaining=50)
    answer(window, remaining, at=1, limit=limit)
    assert (window.limit, window.remaining) == (limit, lowest)


def test_a_limit_that_changes_between_windows_is_taken_as_told() -> None:
    window = settled()
    answer(window, 39, at=121, end=180, limit=40)
    assert (window.limit, window.remaining) == (40, 39)


def test_a_refusal_that_closes_holds_for_as_long_as_the_server_says_and_spends_nothing() -> None:
    window = settled()
    window.close(130, 120, 120)
    window.close(125, 120, 120)
    assert [window.free(at) for at in (121, 129.9, 130)] == [0, 0, LIMIT]
    assert window.next_look(121) == 130


def test_refusals_right_after_a_hold_double_it() -> None:
    window, now, holds = settled(), 120.0, []
    for _ in range(8):
        window.close(now, now, now)
        window.close(now, now - 0.1, now + 0.1)  # of the same burst
        holds.append(window.held_until - now)
        now = window.held_until
    assert holds == [FIRST_HOLD, 2, 4, 8, 16, 32, LONGEST_HOLD, LONGEST_HOLD]


@pytest.mark.parametrize("past", [0.0, -240.0])
def test_a_reset_that_never_lies_in_the_future_tells_no_end(past: float) -> None:
    window = Window()
    for at in (0.0, 1.0, 30.0):
        answer(window, 99 - int(at), at=at, end=at + past)
    assert (window.serial, window.remaining, window.ends_at, window.end_is_assumed) == (0, 69, 60.0, True)


def with_interactive(expected: float, *, current: int = 0) -> Window:
    window = settled()
    window.interactive, window.expected = current, expected
    window.ends_at = 60.0 + LAST
    return window


RESERVES: list[tuple[Window, Reserve, int, int, float]] = [
    (with_interactive(0), "auto", 0, 0, 0),
    (with_interactive(0.9), "auto", 0, 0, 0),
    (with_interactive(16), "auto", 0, 0, 16 + 4.5 * 4),
    (with_interactive(16), "auto", 0, 45, 4 + 4.5 * 2),
    (with_interactive(16), "auto", 0, 60, 0),
    (with_interactive(4), "auto", 0, 0, 4 + 4.5 * 2),
    (with_interactive(0, current=4), "auto", 0, 15, 12 + 15),
    (with_interactive(0), 0.3, 0, 1, 30),
    (with_interactive(9), 0.3, 5, 31, 15 + 5),
    (with_interactive(0), 1.0, 0, 0, 99),
]


def test_a_busy_window_lets_fewer_calls_expect_from_window_to_window() -> None:
    window, expected = settled(), list[float]()
    window.interactive, now = 10, 120.0
    for idle in (0, 0, 0, 2):
        window.ends_at = now + 60
        now += 60 * (idle + 1)
        window.roll(now)
        expected.append(window.expected)
    assert expected == pytest.approx([10 * FADE**windows for windows in (0, 1, 2, 5)])


@pytest.mark.parametrize(("window", "reserve", "floor", "at", "kept"), RESERVES)
def test_bulk_leaves_what_may_come_until_the_windows_end(
    window: Window, reserve: Reserve, floor: int, at: float, kept: float
) -> None:
    assert window.kept(reserve, floor, at) == kept


@pytest.mark.parametrize("reserve", [0.3, 1.0, "auto"])
@pytest.mark.parametrize("remaining", [1, 5, 12])
def test_time_alone_lets_bulk_go_on_when_the_reserve_has_shrunk(reserve: Reserve, remaining: int) -> None:
    window = with_interactive(16)
    window.remaining, window.has_figures = remaining, True
    look = window.next_look(0.0, reserve)
    assert window.spare <= window.kept(reserve, 0, look - 0.01)
    assert window.spare > window.kept(reserve, 0, look)


# A server beside which nobody else spends, and requests whose answers come in any order.


@define
class Server:
    limit: int
    length: float = 60.0
    accepted: dict[int, int] = field(factory=dict[int, int])

    def serve(self, at: float) -> tuple[int, int, float]:
        number = int(at // self.length)
        self.accepted[number] = min(self.limit, self.accepted.get(number, 0) + 1)
        return number, self.limit - self.accepted[number], (number + 1) * self.length

    def used(self, at: float) -> int:
        return self.accepted.get(int(at // self.length), 0)


@define
class Underway:
    serial: int
    reply: tuple[int, int, float] | None = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "burst", "arrive", "answer", "lose", "release", "wait", "turn"]), st.integers(0, 99)
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 30), st.sampled_from([0.0, 0.4, 1.0]))
@settings(max_examples=200, deadline=None)
def test_what_is_granted_and_accepted_never_exceeds_the_limit(
    steps: list[tuple[str, int]], limit: int, rounding: float
) -> None:
    window, server, now = Window(), Server(limit), 5.0
    underway: list[Underway] = []
    for step, number in steps:
        chosen = underway[number % len(underway)] if underway else None
        if step in ("take", "burst"):
            for _ in range(min(window.free(now), number if step == "burst" else 1)):
                underway.append(Underway(window.take(now)))
                unserved = sum(1 for one in underway if one.reply is None)
                assert window.limit is None or server.used(now) + unserved <= limit
        elif step == "wait":
            now += number / 10
        elif step == "turn":
            now = ceil(now / 60) * 60 + rounding + number / 100
        elif chosen and step == "arrive" and chosen.reply is None:
            chosen.reply = server.serve(now)
        elif chosen and step == "answer" and chosen.reply:
            underway.remove(chosen)
            _, remaining, end = chosen.reply
            window.answer(chosen.serial, limit, remaining, end + rounding, now)
        elif chosen and step == "lose" and chosen.reply and now % 60 > rounding:
            # Lost while the server's window has turned and ours has not, it would count in neither.
            underway.remove(chosen)
            window.lose(chosen.serial, now)
        elif chosen and step == "release" and chosen.reply is None:
            underway.remove(chosen)
            window.release(chosen.serial)
        window.roll(now)
        assert window.has_free(now) == (window.free(now) > 0)
        assert window.in_flight == len(underway)
        assert 0 <= window.late <= window.in_flight
