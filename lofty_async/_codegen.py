"""Functions that fill models from records, made of source that is generated from the models' fields.

They read the expected with inline expressions, hand what these do not cover to the functions of `_values.py`, and
raise at a record that is out of the ordinary.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Any

from attrs import frozen

from ._json import dumps, loads
from ._times import USUAL_TIME_NAMES
from ._values import MisfitError, Reading, read_at

# A task that was never changed was updated when it was created, one that was not changed since, when it was finished.
_OFTEN_ALIKE = {"end_at": ("start_at",), "updated_at": ("created_at", "finished_at")}

Fill = Callable[[Iterable[Any], Callable[[Any], None], bool], None]
"""Appends a model per record; the last argument says whether the records were probably read before."""


@frozen
class Part:
    """One field of a model, and where and how it is read."""

    name: str
    wire_names: tuple[str, ...]
    reading: Reading
    required: bool

    def read(self, record: dict[str, Any]) -> Any:
        result = None
        for wire_name in self.wire_names:
            result = read_at(f".{wire_name}", self.reading.read, record.get(wire_name))
            if result is not None:
                break
        if result is None and self.required:
            raise MisfitError("is missing", None, f".{self.wire_names[0]}")
        return result


def _draft_of(kind: type) -> type:
    """A mutable class of the same layout: filling one, then making it the frozen class, is 4 times cheaper.

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


def _lines(index: int, part: Part, values: list[str], known: str) -> Iterator[str]:
    """The source that reads one field."""
    target = f"model.{part.name}"
    first, *others = values
    yield from _reading_lines(index, part, target, first, known)
    for other in others:
        yield f"if {target} is None:"
        yield from map("    {}".format, _reading_lines(index, part, target, other, ""))
    if part.required:
        yield f"if {target} is None:"
        yield "    raise ValueError"


def _reading_lines(index: int, part: Part, target: str, value: str, known: str) -> Iterator[str]:
    fast = f"{target} = " + part.reading.fast.format(value=value, read=f"read{index}", known=known)
    if part.reading.kept is None:
        yield fast
        return
    kept, learnt = f"{target} = kept{index}[{value}]", f"{target} = learn{index}({value})"
    if part.reading.fast:
        yield from ("try:", f"    if again: {kept}", f"    else: {fast}")
        yield from ("except KeyError:", f"    {learnt} if again else read{index}({value})")
    else:
        yield from ("try:", f"    {kept}", "except KeyError:", f"    {learnt}")


def _known(parts: tuple[Part, ...], values: list[list[str]]) -> Iterator[str]:
    """By part, the start of an expression that takes over what was made of the same value before, if it can."""
    before: dict[str, str] = {}
    for part, (value, *others) in zip(parts, values, strict=True):
        alike = [name for name in _OFTEN_ALIKE.get(part.name, ()) if name in before]
        yield "".join(f"model.{name} if {value} == {before[name]} else " for name in alike)
        if not others:
            before[part.name] = value


def _source(parts: tuple[Part, ...], names: Iterable[str]) -> str:
    """The function; it has its `names` as arguments, which are looked up faster than what is outside."""
    numbers = iter(range(sum(len(part.wire_names) for part in parts)))
    values = [[f"value{next(numbers)}" for _ in part.wire_names] for part in parts]
    lines = chain.from_iterable(map(_lines, range(len(parts)), parts, values, _known(parts, values)))
    return (
        f"def fill(records, append, again, {', '.join(f'{name}={name}' for name in names)}):\n"
        f"    for {', '.join(chain.from_iterable(values))} in map(pick, records):\n"
        "        model = draft()\n"
        + "".join(f"        {line}\n" for line in lines)
        + "        model.__class__ = kind\n"
        "        append(model)\n"
    )


def compile_fill(kind: type, parts: tuple[Part, ...], wire_names: tuple[str, ...]) -> Fill:
    """The function that appends a model per record, and raises at the first that is out of the ordinary."""
    # The decoder's own key objects, where it keeps them as orjson does: found faster, by identity.
    keys = loads(dumps(dict.fromkeys(wire_names)))
    names: dict[str, Any] = {"draft": _draft_of(kind), "kind": kind, "pick": itemgetter(*keys), "int": int, "str": str}
    names |= USUAL_TIME_NAMES | {
        f"kept{i}": part.reading.kept.values for i, part in enumerate(parts) if part.reading.kept
    }
    source = _source(parts, names)
    names |= {f"read{i}": part.reading.read for i, part in enumerate(parts)}
    names |= {f"learn{i}": part.reading.kept.learn for i, part in enumerate(parts) if part.reading.kept}
    exec(compile(source, f"<reader of {kind.__name__}>", "exec"), names)  # noqa: S102 - made of our own field names alone, never of data
    fill: Fill = names["fill"]
    return fill
