"""Requests and answers as values: what is sent, and what a status, headers and a body mean. No I/O, no clock.

Errors are mapped by code first, then by status: one status stands for many errors, and some errors come with 200.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from attrs import define, field, frozen
from multidict import istr

from . import _json, errors
from ._error_body import ERROR_KEYS, ErrorBody, decoded, is_error_body, start_of

T = TypeVar("T")

Params = Mapping[str, "str | tuple[str, ...]"]

NO_PARAMS: Final[Params] = MappingProxyType({})
BASE_URL: Final = "https://api.lofty.com"


class RecordKind(Enum):
    """The kind of record that a call is about."""

    TASK = "task"
    TASK_V1 = "task of the legacy API"
    CALENDAR_ENTRY = "calendar entry"
    WEBHOOK = "webhook subscription"
    LEAD = "lead"


_PLACEHOLDER: Final = re.compile(r"\{\w+\}")


@frozen(repr=False)
class Route:
    """One call of the API: its method and path.

    `repeatable` says that sending it twice does no more than sending it once. `deletes` is the kind of record that it
    deletes: a repeat that is answered with "no such record" means that an earlier attempt succeeded. The result of a
    `raw` call is the answer as it arrived. A call that `reads` has a body in its answer. `pattern` is the path with
    `%s` for each id.
    """

    method: str
    template: str
    repeatable: bool = True
    deletes: RecordKind | None = None
    raw: bool = False
    label: str = field(init=False)
    pattern: str = field(init=False)
    reads: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "pattern", _PLACEHOLDER.sub("%s", self.template.replace("%", "%%")))
        object.__setattr__(self, "label", f"{self.method} {self.template}")
        object.__setattr__(self, "reads", self.method == "GET")

    @property
    def doubt(self) -> str:
        """The state of affairs if the answer to a request that must not be repeated is lost."""
        return "the request may have been carried out" if self.raw else "the record may exist"


@define(eq=False, repr=False)
class Request:
    """One request, ready to be sent as often as needed; `target` is the path with the ids filled in.

    `answered` holds the headers of its last answer.
    """

    route: Route
    target: str
    params: Params = NO_PARAMS
    body: bytes | None = field(default=None, repr=False)  # a webhook's address, say, is a secret
    answered: Mapping[str, str] = field(default=MappingProxyType({}), init=False)

    @property
    def answer_id(self) -> str | None:
        """The server's id of the request in its last answer."""
        return request_id(self.answered)

    @property
    def label(self) -> str:
        return self.route.label if self.target == self.route.template else f"{self.route.method} {self.target}"


@define(eq=False, repr=False)
class Reply:
    """One answer as it arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@define
class RateState:
    """The rate limit in the headers of one answer; a part is `None` if its header is missing or makes no sense.

    `reset` is the header's raw number, `server_time` the `Date` header in epoch seconds, `retry_after` seconds.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    server_time: float | None = None
    retry_after: float | None = None


# multidict's own kind of string: it looks them up without folding the case each time.
_DATE: Final = istr("Date")
_LIMIT: Final = istr("X-RateLimit-Limit")
_REMAINING: Final = istr("X-RateLimit-Remaining")
_RESET: Final = istr("X-RateLimit-Reset")
_RETRY_AFTER: Final = istr("Retry-After")

_REQUEST_IDS: Final = (istr("X-Request-Id"), istr("Request-Id"), istr("X-Trace-Id"))


def request_id(headers: Mapping[str, str]) -> str | None:
    """The server's id of a request: the first of `X-Request-Id`, `Request-Id` and `X-Trace-Id` that it sends."""
    return next((errors.cut(found) for name in _REQUEST_IDS if (found := headers.get(name))), None)


# Beyond these a header makes no sense: windows are a minute, and milliseconds since 1970 have thirteen digits. A
# longer `Retry-After` counts as a day.
_MOST_REQUESTS: Final = 1e9
_FEW_DIGITS: Final = 9
_LATEST_RESET: Final = 1e14
_LONGEST_WAIT: Final = 86_400.0
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)


