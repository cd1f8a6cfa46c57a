"""Where a list goes on: a small value, and its text. Pure.

A cursor says where to ask for the next page and carries a trail: a few of the records before it. A page that holds
some of them touches what was read; one that holds none does not, and is asked for again from further back.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from zlib import compress, decompressobj
from zlib import error as ZlibError  # noqa: N812 - it is a class

from attrs import asdict, define, fields, frozen

from ._checks import refuse
from ._times import epoch_ms
from .errors import InvalidRequestError

Key = int | str

TAIL: Final = 5  # records at the end of a page: most of them stay where they are
VERSION: Final = 1  # of the text
MAX_TEXT: Final = 16_384  # characters; most cursors have 200 to 400, a scroll id of the server may be longer
MAX_NUMBER: Final = 2**63
MAX_STEP: Final = 999  # of which each may go back ten times as far

END: Final = "end"
"""The text of the cursor behind the last page."""


@frozen
class Mark:
    """A record that was read: its id and, in lists that are sorted by time, its time in epoch milliseconds."""

    id: Key
    time: int | None = None


@frozen
class Trail:
    """Some of the records read so far: the last ones, and others at distances that double.

    `older` has the first and the middle record of the last page, and of earlier pages the first, each with the
    number of its half page; the oldest comes first.
    """

    tail: tuple[Mark, ...] = ()
    older: tuple[tuple[int, Mark], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tail)

    def __iter__(self) -> Iterator[Mark]:
        yield from self.tail
        for _, mark in self.older:
            yield mark

    def followed_by(self, rows: "Rows") -> "Trail":
        """The trail behind a page that touches this one."""
        places = [place for place, key in enumerate(rows.ids) if key is not None]
        if not places:
            return self
        now = self.older[-1][0] + 2 if self.older else 1
        kept: dict[int, tuple[int, Mark]] = {}
        for number, mark in self.older:
            kept.setdefault((now - number).bit_length(), (number, mark))  # of each doubling of the distance the oldest
        first, middle = rows.mark(places[0]), rows.mark(places[len(places) // 2])
        return Trail(tuple(map(rows.mark, places[-TAIL:])), (*kept.values(), (now - 1, first), (now, middle)))


@define(eq=False)
class Rows:
    """The records of one page in their order: their ids, `None` for one without, and in sorted lists their times."""

    ids: Sequence[Key | None]
    times: Sequence[datetime | None] = ()
    _places: dict[Key | None, int] | None = None

    def mark(self, place: int) -> Mark:
        time = self.times[place] if self.times else None
        return Mark(self.ids[place] or "", None if time is None else epoch_ms(time))

    def found(self, marks: Iterable[Mark], but: Key | None = None) -> list[int]:
        """Where these records stand, but for those that have moved in time."""
        if self._places is None:
            self._places = {key: place for place, key in enumerate(self.ids)}
        places = ((mark, self._places.get(mark.id)) for mark in marks if mark.id != but)
        return sorted({place for mark, place in places if place is not None and self.mark(place) == mark})

    def touches(self, trail: Trail, asked: Key | None = None) -> bool:
        """Whether no record can stand between the trail's last one and this page.

        The last one begins the page, one of the trail stands in it at the same time as before, or two of it do: one
        alone, without a time, may have moved there. The record that the page was `asked` from proves nothing.
        """
        found = self.found(trail, asked)
        is_timed = any(self.mark(place).time is not None for place in found)
        return is_timed or len(found) > 1 or self.found(trail.tail[-1:], asked) in ([0], [1])

    def seam(self, trail: Trail) -> int:
        """How many records at the front were read before: those up to the middle one of the tail's.

        One of them may have moved to anywhere, so that one alone says nothing of the others.
        """
        places = self.found(trail.tail)
        return places[(len(places) - 1) // 2] + 1 if len(places) > 1 else 0


@frozen(kw_only=True)
class Cursor:
    """Where the next page is asked for; each kind of list uses what it needs.

    Attributes:
        since: Epoch milliseconds from which (or until which, newest first) to ask; `None` for the list's own range.
        offset: How many records lie before the next one, counted from `since`.
        step: How often the page was asked for again, further back each time.
        slack: How many records more than one the pages overlap by, in lists that are seen to shift.
        most: How many records the server sends at once, if that is fewer than it is asked for.
        frontier: The time of the last record that was read, in epoch milliseconds.
        frontier_id: Its id, as it leaves the trail where a list is read again from further back.
        total: The length of the whole list as first told.
        scroll: The server's own id for what follows.
        is_scrolling: Whether to ask by `scroll`.
        is_consumed: Whether all that was read before has left the list, so that what follows is at its top.
        is_sorted: Whether all pages so far came in the order of their times.
        is_proven: Whether asking until a time has been seen to include what ends later; `None` if not tried.
    """

    since: int | None = None
    offset: int = 0
    step: int = 0
    slack: int = 0
    most: int | None = None
    frontier: int | None = None
    frontier_id: Key | None = None
    total: int | None = None
    scroll: str = ""
    is_scrolling: bool = False
    is_consumed: bool = False
    is_sorted: bool = True
    is_proven: bool | None = None
    trail: Trail = Trail()

    def text(self, kind: str) -> str | None:
        """The cursor as an opaque string for a list of this kind; `None` at the list's start."""
        if self == START:
            return None
        values = asdict(self, recurse=False, filter=lambda attribute, value: value != attribute.default)
        values["trail"] = [[[mark.id, mark.time] for mark in self.trail], [number for number, _ in self.trail.older]]
        packed = urlsafe_b64encode(compress(json.dumps(values, separators=(",", ":")).encode(), 9))
        return f"{kind}{VERSION}.{packed.decode().rstrip('=')}"

    @classmethod
    def parse(cls, kind: str, text: object) -> "Cursor":
        """The cursor that a list of this kind gave.

        Raises: InvalidRequestError for any other text.
        """
        prefix, _, packed = text.partition(".") if isinstance(text, str) and text.isascii() else ("", "", "")
        if prefix != f"{kind}{VERSION}" or len(packed) > MAX_TEXT:
            raise foreign_cursor()
        try:
            return _unpacked(json.loads(_decompressed(urlsafe_b64decode(packed + "==="))))
        except (ZlibError, TypeError, ValueError, KeyError, RecursionError):
            raise foreign_cursor() from None


