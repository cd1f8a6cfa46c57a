"""Readers that turn records into models, made of source that is generated from the models' fields.

They read the expected with inline expressions, hand what these do not cover to the functions of `_values.py`, and
raise at a record that is out of the ordinary.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from attrs import frozen

from ._times import USUAL_TIME_NAMES
from ._values import FieldError, FieldReader, read_at

# A task that was never changed was updated when it was created, one that was not changed since, when it was finished.
_OFTEN_ALIKE = {"updated_at": ("created_at", "finished_at")}

Reader = Callable[[Iterable[Iterable[Any]], Callable[[Any], None], bool], None]
"""Appends a model per row of wire values; the last argument says whether the rows were probably read before."""


@frozen
class Field:
    """One field of a model, and where and how it is read."""

    name: str
    wire_names: tuple[str, ...]
    reader: FieldReader
    required: bool

    def read(self, record: dict[str, Any]) -> Any:
        result = None
        for wire_name in self.wire_names:
            result = read_at(f".{wire_name}", self.reader.read, record.get(wire_name))
            if result is not None:
                break
        if result is None and self.required:
            raise FieldError("is missing", None, f".{self.wire_names[0]}")
        return result


def _mutable(kind: type) -> type:
    """A mutable class of the same layout: writing to one, then making it the frozen class, is 4 times cheaper.

    All of attrs' frozen methods must go: with one left, CPython does not specialise the stores.
    """
    return type(
        kind.__name__,
        (kind,),
        {
            "__slots__": (),
            "__init__": object.__init__,
            "__setattr__": object.__setattr__,
            "__delattr__": object.__delattr__,
        },
    )


def _lines(index: int, field: Field, values: list[str], alike: str) -> Iterator[str]:
    """The source that reads one field."""
    target = f"model.{field.name}"
    first, *others = values
    yield from _value_lines(index, field, target, first, alike)
    for other in others:
        yield f"if {target} is None:"
        yield from map("    {}".format, _value_lines(index, field, target, other, ""))
    if field.required:
        yield f"if {target} is None:"
        yield "    raise ValueError"


def _value_lines(index: int, field: Field, target: str, value: str, alike: str) -> Iterator[str]:
    reader = field.reader
    inline = f"{target} = " + reader.inline.format(value=value, read=f"read{index}", alike=alike)
    if reader.cache is None:
        yield inline
        return
    cached, learned = f"{target} = cache{index}[{value}]", f"{target} = learn{index}({value})"
    if reader.inline:
        yield from ("try:", f"    if again: {cached}", f"    else: {inline}")
        yield from ("except (KeyError, TypeError):", f"    {learned} if again else read{index}({value})")
    else:
        yield from ("try:", f"    {cached}", "except KeyError:", f"    {learned}")


def _alike(fields: tuple[Field, ...], values: list[list[str]]) -> Iterator[str]:
    """By field, the start of an expression that takes over what was made of the same value before, if it can."""
    before: dict[str, str] = {}
    for field, (value, *others) in zip(fields, values, strict=True):
        alike = [name for name in _OFTEN_ALIKE.get(field.name, ()) if name in before]
        yield "".join(f"model.{name} if {value} == {before[name]} else " for name in alike)
        if not others:
            before[field.name] = value


def _source(fields: tuple[Field, ...], names: Iterable[str]) -> str:
    """The function; it has its `names` as arguments, which are looked up faster than what is outside."""
    numbers = iter(range(sum(len(field.wire_names) for field in fields)))
    values = [[f"value{next(numbers)}" for _ in field.wire_names] for field in fields]
    lines = chain.from_iterable(map(_lines, range(len(fields)), fields, values, _alike(fields, values)))
    return (
        f"def read(rows, append, again, {', '.join(f'{name}={name}' for name in names)}):\n"
        f"    for {', '.join(chain.from_iterable(values))} in rows:\n"
        "        model = mutable()\n"
        + "".join(f"        {line}\n" for line in lines)
        + "        model.__class__ = kind\n"
        "        append(model)\n"
    )


def compile_reader(kind: type, fields: tuple[Field, ...]) -> Reader:
    """The function that appends a model per row, and raises at the first that is out of the ordinary."""
    caches = {i: field.reader.cache for i, field in enumerate(fields) if field.reader.cache}
    names: dict[str, Any] = {"mutable": _mutable(kind), "kind": kind, "int": int, "str": str}
    names |= USUAL_TIME_NAMES | {f"cache{i}": cache.values for i, cache in caches.items()}
    source = _source(fields, names)
    names |= {f"read{i}": field.reader.read for i, field in enumerate(fields)}
    names |= {f"learn{i}": cache.learn for i, cache in caches.items()}
    exec(compile(source, f"<reader of {kind.__name__}>", "exec"), names)  # noqa: S102 - made of our own field names alone, never of data
    reader: Reader = names["read"]
    return reader
