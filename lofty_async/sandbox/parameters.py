"""Strict parsing of requests: how calls declare the parameters that they take, and how each is read."""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from aiohttp import web
from attrs import frozen

from . import errors, times

if TYPE_CHECKING:
    from multidict import MultiMapping

MAX_TEXT_LENGTH = 10_000
MAX_ID = 2**63 - 1
CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
INTEGER = re.compile(r"-?[0-9]{1,19}")
WRITABLE_YEARS = range(2, 9999)
"""Years in which every time exists in every time zone, with a day before and after it."""

T = TypeVar("T")
Names = frozenset[str]
Handle = Callable[[Any, web.Request], Awaitable[web.Response]]

REPEATABLE: Final = frozenset({"sourceType"})
"""Parameters that a query may hold more than once."""
EMPTY_BODIES: Final = (b"", b"{}")


@frozen
class Call:
    """A call of the API, and the parameters that it takes."""

    label: str
    """Such as `GET /v2.0/tasks/{taskId}`."""
    query: Names
    body: Names
    is_open: bool
    """Whether it needs no credential and has no rate limit."""
    is_typed: bool
    """Whether it answers 415 without a Content-Type though it is a GET, which few were seen to do."""

    def check_query(self, query: "MultiMapping[str]") -> None:
        """Raises: ResponseError naming a parameter that the call does not take, or takes only once."""
        _check(query.keys(), self.query)
        for name in query.keys() - REPEATABLE:
            if len(query.getall(name)) > 1:
                raise errors.invalid(f"{name} is given more than once")

    def check_body(self, body: bytes) -> None:
        """Raises: ResponseError if the call takes no body, and has one."""
        if not self.body and body not in EMPTY_BODIES:
            raise errors.invalid("this call takes no body")


CALLS: Final[dict[str, Call]] = {}
"""All calls by label."""
_LABELS: Final[dict[object, str]] = {}


def call(
    label: str, *, query: str = "", body: str = "", is_open: bool = False, is_typed: bool = False
) -> Callable[[Handle], Handle]:
    """Declares the method that answers a call, with the names that its query and its body may hold."""
    CALLS[label] = Call(label, frozenset(query.split()), frozenset(body.split()), is_open, is_typed)

    def declare(handle: Handle) -> Handle:
        _LABELS[handle] = label
        return handle

    return declare


def routes(handlers: object) -> Iterator[web.RouteDef]:
    """The routes of all calls that the object's methods answer."""
    for name, method in vars(type(handlers)).items():
        if inspect.isfunction(method) and method in _LABELS:
            verb, path = _LABELS[method].split()
            yield web.route(verb, path, getattr(handlers, name))


def _check(given: Iterable[str], known: Names) -> None:
    for name in given:
        if name not in known:
            raise errors.invalid(f"{name} is not a parameter of this call")


