"""What may be spent now: the application's window, its routes' own limits and pauses, and the pace, as one budget.

It knows no queue, no loop and no clock: times come in as seconds of one monotonic clock.
"""

import logging
from collections.abc import Iterable
from math import inf

from attrs import define, field

from lofty_async._wire import RateState

from .lanes import BULK, Lane
from .pace import Pace
from .permits import Permit
from .reserve import floor_of, kept, next_look
from .resets import ResetReader
from .routes import WINDOW_LIKE, Routes
from .window import Window

log = logging.getLogger("lofty_async.ratelimit")


@define(eq=False)
class Budget:
    """Every `take` ends in one `settle` or one `release`.

    `reserve` is the share of each window that bulk work leaves, `floor` the number of requests of each window that
    is never spent, `max_in_flight` the most requests in flight at once. One of each window goes, whatever is left.
    """

    reserve: float = 0.1
    floor: int = 0
    max_in_flight: int = 100
    window: Window = field(factory=Window)
    routes: Routes = field(factory=Routes)
    pace: Pace = field(factory=Pace)
    resets: ResetReader = field(factory=ResetReader)
    # By route, the serial of the window and the figures of it that the latest answer told, besides Remaining.
    _latest: dict[str, tuple[object, ...]] = field(factory=dict[str, "tuple[object, ...]"])

    def is_free(self, now: float, lane: Lane, *, is_due: bool = False) -> bool:
        """Whether one more request may go now, as far as it does not depend on its route.

        Where it `is_due`, a bulk one need not leave the reserve.
        """
        window, pace = self.window, self.pace
        if window.in_flight >= self.max_in_flight or not window.lets_one_go(now):
            return False
        if pace.per_second is not None and pace.ready_at(now) > now:
            return False
        leaves_reserve = lane is BULK and not is_due
        if leaves_reserve or self.floor:
            return window.spare > kept(window, self.reserve if leaves_reserve else 0.0, self.floor, now)
        return True

    def is_open(self, route: str, now: float) -> bool:
        routes = self.routes
        return not (routes.pauses or routes.windows) or routes.ready_at(route, now) <= now

    def take(self, permit: Permit) -> None:
        """Count one request as in flight; ask `is_free` and `is_open` first."""
        now, routes = permit.granted_at, self.routes
        self.pace.sent.append(now)
        if routes.pauses or routes.windows:
            permit.own = routes.take(permit.route, now)
        self.window.count(permit, now)

    def release(self, permit: Permit) -> None:
        """Take back a request that never left."""
        self.window.release(permit)
        if permit.own:
            permit.own.window.release(permit.own.spend)
        self.routes.stop_trying(permit.route, permit.granted_at)

    def lose(self, permit: Permit, now: float) -> None:
        """A request left and no answer came: the server may have counted it, so it is spent."""
        self.window.lost(permit, now)
        if permit.own:
            permit.own.window.lost(permit.own.spend, now)
        self.routes.stop_trying(permit.route, permit.granted_at)

    def settle_alike(self, permit: Permit, state: RateState, now: float) -> bool:
        """Learn from an answer that tells nothing but another Remaining, as most do in a burst; whether it was such."""
        window, routes, serial = self.window, self.routes, permit.serial
        if (
            self._latest.get(permit.route) != (serial, state.limit, state.reset, state.server_time)
            or serial != window.serial
            or state.limit != window.limit
            or state.remaining is None
            or (window.ends_at is not None and now >= window.ends_at)
            or routes.pauses
            or routes.windows
        ):
            return False
        window.answered_alike(permit, state.remaining)
        return True

    def settle(self, permit: Permit, state: RateState, *, refused: bool, now: float, wall: float) -> None:
        """Learn from any answer."""
        if refused:
            self.window.refused(permit)
        end = self.resets.end_of_window(state, now, wall)
        told = self._learn(permit, state, end, refused=refused, now=now)
        if refused:
            self._hold_back(permit, state, told=told, now=now)
        else:
            self._resume(permit, now)

    async def aclose(self) -> None:
        """Let go of what the budget holds open."""

    def next_look(self, now: float, routes: Iterable[str], *, leaves_reserve: bool) -> float:
        """When time alone may let a request of one of these `routes` go; `inf` where only an answer can."""
        share = self.reserve if leaves_reserve else 0.0
        looks = [next_look(self.window, share, self.floor, now), self.pace.ready_at(now)]
        looks += [self.routes.ready_at(route, now) for route in routes]
        return min((look for look in looks if look > now), default=inf)

    def predict(self, ahead: int, route: str | None, now: float, lane: Lane) -> float:  # noqa: ARG002 - for stores
        """Seconds that a request behind `ahead` others waits at least, by what is known."""
        opens_at = now if route is None else self.routes.opens_at(route, now)
        held_until = max(self.window.held_until, opens_at, self.pace.ready_at(now))
        return max(self._predict_window(ahead, now), held_until - now, 0.0)

    def _predict_window(self, ahead: int, now: float) -> float:
        window = self.window
        window.roll(now)
        floor = floor_of(window, self.floor)
        missing = ahead + 1 - max(0, window.spare - floor)
        if window.limit is None or window.ends_at is None or missing <= 0:
            return 0.0
        windows = (missing - 1) // (window.limit - floor)
        return window.ends_at - now + windows * window.length_or_default

    def _learn(self, permit: Permit, state: RateState, end: float | None, *, refused: bool, now: float) -> bool:
        """Take in an answer's figures; whether it had any."""
        remaining = 0 if refused and state.remaining is None else state.remaining
        limit = state.limit or (self.window.limit if state.remaining is not None else None)
        if limit is None or remaining is None:
            self._learn_nothing(permit, refused=refused, now=now)
            return False
        application = None if self.window.limit_is_guess else self.window.limit
        if self.routes.has_own_limit(permit.route, limit, application):
            own = self.routes.own_window(permit.route, permit.own, now)
            if refused:
                own.window.refused(own.spend)
            own.window.answered(own.spend, limit, remaining, end, now)
            # It may count in the application's window as well: the answers of other routes will tell.
            self.window.answered_silently(permit, now, refused=refused)
            return True
        if limit != application:
            log.info("the application's rate limit is %d requests per window (was %s)", limit, application)
            self.routes.cede(self.window, limit)
        is_current = self.window.answered(permit, limit, remaining, end, now)
        self._latest.pop(permit.route, None)
        if is_current and None not in (state.limit, state.reset, state.server_time):
            self._latest[permit.route] = (permit.serial, state.limit, state.reset, state.server_time)
        return True

    def _learn_nothing(self, permit: Permit, *, refused: bool, now: float) -> None:
        self.window.answered_silently(permit, now, refused=refused)
        if permit.own:
            if refused:
                permit.own.window.refused(permit.own.spend)
            permit.own.window.answered_silently(permit.own.spend, now, refused=refused)

    def _hold_back(self, permit: Permit, state: RateState, *, told: bool, now: float) -> None:
        """After a refusal: wait for the window, for the second, or for as long as it takes to find out."""
        until = now + (state.retry_after or 0.0)
        if not told:
            if not self.window.fall_short():
                self._pause(permit, until, now)
            self.routes.stop_trying(permit.route, permit.granted_at)
            return
        self.routes.pauses.pop(permit.route, None)
        self.routes.windows.get(permit.route, self.window).hold(until)
        if state.remaining:
            self.pace.trip(now)

    def _pause(self, permit: Permit, until: float, now: float) -> None:
        if self.window.limit is None:
            self.window.hold(until)
        accepted = self.window.sent - self.window.in_flight
        if self.routes.pause(permit.route, permit.granted_at, accepted, until, now):
            self.pace.trip(now)

    def _resume(self, permit: Permit, now: float) -> None:
        pause = self.routes.resume(permit.route, permit.granted_at)
        if pause and self.window.limit is None and now - pause.began >= WINDOW_LIKE:
            self.pace = Pace()
            self.window.guess(pause.accepted, now)
