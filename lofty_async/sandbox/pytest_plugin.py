"""Fixtures for tests against Lofty. Every pytest run loads this module, so it imports no server.

The sandbox runs on a thread of its own, and the client belongs to the event loop that uses it: the fixtures are the
same for tests that call `asyncio.run` and for those of pytest-asyncio, anyio and other plugins.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async.retry import RetryPolicy

if TYPE_CHECKING:
    from lofty_async.client import LoftyClient

    from .server import Sandbox


@pytest.fixture
def lofty_sandbox_factory() -> "Iterator[Callable[..., Sandbox]]":
    """Starts sandboxes, `lofty_sandbox_factory(leads=3, limit=100)`, and closes them after the test."""
    from .server import Sandbox  # noqa: PLC0415 - only runs that use the fixture import a server

    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Sandbox:
            return stack.enter_context(Sandbox.in_thread(*args, **options))

        yield start


@pytest.fixture
def lofty_sandbox_options() -> dict[str, Any]:
    """The arguments of `Sandbox` for `lofty_sandbox`: none; override it to set some."""
    return {}


@pytest.fixture
def lofty_sandbox(lofty_sandbox_factory: "Callable[..., Sandbox]", lofty_sandbox_options: dict[str, Any]) -> "Sandbox":
    """A started sandbox: `url`, `auth`, `state`, `faults`, `requests`, `assert_requested(…)` and more."""
    return lofty_sandbox_factory(**lofty_sandbox_options)


@pytest.fixture
def lofty_client_options() -> dict[str, Any]:
    """The arguments of `LoftyClient` for `lofty_client`: none; override it to set some."""
    return {}


@pytest.fixture
def lofty_client(lofty_sandbox: "Sandbox", lofty_client_options: dict[str, Any]) -> "Iterator[LoftyClient]":
    """A client of `lofty_sandbox`, closed after the test.

    It does not retry, so that a fault reaches the test at once; `lofty_client.with_options(retries=3)` does.
    """
    from lofty_async.client import LoftyClient  # noqa: PLC0415 - as above

    defaults: dict[str, Any] = {"base_url": lofty_sandbox.url, "retry": RetryPolicy(retries=0)}
    client = LoftyClient(lofty_sandbox.auth, **(defaults | lofty_client_options))
    yield client
    # The test's loop does not run now. A thread has none, whatever runs the tests.
    closing = Thread(target=lambda: asyncio.run(client.close()), name="lofty-client-close")
    closing.start()
    closing.join()


@pytest.fixture
def lofty_env(lofty_sandbox: "Sandbox", monkeypatch: pytest.MonkeyPatch) -> "Sandbox":
    """`lofty_sandbox`, which `LoftyClient.from_env()` and the commands use during the test."""
    monkeypatch.setenv("LOFTY_API_KEY", lofty_sandbox.api_key)
    monkeypatch.setenv("LOFTY_BASE_URL", lofty_sandbox.url)
    return lofty_sandbox
