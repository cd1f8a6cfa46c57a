"""Times as the API writes and reads them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO_8601 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
"""The documented format of a time; Python reads many more, such as an offset with seconds."""


class TimeStyle(StrEnum):
    """The formats of times that occur in responses."""

    OFFSET = "2026-03-01T15:00:00-08:00"
    GMT = "2026-03-01T23:00:00GMT"
    ZULU = "2026-03-01T23:00:00Z"
    PLAIN = "2026-03-01 23:00:00"
    """UTC, without saying so."""


_SUFFIXES = {TimeStyle.GMT: "GMT", TimeStyle.ZULU: "Z", TimeStyle.PLAIN: ""}


def show(moment: datetime, style: TimeStyle) -> str:
    if style is TimeStyle.OFFSET:
        return moment.isoformat(timespec="seconds")
    plain = moment.astimezone(UTC).isoformat(" " if style is TimeStyle.PLAIN else "T", "seconds").removesuffix("+00:00")
    return plain + _SUFFIXES[style]


def milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """Raises: OverflowError beyond year 9999."""
    return EPOCH + timedelta(milliseconds=value)


def read(text: str) -> datetime:
    """An ISO 8601 moment with its offset.

    Raises: ValueError for any other format, also for a naive time.
    """
    if ISO_8601.fullmatch(text) is None:
        raise ValueError(f"{text} is not an ISO 8601 time with offset")
    return datetime.fromisoformat(text)


@cache
def known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def zone(code: str) -> tzinfo | None:
    """The IANA zone, or `None` if it does not exist; UTC on a machine without a time zone database."""
    if not known_zones():
        return UTC
    return ZoneInfo(code) if code in known_zones() else None
