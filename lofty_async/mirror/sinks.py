"""The protocol of the sinks that a sync writes to, and the parts of the sinks of this package."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from types import CoroutineType, TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from attrs import frozen

from lofty_async.models import Task

MAX_PENDING: Final = 500
"""Leads that may wait to be written before reading waits too."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="ThreadedSink")


@frozen
class Changes(Generic[K]):
    """The difference between two states, by key."""

    added: tuple[K, ...] = ()
    changed: tuple[K, ...] = ()
    removed: tuple[K, ...] = ()


def diff(old: Mapping[K, V], new: Mapping[K, V]) -> Changes[K]:
    """The changes that turn `old` into `new`; keys keep the order of the mapping they come from."""
    return Changes(
        added=tuple(key for key in new if key not in old),
        changed=tuple(key for key, value in new.items() if key in old and old[key] != value),
        removed=tuple(key for key in old if key not in new),
    )


def merged(parts: Iterable[Changes[K]]) -> Changes[K]:
    """Successive changes as one."""
    whole = tuple(parts)
    return Changes(
        tuple(key for part in whole for key in part.added),
        tuple(key for part in whole for key in part.changed),
        tuple(key for part in whole for key in part.removed),
    )


@frozen
class Doubt:
    """A task on which a sink and a lead that was read disagree; the sink's row or line is left as it is.

    Either the lead lists the task (`is_listed`), which the sink has under another lead, or the sink has it under this
    lead, which lacks it now. It may have moved from one lead to another while they were read, so that neither proves
    where it is.
    """

    id: int
    lead_id: int
    is_listed: bool


@frozen
class Merged:
    """The result of merging some leads: the changes that were made, and the tasks in doubt."""

    changes: Changes[int]
    doubts: tuple[Doubt, ...] = ()


class TaskSink(Protocol):
    """A destination of an export. It loses nothing but what `settle` names as gone."""

    async def start(self) -> None:
        """Begins a run."""
        ...

    async def leads(self) -> frozenset[int]:
        """The leads that it has tasks of, also from earlier runs."""
        ...

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates the tasks of leads, but for those in doubt; a lead of `done` without a doubt is done."""
        ...

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts tasks under the leads that they carry, removes those whose ids are `gone`, and takes leads as done."""
        ...

    async def finish(self, *, all_done: bool) -> None:
        """Ends a run that reached its end; `all_done` unless leads failed."""
        ...


@frozen
class Tee:
    """Two or more sinks as one."""

    sinks: tuple[TaskSink, ...]

    async def start(self) -> None:
        for sink in self.sinks:
            await sink.start()

    async def leads(self) -> frozenset[int]:
        return frozenset[int]().union(*[await sink.leads() for sink in self.sinks])

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        results = [await sink.merge(leads, done=done) for sink in self.sinks]
        doubts = dict.fromkeys(doubt for result in results for doubt in result.doubts)
        return Merged(merged(result.changes for result in results), tuple(doubts))

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        return merged([await sink.settle(moved=moved, gone=gone, done=done) for sink in self.sinks])

    async def finish(self, *, all_done: bool) -> None:
        for sink in self.sinks:
            await sink.finish(all_done=all_done)


def in_thread(
    method: Callable[Concatenate[S, P], T],
) -> "Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]":  # the type of `async def`, which protocols compare
    """Makes a blocking method of a `ThreadedSink` asynchronous: it runs in the sink's thread.

    It runs to its end even if its caller is cancelled. It raises RuntimeError while the sink is not open.
    """

    @wraps(method)
    async def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(partial(method, self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage] - its half

    return cast("Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]", call)


class ThreadedSink(ABC):
    """A sink whose methods block: it is opened, used and closed in one thread of its own, one call after the other.

    `async with` opens it; after `close` it can be opened again.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._closing: Future[None] | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._thread, self._closing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lofty-mirror"), None
        try:
            await asyncio.wrap_future(self._thread.submit(self._open_here))
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finishes the write under way and closes the file; closing twice is no error."""
        closing, thread = self._end(), self._thread
        if closing is not None and thread is not None:
            await asyncio.to_thread(thread.shutdown)
            self._thread = None
            closing.result()

    @abstractmethod
    def _open(self) -> None:
        """Opens the file; it blocks."""

    @abstractmethod
    def _close(self) -> None:
        """Closes the file; it blocks."""

    async def _call(self, work: Callable[[], T]) -> T:
        if not self._is_open or self._thread is None or self._closing is not None:
            kind = type(self).__name__
            raise RuntimeError(f"the file is not open: use it in `async with {kind}(path) as sink`")
        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(work)))

    def _end(self) -> "Future[None] | None":
        """Lets the thread close the sink after its last call, whether or not the caller waits for it."""
        if self._thread is not None and self._closing is None:
            self._closing = self._thread.submit(self._close_here)
            self._thread.shutdown(wait=False)
        return self._closing

    def _open_here(self) -> None:
        self._open()
        self._is_open = True

    def _close_here(self) -> None:
        is_open, self._is_open = self._is_open, False
        if is_open:
            self._close()


class BatchWriter(Generic[T]):
    """Writes in the background: items that arrive during one write form the next batch.

    So slow runs write every item at once, and fast ones write few, large batches.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]], *, max_pending: int = MAX_PENDING) -> None:
        self._write = write
        self._max_pending = max_pending
        self._pending: list[T] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: T) -> None:
        """Takes one item; waits only if `max_pending` items are unwritten.

        Raises: the error of an earlier write.
        """
        self._pending.append(item)
        if self._writing is not None and (self._writing.done() or len(self._pending) >= self._max_pending):
            await self._join(self._writing)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    async def flush(self) -> None:
        """Waits until everything is written.

        Raises: the error of a write.
        """
        if self._writing is not None:
            await self._join(self._writing)

    async def _join(self, writing: asyncio.Task[None]) -> None:
        # Cancelling the caller must not cancel the write: `flush` still waits for its end.
        await asyncio.shield(writing)
        self._writing = None

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            await self._write(batch)
