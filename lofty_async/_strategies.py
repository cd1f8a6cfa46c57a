"""How each list of the API is paged, from cursor to parameters and from body to records and the next cursor. Pure."""

from collections.abc import Callable, Container, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from math import isqrt
from typing import Any, Final, TypeVar

from attrs import define, evolve, field

from ._codec import BadRecord
from ._cursor import TAIL, Cursor, Key, Rows, Trail, foreign_cursor
from ._pages import Answer, PageRead, Pages, Strategy, TimedPages, is_too_deep, missed
from ._times import epoch_ms, format_time
from ._wire import Params
from .errors import APIError, DecodeError, LoftyError
from .models import MeetingSlot

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_LIMIT: Final = 100  # records of my-tasks and leads in one answer
MAX_PAGE: Final = 500  # entries of the calendar in one answer
MAX_REREADS: Final = 3  # of a page that is empty though it cannot be, or that is older than the one before
STEP_BACK: Final = 8  # records, ten times as many with each further step: most lists shift by a few
MAX_SLACK: Final = 25  # records by which the pages of a shifting list overlap, of at most 100
MAX_BATCH: Final = 8  # pages by number from one time on: their overlap grows by a record each
LONGEST_RANGE: Final = timedelta(days=90)  # contract: of one question for slots
SEAM: Final = timedelta(days=1)  # at the end of such a range, where slots may reach beyond it
OVERSHOOT: Final = 86_400_000  # milliseconds by which a place may lie outside the years that datetimes reach
LEAD_TIME: Final = timedelta(seconds=2)  # a range has to start later than the server's now


def _moment_at(since: int) -> datetime:
    """The moment of epoch milliseconds; one just outside the years 1 to 9999, behind an entry there, becomes their end.

    Raises: InvalidRequestError if it is further outside, as no list writes it.
    """
    with suppress(OverflowError):
        return EPOCH + timedelta(milliseconds=since)
    end = datetime.max.replace(tzinfo=UTC) if since > 0 else datetime.min.replace(tzinfo=UTC)
    if abs(since) > abs(end - EPOCH) / timedelta(milliseconds=1) + OVERSHOOT:
        raise foreign_cursor()
    return end


def _text_in(moment: datetime, zone: tzinfo | None) -> str:
    """The moment as the wire has it, in this zone if its calendar reaches so far: "no end" is often the year 9999."""
    try:
        return format_time(moment.astimezone(zone))
    except OverflowError:
        return format_time(moment)


class SinglePage(Strategy[T]):
    """A list that comes whole in one answer."""


@define(kw_only=True, eq=False)
class CursorPages(TimedPages[T]):
    """Pages that begin behind (or, undocumented, with) the record whose id is asked for, newest start first.

    A page is asked for from the last record but one, so that it begins with the last. If that one has left the list,
    the server may answer anything: it is asked again from older records of the trail, and from the top in the end.
    """

    letter = "i"

    def params(self, cursor: Cursor) -> Params:
        return {"currentId": str(self._ladder(cursor)[0]), "limit": str(self._limit(cursor))}

    def read(self, cursor: Cursor, body: Any, known: Container[Hashable] = ()) -> PageRead[T]:
        answer, (asked, *others) = self._answer(body), self._ladder(cursor)
        rows, trail = answer.rows, cursor.trail
        is_all_new = not asked and not rows.found(trail)
        if others and not is_all_new and not rows.touches(trail, asked):
            return missed(cursor)
        page = answer.beyond(self._behind(cursor, rows, known))
        if answer.count < self._limit(cursor) and not (page.records and answer.count >= self.page_size):
            is_old = answer.count > 0 and not page.records and not rows.found(trail.tail[-1:])
            is_stale = is_old or answer.is_stale(trail, known) or asked in rows.ids[1:]
            return missed(cursor) if others and is_stale else page
        if others and not page.records and rows.found(trail.tail[-1:]) == [answer.count - 1]:
            return missed(cursor)  # it ends where the last one did, as the record asked from has moved
        bad = [one for one in page.records if isinstance(one, BadRecord) and self._id_of_bad(one.record) is None]
        if bad and len(bad) == len(page.records):  # nothing to go on from: the list must not just seem to end here
            raise bad[0].error
        if is_all_new:
            page.next = self._advanced(evolve(cursor, trail=Trail()), rows, is_consumed=bool(trail))
        else:
            page.next = self._advanced(cursor, rows)
        return page

    def recover(self, cursor: Cursor, error: LoftyError) -> Cursor | None:
        """Ask from an older record: a refusal may mean that the one asked from has left the list."""
        is_refusal = isinstance(error, APIError) and error.status in (400, 404)
        return evolve(cursor, step=cursor.step + 1) if is_refusal and len(self._ladder(cursor)) > 1 else None

    def _limit(self, cursor: Cursor) -> int:
        return min(MAX_LIMIT, max(3, self.page_size + 1)) if cursor.trail else max(2, self.page_size)

    def _ladder(self, cursor: Cursor) -> list[Key]:
        """The ids left to ask from; 0 is the list's top, which comes first if nothing before has stayed."""
        near, far = cursor.trail.tail[-2::-1], reversed(cursor.trail.older)
        ids = [mark.id for mark in near] + [mark.id for _, mark in far] + [0]
        return ([0, *ids] if cursor.is_consumed else ids)[cursor.step :] or [0]


