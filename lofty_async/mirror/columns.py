"""The columns of a table of records of one attrs class, and each record as a row of a database or as JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Generic, TypeVar, cast, get_args, get_type_hints

from attrs import fields_dict, frozen

from lofty_async._checks import LARGEST_ID
from lofty_async._enums import as_code

from .statements import Row

T = TypeVar("T")

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)


def storable(text: str) -> str:
    """SQLite holds UTF-8, which has no half of a surrogate pair; text cut by other programs does."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _fitting(number: int) -> int | bytes:
    """SQLite's integers have 64 bits, with the sign; larger ones are stored beside them as digits.

    Digits in a blob, because a column of integers turns text into a floating-point number.
    """
    return int(number) if -(2**63) <= number < 2**63 else b"%d" % number


def stored_id(number: int | None) -> int | None:
    """An id of a lead or a user as databases hold it: positive, of 63 bits; any other number, such as -1, is none."""
    return number if number is not None and 0 < number <= LARGEST_ID else None


def utc_moment(moment: datetime) -> datetime:
    """The time in UTC; one that UTC puts outside the years 1 to 9999 becomes their end."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return LATEST if (moment.utcoffset() or timedelta(0)) < timedelta(0) else EARLIEST


def utc_text(moment: datetime) -> str:
    """UTC as SQLite's own functions write it: a fraction of three digits, or of six, only if there is one.

    So text compares as the moments do.
    """
    utc = utc_moment(moment)
    fraction = "seconds" if not utc.microsecond else "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.replace(tzinfo=None).isoformat(" ", fraction)


def from_utc_text(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@frozen
class Column:
    """One field of a model as a database holds it."""

    name: str
    sql_type: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def kinds_of(annotation: Any) -> set[type]:
    """The types of a field, without `None`."""
    return {part for part in get_args(annotation) or (annotation,) if part is not NoneType}


def sqlite_column(name: str, annotation: Any) -> Column:
    """The column of one field in SQLite.

    Integers and booleans are INTEGER, everything else is TEXT: times in UTC (`2026-03-01 23:00:00`), enums as their
    value, codes without a documented meaning as text. An integer beyond 64 bits is a BLOB of its digits, but for the
    id, which cannot be one.

    Raises: TypeError if the field's type has no column type.
    """
    kinds = kinds_of(annotation)
    if kinds == {int, str}:
        return Column(name, "TEXT", lambda value: storable(str(value)), as_code)
    (kind,) = kinds
    if kind is datetime:
        return Column(name, "TEXT", utc_text, from_utc_text)
    if issubclass(kind, Enum) and issubclass(kind, str):
        return Column(name, "TEXT", lambda value: storable(str(value)), kind)
    if issubclass(kind, int):
        return Column(name, "INTEGER", _fitting, lambda value: kind(int(value)))
    if issubclass(kind, str):
        return Column(name, "TEXT", storable, str)
    raise TypeError(f"no column type for field {name!r}: {annotation!r}")


def _postgres_text(value: object) -> str:
    """PostgreSQL's text holds no NUL."""
    return storable(str(value)).replace("\0", "\N{REPLACEMENT CHARACTER}")


def in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def postgres_column(name: str, annotation: Any) -> Column:
    """The column of one field in PostgreSQL: times are `timestamptz`, ids `bigint`, other integers `numeric`.

    Raises: TypeError if the field's type has no column type.
    """
    kinds = kinds_of(annotation)
    if kinds == {int, str}:
        return Column(name, "text", _postgres_text, as_code)
    (kind,) = kinds
    if kind is datetime:
        return Column(name, "timestamptz", utc_moment, in_utc)
    if kind is bool:
        return Column(name, "boolean", bool, bool)
    if issubclass(kind, int):
        return Column(name, "bigint" if name in {"id", "lead_id"} else "numeric", int, lambda value: kind(int(value)))
    if issubclass(kind, Enum) or kind is str:
        return Column(name, "text", _postgres_text, kind)
    raise TypeError(f"no column type for field {name!r}: {annotation!r}")


def _plain(value: Any) -> Any:
    """A value of a row that JSON has no form for: a time, or an integer as digits or as a decimal number."""
    return utc_text(value) if isinstance(value, datetime) else int(value)


@frozen
class Columns(Generic[T]):
    """The columns of a table of records of one attrs class: one per field, in the class's order."""

    model: type[T]
    all: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.all)

    def row(self, record: T) -> Row:
        values = attrgetter(*self.names)(record)
        return tuple(
            None if value is None else column.encode(value) for column, value in zip(self.all, values, strict=True)
        )

    def record(self, row: Row) -> T:
        return self.model(
            **{
                column.name: None if value is None else column.decode(value)
                for column, value in zip(self.all, row, strict=True)
            }
        )

    def to_json(self, row: Row) -> str:
        """The row as an object without its NULLs: times as text in UTC, integers of any size."""
        values = zip(self.names, row, strict=True)
        plain = {name: value for name, value in values if value is not None}
        return json.dumps(plain, separators=(",", ":"), default=_plain)

    def from_json(self, text: str) -> T:
        """The record of an object whose values are in the form of SQLite's columns."""
        values = cast("dict[str, Any]", json.loads(text))
        return self.record(tuple(values.get(name) for name in self.names))


def columns_of(model: type[T], column: Callable[[str, Any], Column] = sqlite_column) -> Columns[T]:
    """The columns of an attrs class; `column` makes one.

    Raises: TypeError if a field's type has no column type.
    """
    kind: type[Any] = model
    types = get_type_hints(kind)
    return Columns(model, tuple(column(name, types[name]) for name in fields_dict(kind)))
