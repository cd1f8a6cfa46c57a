"""A limit per second, found from bursts that were refused while the window's budget remained.

Times are seconds of one monotonic clock. See `limiter` for the theory.
"""

import logging
from collections import deque
from math import inf
from typing import Final

from attrs import define, field

log = logging.getLogger("lofty_async.ratelimit")

SECOND: Final = 1.1  # with a tenth for the way to the server, which takes longer for some requests than for others
ACCEPTED_SPAN: Final = 0.9  # seconds; requests granted within it reach the server within a second
PROOF: Final = 2  # refused requests of one burst, or bursts in a row, that prove a limit per second
LATELY: Final = 5.0  # seconds for which an accepted rate counts
UNPROVEN: Final = 5.0  # seconds after which a pace that few bursts have proved rises
PATIENCE: Final = 30.0  # seconds after which a pace that tripped again at the same rate rises
MEMORY: Final = 600.0  # seconds for which a proven pace is not exceeded
FALL: Final = 0.75
RISE: Final = 1.5
FASTEST: Final = 200  # requests a second; a pace above it holds nothing back


@define
class Pace:
    """How many requests may be sent within any one second; `None` until a burst was refused.

    A burst of which some requests were refused tells the limit: its size less those. One refused request proves
    little, so the pace then falls for a moment only. The pace never falls below the rate that was lately accepted.
    `tripped` is the lowest rate known to be too high, found at `tripped_at`; `trips` counts the bursts in a row that
    were refused at about that rate. `sent` and `accepted` are the times at which the latest requests were granted.
    """

    per_second: int | None = None
    changed_at: float = -inf
    tripped: int = FASTEST
    tripped_at: float = -inf
    trips: int = 0
    burst: int = 0
    refused: int = 0
    cautious: int = 1
    sent: deque[float] = field(factory=lambda: deque[float](maxlen=FASTEST))
    accepted: deque[float] = field(factory=lambda: deque[float](maxlen=FASTEST))

    def trip(self, now: float, *, is_first: bool) -> None:
        """A burst was refused, or one more request of it; only the first refusal of a route begins a burst."""
        if now - self.tripped_at >= SECOND:
            if not is_first:
                return
            self._begin_trip(now)
        self.refused += 1
        lowest = self._lately_accepted(now)
        accepted = max(1, self.burst - self.refused, lowest)
        self._change(max(lowest, min(self.cautious, accepted)))
        self.tripped = accepted + 1

    def _begin_trip(self, now: float) -> None:
        burst = max(1, self._within(now))
        is_repeated = now - self.tripped_at < PATIENCE and burst <= self.tripped * RISE
        self.trips = self.trips + 1 if is_repeated else 1
        self.burst, self.refused = burst, 0
        # Half of a first burst until more is known of it; a pace that was thought to be right falls by less.
        self.cautious = max(1, burst // 2 if self.per_second is None else int(self.per_second * FALL))
        self.changed_at = self.tripped_at = now

    def ready_at(self, now: float) -> float:
        """Return when the next request may go: `now`, or later."""
        self._rise(now)
        if self.per_second is None or self._within(now) < self.per_second:
            return now
        return self.sent[-self.per_second] + SECOND

    @property
    def is_proven(self) -> bool:
        return self.trips >= PROOF and self.refused >= PROOF

    def _rise(self, now: float) -> None:
        is_hint = self.refused < PROOF and self.trips < PROOF
        patience = SECOND if is_hint else PATIENCE if self.is_proven else UNPROVEN
        if self.per_second is None or now - self.changed_at < patience:
            return
        if is_hint:
            self._change(None)
        elif self.is_proven and now - self.tripped_at < MEMORY:
            self._change(max(self.per_second, (self.per_second + self.tripped) // 2))
        else:
            faster = max(self.per_second + 1, int(self.per_second * RISE))
            self._change(faster if faster < FASTEST else None)
        self.changed_at = now

    def _change(self, per_second: int | None) -> None:
        if per_second is None:
            log.info("requests are no longer paced")
        elif per_second != self.per_second:
            log.info("requests are paced: at most %d in any second", per_second)
        self.per_second = per_second

    def _within(self, now: float) -> int:
        return sum(1 for sent in self.sent if sent > now - SECOND)

    def _lately_accepted(self, now: float) -> int:
        """Return the most requests granted within one of the last seconds that were accepted."""
        times = sorted(at for at in self.accepted if at > now - LATELY)
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - ACCEPTED_SPAN:
                first += 1
            most = max(most, last - first + 1)
        return most
