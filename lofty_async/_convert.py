"""Wire records to models, models to plain data and back: the only module that knows wire names, and cattrs.

From the wire, each model gets a codec. It reads the expected by a function that is generated from the model's fields
(see `_codegen.py`), as attrs generates `__init__`; a record that this refuses is read again, field by field, to say
where it is bad. A missing key is absent like null (see `_values.py` for what else is); unknown keys are ignored.

Plain data has the models' own names. cattrs writes it, with hooks for times, enums and real numbers; reading is strict
(see `_plain.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from attrs import frozen
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from . import models
from ._codegen import Field, compile_reader
from ._enums import Code, OpenIntEnum, OpenStrEnum
from ._json import dumps, loads
from ._plain import (
    PlainReader,
    kind_of,
    member_reader,
    read_aware_time,
    read_code,
    write_member,
    write_real,
    write_time,
)
from ._pydantic import model_json_schema, model_schema
from ._values import TIME, FieldError, Read, as_list, field_reader, is_id
from .errors import DecodeError, shown

T = TypeVar("T")

MAX_MARKS: Final = 4  # lists that may be read again, per model

_WIRE_NAMES = {
    "finished": "finishFlag",
    "overdue": "overdueFlag",
    "deleted": "deleteFlag",
    "finished_at": "finishTime",
    "created_at": "createTime",
    "updated_at": "lastUpdate",
    "time_zone": "timeZoneCode",
}
# A second name is read where the first is absent.
_WIRE_NAMES_OF: dict[type, dict[str, tuple[str, ...]]] = {
    models.AppointmentV1: {
        "content": ("descr",),
        "start_at": ("deadline",),
        "end_at": ("endTime",),
        "overdue": ("overdue",),
    },
    models.CalendarEntry: {
        "finished": ("finished",),
        "start_at": ("startAt", "startAtMs"),
        "end_at": ("endAt", "endAtMs"),
    },
    models.Lead: {"id": ("leadId",), "updated_at": ("lastUpdateTime",)},
    models.LeadInquiry: {"updated_at": ("updateTime",)},
    models.LeadTag: {"updated_at": ("updateTime",)},
    models.Office: {"updated_at": ("updateTime",)},
    models.MeetingSlot: {"start_at": ("startTime", "startTimeMs"), "end_at": ("endTime", "endTimeMs")},
    models.TaskV1: {"end_at": ("deadline",)},
    models.User: {"time_zone": ("timeZoneId",)},
    models.WebhookSubscription: {"id": ("subscribeId",), "event": ("listId",)},
}
_GETTER = attrgetter("get")


@frozen
class BadRecord:
    """A record that could not be read; `position` is the number of good items before it."""

    position: int
    error: DecodeError
    record: Any


def structure(kind: type[T], record: Any, *, path: str, request: str) -> T:
    """The model that a wire record describes; `path` is where the record stands in the answer.

    Raises:
        DecodeError: The record is not an object, lacks its id, or holds a value of the wrong kind.
    """
    try:
        model: T = _codec(kind).read(record)  # type: ignore[arg-type] # classes are hashable
    except FieldError as error:
        raise error.as_decode_error(path, request) from None
    return model


def structure_list(kind: type[T], records: Any, *, path: str, request: str) -> tuple[list[T], tuple[BadRecord, ...]]:
    """The models that a list of wire records describes, and the records that are bad; null is an empty list.

    Raises:
        DecodeError: The value is not a list. Bad records do not raise.
    """
    try:
        wire_records: list[Any] = records if records.__class__ is list else [] if records is None else as_list(records)
    except FieldError as error:
        raise error.as_decode_error(path, request) from None
    items: list[T] = []
    bad: list[BadRecord] = []
    for position, unreadable in _codec(kind).read_list(wire_records, items):  # type: ignore[arg-type] # same
        index = position + len(bad)
        bad.append(BadRecord(position, unreadable.as_decode_error(f"{path}[{index}]", request), wire_records[index]))
    return items, tuple(bad)


@cache
def wire_name(name: str) -> str:
    """The wire's usual name for a field."""
    first, *others = name.split("_")
    return _WIRE_NAMES.get(name) or first + "".join(map(str.title, others))


def _wire_names(kind: type, name: str) -> tuple[str, ...]:
    return _WIRE_NAMES_OF.get(kind, {}).get(name) or (wire_name(name),)


def _field(kind: type, attribute: "attrs.Attribute[Any]") -> Field:
    name = attribute.name
    reader = field_reader(name, attribute.type, lambda nested: _codec(nested).read)
    return Field(name, _wire_names(kind, name), reader, attribute.default is attrs.NOTHING)


