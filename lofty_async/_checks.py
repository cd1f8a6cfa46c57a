"""Client-side argument validation: each check raises an error that names the argument."""

import inspect
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address
from operator import index
from typing import Any, Concatenate, Final, Literal, ParamSpec, SupportsIndex, TypeVar, cast
from urllib.parse import urlsplit

from ._auth import Auth, hidden
from ._codec import wire_name
from ._times import format_time, instant
from .errors import DecodeError, InvalidRequestError, shown
from .ratelimit import Lane

T = TypeVar("T")
P = ParamSpec("P")


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
"""The way in which a list deals with a record that cannot be read."""

LARGEST_ID: Final = 2**63 - 1
LONGEST: Final = 1e9  # seconds; thirty years are as good as no bound
LONGEST_ACCOUNT: Final = 200  # characters
OWN_HEADERS: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "user-agent", "host"),
        *("content-type", "content-length", "content-encoding", "transfer-encoding", "accept-encoding", "expect"),
        *("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade"),
        *("x-http-method-override", "x-http-method", "x-method-override"),
    }
)
"""Headers that callers cannot set: the credential, the target of a request, its method and its framing."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_COMPOSITE: Final = re.compile(r"([1-9]\d{0,18})-(task|appointment)", re.IGNORECASE | re.ASCII)
_HALF_CHARACTER: Final = re.compile(r"[\ud800-\udfff]")


def refuse(argument: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{argument} {message}", argument=argument)


def credential(argument: str, value: object) -> Auth:
    if not isinstance(value, Auth):
        kind = "str" if isinstance(value, str) else type(value).__name__
        raise refuse(argument, f"must be a credential such as ApiKey(…), not {kind}")
    return value


def instance(argument: str, value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise refuse(argument, f"must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def optional_instance(argument: str, value: object, kind: type[T]) -> T | None:
    return None if value is None else instance(argument, value, kind)


def instances(argument: str, values: object, kind: type[T]) -> tuple[T, ...]:
    """A list or tuple of instances of one class."""
    items = cast("Sequence[object]", values) if isinstance(values, Sequence) else (None,)
    if not all(isinstance(item, kind) for item in items):
        raise refuse(argument, f"must be a list of {kind.__name__}")
    return cast("tuple[T, ...]", tuple(items))


def unless_unset(
    check: Callable[Concatenate[str, object, P], T], argument: str, value: object, *args: P.args, **kwargs: P.kwargs
) -> T | Unset:
    """The checked value, or `UNSET`."""
    return UNSET if value is UNSET else check(argument, value, *args, **kwargs)


def unless_none(
    check: Callable[Concatenate[str, object, P], T], argument: str, value: object, *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """The checked value, or `None`."""
    return None if value is None else check(argument, value, *args, **kwargs)


def number_id(argument: str, value: object) -> int:
    """An id of any integer type, such as numpy's; never a float or a bool, which are no ids."""
    if isinstance(value, str) and (composite := _COMPOSITE.fullmatch(value)):
        raise refuse(argument, f"must be an int, not {shown(value)}: use the task_id of the entry, {composite[1]}")
    number = _integer(argument, value)
    if not 0 < number <= LARGEST_ID:
        raise refuse(argument, f"must be from 1 to 2**63 - 1, not {shown(number)}")
    return number


def _integer(argument: str, value: object) -> int:
    if type(value) is int:  # as nearly always
        return value
    if not isinstance(value, bool):
        with suppress(TypeError):
            return index(cast("SupportsIndex", value))
    name = next((name for name in (argument, "id") if hasattr(value, name)), None)
    hint = ": use int(…)" if isinstance(value, str) else f": use its {name}" if name else ""
    raise refuse(argument, f"must be an int, not {type(value).__name__}{hint}")


def composite_id(argument: str, value: object) -> str:
    match = _COMPOSITE.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[1]) > LARGEST_ID:
        raise refuse(argument, f"must look like '12345-task' or '12345-appointment', not {shown(value)}")
    return match[0]


def seconds(argument: str, value: object, *, above: bool = False) -> float | None:
    """A bound in seconds, at least 0 or `above` it; `None` is no bound."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 if above else value >= 0):
        raise refuse(argument, f"must be {'above' if above else 'at least'} 0 seconds or None, not {value!r}")
    return float(value) if value < LONGEST else None


def duration(argument: str, value: object) -> None:
    """Seconds, infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise refuse(argument, f"must be at least 0 seconds, not {shown(value)}")


