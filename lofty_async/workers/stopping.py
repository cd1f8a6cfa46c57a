"""Ends work at the first SIGTERM or SIGINT; the second ends the process, and so does work that does not end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from attrs import define, field

Handler: TypeAlias = Callable[..., Any] | int | None

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STOP_SECONDS: Final = 9.0
"""Then the process ends as by a second signal: a database that does not answer lets no write end."""
CANCEL_AGAIN: Final = 1.0
"""Seconds until a task that may have lost its cancellation is cancelled again."""


async def until_signal(work: Awaitable[None]) -> None:
    """Awaits the work, and cancels it at the first signal, unless the program has a handler of its own for it."""
    with _stop_signals() as stopping:
        working, waiting = asyncio.ensure_future(work), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(working, waiting)
    if not working.cancelled():
        await working


async def cancelled(*tasks: asyncio.Future[Any], may_lose_it: bool = False) -> None:
    """Cancels tasks and waits for their ends, also if it is cancelled itself, which it passes on to them.

    Tasks that use psycopg may lose a cancellation: on Python 3.11, `asyncio.wait_for` drops one that comes together
    with what it waits for. With `may_lose_it` they are cancelled again until they end.

    Their errors are not raised; the caller asks the tasks for them.
    """
    again: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while under_way := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(under_way, timeout=CANCEL_AGAIN if may_lose_it else None)
        except asyncio.CancelledError as error:
            again = error
        for task in under_way:
            task.cancel()
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asyncio logs one that nobody has asked for
    if again is not None:
        raise again


@contextmanager
def _stop_signals() -> Generator[asyncio.Event, None, None]:
    """Yields an event that the first signal sets, as it does those of the loop's other workers."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    handlers = _handlers.setdefault(loop, SignalHandlers())
    handlers.add(stopping, loop)
    try:
        yield stopping
    finally:
        handlers.remove(stopping, loop)


@define(eq=False)
class SignalHandlers:
    """The handlers of a loop while it has workers, and those that were there before and come back after them."""

    workers: set[asyncio.Event] = field(factory=set[asyncio.Event], init=False)
    replaced: dict[signal.Signals, Handler] = field(factory=dict[signal.Signals, Handler], init=False)
    timers: list[asyncio.TimerHandle] = field(factory=list[asyncio.TimerHandle], init=False)

    def add(self, worker: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        if not self.workers:
            self._install(loop)
        self.workers.add(worker)

    def remove(self, worker: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self.workers.discard(worker)
        if self.workers:
            return
        while self.timers:
            self.timers.pop().cancel()
        while self.replaced:
            number, before = self.replaced.popitem()
            loop.remove_signal_handler(number)
            signal.signal(number, before)

    def _install(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in STOP_SIGNALS:
            before = signal.getsignal(number)
            if not _is_default(before):
                continue
            # Windows has no handlers, and other threads may set none: the caller stops the work by cancelling it.
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._stop, number, loop)
                self.replaced[number] = before

    def _stop(self, received: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        for worker in self.workers:
            worker.set()
        self.timers.append(loop.call_later(STOP_SECONDS, os.kill, os.getpid(), received))
        for number in self.replaced:
            loop.remove_signal_handler(number)
            # Not Python's own handler, after which `asyncio.run` would wait for what is under way.
            signal.signal(number, signal.SIG_DFL)


_handlers: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, SignalHandlers]()


def _is_default(handler: Handler) -> bool:
    """Whether it is of Python or `asyncio.run`, and not the program's own."""
    if handler in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler):
        return True
    owner = getattr(getattr(handler, "func", None), "__self__", None)
    return isinstance(owner, asyncio.Runner)
