"""Ends work at the first SIGTERM or SIGINT; the second ends the process, and so does work that does not end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Generator
from contextlib import contextmanager, suppress
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STOP_SECONDS: Final = 9.0
"""Then the process ends as by a second signal: a database that does not answer lets no write end."""


async def until_signal(work: Awaitable[None]) -> None:
    """Awaits the work, and cancels it at the first signal."""
    with _stop_signals() as stopping:
        working, waiting = asyncio.ensure_future(work), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, waiting):
                task.cancel()
            await asyncio.wait({working, waiting})
    if not working.cancelled():
        await working


@contextmanager
def _stop_signals() -> Generator[asyncio.Event, None, None]:
    """Yields an event that the first signal sets."""
    loop, stopping, handled = asyncio.get_running_loop(), asyncio.Event(), list[signal.Signals]()
    timers: list[asyncio.TimerHandle] = []

    def stop(received: signal.Signals) -> None:
        stopping.set()
        timers.append(loop.call_later(STOP_SECONDS, os.kill, os.getpid(), received))
        for number in handled:
            loop.remove_signal_handler(number)
            # Not Python's own handler, after which `asyncio.run` would wait for what is under way.
            signal.signal(number, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        # Windows has no handlers, and other threads may set none: the caller stops the work by cancelling it.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop, number)
            handled.append(number)
    try:
        yield stopping
    finally:
        for timer in timers:
            timer.cancel()
        for number in handled:
            loop.remove_signal_handler(number)
        if signal.SIGINT in handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
