import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOST_WAITING: Final = 500
"""Leads that may wait to be written before reading has to wait too."""


class WriteBehind(Generic[T]):
    """Writes while the next answers arrive: what came during one write goes into the next as one batch.

    So a slow run keeps every lead at once, and a fast one writes few, large batches.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]], *, most_waiting: int = MOST_WAITING) -> None:
        self._write = write
        self._most_waiting = most_waiting
        self._waiting: list[T] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, lead: T) -> None:
        """Takes one lead; waits only where writing falls behind.

        Raises: whatever an earlier write raised.
        """
        self._waiting.append(lead)
        if self._writing is not None and (self._writing.done() or len(self._waiting) >= self._most_waiting):
            await self._settle(self._writing)
        if self._writing is None:
            self._writing = asyncio.create_task(self._drain())

    async def flush(self) -> None:
        """Waits until all is written.

        Raises: whatever a write raised.
        """
        if self._writing is not None:
            await self._settle(self._writing)

    async def _settle(self, writing: asyncio.Task[None]) -> None:
        # A cancelled caller must not take the write with it: `flush` still waits for its end.
        await asyncio.shield(writing)
        self._writing = None

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._write(batch)
