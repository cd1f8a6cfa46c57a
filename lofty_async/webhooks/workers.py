import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable

from attrs import define, field

from .backlog import Backlog
from .parse import WebhookBatch

OnBatch = Callable[[WebhookBatch], Awaitable[object]]

logger = logging.getLogger(__name__)

CANCELLATION_SECONDS = 1.0


@define(eq=False)
class Workers:
    """Tasks that hand each batch of the backlog to `on_batch`, and outlive what goes wrong in it."""

    backlog: Backlog
    on_batch: OnBatch
    count: int
    failed: int = field(init=False, default=0)
    unhandled: int = field(init=False, default=0)
    _at_work: dict[asyncio.Task[object] | None, WebhookBatch] = field(
        init=False, factory=dict[asyncio.Task[object] | None, WebhookBatch]
    )
    _tasks: list[asyncio.Task[None]] = field(init=False, factory=list[asyncio.Task[None]])

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._work()) for _ in range(self.count)]

    async def finish(self, seconds: float) -> None:
        """Lets a closed backlog be worked off; what is still at work after `seconds` is cancelled."""
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
            # Bounded, since an `on_batch` can refuse to be cancelled.
            await asyncio.wait(tasks, timeout=CANCELLATION_SECONDS)

    def _count_unhandled(self, tasks: list[asyncio.Task[None]]) -> None:
        at_work = [self._at_work[task] for task in tasks if task in self._at_work]
        self.unhandled = self.backlog.notices + sum(len(batch.notices) for batch in at_work)
        if batches := len(self.backlog) + len(at_work):
            logger.warning("Closed with %d batches unhandled", batches)

    async def _work(self) -> None:
        while (batch := await self.backlog.take()) is not None:
            worker = asyncio.current_task()
            self._at_work[worker] = batch
            try:
                await self._hand_over(batch)
            finally:
                del self._at_work[worker]

    async def _hand_over(self, batch: WebhookBatch) -> None:
        try:
            await self.on_batch(batch)
        except asyncio.CancelledError as error:
            worker = asyncio.current_task()
            if worker is not None and worker.cancelling():
                raise
            # Something inside `on_batch` was cancelled, not this worker.
            self._has_failed(error, batch)
        except Exception as error:  # noqa: BLE001 - the caller's code; the next batch must not suffer for it
            self._has_failed(error, batch)

    def _has_failed(self, error: BaseException, batch: WebhookBatch) -> None:
        self.failed += 1
        _log_failure(error, batch)


def _log_failure(error: BaseException, batch: WebhookBatch) -> None:
    # Neither message nor traceback: both can quote the body, which is about people.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error(
        "on_batch failed on %d notices: %s in %s, line %s of %s",
        len(batch.notices),
        type(error).__name__,
        frame.name,
        frame.lineno,
        frame.filename,
    )
