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
LATELY: Final = 5.0  # seconds for which an accepted rate counts
AT_ONCE: Final = 0.1  # seconds; requests granted within it belong to one burst, however late their answers come
PROOF: Final = 2  # refused requests of one burst, or refused bursts in a row, that prove a limit per second
IN_A_ROW: Final = 30.0  # seconds between refused bursts in a row, while nothing is paced
FIRST_REST: Final = 5.0  # seconds until a pace that was refused rises
BACKOFF: Final = 5  # times as long is the rest after each refused step
LONGEST_REST: Final = 600.0  # seconds
NEXT_REST: Final = 2.0  # seconds until a pace that rose rises again
USED: Final = 0.8  # of the pace: requests spread over `SECOND` are fewer within `ACCEPTED_SPAN`
FASTEST: Final = 200  # requests a second; a pace above it holds nothing back


@define
class Pace:
    """How many requests may be sent within any one second; `None` until a burst was refused.

    The requests of one second, less those of them that were refused, are the limit. One refused request proves little:
    the first slows the next second only, and one within a pace that has `held` changes nothing unless more follow. The
    pace never falls below the rate that was lately accepted.

    It rises once it was used to the full and has rested: by one request, then by steps that double, until a step is
    refused. The rest becomes longer each time, and short again once as many requests passed as were refused before.

    `tripped` is the lowest rate that was refused, and `is_hint` whether one request alone says so; `lone` counts those
    within the pace that was held, in a row. `sent` and `accepted` are the times at which the latest requests were
    granted.
    """

    per_second: int | None = None
    held: int = 0
    tripped: int = FASTEST
    tripped_at: float = -inf
    changed_at: float = -inf
    rest: float = 0.0
    rests_until: float = -inf
    step: int = 1
    burst: int = 0
    refused: int = 0
    lone: int = 0
    is_hint: bool = False
    sent: deque[float] = field(factory=lambda: deque[float](maxlen=FASTEST))
    accepted: deque[float] = field(factory=lambda: deque[float](maxlen=FASTEST))

    def trip(self, granted_at: float, now: float, *, is_first: bool) -> None:
        """A burst was refused, or one more request of it; only the first refusal of a route begins a burst."""
        if now - self.tripped_at >= SECOND:
            at_once = sum(1 for sent in self.sent if abs(sent - granted_at) < AT_ONCE)
            burst = max(1, at_once, self._sent_since(now - SECOND))
            if not is_first:
                return
            self._begin_trip(burst, now)
        self.refused += 1
        if self.refused < PROOF and self.burst <= self.held and self.lone <= PROOF:
            return
        self.is_hint = self.is_hint and self.refused < PROOF
        self.held = max(1, self.burst - self.refused, self._most_accepted(now - LATELY))
        self.tripped = self.held + 1
        self._change(self.held, now)
        self.rests_until = self.tripped_at + (SECOND if self.is_hint else self.rest)

    def _begin_trip(self, burst: int, now: float) -> None:
        is_alone = self.per_second is None and now - self.tripped_at > IN_A_ROW
        passed = self._most_accepted(self.tripped_at)
        if is_alone or passed >= self.tripped:
            self.rest = 0.0
        is_step = burst > self.held
        if is_step and burst >= PROOF:
            self.rest = min(LONGEST_REST, max(FIRST_REST, BACKOFF * self.rest))
        self.lone = 0 if is_step or passed >= burst else self.lone + 1
        self.is_hint = self.per_second is None and (self.rest <= FIRST_REST or burst < PROOF)
        self.burst, self.refused, self.tripped_at, self.step = burst, 0, now, 1

    def ready_at(self, now: float) -> float:
        """Return when the next request may go: `now`, or later."""
        if self.per_second is not None and now >= self.rests_until:
            self._rise(self.per_second, now)
        if self.per_second is None or self._sent_since(now - SECOND) < self.per_second:
            return now
        return self.sent[-self.per_second] + SECOND

    def _rise(self, pace: int, now: float) -> None:
        if self.is_hint:
            self._change(None, now)
            return
        if self._most_accepted(self.changed_at) < USED * pace:
            return
        faster = pace + self.step
        self._change(faster if faster < FASTEST else None, now)
        self.held, self.step = pace, 2 * self.step
        self.rests_until = now + NEXT_REST

    def _change(self, per_second: int | None, now: float) -> None:
        if per_second is None:
            log.info("requests are no longer paced")
            self.held = 0
        elif per_second != self.per_second:
            log.info("requests are paced: at most %d in any second", per_second)
        self.per_second, self.changed_at = per_second, now

    def _sent_since(self, moment: float) -> int:
        return sum(1 for sent in self.sent if sent > moment)

    def _most_accepted(self, since: float) -> int:
        """Return the most requests granted within one second since then that were accepted."""
        times = sorted(at for at in self.accepted if at > since)
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - ACCEPTED_SPAN:
                first += 1
            most = max(most, last - first + 1)
        return most
