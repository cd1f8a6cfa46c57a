"""One timer for the deadlines of all calls of a client: a timer or a task for each would cost more than their state."""

import asyncio
from enum import Enum
from math import inf
from typing import Any, Final, Protocol

from attrs import define, field

DEADLINE_TOLERANCE: Final = 0.05  # seconds by which a deadline may be exceeded, so that one timer serves many


class EndReason(Enum):
    """Why a call was cancelled from here."""

    DEADLINE = "deadline"
    CLOSED = "closed"


class Timed(Protocol):
    """A call as the timer sees it: its deadline in the loop's time, and the reason if it was ended."""

    deadline: float
    ended_by: EndReason | None

    def end(self, reason: EndReason, task: asyncio.Task[Any]) -> None: ...


@define(eq=False, repr=False)
class DeadlineTimer:
    """The calls under way, each in its task, and the one timer for their deadlines in the event loop that owns it.

    The timer outlives a call that ends early, and stops once it finds no deadline left.
    """

    _calls: dict[Timed, asyncio.Task[Any]] = field(factory=dict[Timed, asyncio.Task[Any]], init=False)
    _handle: asyncio.TimerHandle | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _due: float = field(default=inf, init=False)

    def add(self, call: Timed, task: asyncio.Task[Any]) -> None:
        """Watch a call until it is removed, whatever happens."""
        self._calls[call] = task

    def remove(self, call: Timed) -> None:
        del self._calls[call]

    def arm(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Look at the calls once this deadline of one of them has passed."""
        if deadline < self._due - DEADLINE_TOLERANCE or loop is not self._loop:
            self._schedule(loop, deadline)

    def end_all(self) -> None:
        """End every call because the client closes."""
        self._unschedule()
        for call, task in list(self._calls.items()):
            call.end(EndReason.CLOSED, task)

    def _schedule(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if loop is self._loop:
            self._unschedule()  # the timer of another loop stays, for the calls that loop may still have
        self._loop, self._due = loop, deadline + DEADLINE_TOLERANCE / 2
        self._handle = loop.call_at(self._due, self._look, loop)

    def _unschedule(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._handle, self._due = None, inf

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the calls that are overdue, and look again at the next deadline."""
        is_owner = loop is self._loop
        if is_owner:
            self._unschedule()
        now = loop.time()
        # A loop that died during its calls may have left some; a loop that ends in another thread removes its own.
        calls = [(call, task) for call, task in list(self._calls.items()) if task.get_loop() is loop]
        for call, task in calls:
            if call.deadline <= now:
                call.end(EndReason.DEADLINE, task)
        due = min((call.deadline for call, _ in calls if call.ended_by is None), default=inf)
        if due < inf and is_owner:
            self._schedule(loop, due)
        elif due < inf:
            loop.call_at(due + DEADLINE_TOLERANCE / 2, self._look, loop)
