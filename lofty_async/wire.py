"""Requests and answers as values: what is sent, what a status, headers and body mean. No I/O, no clock."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, cast

from attrs import define, evolve, field, frozen
from multidict import istr

from . import _json, errors

Params = Mapping[str, "str | tuple[str, ...]"]

NO_PARAMS: Final[Params] = MappingProxyType({})
BASE_URL: Final = "https://api.lofty.com"


@frozen
class Route:
    """One call of the API: what its requests have in common.

    `repeatable` says that sending it twice does no more than sending it once; `gone_is_done` that "not found" on a
    repeat means that the first one landed.
    """

    method: str
    template: str
    repeatable: bool = True
    gone_is_done: bool = False
    label: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.method} {self.template}")


@define(eq=False)
class Request:
    """One request, ready to be sent as often as needed; `target` is the path with the ids filled in."""

    route: Route
    target: str
    params: Params = NO_PARAMS
    body: bytes | None = None

    @property
    def label(self) -> str:
        return self.route.label if self.target == self.route.template else f"{self.route.method} {self.target}"


@define(eq=False)
class Reply:
    """One answer as it arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@define
class RateState:
    """What one answer says of the budget; each part `None` where it was missing or makes no sense.

    `reset` is the header's raw number, `server_time` the `Date` header in epoch seconds, `retry_after` seconds.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    server_time: float | None = None
    retry_after: float | None = None


# Of multidict's own kind, which its headers are asked for without folding the case each time.
_DATE: Final = istr("Date")
_LIMIT: Final = istr("X-RateLimit-Limit")
_REMAINING: Final = istr("X-RateLimit-Remaining")
_RESET: Final = istr("X-RateLimit-Reset")
_RETRY_AFTER: Final = istr("Retry-After")

# Beyond these a header makes no sense: windows are a minute, and milliseconds since 1970 have thirteen digits.
_MOST_REQUESTS: Final = 1e9
_LATEST_RESET: Final = 1e14
_LONGEST_WAIT: Final = 86_400.0
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)


def read_rate(headers: Mapping[str, str]) -> RateState:
    """The budget as the headers tell it; a limit without a remaining (or the reverse) is kept as it is."""
    get = headers.get
    date, retry_after = get(_DATE), get(_RETRY_AFTER)
    return RateState(
        _count(get(_LIMIT)) or None,
        _count(get(_REMAINING)),
        _reset(get(_RESET)),
        _date(date),
        None if retry_after is None else _retry_after(retry_after, date),
    )


def _number(text: str | None, most: float) -> float | None:
    if not text or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if value <= most else None


@lru_cache(maxsize=1024)  # the same few texts come with every answer
def _count(text: str | None) -> int | None:
    value = _number(text, _MOST_REQUESTS)
    return int(value) if value is not None and value.is_integer() else None


@lru_cache(maxsize=64)
def _reset(text: str | None) -> float | None:
    return _number(text, _LATEST_RESET)


@lru_cache(maxsize=64)  # answers of one second share it, and reading one costs more than the rest of the headers
def _date(text: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _retry_after(text: str | None, date: str | None) -> float | None:
    """The seconds to wait, from a number or a date; a date counts from the server's own clock."""
    if not text or _NUMBER.fullmatch(text.strip()):
        return _number(text, _LONGEST_WAIT)
    until, now = _date(text), _date(date)
    if until is None or now is None or until - now > _LONGEST_WAIT:
        return None
    return max(0.0, until - now)


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
    410: errors.NotFoundError,
    429: errors.RateLimitedError,
}

_MARKS: Final = ("code", "errorCode")
_MESSAGES: Final = ("message", "msg", "errorMsg", "error")
_SIGNS: Final = frozenset({"status", *_MARKS, *_MESSAGES})
_WHOLE_NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_HIDDEN_CODE: Final = re.compile(r"errorCode\s*=\s*(\w+)(?:\s*,\s*errorMsg\s*=\s*(.*))?", re.DOTALL | re.ASCII)
_HIDDEN_NAME: Final = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_TOO_MANY: Final = re.compile(r"\b(too many requests|rate.?limit|request limit)", re.IGNORECASE)
_NOTICE_CHARACTERS: Final = 1000