def read_rate(headers: Mapping[str, str]) -> RateState:
    """The rate limit in these headers; a limit without a remaining, or the reverse, is kept as it is."""
    get = headers.get
    date, retry_after = get(_DATE), get(_RETRY_AFTER)
    return RateState(
        _counts[get(_LIMIT)] or None,
        _counts[get(_REMAINING)],
        _resets[get(_RESET)],
        _dates[date],
        None if retry_after is None else _retry_after(retry_after, date),
    )


def _number(text: str | None, most: float) -> float | None:
    if not text or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if value <= most else None


def _count(text: str | None) -> int | None:
    if text and text.isascii() and text.isdigit() and len(text) <= _FEW_DIGITS:
        return int(text)
    value = _number(text, _MOST_REQUESTS)
    return int(value) if value is not None and value.is_integer() else None


def _reset(text: str | None) -> float | None:
    return _number(text, _LATEST_RESET)


def _date(text: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Cache(dict[str | None, T]):
    """Parsed header texts: most answers repeat the texts of those before, as they share their second and window.

    Emptied when it holds `most`: a look-up takes a fifth of the time that one in a cache of the most recent takes.
    """

    def __init__(self, read: Callable[[str | None], T], most: int) -> None:
        super().__init__()
        self._read, self._most = read, most

    def __missing__(self, text: str | None) -> T:
        if len(self) >= self._most:
            self.clear()
        value = self[text] = self._read(text)
        return value


_counts, _resets, _dates = _Cache(_count, 1024), _Cache(_reset, 64), _Cache(_date, 64)


def _retry_after(text: str | None, date: str | None) -> float | None:
    """The seconds to wait, from a number or a date; a date counts from the server's own clock."""
    if not text or _NUMBER.fullmatch(text.strip()):
        seconds = _number(text, inf)
    else:
        until, now = _dates[text], _dates[date]
        seconds = None if until is None or now is None else max(0.0, until - now)
    # Bounded, not dropped: a wait that is too long for its header is still a wait.
    return None if seconds is None else min(seconds, _LONGEST_WAIT)


_BY_STATUS: Final[dict[int, type[errors.APIError]]] = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.ServerError,
    410: errors.NotFoundError,
    425: errors.ServerError,
    429: errors.RateLimitedError,
}
# Codes and names; for a lead the same code also means "no access" (contract, section 4).
_GONE: Final[dict[RecordKind, frozenset[int | str]]] = {
    RecordKind.TASK: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST"}),
    RecordKind.TASK_V1: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST"}),
    RecordKind.CALENDAR_ENTRY: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST", 20012, "INVALID_PARAMETER"}),
    RecordKind.WEBHOOK: frozenset({20007, "RESOURCE_NOT_EXIST", "WEBHOOK_DELETE_NOT_EXIST"}),
    RecordKind.LEAD: frozenset({20006, "LEAD_NOT_EXIST"}),
}

_WRONG_SCHEME: Final = 200058
_WRONG_SCHEME_HINT: Final = (
    "it may be revoked or mixed up: an API key goes into ApiKey(…), an OAuth token into AccessToken(…)"
)
_HINT_ROOM: Final = errors.BODY_CHARACTERS - len(_WRONG_SCHEME_HINT) - len("; ")


def read_reply(reply: Reply, *, needs_body: bool = False) -> Any:
    """The decoded body of an answer, `None` for an empty one; or, returned, the `CallError` that the answer means.

    A DecodeError means a body that is not JSON, such as a proxy's page sent with 200, or no body though it
    `needs_body`.
    """
    if not 200 <= reply.status < 300:
        return read_error(reply)
    result: Any
    try:
        result = _json.loads(reply.body)
    except ValueError as error:
        if not _json.is_blank(reply.body):
            return _not_json(reply, error)
        result = None
    if result is None:
        return _empty(reply) if needs_body else None
    if result.__class__ is dict and not ERROR_KEYS.isdisjoint(result) and is_error_body(result):
        return read_error(reply)
    return result


