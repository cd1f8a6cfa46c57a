"""A limit per second that shows only when a burst trips it: slow down, remember, try more after a while."""

from collections import deque
from math import inf
from typing import Final

from attrs import define, field

SECOND: Final = 1.1  # with a tenth for the way there, which takes longer for some than for others
PATIENCE: Final = 30.0  # seconds without a trip after which the pace rises
MEMORY: Final = 600.0  # seconds for which a pace that tripped is not tried again
FALL: Final = 0.75
RISE: Final = 1.5
FORGET: Final = 200  # a second's pace above which there is nothing left to hold back


@define
class Pace:
    """How many may be sent within any one second; `None` until a burst was refused.

    A burst of which some were refused tells the limit: its size less those. `tripped` is the lowest pace known to be
    too much, found at `tripped_at`; `cautious` is where the last trip left the pace at once. `sent` are the times
    of the latest requests.
    """

    per_second: int | None = None
    changed_at: float = -inf
    tripped: int = FORGET
    tripped_at: float = -inf
    burst: int = 0
    refused: int = 0
    cautious: int = 1
    sent: deque[float] = field(factory=lambda: deque[float](maxlen=FORGET))

    def trip(self, now: float) -> None:
        """A burst was refused, or one more request of it."""
        if now - self.tripped_at >= SECOND:
            self._begin_trip(now)
        self.refused += 1
        let_through = max(1, self.burst - self.refused)
        self.per_second, self.tripped = min(self.cautious, let_through), let_through + 1

    def _begin_trip(self, now: float) -> None:
        """Half of a first burst until more is known of it; a pace that was thought to be right falls by less."""
        self.burst, self.refused = max(1, self._within(now)), 0
        self.cautious = max(1, self.burst // 2 if self.per_second is None else int(self.per_second * FALL))
        self.changed_at = self.tripped_at = now

    def ready_at(self, now: float) -> float:
        """When the next request may go: `now`, or later."""
        self._rise(now)
        if self.per_second is None or self._within(now) < self.per_second:
            return now
        return self.sent[-self.per_second] + SECOND

    def _within(self, now: float) -> int:
        return sum(1 for sent in self.sent if sent > now - SECOND)

    def _rise(self, now: float) -> None:
        if self.per_second is None or now - self.changed_at < PATIENCE:
            return
        if now - self.tripped_at < MEMORY:
            self.per_second = max(self.per_second, (self.per_second + self.tripped) // 2)
        else:
            faster = max(self.per_second + 1, int(self.per_second * RISE))
            self.per_second = faster if faster < FORGET else None
        self.changed_at = now
