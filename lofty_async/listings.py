"""How each list of the API is paged: pure, from cursor to parameters and from body to records and the next cursor.

A listing knows how pages are asked for, not of whom. It is never changed; it is not frozen, as those that are made for
one call would take three times as long to make.
"""

from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

from attrs import define, evolve, frozen

from .checks import refuse
from .convert import structure_list
from .errors import DecodeError, cut
from .models import MeetingSlot
from .reading import Fetched, trusted
from .times import epoch_ms, format_time
from .wire import NO_PARAMS, Params

T = TypeVar("T")

LONGEST_RANGE: Final = timedelta(days=90)  # contract: of one question for slots
LONGEST_NUMBER: Final = 19  # digits of an id
OVERLAP: Final = timedelta(days=1)  # of two such questions, so that no slot falls across the seam
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT: Final = epoch_ms(datetime.max.replace(tzinfo=UTC))
LEAD_TIME: Final = timedelta(seconds=2)  # a range has to start later than the server's now


def part(body: Any, path: tuple[str, ...], request: str) -> Any:
    """The value at a path of names in an answer; missing and null are `None`."""
    for name in path:
        if body is None:
            return None
        if body.__class__ is not dict:
            place = ".".join(path[: path.index(name)]) or "the answer"
            raise DecodeError("expected an object", request=request, path=place)
        body = body.get(name)
    return body


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(cursor: str | None) -> int:
    """The number in a cursor, 0 for the list's start."""
    if cursor is None:
        return 0
    if not cursor.isdecimal() or not cursor.isascii() or len(cursor) > LONGEST_NUMBER:
        raise _foreign_cursor()
    return int(cursor)


def _foreign_cursor() -> Exception:
    return refuse("cursor", "must be one that a page or an error of this list carried")


@define(kw_only=True, eq=False)
class _Listing(Generic[T]):
    """What all listings share: the model, where its records stand in the body, what tells two records apart."""

    kind: type[T]
    request: str
    at: tuple[str, ...]

    is_whole = False
    stops_on_repeats = True
    shifts = False

    key = staticmethod(attrgetter("id"))

    def known_at(self, cursor: str | None) -> Iterable[Hashable]:  # noqa: ARG002 - for kinds whose cursor is a record
        return ()

    def landmark(self, cursor: str) -> str:
        return cursor

    def ahead(self, fetched: Fetched[T], most: int) -> list[str]:
        return [fetched.next] if fetched.next and most else []

    def _records(self, body: Any) -> list[Any]:
        """The records in an answer; a list that is missing, null or the vendor's other nothing, `""`, is empty."""
        if body is None:
            raise DecodeError("the answer is empty", request=self.request)
        records: Any = part(body, self.at, self.request)
        if records.__class__ is list:
            return records
        if records in (None, ""):
            return []
        raise DecodeError("expected a list", request=self.request, path=".".join(self.at), body=cut(repr(records)))

    def _fetched(self, records: list[Any], following: str | None, total: int | None = None) -> Fetched[T]:
        items, bad = structure_list(self.kind, records, path=".".join(self.at), request=self.request)
        return Fetched(items, bad, following, total)


@define(kw_only=True, eq=False)
class SingleListing(_Listing[T]):
    """A list that comes whole in one answer."""

    is_whole = True

    def params(self, cursor: str | None) -> Params:
        if cursor is not None:
            raise _foreign_cursor()
        return NO_PARAMS

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:  # noqa: ARG002 - same
        return self._fetched(self._records(body), None)


@define(kw_only=True, eq=False)
class AfterIdListing(_Listing[T]):
    """Pages that begin after (or, undocumented, with) the record whose id is the cursor."""

    page_size: int

    def params(self, cursor: str | None) -> Params:
        # A page of one could hold nothing but the cursor's own record, again and again.
        return {"currentId": str(_number(cursor)), "limit": str(max(2, self.page_size))}

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:  # noqa: ARG002 - the body tells the next one
        records = self._records(body)
        fetched = self._fetched(records, None)
        if len(records) < max(2, self.page_size):
            return fetched
        last_id = _last_id(records)
        if last_id is None and fetched.bad:  # nothing to go on from: the list must not just seem to end here
            raise fetched.bad[0].error
        return evolve(fetched, next=last_id)

    def known_at(self, cursor: str | None) -> Iterable[Hashable]:
        return (_number(cursor),) if cursor else ()


