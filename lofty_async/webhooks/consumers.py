"""The queue between the requests and the code that handles their batches: worker tasks, or iterations over notices.

A *batch* is one posted body. It is *waiting* from its answer until a worker starts with it or all its notices are
handled. A *delivery* is one notice on its way to the iteration that handles it. It is *in hand* of one reader until it
is acknowledged (handled) or requeued (the next to be read).
"""

import asyncio
import logging
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from weakref import WeakSet, finalize

from attrs import define, field

from .parse import WebhookBatch, WebhookNotice

OnBatch = Callable[[WebhookBatch], Awaitable[object]]

logger = logging.getLogger(__name__)

CANCELLATION_TIMEOUT = 1.0
"""Seconds that workers may take to end once they are cancelled."""


@define(eq=False)
class BatchQueue:
    """At most `size` waiting batches; a closed queue gives out the rest, then ends.

    `held` counts batches that were taken and still wait, `notices` the notices of those that were not taken.
    """

    size: int
    held: int = field(init=False, default=0)
    notices: int = field(init=False, default=0)
    is_closed: bool = field(init=False, default=False)
    _batches: deque[WebhookBatch] = field(init=False, factory=deque[WebhookBatch])
    _changed: asyncio.Event = field(init=False, factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._batches) + self.held

    @property
    def is_full(self) -> bool:
        return len(self) >= self.size

    def offer(self, batch: WebhookBatch) -> bool:
        """Appends the batch; returns `False` if the queue is full or closed."""
        if self.is_closed or self.is_full:
            return False
        self._batches.append(batch)
        self.notices += len(batch.notices)
        self.wake()
        return True

    def pop(self) -> WebhookBatch | None:
        """Returns the oldest batch, or `None` if the queue is empty."""
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self.notices -= len(batch.notices)
        return batch

    async def take(self) -> WebhookBatch | None:
        """Waits for the oldest batch; returns `None` when the queue is closed and empty."""
        while (batch := self.pop()) is None and not self.is_closed:
            await self.wait()
        return batch

    def wake(self) -> None:
        """Ends every `wait`."""
        self._changed.set()

    async def wait(self) -> None:
        """Waits for the next `wake`."""
        self._changed.clear()
        await self._changed.wait()

    def close(self) -> None:
        self.is_closed = True
        self.wake()


@define(eq=False)
class BatchWorkers:
    """Tasks that pass each batch of the queue to `on_batch`; an exception in it is logged and ends no task."""

    queue: BatchQueue
    on_batch: OnBatch
    count: int
    failed: int = field(init=False, default=0)
    unhandled: int = field(init=False, default=0)
    _cancelled_notices: int = field(init=False, default=0)
    _in_progress: dict[asyncio.Task[object] | None, WebhookBatch] = field(
        init=False, factory=dict[asyncio.Task[object] | None, WebhookBatch]
    )
    _tasks: list[asyncio.Task[None]] = field(init=False, factory=list[asyncio.Task[None]])

    def start(self) -> None:
        # Tasks that were cancelled from outside, or by `on_batch` itself, are replaced.
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self.count - len(self._tasks))]

    async def finish(self, seconds: float) -> None:
        """Waits until a closed queue is empty; after `seconds` the tasks are cancelled."""
        # A worker that closes its own receiver must not wait for itself; it ends with its batch.
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if not tasks:
            return
        try:
            await asyncio.wait(tasks, timeout=seconds)
        finally:
            self._count_unhandled(tasks)
            for task in tasks:
                task.cancel()
            # Bounded, since an `on_batch` can suppress its cancellation.
            await asyncio.wait(tasks, timeout=CANCELLATION_TIMEOUT)

    def _count_unhandled(self, tasks: list[asyncio.Task[None]]) -> None:
        in_progress = [self._in_progress[task] for task in tasks if task in self._in_progress]
        remaining = self.queue.notices + sum(len(batch.notices) for batch in in_progress)
        self.unhandled = self._cancelled_notices + remaining
        if batches := len(self.queue) + len(in_progress):
            logger.warning("Closed with %d batches unhandled", batches)

    async def _work(self) -> None:
        while (batch := await self.queue.take()) is not None:
            worker = asyncio.current_task()
            self._in_progress[worker] = batch
            try:
                await self._handle(batch)
            except asyncio.CancelledError:
                self._cancelled_notices += len(batch.notices)
                raise
            finally:
                del self._in_progress[worker]

    async def _handle(self, batch: WebhookBatch) -> None:
        try:
            await self.on_batch(batch)
        except asyncio.CancelledError as error:
            worker = asyncio.current_task()
            if worker is not None and worker.cancelling():
                raise
            # Something inside `on_batch` was cancelled, not this worker.
            self._log_failure(error, batch)
        except Exception as error:  # noqa: BLE001 - the user's code; the next batch must not suffer for it
            self._log_failure(error, batch)

    def _log_failure(self, error: BaseException, batch: WebhookBatch) -> None:
        self.failed += 1
        # Neither message nor traceback: both can quote the body, which holds personal data.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(
            "on_batch failed on %d notices: %s in %s, line %s of %s",
            len(batch.notices),
            type(error).__name__,
            frame.name,
            frame.lineno,
            frame.filename,
        )


@define(eq=False)
class Reader:
    """A consumer of notices: the task that ran it last, and the deliveries in its hand."""

    task: asyncio.Task[object] | None = None
    in_hand: set[object] = field(factory=set[object])


