"""The receiver behind aiohttp.web and behind ASGI, over sockets."""

import asyncio
import gzip
import json
import logging
import socket
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lofty_async import LoftyClient
from lofty_async.errors import InvalidRequestError
from lofty_async.sandbox import Sandbox
from lofty_async.webhooks import WebhookBatch, WebhookReceiver, follow_tasks

SECRET = "a-token-nobody-guesses"
PATH = f"/lofty/{SECRET}"
BODY = json.dumps({"listId": 10, "updatedTask": [{"taskId": 1}]}).encode()
Client = TestClient[web.Request, web.Application]


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def check_answers(session: aiohttp.ClientSession, url: str) -> None:
    """What every server must answer for a receiver with `max_body=1000` and `queue_size=1`."""
    large = b'{"a": "' + b"x" * 1000 + b'"}'
    for method, path, data, status in [
        ("POST", "/lofty/wrong-token-0000000", BODY, 404),
        ("GET", PATH, None, 405),
        ("POST", PATH, large, 413),
        ("POST", PATH, in_pieces(large, large), 413),
        ("POST", PATH, b"no json", 400),
        ("POST", PATH, b"[]", 400),
        ("POST", PATH, in_pieces(BODY[:9], BODY[9:]), 200),
        ("POST", PATH, BODY, 503),
    ]:
        async with session.request(method, url + path, data=data) as response:
            assert response.status == status
            assert await response.read() == b""
            assert ("Retry-After" in response.headers) == (status == 503)
            assert response.headers.get("Allow") == ("POST" if status == 405 else None)