def _last_id(records: list[Any]) -> str | None:
    marks = (str(cast("dict[str, Any]", record).get("id")) for record in reversed(records) if isinstance(record, dict))
    return next((mark for mark in marks if mark.isdecimal() and int(mark) > 0), None)


@define(kw_only=True, eq=False)
class NumberedListing(_Listing[T]):
    """Numbered pages with a total: all that follow the first are known at once, and rows shift while one reads.

    The cursor is the number of a page and the size of pages, as other sizes put other records on it.
    """

    page_size: int

    shifts = True

    def params(self, cursor: str | None) -> Params:
        return {"page": str(self._page(cursor)), "pageSize": str(self.page_size)}

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:
        records, page, around = self._records(body), self._page(cursor), self.at[:-1]
        told = _count(part(body, (*around, "total"), self.request))
        # The server may send smaller pages than it was asked for, and not say so.
        size = _count(part(body, (*around, "pageSize"), self.request)) or len(records)
        is_full = len(records) >= size
        total = trusted(told, page * size, len(records), is_full=is_full)
        more = is_full if total is None else (page + 1) * size < total
        return self._fetched(records, self._cursor(page + 1) if more and records else None, total)

    def ahead(self, fetched: Fetched[T], most: int) -> list[str]:
        if fetched.next is None or fetched.total is None:
            return super().ahead(fetched, most)
        first, end = self._page(fetched.next), -(-fetched.total // self.page_size)
        return [self._cursor(page) for page in range(first, max(first + 1, end))[:most]]

    def _cursor(self, page: int) -> str:
        return f"{page}:{self.page_size}"

    def _page(self, cursor: str | None) -> int:
        page, _, size = (self._cursor(0) if cursor is None else cursor).partition(":")
        if _number(size) != self.page_size:
            raise refuse("cursor", f"belongs to a list of page_size={int(size)}, not {self.page_size}")
        return _number(page)


@frozen
class Place:
    """Where an offset list goes on: behind `reached` rows, of which the last has the id `last`.

    `shortest` is the lowest total told so far; `furthest` how many rows had been reached before it went back.
    """

    reached: int = 0
    shortest: int | None = None
    furthest: int = 0
    last: str = ""
    scroll: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> "Place":
        if cursor is None:
            return cls()
        reached, shortest, furthest, last, scroll = (cursor.split(":", 4) + [""] * 4)[:5]
        return cls(_number(reached), _number(shortest) if shortest else None, _number(furthest or None), last, scroll)

    def shrunk_to(self, total: int) -> int:
        """By how many rows the list became shorter than ever, where these may be missed."""
        return 0 if self.shortest is None or self.scroll or not self.reached else max(0, self.shortest - total)

    def __str__(self) -> str:
        shortest = "" if self.shortest is None else self.shortest
        return f"{self.reached}:{shortest}:{self.furthest or ''}:{self.last}:{self.scroll}".rstrip(":")


@define(kw_only=True, eq=False)
class OffsetListing(_Listing[T]):
    """Pages by offset, or by the scroll id that the server hands on; past its end the last page may come again.

    Where the list has become shorter, as many rows may have moved to before this page: it goes back by them, each
    time that the total is lower than ever. The same scroll id may serve every page.
    """

    page_size: int
    scroll: bool = False

    def params(self, cursor: str | None) -> Params:
        place = Place.of(cursor)
        where = {"scrollId": place.scroll} if place.scroll else {"offset": str(place.reached)}
        return {"limit": str(self.page_size), **where}

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:
        place, records = Place.of(cursor), self._records(body)
        told = _count(self._told(body, "total"))
        shrunk = 0 if told is None or told < len(records) else place.shrunk_to(told)
        is_full = len(records) >= (_count(self._told(body, "limit")) or len(records))
        total = told if shrunk else trusted(told, place.reached, len(records), is_full=is_full)
        fetched = self._fetched(records, None, total)
        last = str(self.key(fetched.items[-1])) if fetched.items and total is None else ""
        if last and last == place.last:
            return Fetched([])  # the page before, served again
        if shrunk:
            following: str | None = str(Place(max(0, place.reached - shrunk), told, max(place.reached, place.furthest)))
        else:
            following = self._forward(evolve(place, last=last), fetched, body, is_full=is_full)
        return evolve(fetched, next=following, is_again=place.reached < place.furthest)

    def landmark(self, cursor: str) -> str:
        return Place.of(cursor).last or cursor

    def _forward(self, place: Place, fetched: Fetched[T], body: Any, *, is_full: bool) -> str | None:
        reached = place.reached + len(fetched.items) + len(fetched.bad)
        goes_on = is_full if fetched.total is None else reached < fetched.total
        scroll = str(self._told(body, "scrollId") or "") if self.scroll else ""
        if reached == place.reached or not goes_on or (place.scroll and not scroll):
            return None
        totals = [total for total in (place.shortest, fetched.total) if total is not None]
        return str(evolve(place, reached=reached, shortest=min(totals, default=None), scroll=scroll))

    def _told(self, body: Any, name: str) -> Any:
        """What the answer says about itself; the vendor's description and its server name the place differently."""
        values = (part(body, (place, name), self.request) for place in ("_metadata", "get_metadata"))
        return next((value for value in values if value is not None), None)


@define(kw_only=True, eq=False)
class SlotListing(_Listing[MeetingSlot]):
    """Free times in a range of any length, asked for in ranges of at most 90 days and past the limit of each answer.

    The cursor is the epoch millisecond from which to ask, and start and end of the slots that come again from there.
    `now` reads the wall clock.
    """

    kind: type[MeetingSlot] = MeetingSlot
    at: tuple[str, ...] = ("data", "slots")
    start: datetime
    end: datetime
    limit: int
    now: Callable[[], datetime]

    stops_on_repeats = False

    def params(self, cursor: str | None) -> Params:
        start, end = self._range(cursor)
        zone = self.start.tzinfo
        return {
            "startTime": format_time((max(start, self.now() + LEAD_TIME) if cursor else start).astimezone(zone)),
            "endTime": format_time(end.astimezone(zone)),
            "limit": str(max(2, self.limit)),
        }

    key = staticmethod(attrgetter("start_at", "end_at"))

    def read(self, cursor: str | None, body: Any) -> Fetched[MeetingSlot]:
        records = self._records(body)
        fetched = self._fetched(records, None)
        total = _count(part(body, (*self.at[:-1], "total"), self.request)) or 0
        start, end = self._range(cursor)
        following = end - OVERLAP if end < self._end else end
        if records and (len(records) >= max(2, self.limit) or len(records) < total):
            following = min(_past(fetched, start), following)
        if not epoch_ms(start) < epoch_ms(following) < epoch_ms(self._end):
            return fetched
        met = chain(self.known_at(cursor), map(self.key, fetched.items))
        again = sorted({times for times in met if following <= times[0] <= times[1]})
        return evolve(fetched, next=":".join(str(epoch_ms(time)) for time in (following, *chain(*again))))

    def known_at(self, cursor: str | None) -> Iterable[tuple[datetime, datetime]]:
        times = _moments(cursor) if cursor else []
        return zip(times[1::2], times[2::2], strict=True)

    @property
    def _end(self) -> datetime:
        # In UTC, as two times of one zone differ by what their clocks show, whatever happens to daylight saving.
        return self.end.astimezone(UTC)

    def _range(self, cursor: str | None) -> tuple[datetime, datetime]:
        start = self.start.astimezone(UTC) if cursor is None else _moments(cursor)[0]
        if cursor is not None and start >= self._end:
            raise _foreign_cursor()
        return start, min(self._end, start + LONGEST_RANGE)


def _moments(cursor: str) -> list[datetime]:
    """One, and pairs of them."""
    numbers = [_number(number) for number in cursor.split(":")]
    if len(numbers) % 2 == 0 or max(numbers) > LAST_MOMENT:
        raise _foreign_cursor()
    return [EPOCH + timedelta(milliseconds=number) for number in numbers]


def _past(fetched: Fetched[MeetingSlot], start: datetime) -> datetime:
    """Where to go on behind a full answer; an error where no slot in it can be read."""
    if not fetched.items:
        raise fetched.bad[0].error
    last = fetched.items[-1]
    # From the last one's start, as slots may overlap; from its end, where that would stand still.
    return last.start_at if epoch_ms(last.start_at) > epoch_ms(start) else last.end_at
