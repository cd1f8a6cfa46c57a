import asyncio

from attrs import define, field

from .parse import WebhookBatch


def _queue() -> asyncio.Queue[WebhookBatch | None]:
    # Without a bound of its own: the end must fit in even when the backlog is full.
    return asyncio.Queue()


@define(eq=False)
class Backlog:
    """At most `size` batches, answered and not yet taken; closed, it gives out what it has, then ends."""

    size: int
    _batches: asyncio.Queue[WebhookBatch | None] = field(init=False, factory=_queue)
    _closed: bool = field(init=False, default=False)

    def __len__(self) -> int:
        return self._batches.qsize() - self._closed

    @property
    def is_open(self) -> bool:
        return not self._closed and len(self) < self.size

    def offer(self, batch: WebhookBatch) -> bool:
        """Keeps the batch, unless the backlog is full or closed."""
        if not self.is_open:
            return False
        self._batches.put_nowait(batch)
        return True

    async def take(self) -> WebhookBatch | None:
        """The oldest batch, waiting for one; `None` when the backlog is closed and empty."""
        batch = await self._batches.get()
        if batch is None:
            # Left for the other takers, which end by it too.
            self._batches.put_nowait(None)
        return batch

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._batches.put_nowait(None)
