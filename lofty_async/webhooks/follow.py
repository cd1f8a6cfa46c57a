"""From notices to tasks: the record of a notice is read again, once for all repeats within a few seconds."""

import asyncio
import heapq
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from typing import Protocol, Self

from attrs import define, evolve, field, frozen

from lofty_async import _checks
from lofty_async._wire import RecordKind, is_gone
from lofty_async.client import LoftyClient
from lofty_async.errors import DecodeError, LoftyError
from lofty_async.models import Task
from lofty_async.ratelimit import Lane

from .consumers import Delivery, Reader, latest_delivery
from .parse import NoticeKind, WebhookNotice

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]

Subject = tuple[NoticeKind, int]

MAX_PENDING_READS = 10_000
MAX_DELAY_FACTOR = 5
"""A read whose notices do not stop is delayed by at most so many times `within`."""


class TaskList(Protocol):
    """The part of a `Pager[Task]` that is needed here."""

    async def collect(self) -> list[Task]:
        """Returns all tasks of the list."""
        ...


class TaskCalls(Protocol):
    """The calls that read tasks: `client.tasks`."""

    async def get(self, task_id: int, /) -> Task:
        """One task, or `NotFoundError`."""
        ...

    def list(self, lead_id: int, /, *, on_bad_record: Callable[[DecodeError], object]) -> TaskList:
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
    """A task as it was read after a notice, or the reason why there is none.

    `gone` means that the server answered with Lofty's own code for a task that does not exist; a gateway's 404 is an
    `error`, as is every other failed read. A notice about a lead gives one change per task of the lead, first those
    that could be read. `task_id` is `None` if the record has no readable id, or if the lead could not be read:
    `LEAD_NOT_EXIST` also means "no access", so it is an error too. `notice` is the latest of the merged notices.
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
    """Yields the tasks that notices are about: the notice's task, or all tasks of its lead if it names no task.

    A record is read `within` seconds after its last notice, and at most five times `within` after its first: repeated
    notices share one read, and the read does not overtake the write. An answer that contradicts the notice (not found
    but not deleted, or the reverse) is read once more, after another `within`. Reads are sent one at a time, in the
    bulk lane and without a limit on their wait, whatever the client's `max_wait`. Notices of other kinds without a
    task id are ignored.

    The iteration ends when the notices have ended and every record is read. Closing a receiver waits for that, so its
    `drain_timeout` should be well above `within`, and it should be closed before the client. If the iteration is left
    early, unread notices go back to the receiver: its next `notices()` begins with them.

    Args:
        notices: `receiver.notices()`, or any other source.
        client: A `LoftyClient`; its own errors are yielded as `TaskChange.error`.
        within: Seconds, 0 or more.
        clock: Returns seconds that never decrease.
        sleep: Waits for so many seconds of that clock.

    Raises:
        InvalidRequestError: `within` is negative or no number.
    """
    _checks.duration("within", within)
    tasks: TaskCalls
    if isinstance(client, LoftyClient):
        tasks = client.with_options(lane=Lane.BULK, max_wait=None).tasks
    else:
        tasks = client.tasks
    return _Follower(notices, tasks, NoticeMerger(within), clock, sleep).changes()


def subject_of(notice: WebhookNotice) -> Subject | None:
    """Returns the record to read for a notice: its task, or its lead if the notice is about a lead or has no task."""
    if notice.kind is NoticeKind.LEAD and notice.lead_id is not None:
        return NoticeKind.LEAD, notice.lead_id
    if notice.task_id is not None:
        return NoticeKind.TASK, notice.task_id
    if notice.kind in (NoticeKind.TASK, NoticeKind.APPOINTMENT) and notice.lead_id is not None:
        return NoticeKind.LEAD, notice.lead_id
    return None


@define(eq=False)
class PendingRead:
    """A scheduled read of a task, or of a lead's tasks, for all notices between the times `first` and `last`.

    `delivery` is that of the last notice, if it came from a receiver; those before are acknowledged. `is_consumed` is
    set when the last of its changes is yielded.
    """

    about: NoticeKind
    id: int
    notice: WebhookNotice
    first: float
    last: float
    is_second: bool = False
    delivery: Delivery | None = None
    is_consumed: bool = False

    @property
    def task_id(self) -> int | None:
        return self.id if self.about is NoticeKind.TASK else None

    def repeated(self, notice: WebhookNotice, now: float, delivery: Delivery | None) -> Self:
        self.ack()
        return evolve(self, notice=notice, last=now, delivery=delivery)

    def due(self, within: float) -> float:
        return min(self.last + within, self.first + MAX_DELAY_FACTOR * within)

    def again(self, now: float) -> Self:
        """Returns the second read; the delivery moves to it."""
        delivery, self.delivery = self.delivery, None
        return evolve(self, first=now, last=now, is_second=True, delivery=delivery)

    def ack(self) -> None:
        if self.delivery is not None:
            self.delivery.ack()
            self.delivery = None

    def requeue(self) -> None:
        if self.delivery is not None:
            self.delivery.requeue()
            self.delivery = None

    def stop(self) -> None:
        """Acknowledges a read whose changes were all yielded, and requeues any other."""
        if self.is_consumed:
            self.ack()
        else:
            self.requeue()


@define(eq=False)
class NoticeMerger:
    """Pending reads by subject; a heap finds the next one, its times updated when they are due."""

    within: float
    _waiting: dict[Subject, PendingRead] = field(init=False, factory=dict[Subject, PendingRead])
    _due: list[tuple[float, Subject]] = field(init=False, factory=list[tuple[float, Subject]])

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: WebhookNotice, now: float, delivery: Delivery | None = None) -> None:
        subject = subject_of(notice)
        if subject in self._waiting:
            self._waiting[subject] = self._waiting[subject].repeated(notice, now, delivery)
        elif subject is not None:
            self._keep(subject, PendingRead(*subject, notice, now, now, delivery=delivery))

    def add_again(self, read: PendingRead, now: float) -> None:
        """Schedules the same read once more, unless a newer notice has scheduled it already."""
        subject = read.about, read.id
        if subject in self._waiting:
            read.ack()
        else:
            self._keep(subject, read.again(now))

    def next_due(self) -> float:
        """Returns the time of the next `pop_due`; there must be a pending read."""
        return self._due[0][0]

    def pop_due(self, now: float) -> PendingRead | None:
        """Returns the read that has been due longest, or `None` if none is."""
        while self._due and self._due[0][0] <= now:
            _, subject = heapq.heappop(self._due)
            read = self._waiting.pop(subject)
            if read.due(self.within) <= now:
                return read
            self._keep(subject, read)
        return None

    def pop_all(self) -> Iterator[PendingRead]:
        """Yields every pending read, the newest first."""
        while self._waiting:
            yield self._waiting.popitem()[1]

    def _keep(self, subject: Subject, read: PendingRead) -> None:
        self._waiting[subject] = read
        heapq.heappush(self._due, (read.due(self.within), subject))


@define(eq=False)
class _Follower:
    notices: AsyncIterable[WebhookNotice]
    tasks: TaskCalls
    merger: NoticeMerger
    clock: Clock
    sleep: Sleep
    _arrived: asyncio.Event = field(init=False, factory=asyncio.Event)
    _room: asyncio.Event = field(init=False, factory=asyncio.Event)
    _reader: Reader = field(init=False, factory=Reader)

    async def changes(self) -> AsyncGenerator[TaskChange, None]:
        # Notices are merged while a read is in progress, so a task of its own receives them.
        receiving = asyncio.create_task(self._receive())
        read: PendingRead | None = None
        try:
            while (read := await self._next_read(receiving)) is not None:
                changes = await self._changes_after(read)
                for number, change in enumerate(changes, 1):
                    read.is_consumed = number == len(changes)
                    self._reader.task = asyncio.current_task()
                    yield change
                read.ack()
            await receiving
        finally:
            receiving.cancel()
            for waiting in self.merger.pop_all():
                waiting.requeue()
            if read is not None:
                read.stop()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _receive(self) -> None:
        latest_delivery()  # forget the one that this task has inherited with its context
        try:
            async for notice in self.notices:
                self._add(notice)
                await self._wait_for_room()
        finally:
            self._arrived.set()
            if (aclose := getattr(self.notices, "aclose", None)) is not None:
                await aclose()

    def _add(self, notice: WebhookNotice) -> None:
        delivery = latest_delivery()
        if subject_of(notice) is None:
            return
        if delivery is not None:
            # Handled when its record was read, not when the next notice is asked for.
            delivery.hold(self._reader)
        self.merger.add(notice, self.clock(), delivery)
        self._arrived.set()

    async def _wait_for_room(self) -> None:
        while len(self.merger) >= MAX_PENDING_READS:
            self._room.clear()
            await self._room.wait()

    async def _next_read(self, receiving: asyncio.Task[None]) -> PendingRead | None:
        while (read := self.merger.pop_due(self.clock())) is None:
            if self.merger:
                # A notice that arrives meanwhile cannot be due earlier.
                await self.sleep(self.merger.next_due() - self.clock())
            elif receiving.done():
                return None
            else:
                self._arrived.clear()
                await self._arrived.wait()
        self._room.set()
        return read

    async def _changes_after(self, read: PendingRead) -> list[TaskChange]:
        is_missing = False
        try:
            changes = await self._read_again(read)
        except LoftyError as error:
            changes = [_failed(read, error)]
            is_missing = changes[0].gone or is_gone(error, RecordKind.LEAD)
            if not is_missing:
                return changes
        if is_missing != _is_deletion(read.notice) and not read.is_second:
            # Reads can lag behind writes by a moment.
            self.merger.add_again(read, self.clock())
            return []
        return changes

    async def _read_again(self, read: PendingRead) -> list[TaskChange]:
        if read.about is NoticeKind.LEAD:
            return await self._changes_of_lead(read)
        task = await self.tasks.get(read.id)
        return [TaskChange(task_id=task.id, task=task, notice=read.notice)]

    async def _changes_of_lead(self, read: PendingRead) -> list[TaskChange]:
        errors: list[DecodeError] = []
        tasks = await self.tasks.list(read.id, on_bad_record=errors.append).collect()
        good = [TaskChange(task_id=task.id, task=task, notice=read.notice) for task in tasks]
        bad = [TaskChange(task_id=_task_id(error), notice=read.notice, error=error) for error in errors]
        return good + bad


def _task_id(error: DecodeError) -> int | None:
    return error.record_id if isinstance(error.record_id, int) else None


def _failed(read: PendingRead, error: LoftyError) -> TaskChange:
    gone = read.task_id is not None and is_gone(error, RecordKind.TASK)
    return TaskChange(task_id=read.task_id, gone=gone, notice=read.notice, error=None if gone else error)


def _is_deletion(notice: WebhookNotice) -> bool:
    return notice.bucket.lower().startswith(("delete", "remove"))
