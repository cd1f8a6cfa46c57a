"""Decides which request may be sent now.

The server counts the requests of one application in fixed windows of 60 s and reports, in headers, the limit, what
remains of it and when the window ends. Each paragraph defines its terms, then gives the rule, and ends with the result
for 1,000 calls at 100 a minute, where the best possible time is 494 s.

*Budget.* `Remaining` is what one answer reports. Answers come out of order, so the latest may be an old one; the lowest
Remaining seen in a window never is. A request is *in flight* from its permit to its answer, and may be missing from
any Remaining. Rule: budget = lowest Remaining - in flight. It is never too high, and exact once the answers are in:
494 s and no 429, where a cap on concurrency takes 495 s and 450 of them, and a local token bucket 554 s and 23.

*Contention.* Another client spends from the same budget if limit - Remaining exceeds what was sent from here. Rule:
under contention one *probe* goes first in each window to see what is left, and then at most an eighth of the rest is
in flight (the *taper*); alone, the whole window is spent at once. Beside a client that takes 30 % this costs 555 s and
no 429. With a store, the last of each hundred requests is left to such a client: 0.3 429s where it would be 3.4.

*End.* A window's *end* is read from whole seconds and unknown units, as an upper bound. Rule: the earliest reading
holds; an end that proves too early moves later, by a step that doubles.

*Refusals.* A 429 *closes* the window if its Limit is the application's and its Remaining is 0. Any other *pauses* its
route: after the pause one request tries it. Rule: holds and pauses double while they end in another refusal, so each
refusal reduces what goes next. One endpoint's own limit leaves the other routes a median wait of 0.1 s.

*Pace.* The requests of any one second. A limit per second answers 429 while budget remains. Rule: the burst that met it
gives the pace, less what was refused of it. A pace that is used to the full rises after a rest, by one request and then
by steps that double; a step that is refused makes the rest five times as long. Five a second: 562 s and 13 of them. A
limit that is lifted is forgotten within half a minute.

*Silence.* A server may report no figures. Its window has *opened* when a request goes through after refusals of 5 s and
more; the next ones follow every 60 s. Rule: 5 requests are in flight at once until a refusal; later as many go as the
window before let through, and then one at a time. Each window ends in one refusal: 500 s and 16 of them.

*Lanes.* Interactive calls take priority over bulk ones, and each tenth permit is bulk's. The *reserve* is what bulk
leaves of the window for interactive calls to come. Rule: by default as many as the busiest of the last windows lets
expect (a fifth less for each window since, nothing where none came), and 4.5 standard deviations more; it shrinks as
the window ages, so that no request is lost. Beside as much bulk as goes, 99 % of 15 interactive calls a minute take
less than 1.3 s, and bulk has all that they leave.

There is no task that sleeps and could die: waiters are futures, and one timer is set anew from the state whenever the
state changes.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from itertools import count
from math import inf
from numbers import Real
from typing import Any, Self
from weakref import WeakValueDictionary

from lofty_async._loops import LoopOwner
from lofty_async._wire import RateState
from lofty_async.errors import ClientClosedError, InvalidRequestError, RateLimitWaitError, WrongEventLoopError

from .lanes import INTERACTIVE, Lane, Lanes, Waiter, WaitEvent, fail_all
from .limits import Answer, Limits, Permit, RateLimit
from .shared import SharedLimit
from .stores import Store
from .window import Reserve

log = logging.getLogger("lofty_async.ratelimit")


class RateLimiter:
    """Hands out permits, one per request, so that the application's budget is spent whole and never overdrawn.

    One limiter belongs to one application; clients for several accounts of it share one. It is used by one running
    event loop at a time; limiters of several threads or processes share one budget through a `store`.

    `reserve` is what bulk work leaves to interactive calls: `"auto"` as many requests as the last windows let expect,
    a number from 0 to 1 that share of each window. `floor` is the number of requests of each window that is never
    spent, `max_in_flight` the most requests in flight at once. One request of each window is always allowed. Each wait
    above `wait_threshold` seconds is logged, as is what the limiter learns, at INFO by `lofty_async.ratelimit`;
    `on_wait` is called with it. `clock` counts monotonic seconds, `wall` epoch seconds.

    Raises: InvalidRequestError if a number is out of its range, or an argument of the wrong type.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        reserve: Reserve = "auto",
        floor: int = 0,
        max_in_flight: int = 100,
        on_wait: Callable[[WaitEvent], None] | None = None,
        wait_threshold: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if reserve != "auto":
            _check_range("reserve", reserve, 0, 1)
        _check_count("floor", floor, 0)
        _check_count("max_in_flight", max_in_flight, 1)
        _check_range("wait_threshold", wait_threshold, 0, inf)
        _check_store(store)
        _check_listener(on_wait)
        self._limits = Limits(reserve, floor, max_in_flight)
        self._on_wait, self._wait_threshold = on_wait, wait_threshold
        self._clock, self._wall = clock, wall
        self._server: str | None = None
        self._others: WeakValueDictionary[str, RateLimiter] = WeakValueDictionary()
        self._owner = LoopOwner("rate limiter")
        self._shared = SharedLimit(store, self._limits, self._owner, clock, self._pump) if store else None
        self._lanes: Lanes[Permit] = Lanes()
        self._interactive, self._bulk = self._lanes.interactive, self._lanes.bulk
        self._overdue: list[Waiter[Permit]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._look = inf
        self._numbers = count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the calls that wait, with `ClientClosedError`, and close the store.

        Raises: WrongEventLoopError while another loop uses the limiter.
        """
        for other in list(self._others.values()):
            await other.close()
        self._owner.claim(self._adopt)
        self._disarm()
        fail_all(self._drain(), ClientClosedError("the rate limiter was closed while the call waited"))
        if self._shared:
            await self._shared.close()

    async def acquire(
        self,
        route: str = "",
        *,
        lane: Lane = INTERACTIVE,
        max_wait: float | None = None,
        returning: Permit | None = None,
    ) -> Permit:
        """Wait for the permit of one request on `route`; cancelling it costs nobody else's.

        A `returning` permit, answered by a 429, has its old place in the order back.

        Raises: RateLimitWaitError at once if the predicted wait is longer than `max_wait` seconds, and after
            `max_wait` if it proves to be. ClientClosedError if the limiter is closed meanwhile.
            WrongEventLoopError at once while another loop uses the limiter, and if one takes it over meanwhile.
        """
        permit = self.acquire_now(route, lane=lane, returning=returning)
        if permit is not None:
            return permit
        now = self._clock()
        number = returning.number if returning else next(self._numbers)
        if max_wait is not None:
            predicted = self._predict(lane, route, now, before=number if returning else inf)
            if predicted > max_wait:
                raise _too_long(predicted, max_wait, lane)
        loop = asyncio.get_running_loop()
        questions = self._shared.questions if self._shared else 0
        waiter: Waiter[Permit] = Waiter(number, lane, route, now, loop.create_future(), max_wait, questions)
        self._lanes.of(lane).add(waiter)
        self._pump()
        if max_wait is not None and waiter.is_waiting:
            waiter.timer = loop.call_later(max_wait, self._on_overdue, waiter)
        try:
            return await waiter.future
        except (asyncio.CancelledError, GeneratorExit):  # the latter if the loop died under the call
            self._in_owner(self._abandon, waiter)
            raise
        finally:
            if waiter.timer:
                waiter.timer.cancel()

    def acquire_now(
        self, route: str = "", *, lane: Lane = INTERACTIVE, returning: Permit | None = None
    ) -> Permit | None:
        """Return the permit of a call that need not wait; `None` if it has to.

        Raises: WrongEventLoopError while another loop uses the limiter.
        """
        now = self._clock()
        if asyncio.get_running_loop() is not self._owner.loop:
            self._owner.claim(self._adopt)
        if self._interactive.size or self._bulk.size or not self._is_free(lane, route, now):
            return None
        return self._grant(returning.number if returning else next(self._numbers), lane, route, 0.0, now)

    @property
    def max_in_flight(self) -> int:
        """The most requests in flight at once."""
        return self._limits.max_in_flight

    @property
    def snapshot(self) -> RateLimit:
        """The budget now, as this process knows it; it may be read from any thread.

        `await store.snapshot()` returns the budget of all processes.
        """
        queued = {lane: self._lanes.of(lane).size for lane in Lane}
        return RateLimit.of(self._limits.window, queued, self._clock())

    @property
    def wait_threshold(self) -> float:
        """Seconds; `on_wait` is called with longer waits."""
        return self._wait_threshold

    def predict(self, lane: Lane = INTERACTIVE, route: str | None = None) -> float:
        """Return the seconds that a call coming now would wait at least, by what is known."""
        return self._predict(lane, route, self._clock())

    def for_server(self, base_url: str) -> "RateLimiter":
        """Return the limiter of one server: itself for the first, one with the same options for each other.

        A sandbox and production count apart, also in a store.
        """
        with self._owner.lock:
            if self._server is None:
                self._server = base_url
                if self._shared:
                    self._shared.store = self._shared.store.for_server(base_url)
            if base_url == self._server:
                return self
            other = self._others.get(base_url)
            if other is None:
                other = self._others[base_url] = self._sibling(base_url)
            return other

    def _sibling(self, base_url: str) -> "RateLimiter":
        other = RateLimiter(
            store=self._shared.store.for_server(base_url) if self._shared else None,
            reserve=self._limits.reserve,
            floor=self._limits.floor,
            max_in_flight=self.max_in_flight,
            on_wait=self._on_wait,
            wait_threshold=self._wait_threshold,
            clock=self._clock,
            wall=self._wall,
        )
        other._server = base_url
        return other

    # What may go

    def _is_free(self, lane: Lane, route: str | None, now: float, *, is_due: bool = False) -> bool:
        """Return whether one more request may go; see `Limits.is_free`."""
        has_lease = self._shared.has_lease(lane) if self._shared else None
        return self._limits.is_free(lane, route, now, is_due=is_due, has_lease=has_lease)

    def _grant(self, number: int, lane: Lane, route: str, waited: float, now: float) -> Permit:
        self._lanes.since_bulk = self._lanes.since_bulk + 1 if lane is INTERACTIVE else 0
        lease = self._shared.use_lease(lane) if self._shared else None
        serial, lowest, own = self._limits.take(lane, route, now)
        return Permit(self._on_end, number, lane, route, now, waited, serial, lowest, own, lease)

    def _predict(self, lane: Lane, route: str | None, now: float, *, before: float = inf) -> float:
        """The same for a call whose number is below `before`."""
        routes = self._limits.routes
        restricted = routes.restricted()
        ahead = self._lanes.ahead(lane, route, restricted, lambda name: routes.room(name, now), before=before)
        predicted = self._limits.predict(ahead, route, now)
        return max(predicted, self._shared.next_answer(lane) - now) if self._shared else predicted

    # Who waits

    def _pump(self) -> None:
        """Grant what may go now, then set the timer for when more may."""
        loop = self._owner.loop
        if loop is None or loop.is_closed():
            self._timer = None
            self._drain()
            return
        now = self._clock()
        while waiter := self._next_waiter(now):
            self._lanes.of(waiter.lane).remove(waiter)
            if not waiter.future.done():
                self._serve(waiter, now)
        self._want(now)
        if self._overdue:
            self._end_overdue(now)
        self._arm(loop, now)

    def _next_waiter(self, now: float) -> Waiter[Permit] | None:
        return self._lanes.next(
            lambda lane, is_due: self._is_free(lane, None, now, is_due=is_due),
            lambda route: self._limits.is_open(route, now),
        )

    def _serve(self, waiter: Waiter[Permit], now: float) -> None:
        waited = now - waiter.since
        waiter.future.set_result(self._grant(waiter.number, waiter.lane, waiter.route, waited, now))
        if waited > self._wait_threshold:
            self._report_wait(waiter, waited)

    def _report_wait(self, waiter: Waiter[Permit], waited: float) -> None:
        log.info("%s waited %.1f s for the rate limit (%s lane)", waiter.route or "a request", waited, waiter.lane)
        if self._on_wait:
            try:
                self._on_wait(WaitEvent(waiter.route, waiter.lane, waited))
            except Exception:  # the listener is the user's: its mistake must not cost others their permits
                log.exception("on_wait failed")

    def _want(self, now: float) -> None:
        """Tell the store how many calls wait that could go."""
        if self._shared is None:
            return
        routes = self._limits.routes
        restricted = routes.restricted()
        interactive, bulk = (
            queue.count(restricted, lambda name: routes.room(name, now)) for queue in (self._interactive, self._bulk)
        )
        most = self._limits.places(now)
        interactive = min(interactive, most)
        self._shared.want(interactive, min(bulk, most - interactive), (self._interactive.size, self._bulk.size))

    def _arm(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        if not (self._interactive.size or self._bulk.size):
            self._disarm()
            return
        waited_for = self._lanes.routes() if self._limits.has_restricted_routes else set[str]()
        asks_store = self._shared is not None and not self._shared.is_away
        look = self._limits.next_look(now, waited_for, has_bulk=self._bulk.size > 0, asks_store=asks_store)
        if self._timer and look == self._look:
            return
        self._disarm()
        if look < inf:
            self._timer, self._look = loop.call_later(look - now, self._on_timer), look

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        if self._owner.is_here:  # a loop that was replaced may run again, with a timer of before
            self._timer = None
            self._pump()

    def _on_overdue(self, waiter: Waiter[Permit]) -> None:
        if self._owner.is_here and waiter.is_waiting:
            self._overdue.append(waiter)
            self._pump()

    def _end_overdue(self, now: float) -> None:
        """End the waits that took too long, unless the store is about to answer: its budget may be idle."""
        overdue, self._overdue = self._overdue, []
        for waiter in overdue:
            if waiter.is_waiting and self._is_asked_for(waiter, now):
                self._overdue.append(waiter)
            elif waiter.is_waiting:
                self._lanes.of(waiter.lane).remove(waiter)
                predicted = self._predict(waiter.lane, waiter.route, now, before=waiter.number)
                # While nothing is known of the window, its next probe is the next chance.
                predicted = predicted or self._limits.window.next_probe(now)
                waiter.fail(_too_long(predicted, waiter.max_wait or 0.0, waiter.lane))
        self._want(now)

    def _is_asked_for(self, waiter: Waiter[Permit], now: float) -> bool:
        is_open = not waiter.future.done() and self._limits.is_open(waiter.route, now)
        return self._shared is not None and is_open and self._shared.is_asking(waiter.lane, waiter.questions)

    def _abandon(self, waiter: Waiter[Permit]) -> None:
        """A caller was cancelled: out of the queue, or, if its permit had just been granted, on to the next."""
        if waiter.is_waiting:
            self._lanes.of(waiter.lane).remove(waiter)
        elif waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
            waiter.future.result().release()
        if not (self._interactive.size or self._bulk.size):
            self._disarm()
            self._want(self._clock())

    def _adopt(self, before: asyncio.AbstractEventLoop | None) -> None:
        """Fail what waits in the loop before, should that ever run again."""
        self._timer = None  # not cancelled: timers are for their own thread to change
        left = self._drain()
        if before is not None and left:
            error = WrongEventLoopError("the rate limiter is used in another event loop now")
            with suppress(RuntimeError):  # closed
                before.call_soon_threadsafe(fail_all, left, error)

    def _drain(self) -> list[Waiter[Permit]]:
        """Return everyone who waits, taken out."""
        self._overdue = []
        return self._lanes.drain()

    def _in_owner(self, act: Callable[..., None], *arguments: Any) -> None:
        """Run it in the thread of the loop that owns the limiter."""
        if self._owner.is_here:
            act(*arguments)
        else:
            self._owner.post(partial(act, *arguments))

    # What answers tell

    def _on_end(self, permit: Permit, answer: Answer, state: RateState | None) -> None:
        try:
            is_here = asyncio.get_running_loop() is self._owner.loop
        except RuntimeError:  # the call was collected after its loop had ended
            is_here = False
        if is_here:
            self._settle(permit, answer, state)
        else:
            self._owner.post(partial(self._settle, permit, answer, state))

    def _settle(self, permit: Permit, answer: Answer, state: RateState | None) -> None:
        self._limits.settle(permit, answer, state, self._clock(), self._wall)
        if self._shared:
            self._shared.report(permit, answer, state, self._wall)
        if self._interactive.size or self._bulk.size:
            self._pump()


def _too_long(predicted: float, max_wait: float, lane: Lane) -> RateLimitWaitError:
    return RateLimitWaitError(
        f"rate limit: this {lane} call would wait {predicted:.1f} s more, longer than max_wait={max_wait:g} s",
        predicted=predicted,
        max_wait=max_wait,
    )


def _check_range(argument: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidRequestError(f"{argument} must be a number, not {type(value).__name__}", argument=argument)
    if not least <= float(value) <= most:
        bounds = f"between {least} and {most}" if most < inf else f"at least {least}"
        raise InvalidRequestError(f"{argument} must be {bounds}", argument=argument)


def _check_count(argument: str, value: object, least: int) -> None:
    if not hasattr(value, "__index__"):  # a store grants whole permits
        raise InvalidRequestError(f"{argument} must be an int, not {type(value).__name__}", argument=argument)
    _check_range(argument, value, least, inf)


def _check_store(store: object) -> None:
    if store is not None and not isinstance(store, Store):
        remedy = "use FileStore(app_id) or RedisStore.from_url(url, app_id)"
        raise InvalidRequestError(f"store must be a Store, not {type(store).__name__}: {remedy}", argument="store")


def _check_listener(on_wait: object) -> None:
    if on_wait is not None and (not callable(on_wait) or iscoroutinefunction(on_wait)):
        raise InvalidRequestError("on_wait must be a plain function of the event", argument="on_wait")
