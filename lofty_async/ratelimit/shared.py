"""The budget that several processes share through a store, and the in-process rules while the store is away.

One pump talks to the store: it hands in how permits ended and asks for as many new ones as calls are waiting. What
it is granted lies here as tickets until a call takes one; a ticket whose caller has gone is handed back.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from secrets import token_hex
from typing import Final

from attrs import define, field, frozen

from lofty_async._loops import LoopOwner
from lofty_async._wire import RateState

from .budget import Budget
from .lanes import Lane
from .messages import Ask, Grant, Outcome, What, aged
from .permits import Permit
from .spend import Spend
from .stores import Store, StoreFailed

log = logging.getLogger("lofty_async.ratelimit")

PARTING: Final = 0.5  # seconds that closing waits for a store
REJOIN: Final = 2.0  # seconds between attempts at a store that failed
MOST_OUTCOMES: Final = 1000  # kept for a store that is away


def member_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"


@frozen
class Ticket:
    """The store's leave to send one request."""

    spend: Spend
    epoch: str


@define(eq=False)
class SharedBudget(Budget):
    """A budget whose permits come from a store. `on_change` is called when more may be free than before."""

    store: Store = field(kw_only=True)
    clock: Callable[[], float] = field(kw_only=True)
    on_change: Callable[[], None] = field(kw_only=True)
    owner: LoopOwner = field(kw_only=True)
    member: str = field(factory=member_name)
    _process: int = field(factory=os.getpid)
    is_away: bool = False
    _tickets: dict[Lane, list[Ticket]] = field(factory=lambda: {lane: list[Ticket]() for lane in Lane})
    _used: dict[Permit, Ticket] = field(factory=dict[Permit, Ticket])
    _wants: dict[Lane, int] = field(factory=lambda: dict.fromkeys(Lane, 0))
    _outcomes: deque[tuple[Outcome, float]] = field(factory=lambda: deque(maxlen=MOST_OUTCOMES))
    _denied: set[Lane] = field(factory=set[Lane])
    _again_at: float = -inf
    _rests_until: float = -inf
    _counts_from: float = -inf
    _has_warned: bool = False
    questions: int = 0
    _answered: int = 0
    _news: asyncio.Event = field(factory=asyncio.Event)
    _pump: asyncio.Task[None] | None = None
    _is_closed: bool = False

    def is_free(self, now: float, lane: Lane, *, is_due: bool = False) -> bool:
        if self.is_away:
            return super().is_free(now, lane, is_due=is_due)
        in_hand = bool(self._tickets[lane]) and self.window.in_flight < self.max_in_flight
        return in_hand and self.pace.ready_at(now) <= now

    def take(self, permit: Permit) -> None:
        self._is_closed = False
        super().take(permit)
        if tickets := self._tickets[permit.lane]:
            self._used[permit] = tickets.pop()

    def release(self, permit: Permit) -> None:
        super().release(permit)
        self._report(permit, "released")

    def lose(self, permit: Permit, now: float) -> None:
        super().lose(permit, now)
        self._report(permit, "silent")

    def settle_alike(self, permit: Permit, state: RateState, now: float) -> bool:  # noqa: ARG002 - the store is told all
        return False

    def settle(self, permit: Permit, state: RateState, *, refused: bool, now: float, wall: float) -> None:
        if refused or not super().settle_alike(permit, state, now):
            super().settle(permit, state, refused=refused, now=now, wall=wall)
        end = self.resets.end_of_window(state, now, wall)
        left = None if end is None else end - now
        remaining = 0 if refused and state.remaining is None else state.remaining
        limit = state.limit or self.window.limit
        if permit.route in self.routes.windows:
            self._report(permit, "silent", refused=refused)
        elif limit is None or remaining is None:
            self._report(permit, "silent", refused=refused, hold=None if limit else state.retry_after)
        else:
            self._report(permit, "answered", limit, remaining, left, refused=refused, hold=state.retry_after)

    def next_look(self, now: float, routes: Iterable[str], *, leaves_reserve: bool) -> float:
        if self.is_away:
            return super().next_look(now, routes, leaves_reserve=leaves_reserve)
        looks = [self.pace.ready_at(now), *(self.routes.ready_at(route, now) for route in routes)]
        return min((look for look in looks if look > now), default=inf)

    def predict(self, ahead: int, route: str | None, now: float, lane: Lane) -> float:
        predicted = super().predict(ahead, route, now, lane)
        return max(predicted, self._again_at - now) if lane in self._denied and not self.is_away else predicted

    def want(self, interactive: int, bulk: int) -> None:
        """How many calls wait, per lane, that could go now."""
        self._is_closed = self._is_closed and not (interactive or bulk)
        now = self.clock()
        most = max(0, self.max_in_flight - self.window.in_flight) if self.pace.ready_at(now) <= now else 0
        self._wants[Lane.INTERACTIVE] = min(interactive, most)
        self._wants[Lane.BULK] = min(bulk, most - self._wants[Lane.INTERACTIVE])
        if any(self._shortage(lane) and lane not in self._denied for lane in Lane) and not self.is_away:
            self._again_at = -inf
        self._wake()

    def is_asking(self, lane: Lane, questions: int) -> bool:
        """Whether the store has still to answer, at once, what this lane's calls ask that came after `questions`."""
        if self.is_away or self._answered > questions or not self._shortage(lane):
            return False
        is_talking = self.questions > self._answered
        return is_talking or bool(self._outcomes) or lane not in self._denied or self.clock() >= self._again_at

    async def aclose(self) -> None:
        """Hand back what is in hand, tell the store the rest, and let go of it."""
        self._is_closed = True
        self._wants = dict.fromkeys(Lane, 0)
        await self._finish_talking()
        self._hand_back()
        if self._outcomes:
            outcomes = aged(self._outcomes, self.clock())
            self._outcomes.clear()
            await _at_parting(self.store.observe(outcomes))
        await _at_parting(self.store.aclose())

    async def _finish_talking(self) -> None:
        """Let the pump say what it has begun to say: cut short, the store would keep permits that nobody has."""
        if self._pump and not self._pump.done() and self._pump.get_loop() is asyncio.get_running_loop():
            self._news.set()
            _, unfinished = await asyncio.wait({self._pump}, timeout=0.0 if self.is_away else PARTING)
            for pump in unfinished:
                pump.cancel()
                await asyncio.wait({pump})

    def _report(
        self,
        permit: Permit,
        what: What,
        limit: int = 0,
        remaining: int = 0,
        left: float | None = None,
        *,
        refused: bool = False,
        hold: float | None = None,
    ) -> None:
        ticket = self._used.pop(permit, None)
        if ticket is None and what != "answered":
            return  # the store never counted it, and there is nothing to learn from it
        if self._is_closed:
            return  # telling would open the store again, for nobody to close
        spend, epoch = (ticket.spend, ticket.epoch) if ticket else (Spend(-1, None), "")
        told = (limit, remaining, left, hold, self.resets.counts_milliseconds)
        outcome = Outcome(self.member, epoch, spend, what, refused, *told)
        self._outcomes.append((outcome, self.clock()))
        self._wake()

    def _wake(self) -> None:
        if not self._has_news():
            return
        if not self.owner.is_here:
            return  # a permit that outlived its loop: the store is told with the next call
        loop = asyncio.get_running_loop()
        if self._pump and self._pump.get_loop() is not loop:
            self._again_at = -inf  # what kept the store away may have been that loop's
        if self._pump is None or self._pump.done() or self._pump.get_loop() is not loop:
            self._news = asyncio.Event()
            self._pump = loop.create_task(self._run(), name="lofty_async rate limit store")
        self._news.set()

    def _shortage(self, lane: Lane) -> int:
        return max(0, self._wants[lane] - len(self._tickets[lane]))

    def _is_short(self) -> bool:
        return any(self._shortage(lane) for lane in Lane)

    def _has_news(self) -> bool:
        """Whether the store has to be told of outcomes or asked, also for nothing: it keeps a share for who waits."""
        return bool(self._outcomes or self._denied) or self._is_short()

    async def _run(self) -> None:
        """Talk to the store for as long as there is something to say and the loop owns the budget."""
        while self._has_news() and self.owner.is_here:
            self._news.clear()
            wait = self._talks_at() - self.clock()
            if wait > 0:
                await self._sleep(wait)
            else:
                await self._talk()

    def _talks_at(self) -> float:
        """When to talk to the store next.

        Outcomes alone are reported after a rest as long as the last talk took: they come in bursts, and one report of
        all of them costs a distant store, or one that many change, no more than each of the reports.
        """
        if self._is_closed:
            return -inf
        if self.is_away:
            return self._again_at
        if not self._is_short():
            return self._rests_until
        return min(self._rests_until, self._again_at) if self._outcomes else self._again_at

    async def _sleep(self, seconds: float) -> None:
        """Until it is time to ask again, or there is something new to tell."""
        timer = asyncio.get_running_loop().call_later(seconds, self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()

    async def _talk(self) -> None:
        outcomes = list(self._outcomes)
        self._outcomes.clear()
        began = self.clock()
        try:
            ask = self._ask()
            self.questions += 1
            async with asyncio.timeout(self.store.patience):
                grant = await self.store.take(ask, aged(outcomes, self.clock()))
        except BaseException as failure:
            self._keep(outcomes)
            if self.owner.is_here:
                self._answered = self.questions
            # A store may be the user's own: whatever it raises, calls go on.
            if not isinstance(failure, Exception):
                raise
            if self.owner.is_here:
                self._go_on_without(failure)
            return
        if self.owner.is_here:  # else another loop's pump asks now, and its ask puts the store's figures right
            self._rests_until = 2 * self.clock() - began
            self._take_in(grant, ask)

    def _take_in(self, grant: Grant, ask: Ask) -> None:
        self._answered = self.questions
        self._come_back()
        self._learn_from_others(grant, self.clock())
        self._warn_of_others(grant, self.clock())
        ticket = Ticket(grant.spend, grant.epoch)
        self._tickets[Lane.INTERACTIVE] += [ticket] * grant.interactive
        self._tickets[Lane.BULK] += [ticket] * grant.bulk
        granted = {Lane.INTERACTIVE: (grant.interactive, ask.interactive), Lane.BULK: (grant.bulk, ask.bulk)}
        self._denied = {lane for lane, (got, asked) in granted.items() if got < asked}
        self._again_at = self.clock() + grant.again_in if self._denied else -inf
        self.on_change()
        self._hand_back()

    def _learn_from_others(self, grant: Grant, now: float) -> None:
        """Know what they know, for when the store is away."""
        window = self.window
        self.resets.counts_milliseconds = self.resets.counts_milliseconds or grant.counts_milliseconds
        # What was told here meanwhile may be news to them.
        if grant.limit is not None and grant.limit > (window.limit or 0) and not self._outcomes:
            self.routes.cede(window, grant.limit)
            window.limit, window.lowest = grant.limit, window.lowest + grant.limit - (window.limit or 0)
        if grant.spend.lowest is not None and grant.left is not None and window.limit is not None:
            window.roll(now)
            if window.ends_at is None or window.end_is_assumed:
                window.ends_at, window.end_is_assumed = now + grant.left, False
            if abs(window.ends_at - now - grant.left) < window.length_or_default / 2:
                window.lowest = min(window.lowest, grant.spend.lowest)

    def _warn_of_others(self, grant: Grant, now: float) -> None:
        """Say once that the budget is spent by somebody whom the store does not count."""
        if grant.has_company and not self._has_warned and now >= self._counts_from:
            self._has_warned = True
            log.warning("requests that the rate limit's store does not count spend its budget: %s", self.store.remedy)

    def _ask(self) -> Ask:
        """What calls lack now; a forked process speaks for itself."""
        if self._process != os.getpid():
            self._process, self.member = os.getpid(), member_name()
        return Ask(
            self.member,
            self.window.in_flight,
            self._shortage(Lane.INTERACTIVE),
            self._shortage(Lane.BULK),
            self.reserve,
            self.floor,
        )

    def _hand_back(self) -> None:
        """Tickets that nobody took: their callers have gone, or their routes have closed."""
        for lane in Lane:
            tickets, self._tickets[lane] = self._tickets[lane], []
            outcomes = (Outcome(self.member, ticket.epoch, ticket.spend, "released") for ticket in tickets)
            self._outcomes.extend((outcome, self.clock()) for outcome in outcomes)

    def _keep(self, outcomes: list[tuple[Outcome, float]]) -> None:
        """Put back what could not be told, in place: another loop's thread may be adding to it."""
        room = MOST_OUTCOMES - len(self._outcomes)
        self._outcomes.extendleft(reversed(outcomes[-room:] if room else []))

    def _go_on_without(self, failure: Exception) -> None:
        if not self.is_away:
            log.warning("the rate limit's store is away, so this process goes on by itself: %s", _reason(failure))
        self.is_away = True
        self._denied = set()
        self._again_at = self.clock() + REJOIN
        self.on_change()

    def _come_back(self) -> None:
        if self.is_away:
            log.info("the rate limit's store is back")
            # What was sent without it is in no ledger: for some windows, the others who spend are this process.
            self._counts_from = self.clock() + 3 * self.window.length_or_default
        self.is_away = False


def _reason(failure: Exception) -> str:
    """What a store of ours says is free of secrets; what others say need not be."""
    return str(failure) if isinstance(failure, StoreFailed) else type(failure).__name__


async def _at_parting(word: Awaitable[None]) -> None:
    """Tell the store, which may fail: then it finds out by itself at the window's end."""
    try:
        async with asyncio.timeout(PARTING):
            await word
    except Exception as failure:  # noqa: BLE001 - a store may be the user's own, and closing goes on
        log.debug("the rate limit's store did not hear the last: %s", _reason(failure))
