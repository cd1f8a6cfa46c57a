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

from attrs import define, evolve, field, frozen
from multidict import istr

from . import _json, errors

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


@frozen(repr=False)
class Route:
    """One call of the API: its method and path.

    `repeatable` says that sending it twice does no more than sending it once. `deletes` is the kind of record that it
    deletes: a repeat that is answered with "no such record" means that an earlier attempt succeeded. The result of a
    `raw` call is the answer as it arrived. A call that `reads` has a body in its answer.
    """

    method: str
    template: str
    repeatable: bool = True
    deletes: RecordKind | None = None
    raw: bool = False
    label: str = field(init=False)
    reads: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.method} {self.template}")
        object.__setattr__(self, "reads", self.method == "GET")

    @property
    def doubt(self) -> str:
        """The state of affairs if the answer to a request that must not be repeated is lost."""
        return "the request may have been carried out" if self.raw else "the record may exist"


@define(eq=False, repr=False)
class Request:
    """One request, ready to be sent as often as needed; `target` is the path with the ids filled in."""

    route: Route
    target: str
    params: Params = NO_PARAMS
    body: bytes | None = field(default=None, repr=False)  # a webhook's address, say, is a secret

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


_NAMES: Final[dict[int, str]] = {
    20003: "USER_NOT_EXIST",
    20006: "LEAD_NOT_EXIST",
    20007: "RESOURCE_NOT_EXIST",
    20012: "INVALID_PARAMETER",
    20017: "PERMISSION_DENIED",
    20042: "LIMIT_NOT_VALID",
    20043: "PARAMETER_TOO_LONG",
}
_CODES: Final = {name: code for code, name in _NAMES.items()}

_BY_CODE: Final[dict[int, type[errors.APIError]]] = {
    20001: errors.InvalidRequestError,
    20003: errors.NotFoundError,
    20005: errors.ServerError,
    20006: errors.NotFoundError,
    20007: errors.NotFoundError,
    20012: errors.InvalidRequestError,
    20017: errors.PermissionDeniedError,
    20042: errors.InvalidRequestError,
    20043: errors.InvalidRequestError,
    200058: errors.AuthenticationError,
    200100: errors.PermissionDeniedError,
}
_BY_NAME: Final[dict[str, type[errors.APIError]]] = {
    **{name: _BY_CODE[code] for code, name in _NAMES.items()},
    "BAD_CREDENTIALS": errors.AuthenticationError,
    "VENDOR_HAS_NO_PERMISSION": errors.PermissionDeniedError,
    "WEBHOOK_DELETE_NO_AUTHORITY": errors.PermissionDeniedError,
    "MISSING_PARAMETER": errors.InvalidRequestError,
    "LIMIT_PARAM_OVERSIZE": errors.InvalidRequestError,
    "TASK_NOT_EXIST": errors.NotFoundError,
    "WEBHOOK_DELETE_NOT_EXIST": errors.NotFoundError,
    "TASK_IS_SMARTPLAN": errors.InvalidRequestError,
    "INVALID_UPDATE_OPERATION_LEADID": errors.InvalidRequestError,
    "WEBHOOK_TYPE_ERROR": errors.InvalidRequestError,
    "WEBHOOK_CALLBACK_URL_INVALID": errors.InvalidRequestError,
    "WEBHOOK_EXCEED_LIMIT": errors.InvalidRequestError,
}
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

