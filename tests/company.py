"""Several processes that share a store, on a clock that jumps; each limiter stands for one process."""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeVar

from attrs import define, field

from lofty_async.ratelimit import Lane, MemoryStore, Store
from lofty_async.ratelimit.ledger import Ledger
from lofty_async.ratelimit.shared import SharedLimit
from tests.virtual import Caller, LoftyWindow, limiter, now, together

R = TypeVar("R")


class Nearby(MemoryStore):
    """A store half a millisecond away, which can be broken in several ways."""

    def __init__(self) -> None:
        super().__init__(clock=now)
        self.broken: BaseException | None = None
        self.delay = 0.0005
        self.changes = 0
        self.closed = False

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        await asyncio.sleep(self.delay)
        if self.broken:
            raise self.broken
        self.changes += 1
        result = await super().change(step)
        await asyncio.sleep(self.delay)
        return result

    async def close(self) -> None:
        self.closed = True
        if self.broken:
            raise self.broken

    def lose_everything(self) -> None:
        self._ledger = Ledger("another")

    @property
    def ledger(self) -> Ledger:
        return self._ledger


@define
class Company:
    """Some processes at one server, with a store between them."""

    server: LoftyWindow = field(factory=LoftyWindow)
    store: Nearby = field(factory=Nearby)
    callers: list[Caller] = field(factory=list[Caller])

    def join(self, lane: Lane = Lane.INTERACTIVE, **options: Any) -> Caller:
        made = limiter(store=self.store, **options)
        caller = Caller(made, self.server, Random(len(self.callers)), lane=lane)
        self.callers.append(caller)
        return caller

    async def share_out(self, calls: int, *, at_once: int = 50) -> None:
        """All of them busy with one heap of work."""
        left = iter(range(calls))

        async def work(caller: Caller) -> None:
            for _ in left:
                await caller.call()

        await together(*(work(caller) for caller in self.callers for _ in range(at_once)))

    async def close(self) -> None:
        for caller in self.callers:
            await caller.limiter.close()

    @property
    def refused(self) -> int:
        return sum(caller.refused for caller in self.callers)


def budget(caller: Caller) -> SharedLimit:
    shared = caller.limiter._shared
    assert isinstance(shared, SharedLimit)
    return shared


async def spend_beside(server: LoftyWindow, per_window: int, seconds: float) -> None:
    """Another client, which spends at the beginning of each window."""
    while True:
        for _ in range(per_window):
            await asyncio.sleep(seconds / per_window)
            server.handle(now())
        await asyncio.sleep(server.length - (now() + server.phase) % server.length + 0.001)


async def share_out(stores: Iterable[Store], lane: Lane, calls: int) -> tuple[LoftyWindow, float]:
    """Processes, each with one of these stores, make so many calls together; return their server and the seconds."""
    server = LoftyWindow(style="epoch_ms")
    callers = [Caller(limiter(store=store), server, Random(number), lane=lane) for number, store in enumerate(stores)]
    left = iter(range(calls))

    async def work(caller: Caller) -> None:
        for _ in left:
            await caller.call()

    await together(*(work(caller) for caller in callers for _ in range(25)))
    seconds = now()
    for caller in callers:
        await caller.limiter.close()
    return server, seconds
