"""How free slots are paged: range after range, and past the limit of each answer. Pure."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from attrs import define, evolve

from .listing import BaseListing, Fetched, count_of, foreign_cursor, number_in, part
from .models import MeetingSlot
from .times import epoch_ms, format_time
from .wire import Params

LONGEST_RANGE: Final = timedelta(days=90)  # contract: of one question for slots
OVERLAP: Final = timedelta(days=1)  # of two such questions, so that no slot falls across the seam
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT: Final = epoch_ms(datetime.max.replace(tzinfo=UTC))
LEAD_TIME: Final = timedelta(seconds=2)  # a range has to start later than the server's now


@define(kw_only=True, eq=False)
class SlotListing(BaseListing[MeetingSlot]):
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
        fetched = self._fetched(records)
        total = count_of(part(body, (*self.at[:-1], "total"), self.request)) or 0
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
            raise foreign_cursor()
        return start, min(self._end, start + LONGEST_RANGE)


def _moments(cursor: str) -> list[datetime]:
    """One, and pairs of them."""
    numbers = [number_in(number) for number in cursor.split(":")]
    if len(numbers) % 2 == 0 or max(numbers) > LAST_MOMENT:
        raise foreign_cursor()
    return [EPOCH + timedelta(milliseconds=number) for number in numbers]


def _past(fetched: Fetched[MeetingSlot], start: datetime) -> datetime:
    """Where to go on behind a full answer; an error where no slot in it can be read."""
    if not fetched.items:
        raise fetched.bad[0].error
    last = fetched.items[-1]
    # From the last one's start, as slots may overlap; from its end, where that would stand still.
    return last.start_at if epoch_ms(last.start_at) > epoch_ms(start) else last.end_at
