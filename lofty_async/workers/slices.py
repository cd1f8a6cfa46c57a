"""Time slices: a sync that lasts long gives its place to an account that waits for one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from attrs import frozen

from .stopping import cancelled


class PlaceGivenError(Exception):
    """A sync has given its place to an account that waits; it goes on after those that have had fewer places."""


@frozen
class TimeSlice:
    """Lets a sync that has lasted some seconds go on until `is_place_awaited` by an account, given its priority."""

    seconds: float
    is_place_awaited: Callable[[int], Awaitable[bool]]

    async def use(self, priority: int, sync: Coroutine[Any, Any, None]) -> None:
        """Raises: PlaceGivenError if it was interrupted for the other account."""
        syncing, watching = asyncio.create_task(sync), asyncio.create_task(self._end(priority))
        try:
            await asyncio.wait({syncing, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_done = syncing.done()
            await cancelled(syncing, watching)
        if not is_done and syncing.cancelled():
            raise PlaceGivenError
        await syncing

    async def _end(self, priority: int) -> None:
        while True:
            await asyncio.sleep(self.seconds)
            with suppress(Exception):  # of the database, which the sync itself will miss
                if await self.is_place_awaited(priority):
                    return
