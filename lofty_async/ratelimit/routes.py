"""The limits and pauses of single routes, beside the application's window.

Times are seconds of one monotonic clock. See `limiter` for the theory.
"""

import logging
from math import inf
from typing import Final

from attrs import define, evolve, field

from .window import UNBOUNDED, Window

log = logging.getLogger("lofty_async.ratelimit")

FIRST_PAUSE: Final = 1.0  # seconds; a pause doubles when the request that ends it is refused
LONGEST_PAUSE: Final = 60.0  # seconds


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
        if pause and granted_at < pause.until:  # another request of the same burst
            if not pause.is_tried:  # else the answer to the request that tries the route, granted earlier, ends it
                pause.until = max(pause.until, until)
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
