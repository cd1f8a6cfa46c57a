"""Time slices: a sync that lasts long gives its place to an account that waits for one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from .stopping import cancelled


class PlaceGivenError(Exception):
    """A sync has given its place to an account that waits; it goes on after those that have had fewer places."""


async def in_slices(
    sync: Coroutine[Any, Any, None], seconds: float, is_place_awaited: Callable[[], Awaitable[bool]]
) -> None:
    """Awaits the sync, and interrupts it if its place is awaited after one of its slices of so many seconds.

    Raises: PlaceGivenError if it was interrupted.
    """
    syncing, watching = asyncio.create_task(sync), asyncio.create_task(_until_awaited(seconds, is_place_awaited))
    try:
        await asyncio.wait({syncing, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_done = syncing.done()
        await cancelled(syncing, watching, may_lose_it=True)
    if not is_done and syncing.cancelled():
        raise PlaceGivenError
    await syncing


async def _until_awaited(seconds: float, is_place_awaited: Callable[[], Awaitable[bool]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        with suppress(Exception):  # of the database, which the sync itself will miss
            if await is_place_awaited():
                return
