"""What every list call returns: records as they come, page by page, one page fetched ahead of the reader."""

from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar
from weakref import WeakSet

from attrs import define, evolve, field

from .checks import OnBadRecord, refuse, within
from .errors import LoftyError
from .listing import Fetched, Listing
from .reading import END, Fetch, Page, Reading

__all__ = ["END", "Items", "Page", "Pager"]

T = TypeVar("T")


class Items(Generic[T]):
    """The records of a reading, one by one."""

    __slots__ = ("_items", "_reading")

    def __init__(self, reading: Reading[T]) -> None:
        self._reading = reading
        self._items: deque[T] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            # Added, not put in place: of two tasks that share this, the other may have brought a page meanwhile.
            self._items += (await anext(self._reading)).items
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the reading; what it had brought is not yielded either."""
        self._items.clear()
        await self._reading.aclose()


@define(eq=False)
class Pager(Generic[T]):
    """A list that is asked for when it is read, as often as it is read.

    Iterating it yields records; no request is sent before. `prefetch` pages are fetched ahead of the reader: more
    than one only where the server tells the length of the list. Records that repeat one of the last 5,000 are
    dropped; in lists whose rows shift while they are read, those that repeat any.

    A failure carries the `cursor` to `resume` from. Where it is a bad record, its page then comes again from the top:
    the good records before it, which had been yielded, are yielded once more.
    """

    listing: Listing[T]
    fetch: Fetch = field(repr=False)
    on_bad_record: OnBadRecord = "raise"
    prefetch: int = 1
    cursor: str | None = None
    _readings: "WeakSet[Reading[T]] | None" = field(default=None, init=False, repr=False)

    def __aiter__(self) -> Items[T]:
        return Items(self._reading(self.prefetch))

    def pages(self) -> Reading[T]:
        """The list page by page, empty pages left out."""
        return self._reading(self.prefetch)

    def resume(self, cursor: str | None) -> "Pager[T]":
        """The rest of the list behind a page's or an error's cursor; all of it for `None`.

        Raises: InvalidRequestError where the cursor is none of this list's.
        """
        if cursor is not None and not isinstance(cursor, str):
            raise refuse("cursor", "must be one that a page or an error carried")
        if cursor != END:
            self.listing.params(cursor)
        return evolve(self, cursor=cursor)

    async def first(self) -> T | None:
        """The first record, `None` where there is none."""
        async for item in Items(self._reading(0)):
            return item
        return None

    async def collect(self, limit: int | None = None) -> list[T]:
        """All records, or the first `limit` of them, in a list.

        What had been read before a failure is lost with it: its `cursor` is where this list began, so that
        `resume` brings all of it.

        Raises: InvalidRequestError where `limit` is negative.
        """
        if limit is not None and within("limit", limit, 0) == 0:
            return []
        if self.listing.is_whole and self.cursor is None:
            items, bad = self.listing.whole(await self.fetch(self.listing.params(None)))
            if not bad and (len(items) < 2 or len(set(map(self.listing.key, items))) == len(items)):
                return items if limit is None else items[:limit]
            first = Fetched(items, bad)
            reading = Reading(self.listing, self.fetch, self.on_bad_record, None, prefetch=0, first=first)
        else:
            reading = self._reading(self.prefetch if limit is None else 0)
        try:
            return await _collected(reading, limit)
        except LoftyError as error:
            error.cursor = self.cursor
            raise

    async def aclose(self) -> None:
        """End every reading under way; what was asked for ahead is cancelled, what is on its way is not yielded."""
        for reading in list(self._readings or ()):
            await reading.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _reading(self, prefetch: int) -> Reading[T]:
        reading = Reading(self.listing, self.fetch, self.on_bad_record, self.cursor, prefetch=prefetch)
        if self._readings is None:
            self._readings = WeakSet()
        self._readings.add(reading)
        return reading


async def _collected(reading: Reading[T], limit: int | None) -> list[T]:
    collected: list[T] = []
    async for page in reading:
        collected += page.items
        if limit is not None and len(collected) >= limit:
            break
    return collected[:limit]
