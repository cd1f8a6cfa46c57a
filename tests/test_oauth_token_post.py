"""Forms on their way to a token endpoint."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from attrs import define, field

from lofty_async._session import MAX_TOKEN_BODY, token_post
from lofty_async.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError, TransportError
from tests.raw_server import answer, raw_server_in_thread

FORM = {"grant_type": "refresh_token", "refresh_token": "r3fresh+/= &"}
BASIC = ("id", "s3cret")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server on a real socket whose every path is one handler."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler) -> str:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/oauth/token"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_form_and_its_headers_arrive(serve: Serve, session: aiohttp.ClientSession) -> None:
    seen: list[tuple[dict[str, str], dict[str, object]]] = []

    async def token(request: web.BaseRequest) -> web.Response:
        seen.append((dict(request.headers), dict(await request.post())))
        return web.json_response({"access_token": "a"})

    url = await serve(token)
    post = token_post(session, timeout=5.0, user_agent="tests/1")
    assert await post(url, FORM, BASIC) == (200, {"access_token": "a"})
    assert await post(url, FORM, None) == (200, {"access_token": "a"})
    (with_basic, form), (without, _) = seen
    assert form == FORM
    assert with_basic["Authorization"] == "Basic aWQ6czNjcmV0"
    assert (with_basic["User-Agent"], with_basic["Accept"]) == ("tests/1", "application/json")
    assert with_basic["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in without


async def test_a_form_is_one_in_a_session_that_sends_json(serve: Serve) -> None:
    async def token(request: web.BaseRequest) -> web.Response:
        return web.json_response(dict(await request.post()))

    url = await serve(token)
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        assert await token_post(session, timeout=5.0, user_agent="tests/1")(url, FORM, None) == (200, FORM)


@pytest.mark.parametrize(
    ("status", "text", "body"),
    [
        (400, '{"error":"invalid_grant"}', {"error": "invalid_grant"}),
        (502, "<html>Bad gateway</html>", None),
        (200, "", None),
        (200, '"text"', "text"),
        (200, f'"{"x" * MAX_TOKEN_BODY}"', None),
        (200, "[" * 50_000, None),
    ],
)
async def test_every_answer_is_a_status_and_what_json_there_is(
    serve: Serve, session: aiohttp.ClientSession, status: int, text: str, body: object
) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text)

    post = token_post(session, timeout=5.0, user_agent="tests/1")
    assert await post(await serve(answer), FORM, BASIC) == (status, body)


async def test_a_redirect_is_not_followed(serve: Serve, session: aiohttp.ClientSession) -> None:
    paths: list[str] = []

    async def away(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    post = token_post(session, timeout=5.0, user_agent="tests/1")
    assert await post(await serve(away), FORM, BASIC) == (307, None)
    assert paths == ["/oauth/token"]


def clean(error: TransportError) -> bool:
    """Nothing of what was sent, and no cause that holds it."""
    shown = f"{error}{error!r}"
    return not any(s in shown for s in ("r3fresh", "s3cret")) and error.__cause__ is error.__context__ is None


@define
class Silent:
    """A server that answers when it is `over`."""

    asked: asyncio.Event = field(factory=asyncio.Event)
    over: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, _: web.BaseRequest) -> web.Response:
        self.asked.set()
        await self.over.wait()
        return web.Response()


async def test_a_token_that_came_while_the_loop_stood_still_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, session: aiohttp.ClientSession, until: Any
) -> None:
    arrived, released, answered = threading.Event(), threading.Event(), threading.Event()

    def reply(_: str) -> bytes:
        arrived.set()
        released.wait(10)
        return answer(b'{"access_token": "a"}')

    with raw_server_in_thread(reply=reply, hangs_up=True, closed=answered) as server:
        post = token_post(session, timeout=30.0, user_agent="tests/1")
        asking = asyncio.ensure_future(post(server.url, FORM, BASIC))
        await until(arrived.is_set)
        released.set()
        assert answered.wait(10)  # as a container that is frozen
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: monotonic() + 60)
        assert await asking == (200, {"access_token": "a"})


async def test_an_answer_that_never_comes_is_a_timeout(serve: Serve, session: aiohttp.ClientSession) -> None:
    server = Silent()
    post = token_post(session, timeout=0.2, user_agent="tests/1")
    with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s") as caught:
        await post(await serve(server), FORM, BASIC)
    server.over.set()
    assert server.asked.is_set()
    assert (caught.value.sent, caught.value.timeout, caught.value.request) == (True, 0.2, "POST /oauth/token")
    assert clean(caught.value)


async def test_a_server_that_hangs_up_may_have_had_the_form(serve: Serve, session: aiohttp.ClientSession) -> None:
    async def hang_up(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    post = token_post(session, timeout=5.0, user_agent="tests/1")
    with pytest.raises(ConnectionFailedError) as caught:
        await post(await serve(hang_up), FORM, BASIC)
    assert caught.value.sent
    assert clean(caught.value)


async def test_a_server_that_is_not_there_never_had_the_form(session: aiohttp.ClientSession) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/oauth/token"
        with pytest.raises(ConnectionFailedError) as caught:
            await token_post(session, timeout=5.0, user_agent="tests/1")(url, FORM, BASIC)
    assert not caught.value.sent
    assert clean(caught.value)


async def test_a_closed_session_says_so() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(ClientClosedError):
        await token_post(session, timeout=5.0, user_agent="tests/1")("http://localhost/t", FORM, BASIC)


async def test_a_cancelled_post_gives_its_connection_back(serve: Serve, session: aiohttp.ClientSession) -> None:
    server = Silent()
    url = await serve(server)
    post = token_post(session, timeout=5.0, user_agent="tests/1")
    sending = asyncio.ensure_future(post(url, FORM, BASIC))
    await server.asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    server.over.set()
    assert isinstance(session.connector, aiohttp.TCPConnector)
    assert not session.connector._acquired
