import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from attrs import define, field

from .backlog import Backlog
from .parse import WebhookNotice


@define(eq=False)
class Reader:
    """One iteration over the notices: the task that drives it, and whether it is over."""

    task: asyncio.Task[object] | None = None
    ended: asyncio.Event = field(factory=asyncio.Event)


@define(eq=False)
class Readers:
    """Iterations that share the notices of the backlog: each notice goes to one of them."""

    backlog: Backlog
    # The rest of the batch taken last, for whichever reader is next.
    _unread: deque[WebhookNotice] = field(init=False, factory=deque[WebhookNotice])
    _active: list[Reader] = field(init=False, factory=list[Reader])
    # One waits for the backlog, the others for their turn: nobody waits there while notices lie here unread.
    _turn: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    def start(self) -> None:
        """Nothing to start: the readers come by themselves."""

    async def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        reader = Reader()
        self._active.append(reader)
        try:
            while (notice := await self._next(reader)) is not None:
                yield notice
        finally:
            self._active.remove(reader)
            reader.ended.set()

    async def finish(self, seconds: float) -> None:
        """Waits up to `seconds` for the readers to come to the end; what they leave can still be read."""
        # The task that closes cannot read on before this returns.
        readers = [reader for reader in self._active if reader.task is not asyncio.current_task()]
        try:
            async with asyncio.timeout(seconds):
                for reader in readers:
                    await reader.ended.wait()
        except TimeoutError:
            return

    async def _next(self, reader: Reader) -> WebhookNotice | None:
        reader.task = asyncio.current_task()
        async with self._turn:
            while not self._unread:
                batch = await self.backlog.take()
                if batch is None:
                    return None
                self._unread.extend(batch.notices)
            return self._unread.popleft()
