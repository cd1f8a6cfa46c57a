"""One pass over a list: page after page, repeats dropped, shifts noticed, some pages fetched ahead."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from itertools import islice
from typing import Any, Final, Generic, Self, TypeVar

from attrs import define, field, frozen

from .checks import OnBadRecord
from .convert import BadRecord
from .errors import DecodeError, LoftyError, cut
from .listing import Fetched, Listing
from .wire import Params

log = logging.getLogger("lofty_async.paging")

T = TypeVar("T")

Fetch = Callable[[Params], Awaitable[Any]]

END: Final = "end"
"""The cursor behind the last page: resuming there asks nothing and yields nothing."""

PASSES: Final = 3  # over a list whose rows shifted while it was read
MEMORY: Final = 5_000  # keys, about 1 MB: lists of ordinary size are exact, and a million keys are not kept
PATIENCE: Final = 3  # pages of repeats in a row, as rows that shift may cause where the total promises more


@frozen
class Page(Generic[T]):
    """Some records in order.

    `cursor` is where to resume after this page: `END` behind the last one, `None` for the list's start, which only
    happens where a bad record ends the first page early, or rows shifted and all are read once more. `total` is the
    length of the whole list, where the server tells it.
    """

    items: list[T]
    cursor: str | None
    total: int | None = None

    def __len__(self) -> int:
        return len(self.items)


@define
class Pass:
    """What one way through a list has met: the keys of all its records, or of the last `memory` of them."""

    memory: int | None
    keys: dict[Hashable, None] = field(factory=dict[Hashable, None])  # unlike a set, it knows which are the oldest
    count: int = 0
    total: int | None = None
    shrank: bool = False
    _barren: int = 0

    def unseen(self, records: Iterable[T], key: Callable[[T], Hashable]) -> dict[Hashable, T]:
        """Those not met before, each once."""
        fresh: dict[Hashable, T] = {}
        for record in records:
            mark = key(record)
            if mark not in self.keys:
                fresh.setdefault(mark, record)
        return fresh

    def add(self, keys: list[Hashable], fetched: Fetched[T]) -> None:
        """Take note of a page and its new keys."""
        self._barren = 0 if keys else self._barren + (not fetched.is_again)
        self.shrank |= fetched.total is not None and self.total is not None and fetched.total < self.total
        self.total = fetched.total
        self.count += len(keys)
        self.remember(keys)

    def remember(self, keys: Iterable[Hashable]) -> None:
        self.keys.update(dict.fromkeys(keys))
        if self.memory is not None and len(self.keys) > self.memory:
            for key in list(islice(self.keys, len(self.keys) - self.memory)):
                del self.keys[key]

    @property
    def is_repeating(self) -> bool:
        return self._barren >= (1 if self.total is None else PATIENCE)

    @property
    def has_gaps(self) -> bool:
        """Rows that follow a deleted one move to pages already read: they are missed, though the count may be right."""
        return self.shrank or (self.total is not None and self.count < self.total)


@define
class CircleWatch:
    """Notices that landmarks come round again, in however large a circle, remembering one (Brent's algorithm)."""

    mark: str | None = None
    steps: int = 0
    power: int = 1

    def has_come_round(self, landmark: str) -> bool:
        if landmark == self.mark:
            return True
        self.steps += 1
        if self.steps == self.power:
            self.mark, self.steps, self.power = landmark, 0, self.power * 2
        return False


class Reading(Generic[T]):
    """One pass over a list: an async iterator of pages. Dropping it cancels what it had asked for ahead."""

    def __init__(
        self,
        listing: Listing[T],
        fetch: Fetch,
        on_bad_record: OnBadRecord,
        cursor: str | None,
        *,
        prefetch: int,
        first: Fetched[T] | None = None,
    ) -> None:
        self._first = first
        self._ahead: deque[tuple[str | None, asyncio.Task[Fetched[T]]]] = deque()
        self._listing, self._fetch, self._prefetch = listing, fetch, prefetch
        self._on_bad_record = on_bad_record
        self._cursor: str | None = cursor
        self._pass = self._new_pass()
        self._pass.remember(self._listing.known_at(cursor) if cursor != END else ())
        self._passes = 1
        self._met_before: set[Hashable] = set()
        self._watch = CircleWatch()
        self._from_start = cursor is None
        self._error: DecodeError | None = None
        self._turn = asyncio.Lock()  # of tasks that share the reading

    def __aiter__(self) -> Self:
        return self

    def __del__(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Drop what was asked for ahead."""
        while self._ahead:
            task = self._ahead.pop()[1]
            if not task.get_loop().is_closed():
                task.cancel()

    async def aclose(self) -> None:
        """End the reading; what is on its way is not yielded."""
        self.cancel()
        self._cursor, self._error = END, None

    async def __anext__(self) -> Page[T]:
        async with self._turn:
            while self._cursor != END or self._error:
                self._raise_pending()
                fetched = await self._next_fetched(self._cursor)
                if self._cursor == END:  # closed meanwhile
                    break
                page = self._take(fetched)
                if page is not None:
                    return page
        raise StopAsyncIteration

    def _new_pass(self) -> Pass:
        return Pass(None if self._listing.shifts else MEMORY)

    def _raise_pending(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error.with_cursor(self._cursor)

    async def _next_fetched(self, cursor: str | None) -> Fetched[T]:
        try:
            if self._first:
                first, self._first = self._first, None
                return first
            if self._ahead and self._ahead[0][0] == cursor:
                return await self._ahead.popleft()[1]
            self.cancel()
            return await ask(self._listing, self._fetch, cursor)
        except BaseException as failure:
            self.cancel()
            if isinstance(failure, LoftyError):
                raise failure.with_cursor(cursor) from failure.__cause__
            raise

    def _take(self, fetched: Fetched[T]) -> Page[T] | None:
        """Drop repeats, deal with bad records, move on; `None` where nothing new came."""
        if fetched.bad and self._on_bad_record == "raise":
            return self._up_to_bad(fetched)
        fresh = self._pass.unseen(fetched.items, self._listing.key)
        bad = self._pass.unseen(fetched.bad, _bad_key)
        for key, record in bad.items():
            if key not in self._met_before:
                self._report(record.error)
        new = self._new(fresh)
        self._pass.add([*fresh, *bad], fetched)
        self._cursor = self._after(fetched.next)
        self._look_ahead(fetched)
        return Page(new, self._cursor, fetched.total) if new else None

    def _up_to_bad(self, fetched: Fetched[T]) -> Page[T] | None:
        """The records before the first bad one, whose error comes next; the cursor stays at this page."""
        self.cancel()
        first = fetched.bad[0]
        self._error = first.error
        fresh = self._pass.unseen(fetched.items[: first.position], self._listing.key)
        self._pass.remember(fresh)
        new = self._new(fresh)
        return Page(new, self._cursor, fetched.total) if new else None

    def _new(self, fresh: dict[Hashable, T]) -> list[T]:
        """What no earlier pass has yielded."""
        return [item for key, item in fresh.items() if key not in self._met_before]

    def _report(self, error: DecodeError) -> None:
        if not callable(self._on_bad_record):
            log.warning("skipped a bad record: %s", error)
            return
        try:
            self._on_bad_record(error)
        except BaseException as failure:
            self.cancel()
            if isinstance(failure, LoftyError):
                failure.cursor = self._cursor  # not in a copy, which a caller's own kind of error may not allow
            raise

    def _after(self, following: str | None) -> str | None:
        """The cursor of the next page, `END`, or `None` to read all once more."""
        if following is None or (self._listing.stops_on_repeats and self._pass.is_repeating):
            return self._once_more()
        if following == self._cursor or self._watch.has_come_round(self._listing.landmark(following)):
            self._error = DecodeError(
                "the list never ends: the server sends its pages in a circle", request=self._listing.request
            )
            return END
        return following

    def _once_more(self) -> str | None:
        """Read again while rows may be missing and that may find them."""
        last = self._pass
        if not (self._listing.shifts and self._from_start and last.has_gaps):
            return END
        found_nothing = not last.shrank and self._met_before.issuperset(last.keys)
        if found_nothing or self._passes == PASSES:
            log.warning("%s: the list may lack records: %d of %s met", self._listing.request, last.count, last.total)
            return END
        self._met_before.update(last.keys)
        self._pass, self._passes, self._watch = self._new_pass(), self._passes + 1, CircleWatch()
        return None

    def _look_ahead(self, fetched: Fetched[T]) -> None:
        if self._cursor in {END, None}:
            self.cancel()
            return
        asked = {cursor for cursor, _ in self._ahead}
        for cursor in self._listing.ahead(fetched, self._prefetch):
            if cursor not in asked:
                task = asyncio.get_running_loop().create_task(ask(self._listing, self._fetch, cursor))
                task.add_done_callback(_hear)
                self._ahead.append((cursor, task))


def _bad_key(bad: BadRecord) -> Hashable:
    return "bad", bad.error.record_id if bad.error.record_id is not None else cut(repr(bad.record))


async def ask(listing: Listing[T], fetch: Fetch, cursor: str | None) -> Fetched[T]:
    # Not a method: a page fetched ahead must not keep alive the reading whose end cancels it.
    return listing.read(cursor, await fetch(listing.params(cursor)))


def _hear(task: "asyncio.Task[Any]") -> None:
    """Nobody may come for a page fetched ahead; asyncio would then report its failure as forgotten."""
    if not task.cancelled():
        task.exception()
