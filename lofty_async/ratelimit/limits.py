"""The server's limits as one process knows them: which requests may go, and how their answers change that.

The application's window, the routes' own limits and the pace act as one; a permit is the right to send one request
under all of them. There is no queue here, no loop and no clock: times come in as seconds of one monotonic clock. See
`limiter` for the theory.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from copy import copy
from math import inf
from typing import Final, Literal, Protocol

from attrs import define, field, frozen

from lofty_async._wire import RateState

from .lanes import BULK, INTERACTIVE, Lane
from .pace import Pace
from .resets import ResetReader
from .routes import Routes
from .window import CONTENTION_WINDOWS, FIRST_HOLD, Reserve, Window

log = logging.getLogger("lofty_async.ratelimit")

Wall = Callable[[], float]

LONGEST_RETRY_AFTER: Final = 3600.0  # seconds for which one answer may hold others
WINDOW_LIKE: Final = 5.0  # seconds of refusals after which a window is likelier than a limit per second

Answer = Literal["accepted", "refused", "none", "not sent"]  # to a permit's request; "refused" is HTTP 429


@frozen
class RateLimit:
    """The budget at one moment.

    `limit` is the number of requests per window. `remaining` is the lowest that the server has reported in this window,
    before the requests in flight are subtracted. The window ends in `resets_in` seconds. Each is `None` while it is
    unknown. `queued` counts the calls that wait, per lane; `in_flight` the requests without an answer.
    """

    limit: int | None
    remaining: int | None
    resets_in: float | None
    queued: Mapping[Lane, int]
    in_flight: int

    @classmethod
    def of(cls, window: Window, queued: Mapping[Lane, int], now: float) -> "RateLimit":
        """Return what a window tells now; the window may be over."""
        window = copy(window)
        window.roll(now)
        return cls(
            limit=window.limit,
            remaining=None if window.limit is None else window.remaining,
            resets_in=None if window.ends_at is None else max(0.0, window.ends_at - now),
            queued=queued,
            in_flight=window.in_flight,
        )


@frozen
class Lease:
    """The right to send one request, granted by a store's ledger.

    `serial` is the window it is counted in, `lowest` the lowest Remaining known then, `epoch` the ledger.
    """

    serial: int
    lowest: int | None
    epoch: str


class OnEnd(Protocol):
    """Takes a permit that ended, the kind of the answer to its request, and the answer's figures."""

    def __call__(self, permit: "Permit", answer: Answer, state: RateState | None, /) -> None: ...


@define(eq=False, repr=False)
class Permit:
    """The right to send one request now. It ends in `settle` or `release`, once; ending it again does nothing.

    `serial` and `lowest` are the application's window and its lowest Remaining when the permit was granted, `own` the
    window of a route that has a limit of its own and the serial there, `lease` what a store granted.
    """

    on_end: OnEnd
    number: int
    lane: Lane
    route: str
    granted_at: float
    waited: float
    serial: int
    lowest: int | None
    own: tuple[Window, int] | None
    lease: Lease | None
    is_open: bool = True

    def __repr__(self) -> str:
        end = "" if self.is_open else ", ended"
        return f"<Permit {self.number} of the {self.lane} lane for {self.route or 'any route'}{end}>"

    def settle(self, state: RateState | None = None, *, refused: bool = False) -> None:
        """End it after sending; `state` is read from the answer's headers, `refused` whether it is a 429.

        Without a `state` no answer came: the server may have counted the request or not.
        """
        if self.is_open:
            self.is_open = False
            self.on_end(self, "none" if state is None else "refused" if refused else "accepted", state)

    def release(self) -> None:
        """End it without sending."""
        if self.is_open:
            self.is_open = False
            self.on_end(self, "not sent", None)


