import asyncio
from collections import deque

from attrs import define, field

from .parse import WebhookBatch


@define(eq=False)
class Backlog:
    """At most `size` batches, answered and not yet handled; closed, it gives out what it has, then ends.

    `held` counts batches that were taken and still wait, `notices` the notices of those that were not taken.
    """

    size: int
    held: int = field(init=False, default=0)
    notices: int = field(init=False, default=0)
    is_closed: bool = field(init=False, default=False)
    _batches: deque[WebhookBatch] = field(init=False, factory=deque[WebhookBatch])
    _news: asyncio.Event = field(init=False, factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._batches) + self.held

    @property
    def is_full(self) -> bool:
        return len(self) >= self.size

    def offer(self, batch: WebhookBatch) -> bool:
        """Keeps the batch, unless the backlog is full or closed."""
        if self.is_closed or self.is_full:
            return False
        self._batches.append(batch)
        self.notices += len(batch.notices)
        self.wake()
        return True

    def pop(self) -> WebhookBatch | None:
        """The oldest batch, or `None` if there is none now."""
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self.notices -= len(batch.notices)
        return batch

    async def take(self) -> WebhookBatch | None:
        """The oldest batch, waiting for one; `None` when the backlog is closed and empty."""
        while (batch := self.pop()) is None and not self.is_closed:
            await self.wait()
        return batch

    def wake(self) -> None:
        """Has all that wait look again."""
        self._news.set()

    async def wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def close(self) -> None:
        self.is_closed = True
        self.wake()
