"""Models in pydantic: what it validates, serialises and says in a JSON schema, field by field.

Nothing here imports pydantic before pydantic itself calls.
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

import attrs

from ._plain import kind_of, read_aware_time, read_code, read_flag, read_id, read_integer, read_real, read_text
from ._values import is_id


def model_schema(kind: type, handler: Any) -> Any:
    """The core schema of a model: it is read as a frozen, slotted dataclass, and written as a typed dict."""
    from pydantic_core import core_schema  # noqa: PLC0415 - only pydantic asks

    attributes = attrs.fields(kind)
    schemas = {one.name: handler.generate_schema(_annotated(one.name, one.type)) for one in attributes}
    optional = {one.name: one.default for one in attributes if one.default is not attrs.NOTHING}
    fields = [
        core_schema.dataclass_field(name, _with_default(core_schema, schema, name, optional), kw_only=True)
        for name, schema in schemas.items()
    ]
    # What is written has every key, and the JSON schema of what is written says so.
    written = {name: core_schema.typed_dict_field(schema, required=True) for name, schema in schemas.items()}
    return core_schema.dataclass_schema(
        kind,
        core_schema.dataclass_args_schema(kind.__name__, fields),
        list(schemas),
        frozen=True,
        slots=True,
        ref=f"{kind.__module__}.{kind.__qualname__}:{id(kind)}",
        serialization=core_schema.plain_serializer_function_ser_schema(
            _values_by_name(tuple(schemas)), return_schema=core_schema.typed_dict_schema(written, cls=kind)
        ),
    )


def _with_default(core_schema: Any, schema: Any, name: str, optional: dict[str, Any]) -> Any:
    return core_schema.with_default_schema(schema, default=optional[name]) if name in optional else schema


def _values_by_name(names: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    return lambda model: {name: getattr(model, name) for name in names}


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
        write = PlainSerializer(datetime.isoformat, return_type=str, when_used="json")
        schema = WithJsonSchema({"type": "string", "format": "date-time"})
        return Annotated[datetime, BeforeValidator(read_aware_time), write, schema]
    if kind == int | str:
        return Annotated[kind, BeforeValidator(read_code), WithJsonSchema({"anyOf": [integer, {"type": "string"}]})]
    return Annotated[kind, BeforeValidator({str: read_text, bool: read_flag, float: read_real}[kind])]
