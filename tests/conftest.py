import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from attrs import define, field, frozen
from hypothesis import settings

from lofty_async import LoftyClient, RetryPolicy
from lofty_async.sandbox import RequestRecord, Sandbox, faults

# A busy machine is no bug, so no example has a deadline.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("thorough")

OpenClient = Callable[..., LoftyClient]

AT_ONCE = RetryPolicy(first_wait=0)
DESCRIPTION = (Path(__file__).parents[1] / "../shared/contract/openapi.json").resolve()


def tolerant(schema: Any) -> Any:
    """The schema with every field nullable: the vendor marks none, and any may be null."""
    if isinstance(schema, list):
        return [tolerant(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    loose = {name: tolerant(part) for name, part in schema.items() if name not in ("enum", "example")}
    if isinstance(loose.get("type"), str):
        loose["type"] = [loose["type"], "null"]
    return loose


def from_text(text: str) -> Any:
    """The value that a query parameter stands for."""
    return json.loads(text) if text in ("true", "false") or text.isdecimal() else text


@frozen
class Description:
    """The vendor's description, to hold requests and answers against."""

    strict: Mapping[str, Any]
    loose: Mapping[str, Any]

    @property
    def routes(self) -> set[str]:
        paths = self.strict["paths"]
        return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    def check_request(self, request: RequestRecord) -> None:
        """Known parameters of the right type, all that are required, and a body where there is to be one."""
        call = self._call(self.strict, request.route)
        parameters = {one["name"]: one for one in call.get("parameters", ()) if one["in"] == "query"}
        required = {name for name, one in parameters.items() if one.get("required")}
        assert required <= request.query.keys() <= parameters.keys()
        for name, text in request.query.items():
            schema = parameters[name]["schema"]
            jsonschema.validate(text if schema["type"] == "string" else from_text(text), schema)
        assert request.headers.keys() >= {"Authorization", "Content-Type"}
        assert bool(request.body) == ("requestBody" in call)
        if request.body:
            schema = self._resolved(self._schema(self.strict, call["requestBody"]))
            if request.method == "PUT":  # one schema serves create and update, but an update is partial
                schema.pop("required", None)
            jsonschema.validate(request.json(), schema)
            assert request.json().keys() <= schema["properties"].keys()

    def check(self, route: str, body: Any) -> None:
        """A good answer's body; `None` for an empty one."""
        answer = self._call(self.loose, route)["responses"]["200"]
        if "content" in answer:
            jsonschema.validate(body, self._schema(self.loose, answer))
        else:
            assert body is None, f"{route} answers with an empty body"

    def _call(self, document: Mapping[str, Any], route: str) -> Any:
        method, path = route.split()
        return document["paths"][path][method.lower()]

    def _schema(self, document: Mapping[str, Any], holder: Mapping[str, Any]) -> Any:
        return next(iter(holder["content"].values()))["schema"] | {"components": document["components"]}

    def _resolved(self, schema: Any) -> dict[str, Any]:
        name = schema["$ref"].rpartition("/")[2]
        return dict(self.strict["components"]["schemas"][name]) | {"components": schema["components"]}


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


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Three leads with thirteen tasks each, so that every awkward value occurs."""
    async with Sandbox(3, 13, limit=10_000, appointments_per_lead=2) as running:
        yield running


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
    if not DESCRIPTION.is_file():
        pytest.skip("the vendor's description is not there")
    document = json.loads(DESCRIPTION.read_text())
    return Description(document, tolerant(document))
