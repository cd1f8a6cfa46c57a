"""Who waits, and in which order: first come first served in a lane, whatever their routes are held up by."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection
from enum import StrEnum
from itertools import takewhile
from math import inf
from typing import Final, Generic, TypeVar

from attrs import define, field

Permit = TypeVar("Permit")


BULK_SHARE: Final = 9  # interactive permits in a row after which bulk has its turn


class Lane(StrEnum):
    """Interactive calls go before bulk ones."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


INTERACTIVE, BULK = Lane  # for what every request passes: asking the class takes fifty times as long on Python 3.11


@define(eq=False)
class Waiter(Generic[Permit]):
    """One call that waits for its turn; `number` is its place in the order of arrival.

    A shared budget had asked its store `questions` times before it came.
    """

    number: int
    lane: Lane
    route: str
    since: float
    future: asyncio.Future[Permit]
    max_wait: float | None = None
    questions: int = 0

    @property
    def deadline(self) -> float:
        return inf if self.max_wait is None else self.since + self.max_wait

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def fail_all(waiters: list[Waiter[Permit]], error: BaseException) -> None:
    for waiter in waiters:
        waiter.fail(error)


@define(eq=False)
class Queue(Generic[Permit]):
    """The waiters of one lane, by route: adding, removing and finding the first take no longer for more waiters."""

    _routes: dict[str, OrderedDict[int, Waiter[Permit]]] = field(factory=dict[str, OrderedDict[int, Waiter[Permit]]])
    size: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self.size

    def add(self, waiter: Waiter[Permit]) -> None:
        """Queue it behind the others, or where its number says that it was before."""
        route = self._routes.setdefault(waiter.route, OrderedDict())
        returns = bool(route) and waiter.number < next(reversed(route))
        # Only others that returned can be before it, and those are few.
        before = list(takewhile(lambda number: number < waiter.number, route)) if returns else []
        route[waiter.number] = waiter
        self.size += 1
        for number in [waiter.number, *reversed(before)] if returns else []:
            route.move_to_end(number, last=False)

    def remove(self, waiter: Waiter[Permit]) -> None:
        """Take it out, wherever it stands; nothing happens if it is not there."""
        route = self._routes.get(waiter.route)
        if route and route.get(waiter.number) is waiter:
            del route[waiter.number]
            self.size -= 1
            if not route:
                del self._routes[waiter.route]

    def first(self, is_open: Callable[[str], bool]) -> Waiter[Permit] | None:
        """The one that waits longest among those whose route is open."""
        heads = [next(iter(route.values())) for name, route in self._routes.items() if is_open(name)]
        return min(heads, key=lambda waiter: waiter.number, default=None)

    def count(self, room: Callable[[str], int], before: float = inf) -> int:
        """How many with a number below `before` wait, of each route no more than it has room for."""
        return sum(min(_below(before, waiters), room(name)) for name, waiters in self._routes.items())

    def routes(self) -> list[str]:
        return list(self._routes)

    def drain(self) -> list[Waiter[Permit]]:
        """Everyone who waits, taken out."""
        waiters = [waiter for route in self._routes.values() for waiter in route.values()]
        self._routes, self.size = {}, 0
        return waiters


def _below(number: float, waiters: Collection[int]) -> int:
    return len(waiters) if number == inf else sum(1 for _ in takewhile(lambda other: other < number, waiters))


@define(eq=False)
class Deadlines(Generic[Permit]):
    """When those whose patience is bounded give up; who left is dropped before half of the heap is of such.

    Who is `excused` is late, and gives up only when there is no excuse any more.
    """

    _heap: list[tuple[float, int]] = field(factory=list[tuple[float, int]])
    _waiters: dict[int, Waiter[Permit]] = field(factory=dict[int, Waiter[Permit]])
    _excused: list[Waiter[Permit]] = field(factory=list[Waiter[Permit]])

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Waiter[Permit]) -> None:
        if waiter.max_wait is not None:
            self._waiters[waiter.number] = waiter
            heapq.heappush(self._heap, (waiter.deadline, waiter.number))

    def remove(self, waiter: Waiter[Permit]) -> None:
        if self._excused:
            self._excused = [other for other in self._excused if other is not waiter]
        if self._waiters.get(waiter.number) is waiter:
            del self._waiters[waiter.number]
            if len(self._heap) >= 2 * len(self._waiters):
                self._heap = [(waiter.deadline, number) for number, waiter in self._waiters.items()]
                heapq.heapify(self._heap)

    def next(self) -> float:
        """When the next one gives up; `inf` if nobody does."""
        while self._heap and not self._is_valid(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else inf

    def due(self, now: float, is_excused: Callable[[Waiter[Permit]], bool]) -> list[Waiter[Permit]]:
        """Those whose time is over and who have no excuse, taken out."""
        late, due = self._excused, list[Waiter[Permit]]()
        while self.next() <= now:
            late.append(self._waiters.pop(heapq.heappop(self._heap)[1]))
        self._excused = []
        for waiter in late:
            (self._excused if is_excused(waiter) else due).append(waiter)
        return due

    def drain(self) -> None:
        self._heap, self._waiters, self._excused = [], {}, []

    def _is_valid(self, deadline: float, number: int) -> bool:
        waiter = self._waiters.get(number)
        return waiter is not None and waiter.deadline == deadline