class _Codec(Generic[T]):
    """How records become one kind of model."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self.fields = tuple(_field(kind, attribute) for attribute in attrs.fields(kind))  # type: ignore[arg-type] # T is attrs
        wire_names = chain.from_iterable(field.wire_names for field in self.fields)
        # The decoder's own key objects, where it keeps them as orjson does: found faster, by identity.
        self._keys = tuple(loads(dumps(dict.fromkeys(wire_names))))
        self._pick = itemgetter(*self._keys)
        self._read_rows = compile_reader(kind, self.fields)
        self._last_time = next((one.wire_names[0] for one in reversed(self.fields) if one.reader is TIME), "")
        self._marks: dict[Any, None] = {}

    def read(self, record: Any) -> T:
        """The model of one record.

        Raises: FieldError.
        """
        items: list[T] = []
        for _, error in self.read_list([record], items):
            raise error
        return items[0]

    def read_list(self, records: list[Any], items: list[T]) -> Iterable[tuple[int, FieldError]]:
        """Append the good records to `items`; the bad ones, each with the number of items before it."""
        try:
            is_complete = not records or len(records[0]) >= len(self._keys)
            rows = map(self._pick, records) if is_complete else self._rows(records)
            self._read_rows(rows, items.append, self._was_read(records))
        except (AttributeError, KeyError, TypeError, ValueError):
            return self._read_rest(records, items)
        return ()

    def _rows(self, records: Iterable[dict[str, Any]]) -> Iterable[Iterable[Any]]:
        """The values of records that lack keys; absent ones are `None`."""
        return map(map, map(_GETTER, records), repeat(self._keys))

    def _was_read(self, records: list[Any]) -> bool:
        """Whether a list begins with the same last time as one before, as a page does that is polled: a hint only."""
        mark = records[0].get(self._last_time) if records else None
        if mark.__class__ is not str or mark in self._marks:
            return mark.__class__ is str
        if len(self._marks) >= MAX_MARKS:
            del self._marks[next(iter(self._marks))]
        self._marks[mark] = None
        return False

    def _read_rest(self, records: list[Any], items: list[T]) -> Iterator[tuple[int, FieldError]]:
        rest, bad = iter(records[len(items) :]), 0
        while True:
            try:
                return self._read_rows(self._rows(rest), items.append, False)
            except (AttributeError, KeyError, TypeError, ValueError):
                try:
                    items.append(self._read_by_field(records[len(items) + bad]))
                except FieldError as error:
                    bad += 1
                    yield len(items), error

    def _read_by_field(self, record: Any) -> T:
        """The same model, field by field.

        Raises: FieldError, which says where the record is bad.
        """
        if not isinstance(record, dict):
            raise FieldError("expected an object", record)
        wire = cast("dict[str, Any]", record)
        try:
            return self.kind(**{field.name: field.read(wire) for field in self.fields})
        except FieldError as error:
            error.record_id = self._record_id(wire)
            raise

    def _record_id(self, record: dict[str, Any]) -> int | str | None:
        for field in self.fields:
            if field.name == "id":
                raw = record.get(field.wire_names[0])
                return raw if isinstance(raw, int | str) and not isinstance(raw, bool) else None
        return None


@cache
def _codec(kind: Any) -> _Codec[Any]:
    """The codec of a model's class, made when it is first asked for."""
    return _Codec(kind)


class NotJsonError(ValueError):
    """A model holds a value that JSON cannot say; the message names the model and the field."""


def _converter_of_values() -> Converter:
    made = Converter(unstruct_collection_overrides={tuple: list})
    made.register_unstructure_hook(datetime, write_time)
    made.register_structure_hook(datetime, lambda value, _: read_aware_time(value))
    made.register_structure_hook(Code, lambda value, _: read_code(value))
    for enum in (OpenStrEnum, OpenIntEnum):
        made.register_unstructure_hook(enum, write_member)
        made.register_structure_hook(enum, lambda value, kind: member_reader(kind)(value))
    return made


@cache
def _model_converter(ids_as_strings: bool) -> Converter:
    """The converter that writes models, out of reach of hooks that a user of the SDK registers."""
    made = _converter_of_values()

    def make_writer(kind: Any) -> Callable[[Any], Any]:
        return _ModelWriter(made, kind, ids_as_strings)

    made.register_unstructure_hook_factory(_is_model, make_writer)
    return made


