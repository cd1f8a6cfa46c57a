"""From notices to tasks: what was noticed is read again, once for all repeats within a few seconds."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Protocol

from attrs import define, field, frozen

from lofty_async.client import LoftyClient
from lofty_async.complaints import RecordKind, is_gone
from lofty_async.errors import DecodeError, InvalidRequestError, LoftyError
from lofty_async.models.task import Task
from lofty_async.ratelimit import Lane

from .merging import NoticeMerger, Reading, subject_of
from .parse import NoticeKind, WebhookNotice
from .readers import Reader, latest_delivery

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]

MOST_WAITING = 10_000


class TaskListing(Protocol):
    """What a list call returns, as far as it is needed here: a `Pager[Task]`."""

    async def collect(self) -> list[Task]:
        """All tasks of the listing."""
        ...


class TaskCalls(Protocol):
    """The calls that read tasks: `client.tasks`."""

    async def get(self, task_id: int, /) -> Task:
        """One task, or `NotFoundError`."""
        ...

    def list(self, lead_id: int, /, *, on_bad_record: Callable[[DecodeError], object]) -> TaskListing:
        """The tasks of one lead; the errors of those that cannot be read go to `on_bad_record`."""
        ...


class TaskClient(Protocol):
    """A client that can read tasks."""

    @property
    def tasks(self) -> TaskCalls:
        """The calls for tasks."""
        ...


@frozen(kw_only=True)
class TaskChange:
    """A task as it was read after a notice, or why there is none.

    `gone` says that the server, by Lofty's own code, no longer knows the task; a gateway's 404 is an error. `error`
    is what kept it from being read. When the notice is about a lead, there is one change per task of the lead, first
    those that could be read; `task_id` is `None` where a record does not tell its id, or where the lead could not be
    read: `LEAD_NOT_EXIST` also means "no access", so it is an error too. `notice` is the latest of those merged.
    """

    task_id: int | None
    task: Task | None = None
    gone: bool = False
    notice: WebhookNotice
    error: LoftyError | None = None


def follow_tasks(
    notices: AsyncIterable[WebhookNotice],
    client: LoftyClient | TaskClient,
    *,
    within: float = 2.0,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[TaskChange, None]:
    """Reads what the notices are about: the task, or all tasks of the lead where only the lead is known.

    A record is read when no notice for it came for `within` seconds, after five times that at the latest:
    repeats share one read, and the read does not overtake the write. An answer that contradicts the notice
    (not found, though not deleted; or the reverse) is asked for once more, after another `within`. Reads go
    one at a time, in the bulk lane and without a bound of waiting, whatever the client's `max_wait`. Notices of
    other kinds without a task id are passed over.

    The iteration ends when the notices have ended and all is read. A receiver that is closed waits for that, so
    its `drain_timeout` should be well above `within`; it should be closed before the client is. What leaving the
    iteration early leaves unread goes back to the receiver: its next `notices()` begins with it.

    Args:
        notices: `receiver.notices()`, or any other source.
        client: A `LoftyClient`; its own errors are yielded as `TaskChange.error`.
        within: Seconds, 0 or more.
        clock: Seconds that never go back.
        sleep: Waits for so many seconds of that clock.

    Raises:
        InvalidRequestError: `within` is negative.
    """
    if not within >= 0:
        raise InvalidRequestError(f"within must be 0 or more seconds, not {within}", argument="within")
    tasks: TaskCalls
    if isinstance(client, LoftyClient):
        tasks = client.with_options(lane=Lane.BULK, max_wait=None).tasks
    else:
        tasks = client.tasks
    return _Follower(notices, tasks, NoticeMerger(within), clock, sleep).changes()


@define(eq=False)
class _Follower:
    notices: AsyncIterable[WebhookNotice]
    tasks: TaskCalls
    merger: NoticeMerger
    clock: Clock
    sleep: Sleep
    _news: asyncio.Event = field(init=False, factory=asyncio.Event)
    _room: asyncio.Event = field(init=False, factory=asyncio.Event)
    _reader: Reader = field(init=False, factory=Reader)

    async def changes(self) -> AsyncGenerator[TaskChange, None]:
        # Notices are merged while a read is under way, so they are taken in by a task of their own.
        intake = asyncio.create_task(self._take_in())
        reading: Reading | None = None
        try:
            while (reading := await self._next_reading(intake)) is not None:
                changes = await self._read(reading)
                for number, change in enumerate(changes, 1):
                    reading.is_taken = number == len(changes)
                    self._reader.task = asyncio.current_task()
                    yield change
                reading.settle()
            await intake
        finally:
            intake.cancel()
            for waiting in self.merger.pop_all():
                waiting.give_back()
            if reading is not None:
                reading.leave()
            await asyncio.gather(intake, return_exceptions=True)

    async def _take_in(self) -> None:
        latest_delivery()  # one that this task has inherited
        try:
            async for notice in self.notices:
                self._take(notice)
                await self._wait_for_room()
        finally:
            self._news.set()
            if (aclose := getattr(self.notices, "aclose", None)) is not None:
                await aclose()

    def _take(self, notice: WebhookNotice) -> None:
        delivery = latest_delivery()
        if subject_of(notice) is None:
            return
        if delivery is not None:
            # Not handled when the next notice is asked for, but when what it is about was read.
            delivery.hold(self._reader)
        self.merger.add(notice, self.clock(), delivery)
        self._news.set()

    async def _wait_for_room(self) -> None:
        while len(self.merger) >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    async def _next_reading(self, intake: asyncio.Task[None]) -> Reading | None:
        while (reading := self.merger.pop_due(self.clock())) is None:
            if self.merger:
                # Nothing that comes meanwhile can be due earlier.
                await self.sleep(self.merger.next_due() - self.clock())
            elif intake.done():
                return None
            else:
                self._news.clear()
                await self._news.wait()
        self._room.set()
        return reading

    async def _read(self, reading: Reading) -> list[TaskChange]:
        is_missing = False
        try:
            changes = await self._changes(reading)
        except LoftyError as error:
            changes = [_unread(reading, error)]
            is_missing = changes[0].gone or is_gone(error, RecordKind.LEAD)
            if not is_missing:
                return changes
        if is_missing != _is_deletion(reading.notice) and not reading.is_second:
            # Reads can lag behind writes by a moment.
            self.merger.add_again(reading, self.clock())
            return []
        return changes

    async def _changes(self, reading: Reading) -> list[TaskChange]:
        if reading.about is NoticeKind.LEAD:
            return await self._changes_of_lead(reading)
        task = await self.tasks.get(reading.id)
        return [TaskChange(task_id=task.id, task=task, notice=reading.notice)]

    async def _changes_of_lead(self, reading: Reading) -> list[TaskChange]:
        errors: list[DecodeError] = []
        tasks = await self.tasks.list(reading.id, on_bad_record=errors.append).collect()
        good = [TaskChange(task_id=task.id, task=task, notice=reading.notice) for task in tasks]
        bad = [TaskChange(task_id=_task_id(error), notice=reading.notice, error=error) for error in errors]
        return good + bad


def _task_id(error: DecodeError) -> int | None:
    return error.record_id if isinstance(error.record_id, int) else None


def _unread(reading: Reading, error: LoftyError) -> TaskChange:
    gone = reading.task_id is not None and is_gone(error, RecordKind.TASK)
    return TaskChange(task_id=reading.task_id, gone=gone, notice=reading.notice, error=None if gone else error)


def _is_deletion(notice: WebhookNotice) -> bool:
    return notice.bucket.lower().startswith(("delete", "remove"))
