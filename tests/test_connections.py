"""Which connections requests go over: shared, bounded, new for creates; and those of a session handed in."""

import asyncio
import gc
import threading
import warnings
from contextlib import closing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from lofty_async import (
    AmbiguousWriteError,
    ApiKey,
    ClientClosedError,
    ConnectionFailedError,
    InvalidRequestError,
    Lane,
    LoftyClient,
    RateLimiter,
    RateLimitWaitError,
    RetryPolicy,
)
from lofty_async.sandbox import Sandbox
from tests.raw_server import (
    ME,
    RawServer,
    answer,
    certificate,
    client_tls,
    deaf_tls_server,
    needs_openssl,
    raw_server,
    raw_server_in_thread,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Hold, OpenClient

ROUTE = "GET /v1.0/me"
KEY = ApiKey("the-clients-own-key")


class TestCreates:
    @pytest.mark.parametrize("times", range(3))
    async def test_one_after_the_server_closed_behind_its_answer_lands_once(self, call_fields: Any, times: int) -> None:
        async with raw_server(hangs_up=True) as server, LoftyClient(KEY, base_url=server.url) as lofty:
            await lofty.me()
            assert await lofty.tasks.create(**call_fields) == 9
            assert [head.split()[0] for head in server.heads] == ["GET", "POST"], times

    async def test_each_has_a_connection_of_its_own_and_leaves_the_others_alone(self, call_fields: Any) -> None:
        async with raw_server() as server, LoftyClient(KEY, base_url=server.url) as lofty:
            for call in (lofty.me, create(lofty, call_fields), lofty.me, create(lofty, call_fields), lofty.me):
                await call()
            assert server.made_by == [1, 2, 1, 3, 1]

    async def test_what_it_sends_is_what_a_pooled_one_would(self, sandbox: Sandbox, call_fields: Any) -> None:
        async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            await lofty.me()
            await lofty.tasks.create(**call_fields)
        read, made = (dict(request.headers) for request in sandbox.requests)
        assert {name: made[name] for name in read} == read

    async def test_in_a_session_handed_in_one_that_can_be_seen_to_be_closed_is_not_taken(
        self, call_fields: Any
    ) -> None:
        hung_up = threading.Event()
        with raw_server_in_thread(hangs_up=True, closed=hung_up) as server:
            async with aiohttp.ClientSession() as session:
                lofty = LoftyClient(KEY, base_url=server.url, session=session)
                await lofty.me()
                assert hung_up.wait(5)  # while this loop stands still, as in a frozen process
                assert await lofty.tasks.create(**call_fields) == 9
                await lofty.close()

    async def test_in_a_session_handed_in_one_that_is_lost_is_ambiguous(self, call_fields: Any) -> None:
        async with raw_server() as server, aiohttp.ClientSession() as session:
            lofty = LoftyClient(KEY, base_url=server.url, session=session)
            await lofty.me()
            server.reply = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            server.hangs_up = True
            with pytest.raises(AmbiguousWriteError):
                await lofty.tasks.create(**call_fields)
            await lofty.close()


@needs_openssl
@pytest.mark.parametrize("headers", [[], ["Connection: close"]], ids=["kept", "closed by the server"])
@pytest.mark.parametrize("idle", [0, 60])
def test_no_connection_outlives_a_client_whose_server_answers_no_tls_shutdown(
    tmp_path: "Path", call_fields: Any, monkeypatch: pytest.MonkeyPatch, headers: list[str], idle: int
) -> None:
    pem = certificate(tmp_path)

    async def use(url: str) -> None:
        async with LoftyClient(KEY, base_url=url, ssl=client_tls(pem)) as lofty:
            assert (await lofty.me()).id == 7
            assert await lofty.tasks.create(**call_fields) == 9
            if idle:
                monkeypatch.setattr("aiohttp.connector.monotonic", lambda: monotonic() + idle)
                assert (await lofty.me()).id == 7

    with deaf_tls_server(pem, *headers) as url, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(use(url))
        gc.collect()
    assert [str(one.message) for one in caught if one.category is ResourceWarning] == []


def create(lofty: LoftyClient, fields: Any) -> Any:
    return lambda: lofty.tasks.create(**fields)


async def test_what_a_server_says_unasked_is_no_answer_to_the_next_request(call_fields: Any) -> None:
    another = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                writer.write(answer(b'{"taskId": 9}'))
            else:
                writer.write(ME)
                await another.wait()
                writer.write(answer(b'{"id": 8}'))
            await reader.read()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with LoftyClient(KEY, base_url=url) as lofty:
            assert (await lofty.me()).id == 7
            another.set()
            await lofty.tasks.create(**call_fields)  # over a connection of its own, after the unasked answer
            assert (await lofty.me()).id == 7


@needs_openssl
async def test_a_client_is_closed_while_it_connects(tmp_path: "Path", call_fields: Any) -> None:
    arrived = asyncio.Queue[bytes]()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            await arrived.put(await reader.read(1))
            await reader.read()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        lofty = LoftyClient(KEY, base_url=url, ssl=client_tls(certificate(tmp_path)))
        calls = [asyncio.create_task(call) for call in (lofty.me(), lofty.tasks.create(**call_fields))]
        for _ in calls:
            await arrived.get()  # the first message of a TLS handshake, which no other follows
        await lofty.close()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in ended} == {ClientClosedError}
        assert lofty.rate_limit.in_flight == 0


