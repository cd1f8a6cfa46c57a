"""Reading and writing the API's times; every `datetime` here is aware."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what times are measured from before they get their zone
_MILLISECOND = timedelta(milliseconds=1)
_read_iso = datetime.fromisoformat
_USUAL_LENGTH = len("2026-03-01T15:00:00-08:00")
# `2026-03-01T15:00:00-08:00`: what comes before the offset, and the offset. The latter begins with the last digit of
# the seconds, so that a text without seconds has none.
_CLOCK, _OFFSET = slice(19), slice(18, None)
_OFFSET_FORM = re.compile(
    r"\d(?:\.(?P<fraction>\d+))?(?:Z|GMT|UTC|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>[0-5]\d))?", re.ASCII
)


# The epoch at each offset seen, by the end of a text: adding to it is a cheap way to a time that shares its zone. The
# pattern bounds it: a day has 1,440 minutes.
_epochs: dict[str, datetime] = {}


def _epoch_at(offset: str) -> datetime:
    """The epoch at an offset that was not seen before, later by its fraction."""
    match = _OFFSET_FORM.fullmatch(offset)
    if match is None:
        raise ValueError("expected a time")
    epoch = _EPOCH.replace(tzinfo=_zone(match))
    if fraction := match["fraction"]:
        # Not kept: there are a million.
        return epoch + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    _epochs[offset] = epoch
    return epoch


# `parse_time` for the usual text as an expression, for code that is generated, and the names that it needs. With an
# offset that has a colon, Python's own reader is twice as fast; its price is a zone object for each time. It raises
# KeyError at an offset that is new, TypeError at what is no text.
USUAL_TIME = (
    f"(read_iso({{value}}) if len({{value}}) == {_USUAL_LENGTH} and {{value}}[22] == ':'"
    " else epochs[{value}[offset]] + (read_iso({value}[clock]) - epoch))"
)
USUAL_TIME_NAMES: dict[str, Any] = {
    "clock": _CLOCK,
    "epoch": _NAIVE_EPOCH,
    "epochs": _epochs,
    "len": len,
    "offset": _OFFSET,
    "read_iso": _read_iso,
}


def parse_time(value: object) -> datetime | None:
    """The time that a wire value stands for, with the offset it was sent with.

    Read are ISO 8601 with seconds, as `datetime.fromisoformat` knows it, and with an offset, `Z` or a literal `GMT`;
    `yyyy-MM-dd HH:mm:ss`; integers, which are milliseconds since 1970. `None`, `""`, 0 and -1 are no time. Without an
    offset the time is UTC, as the vendor documents for the one naive form that is known. Fractions are cut to the
    microsecond.

    Raises:
        ValueError: The value is none of these; digits in a string and floats are not.
    """
    if not isinstance(value, str):
        return _read_number(value)
    return _read_text(value) if value else None


def _read_text(text: str) -> datetime:
    try:
        since_epoch = _read_iso(text[_CLOCK]) - _NAIVE_EPOCH
        offset = text[_OFFSET]
        return (_epochs.get(offset) or _epoch_at(offset)) + since_epoch
    except (TypeError, ValueError):  # the former where seconds are missing, so that the offset comes too early
        raise ValueError("expected a time") from None


def _zone(match: re.Match[str]) -> tzinfo:
    minutes = int(match["hours"] or 0) * 60 + int(match["minutes"] or 0)
    return _offset(-minutes if match["sign"] == "-" else minutes)


@cache
def _offset(minutes: int) -> tzinfo:
    return timezone(timedelta(minutes=minutes)) if minutes else UTC


def _read_number(value: object) -> datetime | None:
    if value is None:
        return None
    if type(value) is not int:
        raise ValueError("expected a time")
    if value in (0, -1):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except OverflowError as error:
        raise ValueError("expected a time between the years 1 and 9999") from error


def format_time(value: datetime) -> str:
    """ISO 8601 with the offset, to the second, or to the microsecond where there are any.

    An offset that is not whole minutes, which the wire cannot say, becomes UTC.

    Raises:
        ValueError: The time is naive.
    """
    offset = _offset_of(value)
    return (value.astimezone(UTC) if offset % timedelta(minutes=1) else value).isoformat()


def instant(value: datetime) -> datetime:
    """The same time in UTC, to compare and subtract.

    Python compares two times of one zone by their wall clocks, which is wrong around the end of daylight saving time.

    Raises:
        OverflowError: The time is not between the years 1 and 9999 in UTC.
    """
    return value.astimezone(UTC)


def epoch_ms(value: datetime) -> int:
    """Whole milliseconds since 1970, rounded down, in integer arithmetic.

    Raises:
        ValueError: The time is naive.
    """
    _offset_of(value)
    return (value - _EPOCH) // _MILLISECOND


def _offset_of(value: datetime) -> timedelta:
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a time needs an offset")
    return offset
