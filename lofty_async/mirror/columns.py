from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from attrs import fields_dict, frozen

from lofty_async.models.enums import as_code

SqlValue = int | str | bytes | None
Row = tuple[SqlValue, ...]
T = TypeVar("T")

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)


def _storable(text: str) -> str:
    """SQLite holds UTF-8, which has no half of a surrogate pair; text cut by other programs does."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _fitting(number: int) -> int | bytes:
    """SQLite's integers have 64 bits, with the sign; larger ones lie beside them as digits.

    Digits in a blob, because of text a column of integers makes a floating-point number.
    """
    return int(number) if -(2**63) <= number < 2**63 else b"%d" % number


def _utc_text(moment: datetime) -> str:
    """UTC as SQLite's own functions write it: a fraction of three digits, or of six, only where there is one.

    So that text compares as the moments do; one that UTC puts outside the years 1 to 9999 becomes their end.
    """
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = LATEST if (moment.utcoffset() or timedelta(0)) < timedelta(0) else EARLIEST
    fraction = "seconds" if not utc.microsecond else "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.replace(tzinfo=None).isoformat(" ", fraction)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@frozen
class Column:
    """One field of a model as SQLite holds it."""

    name: str
    sql_type: str
    encode: Callable[[Any], SqlValue]
    decode: Callable[[Any], Any]


def _column(name: str, annotation: Any) -> Column:
    """The column of one field.

    Raises: TypeError where the field's type has no column type.
    """
    kinds = {part for part in get_args(annotation) or (annotation,) if part is not NoneType}
    if kinds == {int, str}:
        return Column(name, "TEXT", lambda value: _storable(str(value)), as_code)
    (kind,) = kinds
    if kind is datetime:
        return Column(name, "TEXT", _utc_text, _utc)
    if issubclass(kind, Enum) and issubclass(kind, str):
        return Column(name, "TEXT", lambda value: _storable(str(value)), kind)
    if issubclass(kind, int):
        return Column(name, "INTEGER", _fitting, lambda value: kind(int(value)))
    if issubclass(kind, str):
        return Column(name, "TEXT", _storable, str)
    raise TypeError(f"no column type for field {name!r}: {annotation!r}")


@frozen
class Columns(Generic[T]):
    """How the records of one attrs class lie in a table: one column per field, in the class's order.

    Integers and booleans are INTEGER, all else is TEXT: times in UTC (`2026-03-01 23:00:00`), enums as their value,
    codes without a documented meaning as text.
    An integer beyond 64 bits is a BLOB of its digits, but for the id, which cannot be one.
    """

    model: type[T]
    all: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.all)

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that hold times."""
        return tuple(column.name for column in self.all if column.decode is _utc)

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


def columns_of(model: type[T]) -> Columns[T]:
    """The columns of an attrs class.

    Raises: TypeError where a field's type has no column type.
    """
    kind: type[Any] = model
    types = get_type_hints(kind)
    return Columns(model, tuple(_column(name, types[name]) for name in fields_dict(kind)))
