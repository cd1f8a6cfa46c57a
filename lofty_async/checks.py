"""Arguments checked before they cost a request: each check names the argument it refuses."""

import inspect
import re
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from ipaddress import ip_address
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from .errors import DecodeError, InvalidRequestError
from .ratelimit import Lane
from .times import format_time


class Unset(Enum):
    """The kind of `UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Leave it alone. Not `None`: the API ignores nulls, so `None` would promise what it cannot do."""

OnBadRecord = Literal["raise", "skip"] | Callable[[DecodeError], object]
"""What a list does with a record that cannot be read."""

LARGEST_ID: Final = 2**63 - 1
_COMPOSITE: Final = re.compile(r"([1-9]\d{0,18})-(task|appointment)", re.IGNORECASE | re.ASCII)
_HALF_CHARACTER: Final = re.compile(r"[\ud800-\udfff]")


def refuse(argument: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{argument} {message}", argument=argument)


def number_id(argument: str, value: object) -> int:
    if type(value) is bool or not isinstance(value, int) or not 0 < value <= LARGEST_ID:
        raise refuse(argument, f"must be a positive integer of 64 bits, not {value!r}")
    return value


def composite_id(argument: str, value: object) -> str:
    match = _COMPOSITE.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[1]) > LARGEST_ID:
        raise refuse(argument, f"must look like 12345-task or 12345-appointment, not {value!r}")
    return match[0]


def within(argument: str, value: object, least: int, most: int | None = None) -> int:
    allowed = f"from {least} to {most}" if most is not None else f"of at least {least}"
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise refuse(argument, f"must be an integer {allowed}, not {value!r}")
    return value


def text(argument: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise refuse(argument, "must be a non-empty string")
    if not value.isascii() and _HALF_CHARACTER.search(value):
        raise refuse(argument, "holds half a surrogate pair, which is no text")
    return str.__str__(value)


def flag(argument: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse(argument, f"must be True or False, not {value!r}")
    return value


def numbers(argument: str, values: object) -> tuple[int, ...]:
    """Several integers of at least 0; `None` is none."""
    if values is None:
        return ()
    if not isinstance(values, Iterable):
        raise refuse(argument, f"must be integers in a list or the like, not {values!r}")
    return tuple(within(argument, value, 0) for value in cast("Iterable[object]", values))


def moment(argument: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise refuse(argument, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise refuse(argument, "must be aware: without a time zone the server reads it in the wrong one")
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise refuse(argument, "must lie between the years 1 and 9999 in UTC too") from None
    return value


def later(argument: str, value: datetime, now: datetime) -> datetime:
    if value <= now:
        raise refuse(argument, "must be later than now")
    return value


def ordered(start: datetime, end: datetime) -> None:
    if end <= start:
        raise refuse("end", "must be later than start")


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        return host is not None and (host.lower() == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def https_url(argument: str, value: object, *, plain: bool = False) -> str:
    url = text(argument, value)
    schemes = ("https", "http") if plain else ("https",)
    if not _is_address(url, schemes):
        raise refuse(argument, f"must be an {' or '.join(f'{scheme}://' for scheme in schemes)} address")
    return url


def _is_address(url: str, schemes: Container[str]) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        return False
    # urlsplit drops line breaks in silence.
    return bool(usable) and not re.search(r"\s", url)


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not `UNSET`, as they go into a body.

    Raises: InvalidRequestError for `None` or an empty string, which the API takes for "leave it alone".
    """
    return {name: _body_value(name, value) for name, value in fields.items() if value is not UNSET}


def _body_value(argument: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(moment(argument, value))
    if value is None or value == "":
        raise refuse(argument, "cannot be emptied: the API ignores null and empty values; leave it out or set it")
    return text(argument, value) if isinstance(value, str) else value


def some(body: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """At least one of `allowed` is in the body."""
    names = list(allowed)
    if not any(name in body for name in names):
        raise refuse(names[0], f"or one of {', '.join(names[1:])} must be given: there is nothing to change")


_WIRE_NAMES: Final = {"time_zone": "timeZoneCode"}


def wire_names(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body under the names that the API has for its fields."""
    return {_WIRE_NAMES.get(name) or _camel(name): value for name, value in body.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def not_reversed(start_at: datetime | Unset, end_at: datetime | Unset) -> None:
    if isinstance(start_at, datetime) and isinstance(end_at, datetime) and end_at < start_at:
        raise refuse("end_at", "must not be earlier than start_at")


def lane(argument: str, value: object) -> Lane:
    try:
        return Lane(str(value))
    except ValueError:
        raise refuse(argument, f"must be one of {', '.join(Lane)}, not {value!r}") from None


def header(argument: str, value: object) -> str:
    line = text(argument, value)
    if not line.isascii() or not line.isprintable():
        raise refuse(argument, "has characters that no header can carry")
    return line


def bad_record_policy(value: object) -> OnBadRecord:
    if value not in ("raise", "skip") and (not callable(value) or inspect.iscoroutinefunction(value)):
        raise refuse("on_bad_record", "must be 'raise', 'skip' or a plain function of the error")
    return cast("OnBadRecord", value)
