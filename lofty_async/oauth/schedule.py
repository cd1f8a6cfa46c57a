"""When a token is renewed and until when it may be used. Pure: times come in, times go out."""

from math import inf
from typing import Self

from attrs import evolve, frozen

from .tokens import Token

SHARE_OF_LIFE = 0.1
"""Of a short life, this last share is `early` at the most; the spread may double it."""

PAUSE = 5.0
"""Seconds before a renewal that failed under a still valid token is tried again; twice that at the most."""


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

    def postponed(self, *, now: float, chance: float) -> Self:
        """The same token, renewed a little later, for a token endpoint that is down for a moment."""
        return evolve(self, renew_at=min(self.good_until, now + PAUSE * (1 + chance)))
