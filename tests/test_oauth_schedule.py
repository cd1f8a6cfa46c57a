"""When a token is renewed and until when it may be used."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.oauth import Token
from lofty_async.oauth.schedule import Pause, Schedule


@pytest.mark.parametrize(
    ("life", "early", "chance", "renewed_after"),
    [
        (3600, 60, 0.0, 3540),
        (3600, 60, 0.5, 3510),
        (100, 60, 0.0, 90),
        (100, 60, 0.5, 85),
        (3600, 0, 0.9, 3600),
        (-50, 60, 0.5, -50),
    ],
)
def test_a_token_is_renewed_shortly_before_its_end(
    life: float, early: float, chance: float, renewed_after: float
) -> None:
    schedule = Schedule.of(Token("t", expires_at=1000.0 + life), now=1000.0, early=early, chance=chance)
    assert schedule == Schedule(1000.0 + renewed_after, 1000.0 + life)


def test_a_token_of_unknown_life_is_used_until_it_is_refused() -> None:
    assert Schedule.of(Token("t"), now=0.0, early=60.0, chance=0.5) == Schedule(inf, inf)


def test_without_a_token_nothing_is_fresh_or_usable() -> None:
    assert not Schedule().fresh(-1e300)
    assert not Schedule().usable(-1e300)


@given(
    life=st.floats(0.001, 1e9),
    early=st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
    now=st.floats(0, 2e9),
)
def test_every_token_is_used_for_most_of_its_life_and_renewed_before_its_end(
    life: float, early: float, chance: float, now: float
) -> None:
    end = now + life
    schedule = Schedule.of(Token("t", expires_at=end), now=now, early=early, chance=chance)
    assert end - schedule.renew_at <= min(2 * early, 0.2 * (end - now)) + 1e-6
    assert schedule.renew_at <= schedule.good_until == end


@given(ahead=st.floats(0, 100), until=st.floats(0, 100))
def test_a_postponed_renewal_never_comes_after_the_end(ahead: float, until: float) -> None:
    postponed = Schedule(renew_at=0.0, good_until=ahead).postponed(until)
    assert postponed == Schedule(min(ahead, until), ahead)


def test_what_was_refused_stays_refused_however_often_its_renewal_fails() -> None:
    assert Schedule().postponed(5.0) == Schedule()


def test_a_pause_doubles_up_to_half_a_minute_and_is_spread_by_chance() -> None:
    pause, seconds = Pause(), list[float]()
    for _ in range(2000):
        pause = pause.after_failure(now=0.0, chance=0.0, at_least=0.0)
        seconds.append(pause.seconds)
    assert seconds[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert seconds[-1] == 30
    assert Pause().after_failure(now=0.0, chance=0.5, at_least=0.0).seconds == 0.75


@pytest.mark.parametrize(("wanted", "seconds"), [(0.1, 0.5), (7, 7), (86_400, 3600)])
def test_a_pause_is_as_long_as_the_endpoint_asks_for_up_to_an_hour(wanted: float, seconds: float) -> None:
    assert Pause().after_failure(now=0.0, chance=0.0, at_least=wanted).seconds == seconds


@pytest.mark.parametrize(("now", "left"), [(100.0, 5.0), (104.0, 1.0), (105.0, 0.0), (99.0, 0.0)])
def test_a_pause_ends_also_where_the_clock_is_set_back(now: float, left: float) -> None:
    assert Pause(100.0, 5.0).left(now) == left
