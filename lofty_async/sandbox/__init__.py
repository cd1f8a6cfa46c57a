"""A Lofty server of our own: real HTTP over real state, to try out and to test against.

A request passes `gate` (firewall, `rate_limit`, credentials) and `faults`, and `parameters` reads it strictly. The
calls are in `tasks`, `calendar`, `leads`, `webhooks` and `oauth`: each takes what was read, acts on `state`, and
returns what `shapes` writes or raises one of `errors`. `state` holds the records of `entities`, which `seed`
generates. `requests` keeps what was requested, and `server` puts all together by its `options`, also of what the
contract leaves open.

Names are imported on first use, so that the pytest plugin imports no server in runs that use none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import faults
    from .entities import Entry, EntryClass, EntryKind, Lead
    from .faults import Faults
    from .options import ListTotals, UnknownCursor
    from .rate_limit import ResetStyle
    from .requests import RequestRecord
    from .server import Sandbox
    from .state import State

__all__ = [
    "Entry",
    "EntryClass",
    "EntryKind",
    "Faults",
    "Lead",
    "ListTotals",
    "RequestRecord",
    "ResetStyle",
    "Sandbox",
    "State",
    "UnknownCursor",
    "faults",
]

_HOMES = {
    "entities": ("Entry", "EntryClass", "EntryKind", "Lead"),
    "faults": ("Faults",),
    "options": ("ListTotals", "UnknownCursor"),
    "rate_limit": ("ResetStyle",),
    "requests": ("RequestRecord",),
    "server": ("Sandbox",),
    "state": ("State",),
}


def __getattr__(name: str) -> Any:
    if name == "faults":
        return import_module(".faults", __name__)
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
