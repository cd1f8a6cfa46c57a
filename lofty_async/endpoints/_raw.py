"""Calls of the API that have no method of their own: any path, by `LoftyClient.request`."""

import re
from collections.abc import Mapping
from math import isfinite
from operator import index
from typing import Any, Final, cast
from urllib.parse import quote, unquote

from attrs import field, frozen
from multidict import CIMultiDict

from lofty_async import _checks, _json
from lofty_async._checks import refuse
from lofty_async._times import format_time
from lofty_async._wire import NO_PARAMS, Params, Reply, Request, Route, decode, request_id
from lofty_async.errors import DecodeError, shown

from . import calendar, leads, tasks, v1, webhooks
from ._base import Caller

REPEATABLE: Final = {
    **dict.fromkeys(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"), True),
    **dict.fromkeys(("POST", "PATCH"), False),
}
MAX_TEMPLATES: Final = 64  # per client, beyond those of the API's known calls
PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"  # sent as given; all others are percent-encoded

# A word of a path, or the API's version; every other part is taken for an id.
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,31}|v\d+(\.\d+)?", re.ASCII)
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ID: Final = "{id}"
_KNOWN: Final = {
    f"{route.method} {re.sub('{[^}]*}', _ID, route.template)}": route.template
    for module in (calendar, leads, tasks, v1, webhooks)
    for route in vars(module).values()
    if isinstance(route, Route)
}


@frozen(kw_only=True, eq=False)
class Response:
    """The answer to a request of `LoftyClient.request`: its status, 200 to 299, its headers, and its body as it came.

    `headers` are looked up in any case. `request` is method and path.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request: str

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, from `X-Request-Id`, `Request-Id` or `X-Trace-Id`."""
        return request_id(self.headers)

    def json(self) -> Any:
        """The value of a JSON body; integers are exact up to 64 bits.

        Raises: DecodeError naming the call if the body is empty or not JSON.
        """
        try:
            return decode(Reply(self.status, self.headers, self.body))
        except DecodeError as error:
            error.request = self.request
            raise


def raw_request(
    caller: Caller, method: object, path: object, *, params: object, json: object, repeatable: object
) -> Request:
    """The request, checked.

    Raises: InvalidRequestError naming the argument.
    """
    verb = _method(method)
    target = _target(path)
    again = _checks.unless_none(_checks.flag, "repeatable", repeatable)
    route = Route(
        verb,
        _template(caller.raw_templates, verb, target),
        repeatable=REPEATABLE[verb] if again is None else again,
        raw=True,
    )
    return Request(route, target, _params(params), None if json is None else _body(json))


async def send_raw(caller: Caller, request: Request) -> Response:
    """The answer to a raw request."""
    reply: Reply = await caller.manager.call(request, caller.options)
    return Response(status=reply.status, headers=CIMultiDict(reply.headers), body=reply.body, request=request.label)


def _method(value: object) -> str:
    method = value.upper() if isinstance(value, str) else ""
    if method not in REPEATABLE:
        raise refuse("method", f"must be one of {', '.join(REPEATABLE)}, not {shown(value)}")
    return method


def _target(value: object) -> str:
    """The path as it is sent, percent-encoded unless it is already."""
    path = _checks.text("path", value)
    if "://" in path or not path.startswith("/") or path.startswith("//") or "\\" in path:
        raise refuse("path", "must be a path of the API such as /v1.0/me: the host is that of base_url")
    if "?" in path or "#" in path:
        raise refuse("path", "must have no query or fragment: use params")
    plain = unquote(path)
    if not plain.replace(" ", "").isprintable():
        raise refuse("path", "must have no control characters")
    if not {".", ".."}.isdisjoint(re.split(r"[/\\]", plain)):
        raise refuse("path", "must have no parts '.' and '..'")
    return quote(_BARE_PERCENT.sub("%25", path), safe=PATH_CHARACTERS)


def _template(seen: set[str], method: str, target: str) -> str:
    """The path with its ids replaced, as the limiter tells routes apart; paths beyond the bound are one route."""
    template = "/".join(part if not part or _WORD.fullmatch(part) else _ID for part in target.split("/"))
    known = _KNOWN.get(f"{method} {template}")
    if known is None and template not in seen:
        if len(seen) >= MAX_TEMPLATES:
            return "/{path}"
        seen.add(template)
    return known or template


def _params(params: object) -> Params:
    if params is None:
        return NO_PARAMS
    if not isinstance(params, Mapping):
        raise refuse("params", f"must be a mapping of names to values, not {type(params).__name__}")
    found = cast("Mapping[object, object]", params)
    named = {_checks.text("params", name): value for name, value in found.items() if value is not None}
    return {name: _values(f"params[{name!r}]", value) for name, value in named.items()}


def _values(argument: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(_value(argument, one) for one in cast("list[object]", value))
    return _value(argument, value)


def _value(argument: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _checks.text(argument, value) if value.strip() else value
    if isinstance(value, float) and isfinite(value):
        return repr(value)
    if hasattr(value, "__index__"):
        return str(index(cast("Any", value)))
    if hasattr(value, "utcoffset"):
        return format_time(_checks.moment(argument, value))
    raise refuse(argument, f"must be a string, number, bool, datetime or a list of these, not {shown(value)}")


def _body(json: object) -> bytes:
    try:
        return _json.dumps(json)
    except ValueError:
        pass
    # Raised out here, without a cause, whose text may quote the value.
    raise refuse(
        "json",
        "must be made of dicts with string keys, lists, strings, finite numbers, bools and None; "
        "write a time as text: value.isoformat()",
    )
