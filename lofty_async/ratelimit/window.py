"""Pure arithmetic of one fixed window: how many requests may be sent now, and when to look again.

Times are seconds of one monotonic clock. A reading of a window's end is an upper bound (see `resets`), so the earliest
reading is kept. See `limiter` for the theory.
"""

from math import ceil, inf, sqrt
from typing import Final, Literal

from attrs import define

from .resets import WINDOW

UNBOUNDED: Final = 1_000_000
PROBE_INTERVAL: Final = 1.0  # seconds without an answer after which one more probe may go
BLIND_IN_FLIGHT: Final = 5  # requests in flight at once while the server says nothing of its limit
TAPER: Final = 8  # one part of what remains may be in flight at once while another client spends too
CONTENTION_WINDOWS: Final = 2  # windows for which another client is expected after it was seen
EARLY_STEP: Final = 0.5  # seconds added to an end that proved too early; the step doubles
LATEST_BIAS: Final = 32.0  # seconds
FIRST_HOLD: Final = 1.0  # seconds without requests after a refusal that closes the window; they double
LONGEST_HOLD: Final = 60.0  # seconds
SHORTEST: Final = 0.25  # seconds; a shorter window is taken for jitter
ROUNDING: Final = 1.25  # seconds by which two readings of one end may differ
MARGIN: Final = 4.5  # standard deviations of a Poisson count that `reserve="auto"` adds to the expected calls
FADE: Final = 0.8  # what is left, a window later, of the calls that a busy window lets expect
LAST: Final = 1.0  # seconds of a window in which `reserve="auto"` reserves nothing, so that all is spent in time
TICK: Final = 1e-3  # seconds past a threshold, so that rounding does not leave a timer short of it

Reserve = float | Literal["auto"]


