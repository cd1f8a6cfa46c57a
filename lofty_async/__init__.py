"""Asyncio-native SDK for the Lofty CRM Task & Calendar API."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .__about__ import __version__ as __version__

if TYPE_CHECKING:
    from ._public import *  # noqa: F403 - the names and their list live there
    from .sandbox import Sandbox as Sandbox


def __getattr__(name: str) -> Any:
    # On first use: a program that asks for --help or parses a webhook does not wait for an HTTP client, and one
    # that has no use for the sandbox never imports a server.
    if name.isidentifier() and find_spec(f"{__name__}.{name}"):
        return import_module(f".{name}", __name__)
    public = import_module("._public", __name__)
    names = [*public.__all__, "Sandbox"]
    if name == "__all__":
        return names
    if name not in names:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    home = import_module(".sandbox", __name__) if name == "Sandbox" else public
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
