"""Wire records to models: the only module that knows wire names.

Each model has a codec. It reads the expected by a function that is generated from the model's fields (see
`_codegen.py`), as attrs generates `__init__`; a record that this refuses is read again, field by field, to say where
it is bad. A missing key is absent like null (see `_values.py` for what else is); unknown keys are ignored.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from attrs import frozen

from . import models
from ._codegen import Field, compile_reader
from ._json import dumps, loads
from ._values import TIME, FieldError, as_list, field_reader
from .errors import DecodeError

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
        model: T = codec_of(kind).read(record)
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
    for position, unreadable in codec_of(kind).read_list(wire_records, items):
        index = position + len(bad)
        bad.append(BadRecord(position, unreadable.as_decode_error(f"{path}[{index}]", request), wire_records[index]))
    return items, tuple(bad)


@cache
def wire_name(name: str) -> str:
    """The wire's usual name for a field."""
    first, *others = name.split("_")
    return _WIRE_NAMES.get(name) or first + "".join(map(str.title, others))


def wire_names(kind: type, name: str) -> tuple[str, ...]:
    return _WIRE_NAMES_OF.get(kind, {}).get(name) or (wire_name(name),)


def _field(kind: type, attribute: "attrs.Attribute[Any]") -> Field:
    name = attribute.name
    reader = field_reader(name, attribute.type, lambda nested: codec_of(nested).read)
    return Field(name, wire_names(kind, name), reader, attribute.default is attrs.NOTHING)


class Codec(Generic[T]):
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


codec_of: Callable[[Any], Codec[Any]] = cache(Codec)
"""The codec of a model's class, made when it is first asked for."""
