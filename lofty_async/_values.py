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

from ._enums import as_code, integer_of
from ._times import USUAL_TIME, parse_time
from .errors import DecodeError, shown

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
_CACHED_VALUES = 1024
_CACHED_TIMES = 4096  # a few pages
_CACHED_CHARACTERS = 64


class FieldError(ValueError):
    """A value that cannot be read into its field, and the path to it from its record."""

    def __init__(self, message: str, value: object, way: str = "", record_id: int | str | None = None) -> None:
        super().__init__(message)
        self.message, self.value, self.way, self.record_id = message, value, way, record_id

    @classmethod
    def at(cls, step: str, value: object, error: ValueError) -> "FieldError":
        if isinstance(error, cls):
            return cls(error.message, error.value, step + error.way)
        return cls(str(error), value, step)

    def as_decode_error(self, path: str, request: str | None) -> DecodeError:
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
    if isinstance(value, str) and (number := integer_of(value)) is not None:
        return number
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


class ValueCache:
    """Values already read, by what they were read from; finding one is what checks it.

    Emptied when full: what is still in use comes back at once, and nothing has to be counted on the way.
    """

    __slots__ = ("limit", "read", "values")

    def __init__(self, read: Read, known: Iterable[Any] = (), limit: int = _CACHED_VALUES) -> None:
        # A plain dict, whose look-up CPython specialises; it does not for a subclass with `__missing__`.
        self.values: dict[Any, Any] = {None: None, "": None} | {value: value for value in known}
        self.read, self.limit = read, limit

    def learn(self, value: Any) -> Any:
        """Read a value that is not there yet."""
        result = self.read(value)
        # Texts only: 1, 1.0 and True are one key.
        if value.__class__ is str and len(value) <= _CACHED_CHARACTERS:
            if len(self.values) >= self.limit:
                self.values.clear()
                self.values[None] = self.values[""] = None
            self.values[value] = result
        return result


@frozen
class FieldReader:
    """How a value is read: by `read` always, or by the expression `inline`, which gives the same.

    `inline` is a template: `{value}` is the value, `{read}` is what is here, `{alike}` is the start of an expression
    that knows the result for some texts. A `cache` comes first: always without `inline`, else only for records that
    were probably read before.
    """

    read: Read
    inline: str = ""
    cache: ValueCache | None = None


_OTHERWISE = " else None if {value} is None else {read}({value})"
_COUNT = FieldReader(_count, "{value} if {value}.__class__ is int and {value} != -1" + _OTHERWISE)
_CODE = FieldReader(_code, _COUNT.inline)
_IDENTIFIER = FieldReader(_identifier, "({value} or None) if {value}.__class__ is int and {value} != -1" + _OTHERWISE)
_TEXT = FieldReader(_text, "({value} or None) if {value}.__class__ is str" + _OTHERWISE)
_TEXT_IDENTIFIER = FieldReader(_text_identifier, _TEXT.inline)
_REAL = FieldReader(_real, "{read}({value})")
_FLAG = FieldReader(_flag, "{value} if {value} is False or {value} is True" + _OTHERWISE)
# A time is cached only where the page is read again: looking up and keeping one costs more than reading it once.
TIME = FieldReader(
    parse_time, f"({{alike}}{USUAL_TIME}) if {{value}}" + _OTHERWISE, ValueCache(parse_time, limit=_CACHED_TIMES)
)
_REPEATED_TEXT = FieldReader(_text, cache=ValueCache(_text))


@cache
def _open_enum(kind: type[Enum]) -> FieldReader:
    if not issubclass(kind, int):
        read = _optional(kind, _text)
        return FieldReader(read, cache=ValueCache(read, kind))
    member = lru_cache(maxsize=_CACHED_VALUES)(kind)
    return FieldReader(_optional(member, _count), "{read}({value})")


def _optional(make: Read, read: Read) -> Read:
    def read_optional(value: Any) -> Any:
        plain = read(value)
        return None if plain is None else make(plain)

    return read_optional


def as_list(value: Any) -> list[Any]:
    """The value, if it is a list.

    Raises:
        FieldError: It is none.
    """
    if not issubclass(type(value), list):
        raise FieldError("expected a list", value)
    items: list[Any] = value
    return items


def _several(read: Read) -> FieldReader:
    def read_several(value: Any) -> tuple[Any, ...]:
        if _is_absent(value):
            return ()
        present = ((index, item) for index, item in enumerate(as_list(value)) if item is not None)
        items = (read_at(f"[{index}]", read, item) for index, item in present)
        return tuple(item for item in items if item is not None)

    return FieldReader(read_several, "{read}({value})")


def _nested(read: Read) -> FieldReader:
    return FieldReader(lambda value: None if _is_absent(value) else read(value), "{read}({value})")


def read_at(step: str, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise FieldError.at(step, value, error) from None


def is_id(name: str) -> bool:
    """Whether a field of this name holds an id, for which 0 means none."""
    return name == "id" or name.endswith(("_id", "_uid"))


def field_reader(name: str, annotation: Any, read_model: Callable[[type], Read]) -> FieldReader:
    """The reader of a field of this name and type; `read_model` gives the reader of a nested model."""
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        # In lists -1 is a value: the lead type "Other" is -1.
        return _several({int: _number, str: _text}.get(item) or read_model(item))
    kinds = [option for option in get_args(annotation) or (annotation,) if option is not NoneType]
    if kinds == [int, str]:
        return _CODE
    (kind,) = kinds
    return _nested(read_model(kind)) if has(kind) else _reader_of_kind(name, kind)


def _reader_of_kind(name: str, kind: type) -> FieldReader:
    if issubclass(kind, Enum):
        return _open_enum(kind)
    if kind is str and name in _REPEATED:
        return _REPEATED_TEXT
    if is_id(name):
        return {int: _IDENTIFIER, str: _TEXT_IDENTIFIER}[kind]
    return {int: _COUNT, str: _TEXT, bool: _FLAG, float: _REAL, datetime: TIME}[kind]
