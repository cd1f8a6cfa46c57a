"""What the server complains of, in whatever shape: a code, a name, a message. Pure.

Codes and names say more than an answer's status: one status stands for many errors, and some errors come with 200.
"""

import re
from enum import Enum
from typing import Any, Final, cast

from attrs import evolve, frozen

from . import _json, errors

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
_MARKS: Final = ("code", "errorCode")
_MESSAGES: Final = ("message", "msg", "errorMsg", "error")
_SIGNS: Final = frozenset({"status", *_MARKS, *_MESSAGES})
_WHOLE_NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_HIDDEN_CODE: Final = re.compile(r"errorCode\s*=\s*(\w+)(?:\s*,\s*errorMsg\s*=\s*(.*))?", re.DOTALL | re.ASCII)
_HIDDEN_NAME: Final = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_NOTICE_CHARACTERS: Final = 1000
_READ_BYTES: Final = 65_536  # of an error's body: more is a page or a mistake
_LIMIT: Final = r"(the |your |our )?(\w+ )?(rate|request|call)[ _-]?limits?"
_SPENT_BUDGET: Final = re.compile(
    r"((http |error )?4\d\d[: -]+|error:? )?"
    r"(too many requests( from this \w+)?"
    rf"|(you (have |'ve )?)?(exceeded|reached|hit) {_LIMIT}"
    rf"|{_LIMIT} (is |was |has been )?(exceeded|reached|hit))"
    r"[.!,;: ]*((please|try|retry|wait|slow)\b[\w ,.!]*)?",
    re.IGNORECASE,
)
_PAGE: Final = re.compile(r"\s*<(!doctype|html)\b", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")


class RecordKind(Enum):
    """The kind of record that a call is about."""

    TASK = "task"
    TASK_V1 = "task of the legacy API"
    CALENDAR_ENTRY = "calendar entry"
    WEBHOOK = "webhook subscription"
    LEAD = "lead"


# Codes and names; for a lead the same code also means "no access" (contract, section 4).
_GONE: Final[dict[RecordKind, frozenset[int | str]]] = {
    RecordKind.TASK: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST"}),
    RecordKind.TASK_V1: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST"}),
    RecordKind.CALENDAR_ENTRY: frozenset({20007, "RESOURCE_NOT_EXIST", "TASK_NOT_EXIST", 20012, "INVALID_PARAMETER"}),
    RecordKind.WEBHOOK: frozenset({20007, "RESOURCE_NOT_EXIST", "WEBHOOK_DELETE_NOT_EXIST"}),
    RecordKind.LEAD: frozenset({20006, "LEAD_NOT_EXIST"}),
}


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
        # The filter in front knows none of Lofty's codes, and says nothing else. What has a code, or holds the words
        # within a longer text, refuses something that quotes them.
        if self.kind is not None or len(self.message) >= _NOTICE_CHARACTERS:
            return False
        parts = _TAG.split(self.message) if _PAGE.match(self.message) else [self.message]
        sentences = (" ".join(part.split()) for part in parts)
        return any(_SPENT_BUDGET.fullmatch(sentence) for sentence in sentences)


def read_complaint(body: bytes) -> Complaint:
    """Code, name and message; where several claim to be the code, the first that is known."""
    text = as_text(body, _READ_BYTES).strip()
    value = _decoded(body) if len(body) <= _READ_BYTES else None
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


def as_text(body: bytes, most: int) -> str:
    """The text of at most so many bytes, cut before it is decoded, without a byte order mark."""
    return body[:most].decode("utf-8-sig", "replace")
