"""Fixtures for tests against Lofty. Every pytest run loads this module, so it imports no server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .server import Sandbox


@pytest.fixture
def lofty_sandbox_factory() -> "Iterator[Callable[..., Sandbox]]":
    """Starts sandboxes, `lofty_sandbox_factory(leads=3, limit=100)`, and closes them after the test.

    Each runs on a thread of its own, so that any test runner will do, synchronous or not.
    """
    from .server import Sandbox  # noqa: PLC0415 - only runs that use the fixture import a server

    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Sandbox:
            return stack.enter_context(Sandbox.in_thread(*args, **options))

        yield start


@pytest.fixture
def lofty_sandbox(lofty_sandbox_factory: "Callable[..., Sandbox]") -> "Sandbox":
    """A started sandbox with its defaults: `url`, `auth`, `state`, `faults`, `requests` and more."""
    return lofty_sandbox_factory()