@define
class Window:
    """The lowest Remaining seen in one window, the requests in flight, and when the window ends.

    `limit` is `None` until an answer has it. `has_figures` says that an answer had the figures of this window.
    `late` requests were sent in an earlier window and are still in flight; they count here until their answer shows
    otherwise. `sent` counts the requests of this window and the late ones. `contention` is the number of windows for
    which another client is expected to spend too; it is in the first window. `is_silent` is whether answers came while
    the limit is unknown; `passed` is then the number of requests that one window lets through, 0 until it is known.
    `interactive` counts the interactive requests of this window, `expected` is the number to expect in one window.
    """

    limit: int | None = None
    remaining: int = 0
    ends_at: float | None = None
    end_is_assumed: bool = False
    previous_end: float = -inf
    length: float = 0.0
    bias: float = 0.0
    serial: int = 0
    in_flight: int = 0
    late: int = 0
    sent: int = 0
    has_figures: bool = False
    is_silent: bool = False
    passed: int = 0
    contention: int = CONTENTION_WINDOWS
    probed_at: float | None = None
    held_until: float = 0.0
    hold: float = 0.0
    interactive: int = 0
    expected: float = 0.0

    @property
    def spare(self) -> int:
        """The requests that remain once everything in flight has been counted."""
        return UNBOUNDED if self.limit is None else self.remaining - self.in_flight

    @property
    def answered(self) -> int:
        """The requests of this window that the server has let through or lost."""
        return self.sent - self.in_flight

    @property
    def period(self) -> float:
        return self.length or WINDOW

    def roll(self, now: float) -> None:
        """Begin the next window if this one is over."""
        if self.ends_at is not None and now >= self.ends_at:
            idle = int((now - self.ends_at) / self.period)
            self._begin(None)
            self.expected *= FADE**idle
            if self.limit is None and self.passed:
                self.ends_at, self.end_is_assumed = self.previous_end + (idle + 1) * self.period, True

    def open(self, passed: int, now: float) -> None:
        """Begin the window that let a request through just now; the one before let `passed` through, then refused."""
        self._begin(now + self.period)
        self.passed = max(1, passed)
        self.end_is_assumed, self.sent = True, self.sent + 1

    def free(self, now: float) -> int:
        """Return how many requests may be sent now, reserve and floor aside."""
        self.roll(now)
        if now < self.held_until:
            return 0
        return max(0, min(self._most_in_flight(now) - self.in_flight + self.late, self.spare))

    def has_free(self, now: float) -> bool:
        """Return whether `free` is above 0; asked before every request."""
        if self.has_figures and self.ends_at is not None and self.held_until <= now < self.ends_at:
            most = self.remaining // TAPER if self.contention else self.remaining
            if self.in_flight < most:
                return True
        return self.free(now) > 0

    def kept(self, reserve: Reserve, floor: int, now: float) -> int:
        """Return the requests that are not to be spent now; at least one of each window may be."""
        if self.limit is None:
            return 0
        end = now + self.period if self.ends_at is None else self.ends_at
        left = min(max(0.0, end - now - _last(reserve, self.period)), self.period)
        per_second, margin = self._expected(reserve, left)
        mean = per_second * left
        return min(floor + int(mean + margin * sqrt(mean)), self.limit - 1)

    def next_look(self, now: float, reserve: Reserve = 0.0, floor: int = 0) -> float:
        """Return when time alone may allow more than now; `inf` where only an answer can."""
        looks = [inf if self.ends_at is None else self.ends_at, self.held_until, now + self.next_probe(now)]
        if reserve:
            looks.append(self._reserve_allows_at(reserve, floor, now))
        return min((look for look in looks if look > now), default=inf)

    def _reserve_allows_at(self, reserve: Reserve, floor: int, now: float) -> float:
        """Return when the reserve has shrunk below what is spare; the inverse of `kept`."""
        if self.limit is None or self.ends_at is None:
            return inf
        spare = self.spare - min(floor, self.limit - 1)
        per_second, margin = self._expected(reserve, self.ends_at - now)
        if spare <= 0 or not per_second:
            return inf
        mean = ((sqrt(margin * margin + 4 * spare) - margin) / 2) ** 2
        return self.ends_at - _last(reserve, self.period) - mean / per_second + TICK

    def _expected(self, reserve: Reserve, left: float) -> tuple[float, float]:
        """Return the interactive calls to expect in each second, and the margin in standard deviations."""
        if reserve != "auto":
            return reserve * (self.limit or 0) / self.period, 0.0
        now = self.interactive / max(self.period - left, self.period / 4)
        return max(self.expected / self.period if self.expected >= 1 else 0.0, now), MARGIN

    def next_probe(self, now: float) -> float:
        """Return the seconds until one more probe may go without an answer; 0 where none is waited for."""
        if self.has_figures or self.probed_at is None:
            return 0.0
        waited = int((now - self.probed_at) / PROBE_INTERVAL + 1e-9)
        return self.probed_at + (waited + 1) * PROBE_INTERVAL - now

    def predict(self, ahead: int, floor: int, now: float) -> float:
        """Return the seconds that a request behind `ahead` others waits at least, by what is known."""
        self.roll(now)
        held = max(0.0, self.held_until - now)
        if self.limit is None or self.ends_at is None:
            return held
        floor = min(floor, self.limit - 1)
        missing = ahead + 1 - max(0, self.spare - floor)
        if missing <= 0:
            return held
        return max(held, self.ends_at - now + (missing - 1) // (self.limit - floor) * self.period)

    def take(self, now: float, *, is_interactive: bool = False) -> int:
        """Count one request as in flight; return the serial of its window."""
        self.in_flight += 1
        self.sent += 1
        if is_interactive:
            self.interactive += 1
        if self.probed_at is None:
            self.probed_at = now
        if self.ends_at is None:
            self.assume_end(now)
        return self.serial

    def assume_end(self, now: float) -> None:
        """Assume the latest end possible, should no answer tell the end."""
        if self.ends_at is None:
            self.ends_at, self.end_is_assumed = now + self.period, True

    def release(self, serial: int) -> None:
        """Take back a request that was never sent."""
        self._land(serial)
        if serial == self.serial:
            self.sent = max(self.in_flight, self.sent - 1)

    def lose(self, serial: int, now: float, *, is_refused: bool = False) -> None:
        """End a request without figures of this window: it counts as spent until figures say otherwise."""
        self.roll(now)
        self._land(serial)
        self.is_silent = self.limit is None
        if not is_refused:
            self.remaining = max(0, self.remaining - 1)
        elif serial == self.serial:
            self.sent = max(self.in_flight, self.sent - 1)
            self.passed = min(self.passed, max(1, self.answered))
        self.assume_end(now)

    def answer(
        self,
        serial: int,
        limit: int,
        remaining: int,
        end: float | None,
        now: float,
        *,
        lowest: int | None = None,
        is_refused: bool = False,
    ) -> bool:
        """Learn from the figures of an answer; return whether they are this window's.

        `lowest` is the lowest Remaining known when the request was sent, `end` the reading of the window's end.
        """
        self.roll(now)
        self._land(serial)
        if is_refused and serial == self.serial:
            self.sent = max(self.in_flight, self.sent - 1)
        end = self._plausible(end, now)
        if end is not None:
            end += self.bias
            if self._is_same_end(end, self.previous_end):
                self._answer_of_window_before(serial, remaining, end, now)
                return False
        if self._is_of_newer_window(serial, remaining, end, lowest):
            self._begin(end)
            self.sent += 1
        self._see(limit, min(remaining, limit), end, now)
        return True

    def _plausible(self, end: float | None, now: float) -> float | None:
        """Return the reading unless the server has never told an end in the future: then it tells nothing."""
        if end is not None and end > now:
            self.length = min(WINDOW, max(self.length, end - now, SHORTEST))
        return end if self.length else None

    def answer_alike(self, remaining: int) -> None:
        """Learn what `answer` would from one that tells the limit and end of this window as one before it did."""
        self.in_flight -= 1
        self.remaining = min(self.remaining, remaining)
        if self.limit is not None and self.serial and self.limit - remaining > self.sent:
            self.contention = max(self.contention, CONTENTION_WINDOWS)

    def raise_limit(self, limit: int) -> None:
        """Learn from another process that the limit is higher."""
        self.limit, self.remaining = limit, self.remaining + limit - (self.limit or 0)

    def learn_lowest(self, lowest: int, left: float, now: float) -> None:
        """Learn from another process the lowest Remaining of the window that ends in `left` seconds."""
        if self.limit is None:
            return
        self.roll(now)
        if self.ends_at is None or self.end_is_assumed:
            self.ends_at, self.end_is_assumed = now + left, False
        if abs(self.ends_at - now - left) < self.period / 2:
            self.remaining = min(self.remaining, lowest)

    def close(self, until: float, granted_at: float, now: float) -> bool:
        """Hold every request until `until`, or for longer if the server refuses again right after each hold.

        Return whether the hold is a new one, not that of another request of the same burst.
        """
        is_new = granted_at >= self.held_until
        if is_new:
            self.hold = min(LONGEST_HOLD, max(FIRST_HOLD, self.hold * 2))
            self.held_until = max(self.held_until, until, now + self.hold)
        self.held_until = max(self.held_until, until)
        return is_new

    def _answer_of_window_before(self, serial: int, remaining: int, end: float, now: float) -> None:
        """A late answer of the window before; or the end was read too early, if the request was sent after it."""
        if serial == self.serial and not self.has_figures:
            step = max(EARLY_STEP, self.bias)
            self.bias = min(LATEST_BIAS, self.bias + step)
            self.ends_at, self.end_is_assumed = max(end, now) + step, False
            self.previous_end = -inf
            self.remaining, self.has_figures = remaining, True
            self.contention = CONTENTION_WINDOWS + 1  # so that a probe goes first in the next two windows

    def _is_of_newer_window(self, serial: int, remaining: int, end: float | None, lowest: int | None) -> bool:
        if not self.has_figures or self.ends_at is None:
            return False
        if end is not None and not self.end_is_assumed:
            return end > self.ends_at and not self._is_same_end(end, self.ends_at)
        # A request sent after an answer that showed `lowest` would not show more, were it of the same window.
        return serial == self.serial and lowest is not None and remaining > lowest > 0

    def _see(self, limit: int, remaining: int, end: float | None, now: float) -> None:
        if self.has_figures:
            # A limit that changes within a window moves what remains; what was spent stays spent.
            changed = 0 if self.limit is None else limit - self.limit
            remaining = max(0, min(self.remaining + changed, remaining))
        self.limit, self.remaining, self.has_figures = limit, remaining, True
        if end is None:
            self.assume_end(now)
        else:
            is_known = self.ends_at is not None and not self.end_is_assumed
            self.ends_at = min(end, self.ends_at) if is_known and self.ends_at is not None else end
            self.end_is_assumed = False
        if self.serial and limit - remaining > self.sent:
            self.contention = max(self.contention, CONTENTION_WINDOWS)

    def _begin(self, end: float | None) -> None:
        if self.ends_at is not None:
            self.previous_end = self.ends_at
        if self.serial or self.has_figures:
            self.contention = max(0, self.contention - 1)
        if not self.serial:
            self.interactive = self._scaled(self.interactive)
        if self.passed:
            self.passed = max(self.passed, self.answered)
        self.serial += 1
        self.interactive, self.expected = 0, max(self.interactive, self.expected * FADE)
        self.ends_at, self.end_is_assumed, self.has_figures, self.probed_at = end, False, False, None
        self.remaining, self.late, self.sent = self.limit or 0, self.in_flight, self.in_flight

    def _scaled(self, number: int) -> int:
        """Scale a number of the first window, which began before its first request, to a whole window."""
        since = self.previous_end if self.probed_at is None else self.probed_at
        return ceil(number * self.period / max(self.previous_end - since, self.period / 4))

    def _most_in_flight(self, now: float) -> int:
        """Few while the figures are unknown, a part of the rest under contention, else no bound."""
        if self.has_figures:
            return max(1, self.remaining // TAPER) if self.contention else UNBOUNDED
        if self.is_silent and self.limit is None:
            # Beyond what a window lets through, one at a time finds out whether it lets through more by now.
            left = self.passed - self.answered
            return max(1, min(left, 2 * BLIND_IN_FLIGHT)) if self.passed else BLIND_IN_FLIGHT
        if self.limit is not None and not self.contention:
            return UNBOUNDED
        return 1 + (0 if self.probed_at is None else int((now - self.probed_at) / PROBE_INTERVAL + 1e-9))

    def _is_same_end(self, one: float, other: float) -> bool:
        # Windows follow each other a length apart, so ends that differ by less than half of one are the same.
        # A length seen only at a window's end is too short; whole seconds part readings of one end all the same.
        return abs(one - other) < max(self.period / 2, ROUNDING)

    def _land(self, serial: int) -> None:
        self.in_flight -= 1
        if serial != self.serial:
            self.late -= 1


def _last(reserve: Reserve, period: float) -> float:
    """Return the seconds at the end of a window without a reserve: `LAST` of 60 s, less of a shorter window."""
    return LAST * min(1.0, period / WINDOW) if reserve == "auto" else 0.0