def _public_converter() -> Converter:
    """Models as their own methods have them, and the types of their fields in other classes."""

    def make_writer(_: Any) -> Callable[[Any], Any]:
        return unstructure

    def make_reader(_: Any) -> Callable[[Any, Any], Any]:
        return lambda value, kind: from_plain(kind, value)

    made = _converter_of_values()
    made.register_unstructure_hook_factory(_is_model, make_writer)
    made.register_structure_hook_factory(_is_model, make_reader)
    return made


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, models.Model)


class _ModelWriter:
    """Writes one kind of model, by a function that cattrs generates; where that fails, the error names the field."""

    def __init__(self, converter: Converter, kind: Any, ids_as_strings: bool) -> None:
        self.kind, self.converter = kind, converter
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
        hooks = {one.name: _field_writer(one, ids_as_strings) for one in fields}
        overrides: Any = {name: override(unstruct_hook=hook) for name, hook in hooks.items() if hook}
        self.fields = {one.name: hooks[one.name] or self._write_any(one.type) for one in fields}
        self.write: Callable[[Any], Any] = make_dict_unstructure_fn(kind, converter, **overrides)

    def __call__(self, model: Any) -> Any:
        try:
            return self.write(model)
        except NotJsonError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise self._located(model, error) from None

    def _write_any(self, kind: Any) -> Read:
        return lambda value: self.converter.unstructure(value, kind)

    def _located(self, model: Any, error: Exception) -> NotJsonError:
        for name, write in self.fields.items():
            try:
                write(getattr(model, name))
            except (AttributeError, TypeError, ValueError) as found:
                return (
                    found if isinstance(found, NotJsonError) else NotJsonError(f"{self.kind.__name__}.{name} {found}")
                )
        return NotJsonError(f"{self.kind.__name__}: {error}")


def _field_writer(attribute: "attrs.Attribute[Any]", ids_as_strings: bool) -> Read | None:
    """The function that writes a field; `None` where its type says enough."""
    kind = kind_of(attribute.type)
    if kind is float:
        return _unless_none(write_real)
    if kind is int and ids_as_strings and is_id(attribute.name):
        return _unless_none(str)
    return None


def _unless_none(write: Read) -> Read:
    return lambda value: None if value is None else write(value)


@cache
def _plain_reader(kind: Any) -> PlainReader[Any]:
    wire_names = chain.from_iterable(_wire_names(kind, one.name) for one in attrs.fields(kind))
    return PlainReader(kind, lambda nested: _plain_reader(nested).read, wire_names)


def unstructure(model: Any, *, ids_as_strings: bool = False) -> dict[str, Any]:
    """The model as JSON-ready values under its own field names; times are ISO 8601, enums their values.

    With `ids_as_strings` the 64-bit ids are strings, for JavaScript, which rounds integers beyond 2**53.

    Raises:
        ValueError: A value is none that JSON has, such as a time without an offset.
    """
    values: dict[str, Any] = _model_converter(ids_as_strings).unstructure(model)
    return values


def from_plain(kind: type[T], value: Any) -> T:
    """The model that `unstructure` wrote.

    Raises:
        DecodeError: The value is not a mapping, lacks a field, or holds a value of the wrong kind.
    """
    try:
        model: T = _plain_reader(cast("Any", kind)).read(value)
    except FieldError as error:
        raise error.as_decode_error(kind.__name__, None) from None
    return model


class _PlainForm:
    """The conversions behind the methods of the models."""

    to_dict = staticmethod(unstructure)
    from_dict = staticmethod(from_plain)
    pydantic_schema = staticmethod(model_schema)
    pydantic_json_schema = staticmethod(model_json_schema)

    @staticmethod
    def to_json(model: Any, *, ids_as_strings: bool) -> str:
        return dumps(unstructure(model, ids_as_strings=ids_as_strings)).decode()

    @staticmethod
    def from_json(kind: type[T], text: Any) -> T:
        path = kind.__name__
        try:
            value = loads(text.encode() if isinstance(text, str) else bytes(memoryview(text)))
        except TypeError:
            message = f"expected JSON as a str or bytes, not {type(text).__name__}"
            raise DecodeError(message, path=path) from None
        except ValueError:
            raise DecodeError("expected JSON", path=path, body=shown(text)) from None
        return from_plain(kind, value)


models.Model.__plain__ = _PlainForm
converter: Final = _public_converter()
"""A cattrs converter for models within classes of your own; each model is as `to_dict` and `from_dict` have it.

Datetimes, open enums and codes in those classes are converted as in models. Register hooks on a `converter.copy()`.
"""
