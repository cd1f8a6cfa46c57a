"""The bodies of errors, in all their shapes: their code, name and message, and the exception that these mean."""

import re
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

_CODE_KEYS: Final = ("code", "errorCode")
_MESSAGE_KEYS: Final = ("message", "msg", "errorMsg", "error")
ERROR_KEYS: Final = frozenset({"status", *_CODE_KEYS, *_MESSAGE_KEYS})
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
        text = start_of(body, _MAX_ERROR_BODY).strip()
        value = decoded(body) if len(body) <= _MAX_ERROR_BODY else None
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


def is_error_body(result: Any) -> bool:
    """Whether the body of a 2xx is an error all the same: its code is known as an error's."""
    places = _places(result)
    codes = [place.get(key) for place in places for key in _CODE_KEYS]
    hidden = (_HIDDEN_CODE.search(str(place.get(key))) for place in places for key in _MESSAGE_KEYS)
    return any(ErrorBody.from_code(code).kind for code in [*codes, *(match[1] for match in hidden if match)])


def _places(fields: dict[str, Any]) -> list[dict[str, Any]]:
    inner = fields.get("status")
    return [cast("dict[str, Any]", inner), fields] if isinstance(inner, dict) else [fields]


def decoded(body: bytes) -> Any:
    try:
        return _json.loads(body)
    except ValueError:
        return None


def start_of(body: bytes, most: int) -> str:
    """The text of at most so many bytes, cut before it is decoded, without a byte order mark."""
    return body[:most].decode("utf-8-sig", "replace")
