"""When a token is renewed and until when it may be used."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.oauth import Token
from lofty_async.oauth.schedule import PAUSE, Schedule


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


@given(ahead=st.floats(0, 100), chance=st.floats(0, 1, exclude_max=True))
def test_a_postponed_renewal_comes_soon_but_never_after_the_end(ahead: float, chance: float) -> None:
    postponed = Schedule(renew_at=0.0, good_until=ahead).postponed(now=0.0, chance=chance)
    assert postponed.renew_at == min(ahead, PAUSE * (1 + chance))
    assert postponed.good_until == ahead


def test_what_was_refused_stays_refused_however_often_its_renewal_fails() -> None:
    assert Schedule().postponed(now=5.0, chance=0.5) == Schedule()
