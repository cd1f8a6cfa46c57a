"""When a token is renewed and until when it may be used. Pure: times come in, times go out."""

from math import inf
from typing import Self

from attrs import evolve, frozen

from .tokens import Token

SHARE_OF_LIFE = 0.1
"""Of a short life, this last share is `early` at the most; the spread may double it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a renewal that failed is tried again: doubled with each failure, and by chance once more."""

MOST_ASKED = 3600.0
"""Seconds that a token endpoint's `Retry-After` is followed, at most."""


@frozen
class Schedule:
    """Two moments of the clock: from the first a token is to be renewed, from the second it is of no use."""

    renew_at: float = -inf
    good_until: float = -inf

    @classmethod
    def of(cls, token: Token, *, now: float, early: float, chance: float) -> Self:
        """`early` seconds before the end, up to twice that as `chance` goes from 0 to 1.

        The spread keeps many processes from renewing in the same second. A token of unknown life is used
        until the server refuses it.
        """
        if token.expires_at is None:
            return cls(inf, inf)
        ahead = min(early, max(0.0, token.expires_at - now) * SHARE_OF_LIFE)
        return cls(token.expires_at - ahead * (1 + chance), token.expires_at)

    def fresh(self, now: float) -> bool:
        return now < self.renew_at

    def usable(self, now: float) -> bool:
        return now < self.good_until

    def postponed(self, until: float) -> Self:
        """The same token, renewed later, for a token endpoint that is down for a moment."""
        return evolve(self, renew_at=min(self.good_until, until))


@frozen
class Pause:
    """How long the endpoint is left alone after it has failed `failures` times in a row."""

    began: float = 0.0
    seconds: float = 0.0
    failures: int = 0

    def left(self, now: float) -> float:
        """Seconds still to wait; none where the clock was set back, which says nothing of the time passed."""
        return max(0.0, self.began + self.seconds - now) if now >= self.began else 0.0

    def after_failure(self, *, now: float, chance: float, at_least: float) -> Self:
        """The pause after one more failure; `chance` goes from 0 to 1 and keeps many processes apart."""
        doubled = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.failures, 16))
        seconds = max(doubled * (1 + chance), min(at_least, MOST_ASKED))
        return type(self)(now, seconds, self.failures + 1)