@define(eq=False)
class Limits:
    """Each `take` ends in one `settle`.

    `reserve` is what bulk leaves for interactive calls, `floor` the number of requests of each window that is never
    spent, `max_in_flight` the most requests in flight at once.
    """

    reserve: Reserve = "auto"
    floor: int = 0
    max_in_flight: int = 100
    window: Window = field(factory=Window)
    routes: Routes = field(factory=Routes)
    pace: Pace = field(factory=Pace)
    resets: ResetReader = field(factory=ResetReader)
    _alike: tuple[object, ...] = ()

    def is_free(
        self, lane: Lane, route: str | None, now: float, *, is_due: bool = False, has_lease: bool | None = None
    ) -> bool:
        """Return whether one more request may go, on this route if it is given.

        Bulk that is due need not leave the reserve. A process that asks a store needs a lease in place of the window's
        budget.
        """
        window, pace = self.window, self.pace
        if window.in_flight >= self.max_in_flight or (pace.per_second is not None and pace.ready_at(now) > now):
            return False
        if route is not None and not self.is_open(route, now):
            return False
        if has_lease is not None:
            return has_lease
        if not window.has_free(now):
            return False
        reserve = self.reserve if lane is BULK and not is_due else 0.0
        return not (reserve or self.floor) or window.spare > window.kept(reserve, self.floor, now)

    @property
    def has_restricted_routes(self) -> bool:
        return bool(self.routes.pauses or self.routes.windows)

    def is_open(self, route: str, now: float) -> bool:
        return not self.has_restricted_routes or self.routes.ready_at(route, now) <= now

    def take(self, lane: Lane, route: str, now: float) -> tuple[int, int | None, tuple[Window, int] | None]:
        """Count one request as in flight; return the permit's `serial`, `lowest` and `own`."""
        window = self.window
        self.pace.sent.append(now)
        own = self.routes.take(route, now) if self.has_restricted_routes else None
        serial = window.take(now, is_interactive=lane is INTERACTIVE)
        return serial, window.remaining if window.has_figures else None, own

    def places(self, now: float) -> int:
        """Return how many more requests may be in flight, whatever remains of the window."""
        return max(0, self.max_in_flight - self.window.in_flight) if self.pace.ready_at(now) <= now else 0

    def next_look(self, now: float, routes: Collection[str], *, has_bulk: bool, asks_store: bool) -> float:
        """Return when time alone may let a request of one of these `routes` go; `inf` where only an answer can.

        What remains of the window does not count for a process that `asks_store`, the reserve only if it `has_bulk`.
        """
        looks = [self.pace.ready_at(now)]
        looks += [self.routes.ready_at(name, now) for name in self.routes.restricted() if name in routes]
        if not asks_store:
            looks.append(self.window.next_look(now, self.reserve if has_bulk else 0.0, self.floor))
        return min((look for look in looks if look > now), default=inf)

    def predict(self, ahead: int, route: str | None, now: float) -> float:
        """Return the seconds that a request behind `ahead` others waits at least, by what is known."""
        opens_at = now if route is None else self.routes.opens_at(route, now)
        return max(opens_at - now, self.pace.ready_at(now) - now, self.window.predict(ahead, self.floor, now))

    def settle(self, permit: Permit, answer: Answer, state: RateState | None, now: float, wall: Wall) -> None:
        """End a request and learn from its answer; `wall` reads the wall clock, in epoch seconds."""
        if answer == "accepted" and state is not None:
            self.pace.accepted.append(permit.granted_at)
            if not self._learn_alike(permit, state, now):
                self._learn(permit, state, now, wall, is_refused=False)
                self._go_on(permit, now)
        elif answer == "refused" and state is not None:
            has_figures = self._learn(permit, state, now, wall, is_refused=True)
            self._hold_back(permit, state, now, closes=has_figures and state.remaining == 0)
        else:
            if answer == "not sent":
                self._release(permit)
            else:
                self._lose(permit, now, is_refused=False)
            self.routes.stop_trying(permit.route, permit.granted_at)

    def _release(self, permit: Permit) -> None:
        self.window.release(permit.serial)
        if permit.own:
            permit.own[0].release(permit.own[1])

    def _lose(self, permit: Permit, now: float, *, is_refused: bool) -> None:
        self.window.lose(permit.serial, now, is_refused=is_refused)
        if permit.own:
            permit.own[0].lose(permit.own[1], now, is_refused=is_refused)

    def _learn_alike(self, permit: Permit, state: RateState, now: float) -> bool:
        """Learn from an answer that tells nothing but another Remaining, as most do in a burst; whether it was such."""
        window, remaining = self.window, state.remaining
        if (
            self._alike != (permit.serial, state.limit, state.reset, state.server_time)
            or permit.serial != window.serial
            or remaining is None
            or (window.ends_at is not None and now >= window.ends_at)
            or window.hold
            or self.has_restricted_routes
        ):
            return False
        window.answer_alike(remaining)
        return True

    def _learn(self, permit: Permit, state: RateState, now: float, wall: Wall, *, is_refused: bool) -> bool:
        """Learn from any answer; return whether it had figures."""
        window, end = self.window, self.resets.end_of_window(state, now, wall())
        remaining, self._alike = state.remaining, ()
        if remaining is None:
            self._lose(permit, now, is_refused=is_refused)
            return False
        if state.limit is None and remaining >= (window.limit or 0):
            # The limit is at least the highest Remaining, and the request that the answer counts.
            window.limit = remaining + 1
            log.info("the application's rate limit is at least %d requests per window", window.limit)
        limit = state.limit or window.limit or 1
        if self.routes.has_own_limit(permit.route, limit, window.limit):
            if permit.route not in self.routes.windows:
                log.info("%s has a rate limit of its own: %d requests per window", permit.route, limit)
            own, serial = self.routes.own_window(permit.route, permit.own, now)
            own.answer(serial, limit, remaining, end, now, is_refused=is_refused)
            # It may count in the application's window as well: the answers of other routes will tell.
            window.lose(permit.serial, now, is_refused=is_refused)
            return True
        if limit != window.limit:
            self.note_limit(limit)
        is_current = window.answer(
            permit.serial, limit, remaining, end, now, lowest=permit.lowest, is_refused=is_refused
        )
        if is_current and not is_refused and None not in (state.limit, state.reset, state.server_time):
            self._alike = permit.serial, state.limit, state.reset, state.server_time
        return True

    def note_limit(self, limit: int) -> None:
        """The application's limit proves to be `limit`; the window takes it in later."""
        was = self.window.limit or "unknown"
        log.info("the application's rate limit is %d requests per window (was %s)", limit, was)
        self.routes.cede(self.window, limit)

    def _hold_back(self, permit: Permit, state: RateState, now: float, *, closes: bool) -> None:
        """After a 429: close the window that its figures tell of, or else pause its route."""
        until, window, routes = now + retry_after(state), self.window, self.routes
        if closes:
            routes.pauses.pop(permit.route, None)
            closed = routes.windows.get(permit.route, window)
            if closed.close(until, permit.granted_at, now):
                log.info("HTTP 429: nothing remains of the rate limit; held for %.1f s", closed.held_until - now)
            if closed.hold > FIRST_HOLD:
                closed.contention = max(closed.contention, CONTENTION_WINDOWS)
            return
        if window.limit is None and window.passed:
            until = max(until, window.ends_at or now)
        is_first = routes.refuse(permit.route, permit.granted_at, until, now, passed=window.answered)
        self.pace.trip(permit.granted_at, now, is_first=is_first)

    def _go_on(self, permit: Permit, now: float) -> None:
        """After a request that was accepted."""
        window = self.window
        if window.hold and permit.granted_at >= window.held_until:
            window.hold = 0.0
        pause = self.routes.accept(permit.route, permit.granted_at) if self.routes.pauses else None
        is_like_a_window = pause is not None and now - pause.began >= WINDOW_LIKE
        if pause and is_like_a_window and window.limit is None and (pause.is_prolonged or not window.passed):
            window.open(pause.passed, now)
            log.info("the server tells no rate limit; a window lets about %d requests through", window.passed)
        if permit.own and permit.own[0].hold and permit.granted_at >= permit.own[0].held_until:
            permit.own[0].hold = 0.0


def retry_after(state: RateState) -> float:
    """Return the seconds for which an answer may hold others."""
    return min(state.retry_after or 0.0, LONGEST_RETRY_AFTER)
