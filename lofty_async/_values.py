"""How single wire values are read: by plain functions, and by expressions that give the same faster.

Absent are null, `""` and -1; for times and ids 0 too. Absent becomes `None`, or `()` for lists. Digits in a
string are an integer; an integer is a text; 0, 1, "true" and "false" are booleans. Booleans and floats are no
integers, and a float is no text: what they stood for is lost. A code without a documented meaning is an integer or a
text.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from math import isfinite, nan
from types import NoneType
from typing import Any, get_args, get_origin

from attrs import frozen, has

from ._times import USUAL_TIME, parse_time
from .errors import DecodeError, shown
from .models.enums import as_code

Read = Callable[[Any], Any]

# Texts of few values; each is held once. Where more are new, looking them up costs more than it saves.
_REPEATED = {
    "account_status",
    "assigned_user",
    "group_name",
    "language",
    "lead_first_name",
    "lead_last_name",
    "opportunity",
    "ownership_scope",
    "pond_name",
    "role_name",
    "source",
    "stage",
    "tag_name",
    "time_zone",
}
_KEPT_VALUES = 1024
_KEPT_CHARACTERS = 64


class MisfitError(ValueError):
    """A value that does not fit its field, and the way to it from the record it is in."""

    def __init__(self, message: str, value: object, way: str = "", record_id: int | str | None = None) -> None:
        super().__init__(message)
        self.message, self.value, self.way, self.record_id = message, value, way, record_id

    @classmethod
    def at(cls, step: str, value: object, error: ValueError) -> "MisfitError":
        if isinstance(error, cls):
            return cls(error.message, error.value, step + error.way)
        return cls(str(error), value, step)

    def as_decode_error(self, path: str, request: str) -> DecodeError:
        return DecodeError(
            self.message,
            path=f"{path}{self.way}".removeprefix("."),
            record_id=self.record_id,
            request=request,
            body=shown(self.value),
        )


def _is_absent(value: object) -> bool:
    return value is None or value in ("", -1)


def _number(value: object) -> int | None:
    if value is None or value == "":
        return None
    if type(value) is int:
        return value
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit():
        return int(value)
    raise ValueError("expected an integer")


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number == -1 else number


def _code(value: object) -> int | str | None:
    plain = as_code(value) if isinstance(value, str) else value
    if _is_absent(plain):
        return None
    if type(plain) is int or isinstance(plain, str):
        return plain
    raise ValueError("expected a code")


def _real(value: object) -> float | None:
    if _is_absent(value):
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = nan
        if isfinite(number):
            return None if number == -1 else number
    raise ValueError("expected a number")


def _identifier(value: object) -> int | None:
    return _count(value) or None


def _text(value: object) -> str | None:
    if _is_absent(value):
        return None
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise ValueError("expected a text")


def _text_identifier(value: object) -> str | None:
    return None if value == 0 else _text(value)


def _flag(value: object) -> bool | None:
    if _is_absent(value):
        return None
    word = value.lower() if isinstance(value, str) else value
    if word in ("true", "false"):
        return word == "true"
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ValueError("expected a boolean")


class Kept:
    """Values already read, by what they were read from; finding one is what checks it.

    Emptied when full: what is still in use comes back at once, and nothing has to be counted on the way.
    """

    __slots__ = ("read", "values")

    def __init__(self, read: Read, known: Iterable[Any] = ()) -> None:
        # A plain dict, whose look-up CPython specialises; it does not for a subclass with `__missing__`.
        self.values: dict[Any, Any] = {None: None, "": None} | {value: value for value in known}
        self.read = read

    def learn(self, value: Any) -> Any:
        """Read a value that is not there yet."""
        result = self.read(value)
        # Texts only: 1, 1.0 and True are one key.
        if value.__class__ is str and len(value) <= _KEPT_CHARACTERS:
            if len(self.values) >= _KEPT_VALUES:
                self.values.clear()
                self.values[None] = self.values[""] = None
            self.values[value] = result
        return result


@frozen
class Reading:
    """How a value is read: by `read` always, or by the expression `fast`, which gives the same.

    `fast` is a template: `{value}` is the value, `{read}` is what is here, `{known}` is the start of an expression
    that knows the result for some texts. Where there are `kept` values they come first: always without a `fast`, else
    only for records that were probably read before.
    """

    read: Read
    fast: str = ""
    kept: Kept | None = None


_OTHERWISE = " else None if {value} is None else {read}({value})"
_COUNT = Reading(_count, "{value} if {value}.__class__ is int and {value} >= 0" + _OTHERWISE)
_CODE = Reading(_code, _COUNT.fast)
_IDENTIFIER = Reading(_identifier, "({value} or None) if {value}.__class__ is int and {value} >= 0" + _OTHERWISE)
_TEXT = Reading(_text, "({value} or None) if {value}.__class__ is str" + _OTHERWISE)
_TEXT_IDENTIFIER = Reading(_text_identifier, _TEXT.fast)
_REAL = Reading(_real, "{read}({value})")
_FLAG = Reading(_flag, "{value} if {value} is True or {value} is False" + _OTHERWISE)
# A time is kept only where the page is read again: looking up and keeping one costs more than reading it once.
TIME = Reading(
    parse_time,
    f"({{known}}{USUAL_TIME}) if {{value}}.__class__ is str and {{value}}" + _OTHERWISE,
    Kept(parse_time),
)
_REPEATED_TEXT = Reading(_text, kept=Kept(_text))


@cache
def _open_enum(kind: type[Enum]) -> Reading:
    if not issubclass(kind, int):
        read = _optional(kind, _text)
        return Reading(read, kept=Kept(read, kind))
    member = lru_cache(maxsize=_KEPT_VALUES)(kind)
    return Reading(_optional(member, _count), "{read}({value})")


def _optional(make: Read, read: Read) -> Read:
    def read_optional(value: Any) -> Any:
        plain = read(value)
        return None if plain is None else make(plain)

    return read_optional


def as_list(value: Any) -> list[Any]:
    """The value, if it is a list.

    Raises:
        MisfitError: It is none.
    """
    if not issubclass(type(value), list):
        raise MisfitError("expected a list", value)
    items: list[Any] = value
    return items


def _several(read: Read) -> Reading:
    def read_several(value: Any) -> tuple[Any, ...]:
        if _is_absent(value):
            return ()
        present = ((index, item) for index, item in enumerate(as_list(value)) if item is not None)
        items = (read_at(f"[{index}]", read, item) for index, item in present)
        return tuple(item for item in items if item is not None)

    return Reading(read_several, "{read}({value})")


def _nested(read: Read) -> Reading:
    return Reading(lambda value: None if _is_absent(value) else read(value), "{read}({value})")


def read_at(step: str, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise MisfitError.at(step, value, error) from None


def is_id(name: str) -> bool:
    """Whether a field of this name holds an id, for which 0 means none."""
    return name == "id" or name.endswith(("_id", "_uid"))


def reading_of(name: str, annotation: Any, read_model: Callable[[type], Read]) -> Reading:
    """How the field of this name and type is read; `read_model` gives the reader of a nested model."""
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        # In lists -1 is a value: the lead type "Other" is -1.
        return _several({int: _number, str: _text}.get(item) or read_model(item))
    kinds = [option for option in get_args(annotation) or (annotation,) if option is not NoneType]
    if kinds == [int, str]:
        return _CODE
    (kind,) = kinds
    return _nested(read_model(kind)) if has(kind) else _reading_of_kind(name, kind)


def _reading_of_kind(name: str, kind: type) -> Reading:
    if issubclass(kind, Enum):
        return _open_enum(kind)
    if kind is str and name in _REPEATED:
        return _REPEATED_TEXT
    if is_id(name):
        return {int: _IDENTIFIER, str: _TEXT_IDENTIFIER}[kind]
    return {int: _COUNT, str: _TEXT, bool: _FLAG, float: _REAL, datetime: TIME}[kind]
