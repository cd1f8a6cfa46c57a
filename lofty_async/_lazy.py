"""Packages whose names load when they are first used, each with the module it lives in.

A program that asks for help or parses a webhook does not wait for an HTTP client, one that lists tasks does not wait
for logins, and none that has no use for the sandbox imports a server.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def lazily(package: str, homes: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that offers the names in `homes`, by module, and its modules."""
    home_of = {name: home for home, names in homes.items() for name in names}
    module = sys.modules[package]

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(home_of)
        if name in home_of:
            value = getattr(import_module(home_of[name], package), name)
            setattr(module, name, value)
            return value
        if name.isidentifier() and find_spec(f"{package}.{name}"):
            return import_module(f".{name}", package)
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)

    def names() -> list[str]:
        own = (name for name in vars(module) if name.startswith("__"))
        return sorted({*own, *home_of})

    return load, names
