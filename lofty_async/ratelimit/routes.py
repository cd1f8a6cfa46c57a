"""What belongs to one route alone: a limit of its own, a pause after a refusal that gave no reason."""

from math import inf
from typing import Final

from attrs import define, evolve, field, frozen

from .spend import Spend
from .window import UNBOUNDED, Window

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
WINDOW_LIKE: Final = 5.0  # seconds of refusals after which a window is likelier than a limit per second


@frozen
class OwnSpend:
    """What a permit remembers of the window that its route has for itself."""

    window: Window
    spend: Spend


@define
class Pause:
    """A hold on one route: after it, one request tries; refused again, the hold doubles."""

    accepted: int
    began: float
    until: float
    length: float = FIRST_PAUSE
    trying: bool = False

    def prolong(self, until: float, now: float) -> None:
        self.trying = False
        self.length = min(LONGEST_PAUSE, self.length * 2)
        self.until = max(until, now + self.length)

    def ready_at(self, now: float) -> float:
        return inf if self.trying else max(self.until, now)


@define
class Routes:
    """Tells a limit that belongs to one endpoint from the application's, and keeps the former's windows.

    An endpoint's own limit is lower than the application's (contract, section 3). A route that used to tell the
    application's limit and now tells less speaks of the application: its limit fell.
    """

    windows: dict[str, Window] = field(factory=dict[str, Window])
    pauses: dict[str, Pause] = field(factory=dict[str, Pause])
    _told: dict[str, int] = field(factory=dict[str, int])

    def has_own_limit(self, route: str, limit: int, application: int | None) -> bool:
        before = self._told.get(route)
        self._told[route] = limit
        own = application is not None and limit < application and before != application
        if not own:
            self.windows.pop(route, None)
        return own

    def cede(self, window: Window, limit: int) -> None:
        """The application's limit proves to be `limit`: a lower one that one other route alone had told was its own."""
        tellers = [route for route, told in self._told.items() if told == window.limit]
        if window.limit is not None and window.limit < limit and len(tellers) == 1:
            self.windows[tellers[0]] = evolve(window, in_flight=0, carried=0)

    def ready_at(self, route: str, now: float) -> float:
        """When the route itself lets the next request go: `now`, later, or `inf` until an answer."""
        pause, window = self.pauses.get(route), self.windows.get(route)
        paused = pause.ready_at(now) if pause else now
        if window and window.free(now) < 1:
            return max(paused, window.next_look(now))
        return paused

    def room(self, route: str, now: float) -> int:
        """How many the route itself lets go now."""
        if self.ready_at(route, now) > now:
            return 0
        window = self.windows.get(route)
        return 1 if route in self.pauses else UNBOUNDED if window is None else window.free(now)

    def take(self, route: str, now: float) -> OwnSpend | None:
        if route in self.pauses:
            self.pauses[route].trying = True
        window = self.windows.get(route)
        return OwnSpend(window, window.take(now)) if window else None

    def opens_at(self, route: str, now: float) -> float:
        """When the route opens at the earliest, should the request that tries it be let through."""
        pause = self.pauses.get(route)
        return now if pause and pause.trying else self.ready_at(route, now)

    def pause(self, route: str, granted_at: float, accepted: int, until: float, now: float) -> bool:
        """Hold the route after a refusal without figures; whether that is the first of its kind."""
        pause = self.pauses.get(route)
        if pause is None:
            self.pauses[route] = Pause(accepted, began=now, until=max(until, now + FIRST_PAUSE))
        elif granted_at >= pause.until:
            pause.prolong(until, now)
        return pause is None

    def resume(self, route: str, granted_at: float) -> Pause | None:
        """A request was let through: the pause ends, if it was sent after it."""
        pause = self.pauses.get(route)
        return self.pauses.pop(route) if pause and granted_at >= pause.until else None

    def stop_trying(self, route: str, granted_at: float) -> None:
        """The request that tries a paused route ended without an answer: the next one tries."""
        pause = self.pauses.get(route)
        if pause and granted_at >= pause.until:
            pause.trying = False

    def own_window(self, route: str, own: OwnSpend | None, now: float) -> OwnSpend:
        """The permit in the route's window, counted there now if its limit was not known when it was granted."""
        window = self.windows.setdefault(route, Window())
        return own if own and own.window is window else OwnSpend(window, window.take(now))