@frozen
class Fields:
    """A query or a JSON body. Null and missing are the same; every error names its field."""

    values: Mapping[str, Any]
    textual: bool = False
    """Whether numbers and flags are written as text, as in a query; in JSON they are not."""

    @classmethod
    def of_query(cls, request: web.Request) -> "Fields":
        return cls(request.query, textual=True)

    @classmethod
    async def of_body(cls, request: web.Request) -> "Fields":
        body = _json(await request.read())
        if not isinstance(body, dict):
            raise errors.invalid("the body is not an object")
        fields = cast("dict[str, Any]", body)
        _check(fields, CALLS[label_of(request)].body)
        return cls(fields)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def given(self, name: str) -> bool:
        """Whether there is more than null and the empty string."""
        return self.values.get(name) not in (None, "")

    def require(self, *names: str) -> None:
        for name in names:
            if not self.given(name):
                raise errors.invalid(f"{name} is required")

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise errors.invalid(f"{name} is not a string")
        if len(value) > MAX_TEXT_LENGTH:
            raise errors.too_long(name)
        return value

    def integer(self, name: str) -> int | None:
        if not self.given(name):
            return None
        value = self.values[name]
        if self.textual and isinstance(value, str) and INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_ID:
            raise errors.invalid(f"{name} is not an integer of 64 bits")
        return value

    def record_id(self, name: str) -> int | None:
        """An id: positive and within 64 bits."""
        value = self.integer(name)
        if value is not None and not 1 <= value <= MAX_ID:
            raise errors.invalid(f"{name} is not an id")
        return value

    def required_id(self, name: str) -> int:
        return _required(name, self.record_id(name))

    def limit(self, *, default: int, most: int = MAX_ID) -> int:
        """Raises: ResponseError LIMIT_NOT_VALID (20042) outside of 1 to `most`."""
        limit = self.integer("limit")
        limit = default if limit is None else limit
        if not 1 <= limit <= most:
            raise errors.limit_not_valid()
        return limit

    def flag(self, name: str, *, default: bool) -> bool:
        if not self.given(name):
            return default
        value = self.values[name]
        if self.textual and value in ("true", "false"):
            value = value == "true"
        if not isinstance(value, bool):
            raise errors.invalid(f"{name} is neither true nor false")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value and value not in choices:
            raise errors.invalid(f"{name} is none of {', '.join(choices)}")
        return value or None

    def zone(self, name: str = "timeZoneCode") -> str | None:
        code = self.text(name)
        if code and times.zone(code) is None:
            raise errors.invalid(f"{name} is no IANA time zone")
        return code or None

    def bound(self, name: str) -> datetime | None:
        """An ISO time with its offset, else the same in `…Ms`; the string wins."""
        text = self.text(name)
        return self._milliseconds(f"{name}Ms") if not text else self._iso(name, text)

    def moment(self, name: str) -> datetime | None:
        """As `bound`, in a year of `WRITABLE_YEARS`."""
        return _writable(name, self.bound(name))

    def required_moment(self, name: str) -> datetime:
        return _required(name, self.moment(name))

    def iso(self, name: str) -> datetime | None:
        """An ISO time with its offset, and no other form."""
        text = self.text(name)
        return _writable(name, self._iso(name, text)) if text else None

    def milliseconds(self, name: str) -> datetime | None:
        return _writable(name, self._milliseconds(name))

    def _iso(self, name: str, text: str) -> datetime:
        try:
            return times.read(text)
        except ValueError:
            raise errors.invalid(f"{name} is not an ISO 8601 time with offset") from None

    def _milliseconds(self, name: str) -> datetime | None:
        value = self.integer(name)
        if value is None:
            return None
        try:
            return times.from_milliseconds(value)
        except OverflowError:
            raise errors.invalid(f"{name} is out of range") from None


def given(**values: Any) -> dict[str, Any]:
    """The values that are not null."""
    return {name: value for name, value in values.items() if value is not None}


def _json(sent: bytes) -> Any:
    try:
        body = json.loads(sent)
        # Half of a surrogate pair can be escaped in JSON, but no answer could be encoded that holds it.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise errors.invalid("the body is not JSON") from None
    return body


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise errors.invalid(f"{name} is required")
    return value


def _writable(name: str, moment: datetime | None) -> datetime | None:
    if moment is not None and moment.year not in WRITABLE_YEARS:
        raise errors.invalid(f"{name} is out of range")
    return moment


def is_url(text: str, schemes: tuple[str, ...] | None = None) -> bool:
    """Whether it is an absolute URL, of one of the schemes and with a host if schemes are given."""
    if CONTROL_OR_SPACE.search(text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # half of an IPv6 address, a port that is no number or out of range
        return False
    return bool(parts.scheme) if schemes is None else parts.scheme in schemes and bool(parts.hostname)


def path_id(request: web.Request, name: str) -> int:
    return Fields({name: request.match_info[name]}, textual=True).required_id(name)


def label_of(request: web.Request) -> str:
    """The call, such as `GET /v2.0/tasks/{taskId}`; the bare path where there is no such call."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else request.path}"