@define(eq=False)
class OpenBatch:
    """The number of notices of one batch that are unread or held."""

    waiting: int


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs yet
        return None


@define(eq=False)
class NoticeReaders:
    """Iterations that share the notices of the queue: each notice goes to one of them."""

    queue: BatchQueue
    failed: int = field(init=False, default=0)  # always 0: an exception of a reader goes to its own caller
    unhandled: int = field(init=False, default=0)
    # The rest of the batch taken last and all that was requeued, for whichever reader is next.
    _unread: deque["Delivery"] = field(init=False, factory=deque["Delivery"])
    # An iteration that was not started has a reader too; it ends with its iteration.
    _unstarted: WeakSet[Reader] = field(init=False, factory=WeakSet[Reader])
    _active: set[Reader] = field(init=False, factory=set[Reader])
    _holding: set[Reader] = field(init=False, factory=set[Reader])
    _progress: asyncio.Event = field(init=False, factory=asyncio.Event)

    def start(self) -> None:
        """Does nothing: readers start with their iteration."""

    def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        reader = Reader(_current_task())
        self._unstarted.add(reader)
        finalize(reader, self._progress.set).atexit = False
        return self._notices(reader)

    async def _notices(self, reader: Reader) -> AsyncGenerator[WebhookNotice, None]:
        self._unstarted.discard(reader)
        self._active.add(reader)
        try:
            while (delivery := await self._next(reader)) is not None:
                _latest.set(delivery)
                yield delivery.notice
        finally:
            self._active.discard(reader)
            self._progress.set()

    async def finish(self, seconds: float) -> None:
        """Waits up to `seconds` for the readers to end, and warns of the notices that are left.

        They can still be read.
        """
        # The task that closes cannot read on before this returns.
        closing = asyncio.current_task()
        try:
            if self._count_unhandled(closing):
                await asyncio.sleep(0)  # a task that was made to read them may not have run yet
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while any(reader.task is not closing for reader in self._in_progress()):
                        self._progress.clear()
                        await self._progress.wait()
        finally:
            self.unhandled = self._count_unhandled(closing)
            if self.unhandled:
                logger.warning("Closed with %d notices unhandled", self.unhandled)

    def hold(self, delivery: "Delivery", reader: Reader) -> None:
        if delivery.reader is not None:
            delivery.reader.in_hand.discard(delivery)
        delivery.reader = reader
        reader.in_hand.add(delivery)
        self._holding.add(reader)
        self._count(delivery.batch, 1)

    def ack(self, delivery: "Delivery") -> None:
        self._count(delivery.batch, -1)
        self._release(delivery)

    def requeue(self, delivery: "Delivery") -> None:
        self._unread.appendleft(delivery)
        self._release(delivery)
        self.queue.wake()

    def _release(self, delivery: "Delivery") -> None:
        reader, delivery.reader = delivery.reader, None
        if reader is not None:
            reader.in_hand.discard(delivery)
            if not reader.in_hand:
                self._holding.discard(reader)
                self._progress.set()

    def _count_unhandled(self, closing: asyncio.Task[object] | None) -> int:
        # The task that closes has handled one notice, or does so when this has returned.
        in_hand = sum(max(0, len(reader.in_hand) - (reader.task is closing)) for reader in self._in_progress())
        return self.queue.notices + len(self._unread) + in_hand

    def _in_progress(self) -> set[Reader]:
        return self._active | self._holding | set(self._unstarted)

    def _count(self, batch: OpenBatch, change: int) -> None:
        was_waiting = batch.waiting > 0
        batch.waiting += change
        self.queue.held += (batch.waiting > 0) - was_waiting

    async def _next(self, reader: Reader) -> "Delivery | None":
        reader.task = asyncio.current_task()
        reader.in_hand.clear()
        while not self._unread:
            if (taken := self.queue.pop()) is not None:
                batch = OpenBatch(0)
                self._count(batch, len(taken.notices))
                self._unread.extend(Delivery(notice, batch, self) for notice in taken.notices)
            elif self.queue.is_closed:
                return None
            else:
                await self.queue.wait()
        delivery = self._unread.popleft()
        self._count(delivery.batch, -1)
        delivery.reader = reader
        reader.in_hand.add(delivery)
        return delivery


@define(eq=False)
class Delivery:
    """A notice on its way from the queue to the consumer that handles it.

    The iteration that yielded it acknowledges it when the next one is asked for. A reader that reads ahead calls
    `hold` first, and later `ack` or `requeue`.
    """

    notice: WebhookNotice
    batch: OpenBatch
    readers: NoticeReaders
    reader: Reader | None = field(init=False, default=None)

    def hold(self, reader: Reader) -> None:
        """Keeps the notice in the hand of this reader."""
        self.readers.hold(self, reader)

    def ack(self) -> None:
        """Marks the notice as handled; a later notice on the same record counts too."""
        self.readers.ack(self)

    def requeue(self) -> None:
        """Makes the notice the next to be read."""
        self.readers.requeue(self)


# A context variable, since a wrapper such as a filter hides the iteration but runs in the same context.
_latest: ContextVar[Delivery | None] = ContextVar("latest_delivery", default=None)


def latest_delivery() -> Delivery | None:
    """Returns the delivery that the running task received last, and forgets it."""
    delivery = _latest.get()
    _latest.set(None)
    return delivery
