"""Every list call returns a `Pager`: records or pages by `async for`, one page fetched ahead of the reader."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Generator, Hashable, Iterable, Mapping
from itertools import islice, takewhile
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar, cast
from weakref import WeakSet

from attrs import define, evolve, field, frozen

from ._checks import OnBadRecord, within
from ._codec import BadRecord
from ._cursor import END, START, Cursor
from ._pages import RESUMED, PageRead, Strategy
from ._wire import Params, request_id
from .errors import DecodeError, LoftyError, cut

__all__ = ["Fetch", "Fetched", "Page", "PageIterator", "Pager", "RecordIterator"]

log = logging.getLogger("lofty_async.pagination")

T = TypeVar("T")

Fetched = tuple[Any, Mapping[str, str]]
"""The decoded body of an answer, and its headers."""
Fetch = Callable[[Params], Awaitable[Fetched]]

RECENT_KEYS: Final = 5_000  # about 1 MB: lists of ordinary size are exact, and a million keys are not kept
MAX_REPEATED_PAGES: Final = 3  # the same page in a row, or the same circle: the server sends them for ever
MAX_MISSED_PAGES: Final = 50  # in a row without a new record: the server does not go on from where it is asked to


@frozen
class Page(Generic[T]):
    """Some records in order.

    `cursor` is where to resume behind this page, a string that is opaque; `None` is the list's start, which only
    happens where a bad record ends the first page early. `has_more` is `False` for the last page. `total` is the
    length of the whole list, if the server reports it.
    """

    items: list[T]
    _next: Cursor | None = field(repr=False)
    _kind: str = field(repr=False)
    total: int | None = None

    @property
    def cursor(self) -> str | None:
        return END if self._next is None else self._next.text(self._kind)

    @property
    def has_more(self) -> bool:
        return self._next is not None

    def __len__(self) -> int:
        return len(self.items)


@define
class CycleDetector:
    """Notices that pages come round again, in however large a circle, remembering one (Brent's algorithm)."""

    _mark: Hashable = None
    _steps: int = 0
    _power: int = 1

    def has_come_round(self, ends: Hashable) -> bool:
        if self._mark is not None and ends == self._mark:
            return True
        self._steps += 1
        if self._steps == self._power:
            self._mark, self._steps, self._power = ends, 0, self._power * 2
        return False


class PageIterator(Generic[T]):
    """One pass over a list: an async iterator of its pages. Dropping it cancels what it had asked for ahead."""

    def __init__(
        self,
        strategy: Strategy[T],
        fetch: Fetch,
        on_bad_record: OnBadRecord,
        cursor: Cursor | None,
        *,
        prefetch: int,
        first: PageRead[T] | None = None,
    ) -> None:
        self._ahead: deque[tuple[Params, asyncio.Task[Fetched]]] = deque()
        self._strategy, self._fetch, self._on_bad_record = strategy, fetch, on_bad_record
        self._cursor, self._prefetch, self._first = cursor, prefetch, first
        # Unlike a set, it knows which are the oldest.
        self._recent: dict[Hashable, None] = {} if cursor in (None, START) else {RESUMED: None}
        self._circle, self._barren = CycleDetector(), CycleDetector()
        self._repeated = self._rounds = self._missed = 0
        self._last_ends: Hashable = None
        self._error: DecodeError | None = None
        self._turn = asyncio.Lock()  # of tasks that share the iterator

    def __aiter__(self) -> Self:
        return self

    def __del__(self) -> None:
        self.cancel()

    def cancel(self, keep: int = 0) -> None:
        """Drop what was asked for ahead, but for the first pages of it."""
        while len(self._ahead) > keep:
            task = self._ahead.pop()[1]
            if not task.get_loop().is_closed():
                task.cancel()

    async def aclose(self) -> None:
        """End the iteration; what is on its way is not yielded."""
        self.cancel()
        self._cursor = self._error = None

    async def __anext__(self) -> Page[T]:
        async with self._turn:
            while self._cursor is not None or self._error:
                error, self._error = self._error, None
                if error:
                    raise error.with_cursor(self._place)
                read = await self._read(self._cursor or START)
                if self._cursor is None:  # closed meanwhile
                    break
                records = self._take(read)
                if records:
                    return Page(records, self._cursor, self._strategy.letter, read.total)
        raise StopAsyncIteration

    @property
    def _place(self) -> str | None:
        return END if self._cursor is None else self._cursor.text(self._strategy.letter)

    async def _read(self, cursor: Cursor) -> PageRead[T]:
        try:
            first, self._first = self._first, None
            return first or _read(self._strategy, cursor, await self._answer(cursor), self._recent)
        except BaseException as failure:
            self.cancel()
            if not isinstance(failure, LoftyError):
                raise
            if following := self._strategy.recover(cursor, failure):
                return PageRead([], next=following, missed=True)
            raise failure.with_cursor(cursor.text(self._strategy.letter)) from failure.__cause__

    async def _answer(self, cursor: Cursor) -> Fetched:
        params = self._strategy.params(cursor)
        if self._ahead and self._ahead[0][0] == params:
            return await self._ahead.popleft()[1]
        self.cancel()
        return await self._fetch(params)

    def _take(self, read: PageRead[T]) -> list[T]:
        """The page of the new records in an answer: drop repeats, deal with bad records, move on."""
        if read.missed:
            self._cursor = self._further_back(read)
            return []
        fresh: dict[Hashable, Any] = {}
        for record in read.records:
            key = _bad_key(record) if isinstance(record, BadRecord) else self._strategy.key(record)
            if isinstance(record, BadRecord) and self._on_bad_record == "raise":
                # The good ones before it come first; the cursor stays at this page.
                self.cancel()
                self._error = record.error
                break
            if key not in self._recent:
                fresh.setdefault(key, record)
        items = self._good(fresh) if read.has_bad else list(fresh.values())
        self._remember(fresh)
        if self._error is None:
            self._cursor = self._following(read, len(fresh))
            self._look_ahead(read)
        return items

    def _good(self, fresh: dict[Hashable, Any]) -> list[T]:
        """The records that can be read, once the others have been reported."""
        for record in fresh.values():
            if isinstance(record, BadRecord):
                self._report(record.error)
        return [record for record in fresh.values() if not isinstance(record, BadRecord)]

    def _report(self, error: DecodeError) -> None:
        if not callable(self._on_bad_record):
            log.warning("skipped a bad record: %s", error)
            return
        try:
            self._on_bad_record(error)
        except BaseException as failure:
            self.cancel()
            if isinstance(failure, LoftyError):
                failure.cursor = self._place  # not in a copy, which a caller's own kind of error may not allow
            raise

    def _remember(self, keys: Iterable[Hashable]) -> None:
        self._recent.update(dict.fromkeys(keys))
        for key in list(islice(self._recent, max(0, len(self._recent) - RECENT_KEYS))):
            del self._recent[key]

    def _further_back(self, read: PageRead[T]) -> Cursor | None:
        self._missed += 1
        self._barren = CycleDetector()
        if self._missed > MAX_MISSED_PAGES:
            text = "the pages of the list do not follow each other"
            raise DecodeError(text, request=self._strategy.request, cursor=self._place)
        return read.next

    def _following(self, read: PageRead[T], new: int) -> Cursor | None:
        """The cursor of the next page, `None` at the end."""
        is_repeated = not new and read.ends is not None and read.ends == self._last_ends
        if read.next is None and not is_repeated:
            self._warn_of_less(read)
            return None
        self._last_ends = read.ends
        if not new:
            self._repeated = self._repeated + 1 if is_repeated else 0
            self._rounds += not is_repeated and self._barren.has_come_round(read.ends)
            if MAX_REPEATED_PAGES in (self._repeated, self._rounds):
                self._warn_of_less(read)
                return None
            return self._cursor if is_repeated else read.next
        self._missed = self._repeated = self._rounds = 0
        self._barren = CycleDetector()
        is_memory_full = len(self._recent) == RECENT_KEYS  # otherwise nothing new can have come before
        if is_memory_full and 2 * new > read.count and self._circle.has_come_round(read.ends):
            text = "the list never ends: the server sends its pages in a circle"
            self._error = DecodeError(text, request=self._strategy.request)
            return None
        return read.next

    def _warn_of_less(self, read: PageRead[T]) -> None:
        if read.left:
            log.warning("%s: %d records less than the server promises", self._strategy.request, read.left)

    def _look_ahead(self, read: PageRead[T]) -> None:
        if self._cursor is None:
            self.cancel()
            return
        wanted = self._strategy.ahead(read, self._prefetch)
        same = list(takewhile(lambda pair: pair[0][0] == pair[1], zip(self._ahead, wanted, strict=False)))
        self.cancel(keep=len(same))
        for params in wanted[len(same) :]:
            task = asyncio.get_running_loop().create_task(_fetched(self._fetch, params))
            task.add_done_callback(_consume_error)
            self._ahead.append((params, task))


def _read(strategy: Strategy[T], cursor: Cursor, answer: Fetched, known: Container[Hashable] = ()) -> PageRead[T]:
    """The records of an answer; errors about them have the server's id of the request."""
    body, headers = answer
    try:
        read = strategy.read(cursor, body, known)
    except DecodeError as error:
        error.request_id = request_id(headers)
        raise
    for record in read.records if read.has_bad else ():
        if isinstance(record, BadRecord):
            record.error.request_id = request_id(headers)
    return read


async def _fetched(fetch: Fetch, params: Params) -> Fetched:
    # Not a method: a page fetched ahead must not keep alive the iterator whose end cancels it.
    return await fetch(params)


def _consume_error(task: "asyncio.Task[Fetched]") -> None:
    """Nobody may come for a page fetched ahead; asyncio would then log that its error was never retrieved."""
    if not task.cancelled():
        task.exception()


def _bad_key(bad: BadRecord) -> Hashable:
    return "bad", bad.error.record_id if bad.error.record_id is not None else cut(repr(bad.record))


class RecordIterator(Generic[T]):
    """The records of a pass over a list, one by one."""

    __slots__ = ("_items", "_pages")

    def __init__(self, pages: PageIterator[T]) -> None:
        self._pages = pages
        self._items: deque[T] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            # Added, not put in place: of two tasks that share this, the other may have brought a page meanwhile.
            self._items += (await anext(self._pages)).items
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the iteration; what it had brought is not yielded either."""
        self._items.clear()
        await self._pages.aclose()


@define(eq=False)
class Pager(Generic[T]):
    """A lazy, re-iterable list; each iteration sends new requests.

    Iterating it yields records; no request is sent before. `prefetch` pages are fetched ahead of the reader: more
    than one only if the server reports the length of the list. Records that stay in the list while it is read are
    yielded once, whatever else is added, deleted or moved meanwhile; those that repeat one of the last 5,000 are
    dropped.

    A failure carries the `cursor` to `resume` from. If it is a bad record, its page then comes again from its start:
    the good records before it, which had been yielded, are yielded once more.
    """

    strategy: Strategy[T]
    fetch: Fetch = field(repr=False)
    on_bad_record: OnBadRecord = "raise"
    prefetch: int = 1
    cursor: str | None = None
    _iterators: "WeakSet[PageIterator[T]] | None" = field(default=None, init=False, repr=False)

    def __aiter__(self) -> RecordIterator[T]:
        return RecordIterator(self._iterator(self.prefetch))

    def __await__(self) -> Generator[Any, None, NoReturn]:
        raise TypeError("a list cannot be awaited: write `async for item in …`, or `await ….collect()` for all of it")

    def __iter__(self) -> NoReturn:
        raise TypeError("a list is asynchronous: write `async for item in …`, or `await ….collect()` for all of it")

    def pages(self) -> PageIterator[T]:
        """The list page by page, empty pages left out."""
        return self._iterator(self.prefetch)

    def resume(self, cursor: str | None) -> "Pager[T]":
        """The rest of the list behind a page's or an error's cursor; all of it for `None`.

        Raises: InvalidRequestError if the cursor is not one of this list.
        """
        if cursor is not None and cursor != END:
            self.strategy.parse(cursor)
        return evolve(self, cursor=cursor)

    async def first(self) -> T | None:
        """The first record, `None` if there is none."""
        async for item in RecordIterator(self._iterator(0)):
            return item
        return None

    async def collect(self, limit: int | None = None) -> list[T]:
        """All records, or the first `limit` of them, in a list.

        What had been read before a failure is lost with it: its `cursor` is where this list began, so that
        `resume` brings all of it.

        Raises: InvalidRequestError if `limit` is negative.
        """
        if limit is not None and within("limit", limit, 0) == 0:
            return []
        if self.strategy.is_whole and self.cursor is None:
            read = _read(self.strategy, START, await self.fetch(self.strategy.params(START)))
            if not read.has_bad and len(set(map(self.strategy.key, read.records))) == len(read.records):
                return cast("list[T]", read.records[:limit])
            pages = PageIterator(self.strategy, self.fetch, self.on_bad_record, START, prefetch=0, first=read)
        else:
            pages = self._iterator(self.prefetch if limit is None else 0)
        try:
            return await _collected(pages, limit)
        except LoftyError as error:
            error.cursor = self.cursor
            raise

    async def aclose(self) -> None:
        """End every iteration under way; what was asked for ahead is cancelled, what is on its way is not yielded."""
        for iterator in list(self._iterators or ()):
            await iterator.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _iterator(self, prefetch: int) -> PageIterator[T]:
        cursor = None if self.cursor == END else START if self.cursor is None else self.strategy.parse(self.cursor)
        iterator = PageIterator(self.strategy, self.fetch, self.on_bad_record, cursor, prefetch=prefetch)
        if self._iterators is None:
            self._iterators = WeakSet()
        self._iterators.add(iterator)
        return iterator


async def _collected(pages: PageIterator[T], limit: int | None) -> list[T]:
    collected: list[T] = []
    async for page in pages:
        collected += page.items
        if limit is not None and len(collected) >= limit:
            break
    return collected[:limit]
