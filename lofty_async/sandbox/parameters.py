"""Strict parsing of requests: how calls declare the parameters that they take, and how each is read."""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from attrs import field, frozen

from . import errors, times

if TYPE_CHECKING:
    from multidict import MultiMapping

MAX_TEXT_LENGTH = 10_000
MAX_ID = 2**63 - 1
CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
INTEGER = re.compile(r"-?[0-9]{1,19}")
ANY_YEAR = range(1, 10_000)
WRITABLE_YEARS = range(2, 9999)
"""Years in which every time exists in every time zone, with a day before and after it."""

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[[Any, "Fields"], Any])
Page = TypeVar("Page", bound=Callable[[Any, web.Request], Awaitable[web.Response]])

REPEATABLE: Final = frozenset({"sourceType"})
"""Parameters that a query may hold more than once, or once with commas: the vendor's encoding is unknown."""
EMPTY_BODIES: Final = (b"", b"{}")


@frozen
class Call:
    """A call of the API, and the parameters that it takes."""

    label: str
    """Such as `GET /v2.0/tasks/{taskId}`."""
    query: frozenset[str] = frozenset()
    body: frozenset[str] = frozenset()
    is_open: bool = False
    """Whether it needs no credential and has no rate limit."""
    is_typed: bool = False
    """Whether it answers 415 without a Content-Type though it is a GET, which few were seen to do."""

    async def respond(self, method: Callable[["Fields"], Any], request: web.Request) -> web.Response:
        """The result of the method that answers the call, as JSON; an empty body for `None`."""
        result = method(await self.read(request))
        return web.Response() if result is None else errors.json_response(result)

    async def read(self, request: web.Request) -> "Fields":
        """Returns the fields of the request.

        Raises: ResponseError naming a parameter that the call does not take, or for a body that it cannot have.
        """
        _check(request.query, self.query)
        query, body = _single(request.query), await request.read()
        if self.body:
            members = _members(body)
            _check(members, self.body)
            return Fields(members, path=request.match_info)
        if body not in EMPTY_BODIES:
            raise errors.invalid("this call takes no body")
        return Fields(query, path=request.match_info, textual=True)


CALLS: Final[dict[str, Call]] = {}
"""All calls by label."""
_DECLARED: Final[dict[object, Call]] = {}


def call(label: str, *, query: str = "", body: str = "", is_typed: bool = False) -> Callable[[Method], Method]:
    """Declares the method that answers a call, with the names that its query and its body may hold.

    The method takes the `Fields` of the request, and returns the data of the response; `None` for an empty body.
    """
    return _declare(Call(label, frozenset(query.split()), frozenset(body.split()), is_typed=is_typed))


def open_call(label: str) -> Callable[[Page], Page]:
    """Declares the handler, as those of aiohttp, of a call that needs no credential and has no rate limit."""
    return _declare(Call(label, is_open=True))


def _declare(declared: Call) -> Callable[[T], T]:
    CALLS[declared.label] = declared

    def remember(method: T) -> T:
        _DECLARED[method] = declared
        return method

    return remember


def routes(handlers: object) -> Iterator[web.RouteDef]:
    """The routes of all calls that the object's methods answer."""
    for name, function in vars(type(handlers)).items():
        if inspect.isfunction(function) and function in _DECLARED:
            declared, method = _DECLARED[function], getattr(handlers, name)
            handler: Handler = method if declared.is_open else partial(declared.respond, method)
            verb, path = declared.label.split()
            yield web.route(verb, path, handler)


@frozen
class Fields:
    """A query or a JSON body, and the path. Null and missing are the same; every error names its field."""

    values: Mapping[str, Any]
    path: Mapping[str, str] = field(factory=dict[str, str], kw_only=True)
    textual: bool = field(default=False, kw_only=True)
    """Whether numbers and flags are written as text, as in a query; in JSON they are not."""

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
        if value is not None and value < 1:
            raise errors.invalid(f"{name} is not an id")
        return value

    def required_id(self, name: str) -> int:
        return _required(name, self.record_id(name))

    def path_id(self, name: str) -> int:
        return Fields(self.path, textual=True).required_id(name)

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

    def zone(self) -> str | None:
        code = self.text("timeZoneCode")
        if code and times.zone(code) is None:
            raise errors.invalid("timeZoneCode is no IANA time zone")
        return code or None

    def iso(self, name: str, years: range = WRITABLE_YEARS) -> datetime | None:
        """An ISO time with its offset."""
        text = self.text(name)
        if not text:
            return None
        try:
            return _within(years, name, times.read(text))
        except ValueError:
            raise errors.invalid(f"{name} is not an ISO 8601 time with offset") from None

    def milliseconds(self, name: str, years: range = WRITABLE_YEARS) -> datetime | None:
        value = self.integer(name)
        if value is None:
            return None
        try:
            return _within(years, name, times.from_milliseconds(value))
        except OverflowError:
            raise errors.invalid(f"{name} is out of range") from None

    def moment(self, name: str, years: range = WRITABLE_YEARS) -> datetime | None:
        """As `iso`, else the same in `…Ms`; the string wins."""
        found = self.iso(name, years)
        return self.milliseconds(f"{name}Ms", years) if found is None else found

    def required_moment(self, name: str) -> datetime:
        return _required(name, self.moment(name))


def _single(query: "MultiMapping[str]") -> dict[str, str]:
    for name in query.keys() - REPEATABLE:
        if len(query.getall(name)) > 1:
            raise errors.invalid(f"{name} is given more than once")
    return {name: ",".join(query.getall(name)) for name in query}


def _members(sent: bytes) -> dict[str, Any]:
    try:
        body = json.loads(sent)
        # Half of a surrogate pair can be escaped in JSON, but no answer could be encoded that holds it.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise errors.invalid("the body is not JSON") from None
    if not isinstance(body, dict):
        raise errors.invalid("the body is not an object")
    return cast("dict[str, Any]", body)


def _check(given: Iterable[str], known: frozenset[str]) -> None:
    for name in given:
        if name not in known:
            raise errors.invalid(f"{name} is not a parameter of this call")


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise errors.invalid(f"{name} is required")
    return value


def _within(years: range, name: str, moment: datetime) -> datetime:
    if moment.year not in years:
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


def label_of(request: web.Request) -> str:
    """The call, such as `GET /v2.0/tasks/{taskId}`; the bare path where there is no such call."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else request.path}"