async def open_clients(limiter: RateLimiter, *servers: RawServer) -> list[LoftyClient]:
    return [LoftyClient(KEY, base_url=server.url, limiter=limiter) for server in servers]


class TestSharing:
    async def test_clients_of_one_limiter_share_their_connections(self) -> None:
        async with raw_server() as server:
            clients = await open_clients(RateLimiter(), server, server, server)
            for lofty in clients:
                await asyncio.gather(*(lofty.me() for _ in range(5)))
            assert server.connections == 5
            for lofty in clients:
                await lofty.close()

    async def test_clients_of_different_limiters_do_not(self) -> None:
        async with raw_server() as server:
            for _ in range(2):
                async with LoftyClient(KEY, base_url=server.url) as lofty:
                    await lofty.me()
            assert server.connections == 2

    async def test_there_are_never_more_than_may_be_in_flight_idle_ones_of_other_servers_included(
        self, call_fields: Any, until: Any
    ) -> None:
        async with raw_server() as one, raw_server() as other:
            clients = await open_clients(RateLimiter(max_in_flight=4), one, other, one)
            for lofty in clients * 2:
                await asyncio.gather(*(lofty.me() for _ in range(9)))
                await until(lambda: one.open + other.open <= 4)
                await asyncio.gather(*(lofty.tasks.create(**call_fields) for _ in range(9)))
                await until(lambda: one.open + other.open <= 4)
            assert max(one.most, other.most) <= 5  # the end of one may still be on its way to the server
            for lofty in clients:
                await lofty.close()

    async def test_they_are_open_for_as_long_as_one_client_is(self, until: Any) -> None:
        async with raw_server() as server:
            first, second = await open_clients(RateLimiter(), server, server)
            await first.me()
            await second.me()
            await first.close()
            assert (await second.me()).id == 7
            assert server.connections == 1
            await second.close()
            await until(lambda: not server.open)

    async def test_a_client_dropped_open_counts_no_more(self, until: Any) -> None:
        async with raw_server() as server:
            first, second = await open_clients(RateLimiter(), server, server)
            await first.me()
            await second.me()
            with pytest.warns(ResourceWarning, match="never closed"):
                del first
            await second.close()
            await until(lambda: not server.open)

    def test_each_event_loop_has_connections_of_its_own(self) -> None:
        limiter = RateLimiter()

        async def ask() -> int:
            async with raw_server() as server:
                async with LoftyClient(KEY, base_url=server.url, limiter=limiter) as lofty:
                    await lofty.me()
                return server.connections

        assert [asyncio.run(ask()) for _ in range(2)] == [1, 1]


