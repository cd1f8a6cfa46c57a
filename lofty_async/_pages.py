"""The parts that all page strategies share: answers as they are read, and the test that two of them touch. Pure.

No answer is trusted to continue the one before it: pages overlap by a record, and a page that does not touch the trail
of its cursor is *missed*, that is discarded and asked for again from further back. So nothing between two pages is
lost, whatever is added, deleted or moved meanwhile. Counts only say when to stop.
"""

from collections.abc import Container, Hashable, Sequence
from operator import ge, le
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from attrs import define, evolve

from ._codec import BadRecord, structure_list
from ._cursor import Cursor, Key, Mark, Rows, Trail, foreign_cursor
from ._times import epoch_ms
from ._wire import NO_PARAMS, Params, part
from .errors import APIError, DecodeError, LoftyError, shown

T = TypeVar("T")

RESUMED: Final[Hashable] = ("resumed",)
"""Among the keys of records read lately: that some before them may be missing."""
MIN_LIMIT: Final = 10  # that a server may have for the records of an answer, where it does not say so


@define
class PageRead(Generic[T]):
    """One answer, read.

    `records` are those that the cursor does not know of, the bad ones at their places; `next` is the cursor of what
    follows, `None` at the end. `missed` says that the answer was discarded, so that `next` asks for the same page
    again. `count` is how many records the answer had, `ends` tells pages apart: by it, and by the ids of the first and
    the last of them; `left` is how many are promised to follow.
    """

    records: list[T | BadRecord]
    has_bad: bool = False
    next: Cursor | None = None
    total: int | None = None
    missed: bool = False
    count: int = 0
    ends: Hashable = None
    left: int = 0


def count_in(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def is_too_deep(error: LoftyError) -> bool:
    """Whether a list was asked for beyond the depth that the server allows (contract, section 6)."""
    return isinstance(error, APIError) and error.name == "OFFSET_EXCEED_LIMIT"


@define(kw_only=True, eq=False)
class Strategy(Generic[T]):
    """How one list is paged.

    `model` is what its records become, `request` names the call, `at` is where the records stand in the body.
    """

    model: type[T]
    request: str
    at: tuple[str, ...]

    is_whole: ClassVar[bool] = True
    letter: ClassVar[str] = "w"
    has_text_ids: ClassVar[bool] = False
    is_timed: ClassVar[bool] = False

    def key(self, item: Any) -> Hashable:
        """The key that tells two records of the list apart."""
        return item.id  # type: ignore[no-any-return] # of every model that is listed

    def parse(self, text: object) -> Cursor:
        """The cursor with this text.

        Raises: InvalidRequestError if it is none of this list's.
        """
        cursor = Cursor.parse(self.letter, text)
        try:
            self.params(cursor)
        except (OverflowError, ValueError):
            raise foreign_cursor() from None
        if self.is_whole or any(isinstance(mark.id, str) is not self.has_text_ids for mark in cursor.trail):
            raise foreign_cursor()
        return cursor

    def params(self, cursor: Cursor) -> Params:  # noqa: ARG002 - the other strategies use it
        """The parameters that ask for the page at this cursor."""
        return NO_PARAMS

    def read(self, cursor: Cursor, body: Any, known: Container[Hashable] = ()) -> PageRead[T]:  # noqa: ARG002 - same
        """The records of an answer; `known` has the keys of records that were read lately."""
        return PageRead(*self._records(body))

    def recover(self, cursor: Cursor, error: LoftyError) -> Cursor | None:  # noqa: ARG002 - same
        """Another way to ask for the page that failed, `None` if the error stands."""
        return None

    def ahead(self, page: PageRead[T], most: int) -> list[Params]:
        """The parameters of the pages that follow this one, at most so many, as far as they are known."""
        return [self.params(page.next)] if page.next and most else []

    def _records(self, body: Any) -> tuple[list[T | BadRecord], bool]:
        """All records of an answer, and whether some are bad."""
        items, bad = structure_list(self.model, self._list(body), path=".".join(self.at), request=self.request)
        records: list[T | BadRecord] = [*items] if bad else items  # type: ignore[assignment] # it is not added to
        for number, one in enumerate(bad):
            records.insert(one.position + number, one)
        return records, bool(bad)

    def _list(self, body: Any) -> list[Any]:
        """The list in an answer; one that is missing, null or the vendor's other nothing, `""`, is empty.

        Where a message stands in its place, nobody knows what there is.
        """
        if body is None:
            raise DecodeError("the answer is empty", request=self.request)
        records: Any = part(body, self.at, self.request)
        if records.__class__ is list:
            return records
        is_notice = bool(self.at) and self.at[0] not in body and "message" in body
        if records in (None, "") and not is_notice:
            return []
        raise DecodeError("expected a list", request=self.request, path=".".join(self.at), body=shown(records))


@define
class Answer(Generic[T]):
    """The records of one answer, their ids and times, and what the answer says about itself."""

    records: list[T | BadRecord]
    has_bad: bool
    rows: Rows
    total: int | None = None
    size: int | None = None

    @property
    def count(self) -> int:
        return len(self.records)

    def beyond(self, behind: Container[Key | None]) -> PageRead[T]:
        """The page without the records that lie behind."""
        fresh = [one for one, key in zip(self.records, self.rows.ids, strict=True) if key is None or key not in behind]
        return PageRead(fresh, self.has_bad, count=self.count, ends=self._ends)

    @property
    def _ends(self) -> Hashable:
        ids: list[Key] = [key for key in self.rows.ids if key is not None]
        ids = ids or [shown(one.record) for one in self.records if isinstance(one, BadRecord)]
        return (ids[0], ids[-1], self.count) if ids else None

    def is_stale(self, trail: Trail, known: Container[Hashable]) -> bool:
        """Whether it brings nothing new and does not reach up to the trail's last record either."""
        last = trail.tail[-1:]
        return bool(last and self.records) and not self.rows.found(last) and all(key in known for key in self.rows.ids)

    def promises(self, reached: int) -> int:
        """How many records the total promises behind those reached."""
        return max(0, (self.total or 0) - reached)


@define(kw_only=True, eq=False)
class Pages(Strategy[T]):
    """A list of several pages."""

    page_size: int
    about: tuple[tuple[str, ...], ...] = ()  # where an answer may speak about itself

    is_whole = False
    total_name: ClassVar[str] = "total"
    size_name: ClassVar[str] = ""

    def _answer(self, body: Any) -> Answer[T]:
        records, has_bad = self._records(body)
        ids = [self._id_of_bad(one.record) if isinstance(one, BadRecord) else self._id(one) for one in records]
        times = [getattr(one, "start_at", None) for one in records] if self.is_timed else []
        total, size = (count_in(self._figure(body, name)) for name in ("total", self.size_name))
        return Answer(records, has_bad, Rows(ids, times), total, size)

    def _figure(self, body: Any, name: str) -> Any:
        values = (part(body, (*place, name), self.request) for place in self.about)
        return next((value for value in values if value is not None), None)

    def _is_doubtful(self, cursor: Cursor, answer: Answer[T], asked: int, left: int) -> bool:
        """Whether to ask once more, as an answer has fewer records than asked for though more are promised."""
        is_short = 0 < answer.count < min(asked, answer.size or asked)
        return is_short and left > 0 and bool(cursor.trail) and not cursor.step

    def _has_shifted(self, cursor: Cursor, answer: Answer[T], page: PageRead[T], asked: int) -> bool:
        """Whether a full page ends with the last record read: as many as it has were added before it meanwhile."""
        is_full = answer.count >= asked and not page.records
        return is_full and answer.rows.found(cursor.trail.tail[-1:]) == [answer.count - 1]

    def _most(self, cursor: Cursor, answer: Answer[T], asked: int, before: int) -> int:
        """How many records the server sends at once: fewer than asked for, if it says so or the total does not fit."""
        most = min(asked, answer.size or asked)
        is_more_promised = answer.total and answer.total >= cursor.offset and answer.total != before + answer.count
        if not 0 < answer.count < most or not is_more_promised:
            return most
        return min(most, max(MIN_LIMIT, answer.count, (cursor.most or self.page_size) if cursor.trail else 0))

    def _goes_on(self, answer: Answer[T], page: PageRead[T], most: int, reached: int) -> bool:
        """Whether another page follows: this one is full, or has news and as many records as a page should have."""
        may_be_full = page.left or (answer.count >= self.page_size and answer.total != reached)
        return answer.count > 0 and (answer.count >= most or bool(page.records and may_be_full))

    def _id(self, item: Any) -> Key:
        return item.id  # type: ignore[no-any-return] # a number or text

    def _id_of_bad(self, record: Any) -> Key | None:
        """The id of a record that is otherwise bad; numbers may come as text."""
        fields = cast("dict[str, Any]", record) if isinstance(record, dict) else {}
        raw = fields.get("id") or fields.get("leadId")
        if self.has_text_ids:
            return raw if isinstance(raw, str) else None
        text = str(raw) if isinstance(raw, int | str) and not isinstance(raw, bool) else ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) else None

    def _behind(self, cursor: Cursor, rows: Rows, known: Container[Hashable]) -> set[Key | None]:
        """The ids of records that were read before: the trail's, and those up to it unless memory knows better."""
        if not cursor.trail:
            return set()
        before: Sequence[Key | None] = rows.ids[: rows.seam(cursor.trail)]
        if RESUMED not in known:
            before = [key for key in before if key in known]
        return {*(mark.id for mark in cursor.trail), *before}


