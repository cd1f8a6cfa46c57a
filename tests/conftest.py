import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import pytest
from aiohttp import web
from attrs import define, field
from hypothesis import settings

from lofty_async import LoftyClient, RetryPolicy
from lofty_async.sandbox import Sandbox, faults
from tests.account import Account
from tests.description import Description
from tests.postgres_server import drop_tables, running_postgres

# A busy machine is no bug, so no example has a deadline.
settings.register_profile("thorough", deadline=None)
settings.register_profile("usual", deadline=None, max_examples=40)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("usual")


OpenClient = Callable[..., LoftyClient]

AT_ONCE = RetryPolicy(base_delay=0)

IN_TURN = pytest.mark.xdist_group("in turn")
"""Of tests that keep the processors busy, and of those whose servers have to answer within a fraction of a second."""


class CountingWay(Protocol):
    """A way to a server that counts round trips."""

    trips: int


async def trips_of(way: CountingWay, act: Awaitable[Any]) -> int:
    before = way.trips
    await act
    return way.trips - before


@define
class Hold:
    """A fault that lets requests in and no answer out until it is opened."""

    arrived: int = 0
    most: int = 0
    waiting: int = 0
    gate: asyncio.Event = field(factory=asyncio.Event)
    changed: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, _request: web.Request, answer: faults.Answer) -> web.StreamResponse:
        self.arrived += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.changed.set()
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        return await answer()

    async def reached(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.arrived < count:
                self.changed.clear()
                await self.changed.wait()


@define
class Spy:
    """A fault that changes nothing and keeps what was answered."""

    bodies: list[bytes] = field(factory=list[bytes])

    async def __call__(self, _request: web.Request, answer: faults.Answer) -> web.StreamResponse:
        response = await answer()
        assert isinstance(response, web.Response)
        self.bodies.append(response.body if isinstance(response.body, bytes) else b"")
        return response


def in_turn(*kinds: faults.Fault) -> faults.Fault:
    """A fault that is each of these once."""
    left = iter(kinds)

    async def fault(request: web.Request, answer: faults.Answer) -> web.StreamResponse:
        return await next(left)(request, answer)

    return fault


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Three leads with thirteen tasks each, so that every awkward value occurs."""
    async with Sandbox(3, 13, limit=10_000, appointments_per_lead=2) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell has what it starts in the background ignore SIGINT, and nohup SIGHUP; programs of the tests do not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_IGN:
        signal.signal(hang_up, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Leave what is there before a module's tests to no later garbage collection: many collect, to see what is left."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs of the tests compile each module once, even where this process was told to write no bytecode."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.getbasetemp().parent / "bytecode")


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the type checks of programs share, so that only the first reads all the libraries."""
    return tmp_path_factory.getbasetemp().parent / "mypy"


@pytest.fixture
async def open_client(sandbox: Sandbox) -> AsyncIterator[OpenClient]:
    """Makes clients of the sandbox that try again without waiting, and closes them after the test."""
    async with AsyncExitStack() as stack:

        def make(auth: Any = None, **options: Any) -> LoftyClient:
            defaults: dict[str, Any] = {"base_url": sandbox.url, "retry": AT_ONCE}
            client = LoftyClient(auth or sandbox.auth, **(defaults | options))
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def lofty(open_client: OpenClient) -> LoftyClient:
    return open_client()


@pytest.fixture
def lead_id(sandbox: Sandbox) -> int:
    return sandbox.state.leads.ids()[0]


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No task dies with an error that nobody has seen: asyncio would log it."""
    yield
    gc.collect()
    records = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in records if record.name == "asyncio"] == []


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
async def hold() -> AsyncIterator[Hold]:
    held = Hold()
    yield held
    held.gate.set()


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def tomorrow() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@pytest.fixture
def call_fields(lead_id: int, tomorrow: datetime) -> dict[str, Any]:
    """What `tasks.create` needs."""
    return {"type": "Call", "lead_id": lead_id, "content": "Ring", "assigned_role": "Agent", "end_at": tomorrow}


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Any]:
    """Waits until something is the case, by letting the loop turn."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    return wait


@pytest.fixture
def outcomes(sandbox: Sandbox) -> Callable[[], list[tuple[str, int | None]]]:
    """Route and status of every request that the sandbox has seen."""
    return lambda: [(record.route, record.status) for record in sandbox.requests]


@pytest.fixture(scope="session")
def description() -> Description:
    found = Description.load()
    if found is None:
        pytest.skip("the vendor's description is not there")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
async def dsn(postgres_server: str) -> str:
    """The address of a PostgreSQL without tables of mirrors and fleets."""
    await drop_tables(postgres_server)
    return postgres_server


@pytest.fixture
async def made() -> AsyncIterator[Account]:
    """An account of 12 leads with three tasks each."""
    async with Sandbox(12, 0, appointments_per_lead=0, limit=100_000) as sandbox:
        account = Account(sandbox)
        account.populate(3)
        yield account


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The address of an empty schema in a PostgreSQL."""
    import psycopg  # noqa: PLC0415 - skipped where it is missing

    schema = f"test_{token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{postgres_server}?options=-csearch_path%3D{schema}"
