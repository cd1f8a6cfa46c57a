"""Moments as the API writes and reads them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO_8601 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
"""The documented spelling of a time; Python reads many more, such as an offset with seconds."""


class TimeStyle(StrEnum):
    """The spellings of a moment that occur in answers."""

    OFFSET = "2026-03-01T15:00:00-08:00"
    GMT = "2026-03-01T23:00:00GMT"
    ZULU = "2026-03-01T23:00:00Z"
    PLAIN = "2026-03-01 23:00:00"
    """UTC, though it does not say so."""


def show(moment: datetime, style: TimeStyle) -> str:
    if style is TimeStyle.OFFSET:
        return moment.isoformat(timespec="seconds")
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    if style is TimeStyle.PLAIN:
        return plain.isoformat(sep=" ", timespec="seconds")
    return plain.isoformat(timespec="seconds") + ("GMT" if style is TimeStyle.GMT else "Z")


def milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """Raises: OverflowError beyond year 9999."""
    return EPOCH + timedelta(milliseconds=value)


def from_seconds(value: float) -> datetime:
    return EPOCH + timedelta(seconds=value)


def read(text: str) -> datetime:
    """An ISO 8601 moment with its offset.

    Raises: ValueError for any other spelling, a naive one included.
    """
    if ISO_8601.fullmatch(text) is None:
        raise ValueError(f"{text} is not an ISO 8601 time with offset")
    return datetime.fromisoformat(text)


@cache
def known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def zone(code: str) -> tzinfo | None:
    """The IANA zone, or `None` where there is no such; UTC on a machine without a time zone database."""
    if not known_zones():
        return UTC
    return ZoneInfo(code) if code in known_zones() else None
