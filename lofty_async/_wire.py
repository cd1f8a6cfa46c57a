"""Requests and answers as values: what is sent, what a status, headers and body mean. No I/O, no clock."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf
from types import MappingProxyType
from typing import Any, Final, TypeVar

from attrs import define, field, frozen
from multidict import istr

from . import _json, errors
from .complaints import RecordKind, as_text, read_complaint

T = TypeVar("T")

Params = Mapping[str, "str | tuple[str, ...]"]

NO_PARAMS: Final[Params] = MappingProxyType({})
BASE_URL: Final = "https://api.lofty.com"


@frozen
class Route:
    """One call of the API: what its requests have in common.

    `repeatable` says that sending it twice does no more than sending it once; `deletes` is the kind of record that
    it deletes: a repeat that is answered with "no such record" means that an earlier attempt succeeded. What `reads`
    has a body in its answer.
    """

    method: str
    template: str
    repeatable: bool = True
    deletes: RecordKind | None = None
    label: str = field(init=False)
    reads: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.method} {self.template}")
        object.__setattr__(self, "reads", self.method == "GET")


@define(eq=False)
class Request:
    """One request, ready to be sent as often as needed; `target` is the path with the ids filled in."""

    route: Route
    target: str
    params: Params = NO_PARAMS
    body: bytes | None = field(default=None, repr=False)  # a webhook's address, say, is a secret

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

# Beyond these a header makes no sense: windows are a minute, and milliseconds since 1970 have thirteen digits. A
# longer `Retry-After` counts as a day.
_MOST_REQUESTS: Final = 1e9
_FEW_DIGITS: Final = 9
_LATEST_RESET: Final = 1e14
_LONGEST_WAIT: Final = 86_400.0
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)


def read_rate(headers: Mapping[str, str]) -> RateState:
    """The budget as the headers tell it; a limit without a remaining (or the reverse) is kept as it is."""
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


class _Known(dict[str | None, T]):
    """What texts were read as: most answers repeat those before, whose second and window they share.

    Forgotten all at once when there are `most`: a look-up takes a fifth of one that counts who was asked for last.
    """

    def __init__(self, read: Callable[[str | None], T], most: int) -> None:
        super().__init__()
        self._read, self._most = read, most

    def __missing__(self, text: str | None) -> T:
        if len(self) >= self._most:
            self.clear()
        value = self[text] = self._read(text)
        return value


_counts, _resets, _dates = _Known(_count, 1024), _Known(_reset, 64), _Known(_date, 64)


def _retry_after(text: str | None, date: str | None) -> float | None:
    """The seconds to wait, from a number or a date; a date counts from the server's own clock."""
    if not text or _NUMBER.fullmatch(text.strip()):
        seconds = _number(text, inf)
    else:
        until, now = _dates[text], _dates[date]
        seconds = None if until is None or now is None else max(0.0, until - now)
    # A longer wait is not a shorter one: whoever keeps to it does not come back before the server wants it.
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


WRONG_SCHEME: Final = 200058
MIX_UP: Final = "it may be revoked or mixed up: an API key goes into ApiKey(…), an OAuth token into AccessToken(…)"
MIX_UP_ROOM: Final = errors.BODY_CHARACTERS - len(MIX_UP) - len("; ")


def is_refusal(status: int, body: bytes) -> bool:
    """Whether the answer says that the budget is spent: 429, or a 400 from a filter in front that says only so."""
    return status == 429 or (status == 400 and read_complaint(body).is_of_spent_budget)


def read_error(reply: Reply) -> errors.APIError:
    """The error that an answer stands for, by its code first, then by its status."""
    complaint = read_complaint(reply.body)
    known: dict[str, Any] = {
        "message": errors.cut(complaint.message or "the server answered with an empty body"),
        "status": reply.status,
        "code": complaint.code,
        "name": complaint.name,
        "body": _start(reply.body),
    }
    if is_refusal(reply.status, reply.body):
        return errors.RateLimitedError(**known, retry_after=read_rate(reply.headers).retry_after)
    if complaint.code == WRONG_SCHEME:
        known["message"] = f"{known['message'][:MIX_UP_ROOM]}; {MIX_UP}"
    return (complaint.kind or _kind_of_status(reply.status))(**known)


def _start(body: bytes) -> str:
    # A character takes up to four bytes; one more shows that something was cut.
    return errors.cut(as_text(body, 4 * errors.BODY_CHARACTERS + 4))


def _kind_of_status(status: int) -> type[errors.APIError]:
    usual = errors.ServerError if status >= 500 else errors.InvalidRequestError if status >= 400 else errors.APIError
    return _BY_STATUS.get(status, usual)


def may_have_succeeded(status: int, error: errors.APIError) -> bool:
    """Whether the server may have done, or may yet do, what it answers with this error.

    A server may finish a request after its own 504. What it refuses by a 4xx, or by a code of Lofty's below 500, it
    leaves undone.
    """
    return isinstance(error, errors.ServerError) or not (200 <= status < 300 or 400 <= status < 500)


def read_result(reply: Reply, *, needs_body: bool = False) -> Any:
    """The decoded body of a 2xx answer; an empty or blank one is `None`.

    Raises: DecodeError where it is not JSON, such as a proxy's page sent with 200, or says nothing though it
    `needs_body`.
    """
    result = _read_body(reply)
    if result is None and needs_body:
        raise errors.DecodeError("the answer is empty", body=_start(reply.body))
    return result


def _read_body(reply: Reply) -> Any:
    try:
        return _json.loads(reply.body)
    except ValueError as error:
        if _json.is_blank(reply.body):
            return None
        # The decoder's traceback says nothing, and would hold the call's frames for as long as the error is kept.
        cause = error.with_traceback(None)
        raise errors.DecodeError("the answer is not JSON", body=_start(reply.body)) from cause
