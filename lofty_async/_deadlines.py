"""Deadlines that end nothing whose answer arrived while the event loop stood still.

A loop that stood still, in a program that computes or a container that was frozen, runs its timers before its tasks
receive what is in their sockets.

The calls of a client share one timer: a timer or a task for each would cost more than their state.
"""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from enum import Enum
from math import inf
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import define, field

ANSWER_TURNS: Final = 3  # of the event loop, in which a task takes what has arrived
DEADLINE_TOLERANCE: Final = 0.05  # seconds by which a deadline may be exceeded, so that one timer serves many


@asynccontextmanager
async def lenient_timeout(seconds: float | None) -> AsyncGenerator[None, None]:
    """Cancel what is under way after so many seconds, as `asyncio.timeout` does; `None` is no bound.

    A timer that is late is set once more: while the loop stood still, nothing could be sent or taken.

    Raises: TimeoutError.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def expire(bound: float, due: float) -> None:
        nonlocal timer
        if loop.time() > due + DEADLINE_TOLERANCE:
            timer = loop.call_later(bound, expire, bound, inf)
        else:
            scope.reschedule(loop.time())

    async with asyncio.timeout(None) as scope:
        if seconds is not None:
            timer = loop.call_later(seconds, expire, seconds, loop.time() + seconds)
        try:
            yield
        finally:
            if timer:
                timer.cancel()


class EndReason(Enum):
    """Why a call was cancelled from here."""

    DEADLINE = "deadline"
    CLOSED = "closed"


class Timed(Protocol):
    """A call as the timer sees it: its deadline in the loop's time, and the reason if it was ended."""

    deadline: float
    ended_by: EndReason | None

    def end(self, reason: EndReason, task: asyncio.Task[Any]) -> None: ...


CallT = TypeVar("CallT", bound=Timed)


@define(eq=False, repr=False)
class DeadlineTimer(Generic[CallT]):
    """Ends the `calls` under way, each in its task, at their deadlines, in the event loop that owns the timer.

    Deadlines from `covers_from` on, in the time of its `loop`, need no earlier timer than the one that is set. That one
    outlives a call that ends early, and stops once it finds no deadline left.
    """

    calls: MutableMapping[CallT, asyncio.Task[Any]]
    loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    covers_from: float = field(default=inf, init=False)
    _handle: asyncio.Handle | None = field(default=None, init=False)

    def set(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Look at the calls once this deadline of one of them has passed."""
        if loop is self.loop:
            self.stop()  # the timer of another loop stays, for the calls that loop may still have
        self.loop, self.covers_from = loop, deadline - DEADLINE_TOLERANCE / 2
        self._handle = loop.call_at(deadline + DEADLINE_TOLERANCE / 2, self._wait, loop, ANSWER_TURNS)

    def stop(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._handle, self.covers_from = None, inf

    def _wait(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """Look at the calls after so many turns."""
        if not turns:
            self._look(loop)
            return
        handle = loop.call_soon(self._wait, loop, turns - 1)
        if loop is self.loop:
            self._handle = handle

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the calls that are overdue, and look again at the next deadline."""
        is_owner = loop is self.loop
        if is_owner:
            self.stop()
        now = loop.time()
        # A loop that died during its calls may have left some; a loop that ends in another thread removes its own.
        calls = [(call, task) for call, task in list(self.calls.items()) if task.get_loop() is loop]
        for call, task in calls:
            if call.deadline <= now:
                call.end(EndReason.DEADLINE, task)
        due = min((call.deadline for call, _ in calls if call.ended_by is None), default=inf)
        if due < inf and is_owner:
            self.set(loop, due)
        elif due < inf:
            loop.call_at(due + DEADLINE_TOLERANCE / 2, self._wait, loop, ANSWER_TURNS)