class TestSessionHandedIn:
    async def test_nothing_of_it_is_sent(self, tmp_path: "Path", monkeypatch: pytest.MonkeyPatch) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        options: dict[str, Any] = {
            "headers": {"Authorization": "Basic bWU6bWU=", "X-Mark": "theirs", "Cookie": "c=1"},
            "cookies": {"session": "theirs"},
            "base_url": "https://elsewhere.test/base/",
            "trust_env": True,
            "raise_for_status": True,
            "skip_auto_headers": ["Accept-Encoding"],
            "cookie_jar": aiohttp.CookieJar(unsafe=True),
        }
        async with raw_server() as server, aiohttp.ClientSession(**options) as session:
            async with LoftyClient(KEY, base_url=server.url, session=session) as lofty:
                assert (await lofty.me()).id == 7
            async with LoftyClient(KEY, base_url=server.url) as lofty:
                await lofty.me()
            assert server.heads[0] == server.heads[1]
            assert server.header("Authorization", 0) == "token the-clients-own-key"
            assert server.header("Cookie", 0) is None

    async def test_its_connector_and_its_traces_are_used(self) -> None:
        seen: list[str] = []

        async def note(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
            seen.append(params.url.path)

        theirs, ours = aiohttp.TraceConfig(), aiohttp.TraceConfig()
        for trace in (theirs, ours):
            trace.on_request_end.append(note)
        async with raw_server() as server, aiohttp.ClientSession(trace_configs=[theirs]) as session:
            async with session.get(server.url) as response:
                await response.read()
            seen.clear()
            lofty = LoftyClient(KEY, base_url=server.url, session=session, trace_configs=[ours])
            await lofty.me()
            await lofty.close()
            assert seen == ["/v1.0/me"] * 2
            assert server.connections == 1

    async def test_one_closed_between_two_calls_says_so(self) -> None:
        async with raw_server() as server:
            session = aiohttp.ClientSession()
            async with LoftyClient(KEY, base_url=server.url, session=session) as lofty:
                await lofty.me()
                await session.close()
                with pytest.raises(InvalidRequestError, match="closed by its owner"):
                    await lofty.me()

    async def test_one_closed_while_a_connection_is_made_is_a_failed_connection(self) -> None:
        asked = asyncio.Event()

        class Resolver(aiohttp.ThreadedResolver):
            async def resolve(self, *_: Any, **__: Any) -> Any:
                asked.set()
                await asyncio.Event().wait()

        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()))
        lofty = LoftyClient(KEY, base_url="https://lofty.test", session=session, retry=RetryPolicy(retries=0))
        call = asyncio.create_task(lofty.me())
        await asked.wait()
        await session.close()
        with pytest.raises(ConnectionFailedError):
            await call
        assert lofty.rate_limit.in_flight == 0


