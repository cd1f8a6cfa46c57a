"""Sends one request once: what goes out, and what is made of the ways in which no answer comes back."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from types import AsyncGeneratorType
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from lofty_async._session import MAX_URLS, SessionManager
from lofty_async._wire import Request, Route
from lofty_async.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError
from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.conftest import Hold

ME = Request(Route("GET", "/v1.0/me"), "/v1.0/me")
CALENDAR = Route("GET", "/v2.0/calendar")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[SessionManager]:
    own = SessionManager(sandbox.url, "tests/1", None)
    yield own
    await own.close()


@pytest.fixture
def authorization(sandbox: Sandbox) -> str:
    return sandbox.auth.ready()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that does with each connection what it is told to; its address."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await handler(reader, writer)
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_answer_as_it_arrived(session: SessionManager, authorization: str) -> None:
    reply = await session.send(ME, authorization, 5)
    assert reply.status == 200
    assert reply.body.startswith(b'{"id"')
    assert reply.headers["x-ratelimit-limit"] == "10000"


async def test_an_error_is_an_answer_too(session: SessionManager) -> None:
    assert (await session.send(ME, "token unknown", 5)).status == 401


async def test_a_redirect_is_not_followed_with_the_credential(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    sandbox.faults.add(kind=faults.Reply(302, "", headers={"Location": "https://elsewhere.test/"}))
    assert (await session.send(ME, authorization, 5)).status == 302
    assert len(sandbox.requests) == 1


async def test_cookies_are_not_kept(sandbox: Sandbox, session: SessionManager, authorization: str) -> None:
    sandbox.faults.add(kind=faults.Reply(200, {}, headers={"Set-Cookie": "session=1"}))
    for _ in range(2):
        await session.send(ME, authorization, 5)
    assert all("Cookie" not in request.headers for request in sandbox.requests)


async def test_parameters_arrive_as_they_were_meant(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    params: dict[str, str | tuple[str, ...]] = {
        "startTime": "2026-03-01T15:00:00+02:00",
        "sourceType": ("1", "2"),
        "stage": "New & old=100% #1 ü",
    }
    await session.send(Request(CALENDAR, CALENDAR.template, params), authorization, 5)
    query = sandbox.requests[0].query
    assert query["startTime"] == "2026-03-01T15:00:00+02:00"
    assert query.getall("sourceType") == ["1", "2"]
    assert query["stage"] == "New & old=100% #1 ü"


async def test_another_question_goes_to_another_address(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    asked: list[dict[str, str | tuple[str, ...]]] = [{"limit": "1"}, {}, {"limit": "2"}, {"limit": "1"}]
    for params in asked:
        await session.send(Request(CALENDAR, CALENDAR.template, params), authorization, 5)
    assert [dict(request.query) for request in sandbox.requests] == asked


async def test_addresses_kept_for_those_who_ask_the_same_again_are_bounded(session: SessionManager) -> None:
    def address(number: int) -> URL:
        return session._url(Request(CALENDAR, CALENDAR.template, {"limit": str(number)}))

    assert address(0) is address(0)
    assert [address(number).query["limit"] for number in range(MAX_URLS + 9)] == [*map(str, range(MAX_URLS + 9))]
    assert len(session._urls) <= MAX_URLS


async def test_the_same_headers_leave_in_a_session_of_its_own_and_in_one_handed_in(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    async with aiohttp.ClientSession() as given:
        for each in (session, SessionManager(sandbox.url, "tests/1", given)):
            await each.send(ME, authorization, 5)
    own, others = (dict(request.headers) for request in sandbox.requests)
    assert own == others
    assert own["Content-Type"] == own["Accept"] == "application/json"
    assert (own["User-Agent"], own["Authorization"]) == ("tests/1", authorization)


async def test_one_session_serves_another_credential(sandbox: Sandbox, session: SessionManager) -> None:
    for word in ("token a", "token b", "token a"):
        await session.send(ME, word, 5)
    assert [request.headers["Authorization"] for request in sandbox.requests] == ["token a", "token b", "token a"]


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("fault", [faults.DropBefore(), faults.DropAfter(), faults.TruncatedBody()])
async def test_a_broken_connection_may_have_carried_the_request_which_is_sent_once(
    sandbox: Sandbox, session: SessionManager, authorization: str, method: str, fault: faults.Fault
) -> None:
    await session.send(ME, authorization, 5)  # so that the connection is an old one
    sandbox.faults.add("*tasks/*", fault, times=None)
    body = b"{}" if method == "PUT" else None
    request = Request(Route(method, "/v2.0/tasks/{taskId}"), "/v2.0/tasks/5", body=body)
    with pytest.raises(ConnectionFailedError, match="broke") as caught:
        await session.send(request, authorization, 5)
    assert caught.value.sent
    assert caught.value.request == f"{method} /v2.0/tasks/5"
    assert len(sandbox.requests) == 2


async def test_a_refused_connection_carried_nothing(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    await sandbox.close()
    with pytest.raises(ConnectionFailedError, match="no connection") as caught:
        await session.send(ME, authorization, 5)
    assert not caught.value.sent


async def test_no_connection_in_time_carried_nothing(authorization: str) -> None:
    with socket.socket() as deaf, ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # more than its queue holds, so that the next one waits to be let in
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        session = SessionManager(f"http://127.0.0.1:{deaf.getsockname()[1]}", "tests/1", None)
        with pytest.raises(RequestTimeoutError, match="no connection in time") as caught:
            await session.send(ME, authorization, 0.2)
        await session.close()
    assert (caught.value.sent, caught.value.timeout) == (False, 0.2)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"]
)
async def test_what_is_no_http_holds_no_credential(authorization: str, line: bytes) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line)
        await writer.drain()

    async with serving(babble) as url:
        session = SessionManager(url, "tests/1", None)
        with pytest.raises(ConnectionFailedError) as caught:
            await session.send(ME, authorization, 5)
        await session.close()
    assert caught.value.sent
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = [b'5\r\n{"a":\r\n', b"7\r\n [1,2]}\r\n", b"0\r\n\r\n"]
ZIPPED = gzip.compress(b'{"a": [1,2]}')
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED)


@pytest.mark.parametrize(
    "pieces",
    [
        [LENGTH + b'{"a": [1,2]}'],
        [LENGTH, b'{"a": [1,2]}'],
        [LENGTH + b'{"a":', b" [1,2]}"],
        [CHUNKED + b"".join(CHUNKS)],
        [CHUNKED, *CHUNKS],
        [CHUNKED + CHUNKS[0], b"".join(CHUNKS[1:])],
        [GZIP + ZIPPED],
        [GZIP, ZIPPED],
    ],
)
async def test_a_body_is_read_whole_however_it_arrives(authorization: str, pieces: list[bytes]) -> None:
    connections = 0

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for number in range(2):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if not number:
                await reader.readuntil(b"\r\n\r\n")

    async with serving(answer_twice) as url:
        session = SessionManager(url, "tests/1", None)
        bodies = [(await session.send(ME, authorization, 5)).body for _ in range(2)]
        await session.close()
    assert bodies == [b'{"a": [1,2]}'] * 2
    assert connections == 1


async def test_a_body_that_somebody_else_has_read_in_a_session_handed_in(sandbox: Sandbox, authorization: str) -> None:
    async def look(_: object, __: object, ended: aiohttp.TraceRequestEndParams) -> None:
        await ended.response.text()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(look)
    async with aiohttp.ClientSession(trace_configs=[trace]) as given:
        reply = await SessionManager(sandbox.url, "tests/1", given).send(ME, authorization, 5)
    assert reply.body.startswith(b'{"id"')


async def test_a_request_that_comes_while_the_loop_closes_the_session(
    session: SessionManager, authorization: str
) -> None:
    await session.send(ME, authorization, 5)
    assert isinstance(session._opened, AsyncGeneratorType)
    closing = asyncio.ensure_future(session._opened.aclose())  # as a loop that ends does
    await asyncio.sleep(0)
    assert session._opened.ag_running
    assert (await session.send(ME, authorization, 5)).status == 200
    await closing


async def test_what_never_opened_needs_no_closing(
    session: SessionManager, authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("no sockets here")

    with monkeypatch.context() as patch:
        patch.setattr(aiohttp, "ClientSession", refuse)
        with pytest.raises(RuntimeError, match="no sockets"):
            await session.send(ME, authorization, 5)
    assert not session.needs_closing
    assert (await session.send(ME, authorization, 5)).status == 200
    assert session.needs_closing


@pytest.mark.parametrize(
    "broken", [LENGTH + b'{"a":', CHUNKED + CHUNKS[0], CHUNKED + b"x\r\n", GZIP + b"x" * len(ZIPPED)]
)
async def test_half_a_body_is_none(authorization: str, broken: bytes) -> None:
    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(broken)
        await writer.drain()

    async with serving(break_off) as url:
        session = SessionManager(url, "tests/1", None)
        with pytest.raises(ConnectionFailedError, match="broke") as caught:
            await session.send(ME, authorization, 5)
        await session.close()
    assert caught.value.sent


async def test_closed_before_and_under_a_request(
    sandbox: Sandbox, session: SessionManager, authorization: str, hold: "Hold"
) -> None:
    sandbox.faults.add(kind=hold)
    sending = asyncio.create_task(session.send(ME, authorization, 5))
    await hold.reached()
    needed = [session.needs_closing]
    await session.close()
    needed.append(session.needs_closing)
    assert needed == [True, False]
    with pytest.raises(ClientClosedError):
        await sending
    with pytest.raises(ClientClosedError):
        await session.send(ME, authorization, 5)


async def test_a_session_that_its_owner_closes_under_a_request(
    sandbox: Sandbox, authorization: str, hold: "Hold"
) -> None:
    sandbox.faults.add(kind=hold)
    given = aiohttp.ClientSession()
    sending = asyncio.create_task(SessionManager(sandbox.url, "tests/1", given).send(ME, authorization, 5))
    await hold.reached()
    await given.close()
    with pytest.raises(ConnectionFailedError) as caught:
        await sending
    assert caught.value.sent


async def test_forms_carry_nothing_of_the_calls_before_them(
    sandbox: Sandbox, session: SessionManager, authorization: str
) -> None:
    await session.send(ME, authorization, 5)
    await session.post_form(f"{sandbox.url}/api/user-web/oauth/token", {"grant_type": "refresh_token"}, None)
    await session.send(ME, authorization, 5)
    call, form, call_after = (dict(request.headers) for request in sandbox.requests)
    assert form.keys() & {"Authorization", "Cookie"} == set()
    assert form["Content-Type"] == "application/x-www-form-urlencoded"
    assert call == call_after


async def test_each_request_carries_the_credential_it_was_given(sandbox: Sandbox, session: SessionManager) -> None:
    names = [f"token {number % 3}" for number in range(9)]
    await asyncio.gather(*(session.send(ME, name, 5) for name in names))
    assert sorted(request.headers["Authorization"] for request in sandbox.requests) == sorted(names)


async def test_forms_go_out_through_the_same_session(sandbox: Sandbox, session: SessionManager) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": sandbox.refresh_token}
    url = f"{sandbox.url}/api/user-web/oauth/token"
    status, body = await session.post_form(url, form, (sandbox.oauth.client_id, sandbox.oauth.client_secret))
    assert (status, body["token_type"]) == (200, "Bearer")
    assert sandbox.requests[0].headers["User-Agent"] == "tests/1"
