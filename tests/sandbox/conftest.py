import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from attrs import define, field, frozen

from lofty_async.sandbox import Sandbox
from tests.description import Description

NOON = 1_780_315_200.0  # 2026-06-01T12:00:00Z, a Monday


@define
class Clock:
    """A clock that moves only when it is told to."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


@frozen
class Answer:
    status: int
    body: Any
    text: str
    headers: Mapping[str, str]


@define
class Api:
    """A plain HTTP client that sends what Lofty asks for and holds every good answer against the contract."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    description: Description | None
    checked: list[str] = field(factory=list)

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.sandbox.url + path, **options) as response:
            text = await response.text()
        body = json.loads(text) if response.content_type == "application/json" and text else None
        answer = Answer(response.status, body, text, response.headers)
        if answer.status == 200:
            self.check(answer)
        return answer

    def check(self, answer: Answer) -> None:
        route = self.sandbox.requests[-1].route
        body = answer.body
        if route == "GET /v1.0/leads":  # the vendor misnames the key
            assert "get_metadata" not in body
            body = body | {"get_metadata": body["_metadata"]}
        if self.description is not None and not route.startswith(("POST /oauth", "POST /api", "GET /page")):
            self.description.check(route, body)
            self.checked.append(route)

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.call("GET", path, params={name: str(value) for name, value in query.items()})

    async def post(self, path: str, **body: Any) -> Answer:
        return await self.call("POST", path, data=json.dumps(body) if body else None)

    async def put(self, path: str, **body: Any) -> Answer:
        return await self.call("PUT", path, data=json.dumps(body))

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)


def headers(sandbox: Sandbox) -> dict[str, str]:
    return {
        "Authorization": f"token {sandbox.api_key}",
        "Content-Type": "application/json",
        "User-Agent": "sandbox-tests/1",
    }


@asynccontextmanager
async def api_of(sandbox: Sandbox) -> AsyncIterator[Api]:
    async with sandbox, aiohttp.ClientSession(headers=headers(sandbox)) as session:
        yield Api(sandbox, session, Description.load())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> Sandbox:
    """Three leads with thirteen tasks each, so that every awkward value occurs; its clock stands still."""
    return Sandbox(3, 13, limit=10_000, appointments_per_lead=2, clock=clock)


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    async with api_of(sandbox) as api:
        yield api


@pytest.fixture
def lead_id(sandbox: Sandbox) -> int:
    return sandbox.state.leads.ids()[0]


@pytest.fixture(name="api_of")
def _api_of() -> Any:
    return api_of