def within(argument: str, value: object, least: int, most: int | None = None) -> int:
    number = _integer(argument, value)
    if number < least or (most is not None and number > most):
        allowed = f"from {least} to {most}" if most is not None else f"at least {least}"
        raise refuse(argument, f"must be {allowed}, not {shown(number)}")
    return number


def text(argument: str, value: object) -> str:
    if not isinstance(value, str):
        hint = ": use its IANA name" if isinstance(value, tzinfo) else ""
        raise refuse(argument, f"must be a string, not {type(value).__name__}{hint}")
    if not value.strip():
        raise refuse(argument, "must not be empty")
    if not value.isascii() and _HALF_CHARACTER.search(value):
        raise refuse(argument, "must not contain half of a surrogate pair")
    return str.__str__(value)


def account(value: object) -> str:
    """The name of a mirror in PostgreSQL, which has no NUL, and no index of long texts."""
    name = text("account", value)
    if "\0" in name:
        raise refuse("account", "must not contain NUL")
    if len(name) > LONGEST_ACCOUNT:
        raise refuse("account", f"must have at most {LONGEST_ACCOUNT} characters, not {len(name)}")
    return name


def flag(argument: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse(argument, f"must be True or False, not {shown(value)}")
    return value


def member(argument: str, value: object, kind: type[StrEnum]) -> str:
    """The wire value of an open enum's member, given as itself, by value or by name in any case; others are kept."""
    word = text(argument, value)
    if isinstance(value, kind):
        return word
    words = {word.upper(): member for member in kind for word in (member.name, member.value)}
    named = words.get(word.upper())
    return word if named is None else text(argument, named)


def number_member(argument: str, value: object, kind: type[IntEnum], least: int, most: int) -> int:
    """The number of an enum's member, given as the member, its name in any case, or a number from `least` to `most`."""
    if isinstance(value, str):
        words = {word: member for member in kind for word in (member.name, str(int(member)))}
        member = words.get(value.upper().replace("-", "_"))
        if member is None:
            raise refuse(argument, f"must be one of {', '.join(kind.__members__)} or its number, not {shown(value)}")
        value = member
    return int(within(argument, value, least, most))


def code(argument: str, value: object) -> str:
    """A code whose meaning the API does not document: an integer of 64 bits or a text, as the wire carries it."""
    if isinstance(value, str):
        return text(argument, value)
    try:
        return str(within(argument, value, -LARGEST_ID - 1, LARGEST_ID))
    except InvalidRequestError:
        raise refuse(argument, f"must be an int of 64 bits or a string, not {shown(value)}") from None


def codes(argument: str, values: object) -> tuple[str, ...]:
    """Several codes; `None` is none."""
    if values is None:
        return ()
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise refuse(argument, f"must be a list of codes, not {shown(values)}: use [{shown(values)}]")
    return tuple(code(argument, value) for value in cast("Iterable[object]", values))


def moment(argument: str, value: object) -> datetime:
    """A timezone-aware datetime; one of a subclass becomes a plain one."""
    if not isinstance(value, datetime):
        hint = _TIME_HINTS.get(type(value), "")
        raise refuse(argument, f"must be a datetime, not {type(value).__name__}{hint}")
    try:
        is_naive = value.utcoffset() is None
        is_time = is_naive or isinstance(instant(value), datetime)
    except OverflowError:
        raise refuse(argument, "must be between the years 1 and 9999 in UTC too") from None
    except Exception:  # noqa: BLE001 - what only looks like a datetime, such as pandas' NaT, may raise anything
        is_naive = is_time = False
    if not is_time:
        raise refuse(argument, f"must be a datetime, not {shown(value)}")
    if is_naive:
        raise refuse(argument, "must be timezone-aware, e.g. datetime.now(UTC)")
    # A subclass may write itself in its own way, as pandas' Timestamp does with nanoseconds.
    return value if type(value) is datetime else datetime.combine(datetime.date(value), datetime.timetz(value))


_TIME_HINTS: Final[dict[type, str]] = {
    str: ": use datetime.fromisoformat(…)",
    int: ": use datetime.fromtimestamp(…, UTC)",
    float: ": use datetime.fromtimestamp(…, UTC)",
    date: ": use datetime.combine(…)",
}


def ordered(start: datetime, end: datetime) -> None:
    if instant(end) <= instant(start):
        raise refuse("end", "must be later than start")


def at_most(longest: timedelta, start: datetime, end: datetime) -> None:
    if instant(end) - instant(start) > longest:
        raise refuse("end", f"must be at most {longest.days} days after start")


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        return host is not None and (host.lower() == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def https_url(argument: str, value: object, *, plain: bool = False) -> str:
    url = hidden(text(argument, value))  # part of a webhook's address is a secret
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


def query(**fields: Any) -> dict[str, Any]:
    """The fields that are not `None` as the parameters of a URL, under the names that the API has for them."""
    return {wire_name(name): _query_value(value) for name, value in fields.items() if value is not None}


def _query_value(value: Any) -> str | tuple[str, ...]:
    if type(value) is int:
        return str(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, bool):
        return str(value).lower()
    return cast("tuple[str, ...]", value) if isinstance(value, tuple) else str(value)


def filters(of: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, each checked as the typed dict `kind` annotates it."""
    unknown = next((name for name in values if name not in kind.__annotations__), None)
    if unknown is not None:
        raise refuse(unknown, f"is not a filter of {of}: use {', '.join(kind.__annotations__)}")
    return {name: _FILTER_CHECKS[kind.__annotations__[name]](name, value) for name, value in values.items()}


_FILTER_CHECKS: Final[dict[type, Callable[[str, object], object]]] = {bool: flag, int: number_id, str: text}


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not `UNSET`, as they go into a body.

    Raises: InvalidRequestError for `None` or an empty string, which the API takes for "leave it alone".
    """
    return {name: _body_value(name, value) for name, value in fields.items() if value is not UNSET}


def _body_value(argument: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(moment(argument, value))
    if value is None or value == "":
        raise refuse(argument, "cannot be emptied: the API ignores null and empty values; omit it or pass a value")
    return text(argument, value) if isinstance(value, str) else value


def some(body: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """At least one of `allowed` is in the body."""
    *names, last = allowed
    if not any(name in body for name in (*names, last)):
        message = f"nothing to update: pass {', '.join(names)} or {last}"
        raise InvalidRequestError(message, argument=(*names, last)[0])


def wire_names(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body under the names that the API has for its fields."""
    return {wire_name(name): value for name, value in body.items()}


def not_reversed(start_at: datetime | Unset, end_at: datetime | Unset) -> None:
    if isinstance(start_at, datetime) and isinstance(end_at, datetime) and instant(end_at) < instant(start_at):
        raise refuse("end_at", "must not be earlier than start_at")


def lane(argument: str, value: object) -> Lane:
    try:
        return Lane(str(value).lower())
    except ValueError:
        raise refuse(argument, f"must be one of {', '.join(Lane)}, not {value!r}") from None


def header(argument: str, value: object) -> str:
    line = hidden(text(argument, value))  # it may be a secret, which frames show
    if not line.isascii() or not line.isprintable():
        raise refuse(argument, "contains characters that a header cannot carry")
    return line


def headers(argument: str, value: object) -> dict[str, str]:
    """Headers to send besides the client's own.

    Raises: InvalidRequestError naming the header, never its value.
    """
    if not isinstance(value, Mapping):
        raise refuse(argument, f"must be a mapping of names to values, not {type(value).__name__}")
    checked: dict[str, str] = {}
    for name, line in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise refuse(argument, f"has a name that no header can have: {shown(name)}")
        # Many servers read an underscore as a hyphen.
        if name.lower().replace("_", "-") in OWN_HEADERS:
            remedy = ": use user_agent" if name.lower() == "user-agent" else ", which the client sets itself"
            raise refuse(argument, f"must not set {name}{remedy}")
        checked[name] = header(f"{argument}[{name!r}]", line)
    return checked


def is_plain_function(value: object) -> bool:
    """Whether a value can be called without being awaited."""
    call = getattr(type(value), "__call__", None)  # noqa: B004 - an object may have an `async def __call__`
    return callable(value) and not (inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call))


def bad_record_policy(value: object) -> OnBadRecord:
    if value not in ("raise", "skip") and not is_plain_function(value):
        raise refuse("on_bad_record", "must be 'raise', 'skip' or a plain function of the error")
    return cast("OnBadRecord", value)
