"""Iterations over the notices, and who has which of them in hand."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from contextvars import ContextVar
from typing import Protocol

from attrs import define, field

from .backlog import Backlog
from .parse import WebhookNotice

logger = logging.getLogger(__name__)


@define(eq=False)
class Reader:
    """A consumer of notices: the task that drove it last, and the deliveries that it has not handled yet."""

    task: asyncio.Task[object] | None = None
    in_hand: set[object] = field(factory=set[object])


@define(eq=False)
class OpenBatch:
    """The number of notices of one batch that are unread or held."""

    waiting: int


class Holder(Protocol):
    """Keeps account of the deliveries that readers have in hand."""

    def hold(self, delivery: "Delivery", reader: Reader) -> None: ...

    def settle(self, delivery: "Delivery") -> None: ...

    def give_back(self, delivery: "Delivery") -> None: ...


@define(eq=False)
class Delivery:
    """A notice on its way from the backlog to the consumer that handles it.

    It is handled once the iteration that yielded it is asked for the next one. A reader that looks ahead calls
    `hold` first, and later `settle` or `give_back`.
    """

    notice: WebhookNotice
    batch: OpenBatch
    readers: Holder
    reader: Reader | None = field(init=False, default=None)

    def hold(self, reader: Reader) -> None:
        self.readers.hold(self, reader)

    def settle(self) -> None:
        """The notice is handled, or a later one stands for it."""
        self.readers.settle(self)

    def give_back(self) -> None:
        """The notice is the next to be read."""
        self.readers.give_back(self)


# A context variable, since a wrapper such as a filter hides the iteration but runs in the same context.
_latest: ContextVar[Delivery | None] = ContextVar("latest_delivery", default=None)


def latest_delivery() -> Delivery | None:
    """Returns the delivery that the running task received last, and forgets it."""
    delivery = _latest.get()
    _latest.set(None)
    return delivery


@define(eq=False)
class Readers:
    """Iterations that share the notices of the backlog: each notice goes to one of them."""

    backlog: Backlog
    failed: int = field(init=False, default=0)  # never: what a reader raises is its own
    unhandled: int = field(init=False, default=0)
    # The rest of the batch taken last and what was given back, for whichever reader is next.
    _unread: deque[Delivery] = field(init=False, factory=deque[Delivery])
    _active: set[Reader] = field(init=False, factory=set[Reader])
    _holding: set[Reader] = field(init=False, factory=set[Reader])
    _progress: asyncio.Event = field(init=False, factory=asyncio.Event)

    def start(self) -> None:
        """Nothing to start: the readers come by themselves."""

    async def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        reader = Reader()
        self._active.add(reader)
        try:
            while (delivery := await self._next(reader)) is not None:
                _latest.set(delivery)
                yield delivery.notice
        finally:
            self._active.discard(reader)
            self._progress.set()

    async def finish(self, seconds: float) -> None:
        """Waits up to `seconds` for the readers to come to the end, and warns of the notices that are left.

        They can still be read.
        """
        # The task that closes cannot read on before this returns.
        closing = asyncio.current_task()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while any(reader.task is not closing for reader in self._at_work()):
                        self._progress.clear()
                        await self._progress.wait()
        finally:
            self.unhandled = self._count_unhandled(closing)
            if self.unhandled:
                logger.warning("Closed with %d notices unhandled", self.unhandled)

    def hold(self, delivery: Delivery, reader: Reader) -> None:
        if delivery.reader is not None:
            delivery.reader.in_hand.discard(delivery)
        delivery.reader = reader
        reader.in_hand.add(delivery)
        self._holding.add(reader)
        self._count(delivery.batch, 1)

    def settle(self, delivery: Delivery) -> None:
        self._count(delivery.batch, -1)
        self._take_from_hand(delivery)

    def give_back(self, delivery: Delivery) -> None:
        self._unread.appendleft(delivery)
        self._take_from_hand(delivery)
        self.backlog.wake()

    def _take_from_hand(self, delivery: Delivery) -> None:
        reader, delivery.reader = delivery.reader, None
        if reader is not None:
            reader.in_hand.discard(delivery)
            if not reader.in_hand:
                self._holding.discard(reader)
                self._progress.set()

    def _count_unhandled(self, closing: asyncio.Task[object] | None) -> int:
        # The task that closes has done with one, or does so when this has returned.
        in_hand = sum(max(0, len(reader.in_hand) - (reader.task is closing)) for reader in self._at_work())
        return self.backlog.notices + len(self._unread) + in_hand

    def _at_work(self) -> set[Reader]:
        return self._active | self._holding

    def _count(self, batch: OpenBatch, change: int) -> None:
        waited = batch.waiting > 0
        batch.waiting += change
        self.backlog.held += (batch.waiting > 0) - waited

    async def _next(self, reader: Reader) -> Delivery | None:
        reader.task = asyncio.current_task()
        reader.in_hand.clear()
        while not self._unread:
            if (taken := self.backlog.pop()) is not None:
                batch = OpenBatch(0)
                self._count(batch, len(taken.notices))
                self._unread.extend(Delivery(notice, batch, self) for notice in taken.notices)
            elif self.backlog.is_closed:
                return None
            else:
                await self.backlog.wait()
        delivery = self._unread.popleft()
        self._count(delivery.batch, -1)
        delivery.reader = reader
        reader.in_hand.add(delivery)
        return delivery