START: Final = Cursor()
_TYPES: Final[dict[str, Any]] = {one.name: one.type for one in fields(Cursor)}


def foreign_cursor() -> InvalidRequestError:
    return refuse("cursor", "must be one that a page or an error of this list carried")


def _decompressed(packed: bytes) -> bytes:
    """All that was packed: neither cut off nor longer than any cursor."""
    stream = decompressobj()
    unpacked = stream.decompress(packed, MAX_TEXT)
    if not stream.eof or stream.unused_data:
        raise ValueError
    return unpacked


def _unpacked(values: dict[str, Any]) -> Cursor:
    marks, numbers = values.pop("trail")
    trail = [Mark(_of(Key, key), _of(int | None, time)) for key, time in marks]
    tail = len(trail) - len(numbers)
    older = zip((_of(int, number) for number in numbers), trail[max(0, tail) :], strict=True)
    known = {name: _of(_TYPES[name], value) for name, value in values.items()}
    if min(known.get(name) or 0 for name in ("offset", "step", "slack", "most")) < 0 or known.get("step", 0) > MAX_STEP:
        raise ValueError
    return Cursor(**known, trail=Trail(tuple(trail[:tail]), tuple(older)))


def _of(kind: Any, value: Any) -> Any:
    """The value if it is of this type, where a flag is no number and a number is none beyond 64 bits."""
    is_flag = kind in (bool, bool | None)
    if not isinstance(value, kind) or (isinstance(value, bool) and not is_flag):
        raise TypeError
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise ValueError
    return value