@pytest.mark.parametrize("pool", [{"limit": 2}, {"limit_per_host": 2}, {"limit": 3, "limit_per_host": 2}], ids=str)
class TestSmallPool:
    async def test_a_call_that_waits_for_a_place_spends_no_permit_and_no_timeout(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", pool: dict[str, Any]
    ) -> None:
        sandbox.faults.add(ROUTE, hold, times=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**pool)) as session:
            lofty = open_client(session=session, timeout=0.5)
            calls = [asyncio.create_task(lofty.with_options(timeout=None).me()) for _ in range(2)]
            await hold.reached(2)
            calls += [asyncio.create_task(lofty.me()) for _ in range(20)]
            await asyncio.sleep(0.7)
            assert (lofty.rate_limit.in_flight, lofty.stats.requests) == (2, 2)
            assert lofty.stats.waited > 0.5
            hold.gate.set()
            assert len(await asyncio.gather(*calls)) == 22
        assert (len(sandbox.requests), lofty.stats.requests, hold.most) == (22, 22, 2)
        assert lofty.rate_limit.in_flight == 0

    async def test_interactive_calls_go_before_bulk_ones(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", pool: dict[str, Any]
    ) -> None:
        sandbox.faults.add("GET /v1.0/webhooks", hold, times=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**pool)) as session:
            lofty = open_client(session=session)
            held = [asyncio.create_task(lofty.webhooks.list().collect()) for _ in range(2)]
            await hold.reached(2)
            bulk = [asyncio.create_task(lofty.with_options(lane=Lane.BULK).leads.list().first()) for _ in range(5)]
            await asyncio.sleep(0)
            calls = [asyncio.create_task(lofty.me()) for _ in range(5)]
            await asyncio.sleep(0)
            hold.gate.set()
            await asyncio.gather(*held, *bulk, *calls)
        routes = [request.route for request in sandbox.requests if request.route != "GET /v1.0/webhooks"]
        assert routes == [ROUTE] * 5 + ["GET /v1.0/leads"] * 5

    async def test_bulk_calls_that_wait_for_a_window_keep_no_interactive_call_from_the_pool(
        self, pool: dict[str, Any]
    ) -> None:
        connector = aiohttp.TCPConnector(**pool)
        async with Sandbox(1, limit=10) as box, aiohttp.ClientSession(connector=connector) as session:
            limiter = RateLimiter(reserve=0.58)  # keeps 5 of 10 for the first 8 s of the window
            async with LoftyClient(box.auth, base_url=box.url, session=session, limiter=limiter) as lofty:
                bulk = lofty.with_options(lane=Lane.BULK)
                await asyncio.gather(*(bulk.me() for _ in range(5)))
                waiting = [asyncio.create_task(bulk.me()) for _ in range(9)]
                async with asyncio.timeout(5):
                    while lofty.rate_limit.queued[Lane.BULK] < 9:
                        await asyncio.sleep(0)
                    assert (await lofty.me()).id
                for call in waiting:
                    call.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                assert (await lofty.me()).id

    async def test_the_wait_is_bounded_by_max_wait(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", pool: dict[str, Any]
    ) -> None:
        sandbox.faults.add(ROUTE, hold, times=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**pool)) as session:
            lofty = open_client(session=session)
            held = [asyncio.create_task(lofty.me()) for _ in range(2)]
            await hold.reached(2)
            with pytest.raises(RateLimitWaitError, match="pool") as caught:
                await lofty.with_options(max_wait=0.1).me()
            assert (caught.value.attempts, caught.value.max_wait, caught.value.request) == (0, 0.1, ROUTE)
            assert caught.value.waited >= 0.1
            hold.gate.set()
            await asyncio.gather(*held)
            assert (await lofty.with_options(max_wait=0).me()).id

    async def test_cancelled_and_closed_calls_leave_their_places(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", pool: dict[str, Any]
    ) -> None:
        sandbox.faults.add(ROUTE, hold, times=4)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**pool)) as session:
            lofty, other = open_client(session=session), open_client(session=session)
            calls = [asyncio.create_task(lofty.me()) for _ in range(6)]
            await hold.reached(2)
            for call in calls[1:4]:
                call.cancel()
            await hold.reached(3)  # in the place of one of them
            await lofty.close()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in ended} == {ClientClosedError, asyncio.CancelledError}
            hold.gate.set()
            assert len(await asyncio.gather(*(other.me() for _ in range(6)))) == 6
            assert other.rate_limit.in_flight == 0


async def test_an_unbounded_pool_holds_nobody_up(sandbox: Sandbox, open_client: "OpenClient", hold: "Hold") -> None:
    sandbox.faults.add(ROUTE, hold, times=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        lofty = open_client(session=session, limiter=RateLimiter(max_in_flight=150))
        await lofty.webhooks.list().collect()  # from which the limit is known
        calls = [asyncio.create_task(lofty.me()) for _ in range(150)]
        await hold.reached(150)
        hold.gate.set()
        await asyncio.gather(*calls)
