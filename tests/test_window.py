from math import ceil

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from lofty_async.ratelimit.spend import Spend
from lofty_async.ratelimit.window import (
    BLIND_BURST,
    EARLY_STEP,
    GUESS_HOLDS,
    LATEST_BIAS,
    PROBE_PATIENCE,
    TAPER,
    Window,
)

LIMIT = 100


def answer(window: Window, remaining: int, *, at: float, end: float | None = 60.0, limit: int = LIMIT) -> None:
    """One request alone: taken and answered at once."""
    window.answered(window.take(at), limit, remaining, end, at)


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


def take(window: Window, count: int, at: float) -> list[Spend]:
    return [window.take(at) for _ in range(count)]


def test_before_any_answer_one_request_goes_and_one_more_each_second() -> None:
    window = Window()
    assert window.free(0.0) == 1
    window.take(0.0)
    assert [window.free(at) for at in (0.0, 0.9, PROBE_PATIENCE, 5.0)] == [0, 0, 1, 5]
    assert window.next_look(0.5) == PROBE_PATIENCE


def test_a_server_that_tells_nothing_gets_few_at_once() -> None:
    window = Window()
    window.answered_silently(window.take(0.0), 0.0)
    assert window.free(0.1) == BLIND_BURST


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
    assert window.company
    assert window.free(122) == 80 // TAPER
    assert window.free(180) == 1
    answer(window, 99, at=181, end=240)
    assert window.free(182) == 99 // TAPER


def test_what_others_spent_before_we_came_is_no_company() -> None:
    window = told(remaining=40)
    answer(window, 39, at=1)
    assert not window.company
    answer(window, 30, at=2)
    assert window.company


def test_the_lowest_remaining_counts_less_what_is_in_flight() -> None:
    window = settled()
    first, second = take(window, 2, 120)
    window.answered(second, LIMIT, 98, 180, 121)
    window.answered(first, LIMIT, 99, 180, 122)
    take(window, 3, 123)
    assert (window.lowest, window.in_flight, window.spare) == (98, 3, 95)


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
    assert (window.in_flight, window.carried, window.spare) == (1, 1, 99)
    window.answered(late, LIMIT, 3, 180, 181)
    assert (window.in_flight, window.carried, window.spare) == (0, 0, LIMIT)


def test_a_permit_carried_over_that_counts_here_is_counted_here() -> None:
    window = settled()
    answer(window, 99, at=120, end=180)
    late = window.take(179)
    window.roll(180)
    window.answered(late, LIMIT, 99, 240, 181)
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
    for minute in range(1, 9):
        window.previous_end, window.seen = 60.0 * minute, False
        answer(window, 0, at=(window.ends_at or 0.0) - 0.01, end=60.0 * minute)
    assert window.bias == LATEST_BIAS


def test_a_window_that_begins_before_its_time_is_seen_by_its_end() -> None:
    window = told(remaining=10)
    answer(window, 99, at=30, end=90)
    assert (window.lowest, window.ends_at, window.serial) == (99, 90, 1)


def test_a_request_that_is_not_counted_begins_no_window() -> None:
    window = told(remaining=50)
    for _ in range(3):
        answer(window, 50, at=10)
    assert (window.serial, window.lowest) == (0, 50)


def test_without_an_end_more_than_before_tells_of_a_new_window() -> None:
    window = Window()
    answer(window, 5, at=0, end=None)
    answer(window, 99, at=30, end=None)
    assert (window.serial, window.lowest) == (1, 99)


def test_without_an_end_an_older_request_tells_of_none() -> None:
    window = Window()
    first, second = take(window, 2, 0)
    window.answered(second, LIMIT, 5, None, 1)
    window.answered(first, LIMIT, 6, None, 2)
    assert (window.serial, window.lowest) == (0, 5)


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
    window.answered(late, LIMIT, 98, None, 61)
    assert (window.ends_at, window.end_is_assumed) == (61 + window.length, True)


def test_more_remaining_than_the_limit_is_the_limit() -> None:
    assert told(remaining=1000).lowest == LIMIT


