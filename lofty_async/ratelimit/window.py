"""Pure arithmetic of the server's fixed window: what may be sent now, and when to look again.

Times are seconds of one monotonic clock. Ends of windows are upper bounds (see `resets`): the lowest one is kept.
"""

from math import inf
from typing import Final

from attrs import define

from .resets import WINDOW
from .spend import Spend, Spent

PROBE_PATIENCE: Final = 1.0  # seconds without an answer after which one more probe may go
BLIND_BURST: Final = 10  # in flight at once while the server says nothing of its limit
EARLY_STEP: Final = 0.5  # added to every end after one that proved too early
LATEST_BIAS: Final = 2.0
SHORTEST: Final = 0.25  # of windows, in seconds: below this, jitter is taken for a window
ROUNDING: Final = 1.25  # seconds by which two readings of one end may differ
UNBOUNDED: Final = 1_000_000
NEAR: Final = 5  # one part of a guessed limit: with so little left, a refusal tells of it and of nothing else
GUESS_HOLDS: Final = 10  # windows until a guess that proved too high is raised again
WATCH: Final = 2.0  # seconds of a window after which others that spend would have been seen
TAPER: Final = 8  # one part of the rest in flight at once, in company: others do not see it yet


@define
class Window:
    """One fixed window: the lowest Remaining seen, what is in flight, and since when.

    `limit` is `None` until a server says it, or until a refusal lets it be guessed; `guess_holds` is for how many
    windows the guess is not put to the test. `carried` are permits of earlier windows that are still in flight: they
    may count here or there, so they count here until their answer shows otherwise. `untold` landed without figures of
    this window; `covered` of those were sent before a request whose figures came, which therefore include them.
    `head_start` was spent by others before we came. `company` says that others spend beside us, as far as we
    `watched`. A window that began when it was believed to makes the next end `trusted`; one that did not, `doubted`,
    proves nothing by its own end.
    """

    limit: int | None = None
    limit_is_guess: bool = False
    guess_holds: int = 0
    lowest: int = 0
    ends_at: float | None = None
    end_is_assumed: bool = False
    previous_end: float = -inf
    length: float = 0.0
    bias: float = 0.0
    serial: int = 0
    in_flight: int = 0
    carried: int = 0
    untold: int = 0
    covered: int = 0
    held_until: float = 0.0
    sent: int = 0
    head_start: int = 0
    seen: bool = False
    trusted: bool = False
    doubted: bool = False
    blind: bool = False
    watched: bool = False
    company: bool = False
    company_before: bool = False
    probed_at: float | None = None

    def roll(self, now: float) -> None:
        """Begin the next window if this one is over."""
        if self.ends_at is not None and now >= self.ends_at:
            self._begin(end=None)

    def _begin(self, end: float | None) -> None:
        self.previous_end = self.previous_end if self.ends_at is None else self.ends_at
        self.company_before = self.company
        spent_since = inf if self.probed_at is None else self.probed_at
        self.watched = self.watched or self.previous_end - spent_since >= WATCH
        if self.limit is not None:
            if self.limit_is_guess and self.remaining <= 0 and not self.company:
                self._try_more()
            self.lowest = self.limit
        self.serial += 1
        self.ends_at, self.end_is_assumed = end, False
        self.carried = self.sent = self.in_flight
        self.untold = self.covered = self.head_start = 0
        self.company = self.seen = False
        self.probed_at = None

    def _try_more(self) -> None:
        self.guess_holds -= 1
        if self.guess_holds <= 0 and self.limit is not None:
            self.limit += max(1, self.limit // 10)

    def free(self, now: float) -> int:
        """How many may be sent now, whoever asks."""
        self.roll(now)
        if now < self.held_until:
            return 0
        fresh = self._most_in_flight(now) - (self.in_flight - self.carried)
        return max(0, min(fresh, self.spare))

    def lets_one_go(self, now: float) -> bool:
        """Whether any are free; asked before every request, so that in the usual case they are not counted."""
        if self.seen and self.ends_at is not None and self.held_until <= now < self.ends_at:
            is_alone = self.watched and not (self.company or self.company_before)
            most = self.lowest if is_alone else self.lowest // TAPER
            if self.in_flight < most and self.in_flight < self.lowest - self.untold + self.covered:
                return True
        return self.free(now) > 0

    @property
    def remaining(self) -> int:
        """What the server would tell if it were asked now, before what is in flight."""
        return max(0, self.lowest - self.untold + self.covered)

    @property
    def spare(self) -> int:
        """What the window still has once everything in flight has landed."""
        if self.limit is None:
            return UNBOUNDED
        remaining = self.lowest - self.untold + self.covered
        return remaining - self.in_flight if remaining > 0 else -self.in_flight

    def _most_in_flight(self, now: float) -> int:
        """Few while it is not known how things stand, a part of the rest in company, else no bound."""
        if self.seen:
            if self.watched and not (self.company or self.company_before):
                return UNBOUNDED
            return self.lowest // TAPER or 1
        if self.limit is None and self.blind:
            return BLIND_BURST
        if self.limit is not None and self.trusted and not self.company_before:
            return UNBOUNDED
        return 1 + (0 if self.probed_at is None else int((now - self.probed_at) / PROBE_PATIENCE + 1e-9))

    @property
    def length_or_default(self) -> float:
        return self.length or WINDOW

    def next_look(self, now: float) -> float:
        """When time alone may allow more than now; `inf` where only an answer can."""
        looks = [inf if self.ends_at is None else self.ends_at, self.held_until, now + self.next_probe(now)]
        return min((look for look in looks if look > now), default=inf)

    def next_probe(self, now: float) -> float:
        """Seconds until one more probe may go without an answer to those before; 0 where none is waited for."""
        if self.seen or self.probed_at is None:
            return 0.0
        waited = int((now - self.probed_at) / PROBE_PATIENCE + 1e-9)
        return self.probed_at + (waited + 1) * PROBE_PATIENCE - now

    def take(self, now: float) -> Spend:
        """Count one request as in flight; ask `free` first."""
        spend = Spend()
        self.count(spend, now)
        return spend

    def count(self, spend: Spent, now: float) -> None:
        """Count one request as in flight, and note in `spend` how things stand."""
        self.in_flight += 1
        self.sent += 1
        if self.probed_at is None:
            self.probed_at = now
        if self.ends_at is None:
            self.assume_end(now)
        spend.serial, spend.untold = self.serial, self.untold
        spend.lowest = self.lowest if self.seen else None

    def assume_end(self, now: float) -> None:
        """Should no answer tell the end: what was sent falls into some window, and that is over by then."""
        if self.ends_at is None:
            self.ends_at, self.end_is_assumed = now + self.length_or_default, True

    def release(self, spend: Spent) -> None:
        """Take back a permit whose request never left."""
        self._land(spend)
        self.sent = max(self.in_flight, self.sent - 1) if spend.serial == self.serial else self.sent

    def _land(self, spend: Spent) -> None:
        self.in_flight -= 1
        if spend.serial != self.serial:
            self.carried -= 1

    def refused(self, spend: Spent) -> None:
        """The server turned one away, and does not count it; say so before its figures."""
        if spend.serial == self.serial:
            self.sent -= 1

    def answered_silently(self, spend: Spent, now: float, *, refused: bool = False) -> None:
        """An answer without figures of this window: the request counts as spent until figures say otherwise."""
        self.blind = self.blind or self.limit is None
        self.lost(spend, now)
        if refused:
            self.untold -= 1

    def lost(self, spend: Spent, now: float) -> None:
        """No answer came; the request counts as spent all the same."""
        self.roll(now)
        self._land(spend)
        self.untold += 1
        self.assume_end(now)

    def answered(self, spend: Spent, limit: int, remaining: int, end: float | None, now: float) -> bool:
        """Learn from an answer's figures; `end` is the upper bound that its reset header gives.

        Returns whether they are this window's.
        """
        self.roll(now)
        self._land(spend)
        if end is not None:
            self.length = min(WINDOW, max(self.length, end - now, SHORTEST))
            end += self.bias
        if end is not None and self._is_same_end(end, self.previous_end):
            self._hear_from_window_before(spend, remaining, end, now)
            return False
        if self._is_of_newer_window(spend, remaining, end):
            self._begin(end)
            self.sent += 1
        if spend.serial == self.serial:
            self.covered = max(self.covered, spend.untold)
        self._see(limit, min(remaining, limit), end, now)
        return True

    def answered_alike(self, spend: Spent, remaining: int) -> None:
        """Learn what `answered` would from one that tells this window's limit and end as one before it did."""
        self.in_flight -= 1
        # After every answer of a burst: `min` and `max` would take as long as the rest of it.
        if spend.untold > self.covered:  # noqa: PLR1730 - see above
            self.covered = spend.untold
        if remaining < self.lowest:  # noqa: PLR1730 - see above
            self.lowest = remaining
        if self.limit is not None and self.limit - remaining - self.head_start > self.sent:
            self.company = True

    def _is_same_end(self, one: float, other: float) -> bool:
        # Windows follow each other a length apart, so ends that differ by less than half of one are the same.
        # A length seen only at a window's end is too short; whole seconds part readings of one end all the same.
        return abs(one - other) < max(self.length_or_default / 2, ROUNDING)

    def _hear_from_window_before(self, spend: Spent, remaining: int, end: float, now: float) -> None:
        """A late answer of the window before, or one that was sent after the end we believed in: that was early."""
        if spend.serial == self.serial and not self.seen:
            self.bias = min(LATEST_BIAS, self.bias + EARLY_STEP)
            self.ends_at, self.end_is_assumed = max(end, now) + EARLY_STEP, False
            self.previous_end = -inf
            self.lowest, self.seen = remaining, True
            self.trusted, self.doubted = False, True

    def _is_of_newer_window(self, spend: Spent, remaining: int, end: float | None) -> bool:
        if not self.seen or self.ends_at is None:
            return False
        if end is not None and not self.end_is_assumed:
            return end > self.ends_at and not self._is_same_end(end, self.ends_at)
        # Sent after an answer that showed `lowest`, it would not show more, were it of the same window.
        fresh = spend.serial == self.serial and spend.lowest is not None
        return fresh and remaining > (spend.lowest or 0) > 0

    def _see(self, limit: int, remaining: int, end: float | None, now: float) -> None:
        if self.seen:
            # A limit that changes within a window moves what remains; what was spent stays spent.
            changed = 0 if self.limit is None or self.limit_is_guess else limit - self.limit
            self.lowest = max(0, min(self.lowest + changed, remaining))
        else:
            self.trusted = self.trusted or (self.serial > 0 and not self.doubted)
            self.doubted = False
            self.head_start = 0 if self.serial else max(0, limit - remaining - self.sent)
            self.lowest = remaining
        self.limit, self.limit_is_guess, self.seen = limit, False, True
        if end is not None:
            self._bound(end)
        else:
            self.assume_end(now)
        self.company = self.company or limit - remaining - self.head_start > self.sent

    def _bound(self, end: float) -> None:
        known = self.ends_at is not None and not self.end_is_assumed
        self.ends_at = min(end, self.ends_at) if known and self.ends_at is not None else end
        self.end_is_assumed = False

    def hold(self, until: float) -> None:
        """The server named a time before which nothing may come."""
        self.held_until = max(self.held_until, until)

    def guess(self, limit: int, now: float) -> None:
        """A server without figures let through `limit` and then nothing until now: a new window has begun."""
        self._begin(now + self.length_or_default)
        self.limit, self.limit_is_guess = max(1, limit), True
        self.lowest, self.sent = self.limit - 1, self.in_flight + 1
        self.seen = True

    def fall_short(self) -> bool:
        """A refusal without figures: whether it means that the guess was a little too high, now corrected."""
        near = self.limit is not None and self.limit_is_guess and self.remaining <= self.limit // NEAR
        if near:
            self.limit, self.lowest, self.guess_holds = max(1, self.sent - self.in_flight), 0, GUESS_HOLDS
        return near
