"""The rate limit: fixed windows of the application and of single calls, and the headers that report them."""

import math
from collections.abc import Mapping
from enum import StrEnum
from threading import Lock

from attrs import define, evolve, field, frozen


class ResetStyle(StrEnum):
    """How `X-RateLimit-Reset` is written; documentation, example and field reports disagree."""

    EPOCH_SECONDS = "epoch_s"
    EPOCH_MILLISECONDS = "epoch_ms"
    MILLISECONDS_LEFT = "ms_left"
    SECONDS_LEFT = "s_left"
    ABSENT = "absent"
    """No rate header at all."""


@frozen
class WindowState:
    """A window after one request; times in seconds since the epoch."""

    limit: int
    remaining: int
    resets_at: float
    allowed: bool

    def headers(self, style: ResetStyle, now: float) -> Mapping[str, str]:
        if style is ResetStyle.ABSENT:
            return {}
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self._reset(style, now)),
        }

    def _reset(self, style: ResetStyle, now: float) -> int:
        left = max(0.0, self.resets_at - now)
        match style:
            case ResetStyle.EPOCH_SECONDS:
                return math.ceil(self.resets_at)
            case ResetStyle.EPOCH_MILLISECONDS:
                return math.ceil(self.resets_at * 1000)
            case ResetStyle.MILLISECONDS_LEFT:
                return math.ceil(left * 1000)
            case _:
                return math.ceil(left)


@define
class FixedWindow:
    """Allows `limit` requests in every `seconds`.

    With an `anchor` the windows follow each other on a grid through that moment; without one, a window opens
    with the first request after the last has ended.
    """

    limit: int
    seconds: float
    anchor: float | None = None
    _opened_at: float = field(default=-math.inf, init=False)
    _used: int = field(default=0, init=False)

    @property
    def resets_at(self) -> float:
        return self._opened_at + self.seconds

    def peek(self, now: float) -> WindowState:
        """The window without another request."""
        self._roll(now)
        return self._state(allowed=self._used < self.limit)

    def count(self, now: float) -> WindowState:
        """The window after a request, which counts if it is allowed."""
        self._roll(now)
        allowed = self._used < self.limit
        self._used += allowed
        return self._state(allowed=allowed)

    def _roll(self, now: float) -> None:
        if not self._opened_at <= now < self.resets_at:
            self._opened_at, self._used = self._opening(now), 0

    def _opening(self, now: float) -> float:
        if self.anchor is None:
            return now
        opened_at = self.anchor + (now - self.anchor) // self.seconds * self.seconds
        # Rounding may put the grid's line on the wrong side of now; such a window would turn at every request.
        return opened_at + self.seconds if now >= opened_at + self.seconds else min(opened_at, now)

    def _state(self, *, allowed: bool) -> WindowState:
        return WindowState(self.limit, max(0, self.limit - self._used), self.resets_at, allowed)


@define
class Throttle:
    """The application's window, the windows of endpoints that have their own, and a limit on bursts.

    A rate-limited request counts in no window. A request to an endpoint with a limit of its own counts in both
    windows and reports the endpoint's.
    """

    application: FixedWindow
    endpoints: Mapping[str, FixedWindow] = field(factory=dict[str, FixedWindow])
    burst: FixedWindow | None = None
    _lock: Lock = field(factory=Lock, init=False)  # sandboxes on several threads may share one

    def count(self, label: str, now: float) -> WindowState:
        """The window that a request counts in and reports, after it."""
        with self._lock:
            own = self.endpoints.get(label)
            if self.burst is not None and not self.burst.peek(now).allowed:
                return evolve(self.application.peek(now), allowed=False)
            if own is not None and not own.peek(now).allowed:
                return own.peek(now)
            state = self.application.count(now)
            if state.allowed and self.burst is not None:
                self.burst.count(now)
            return own.count(now) if state.allowed and own is not None else state
