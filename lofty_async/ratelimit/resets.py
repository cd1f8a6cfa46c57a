"""When the server's window ends, read from headers that say it roughly and in no fixed unit.

The end is told too late rather than too early (whole seconds, a `Date` header cut to the second, the answer's own
way home), so every reading is an upper bound.
"""

from math import inf

from attrs import define, field

from lofty_async._wire import RateState

WINDOW = 60.0  # contract: fixed windows of 60 s
CLAMP_GUARD = 1.0  # a whole-second header may round a full window up by this much
CLOCK_DRIFT = 1e-4  # quartz clocks part by less than this share of the time
LONGEST_WAY = 30.0  # seconds an answer may have been on its way; a `Date` older than that shows that one was wrong


@define
class ServerClock:
    """The server's wall clock as seen from the local monotonic one, never ahead of the truth.

    A `Date` header is cut to the second and has travelled, so each one bounds the server's clock from below; the
    highest bound is kept, and let go slowly in case the clocks drift, or at once if it cannot have been true.
    """

    offset: float = -inf
    observed_at: float = 0.0

    def observe(self, server_time: float, now: float) -> None:
        kept = self.offset - CLOCK_DRIFT * (now - self.observed_at)
        bound = server_time - now
        self.offset, self.observed_at = (bound if kept > bound + LONGEST_WAY else max(kept, bound)), now

    def read(self, now: float) -> float | None:
        return now + self.offset if self.offset > -inf else None


@define
class ResetReader:
    """Reads `X-RateLimit-Reset`, whose unit nobody documents, by its magnitude.

    Beyond 1e12 it is epoch milliseconds, beyond 1e9 epoch seconds, beyond 120 milliseconds left, else seconds left.
    A server once seen to count milliseconds goes on doing so in the last 120 of them.
    """

    clock: ServerClock = field(factory=ServerClock)
    counts_milliseconds: bool = False

    def end_of_window(self, state: RateState, now: float, wall: float) -> float | None:
        """When the window ends at the latest; `None` where the header was missing. `wall` stands in for `Date`."""
        if state.server_time is not None:
            self.clock.observe(state.server_time, now)
        if state.reset is None:
            return None
        left = self._left(state.reset, now, wall)
        return now + min(max(left, 0.0), WINDOW + CLAMP_GUARD)

    def _left(self, reset: float, now: float, wall: float) -> float:
        if reset > 1e9:
            server_now = self.clock.read(now)
            end = reset / 1000 if reset > 1e12 else reset
            return end - (wall if server_now is None else server_now)
        self.counts_milliseconds = self.counts_milliseconds or reset > 120
        return reset / 1000 if self.counts_milliseconds else reset
