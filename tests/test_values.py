"""Values of any kind through the client and a real socket: what goes out, what comes back, what is refused."""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field

from lofty_async import ApiKey, LoftyClient, LoftyError

EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\r\n2026-01-01 CRITICAL forged\u202e\x9b31m"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


@define
class Server:
    """Answers every request with `body`, and keeps what was asked."""

    body: Any = field(factory=dict[str, Any])
    status: int = 200
    queries: list[list[tuple[str, str]]] = field(factory=list[list[tuple[str, str]]])
    bodies: list[Any] = field(factory=list[Any])

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(list(request.query.items()))
        self.bodies.append(await request.json() if request.can_read_body else None)
        return web.json_response(self.body, status=self.status)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LoftyClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with LoftyClient(ApiKey("key"), base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield client
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "call"),
    [
        (400, {"code": 20012, "message": EVIL}, lambda client: client.me()),
        (400, {"message": f"BaseApplicationException:errorCode=20006,errorMsg={EVIL}"}, lambda client: client.me()),
        (400, EVIL, lambda client: client.me()),
        (200, {"code": 20012, "message": EVIL}, lambda client: client.tasks.get(5)),
        (200, {"task": {"id": EVIL}}, lambda client: client.tasks.get(5)),
        (200, {"task": EVIL}, lambda client: client.tasks.get(5)),
        (200, {"tasks": [{"id": EVIL}]}, lambda client: client.tasks.list(5).collect()),
        (200, {"tasks": EVIL}, lambda client: client.tasks.list(5).collect()),
        (
            200,
            {"data": {"items": [{"id": EVIL, "startAt": EVIL}]}},
            lambda client: client.calendar.list(start=NOON).collect(),
        ),
        (200, {"taskId": {EVIL: 5}}, lambda client: client.v1.tasks.get(5)),
    ],
)
async def test_no_error_carries_the_control_characters_of_a_server(
    server: Server, client: LoftyClient, status: int, body: Any, call: Callable[[LoftyClient], Any]
) -> None:
    server.status, server.body = status, body
    with pytest.raises(LoftyError) as caught:
        await call(client)
    assert str(caught.value).isprintable()
    assert all(text.isprintable() for text in map(str, vars(caught.value).values()))


async def test_no_log_line_of_a_bad_record_does_either(
    server: Server, client: LoftyClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.body = {"tasks": [{"id": EVIL}, {"id": 7}]}
    with caplog.at_level(logging.DEBUG, "lofty_async"):
        (task,) = await client.tasks.list(5, on_bad_record="skip").collect()
    assert task.id == 7
    assert [record.getMessage().isprintable() for record in caplog.records] == [True]
