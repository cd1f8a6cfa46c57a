"""Times as people type and read them: in a named time zone, or in this machine's."""

import os
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

LAST_SECOND: Final = time(23, 59, 59)
MAX_SHOWN: Final = 40
"""Characters of a wrong value that its error message shows."""
DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}
LOCALTIME: Final = Path("/etc/localtime")


Moment = TypeVar("Moment", date, datetime)


class Zone(NamedTuple):
    """A time zone; without `info`, the rules of this machine, which has no IANA name for them."""

    name: str | None
    info: "ZoneInfo | None"

    @property
    def label(self) -> str:
        return self.name or "local time"

    def at(self, naive: datetime) -> datetime:
        """Returns the time that clocks of this zone show so."""
        return naive.astimezone() if self.info is None else naive.replace(tzinfo=self.info)

    def shown(self, moment: datetime) -> datetime:
        """Returns the same time as clocks of this zone show it; one beyond the years 1 to 9999 stays as it is."""
        try:
            return moment.astimezone(self.info)
        except (OverflowError, ValueError, OSError):
            return moment

    def now(self) -> datetime:
        return self.shown(datetime.now(UTC))


def zone_named(name: str | None) -> Zone:
    """Returns the time zone with that IANA name; this machine's for `None`.

    Raises: click.UsageError if there is none.
    """
    if name is None:
        return local_zone()
    info = _zone_info(name)
    if info is None:
        message = f"--time-zone must be an IANA time zone such as America/Los_Angeles, not {name[:MAX_SHOWN]!r}"
        raise click.UsageError(message)
    return Zone(name, info)


def local_zone() -> Zone:
    """Returns this machine's time zone: that of `TZ`, else the one that /etc/localtime links to."""
    given = os.environ.get("TZ")
    if given is None:
        linked = os.path.realpath(LOCALTIME).partition("/zoneinfo/")[2]
        name = linked.removeprefix("posix/").removeprefix("right/")
    else:
        name = given.removeprefix(":")
    info = _zone_info(name)
    return Zone(None if info is None else name, info)


def _zone_info(name: str) -> "ZoneInfo | None":
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, odd and folder names
        return None


def parse_start(text: str | None, zone: Zone) -> datetime | None:
    """Returns the time of `--start`, or the beginning of its day; without an offset it is one of the zone.

    Raises: click.UsageError if the text is neither.
    """
    return None if text is None else _parse_time(text, zone, time.min, "--start")


def parse_end(text: str | None, zone: Zone) -> datetime | None:
    """Returns the time of `--end`, or the last second of its day, as `parse_start` does."""
    return None if text is None else _parse_time(text, zone, LAST_SECOND, "--end")


def parse_day(text: str, zone: Zone, option: str) -> date:
    """Returns the date.

    Raises: click.UsageError if the text is no date.
    """
    with suppress(ValueError):
        return date.fromisoformat(_without_words(text, zone))
    raise click.UsageError(f"{option} must be a date such as 2026-03-02, not {text[:MAX_SHOWN]!r}")


def _parse_time(text: str, zone: Zone, time_of_day: time, option: str) -> datetime:
    with suppress(ValueError, OverflowError, OSError):
        parsed = _parse_iso(_without_words(text, zone), time_of_day)
        return parsed if parsed.tzinfo is not None else zone.at(parsed)
    message = f"must be an ISO 8601 time or date, or today or tomorrow, not {text[:MAX_SHOWN]!r}"
    raise click.UsageError(f"{option} {message}")


def _parse_iso(text: str, time_of_day: time) -> datetime:
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time_of_day)
    return datetime.fromisoformat(re.sub(r"(?<=[ T])(?=\d:)", "0", text))  # people write 9:00


def _without_words(text: str, zone: Zone) -> str:
    """Returns the text with a date in place of today, tomorrow or yesterday: `tomorrow 15:00`."""
    word, _, rest = text.strip().partition(" ")
    days = DAYS.get(word.lower())
    if days is None:
        return zone.now().isoformat() if word.lower() == "now" and not rest else text
    return f"{zone.now().date() + timedelta(days)} {rest.strip()}".strip()


def later(moment: Moment, delta: timedelta, option: str) -> Moment:
    """Returns the moment that much later.

    Raises: click.UsageError if that is beyond the year 9999.
    """
    try:
        return moment + delta
    except OverflowError:
        raise click.UsageError(f"{option} must be earlier than the end of the year 9999") from None


def midnight(day: date, zone: Zone) -> datetime:
    """Returns the beginning of the day in that zone."""
    return zone.at(datetime.combine(day, time.min))


def span(start: datetime | None, end: datetime | None, zone: Zone, dash: str) -> str:
    """Returns `2026-03-02 15:00-16:00`: both ends of an entry in that zone, `by …` if it has a deadline alone."""
    if start is None or end is None:
        known = start or end
        return f"{'' if start else 'by '}{clock(known, zone)}" if known else ""
    first, last = zone.shown(start), zone.shown(end)
    if start.timestamp() == end.timestamp():  # in one zone, Python compares wall clocks
        return clock(first, zone)
    if is_all_day(start, end):
        days = start.date(), end.date() - timedelta(1)
        return f"{days[0]} all day" if days[0] >= days[1] else f"{days[0]} {dash} {days[1]} all day"
    if first.date() == last.date():
        return f"{clock(first, zone)}{dash}{last:%H:%M}"
    return f"{clock(first, zone)} {dash} {clock(last, zone)}"


def clock(moment: datetime, zone: Zone) -> str:
    """Returns `2026-03-02 15:00` in that zone."""
    return zone.shown(moment).replace(tzinfo=None).isoformat(sep=" ", timespec="minutes")


def is_all_day(start: datetime, end: datetime) -> bool:
    """Whether both ends are midnight in their own offsets, which is how Lofty marks an all-day appointment."""
    return start.time() == time.min == end.time() and start.date() < end.date()
