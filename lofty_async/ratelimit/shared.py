"""The budget that several processes share through a store, and the per-process fallback while it is unavailable.

One task talks to the store: it reports how permits ended and asks for as many leases as calls are waiting for. Leases
stay here until a call uses them; a lease that no call uses is handed back.
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

from lofty_async._deadlines import lenient_timeout
from lofty_async._loops import LoopOwner
from lofty_async._wire import RateState
from lofty_async.errors import StoreUnavailableError

from .lanes import BULK, INTERACTIVE, Lane
from .ledger import AcquireRequest, Grant, PermitReport
from .limits import Answer, Lease, Limits, Permit, Wall, retry_after
from .resets import WINDOW
from .stores import Store

log = logging.getLogger("lofty_async.ratelimit")

CLOSE_TIMEOUT: Final = 0.5  # seconds that closing waits for a store
RETRY_INTERVAL: Final = 2.0  # seconds between attempts at a store that failed
MOST_REPORTS: Final = 1000  # kept for a store that is unavailable
COUNTS_AGAIN: Final = 3 * WINDOW  # seconds after an outage for which this process may be the other client it sees


class SharedLimit:
    """A process's part of the budget in a store.

    `on_change` is called when more may go than before: the store granted leases, or became unavailable. `questions`
    counts the requests to the store, `is_away` is whether the latest failed.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        owner: LoopOwner,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.store = store
        self.member = _member_name()
        self.is_away = False
        self.questions = 0
        self._limits, self._owner, self._clock, self._on_change = limits, owner, clock, on_change
        self._process = os.getpid()
        self._leases: dict[Lane, list[Lease]] = {lane: [] for lane in Lane}
        self._wanted = dict.fromkeys(Lane, 0)
        self._queued = (0, 0)
        self._reports: deque[tuple[PermitReport, float]] = deque(maxlen=MOST_REPORTS)
        self._short: set[Lane] = set()  # lanes that got less than they asked for
        self._again_at = self._rests_until = self._counts_from = -inf
        self._has_warned = self._is_closed = False
        self._answered = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def has_lease(self, lane: Lane) -> bool | None:
        """Return whether there is a lease for a call; `None` while the store is unavailable, and none is needed."""
        return None if self.is_away else bool(self._leases[lane])

    def use_lease(self, lane: Lane) -> Lease | None:
        """Return a lease for a permit; `None` if the permit is granted without the store."""
        self._is_closed = False
        leases = self._leases[lane]
        return leases.pop() if leases else None

    def next_answer(self, lane: Lane) -> float:
        """Return when the store is asked again for a lane that it has nothing for."""
        return self._again_at if lane in self._short and not self.is_away else -inf

    def want(self, interactive: int, bulk: int, queued: tuple[int, int]) -> None:
        """Ask for as many leases, per lane, of the calls that are `queued` there."""
        self._queued = queued
        self._is_closed = self._is_closed and not (interactive or bulk)
        self._wanted = {INTERACTIVE: interactive, BULK: bulk}
        if not self.is_away and any(self._missing(lane) and lane not in self._short for lane in Lane):
            self._again_at = -inf
        self._wake()

    def is_asking(self, lane: Lane, questions: int) -> bool:
        """Return whether the store is about to answer a question asked after `questions` for calls of this lane."""
        if self.is_away or self._answered > questions or not self._missing(lane):
            return False
        is_talking = self.questions > self._answered
        return is_talking or bool(self._reports) or lane not in self._short or self._clock() >= self._again_at

    def report(self, permit: Permit, answer: Answer, state: RateState | None, wall: Wall) -> None:
        """Report how a permit ended; without a lease the store never counted it, and learns from figures alone."""
        report = self._report_of(permit, answer, state, wall)
        if (report.lease is None and report.ending != "answered") or self._is_closed:
            return  # to report after closing would open the store again, for nobody to close
        self._add(report)
        self._wake()

    def _report_of(self, permit: Permit, answer: Answer, state: RateState | None, wall: Wall) -> PermitReport:
        now, limits, is_refused = self._clock(), self._limits, answer == "refused"
        if answer == "not sent":
            return PermitReport(self.member, permit.lease, "released")
        seconds = now - permit.granted_at
        # The figures of a route's own limit are not the window's.
        if state is None or state.remaining is None or permit.route in limits.routes.windows:
            return PermitReport(self.member, permit.lease, "silent", is_refused, seconds=seconds)
        end = limits.resets.end_of_window(state, now, wall())
        return PermitReport(
            self.member,
            permit.lease,
            "answered",
            is_refused,
            limit=state.limit or limits.window.limit or 1,
            remaining=state.remaining,
            left=None if end is None else end - now,
            hold=retry_after(state) if is_refused and not state.remaining else None,
            seconds=seconds,
            counts_milliseconds=limits.resets.counts_milliseconds,
        )

    async def close(self) -> None:
        """Hand back the leases, report the rest, and close the store."""
        self._is_closed = True
        self._wanted = dict.fromkeys(Lane, 0)
        await self._finish_talking()
        self._hand_back()
        if self._reports:
            reports = _aged(self._reports, self._clock())
            self._reports.clear()
            await _finish(self.store.observe(reports))
        await _finish(self.store.close())

    async def _finish_talking(self) -> None:
        """Let the task finish its question: cut short, the store would keep leases that nobody has."""
        if self._task and not self._task.done() and self._task.get_loop() is asyncio.get_running_loop():
            self._news.set()
            _, unfinished = await asyncio.wait({self._task}, timeout=0.0 if self.is_away else CLOSE_TIMEOUT)
            for task in unfinished:
                task.cancel()
                await asyncio.wait({task})

    def _missing(self, lane: Lane) -> int:
        return max(0, self._wanted[lane] - len(self._leases[lane]))

    def _is_missing_any(self) -> bool:
        return any(self._missing(lane) for lane in Lane)

    def _has_news(self) -> bool:
        """Whether there is something to report or to ask, also for nothing: a ledger keeps a share for who waits."""
        return bool(self._reports or self._short) or self._is_missing_any()

    def _wake(self) -> None:
        if not self._has_news() or not self._owner.is_here:
            return  # a permit that outlived its loop is reported with the next call
        loop = asyncio.get_running_loop()
        if self._task and self._task.get_loop() is not loop:
            self._again_at = -inf  # the store may have been unavailable to that loop alone
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._news = asyncio.Event()
            self._task = loop.create_task(self._run(), name="lofty_async rate limit store")
        self._news.set()

    async def _run(self) -> None:
        """Talk to the store while there is something to say and the loop owns the limiter."""
        while self._has_news() and self._owner.is_here:
            if self._is_closed and self.is_away:
                return  # a store that fails at once would be asked again and again, and never let the loop turn
            self._news.clear()
            wait = self._talks_at() - self._clock()
            if wait > 0:
                timer = asyncio.get_running_loop().call_later(wait, self._news.set)
                try:
                    await self._news.wait()
                finally:
                    timer.cancel()
            else:
                await self._talk()

    def _talks_at(self) -> float:
        """Return when to talk to the store next.

        Reports alone wait for as long as the last talk took: they come in bursts, and one report of all of them costs
        a distant store, or one that many change, no more than each of the reports.
        """
        if self._is_closed:
            return -inf
        if self.is_away:
            return self._again_at
        if not self._is_missing_any():
            return self._rests_until
        return min(self._rests_until, self._again_at) if self._reports else self._again_at

    async def _talk(self) -> None:
        reports = list(self._reports)
        self._reports.clear()
        began = self._clock()
        try:
            request = self._request()
            self.questions += 1
            async with lenient_timeout(self.store.change_timeout):
                grant = await self.store.take(request, _aged(reports, self._clock()))
        except BaseException as failure:
            self._keep(reports)
            if self._owner.is_here:
                self._answered = self.questions
            # A store may be the user's own: whatever it raises, calls go on.
            if not isinstance(failure, Exception):
                raise
            if self._owner.is_here:
                self._fall_back(failure)
            return
        if self._owner.is_here:  # else another loop's task asks now, and its request puts the ledger right
            self._rests_until = 2 * self._clock() - began
            self._take_in(grant, request)

    def _request(self) -> AcquireRequest:
        """The permits that calls wait for now; a forked process is a member of its own."""
        if self._process != os.getpid():
            self._process, self.member = os.getpid(), _member_name()
        interactive, bulk = self._missing(INTERACTIVE), self._missing(BULK)
        limits = self._limits
        return AcquireRequest(
            self.member,
            limits.window.in_flight,
            interactive,
            bulk,
            limits.reserve,
            limits.floor,
            *self._queued,
        )

    def _take_in(self, grant: Grant, request: AcquireRequest) -> None:
        self._answered = self.questions
        now = self._clock()
        if self.is_away:
            log.info("rate-limit store reconnected")
            # What was sent meanwhile is in no ledger: the other client that is seen may be this process.
            self._counts_from = now + COUNTS_AGAIN
        self.is_away = False
        if grant.has_contention and not self._has_warned and now >= self._counts_from:
            self._has_warned = True
            log.warning("requests that the rate-limit store does not count spend its budget: %s", self.store.remedy)
        self._leases[INTERACTIVE] += [grant.lease] * grant.interactive
        self._leases[BULK] += [grant.lease] * grant.bulk
        got = {INTERACTIVE: (grant.interactive, request.interactive), BULK: (grant.bulk, request.bulk)}
        self._short = {lane for lane, (granted, asked) in got.items() if granted < asked}
        self._again_at = now + grant.again_in if self._short else -inf
        self._learn(grant, now)
        self._on_change()
        self._hand_back()

    def _learn(self, grant: Grant, now: float) -> None:
        """Learn what the other processes have learnt."""
        window, resets = self._limits.window, self._limits.resets
        resets.counts_milliseconds = resets.counts_milliseconds or grant.counts_milliseconds
        # What was told here and is not yet reported may be news to the store.
        if not self._reports and (grant.limit or 0) > (window.limit or 0):
            self._limits.note_limit(grant.limit or 0)
            window.raise_limit(grant.limit or 0)
        if grant.lease.lowest is not None and grant.left is not None:
            window.learn_lowest(grant.lease.lowest, grant.left, now)

    def _hand_back(self) -> None:
        """Release leases that no call used: callers were cancelled, or their routes closed."""
        for lane in Lane:
            leases, self._leases[lane] = self._leases[lane], []
            for lease in leases:
                self._add(PermitReport(self.member, lease, "released"))

    def _add(self, report: PermitReport) -> None:
        self._reports.append((report, self._clock()))

    def _keep(self, reports: list[tuple[PermitReport, float]]) -> None:
        """Put back what could not be reported, in place: another loop's thread may be adding to it."""
        room = MOST_REPORTS - len(self._reports)
        self._reports.extendleft(reversed(reports[-room:] if room else []))

    def _fall_back(self, failure: Exception) -> None:
        if not self.is_away:
            log.warning("rate-limit store unavailable; falling back to a per-process limit: %s", _reason(failure))
        self.is_away = True
        self._short = set[Lane]()
        self._again_at = self._clock() + RETRY_INTERVAL
        self._on_change()


def _member_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"


def _aged(reports: Iterable[tuple[PermitReport, float]], now: float) -> list[PermitReport]:
    """Return reports whose times count from now; what is older than a window teaches nothing."""
    return [report.aged(now - at) for report, at in reports if now - at < WINDOW]


def _reason(failure: Exception) -> str:
    """The message of an error of our own stores, which holds no secret; of any other, its class alone."""
    return str(failure) if isinstance(failure, StoreUnavailableError) else type(failure).__name__


async def _finish(last: Awaitable[None]) -> None:
    """Give the store its last word; if that fails, the store forgets the permits at the window's end."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await last
    except Exception as failure:  # noqa: BLE001 - a store may be the user's own, and closing goes on
        log.debug("the rate-limit store could not be told the last reports: %s", _reason(failure))
