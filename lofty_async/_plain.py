"""Plain data to values of models: the reading half of `to_dict` and `from_dict`.

A value is taken for what `to_dict` writes, or where it has the field's own type already. Nothing is guessed: no number
from a text, but for ids; no boolean from a number; no time without an offset. So all that is read is written again
as it was.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from math import isfinite
from operator import index
from types import NoneType
from typing import Any, Generic, TypeVar, cast, get_args, get_origin

import attrs

from ._enums import integer_of, is_64_bit
from ._values import FieldError, Read, is_id, read_at

T = TypeVar("T")


def read_integer(value: object) -> int:
    """An integer of any type, such as numpy's, that fits 64 bits."""
    if not isinstance(value, bool):
        try:
            number = index(cast("Any", value))
        except TypeError:
            pass
        else:
            if is_64_bit(number):
                return number
    raise ValueError("expected an integer of 64 bits")


def read_id(value: object) -> int:
    """An integer, or its digits as `to_dict(ids_as_strings=True)` writes them."""
    return read_integer(integer_of(value) if isinstance(value, str) else value)


def read_text(value: object) -> str:
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    raise ValueError("expected a text")


def read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("expected a boolean")


def read_real(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            pass
        else:
            if isfinite(number):
                return number
    raise ValueError("expected a finite number")


def read_code(value: object) -> int | str:
    return read_text(value) if isinstance(value, str) else read_integer(value)


def read_aware_time(value: object) -> datetime:
    """A datetime with an offset, or its ISO 8601 text."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if isinstance(time, datetime) and isinstance(time.utcoffset(), timedelta):
        # A subclass may write itself in its own way, as pandas' Timestamp does with nanoseconds.
        return time if type(time) is datetime else datetime.combine(datetime.date(time), datetime.timetz(time))
    raise ValueError("expected a time with an offset, such as 2026-03-01T15:00:00-08:00")


def write_time(value: datetime) -> str:
    """ISO 8601 with the offset as it is, to the microsecond where there are any."""
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - attrs does not check
        raise ValueError(f"must be a datetime, not {type(value).__name__}")  # noqa: TRY004 - one kind for what is no JSON
    if value.utcoffset() is None:
        raise ValueError("must be timezone-aware, e.g. datetime.now(UTC)")
    return value.isoformat()


def write_real(value: float) -> float:
    if not isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


def write_member(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


_READERS: dict[Any, Read] = {
    int: read_integer,
    str: read_text,
    bool: read_flag,
    float: read_real,
    datetime: read_aware_time,
}


def kind_of(annotation: Any) -> Any:
    """The annotation without its `None`."""
    kinds = [option for option in get_args(annotation) or (annotation,) if option is not NoneType]
    return kinds[0] if len(kinds) == 1 else int | str


def member_reader(kind: type[Enum]) -> Read:
    """The reader of an open enum, which takes a value only: the name of a member may be another, unknown value."""
    read = read_integer if issubclass(kind, int) else read_text
    return lambda value: kind(read(value))


def _several(read: Read) -> Read:
    def read_several(value: object) -> tuple[Any, ...]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ValueError("expected a list")  # noqa: TRY004 - one kind for what cannot be read
        items = cast("Iterable[object]", value)
        return tuple(read_at(f"[{position}]", read, item) for position, item in enumerate(items))

    return read_several


def _reader(name: str, annotation: Any, read_model: Callable[[type], Read]) -> Read:
    """The reader of a field of this name and type; `None` is not for it."""
    if get_origin(annotation) is tuple:
        return _several(_reader("", get_args(annotation)[0], read_model))
    kind = kind_of(annotation)
    if attrs.has(kind):
        return read_model(kind)
    if kind == int | str:
        return read_code
    if issubclass(kind, Enum):
        return member_reader(kind)
    return read_id if kind is int and is_id(name) else _READERS[kind]


class PlainReader(Generic[T]):
    """Reads one kind of model from the mapping that `to_dict` writes.

    A missing key is its default, like null; keys that no field has are ignored, as a later version may write them.
    """

    def __init__(self, kind: type[T], read_model: Callable[[type], Read], wire_names: Iterable[str]) -> None:
        self.kind = kind
        attributes = attrs.fields(kind)  # type: ignore[arg-type] # T is attrs
        self._readers = {one.name: _reader(one.name, one.type, read_model) for one in attributes}
        self._required = [one.name for one in attributes if one.default is attrs.NOTHING]
        self._wire_names = frozenset(wire_names) - self._readers.keys()

    def read(self, value: object) -> T:
        """The model; one that is there already is kept.

        Raises: FieldError, which says where the value is bad.
        """
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, Mapping):
            raise FieldError("expected an object", value)
        record = cast("Mapping[str, object]", value)
        try:
            return self.kind(**self._values(record))
        except FieldError as error:
            error.record_id = _record_id(record)
            raise

    def _values(self, record: Mapping[str, object]) -> dict[str, Any]:
        present = {name: record[name] for name in self._readers if record.get(name) is not None}
        if len(present) < len(record) and not self._wire_names.isdisjoint(record):
            name = min(self._wire_names.intersection(record))
            raise FieldError("is a name of the API, not of the model's fields, which to_dict writes", None, f".{name}")
        for name in self._required:
            if name not in present:
                raise FieldError("is missing", None, f".{name}")
        return {name: read_at(f".{name}", self._readers[name], value) for name, value in present.items()}


def _record_id(record: Mapping[str, object]) -> int | str | None:
    raw = record.get("id")
    return raw if isinstance(raw, int | str) and not isinstance(raw, bool) else None