@frozen
class Complaint:
    """What an error's body says, whatever its shape."""

    code: int | None = None
    name: str | None = None
    message: str = ""

    @property
    def kind(self) -> type[errors.APIError] | None:
        return _BY_CODE.get(self.code or 0) or _BY_NAME.get(self.name or "")

    @property
    def is_of_spent_budget(self) -> bool:
        # The filter in front knows none of Lofty's codes: what has one is an ordinary refusal that quotes the words.
        notice = self.kind is None and len(self.message) < _NOTICE_CHARACTERS
        return notice and bool(_TOO_MANY.search(self.message))


def is_refusal(status: int, body: bytes) -> bool:
    """Whether the answer says that the budget is spent: 429, or a 400 from a filter in front that says so."""
    return status == 429 or (status == 400 and read_complaint(body).is_of_spent_budget)


def read_error(reply: Reply) -> errors.APIError:
    """The error that an answer of 300 and above stands for, by its code first, then by its status."""
    complaint = read_complaint(reply.body)
    known: dict[str, Any] = {
        "message": errors.cut(complaint.message or "the server answered with an empty body"),
        "status": reply.status,
        "code": complaint.code,
        "name": complaint.name,
        "body": errors.cut(_text(reply.body)),
    }
    if is_refusal(reply.status, reply.body):
        return errors.RateLimitedError(**known, retry_after=read_rate(reply.headers).retry_after)
    return (complaint.kind or _kind_of_status(reply.status))(**known)


def _kind_of_status(status: int) -> type[errors.APIError]:
    usual = errors.ServerError if status >= 500 else errors.InvalidRequestError if status >= 400 else errors.APIError
    return _BY_STATUS.get(status, usual)


def read_complaint(body: bytes) -> Complaint:
    """Code, name and message; where several claim to be the code, the first that is known."""
    text = _text(body).strip()
    value = _decoded(body)
    if not isinstance(value, dict):
        return _from_text(value if isinstance(value, str) else text)
    places = _places(cast("dict[str, Any]", value))
    messages = (place.get(key) for place in places for key in _MESSAGES)
    told = _from_text(next((one for one in messages if isinstance(one, str) and one.strip()), text))
    claims = [*(_from_mark(place.get(key)) for place in places for key in _MARKS), told]
    best = next((claim for claim in claims if claim.kind), None)
    return evolve(best or next((claim for claim in claims if claim.code or claim.name), told), message=told.message)


def is_complaint(result: Any) -> bool:
    """Whether what came with a 2xx is an error all the same: an object that gives a code known for one."""
    if result.__class__ is not dict or _SIGNS.isdisjoint(result):
        return False
    places = _places(result)
    marks = [place.get(key) for place in places for key in _MARKS]
    hidden = (_HIDDEN_CODE.search(str(place.get(key))) for place in places for key in _MESSAGES)
    return any(_from_mark(mark).kind for mark in [*marks, *(match[1] for match in hidden if match)])


def _places(fields: dict[str, Any]) -> list[dict[str, Any]]:
    inner = fields.get("status")
    return [cast("dict[str, Any]", inner), fields] if isinstance(inner, dict) else [fields]


def _from_text(text: str) -> Complaint:
    hidden = _HIDDEN_CODE.search(text)
    if hidden:
        return evolve(_from_mark(hidden[1]), message=(hidden[2] or text).strip())
    name = next((word for word in _HIDDEN_NAME.findall(text) if word in _BY_NAME), None)
    return Complaint(_CODES.get(name or ""), name, text.strip())


def _from_mark(mark: object) -> Complaint:
    """What stands in the place of a code: a number, digits, or a name."""
    if isinstance(mark, int | str) and _WHOLE_NUMBER.fullmatch(str(mark)):
        code = int(mark)
        return Complaint(code or None, _NAMES.get(code))
    if isinstance(mark, str) and _WORD.fullmatch(mark):
        return Complaint(_CODES.get(mark), mark)
    return Complaint()


def _decoded(body: bytes) -> Any:
    try:
        return _json.loads(body)
    except ValueError:
        return None


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def read_result(reply: Reply) -> Any:
    """The decoded body of a 2xx answer; an empty or blank one is `None`.

    Raises: DecodeError where it is not JSON, such as a proxy's page sent with 200.
    """
    if not reply.body or reply.body.isspace():
        return None
    try:
        return _json.loads(reply.body)
    except ValueError as error:
        raise errors.DecodeError("the answer is not JSON", body=errors.cut(_text(reply.body))) from error
