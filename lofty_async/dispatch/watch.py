"""Ends calls from outside: those whose deadline has passed, and all of them when their client closes.

One timer watches every call. A timer, a timeout scope or a task for each would cost more than the rest of a call's
bookkeeping together; for the same reason the timer outlives a call that ends early, until it finds nothing to watch.
"""

import asyncio
from math import inf
from typing import Any, Final

from attrs import define, field

ENDED: Final[Any] = None
TICK: Final = 0.05  # seconds by which a deadline may be overstepped, so that one timer serves many


class DeadlinePassed(Exception):  # noqa: N818 - it says what happened
    """The call's time was up."""


class Closed(Exception):  # noqa: N818 - it says what happened
    """The call's client was closed."""


class Watched:
    """A call under way, in its task; `ended_by` says why it was cancelled from here."""

    # The class's, not each instance's: most calls never change them.
    ended_by: type[Exception] | None = None
    sent_at: float = 0.0
    deadline: float = inf

    task: asyncio.Task[object]
    cancelling: int

    @property
    def under_way(self) -> float:
        """Seconds since it was last sent."""
        return self.task.get_loop().time() - self.sent_at

    def end(self, reason: type[Exception]) -> None:
        if self.ended_by is None and not self.task.get_loop().is_closed():
            self.ended_by = reason
            self.task.cancel()

    def was_ended_by(self, reason: type[Exception]) -> bool:
        """Whether the cancellation that was caught came from here, for this reason, and from nowhere else.

        Asking takes it back, so that the call may go on.
        """
        if self.ended_by is not reason:
            return False
        self.ended_by = None
        return self.task.uncancel() <= self.cancelling


def _is_in(task: asyncio.Task[object] | None, loop: asyncio.AbstractEventLoop) -> bool:
    return task is not None and task.get_loop() is loop


@define(eq=False)
class Watch:
    """The calls under way in one event loop."""

    calls: dict[Watched, None] = field(factory=dict[Watched, None])
    _timer: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _looks_at: float = inf

    def begin(self, call: Watched) -> None:
        """Watch the running task's call; `finish` it whatever happens."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine that awaits a socket runs in a task"  # noqa: S101 - asyncio's own rule
        call.task, call.cancelling = task, task.cancelling()
        self.calls[call] = None

    def finish(self, call: Watched) -> None:
        del self.calls[call]
        # It may hold an error, whose traceback holds the call. To delete it would take twenty times as long.
        call.task = ENDED

    def send(self, call: Watched, seconds: float | None) -> None:
        """The call is sent now, and gets a deadline; `call.deadline = inf` takes it off."""
        loop = call.task.get_loop()
        call.sent_at = loop.time()
        if seconds is None:
            return
        call.deadline = call.sent_at + seconds
        if call.deadline < self._looks_at - TICK or loop is not self._loop:
            self._arm(loop, call.deadline)

    def end_all(self) -> None:
        """The client closes."""
        self._disarm()
        for call in list(self.calls):
            call.end(Closed)

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if loop is self._loop:
            self._disarm()  # the timer of another loop stays, for the calls that loop may still have
        self._loop, self._looks_at = loop, due + TICK / 2
        self._timer = loop.call_at(self._looks_at, self._look, loop)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer, self._looks_at = None, inf

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is overdue, and come back for what is due next."""
        is_owner = loop is self._loop
        if is_owner:
            self._disarm()
        now = loop.time()
        # A loop that died under its calls may have left some; one that ends in another thread removes its own.
        calls = [call for call in list(self.calls) if _is_in(call.task, loop)]
        for call in calls:
            if call.deadline <= now:
                call.end(DeadlinePassed)
        due = min((call.deadline for call in calls if call.ended_by is None), default=inf)
        if due < inf and is_owner:
            self._arm(loop, due)
        elif due < inf:
            loop.call_at(due + TICK / 2, self._look, loop)