@define(kw_only=True, eq=False)
class OffsetPages(Pages[T]):
    """Pages by offset from `start` on, or by the scroll id that the server hands on.

    A page begins with the last record before it. In a list that is seen to shift, pages overlap by more.
    """

    scroll: bool = False
    start: int = 0
    # The vendor's description and its server name the place differently.
    about: tuple[tuple[str, ...], ...] = (("_metadata",), ("get_metadata",))

    letter = "o"
    size_name = "limit"

    def params(self, cursor: Cursor) -> Params:
        if cursor.is_scrolling:
            return {"limit": str(self._limit(cursor)), "scrollId": cursor.scroll}
        return {"limit": str(self._limit(cursor)), "offset": str(self._offset(cursor))}

    def read(self, cursor: Cursor, body: Any, known: Container[Hashable] = ()) -> PageRead[T]:
        answer, asked = self._answer(body), self._limit(cursor)
        first = cursor.offset if cursor.is_scrolling else self._offset(cursor)
        reached = first + answer.count
        left = answer.promises(reached)
        is_stale = reached >= cursor.offset and answer.is_stale(cursor.trail, known)
        is_read_again = cursor.step >= 2 * MAX_REREADS
        if not is_read_again and (is_stale or (left and not answer.count)):
            return missed(cursor)
        if not cursor.is_scrolling and self._is_doubtful(cursor, answer, asked, left):
            return missed(cursor)
        if not self._touches(cursor, answer.rows, known) and not (is_read_again and first == self.start):
            return missed(cursor, step=cursor.step // 2 * 2 + 2)
        is_end_again = cursor.is_scrolling and self._is_known(cursor, answer.rows, known)
        page = answer.beyond(answer.rows.ids if is_end_again else self._behind(cursor, answer.rows, known))
        if not cursor.is_scrolling and cursor.step < 2 and self._has_shifted(cursor, answer, page, asked):
            return missed(cursor)
        page.left, page.total = left, answer.total if answer.total is not None and answer.total >= reached else None
        most = self._most(cursor, answer, asked, first)
        if is_end_again:
            page.ends = None  # the end, where the server may send its last page again; nothing overlaps here
        elif self._goes_on(answer, page, most, reached):
            scroll = str(self._figure(body, "scrollId") or "")
            page.next = Cursor(
                offset=reached,
                slack=max(0, min(MAX_SLACK, self._back(cursor), answer.count // 2 - 1)),
                most=most if most < asked else cursor.most,
                trail=cursor.trail.followed_by(answer.rows),
                scroll=scroll,
                is_scrolling=(self.scroll or cursor.is_scrolling) and bool(scroll),
            )
        return page

    def recover(self, cursor: Cursor, error: LoftyError) -> Cursor | None:
        """Go on by scroll id beyond the deepest offset that the server allows."""
        is_stuck = not cursor.scroll or cursor.is_scrolling or not is_too_deep(error)
        return None if is_stuck else evolve(cursor, is_scrolling=True)

    def ahead(self, page: PageRead[T], most: int) -> list[Params]:
        if page.next is None or page.next.is_scrolling or not page.left:
            return super().ahead(page, most)
        limit, overlap = self._limit(page.next), 1 + page.next.slack
        offsets = range(self._offset(page.next), page.next.offset + page.left - overlap, max(1, limit - overlap))
        return [{"limit": str(limit), "offset": str(offset)} for offset in offsets[:most]]

    def _is_known(self, cursor: Cursor, rows: Rows, known: Container[Hashable]) -> bool:
        """Whether a page that begins behind the last one has what was read before."""
        return all(key in known for key in rows.ids) or rows.found(cursor.trail.tail[-1:]) == [len(rows.ids) - 1]

    def _touches(self, cursor: Cursor, rows: Rows, known: Container[Hashable]) -> bool:
        begins_known = len(rows.ids) > 0 and all(key in known for key in rows.ids[:2])
        return not cursor.trail or cursor.is_scrolling or begins_known or rows.touches(cursor.trail)

    def _limit(self, cursor: Cursor) -> int:
        overlap = 1 + self._back(cursor) if cursor.trail and not cursor.is_scrolling else 0
        return min(MAX_LIMIT, cursor.most or MAX_LIMIT, self.page_size + overlap)

    def _offset(self, cursor: Cursor) -> int:
        overlap = 1 + self._back(cursor) if cursor.trail else 0
        return max(self.start, cursor.offset - overlap)

    def _back(self, cursor: Cursor) -> int:
        """How many records before the last one the page begins; every other step asks for the same page again.

        A page has room for the last record if the list has shifted by less than a page since.
        """
        turn, far = cursor.step // 2, (cursor.most or MAX_LIMIT) * 4 // 5
        return cursor.slack + STEP_BACK * turn if turn < 2 else far * (turn - 1) * 10 ** max(0, turn - 10)


def numbered(before: int, size: int, most: int = MAX_PAGE) -> tuple[int, int]:
    """Number and size of a page that begins at most `before` records into a list and goes about `size` beyond.

    Pages of one size would never overlap; this one begins with a record that is already known. It ends behind
    that record at least, which one size of some neighbours always does.
    """
    wanted, further = before + 1 + size, range(before // most + 1, isqrt(before) + 1)
    sizes = {*range(max(1, most - 9), most + 1), *(before // number for number in further)}
    pages = [(0, min(most, wanted)), *((before // each, each) for each in sizes if 0 < each <= before)]
    return max(pages, key=lambda page: (min(wanted, (page[0] + 1) * page[1]), page[0] * page[1]))


@define(kw_only=True, eq=False)
class TimePages(TimedPages[T]):
    """Pages of the calendar: each is asked for from the last start seen, so that nothing can shift.

    `start` and `end` are the list's own range. Numbers of pages are used only for entries that start together and fill
    more than a page, for those of which many last beyond it, in lists that do not come in the order of their starts
    (`is_by_start`), and, some at a time, `side_by_side`. Newest first, a page is asked for *until* the last start
    seen, as long as the server is seen to include entries that end later than that.
    """

    start: datetime | None
    end: datetime | None
    newest_first: bool = False
    is_by_start: bool = True
    side_by_side: bool = False
    about: tuple[tuple[str, ...], ...] = field(default=(("data",),))

    letter = "t"
    has_text_ids = True
    size_name = "pageSize"

    def params(self, cursor: Cursor) -> Params:
        page, size = self._numbered(cursor)
        asked = {"page": str(page), "pageSize": str(size)}
        if cursor.since is None:
            return asked
        bound = _text_in(_moment_at(cursor.since), (self.start or self.end or EPOCH).tzinfo)
        return {**asked, "endTime" if self.newest_first else "startTime": bound}

    def read(self, cursor: Cursor, body: Any, known: Container[Hashable] = ()) -> PageRead[T]:
        answer, (number, asked) = self._answer(body), self._numbered(cursor)
        if number and cursor.trail and not answer.rows.touches(cursor.trail):
            is_by_number = cursor.slack or not self.side_by_side
            changes = {} if is_by_number and not cursor.step else self._at_frontier(cursor)
            return missed(cursor, **{**changes, "slack": 1})
        most = self._most(cursor, answer, asked, number * min(asked, answer.size or asked))
        reached = number * most + answer.count
        left = answer.promises(reached)
        is_empty = not answer.count and (left or cursor.trail)
        is_again = cursor.step < MAX_REREADS and (is_empty or answer.is_stale(cursor.trail, known))
        if is_again or self._is_doubtful(cursor, answer, asked, left):
            return missed(cursor)
        is_proven = self._proof(cursor, answer) if cursor.is_proven is None else cursor.is_proven
        if is_proven is False and cursor.since is not None:
            return missed(cursor, since=None, offset=0, step=0, is_proven=False)
        page = answer.beyond(self._behind(cursor, answer.rows, known))
        if most < asked and cursor.trail and not page.records:
            return missed(cursor, most=most, step=cursor.step)
        if self._has_shifted(cursor, answer, page, asked) and (changes := self._at_frontier(cursor)):
            return missed(cursor, **{**changes, "slack": 1})
        page.left, total = left, answer.total if answer.total is not None and answer.total >= reached else None
        page.total = cursor.total if cursor.trail else total
        if self._goes_on(answer, page, most, reached):
            kept = {"since": cursor.since, "slack": cursor.slack, "total": page.total, "is_proven": is_proven}
            cap = most if most < asked else cursor.most
            following = self._advanced(cursor, answer.rows, offset=reached, most=cap, **kept)
            in_batch = self.side_by_side and not cursor.slack and left and number < MAX_BATCH - 1
            page.next = following if in_batch else self._from_frontier(following, answer)
            if cursor.since is not None and not number and all(isinstance(one, BadRecord) for one in page.records):
                page.ends = None  # entries that end later come first from each time on: no page that is served again
        return page

    def recover(self, cursor: Cursor, error: LoftyError) -> Cursor | None:
        """Go on from the last start seen where page numbers are too deep for the server."""
        changes = self._at_frontier(cursor) if is_too_deep(error) else {}
        return evolve(cursor, **changes) if changes else None

    def ahead(self, page: PageRead[T], most: int) -> list[Params]:
        if page.next is None or page.next.slack or not (self.side_by_side and page.left):
            return super().ahead(page, most)
        total, cursors = page.left + (page.next.offset or 1), [page.next]
        while len(cursors) < most:
            number, size = self._numbered(cursors[-1])
            if number >= MAX_BATCH - 1 or (number + 1) * size >= total:
                break
            cursors.append(evolve(cursors[-1], offset=(number + 1) * size))
        return [self.params(cursor) for cursor in cursors]

    def _numbered(self, cursor: Cursor) -> tuple[int, int]:
        if not cursor.trail:  # the list's start, or behind bad records that have no id
            size = min(self.page_size, cursor.most or MAX_PAGE)
            return cursor.offset // size, size
        back = STEP_BACK * 10 ** (cursor.step - 1) if cursor.step else 0
        last, most = max(0, cursor.offset - 1), cursor.most or MAX_PAGE
        before = max(0, last - back)
        return numbered(before, self.page_size + last - before, most)

    def _at_frontier(self, cursor: Cursor) -> dict[str, Any]:
        """The changes of the cursor to go on from the last start seen: none where that brings no progress.

        A second earlier, as the filter may not include its bound.
        """
        if not self.is_by_start or cursor.frontier is None or cursor.is_proven is False:
            return {}
        second, own = cursor.frontier // 1000, self.end if self.newest_first else self.start
        since = (second + 2) * 1000 if self.newest_first else (second - 1) * 1000
        current = cursor.since if cursor.since is not None or own is None else epoch_ms(own)
        return {"since": since, "offset": 0, "step": 0} if current is None or self._is_beyond(since, current) else {}

    def _from_frontier(self, following: Cursor, answer: Answer[T]) -> Cursor:
        """The cursor from the last start seen on; by number if much of the page would then come again.

        The filter may ask for entries that end later.
        """
        changes = self._at_frontier(following)
        if changes and not self.newest_first:
            entries: list[Any] = [one for one in answer.records if not isinstance(one, BadRecord)]
            spans = [(epoch_ms(one.start_at), epoch_ms(one.end_at)) for one in entries if one.start_at and one.end_at]
            if 4 * sum(start < changes["since"] < end for start, end in spans) > answer.count:
                return following
        return evolve(following, **changes)

    def _proof(self, cursor: Cursor, answer: Answer[T]) -> bool | None:
        """Whether asking *until* a time includes entries that end later; `None` where nothing depends on it."""
        if not self.newest_first or cursor.since is None:
            return None
        entries: list[Any] = [one for one in answer.records if not isinstance(one, BadRecord)]
        if any(entry.end_at and epoch_ms(entry.end_at) > cursor.since for entry in entries):
            return True
        are_moments = all(entry.end_at in (None, entry.start_at) for entry in entries)
        return None if are_moments and answer.rows.touches(cursor.trail) else False


@define(kw_only=True, eq=False)
class SlotWindows(Pages[MeetingSlot]):
    """Free times in a range of any length: windows of at most 90 days, each from the last slot's start on.

    A window leaves the slots of its last day to the next one, which shows them whole. Where more slots start together
    than an answer holds, twice as many are asked for. `now` reads the wall clock.
    """

    model: type[MeetingSlot] = MeetingSlot
    at: tuple[str, ...] = ("data", "slots")
    about: tuple[tuple[str, ...], ...] = (("data",),)
    start: datetime
    end: datetime
    now: Callable[[], datetime]

    letter = "s"
    has_text_ids = True
    is_timed = True

    def params(self, cursor: Cursor) -> Params:
        start, end = (_text_in(time, self.start.tzinfo) for time in self._window(cursor))
        return {"startTime": start, "endTime": end, "limit": str(self._limit(cursor))}

    def read(self, cursor: Cursor, body: Any, known: Container[Hashable] = ()) -> PageRead[MeetingSlot]:  # noqa: ARG002 - times do
        answer, (start, end) = self._answer(body), self._window(cursor)
        rows, seam = answer.rows, end - SEAM if end < self._end else end
        is_full = answer.count and (answer.count >= self._limit(cursor) or answer.promises(answer.count))
        last = next((time for time in reversed(rows.times) if time), None)
        if is_full and last is None:
            raise next(one.error for one in answer.records if isinstance(one, BadRecord))
        since = EPOCH if cursor.since is None else start
        outside = {key for key, time in zip(rows.ids, rows.times, strict=True) if time and not since <= time < seam}
        page = answer.beyond(outside.union(mark.id for mark in cursor.trail))
        page.ends = None  # times go on, so that the same slots again are no page that is served again
        if is_full and last and last < seam:
            page.next = self._from_last(cursor, rows, last)
        elif seam < end:
            page.next = Cursor(since=epoch_ms(seam))
        return page

    def recover(self, cursor: Cursor, error: LoftyError) -> Cursor | None:
        """Leave out what has passed meanwhile, which the server refuses to look at."""
        now = epoch_ms(self.now() + LEAD_TIME)
        has_passed = cursor.since is not None and cursor.since < now < epoch_ms(self._end)
        return evolve(cursor, since=now) if has_passed and isinstance(error, APIError) and error.status == 400 else None

    def key(self, item: MeetingSlot) -> Hashable:
        return item.start_at, item.end_at

    def _id(self, item: MeetingSlot) -> Key:
        return f"{epoch_ms(item.start_at)}-{epoch_ms(item.end_at)}"

    def _limit(self, cursor: Cursor) -> int:
        return max(2, self.page_size + bool(cursor.trail)) << min(cursor.step, 20)

    @property
    def _end(self) -> datetime:
        # In UTC, as two times of one zone differ by what their clocks show, whatever happens to daylight saving.
        return self.end.astimezone(UTC)

    def _window(self, cursor: Cursor) -> tuple[datetime, datetime]:
        start = self.start.astimezone(UTC)
        if cursor.since is not None and (start := _moment_at(cursor.since)) >= self._end:
            raise foreign_cursor()
        return start, start + min(self._end - start, LONGEST_RANGE)

    def _from_last(self, cursor: Cursor, rows: Rows, last: datetime) -> Cursor:
        """Behind a full answer: from its last start on, or more of it where all start together."""
        together = [rows.mark(place) for place, time in enumerate(rows.times) if time == last]
        trail = Trail(tuple(together[-TAIL:]))
        if epoch_ms(last) > epoch_ms(self._window(cursor)[0]):
            return Cursor(since=epoch_ms(last), trail=trail)
        if len(rows.ids) < self._limit(cursor):
            raise DecodeError(f"more slots start at {last.isoformat()} than the server sends", request=self.request)
        return evolve(cursor, step=cursor.step + 1, trail=trail)