def missed(cursor: Cursor, **changes: Any) -> PageRead[Any]:
    return PageRead([], missed=True, next=evolve(cursor, **{"step": cursor.step + 1, **changes}))


class TimedPages(Pages[T]):
    """Pages in the order of the records' starts."""

    is_timed = True
    newest_first: bool = True

    def _is_beyond(self, time: int, other: int) -> bool:
        """Whether a time comes after another one in the order of the list."""
        return time < other if self.newest_first else time > other

    def _is_sorted(self, rows: Rows) -> bool:
        times = [time for time in rows.times if time is not None]
        return all(map(ge if self.newest_first else le, times, times[1:]))

    def _behind(self, cursor: Cursor, rows: Rows, known: Container[Hashable]) -> set[Key | None]:
        """Those before the last start seen as well, wherever the trail is."""
        behind = super()._behind(cursor, rows, known) | {cursor.frontier_id}
        if cursor.frontier is not None and self._is_sorted(rows):
            for key, time in zip(rows.ids, rows.times, strict=True):
                if time is not None and not self._is_beyond(cursor.frontier, epoch_ms(time)):
                    break
                if time is not None:
                    behind.add(key)
        return behind

    def _advanced(self, cursor: Cursor, rows: Rows, **changes: Any) -> Cursor:
        """The cursor with the trail and the last start of a page that touches it."""
        trail = cursor.trail.followed_by(rows)
        if not (cursor.is_sorted and self._is_sorted(rows)):
            return Cursor(trail=trail, is_sorted=False, **changes)
        place = next((place for place in reversed(range(len(rows.times))) if rows.times[place] is not None), None)
        last = Mark("") if place is None else rows.mark(place)
        if last.time is None or (cursor.frontier is not None and self._is_beyond(cursor.frontier, last.time)):
            last = Mark(cursor.frontier_id or "", cursor.frontier)
        return Cursor(trail=trail, frontier=last.time, frontier_id=last.id or None, **changes)
