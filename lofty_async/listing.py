"""What one list of the API is made of: how its pages are asked for and read. Pure.

A listing knows how pages are asked for, not of whom. It is never changed; it is not frozen, as those that are made for
one call would take three times as long to make.
"""

from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import define, field

from .checks import refuse
from .convert import BadRecord, structure_list
from .errors import DecodeError, cut
from .wire import Params

T = TypeVar("T")

LONGEST_NUMBER: Final = 19  # digits of an id


@define
class Fetched(Generic[T]):
    """One answer, read: `next` is the cursor of what follows, `None` at the end.

    `is_again` says that its rows were read before, so that it is no sign of the end if none of them is new.
    """

    items: list[T]
    bad: tuple[BadRecord, ...] = ()
    next: str | None = None
    total: int | None = None
    is_again: bool = False


def trusted(total: int | None, before: int, count: int, *, is_full: bool) -> int | None:
    """A total, unless more rows were met than it tells: 0 may mean "none", and must not end the list.

    Behind a page that is not full no more rows come: there, a lower total tells that the list became shorter.
    """
    return None if total is not None and total < (before + count if is_full else count) else total


class Listing(Protocol[T]):
    """How one list is paged: pure, from cursor to parameters and from body to records.

    `request` names the call. `is_whole` says that one answer holds all there is; `stops_on_repeats` that pages
    without a new record end the list; `shifts` that rows move while it is read, so that all keys are kept and their
    count is held against the total.
    """

    is_whole: bool
    stops_on_repeats: bool
    shifts: bool

    @property
    def request(self) -> str: ...

    def whole(self, body: Any) -> tuple[list[T], tuple[BadRecord, ...]]:
        """All records of an answer, and the bad ones."""
        ...

    def params(self, cursor: str | None) -> Params:
        """What to ask for a page; refuses a cursor that is none of this list's."""
        ...

    def read(self, cursor: str | None, body: Any) -> Fetched[T]: ...

    def key(self, item: T, /) -> Hashable: ...

    def known_at(self, cursor: str | None) -> Iterable[Hashable]:
        """Keys that a page at this cursor may repeat."""
        ...

    def landmark(self, cursor: str) -> str:
        """What comes again where a server sends its pages in a circle."""
        ...

    def ahead(self, fetched: Fetched[T], most: int) -> list[str]:
        """Cursors of up to `most` pages that can be asked for now."""
        ...


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


def count_of(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def number_in(cursor: str | None) -> int:
    """The number in a cursor, 0 for the list's start."""
    if cursor is None:
        return 0
    if not cursor.isdecimal() or not cursor.isascii() or len(cursor) > LONGEST_NUMBER:
        raise foreign_cursor()
    return int(cursor)


def foreign_cursor() -> Exception:
    return refuse("cursor", "must be one that a page or an error of this list carried")


@define(kw_only=True, eq=False)
class BaseListing(Generic[T]):
    """What all listings share: the model, where its records stand in the body, what tells two records apart."""

    kind: type[T]
    request: str
    at: tuple[str, ...]
    place: str = field(init=False)

    is_whole = False
    stops_on_repeats = True
    shifts = False

    key = staticmethod(attrgetter("id"))

    def __attrs_post_init__(self) -> None:
        self.place = ".".join(self.at)

    def whole(self, body: Any) -> tuple[list[T], tuple[BadRecord, ...]]:
        return structure_list(self.kind, self._records(body), path=self.place, request=self.request)

    def known_at(self, cursor: str | None) -> Iterable[Hashable]:  # noqa: ARG002 - for kinds whose cursor is a record
        return ()

    def landmark(self, cursor: str) -> str:
        return cursor

    def ahead(self, fetched: Fetched[T], most: int) -> list[str]:
        return [fetched.next] if fetched.next and most else []

    def _records(self, body: Any) -> list[Any]:
        """The records in an answer; a list that is missing, null or the vendor's other nothing, `""`, is empty.

        Where a message stands in its place, nobody knows what there is.
        """
        if body is None:
            raise DecodeError("the answer is empty", request=self.request)
        records: Any = part(body, self.at, self.request)
        if records.__class__ is list:
            return records
        if records in (None, "") and not self._is_notice(body):
            return []
        raise DecodeError("expected a list", request=self.request, path=self.place, body=cut(repr(records)))

    def _is_notice(self, body: dict[str, Any]) -> bool:
        return bool(self.at) and self.at[0] not in body and "message" in body

    def _fetched(self, records: list[Any], following: str | None = None, total: int | None = None) -> Fetched[T]:
        read = structure_list(self.kind, records, path=self.place, request=self.request)
        return Fetched(*read, following, total)
