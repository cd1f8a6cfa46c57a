"""The tasks of many leads at once: few alive at a time, none lost, a failing lead is a value."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen

from ._checks import refuse, within
from .errors import ClientClosedError, LoftyError
from .models import Task

LeadIds = Iterable[int] | AsyncIterable[int]
NO_MORE: Final[Any] = object()  # unlike None, which a source may yield: a bad id is a lead that fails


@frozen
class LeadTasks:
    """One lead's tasks, or what kept them from being read.

    With an `error`, `tasks` holds what had been read before it.
    """

    lead_id: int
    tasks: tuple[Task, ...] = ()
    error: LoftyError | None = None


@frozen
class BulkProgress:
    """How far a run is: leads read out of it and still in it, failed ones among the former, tasks of all of them."""

    done: int = 0
    failed: int = 0
    in_progress: int = 0
    tasks: int = 0


@define(eq=False)
class LeadUnderWay:
    """A lead from the moment its id is pulled until its result is taken."""

    lead_id: int
    result: LeadTasks | None = None
    taken: asyncio.Event = field(factory=asyncio.Event)


ReadLead = Callable[[int], Awaitable[LeadTasks]]


@define(eq=False)
class Crew:
    """Workers that each read one lead at a time and wait until it was taken before they pull the next."""

    lead_ids: LeadIds
    read: ReadLead
    most: int
    is_ordered: bool
    workers: list[asyncio.Task[None]] = field(factory=list[asyncio.Task[None]])
    alive: set[LeadUnderWay] = field(factory=set[LeadUnderWay])
    failure: BaseException | None = None
    _line: deque[LeadUnderWay] = field(factory=deque[LeadUnderWay])  # in which results are handed out
    _source: AsyncIterator[int] | None = None
    _pulling: asyncio.Lock = field(factory=asyncio.Lock)
    _news: asyncio.Event = field(factory=asyncio.Event)
    _is_dry: bool = False
    _is_cancelled: bool = False

    async def next(self) -> LeadTasks | None:
        """The next lead that was read, `None` once all were.

        Raises: what broke the source or a worker, once all that had begun was handed out.
        """
        if not self.workers:
            self._engage()
        while True:
            if self._line and (result := self._line[0].result):
                self._leave(self._line[0])
                return result
            if all(worker.done() for worker in self.workers):
                self._raise_failure()
                return None
            self._news.clear()
            await self._news.wait()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._line.clear()
        self.alive.clear()
        for worker in self.workers:
            if not worker.done() and not worker.get_loop().is_closed():
                worker.cancel()

    def _engage(self) -> None:
        worker = asyncio.get_running_loop().create_task(self._work())
        worker.add_done_callback(lambda _: self._news.set())
        self.workers.append(worker)

    def _leave(self, lead: LeadUnderWay) -> None:
        self.alive.discard(lead)
        if lead in self._line:
            self._line.remove(lead)
        lead.taken.set()

    def _raise_failure(self) -> None:
        failure, self.failure = self.failure, None
        if failure:
            raise failure

    async def _work(self) -> None:
        try:
            while lead := await self._pull():
                await self._bring(lead)
        except BaseException as failure:
            self._is_dry = True
            if not self._is_cancelled:
                self.failure = self.failure or failure
            if not isinstance(failure, Exception):
                raise

    async def _pull(self) -> LeadUnderWay | None:
        """The next lead of the source, `None` when there are no more."""
        async with self._pulling:
            if self._is_dry:
                return None
            self._source = self._source or each_id(self.lead_ids)
            lead_id = await anext(self._source, NO_MORE)
            # Meanwhile a worker may have failed, or the source may have ignored that it was cancelled.
            self._is_dry |= lead_id is NO_MORE or self._is_cancelled
            if self._is_dry:
                return None
            return self._enlist(LeadUnderWay(lead_id))

    def _enlist(self, lead: LeadUnderWay) -> LeadUnderWay:
        self.alive.add(lead)
        if self.is_ordered:
            self._line.append(lead)
        if len(self.workers) < self.most:
            self._engage()
        return lead

    async def _bring(self, lead: LeadUnderWay) -> None:
        try:
            lead.result = await self.read(lead.lead_id)
        except BaseException:
            self._leave(lead)
            raise
        if not self.is_ordered:
            self._line.append(lead)
        self._news.set()
        await lead.taken.wait()


class BulkRun:
    """Many leads' tasks as an async iterator of `LeadTasks`.

    Lead ids are pulled as they are needed: at most `concurrency` leads are alive, which counts those read but not
    yet taken. `async with` or `aclose()` ends a run early; leaving the loop does too. A failure of the source of ids
    is raised after what had begun was handed out.
    """

    def __init__(self, lead_ids: LeadIds, read: ReadLead, *, concurrency: int, ordered: bool) -> None:
        check_bulk(lead_ids, concurrency)
        self._crew = Crew(lead_ids, read, within("concurrency", concurrency, 1), ordered)
        self._progress = BulkProgress()
        self._is_closed = False

    @property
    def progress(self) -> BulkProgress:
        """How far the run is now."""
        done = self._progress
        return BulkProgress(done.done, done.failed, len(self._crew.alive), done.tasks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LeadTasks:
        if self._is_closed:
            raise StopAsyncIteration
        lead = await self._crew.next()
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
            self._crew.cancel()

    async def aclose(self) -> None:
        """End the run: what is under way is cancelled, and gone when this returns."""
        self._is_closed = True
        self._crew.cancel()
        await asyncio.gather(*self._crew.workers, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def as_value(pages: Callable[[int], AsyncIterator[Sequence[Task]]]) -> ReadLead:
    """Reads a lead's tasks so that whatever is wrong with that lead is part of the result."""

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


def check_bulk(lead_ids: LeadIds, concurrency: int) -> None:
    """Raises: InvalidRequestError if one of the arguments of a run is wrong."""
    within("concurrency", concurrency, 1)
    if not isinstance(lead_ids, Iterable | AsyncIterable) or isinstance(lead_ids, str | bytes):
        raise refuse("lead_ids", "must be an iterable of lead ids, plain or async")


def each_id(lead_ids: LeadIds) -> AsyncIterator[int]:
    return aiter(lead_ids) if isinstance(lead_ids, AsyncIterable) else PlainIds(iter(lead_ids))


@define
class PlainIds(AsyncIterator[int]):
    """A plain iterator as an async one; not a generator, which asyncio would have to close in a task of its own."""

    ids: Iterator[int]

    async def __anext__(self) -> int:
        for lead_id in self.ids:
            return lead_id
        raise StopAsyncIteration