_CODE_KEYS: Final = ("code", "errorCode")
_MESSAGE_KEYS: Final = ("message", "msg", "errorMsg", "error")
_ERROR_KEYS: Final = frozenset({"status", *_CODE_KEYS, *_MESSAGE_KEYS})
_WHOLE_NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_HIDDEN_CODE: Final = re.compile(r"errorCode\s*=\s*(\w+)(?:\s*,\s*errorMsg\s*=\s*(.*))?", re.DOTALL | re.ASCII)
_HIDDEN_NAME: Final = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_MAX_NOTICE: Final = 1000  # characters of a message that is checked for the words of a rate limit
_MAX_ERROR_BODY: Final = 65_536  # bytes that are parsed: a larger body is a page or a mistake
_LIMIT_WORDS: Final = r"(the |your |our )?(\w+ )?(rate|request|call)[ _-]?limits?"
_RATE_LIMIT_NOTICE: Final = re.compile(
    r"((http |error )?4\d\d[: -]+|error:? )?"
    r"(too many requests( from this \w+)?"
    rf"|(you (have |'ve )?)?(exceeded|reached|hit) {_LIMIT_WORDS}"
    rf"|{_LIMIT_WORDS} (is |was |has been )?(exceeded|reached|hit))"
    r"[.!,;: ]*((please|try|retry|wait|slow)\b[\w ,.!]*)?",
    re.IGNORECASE,
)
_PAGE: Final = re.compile(r"\s*<(!doctype|html)\b", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")

_WRONG_SCHEME: Final = 200058
_WRONG_SCHEME_HINT: Final = (
    "it may be revoked or mixed up: an API key goes into ApiKey(…), an OAuth token into AccessToken(…)"
)
_HINT_ROOM: Final = errors.BODY_CHARACTERS - len(_WRONG_SCHEME_HINT) - len("; ")


@frozen(repr=False)
class ErrorBody:
    """The code, name and message of an error's body, whatever its shape."""

    code: int | None = None
    name: str | None = None
    message: str = ""

    @property
    def kind(self) -> type[errors.APIError] | None:
        """The exception for the code or name, `None` if neither is known."""
        return _BY_CODE.get(self.code or 0) or _BY_NAME.get(self.name or "")

    @property
    def is_rate_limited(self) -> bool:
        """Whether it only says that the rate limit is exceeded."""
        # The filter in front knows none of Lofty's codes, and says nothing else. A body that has a code, or holds
        # these words within a longer text, refuses something that quotes them.
        if self.kind is not None or len(self.message) >= _MAX_NOTICE:
            return False
        parts = _TAG.split(self.message) if _PAGE.match(self.message) else [self.message]
        sentences = (" ".join(part.split()) for part in parts)
        return any(_RATE_LIMIT_NOTICE.fullmatch(sentence) for sentence in sentences)

    @classmethod
    def parse(cls, body: bytes) -> "ErrorBody":
        """Code, name and message of a body; of several candidates for the code, the first that is known."""
        text = _text(body, _MAX_ERROR_BODY).strip()
        value = _decoded(body) if len(body) <= _MAX_ERROR_BODY else None
        if not isinstance(value, dict):
            return cls._from_text(value if isinstance(value, str) else text)
        places = _places(cast("dict[str, Any]", value))
        messages = (place.get(key) for place in places for key in _MESSAGE_KEYS)
        message = cls._from_text(next((one for one in messages if isinstance(one, str) and one.strip()), text))
        found = [*(cls.from_code(place.get(key)) for place in places for key in _CODE_KEYS), message]
        best = next((one for one in found if one.kind), None)
        return evolve(best or next((one for one in found if one.code or one.name), message), message=message.message)

    @classmethod
    def _from_text(cls, text: str) -> "ErrorBody":
        hidden = _HIDDEN_CODE.search(text)
        if hidden:
            return evolve(cls.from_code(hidden[1]), message=(hidden[2] or text).strip())
        name = next((word for word in _HIDDEN_NAME.findall(text) if word in _BY_NAME), None)
        return cls(_CODES.get(name or ""), name, text.strip())

    @classmethod
    def from_code(cls, value: object) -> "ErrorBody":
        """A body of this code alone: a number, digits, or a name; of neither if it is none of these."""
        if isinstance(value, int | str) and _WHOLE_NUMBER.fullmatch(str(value)):
            code = int(value)
            return cls(code or None, _NAMES.get(code))
        if isinstance(value, str) and _WORD.fullmatch(value):
            return cls(_CODES.get(value), value)
        return cls()


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
    if result.__class__ is dict and not _ERROR_KEYS.isdisjoint(result) and _is_error_body(result):
        return read_error(reply)
    return result


def check_reply(reply: Reply) -> Reply | errors.APIError:
    """The answer as it arrived, whatever its body; or, returned, the error that it means."""
    result = _decoded(reply.body) if 200 <= reply.status < 300 else None
    is_good = 200 <= reply.status < 300 and not (isinstance(result, dict) and _is_error_body(result))
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


def is_rate_limited(reply: Reply) -> bool:
    """Whether the answer says that the rate limit is exceeded: 429, or a 400 of a filter in front."""
    return reply.status == 429 or (reply.status == 400 and ErrorBody.parse(reply.body).is_rate_limited)


def _is_error_body(result: Any) -> bool:
    """Whether the body of a 2xx is an error all the same: its code is known as an error's."""
    places = _places(result)
    codes = [place.get(key) for place in places for key in _CODE_KEYS]
    hidden = (_HIDDEN_CODE.search(str(place.get(key))) for place in places for key in _MESSAGE_KEYS)
    return any(ErrorBody.from_code(code).kind for code in [*codes, *(match[1] for match in hidden if match)])


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


def _places(fields: dict[str, Any]) -> list[dict[str, Any]]:
    inner = fields.get("status")
    return [cast("dict[str, Any]", inner), fields] if isinstance(inner, dict) else [fields]


def _decoded(body: bytes) -> Any:
    try:
        return _json.loads(body)
    except ValueError:
        return None


def _start(body: bytes) -> str:
    # A character takes up to four bytes; one more shows that something was cut.
    return errors.cut(_text(body, 4 * errors.BODY_CHARACTERS + 4))


def _text(body: bytes, most: int) -> str:
    """The text of at most so many bytes, cut before it is decoded, without a byte order mark."""
    return body[:most].decode("utf-8-sig", "replace")
