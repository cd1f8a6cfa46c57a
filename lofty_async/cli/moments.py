"""Times on the command line."""

from contextlib import suppress
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import click

LAST_SECOND = time(23, 59, 59)


def zone_called(name: str | None) -> ZoneInfo | None:
    """The time zone of that IANA name.

    Raises: click.BadParameter where there is none.
    """
    try:
        return None if name is None else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # what zoneinfo raises for unknown, odd and folder names
        raise click.BadParameter(f"no time zone is called {name!r}", param_hint="--time-zone") from error


def start_of(text: str | None, zone: ZoneInfo | None) -> datetime | None:
    """The time, or the beginning of the day, that the text names.

    Raises: click.BadParameter where it is no time, or has no offset and there is no time zone to read it in.
    """
    return None if text is None else _moment(text, zone, time.min, "--start")


def end_of(text: str | None, zone: ZoneInfo | None) -> datetime | None:
    """The time, or the last second of the day, that the text names.

    Raises: click.BadParameter where it is no time, or has no offset and there is no time zone to read it in.
    """
    return None if text is None else _moment(text, zone, LAST_SECOND, "--end")


def _moment(text: str, zone: ZoneInfo | None, clock: time, option: str) -> datetime:
    moment = _read(text, clock)
    if moment is None:
        raise click.BadParameter(f"{text!r} is no ISO 8601 time or date", param_hint=option)
    if moment.tzinfo is None and zone is None:
        raise click.BadParameter(f"{text!r} has no offset from UTC: add one, or give --time-zone", param_hint=option)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _read(text: str, clock: time) -> datetime | None:
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), clock)
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
