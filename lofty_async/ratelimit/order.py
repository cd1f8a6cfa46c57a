"""Whose turn it is: interactive calls before bulk ones, each tenth turn bulk's; and who gives up meanwhile."""

from collections.abc import Callable
from math import inf
from typing import Final, Generic, TypeVar

from attrs import define, field

from .lanes import BULK, BULK_SHARE, INTERACTIVE, Deadlines, Lane, Queue, Waiter
from .window import UNBOUNDED

Permit = TypeVar("Permit")

BOTH: Final = (INTERACTIVE, BULK)


@define(eq=False)
class Order(Generic[Permit]):
    """Everyone who waits. `since_bulk` counts the interactive permits in a row."""

    interactive: Queue[Permit] = field(factory=Queue[Permit])
    bulk: Queue[Permit] = field(factory=Queue[Permit])
    deadlines: Deadlines[Permit] = field(factory=Deadlines[Permit])
    since_bulk: int = 0

    def __len__(self) -> int:
        return self.interactive.size + self.bulk.size

    def of(self, lane: Lane) -> Queue[Permit]:
        return self.interactive if lane is INTERACTIVE else self.bulk

    def add(self, waiter: Waiter[Permit]) -> None:
        self.of(waiter.lane).add(waiter)
        self.deadlines.add(waiter)

    def remove(self, waiter: Waiter[Permit]) -> None:
        """Take it out; nothing happens if it is not there."""
        self.of(waiter.lane).remove(waiter)
        self.deadlines.remove(waiter)

    def next(self, is_free: Callable[[Lane, bool], bool], is_open: Callable[[str], bool]) -> Waiter[Permit] | None:
        """Who goes now, still in the queue; `is_free` is asked for a lane, and whether bulk is due."""
        is_due = self.since_bulk >= BULK_SHARE and self.bulk.size > 0
        for lane in (BULK, INTERACTIVE) if is_due else BOTH:
            queue = self.of(lane)
            waiter = queue.first(is_open) if queue.size and is_free(lane, is_due) else None
            if waiter:
                return waiter
        return None

    def ahead(self, lane: Lane, route: str | None, room: Callable[[str], int], *, before: float = inf) -> int:
        """How many go before a call, at least: who waits for a closed route is no hindrance to the others.

        The call is one more, or the one whose number is `before`.
        """

        def place(name: str) -> int:
            return UNBOUNDED if name == route else room(name)

        interactive = self.interactive.count(place, before if lane is INTERACTIVE else inf)
        if lane is INTERACTIVE:
            return interactive
        bulk = self.bulk.count(place, before)
        return bulk + max(0, min(interactive, BULK_SHARE * (bulk + 1) - self.since_bulk))

    def routes(self) -> list[str]:
        """Those that somebody waits for, per lane."""
        return [*self.interactive.routes(), *self.bulk.routes()]

    def late(self, now: float, is_excused: Callable[[Waiter[Permit]], bool]) -> list[Waiter[Permit]]:
        """Those whose time is over and who have no excuse, taken out."""
        late = self.deadlines.due(now, is_excused)
        for waiter in late:
            self.of(waiter.lane).remove(waiter)
        return late

    def drain(self) -> list[Waiter[Permit]]:
        """Everyone, taken out."""
        self.deadlines.drain()
        return [*self.interactive.drain(), *self.bulk.drain()]