def test_what_got_no_figures_counts_until_figures_include_it() -> None:
    window = settled()
    before = window.take(120)
    window.lost(window.take(120), 121)
    window.answered_silently(window.take(121), 122)
    after = window.take(122)
    assert window.remaining == LIMIT - 2
    window.answered(before, LIMIT, 99, 180, 123)
    assert window.remaining == 99 - 2
    window.answered(after, LIMIT, 96, 180, 124)
    assert window.remaining == 96


def test_a_silent_refusal_does_not_count() -> None:
    window = settled()
    spend = window.take(120)
    window.refused(spend)
    window.answered_silently(spend, 121, refused=True)
    assert (window.remaining, window.sent) == (LIMIT, 0)


def test_a_release_leaves_no_trace() -> None:
    window = settled()
    window.release(window.take(120))
    assert (window.spare, window.sent, window.in_flight) == (LIMIT, 0, 0)
    answer(window, 99, at=120, end=180)
    late = window.take(179)
    window.roll(180)
    window.release(late)
    assert (window.spare, window.carried, window.in_flight) == (LIMIT, 0, 0)


@pytest.mark.parametrize(("limit", "remaining", "lowest"), [(200, 150, 150), (200, 149, 149), (60, 10, 10), (40, 0, 0)])
def test_a_limit_that_changes_within_a_window_moves_what_remains(limit: int, remaining: int, lowest: int) -> None:
    window = told(remaining=50)
    answer(window, remaining, at=1, limit=limit)
    assert (window.limit, window.lowest) == (limit, lowest)


def test_a_limit_that_changes_between_windows_is_taken_as_told() -> None:
    window = settled()
    answer(window, 39, at=121, end=180, limit=40)
    assert (window.limit, window.lowest) == (40, 39)


def test_a_hold_lasts_as_long_as_it_says_and_spends_nothing() -> None:
    window = settled()
    window.hold(130)
    window.hold(125)
    assert [window.free(at) for at in (121, 129.9, 130)] == [0, 0, LIMIT]
    assert window.next_look(121) == 130


def guessed() -> Window:
    window = Window()
    window.guess(LIMIT, 0.0)
    return window


def exhaust(window: Window, at: float) -> None:
    while window.spare > 0:
        window.answered_silently(window.take(at), at)


def test_a_guess_begins_a_window_in_which_one_was_spent() -> None:
    window = guessed()
    assert (window.limit, window.limit_is_guess, window.lowest, window.ends_at) == (LIMIT, True, 99, 60.0)


def test_a_guess_that_holds_rises_by_a_tenth() -> None:
    window = guessed()
    exhaust(window, 1.0)
    window.roll(60)
    assert window.limit == 110


def test_a_guess_not_put_to_the_test_stays() -> None:
    window = guessed()
    window.roll(60)
    assert window.limit == LIMIT


def test_a_guess_too_high_falls_to_what_was_let_through_and_holds_for_a_while() -> None:
    window, now, limits = guessed(), 60.0, []
    exhaust(window, 1.0)
    window.roll(now)
    for _ in range(105):
        window.answered_silently(window.take(now), now)
    assert window.fall_short()
    for _ in range(GUESS_HOLDS + 1):
        assert window.free(now) == 0
        now = (window.ends_at or 0.0) + 1
        window.roll(now)
        limits.append(window.limit)
        exhaust(window, now)
    assert limits == [105] * (GUESS_HOLDS - 1) + [115, 126]


@pytest.mark.parametrize("window", [Window(), told(remaining=1), guessed()])
def test_a_refusal_far_from_a_guess_says_nothing_of_it(window: Window) -> None:
    assert not window.fall_short()


def test_figures_end_the_guessing() -> None:
    window = guessed()
    answer(window, 42, at=1.0, limit=50)
    assert (window.limit, window.limit_is_guess, window.lowest) == (50, False, 42)


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
    spend: Spend
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
            window.answered(chosen.spend, limit, remaining, end + rounding, now)
        elif chosen and step == "lose" and chosen.reply and now % 60 > rounding:
            # Lost while the server's window has turned and ours has not, it would count in neither.
            underway.remove(chosen)
            window.lost(chosen.spend, now)
        elif chosen and step == "release" and chosen.reply is None:
            underway.remove(chosen)
            window.release(chosen.spend)
        window.roll(now)
        assert window.lets_one_go(now) == (window.free(now) > 0)
        assert window.in_flight == len(underway)
        assert 0 <= window.carried <= window.in_flight
