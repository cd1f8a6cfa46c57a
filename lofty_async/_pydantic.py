"""Models in pydantic: what it validates, serialises and says in a JSON schema, field by field.

Nothing here imports pydantic before pydantic itself calls.
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

import attrs

from ._plain import (
    kind_of,
    read_aware_time,
    read_code,
    read_flag,
    read_id,
    read_integer,
    read_real,
    read_text,
    write_time,
)
from ._values import is_id


def model_schema(kind: type, handler: Any) -> Any:
    """The core schema of a model: that of a frozen, slotted dataclass with the same fields."""
    from pydantic_core import core_schema  # noqa: PLC0415 - only pydantic asks

    attributes = attrs.fields(kind)
    schemas = {one.name: handler.generate_schema(_annotated(one.name, one.type)) for one in attributes}
    optional = {one.name: one.default for one in attributes if one.default is not attrs.NOTHING}
    fields = [
        core_schema.dataclass_field(name, _with_default(core_schema, schema, name, optional), kw_only=True)
        for name, schema in schemas.items()
    ]
    # pydantic writes only what dataclasses says is one, so it is given a dict.
    written = {
        name: core_schema.typed_dict_field(_with_default(core_schema, schema, name, optional))
        for name, schema in schemas.items()
    }
    return core_schema.dataclass_schema(
        kind,
        core_schema.dataclass_args_schema(kind.__name__, fields),
        list(schemas),
        frozen=True,
        slots=True,
        ref=f"{kind.__module__}.{kind.__qualname__}:{id(kind)}",
        serialization=core_schema.wrap_serializer_function_ser_schema(
            _through_dict(tuple(schemas)), schema=core_schema.typed_dict_schema(written)
        ),
    )


def model_json_schema(schema: Any, handler: Any) -> Any:
    """The JSON schema of a model: what is written has every key, what is read may lack those with a default."""
    result = handler(schema)
    if handler.mode == "serialization":
        described = handler.resolve_ref_schema(result)
        described["required"] = list(described["properties"])
    return result


def _with_default(core_schema: Any, schema: Any, name: str, optional: dict[str, Any]) -> Any:
    return core_schema.with_default_schema(schema, default=optional[name]) if name in optional else schema


def _through_dict(names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    return lambda model, write: write({name: getattr(model, name) for name in names})


def _annotated(name: str, annotation: Any) -> Any:
    """The annotation of a field with the SDK's own checks, in terms of pydantic."""
    if get_origin(annotation) is tuple:
        return tuple[_annotated("", get_args(annotation)[0]), ...]  # type: ignore[misc] # pydantic reads it
    kind = kind_of(annotation)
    inner = kind if attrs.has(kind) or _is_enum(kind) else _checked(name, kind)
    return inner if annotation is kind else inner | None


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _checked(name: str, kind: Any) -> Any:
    from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema  # noqa: PLC0415 - as above

    integer = {"type": "integer", "format": "int64"}
    if kind is int:
        read = read_id if is_id(name) else read_integer
        return Annotated[int, BeforeValidator(read), WithJsonSchema(integer)]
    if kind is datetime:
        write = PlainSerializer(write_time, return_type=str, when_used="json")
        schema = WithJsonSchema({"type": "string", "format": "date-time"})
        return Annotated[datetime, BeforeValidator(read_aware_time), write, schema]
    if kind == int | str:
        return Annotated[kind, BeforeValidator(read_code), WithJsonSchema({"anyOf": [integer, {"type": "string"}]})]
    return Annotated[kind, BeforeValidator({str: read_text, bool: read_flag, float: read_real}[kind])]
