"""The tasks of many leads: a bounded number of leads at a time, none lost, and a lead that fails is a value."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen

from ._checks import refuse, within
from .errors import ClientClosedError, LoftyError
from .models import Task
from .pagination import Pager

LeadIds = Iterable[int] | AsyncIterable[int]
EXHAUSTED: Final[Any] = object()  # unlike None, which a source may yield: a bad id is a lead that fails


@frozen
class LeadTasks:
    """One lead's tasks, or the error that kept them from being read.

    With an `error`, `tasks` holds the tasks that were read before it.
    """

    lead_id: int
    tasks: tuple[Task, ...] = ()
    error: LoftyError | None = None


@frozen
class BulkProgress:
    """The progress of a run, in numbers of leads, and of the tasks of those that are done.

    `done` leads were consumed, `failed` of them with an error. Those `in_progress` are being read, or wait to be
    consumed.
    """

    done: int = 0
    failed: int = 0
    in_progress: int = 0
    tasks: int = 0


@define(eq=False)
class InFlightLead:
    """A lead from the moment its id is read until its result is consumed."""

    lead_id: int
    result: LeadTasks | None = None
    consumed: asyncio.Event = field(factory=asyncio.Event)


ReadLead = Callable[[int], Awaitable[LeadTasks]]


@define(eq=False)
class WorkerPool:
    """Workers that each read one lead at a time, and wait until it is consumed before they take the next id."""

    lead_ids: LeadIds
    read: ReadLead
    max_workers: int
    is_ordered: bool
    workers: list[asyncio.Task[None]] = field(factory=list[asyncio.Task[None]], init=False)
    in_flight: set[InFlightLead] = field(factory=set[InFlightLead], init=False)
    _failure: BaseException | None = field(default=None, init=False)
    _output: deque[InFlightLead] = field(factory=deque[InFlightLead], init=False)  # in the order of the results
    _source: AsyncIterator[int] | None = field(default=None, init=False)
    _source_lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _is_exhausted: bool = field(default=False, init=False)
    _is_cancelled: bool = field(default=False, init=False)

    async def next(self) -> LeadTasks | None:
        """The result of the next lead, `None` after the last.

        Raises: the failure of the source or of a worker, once all leads that had begun are consumed.
        """
        if not self.workers:
            self._start_worker()
        while True:
            if self._output and (result := self._output[0].result):
                self._consume(self._output[0])
                return result
            if all(worker.done() for worker in self.workers):
                self._raise_failure()
                return None
            self._changed.clear()
            await self._changed.wait()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._output.clear()
        self.in_flight.clear()
        for worker in self.workers:
            if not worker.done() and not worker.get_loop().is_closed():
                worker.cancel()

    def _start_worker(self) -> None:
        worker = asyncio.get_running_loop().create_task(self._work())
        worker.add_done_callback(lambda _: self._changed.set())
        self.workers.append(worker)

    def _consume(self, lead: InFlightLead) -> None:
        self.in_flight.discard(lead)
        if lead in self._output:
            self._output.remove(lead)
        lead.consumed.set()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    async def _work(self) -> None:
        try:
            while lead := await self._next_lead():
                await self._deliver(lead)
        except BaseException as failure:
            self._is_exhausted = True
            if not self._is_cancelled:
                self._failure = self._failure or failure
            if not isinstance(failure, Exception):
                raise

    async def _next_lead(self) -> InFlightLead | None:
        """The next lead of the source, `None` when there are no more."""
        async with self._source_lock:
            if self._is_exhausted:
                return None
            self._source = self._source or each_id(self.lead_ids)
            lead_id = await anext(self._source, EXHAUSTED)
            # Meanwhile a worker may have failed, or the source may have ignored that it was cancelled.
            self._is_exhausted |= lead_id is EXHAUSTED or self._is_cancelled
            if self._is_exhausted:
                return None
            return self._add(InFlightLead(lead_id))

    def _add(self, lead: InFlightLead) -> InFlightLead:
        self.in_flight.add(lead)
        if self.is_ordered:
            self._output.append(lead)
        if len(self.workers) < self.max_workers:
            self._start_worker()
        return lead

    async def _deliver(self, lead: InFlightLead) -> None:
        try:
            lead.result = await self.read(lead.lead_id)
        except BaseException:
            self._consume(lead)
            raise
        if not self.is_ordered:
            self._output.append(lead)
        self._changed.set()
        await lead.consumed.wait()


class BulkRun:
    """The tasks of many leads as an async iterator of `LeadTasks`.

    Lead ids are read as they are needed: at most `concurrency` leads are in progress, those read but not yet consumed
    included. `async with` or `aclose()` ends a run early; so does leaving the loop. A failure of the source of ids is
    raised once all leads that had begun are consumed.
    """

    def __init__(self, lead_ids: LeadIds, read: ReadLead, *, concurrency: int, ordered: bool) -> None:
        check_bulk(lead_ids, concurrency)
        self._pool = WorkerPool(lead_ids, read, within("concurrency", concurrency, 1), ordered)
        self._progress = BulkProgress()
        self._is_closed = False

    @property
    def progress(self) -> BulkProgress:
        """The progress of the run."""
        done = self._progress
        return BulkProgress(done.done, done.failed, len(self._pool.in_flight), done.tasks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LeadTasks:
        if self._is_closed:
            raise StopAsyncIteration
        lead = await self._pool.next()
        if lead is None:
            self._is_closed = True
            raise StopAsyncIteration
        before = self._progress
        self._progress = BulkProgress(
            before.done + 1, before.failed + (lead.error is not None), 0, before.tasks + len(lead.tasks)
        )
        return lead

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            self._pool.cancel()

    async def aclose(self) -> None:
        """End the run: its workers are cancelled, and have ended when this returns."""
        self._is_closed = True
        self._pool.cancel()
        await asyncio.gather(*self._pool.workers, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def as_value(pages: Callable[[int], AsyncIterator[Sequence[Task]]]) -> ReadLead:
    """Reads the tasks of a lead; an error of that lead is part of the result."""

    async def read(lead_id: int) -> LeadTasks:
        tasks: list[Task] = []
        try:
            async for page in pages(lead_id):
                tasks += page
        except ClientClosedError:
            raise
        except LoftyError as error:
            return LeadTasks(lead_id, tuple(tasks), error)
        return LeadTasks(lead_id, tuple(tasks))

    return read


def pages_of(list_tasks: Callable[[int], Pager[Task]]) -> Callable[[int], AsyncIterator[Sequence[Task]]]:
    """The pages of a lead's list of tasks, without their cursors."""

    async def pages(lead_id: int) -> AsyncIterator[Sequence[Task]]:
        async for page in list_tasks(lead_id).pages():
            yield page.items

    return pages


def check_bulk(lead_ids: LeadIds, concurrency: int) -> None:
    """Raises: InvalidRequestError if one of the arguments of a run is wrong."""
    within("concurrency", concurrency, 1)
    if not isinstance(lead_ids, Iterable | AsyncIterable) or isinstance(lead_ids, str | bytes):
        raise refuse("lead_ids", "must be an iterable of lead ids, plain or async")


def each_id(lead_ids: LeadIds) -> AsyncIterator[int]:
    return aiter(lead_ids) if isinstance(lead_ids, AsyncIterable) else PlainIds(iter(lead_ids))


@define
class PlainIds(AsyncIterator[int]):
    """A plain iterator as an async one; not a generator, which asyncio would close in a task of its own."""

    ids: Iterator[int]

    async def __anext__(self) -> int:
        for lead_id in self.ids:
            return lead_id
        raise StopAsyncIteration
