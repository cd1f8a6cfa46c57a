"""Single flight: one run of a coroutine, shared by everybody who asks while it lasts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

RUNS: Final = 2  # that one caller waits for: the first may be cancelled from outside, by an ending loop for instance


@define(eq=False)
class SingleFlight(Generic[T]):
    """At most one run per event loop at a time.

    A run belongs to nobody: any caller may be cancelled, the first and the last included, and it still goes to its
    end. A refresh that was sent may have rotated the refresh token, and its answer is then the only copy.
    """

    _tasks: "dict[asyncio.AbstractEventLoop, asyncio.Task[T]]" = field(
        factory=dict["asyncio.AbstractEventLoop", "asyncio.Task[T]"], init=False, repr=False
    )

    def __reduce__(self) -> "tuple[type[SingleFlight[T]], tuple[()]]":
        """Copies start empty: a run cannot be copied."""
        return SingleFlight, ()

    async def join(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of the run under way, or of one started now.

        Raises: RuntimeError where the run itself asks for its own outcome, which would never come, or where it ends
            in a cancellation that no caller asked for.
        """
        for _ in range(RUNS):
            task = self._current() or self._launch(start)
            if task is asyncio.current_task():
                raise RuntimeError("on_token must not make calls with the credential whose token it is given")
            # Not shield(): that would pass a run's own cancellation on to those who wait for it.
            await asyncio.wait({task})
            if not task.cancelled():
                return task.result()
            if not task.cancelling():
                break
        raise RuntimeError("the token renewal was cancelled from within")

    async def settle(self) -> None:
        task = self._current()
        if task is not None:
            await asyncio.wait({task})

    def _current(self) -> "asyncio.Task[T] | None":
        task = self._tasks.get(asyncio.get_running_loop())
        return None if task is None or task.done() else task

    def _launch(self, start: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        self._forget_closed_loops()
        loop = asyncio.get_running_loop()
        task = self._tasks[loop] = loop.create_task(start(), name="lofty_async token renewal")
        task.add_done_callback(self._land)
        return task

    def _land(self, task: "asyncio.Task[T]") -> None:
        loop = task.get_loop()
        if self._tasks.get(loop) is task:
            del self._tasks[loop]
        if not task.cancelled():
            # Looked at, so that a failure nobody waited for is not reported as forgotten.
            task.exception()

    def _forget_closed_loops(self) -> None:
        for loop in tuple(self._tasks):
            if loop.is_closed():
                self._tasks.pop(loop, None)
