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
from ._values import MisfitError, Reading, read_at
from .times import USUAL_TIME_NAMES

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
    kept = ["try:", f"    {target} = kept{index}[{value}]", "except KeyError:", f"    {target} = learn{index}({value})"]
    if part.reading.kept is None:
        yield fast
    elif not part.reading.fast:
        yield from kept
    else:
        yield "if again:"
        yield from map("    {}".format, kept)
        yield "else:"
        yield f"    {fast}"


def _known(part: Part, values: list[str], before: Part, values_before: list[str]) -> str:
    """The start of an expression that takes over what the field before made of the same value, if it can.

    A task that was never changed was updated when it was created.
    """
    if part.reading is not before.reading or len(values + values_before) > 2:
        return ""
    return f"model.{before.name} if {values[0]} == {values_before[0]} else "


def _source(parts: tuple[Part, ...]) -> str:
    numbers = iter(range(sum(len(part.wire_names) for part in parts)))
    values = [[f"value{next(numbers)}" for _ in part.wire_names] for part in parts]
    known = ["", *map(_known, parts[1:], values[1:], parts, values)]
    lines = chain.from_iterable(map(_lines, range(len(parts)), parts, values, known))
    return (
        "def fill(records, append, again):\n"
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
    names: dict[str, Any] = USUAL_TIME_NAMES | {"draft": _draft_of(kind), "kind": kind, "pick": itemgetter(*keys)}
    for index, part in enumerate(parts):
        names[f"read{index}"] = part.reading.read
        if part.reading.kept:
            names |= {f"kept{index}": part.reading.kept.values, f"learn{index}": part.reading.kept.learn}
    exec(compile(_source(parts), f"<reader of {kind.__name__}>", "exec"), names)  # noqa: S102 - made of our own field names alone, never of data
    fill: Fill = names["fill"]
    return fill
