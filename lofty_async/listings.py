"""How each list of the API is paged, from cursor to parameters and from body to records and the next cursor. Pure.

Free slots have their own module.
"""

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar, cast

from attrs import define, evolve, frozen

from .checks import refuse
from .listing import BaseListing, Fetched, count_of, foreign_cursor, number_in, part, trusted
from .wire import NO_PARAMS, Params

T = TypeVar("T")


@define(kw_only=True, eq=False)
class SingleListing(BaseListing[T]):
    """A list that comes whole in one answer."""

    is_whole = True

    def params(self, cursor: str | None) -> Params:
        if cursor is not None:
            raise foreign_cursor()
        return NO_PARAMS

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:  # noqa: ARG002 - same
        return Fetched(*self.whole(body))


@define(kw_only=True, eq=False)
class AfterIdListing(BaseListing[T]):
    """Pages that begin after (or, undocumented, with) the record whose id is the cursor."""

    page_size: int

    def params(self, cursor: str | None) -> Params:
        # A page of one could hold nothing but the cursor's own record, again and again.
        return {"currentId": str(number_in(cursor)), "limit": str(max(2, self.page_size))}

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:  # noqa: ARG002 - the body tells the next one
        records = self._records(body)
        fetched = self._fetched(records)
        if len(records) < max(2, self.page_size):
            return fetched
        last_id = _last_id(records)
        if last_id is None and fetched.bad:  # nothing to go on from: the list must not just seem to end here
            raise fetched.bad[0].error
        return evolve(fetched, next=last_id)

    def known_at(self, cursor: str | None) -> Iterable[Hashable]:
        return (number_in(cursor),) if cursor else ()


def _last_id(records: list[Any]) -> str | None:
    marks = (str(cast("dict[str, Any]", record).get("id")) for record in reversed(records) if isinstance(record, dict))
    return next((mark for mark in marks if mark.isdecimal() and int(mark) > 0), None)


@define(kw_only=True, eq=False)
class NumberedListing(BaseListing[T]):
    """Numbered pages with a total: all that follow the first are known at once, and rows shift while one reads.

    The cursor is the number of a page and the size of pages, as other sizes put other records on it.
    """

    page_size: int

    shifts = True

    def params(self, cursor: str | None) -> Params:
        return {"page": str(self._page(cursor)), "pageSize": str(self.page_size)}

    def read(self, cursor: str | None, body: Any) -> Fetched[T]:
        records, page, around = self._records(body), self._page(cursor), self.at[:-1]
        told = count_of(part(body, (*around, "total"), self.request))
        # The server may send smaller pages than it was asked for, and not say so.
        size = count_of(part(body, (*around, "pageSize"), self.request)) or len(records)
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
        if number_in(size) != self.page_size:
            raise refuse("cursor", f"belongs to a list of page_size={int(size)}, not {self.page_size}")
        return number_in(page)


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
        return cls(
            number_in(reached), number_in(shortest) if shortest else None, number_in(furthest or None), last, scroll
        )

    def shrunk_to(self, total: int) -> int:
        """By how many rows the list became shorter than ever, where these may be missed."""
        return 0 if self.shortest is None or self.scroll or not self.reached else max(0, self.shortest - total)

    def __str__(self) -> str:
        shortest = "" if self.shortest is None else self.shortest
        return f"{self.reached}:{shortest}:{self.furthest or ''}:{self.last}:{self.scroll}".rstrip(":")


@define(kw_only=True, eq=False)
class OffsetListing(BaseListing[T]):
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
        told = count_of(self._told(body, "total"))
        shrunk = 0 if told is None or told < len(records) else place.shrunk_to(told)
        is_full = len(records) >= (count_of(self._told(body, "limit")) or len(records))
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