def check_reply(reply: Reply) -> Reply | errors.APIError:
    """The answer as it arrived, whatever its body; or, returned, the error that it means."""
    result = decoded(reply.body) if 200 <= reply.status < 300 else None
    is_good = 200 <= reply.status < 300 and not (isinstance(result, dict) and is_error_body(result))
    return reply if is_good else read_error(reply)


def decode(reply: Reply) -> Any:
    """The value of a JSON body.

    Raises: DecodeError if it is empty or not JSON.
    """
    try:
        return _json.loads(reply.body)
    except ValueError as error:
        failure = _empty(reply) if _json.is_blank(reply.body) else _not_json(reply, error)
    raise failure


def read_error(reply: Reply) -> errors.APIError:
    """The error that an answer means: by its code first, then by its status."""
    body = ErrorBody.parse(reply.body)
    known: dict[str, Any] = {
        "message": errors.cut(body.message or "the server answered with an empty body"),
        "status": reply.status,
        "code": body.code,
        "name": body.name,
        "body": _start(reply.body),
        "request_id": request_id(reply.headers),
    }
    if reply.status == 429 or (reply.status == 400 and body.is_rate_limited):
        return errors.RateLimitedError(**known, retry_after=read_rate(reply.headers).retry_after)
    if body.code == _WRONG_SCHEME:
        known["message"] = f"{known['message'][:_HINT_ROOM]}; {_WRONG_SCHEME_HINT}"
    return (body.kind or _kind_of_status(reply.status))(**known)


def part(body: Any, names: Iterable[str], request: str) -> Any:
    """The value at this path in an answer, `None` if it is missing.

    Raises: DecodeError if something on the way is no object.
    """
    path: list[str] = []
    for name in names:
        if body is None:
            return None
        if body.__class__ is not dict:
            raise errors.DecodeError("expected an object", request=request, path=".".join(path) or "the answer")
        body = body.get(name)
        path.append(name)
    return body


def ambiguous_write(request: Request, cause: errors.CallError) -> errors.AmbiguousWriteError:
    """The error of a request that must not be sent again and whose response was lost."""
    kind = "request" if request.route.raw else "create"
    value: Any = _json.loads(request.body) if request.body else {}
    sent = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    lead_id = sent.get("leadId")
    error = errors.AmbiguousWriteError(
        f"the response to a {kind} was lost: {request.route.doubt}; the {kind} is not sent again",
        lead_id=lead_id if isinstance(lead_id, int) else None,
        sent=sent,
        request_id=cause.request_id,
    )
    error.__cause__ = cause
    return error


def is_gone(error: BaseException | None, kind: RecordKind) -> bool:
    """Whether an error says that a record of this kind does not exist: by Lofty's code, never by a bare status.

    A 404 without a code may come from a gateway; the legacy API alone has an empty 404 of its own. Of a lead it says
    that there is none, or no access to it: before anything of the lead is dropped, a complete list has to lack it too.
    """
    if not isinstance(error, errors.APIError):
        return False
    if not _GONE[kind].isdisjoint({error.code, error.name}):
        return True
    is_bare = error.code is None and error.name is None and not error.body.strip()
    return kind is RecordKind.TASK_V1 and error.status == 404 and is_bare


def _kind_of_status(status: int) -> type[errors.APIError]:
    usual = errors.ServerError if status >= 500 else errors.InvalidRequestError if status >= 400 else errors.APIError
    return _BY_STATUS.get(status, usual)


def _empty(reply: Reply) -> errors.DecodeError:
    return errors.DecodeError("the answer is empty", body=_start(reply.body), request_id=request_id(reply.headers))


def _not_json(reply: Reply, cause: ValueError) -> errors.DecodeError:
    error = errors.DecodeError("the answer is not JSON", body=_start(reply.body), request_id=request_id(reply.headers))
    # The decoder's traceback says nothing, and would hold the call's frames for as long as the error is kept.
    error.__cause__ = cause.with_traceback(None)
    return error


def _start(body: bytes) -> str:
    # A character takes up to four bytes; one more shows that something was cut.
    return errors.cut(start_of(body, 4 * errors.BODY_CHARACTERS + 4))
