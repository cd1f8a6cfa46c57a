"""When the caller is free to meet."""

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta, tzinfo

Interval = tuple[datetime, datetime]

OPENS = time(9)
HOURS_A_DAY = 8
SATURDAY = 5
LENGTH = timedelta(hours=1)


def free_slots(start: datetime, end: datetime, zone: tzinfo, busy: Iterable[Interval]) -> list[Interval]:
    """The hours of working days between `start` and `end` in which nothing busy falls, ascending."""
    taken = sorted(busy)
    return [
        (opens, closes)
        for opens, closes in _working_hours(start.astimezone(zone), end.astimezone(zone))
        if not any(opens < till and since < closes for since, till in taken)
    ]


def _working_hours(start: datetime, end: datetime) -> Iterator[Interval]:
    day = start.date()
    while day <= end.date():
        opens = datetime.combine(day, OPENS, tzinfo=start.tzinfo)
        for hour in range(HOURS_A_DAY if day.weekday() < SATURDAY else 0):
            begins = opens + hour * LENGTH
            if begins >= start and begins + LENGTH <= end:
                yield begins, begins + LENGTH
        day += timedelta(days=1)
