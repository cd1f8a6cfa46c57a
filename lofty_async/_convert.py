"""Wire records to models and back: the only module that knows the wire's field names, and cattrs.

Each model gets a reader, registered as its cattrs hook. It reads the expected by a function that is generated from
the model's fields (see `_filling.py`), as attrs generates `__init__`; a record that this refuses is read again, field
by field, to say where it is bad.

A missing key is absent like null (see `_values.py` for what else is); unknown keys are ignored.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any, Generic, TypeVar, cast

import attrs
from attrs import frozen
from cattrs import Converter

from . import models
from ._codegen import Part, compile_fill
from ._times import epoch_ms, format_time
from ._values import TIME, MisfitError, as_list, is_id, reading_of
from .errors import DecodeError

T = TypeVar("T")

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
_converter = Converter(unstruct_collection_overrides={tuple: list})
_converter.register_unstructure_hook(datetime, format_time)


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
        return _shape(kind).read(record)
    except MisfitError as misfit:
        raise misfit.as_decode_error(path, request) from None


def structure_list(kind: type[T], records: Any, *, path: str, request: str) -> tuple[list[T], tuple[BadRecord, ...]]:
    """The models that a list of wire records describes, and the records that are bad; null is an empty list.

    Raises:
        DecodeError: The value is not a list. Bad records do not raise.
    """
    items: list[T] = []
    shape: _Shape[T] = _shapes.get(kind) or _shape(kind)
    if records.__class__ is list and shape.has_read(records, items):
        return items, ()
    return items, tuple(_bad_among(shape, records, items, path, request))


def _bad_among(shape: "_Shape[T]", records: Any, items: list[T], path: str, request: str) -> Iterator[BadRecord]:
    """The bad records; the good ones behind those in `items` are appended there."""
    try:
        wire_records = [] if records is None else as_list(records)
    except MisfitError as misfit:
        raise misfit.as_decode_error(path, request) from None
    for bad, (position, unfit) in enumerate(shape.read_on(wire_records, items)):
        index = position + bad
        yield BadRecord(position, unfit.as_decode_error(f"{path}[{index}]", request), wire_records[index])


def unstructure(model: Any, *, ids_as_strings: bool = False) -> dict[str, Any]:
    """The model as JSON-ready values under its own field names; times are ISO 8601, enums their values.

    With `ids_as_strings` the 64-bit ids are strings, for JavaScript, which rounds integers beyond 2**53.
    """
    values: dict[str, Any] = _converter.unstructure(model)
    return _with_string_ids(values) if ids_as_strings else values


def to_wire(kind: type[T], model: T) -> dict[str, Any]:
    """The record that `structure` reads as this model: wire names, times as ISO 8601 with offset."""
    record: dict[str, Any] = {}
    for part in _shape(kind).parts:
        value = getattr(model, part.name)
        name, *names_in_milliseconds = part.wire_names
        record[name] = _wire_value(value)
        for other in names_in_milliseconds:
            record[other] = value and epoch_ms(value)
    return record


def warm() -> None:
    """Build every model's reader and writer now instead of at first use."""
    for kind in filter(attrs.has, vars(models).values()):
        _shape(kind)
        _converter.get_unstructure_hook(kind)


def _with_string_ids(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _with_string_id(name, value) for name, value in values.items()}


def _with_string_id(name: str, value: Any) -> Any:
    match value:
        case int() if is_id(name):
            return str(value)
        case dict():
            return _with_string_ids(cast("dict[str, Any]", value))
        case [dict(), *_]:
            return [_with_string_ids(item) for item in value]
        case _:
            return value


def _wire_value(value: Any) -> Any:
    kind: type[Any] = value.__class__
    match value:
        case [*items]:
            return [_wire_value(item) for item in items]
        case _ if attrs.has(kind):
            return to_wire(kind, value)
        case _:
            return _converter.unstructure(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


def _part(kind: type, attribute: "attrs.Attribute[Any]") -> Part:
    name = attribute.name
    usual = (_WIRE_NAMES.get(name) or _camel(name),)
    wire_names = _WIRE_NAMES_OF.get(kind, {}).get(name, usual)
    reading = reading_of(name, attribute.type, lambda nested: _shape(nested).read)
    return Part(name, wire_names, reading, attribute.default is attrs.NOTHING)


class _Shape(Generic[T]):
    """How records become one kind of model."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self.parts = tuple(_part(kind, attribute) for attribute in attrs.fields(kind))  # type: ignore[arg-type] # T is attrs
        wire_names = tuple(chain.from_iterable(part.wire_names for part in self.parts))
        self._nothing = dict.fromkeys(wire_names)
        self._fill = compile_fill(kind, self.parts, wire_names)
        self._last_time = next((part.wire_names[0] for part in reversed(self.parts) if part.reading is TIME), "")
        self._mark: Any = None
        self._lacks_keys = False

    def __call__(self, record: Any, _: object) -> T:
        """What cattrs calls."""
        return self.read(record)

    def read(self, record: Any) -> T:
        items: list[T] = []
        for _, misfit in self.read_on([record], items):
            raise misfit
        return items[0]

    def has_read(self, records: list[Any], items: list[T]) -> bool:
        """Append the records to `items`, up to the first that is out of the ordinary; whether there was none."""
        full, before = map(self._complete, records) if self._lacks_keys else records, self._mark
        try:
            self._mark = records[0].get(self._last_time) if records else None
            # A hint only: the first record's last time is as in the list before, as on a page that is polled.
            self._fill(full, items.append, self._mark is not None and self._mark == before)
        except (AttributeError, KeyError, TypeError, ValueError):
            return False
        if self._lacks_keys:
            self._lacks_keys = any(self._nothing.keys() - record.keys() for record in records[:1])
        return True

    def read_on(self, records: list[Any], items: list[T]) -> Iterator[tuple[int, MisfitError]]:
        """Append the good records behind those read; yield each bad one with the number of items before it."""
        rest, bad = iter(records[len(items) :]), 0
        while True:
            try:
                return self._fill(rest, items.append, False)
            except KeyError:
                # What leaves keys out does so in most of its records: from here on all are filled up.
                self._lacks_keys = True
                rest = map(self._complete, chain([records[len(items) + bad]], rest))
            except (TypeError, ValueError):
                try:
                    items.append(self.read_in_detail(records[len(items) + bad]))
                except MisfitError as misfit:
                    bad += 1
                    yield len(items), misfit

    def read_in_detail(self, record: Any) -> T:
        """The same model by the ordinary way, or a misfit that says where the record is wrong."""
        if not isinstance(record, dict):
            raise MisfitError("expected an object", record)
        wire = cast("dict[str, Any]", record)
        try:
            return self.kind(**{part.name: part.read(wire) for part in self.parts})
        except MisfitError as misfit:
            misfit.record_id = self._record_id(wire)
            raise

    def _complete(self, record: dict[str, Any]) -> dict[str, Any]:
        return self._nothing | record

    def _record_id(self, record: dict[str, Any]) -> int | str | None:
        for part in self.parts:
            if part.name == "id":
                raw = record.get(part.wire_names[0])
                return raw if isinstance(raw, int | str) and not isinstance(raw, bool) else None
        return None


def _shape(kind: type[T]) -> _Shape[T]:
    shape: Any = _shapes.get(kind)
    if shape is None:
        shape = _shapes[kind] = _converter.get_structure_hook(kind)
    known: _Shape[T] = shape
    return known


_shapes: dict[type, Any] = {}  # cattrs' own way to a hook takes ten times as long


_converter.register_structure_hook_factory(attrs.has, _Shape)
