import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

from attrs import define, field


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> None: ...


P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Closeable)


@define(eq=False)
class OwnThread(Generic[R]):
    """A resource whose methods block, opened, used and closed in one thread of its own, one call after the other.

    A call runs to its end, also where its caller is cancelled.
    """

    make: Callable[[], R]
    closed_message: str
    _thread: ThreadPoolExecutor | None = field(default=None, init=False)
    _resource: R | None = field(default=None, init=False)
    _closing: "Future[None] | None" = field(default=None, init=False)

    async def open(self) -> None:
        """Starts the thread and makes the resource in it.

        Raises: whatever `make` raises.
        """
        self._thread, self._closing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lofty-mirror"), None
        try:
            await asyncio.wrap_future(self._thread.submit(self._open))
        except BaseException:
            self._end()
            raise

    async def call(self, method: Callable[Concatenate[R, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a method of the resource in the thread.

        Raises: RuntimeError where the resource is not open; whatever the method raises.
        """
        resource, thread = self._resource, self._thread
        if resource is None or thread is None or self._closing is not None:
            raise RuntimeError(self.closed_message)
        return await asyncio.shield(asyncio.wrap_future(thread.submit(method, resource, *args, **kwargs)))

    async def close(self) -> None:
        """Waits for the calls under way, closes the resource and ends the thread; closing twice is no error.

        Raises: whatever closing the resource raises.
        """
        closing, thread = self._end(), self._thread
        if closing is not None and thread is not None:
            await asyncio.to_thread(thread.shutdown)
            self._thread = None
            closing.result()

    def _end(self) -> "Future[None] | None":
        """Lets the thread close the resource after its last call, whether or not the caller waits for it."""
        if self._thread is not None and self._closing is None:
            self._closing = self._thread.submit(self._close)
            self._thread.shutdown(wait=False)
        return self._closing

    def _open(self) -> None:
        self._resource = self.make()

    def _close(self) -> None:
        resource, self._resource = self._resource, None
        if resource is not None:
            resource.close()
