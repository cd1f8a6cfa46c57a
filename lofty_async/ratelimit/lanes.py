"""Who waits for a permit, and in which order.

In a lane it is first come, first served, except that a call whose route is closed does not hold up the others.
Interactive calls take priority over bulk ones, but each tenth permit is bulk's.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import inf
from typing import Final, Generic, TypeVar

from attrs import define, field, frozen

from .window import UNBOUNDED

P = TypeVar("P")

BULK_SHARE: Final = 9  # interactive permits in a row after which bulk has its turn
FEW: Final = 64  # waiters that have gone and may stay in a queue


class Lane(StrEnum):
    """Interactive calls take priority over bulk ones."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


INTERACTIVE, BULK = Lane  # for what every request passes: asking the class takes fifty times as long on Python 3.11


@frozen
class WaitEvent:
    """A call got its permit after waiting longer than the threshold; `seconds` from asking to getting."""

    route: str
    lane: Lane
    seconds: float


@define(eq=False)
class Waiter(Generic[P]):
    """One call that waits; `number` is its place in the order of arrival.

    `questions` counts the questions that the store had been asked before the call came, `timer` ends its wait.
    """

    number: int
    lane: Lane
    route: str
    since: float
    future: asyncio.Future[P]
    max_wait: float | None = None
    questions: int = 0
    timer: asyncio.TimerHandle | None = None
    is_waiting: bool = True

    def __lt__(self, other: "Waiter[P]") -> bool:
        return self.number < other.number

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def fail_all(waiters: list[Waiter[P]], error: BaseException) -> None:
    for waiter in waiters:
        waiter.fail(error)


@define(eq=False)
class Queue(Generic[P]):
    """The waiters of one lane. Adding, removing and finding the first take no longer for more waiters or routes.

    Who has left stays in a heap until it comes up, or until most of the heap has left. A waiter that comes up while
    its route is closed moves to the heap of that route in `_closed`.
    """

    size: int = 0
    by_route: Counter[str] = field(factory=Counter[str])
    _heap: list[Waiter[P]] = field(factory=list[Waiter[P]])
    _closed: dict[str, list[Waiter[P]]] = field(factory=dict[str, list[Waiter[P]]])
    _gone: int = 0

    def add(self, waiter: Waiter[P]) -> None:
        heapq.heappush(self._heap, waiter)
        self.by_route[waiter.route] += 1
        self.size += 1

    def remove(self, waiter: Waiter[P]) -> None:
        """Take it out, wherever it stands; nothing happens if it is not there."""
        if not waiter.is_waiting:
            return
        waiter.is_waiting = False
        self.size -= 1
        self.by_route[waiter.route] -= 1
        if not self.by_route[waiter.route]:
            del self.by_route[waiter.route]
        self._gone += 1
        if self._gone > self.size + FEW or not self.size:
            self._compact()

    def first(self, is_open: Callable[[str], bool]) -> Waiter[P] | None:
        """Return the one that waits longest among those whose route is open."""
        first = _head(self._heap)
        while first and not is_open(first.route):
            heapq.heappush(self._closed.setdefault(first.route, []), heapq.heappop(self._heap))
            first = _head(self._heap)
        for route in list(self._closed):
            head = _head(self._closed[route])
            if head is None:
                del self._closed[route]
            elif (first is None or head < first) and is_open(route):
                first = head
        return first

    def count(self, restricted: Iterable[str], room: Callable[[str], int], before: float = inf) -> int:
        """Return how many wait with a number below `before`; of a restricted route, as many as it has room for."""
        waiting: Mapping[str, int] = self.by_route
        total = self.size
        if before < inf:
            waiting = Counter(waiter.route for heap in self._heaps() for waiter in _below(heap, before))
            total = sum(waiting.values())
        return total - sum(max(0, waiting[route] - room(route)) for route in restricted if route in waiting)

    def drain(self) -> list[Waiter[P]]:
        """Return everyone who waits, taken out."""
        waiters = [waiter for heap in self._heaps() for waiter in heap if waiter.is_waiting]
        for waiter in waiters:
            waiter.is_waiting = False
        self.size = 0
        self.by_route.clear()
        self._compact()
        return waiters

    def _heaps(self) -> list[list[Waiter[P]]]:
        return [self._heap, *self._closed.values()]

    def _compact(self) -> None:
        self._heap = [waiter for heap in self._heaps() for waiter in heap if waiter.is_waiting] if self.size else []
        self._closed, self._gone = {}, 0
        heapq.heapify(self._heap)


def _head(heap: list[Waiter[P]]) -> Waiter[P] | None:
    while heap and not heap[0].is_waiting:
        heapq.heappop(heap)
    return heap[0] if heap else None


def _below(heap: list[Waiter[P]], number: float) -> list[Waiter[P]]:
    """Return those with a lower number, by a walk that looks at few others."""
    _head(heap)
    below, looking = list[Waiter[P]](), [0]
    while looking:
        place = looking.pop()
        if place < len(heap) and heap[place].number < number:
            looking += [2 * place + 1, 2 * place + 2]
            if heap[place].is_waiting:
                below.append(heap[place])
    return below


@define(eq=False)
class Lanes(Generic[P]):
    """Everyone who waits. `since_bulk` counts the interactive permits in a row."""

    interactive: Queue[P] = field(factory=Queue[P])
    bulk: Queue[P] = field(factory=Queue[P])
    since_bulk: int = 0

    def of(self, lane: Lane) -> Queue[P]:
        return self.interactive if lane is INTERACTIVE else self.bulk

    def next(self, is_free: Callable[[Lane, bool], bool], is_open: Callable[[str], bool]) -> Waiter[P] | None:
        """Return who goes now, still queued; `is_free` is asked for a lane, and whether bulk is due."""
        is_due = self.since_bulk >= BULK_SHARE and self.bulk.size > 0
        for lane in (BULK, INTERACTIVE) if is_due else (INTERACTIVE, BULK):
            queue = self.of(lane)
            waiter = queue.first(is_open) if queue.size and is_free(lane, is_due) else None
            if waiter:
                return waiter
        return None

    def ahead(
        self,
        lane: Lane,
        route: str | None,
        restricted: Iterable[str],
        room: Callable[[str], int],
        *,
        before: float = inf,
    ) -> int:
        """Return how many permits are granted before a call's, at least.

        The call is one more, or the one whose number is `before`. Who waits for another route that is closed is not
        ahead.
        """

        def place(name: str) -> int:
            return UNBOUNDED if name == route else room(name)

        interactive = self.interactive.count(restricted, place, before if lane is INTERACTIVE else inf)
        if lane is INTERACTIVE:
            return interactive
        bulk = self.bulk.count(restricted, place, before)
        return bulk + max(0, min(interactive, BULK_SHARE * (bulk + 1) - self.since_bulk))

    def routes(self) -> set[str]:
        """Return the routes that somebody waits for."""
        return {*self.interactive.by_route, *self.bulk.by_route}

    def drain(self) -> list[Waiter[P]]:
        """Return everyone, taken out."""
        return [*self.interactive.drain(), *self.bulk.drain()]
