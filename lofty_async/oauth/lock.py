"""Turns that processes of one machine take."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from lofty_async._locks import try_lock_if_possible

PAUSE: Final = 0.05
LOOKS: Final = 1200
"""A minute of them: longer than a request for a token may take, so that whoever holds on has stopped."""

Sleep = Callable[[float], Awaitable[object]]


@asynccontextmanager
async def turn(path: Path, *, create: bool = True, sleep: Sleep = asyncio.sleep) -> AsyncGenerator[None, None]:
    """Keeps every other process that takes turns by this file waiting; the end of a process ends its turn.

    Nobody waits for ever: after a minute, as without locks in the file system or the platform, the turn is taken
    beside another one.

    Raises: OSError where the file cannot be opened for writing, or made where `create` is set.
    """
    file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        await _wait_for(file, sleep)
        yield
    finally:
        # The lock goes with the file, which stays: one that was removed would keep nobody waiting.
        os.close(file)


async def _wait_for(file: int, sleep: Sleep) -> None:
    for _ in range(LOOKS):
        if try_lock_if_possible(file):
            return
        await sleep(PAUSE)
