"""Who may send now.

The server counts requests in a fixed window of 60 s per application and tells, in headers, the limit, what remains
and when the window ends. Three things follow.

*Budget.* Answers come out of order, so the latest Remaining may be an old one; the lowest one seen in a window never
is. Everything in flight may still be missing from it. Hence budget = lowest Remaining - in flight: never too high,
and exact again once the answers are in. With 100 a minute and 1,000 calls the best possible time is 494 s from a
window that has 14 s left; a cap on concurrency takes 495 s and 450 refusals, a local token bucket 554 s and 23, this
rule 494 s and none. Alone, the whole window may be spent at once; a leak or an even spread only adds waiting.

*Company.* When limit - Remaining exceeds what was sent from here, somebody else spends too. Then the first request of
a window goes alone to see what is left, and at most our share of the rest is in flight, down to one: four processes
that know nothing of each other take 499 s and 27 refusals.

*Lanes.* First come first served in a lane, interactive before bulk. Bulk leaves a tenth of the limit untouched at the
window's start, less as it ages, nothing at its end: a call that comes in finds room, and no permit is lost. When
interactive calls fill everything, each tenth permit goes to bulk.

There is no task that sleeps and could die: waiters are futures, and one timer is set anew from the state whenever the
state changes.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import count
from math import inf
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from lofty_async._loops import LoopOwner
from lofty_async._wire import RateState
from lofty_async.errors import ClientClosedError, InvalidRequestError, RateLimitWaitError, WrongEventLoopError

from .budget import Budget
from .lanes import INTERACTIVE, Lane, Waiter, fail_all
from .order import BOTH, Order
from .permits import Permit, RateLimit, WaitEvent
from .shared import SharedBudget
from .stores import Store

log = logging.getLogger("lofty_async.ratelimit")


class RateLimiter:
    """Hands out permits, one per request, so that the application's budget is spent whole and never overdrawn.

    One limiter belongs to one application; clients for several accounts of it share one. It is used by one running
    event loop at a time; limiters of several threads or processes share one budget through a `store`.

    `reserve` is the share of each window that bulk work leaves to interactive calls (0 to 1), `floor` the number of
    requests of each window that is never spent, `max_in_flight` the most requests in flight at once. One request
    of each window is always allowed. `on_wait` is called with each wait above `wait_threshold` seconds. `clock` counts
    monotonic seconds, `wall` epoch seconds.

    Raises: InvalidRequestError where a number is out of its range.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        reserve: float = 0.1,
        floor: int = 0,
        max_in_flight: int = 100,
        on_wait: Callable[[WaitEvent], None] | None = None,
        wait_threshold: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        _check_range("reserve", reserve, 0, 1)
        _check_range("floor", floor, 0, inf)
        _check_range("max_in_flight", max_in_flight, 1, inf)
        _check_range("wait_threshold", wait_threshold, 0, inf)
        self.max_in_flight = max_in_flight
        self._on_wait, self._wait_threshold = on_wait, wait_threshold
        self._clock, self._wall = clock, wall
        self._rules = reserve, floor, max_in_flight
        self._server: str | None = None
        self._others: WeakValueDictionary[str, RateLimiter] = WeakValueDictionary()
        self._begin(store)

    def _begin(self, store: Store | None) -> None:
        self._owner = LoopOwner("rate limiter")
        self._budget = Budget(*self._rules)
        self._shared: SharedBudget | None = None
        if store:
            self._shared = self._budget = SharedBudget(
                *self._rules, store=store, clock=self._clock, on_change=self._pump, owner=self._owner
            )
        self._order: Order[Permit] = Order()
        self._interactive, self._bulk = self._order.interactive, self._order.bulk
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the calls that wait, with `ClientClosedError`; nobody would wake them.

        Raises: WrongEventLoopError while another loop uses the limiter.
        """
        for other in list(self._others.values()):
            await other.__aexit__(kind, error, trace)
        self._owner.claim(self._adopt)
        for waiter in self._drain():
            waiter.fail(ClientClosedError("the rate limiter was closed while the call waited"))
        await self._budget.aclose()

    async def acquire(
        self,
        route: str = "",
        *,
        lane: Lane = INTERACTIVE,
        max_wait: float | None = None,
        returning: Permit | None = None,
    ) -> Permit:
        """Wait for the turn of one request on `route`; cancelling it costs nobody else's turn.

        A `returning` permit, refused by the server, has its old place in the order back.

        Raises: RateLimitWaitError at once where the wait is going to be longer than `max_wait` seconds, and after
            `max_wait` where it proves to be. ClientClosedError where the limiter is closed meanwhile.
            WrongEventLoopError at once while another loop uses the limiter, and where one takes it over meanwhile.
        """
        permit = self.acquire_now(route, lane=lane, returning=returning)
        if permit is not None:
            return permit
        now = self._clock()
        if max_wait is not None:
            predicted = self._predict(lane, route, now, before=returning.number if returning else inf)
            if predicted > max_wait:
                raise _too_long(predicted, max_wait, lane)
        number = returning.number if returning else next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        questions = self._shared.questions if self._shared else 0
        return await self._queue(Waiter(number, lane, route, now, future, max_wait, questions))

    def acquire_now(
        self, route: str = "", *, lane: Lane = INTERACTIVE, returning: Permit | None = None
    ) -> Permit | None:
        """What `acquire` gives to a call that need not wait; `None` where it has to."""
        now = self._clock()
        if asyncio.get_running_loop() is not self._owner.loop:
            self._owner.claim(self._adopt)
        if self._interactive.size or self._bulk.size:
            return None
        if not self._budget.is_free(now, lane) or not self._budget.is_open(route, now):
            return None
        return self._grant(returning.number if returning else next(self._numbers), lane, route, 0.0, now)

    @property
    def snapshot(self) -> RateLimit:
        """The budget now; it may be read from any thread."""
        now, window = self._clock(), copy(self._budget.window)
        window.roll(now)
        return RateLimit(
            limit=window.limit,
            remaining=None if window.limit is None else window.remaining,
            resets_in=None if window.ends_at is None else max(0.0, window.ends_at - now),
            queued={lane: len(self._order.of(lane)) for lane in Lane},
            in_flight=window.in_flight,
        )

    def predict(self, lane: Lane = INTERACTIVE, route: str | None = None) -> float:
        """Seconds that a call coming now would wait at least, by what is known."""
        return self._predict(lane, route, self._clock())

    def _predict(self, lane: Lane, route: str | None, now: float, *, before: float = inf) -> float:
        """The same for a call whose number is below `before`."""
        ahead = self._order.ahead(lane, route, lambda name: self._budget.routes.room(name, now), before=before)
        return self._budget.predict(ahead, route, now, lane)

    def _grant(self, number: int, lane: Lane, route: str, waited: float, now: float) -> Permit:
        self._order.since_bulk = self._order.since_bulk + 1 if lane is INTERACTIVE else 0
        permit = Permit()
        permit.number, permit.lane, permit.route = number, lane, route
        permit.granted_at, permit.waited, permit.limiter = now, waited, self
        self._budget.take(permit)
        return permit

    async def _queue(self, waiter: Waiter[Permit]) -> Permit:
        self._order.add(waiter)
        self._pump()
        try:
            return await waiter.future
        except (asyncio.CancelledError, GeneratorExit):  # the latter where the loop died under the call
            self._forget(waiter)
            raise

    def _forget(self, waiter: Waiter[Permit]) -> None:
        if self._owner.is_here:
            self._let_go(waiter)
        else:
            self._owner.post(partial(self._let_go, waiter))

    def _let_go(self, waiter: Waiter[Permit]) -> None:
        """A caller went away: out of the queue, or, where its permit had just been granted, on to the next."""
        self._order.remove(waiter)
        if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
            waiter.future.result().release()
        self._rest()

    def _rest(self) -> None:
        if not len(self._order):
            self._disarm()
            self._want(self._clock())

    def _pump(self) -> None:
        """Grant what may go now, then set the timer for when more may."""
        loop = self._owner.loop
        if loop is None or loop.is_closed():
            self._drain()
            return
        now = self._clock()
        while waiter := self._next_waiter(now):
            self._order.remove(waiter)
            if not waiter.future.done():
                self._serve(waiter, now)
        self._want(now)
        if self._give_up_late(now):
            self._want(now)
        self._arm(now)

    def _want(self, now: float) -> None:
        """Tell a shared budget how many calls wait that could go."""
        if self._shared:
            room = self._shared.routes.room
            self._shared.want(*(self._order.of(lane).count(lambda route: room(route, now)) for lane in BOTH))

    def _serve(self, waiter: Waiter[Permit], now: float) -> None:
        waited = now - waiter.since
        waiter.future.set_result(self._grant(waiter.number, waiter.lane, waiter.route, waited, now))
        if self._on_wait and waited > self._wait_threshold:
            self._tell(self._on_wait, WaitEvent(waiter.route, waiter.lane, waited))

    @staticmethod
    def _tell(on_wait: Callable[[WaitEvent], None], event: WaitEvent) -> None:
        try:
            on_wait(event)
        except Exception:  # the listener is the user's: its mistake must not cost the others their turn
            log.exception("on_wait failed")

    def _next_waiter(self, now: float) -> Waiter[Permit] | None:
        budget = self._budget
        return self._order.next(
            lambda lane, is_due: budget.is_free(now, lane, is_due=is_due), lambda route: budget.is_open(route, now)
        )

    def _give_up_late(self, now: float) -> bool:
        """End the waits that took too long; whether there were any."""
        late = self._order.late(now, lambda waiter: self._is_asked_for(waiter, now))
        for waiter in late:
            predicted = self._predict(waiter.lane, waiter.route, now, before=waiter.number)
            # While nothing is known of the window, its next probe is the next chance.
            predicted = predicted or self._budget.window.next_probe(now)
            waiter.fail(_too_long(predicted, waiter.max_wait or 0.0, waiter.lane))
        return bool(late)

    def _is_asked_for(self, waiter: Waiter[Permit], now: float) -> bool:
        """Whether it waits for the store to answer, which is no waiting for a turn: the budget may be idle."""
        if self._shared is None or waiter.future.done() or not self._budget.is_open(waiter.route, now):
            return False
        return self._shared.is_asking(waiter.lane, waiter.questions)

    def _arm(self, now: float) -> None:
        self._disarm()
        loop = self._owner.loop
        if loop and len(self._order):
            look = self._budget.next_look(now, self._order.routes(), leaves_reserve=self._bulk.size > 0)
            look = min(look, self._order.deadlines.next())
            if look < inf:
                self._timer = loop.call_later(max(0.0, look - now), self._on_timer)

    def _on_timer(self) -> None:
        if self._owner.is_here:  # a loop that was replaced may run again, with a timer of before
            self._pump()

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _adopt(self, before: asyncio.AbstractEventLoop | None) -> None:
        """Fail what waits in the loop before, should that ever run again."""
        self._timer = None  # not cancelled: timers are for their own thread to change
        left = self._order.drain()
        if before is not None and left:
            error = WrongEventLoopError("the rate limiter is used in another event loop now")
            with suppress(RuntimeError):  # closed
                before.call_soon_threadsafe(fail_all, left, error)

    def _drain(self) -> list[Waiter[Permit]]:
        """Everyone who waits, taken out."""
        self._disarm()
        return self._order.drain()

    def release(self, permit: Permit) -> None:
        """Take back a permit whose request never left; callers say `permit.release()`."""
        if self._owner.is_here:
            self._release(permit)
        else:
            self._owner.post(partial(self._release, permit))

    def _release(self, permit: Permit) -> None:
        self._budget.release(permit)
        if self._interactive.size or self._bulk.size:
            self._pump()

    def settle(self, permit: Permit, state: RateState | None, *, refused: bool) -> None:
        """Learn from an answer; callers say `permit.settle(…)`."""
        if self._owner.is_here:
            self._settle(permit, state, refused=refused)
        else:
            self._owner.post(partial(self._settle, permit, state, refused=refused))

    def _settle(self, permit: Permit, state: RateState | None, *, refused: bool) -> None:
        now = self._clock()
        if state is None:
            self._budget.lose(permit, now)
        elif refused or not self._budget.settle_alike(permit, state, now):
            self._budget.settle(permit, state, refused=refused, now=now, wall=self._wall())
        if self._interactive.size or self._bulk.size:
            self._pump()

    def for_server(self, base_url: str) -> "RateLimiter":
        """The application's limiter at one server: itself at the first, one with the same options at each other.

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
                other = self._others[base_url] = self._beside(base_url)
            return other

    def _beside(self, base_url: str) -> "RateLimiter":
        other = copy(self)
        other._server, other._others = base_url, WeakValueDictionary()  # noqa: SLF001 - a limiter too
        other._begin(self._shared.store.for_server(base_url) if self._shared else None)  # noqa: SLF001 - the same
        return other


def _too_long(predicted: float, max_wait: float, lane: Lane) -> RateLimitWaitError:
    return RateLimitWaitError(
        f"rate limit: this {lane} call would wait {predicted:.1f} s more, longer than max_wait={max_wait:g} s",
        predicted=predicted,
        max_wait=max_wait,
    )


def _check_range(argument: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        text = (
            f"{argument} must be between {least} and {most}" if most < inf else f"{argument} must be at least {least}"
        )
        raise InvalidRequestError(text, argument=argument)
