from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from attrs import frozen

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@frozen
class Changes(Generic[K]):
    """What separates two states, by key."""

    added: tuple[K, ...] = ()
    changed: tuple[K, ...] = ()
    removed: tuple[K, ...] = ()


def diff(old: Mapping[K, V], new: Mapping[K, V]) -> Changes[K]:
    """What turns `old` into `new`; keys keep the order of the mapping they come from."""
    return Changes(
        added=tuple(key for key in new if key not in old),
        changed=tuple(key for key, value in new.items() if key in old and old[key] != value),
        removed=tuple(key for key in old if key not in new),
    )


def merged(parts: Iterable[Changes[K]]) -> Changes[K]:
    """Changes that follow each other, as one."""
    whole = tuple(parts)
    return Changes(
        tuple(key for part in whole for key in part.added),
        tuple(key for part in whole for key in part.changed),
        tuple(key for part in whole for key in part.removed),
    )