class TestAiohttp:
    async def serve(self, receiver: WebhookReceiver) -> Client:
        app = web.Application()
        receiver.mount(app)
        client: Client = TestClient(TestServer(app))
        await client.start_server()
        return client

    async def test_every_answer(self) -> None:
        receiver = WebhookReceiver(SECRET, max_body=1000, queue_size=1)
        async with await self.serve(receiver) as client:
            await check_answers(client.session, str(client.make_url("/")).rstrip("/"))
            assert (await anext(receiver.notices())).task_id == 1

    async def test_the_handler_fits_a_route_of_ones_own(self) -> None:
        receiver = WebhookReceiver(SECRET)
        app = web.Application()
        app.router.add_post(receiver.route("/hooks/crm"), receiver.aiohttp_handler)
        async with receiver, TestClient(TestServer(app)) as client:
            assert (await client.post(f"/hooks/crm/{SECRET}", data=BODY)).status == 200
            assert (await client.post("/hooks/crm/somebody-elses-token", data=BODY)).status == 404

    async def test_shutting_down_finishes_the_work(self) -> None:
        may_finish, done = asyncio.Event(), asyncio.Event()

        async def work(_: WebhookBatch) -> None:
            await may_finish.wait()
            done.set()

        client = await self.serve(WebhookReceiver(SECRET, work))
        assert (await client.post(PATH, data=BODY)).status == 200
        closing = asyncio.create_task(client.close())
        assert not done.is_set()
        may_finish.set()
        await closing
        assert done.is_set()

    async def test_a_compressed_body_counts_by_its_full_size(self) -> None:
        receiver = WebhookReceiver(SECRET, max_body=1000)
        async with await self.serve(receiver) as client:
            for data, status in [(b" " * 100_000 + BODY, 413), (BODY, 200)]:
                packed = zlib.compress(data)
                headers = {"Content-Encoding": "deflate"}
                assert (await client.post(PATH, data=packed, headers=headers)).status == status

    async def test_a_body_not_in_its_encoding_is_a_bad_request(self) -> None:
        async with await self.serve(WebhookReceiver(SECRET)) as client:
            response = await client.post(PATH, data=b"no deflate at all", headers={"Content-Encoding": "deflate"})
            assert response.status == 400

    async def test_a_sender_that_hangs_up_in_the_middle_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET)
        async with await self.serve(receiver) as client:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome".encode()
            _, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(head)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            assert (await client.post(PATH, data=BODY)).status == 200
            await receiver.close()
        assert [notice.task_id async for notice in receiver.notices()] == [1]
        assert "Error" not in caplog.text

    @pytest.mark.parametrize("unpacks", [True, False])
    async def test_a_packed_body_is_read_whoever_unpacks_it(self, unpacks: bool) -> None:
        receiver = WebhookReceiver(SECRET)
        app = web.Application()
        receiver.mount(app)
        server = TestServer(app)
        await server.start_server(auto_decompress=unpacks)
        async with TestClient(server) as client:
            for encoding, packed in [("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY))]:
                response = await client.post(PATH, data=packed, headers={"Content-Encoding": encoding})
                assert response.status == 200
        assert receiver.stats.accepted == 2

    async def test_a_sender_that_stands_still_is_left(self) -> None:
        receiver = WebhookReceiver(SECRET, read_timeout=0.05)
        async with await self.serve(receiver) as client:
            reader, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome".encode())
            async with asyncio.timeout(5):
                assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
            writer.close()
            await writer.wait_closed()

    async def test_shutting_down_works_off_what_a_follower_was_given(self, caplog: pytest.LogCaptureFixture) -> None:
        async with following(50) as (sandbox, lofty, numbers):
            receiver, changed = WebhookReceiver(SECRET), Changed()

            async def follow(_: web.Application) -> AsyncIterator[None]:
                task = asyncio.create_task(changed.follow(receiver, lofty))
                yield
                task.cancel()
                await asyncio.wait([task])

            app = web.Application()
            app.cleanup_ctx.append(follow)
            receiver.mount(app)
            async with TestClient(TestServer(app)) as client:
                for number in numbers:
                    assert (await client.post(PATH, data=about(number))).status == 200
            assert sandbox.requests
        assert sorted(changed.ids, key=str) == sorted(numbers, key=str)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def about(task_id: int) -> bytes:
    return json.dumps({"listId": 10, "updatedTask": [{"taskId": task_id}]}).encode()


class Changed:
    """The ids of the tasks that a follower was told of."""

    def __init__(self) -> None:
        self.ids: list[int | None] = []

    async def follow(self, receiver: WebhookReceiver, lofty: LoftyClient) -> None:
        async for change in follow_tasks(receiver.notices(), lofty, within=0.1):
            assert change.error is None
            self.ids.append(change.task_id)


@asynccontextmanager
async def following(tasks: int) -> AsyncGenerator[tuple[Sandbox, LoftyClient, list[int]], None]:
    async with (
        Sandbox(1, tasks, appointments_per_lead=0) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, max_wait=0) as lofty,
    ):
        yield sandbox, lofty, list(sandbox.state.entries)


class AsgiCaller:
    """The other side of an ASGI application: messages to give it, messages it sent."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.inbox.put_nowait(message)

    async def receive(self) -> Any:
        return await self.inbox.get()

    async def send(self, message: Any) -> None:
        await self.sent.put(message)

    async def request(
        self,
        receiver: WebhookReceiver,
        *,
        method: str = "POST",
        path: str = PATH,
        length: bytes | None = None,
        encoding: bytes | None = None,
    ) -> dict[str, Any] | None:
        headers = [(b"content-type", b"application/json")]
        headers += [] if length is None else [(b"Content-Length", length)]
        headers += [] if encoding is None else [(b"Content-Encoding", encoding)]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await receiver.asgi_app(scope, self.receive, self.send)
        if self.sent.empty():
            return None
        start, end = self.sent.get_nowait(), self.sent.get_nowait()
        assert self.sent.empty()
        assert start["type"] == "http.response.start"
        assert end == {"type": "http.response.body", "body": b""}
        return {"status": start["status"], **dict(start["headers"])}


def part(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


class TestAsgi:
    async def test_a_body_in_parts_is_taken_in(self) -> None:
        receiver = WebhookReceiver(SECRET)
        caller = AsgiCaller(part(BODY[:5], more=True), {"type": "http.request", "more_body": True}, part(BODY[5:]))
        assert await caller.request(receiver, length=b"%d" % len(BODY)) == {
            "status": 200,
            b"content-length": b"0",
        }
        assert (await anext(receiver.notices())).task_id == 1

    async def test_an_optional_body_may_be_left_out(self) -> None:
        answer = await AsgiCaller({"type": "http.request"}).request(WebhookReceiver(SECRET))
        assert answer == {"status": 400, b"content-length": b"0"}

    async def test_a_declared_length_is_enough_to_refuse(self) -> None:
        caller = AsgiCaller(part(BODY))
        answer = await caller.request(WebhookReceiver(SECRET, max_body=10), length=b"11")
        assert answer == {"status": 413, b"content-length": b"0"}
        assert caller.inbox.qsize() == 1, "the body was read"

    @pytest.mark.parametrize(
        ("path", "packed", "encoding", "status"),
        [
            (PATH, gzip.compress(BODY), b"gzip", 200),
            (PATH, zlib.compress(BODY), b"deflate", 200),
            (PATH, gzip.compress(bytes(100_000)), b"gzip", 413),
            (PATH, gzip.compress(BODY), b"br", 415),
            ("/lofty/wrong", gzip.compress(bytes(100_000)), b"gzip", 404),
        ],
        ids=["gzip", "deflate", "too large", "another encoding", "without the secret"],
    )
    async def test_a_packed_body_counts_by_its_full_size(
        self, path: str, packed: bytes, encoding: bytes, status: int
    ) -> None:
        caller = AsgiCaller(part(packed))
        answer = await caller.request(WebhookReceiver(SECRET, max_body=1000), path=path, encoding=encoding)
        assert answer is not None
        assert answer["status"] == status
        assert caller.inbox.qsize() == (status == 404), "the body was read without the secret"

    async def test_an_endless_body_is_left(self) -> None:
        caller = AsgiCaller(*[part(b"x" * 10, more=True)] * 3)
        answer = await caller.request(WebhookReceiver(SECRET, max_body=15))
        assert answer == {"status": 413, b"content-length": b"0"}
        assert caller.inbox.qsize() == 1

    async def test_a_sender_that_hangs_up_gets_no_answer(self) -> None:
        receiver = WebhookReceiver(SECRET)
        caller = AsgiCaller(part(BODY, more=True), {"type": "http.disconnect"})
        assert await caller.request(receiver) is None
        await receiver.close()
        assert [notice async for notice in receiver.notices()] == []

    async def test_a_full_queue_says_when_to_come_back(self) -> None:
        receiver = WebhookReceiver(SECRET, queue_size=1)
        await AsgiCaller(part(BODY)).request(receiver)
        answer = await AsgiCaller(part(BODY)).request(receiver)
        assert answer == {"status": 503, b"content-length": b"0", b"retry-after": b"30"}

    async def test_cancelling_a_request_takes_nothing_in(self) -> None:
        receiver = WebhookReceiver(SECRET)
        request = asyncio.create_task(AsgiCaller(part(BODY, more=True)).request(receiver))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await receiver.close()
        assert [notice async for notice in receiver.notices()] == []

    async def test_the_server_s_shutdown_waits_for_the_work(self) -> None:
        may_finish = asyncio.Event()
        done: list[WebhookBatch] = []

        async def work(batch: WebhookBatch) -> None:
            await may_finish.wait()
            done.append(batch)

        receiver = WebhookReceiver(SECRET, work)
        caller = AsgiCaller({"type": "lifespan.startup"})
        living = asyncio.ensure_future(receiver.asgi_app({"type": "lifespan"}, caller.receive, caller.send))
        assert await caller.sent.get() == {"type": "lifespan.startup.complete"}
        await AsgiCaller(part(BODY)).request(receiver)
        await caller.inbox.put({"type": "lifespan.shutdown"})
        await asyncio.sleep(0)
        assert caller.sent.empty()
        may_finish.set()
        assert await caller.sent.get() == {"type": "lifespan.shutdown.complete"}
        assert len(done) == 1
        await living

    async def test_a_cancelled_lifespan_leaves_no_worker_behind(self) -> None:
        async def work(_: WebhookBatch) -> None:
            """Has nothing to do."""

        caller = AsgiCaller({"type": "lifespan.startup"})
        app = WebhookReceiver(SECRET, work).asgi_app
        living = asyncio.ensure_future(app({"type": "lifespan"}, caller.receive, caller.send))
        await caller.sent.get()
        living.cancel()
        with pytest.raises(asyncio.CancelledError):
            await living
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_other_scopes_are_refused(self) -> None:
        caller = AsgiCaller()
        with pytest.raises(InvalidRequestError, match="websocket") as caught:
            await WebhookReceiver(SECRET).asgi_app({"type": "websocket"}, caller.receive, caller.send)
        assert caught.value.argument == "scope"


async def test_uvicorn_serves_it() -> None:
    uvicorn = pytest.importorskip("uvicorn")
    receiver = WebhookReceiver(SECRET, max_body=1000, queue_size=1)
    server = uvicorn.Server(
        uvicorn.Config(receiver.asgi_app, lifespan="on", access_log=False, log_config=None, ws="none")
    )
    # Listening already, so that what comes before the server is up waits for it.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with aiohttp.ClientSession() as session:
            await check_answers(session, f"http://127.0.0.1:{listening.getsockname()[1]}")
        server.should_exit = True
        await serving
    assert [notice.task_id async for notice in receiver.notices()] == [1]


async def test_uvicorn_s_shutdown_works_off_what_a_follower_was_given(caplog: pytest.LogCaptureFixture) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    receiver, changed = WebhookReceiver(SECRET), Changed()
    server = uvicorn.Server(
        uvicorn.Config(receiver.asgi_app, lifespan="on", access_log=False, log_config=None, ws="none")
    )
    async with following(10) as (_, lofty, numbers):
        task = asyncio.create_task(changed.follow(receiver, lofty))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            async with aiohttp.ClientSession() as session:
                for number in numbers:
                    url = f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
                    async with session.post(url, data=about(number)) as response:
                        assert response.status == 200
            server.should_exit = True
            await serving
        task.cancel()
        await asyncio.wait([task])
    assert sorted(changed.ids, key=str) == sorted(numbers, key=str)
    assert [
        record
        for record in caplog.records
        if record.name.startswith("lofty_async") and record.levelno >= logging.WARNING
    ] == []
