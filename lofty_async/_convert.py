"""Models to plain data and back: the only module that knows cattrs.

Plain data has the models' own names. cattrs writes it, with hooks for times, enums and real numbers; reading is strict
(see `_plain.py`).
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any, Final, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from . import models
from ._codec import wire_names
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
from ._values import FieldError, Read, is_id
from .errors import DecodeError, shown

T = TypeVar("T")


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
    names = chain.from_iterable(wire_names(kind, one.name) for one in attrs.fields(kind))
    return PlainReader(kind, lambda nested: _plain_reader(nested).read, names)


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
