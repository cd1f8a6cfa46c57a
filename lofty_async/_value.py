"""The base of the models: equality, hash and repr from the fields, one implementation for all.

attrs would compile these three for each model at every import.
"""

from operator import attrgetter
from typing import Any, ClassVar, cast

from attrs import fields


class Value:
    """Equal to a value of the same class with equal fields.

    Subclasses are attrs classes made with `eq=False, repr=False`. The options `eq`, `hash` and `repr` of their fields
    mean what they mean in attrs; at least one field is compared and hashed.
    """

    __slots__ = ()
    __compared__: ClassVar[Any]  # an `attrgetter`, like the next
    __hashed__: ClassVar[Any]

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        attributes = fields(cast("Any", cls))
        cls.__compared__ = attrgetter(*(one.name for one in attributes if one.eq))
        cls.__hashed__ = attrgetter(*(one.name for one in attributes if (one.eq if one.hash is None else one.hash)))

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(self.__compared__(self) == self.__compared__(other))

    def __hash__(self) -> int:
        return hash((self.__class__, self.__hashed__(self)))

    def __repr__(self) -> str:
        names = (one.name for one in fields(cast("Any", type(self))) if one.repr)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
