"""The limits beside the application's window: those of single routes, and a limit per second.

Times are seconds of one monotonic clock. See `limiter` for the theory.
"""

import logging
from collections import deque
from math import inf
from typing import Final

from attrs import define, evolve, field

from .window import UNBOUNDED, Window

log = logging.getLogger("lofty_async.ratelimit")

FIRST_PAUSE: Final = 1.0  # seconds; a pause doubles when the request that ends it is refused
LONGEST_PAUSE: Final = 60.0  # seconds
WINDOW_LIKE: Final = 5.0  # seconds of refusals after which a window is likelier than a limit per second
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
class Pause:
    """A hold on one route. After it one request tries the route; if it is refused, the pause doubles.

    `passed` is the number of requests that were let through in the window before it.
    """

    began: float
    until: float
    passed: int = 0
    length: float = FIRST_PAUSE
    is_tried: bool = False

    @property
    def is_prolonged(self) -> bool:
        return self.length > FIRST_PAUSE

    def ready_at(self, now: float) -> float:
        return inf if self.is_tried else max(self.until, now)

    def prolong(self, until: float, now: float) -> None:
        self.is_tried = False
        self.length = min(LONGEST_PAUSE, self.length * 2)
        self.until = max(until, now + self.length)


@define
class Routes:
    """Tells a limit that belongs to one route from the application's, and keeps the windows and pauses of routes.

    A route's own limit is lower than the application's. A route that told the application's limit before and tells a
    lower one now speaks of the application: its limit fell.
    """

    windows: dict[str, Window] = field(factory=dict[str, Window])
    pauses: dict[str, Pause] = field(factory=dict[str, Pause])
    _limits: dict[str, int] = field(factory=dict[str, int])

    @property
    def has_any(self) -> bool:
        return bool(self.pauses or self.windows)

    def restricted(self) -> list[str]:
        """Return the routes that have a window or a pause of their own."""
        return list({**self.pauses, **self.windows})

    def has_own_limit(self, route: str, limit: int, application: int | None) -> bool:
        before = self._limits.get(route)
        self._limits[route] = limit
        is_own = application is not None and limit < application and before != application
        if not is_own:
            self.windows.pop(route, None)
        return is_own

    def cede(self, window: Window, limit: int) -> None:
        """The application's limit proves to be `limit`: a lower one told by one other route alone was its own."""
        tellers = [route for route, told in self._limits.items() if told == window.limit]
        if window.limit is not None and window.limit < limit and len(tellers) == 1:
            self.windows[tellers[0]] = evolve(window, in_flight=0, late=0)

    def ready_at(self, route: str, now: float) -> float:
        """Return when the route lets the next request go: `now`, later, or `inf` until an answer."""
        pause, window = self.pauses.get(route), self.windows.get(route)
        paused = pause.ready_at(now) if pause else now
        if window and window.free(now) < 1:
            return max(paused, window.next_look(now))
        return paused

    def opens_at(self, route: str, now: float) -> float:
        """Return when the route opens at the earliest, should the request that tries it be let through."""
        pause = self.pauses.get(route)
        return now if pause and pause.is_tried else self.ready_at(route, now)

    def room(self, route: str, now: float) -> int:
        """Return how many requests the route lets go now."""
        if self.ready_at(route, now) > now:
            return 0
        window = self.windows.get(route)
        return 1 if route in self.pauses else UNBOUNDED if window is None else window.free(now)

    def take(self, route: str, now: float) -> tuple[Window, int] | None:
        """Count a request; return the route's own window and its serial."""
        if route in self.pauses:
            self.pauses[route].is_tried = True
        window = self.windows.get(route)
        return (window, window.take(now)) if window else None

    def own_window(self, route: str, own: tuple[Window, int] | None, now: float) -> tuple[Window, int]:
        """Return the window of a route with a limit of its own; a request granted before it is counted now."""
        window = self.windows.setdefault(route, Window())
        return own if own and own[0] is window else (window, window.take(now))

    def refuse(self, route: str, granted_at: float, until: float, now: float, *, passed: int = 0) -> bool:
        """Pause the route after a refusal; return whether it was not paused before."""
        pause = self.pauses.get(route)
        if pause and granted_at < pause.until:
            pause.until = max(pause.until, until)  # another request of the same burst
            return False
        if pause:
            pause.prolong(until, now)
        else:
            self.pauses[route] = Pause(now, max(until, now + FIRST_PAUSE), passed)
        log.info("HTTP 429: %s is paused for %.1f s", route or "a route", self.pauses[route].until - now)
        return pause is None

    def accept(self, route: str, granted_at: float) -> Pause | None:
        """End the route's pause if the accepted request was sent after it; return the pause that ended."""
        pause = self.pauses.get(route)
        return self.pauses.pop(route) if pause and granted_at >= pause.until else None

    def stop_trying(self, route: str, granted_at: float) -> None:
        """The request that tried a paused route ended without an answer: the next one tries."""
        pause = self.pauses.get(route)
        if pause and granted_at >= pause.until:
            pause.is_tried = False


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
