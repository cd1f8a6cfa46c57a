"""One call from request to result: which requests are retried, and the final errors."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, TCPConnector, TraceConfig, web
from aiohttp.abc import AbstractResolver, ResolveResult
from attrs import define, evolve, field

from lofty_async import (
    AmbiguousWriteError,
    APIError,
    AuthenticationError,
    CallError,
    ClientCredentials,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    LoftyClient,
    NotFoundError,
    PermissionDeniedError,
    Permit,
    RateLimitedError,
    RateLimiter,
    RateLimitWaitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)
from lofty_async._call import CallManager, CallOptions
from lofty_async._session import SessionManager
from lofty_async._wire import RateState, Request, Route
from lofty_async.auth import Auth, TokenPost
from lofty_async.sandbox import Sandbox, faults
from tests.leaks import others

if TYPE_CHECKING:
    from tests.conftest import Hold, OpenClient

ME = "GET /v1.0/me"
CREATE = "POST /v2.0/tasks"
LIST = "GET /v2.0/tasks"
DELETE = "DELETE /v2.0/tasks/{taskId}"

LOST: dict[str, tuple[faults.Fault, type[CallError]]] = {
    "dropped before": (faults.DropBefore(), ConnectionFailedError),
    "dropped after": (faults.DropAfter(), ConnectionFailedError),
    "truncated": (faults.TruncatedBody(), ConnectionFailedError),
    "not JSON": (faults.NotJson(), DecodeError),
    "half JSON": (faults.Reply(200, '{"taskId": 1', content_type="application/json"), DecodeError),
    "500": (faults.Reply(), ServerError),
    "502 page": (faults.Reply(502, "<h1>Bad gateway</h1>"), ServerError),
    "503": (faults.Reply(503, {}), ServerError),
    "408": (faults.Reply(408, "<h1>Request timeout</h1>"), ServerError),
    "425": (faults.Reply(425, {}), ServerError),
    "code 20005": (faults.Reply(500, {"code": 20005, "message": "internal"}), ServerError),
}
SOON = {"X-RateLimit-Limit": "10000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "150", "Retry-After": "0.02"}
LANDS = {"dropped after", "truncated", "not JSON"}


@define
class Renewable(Auth):
    """A credential that has one more word up its sleeve each time it is asked."""

    words: list[str]
    renewals: list[str] = field(factory=list[str])
    fetches: int = 0
    fetched: bool = True
    gate: asyncio.Event | None = None
    error: BaseException | None = None

    def ready(self) -> str | None:
        return self.words[0] if self.fetched else None

    async def fetch(self, post: TokenPost) -> str:  # noqa: ARG002 - needs no endpoint
        self.fetches += 1
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        self.fetched = True
        return self.words[0]

    async def renew(self, refused: str, post: TokenPost) -> str | None:  # noqa: ARG002 - needs no endpoint
        self.renewals.append(refused)
        if self.error:
            raise self.error
        if self.words[0] == refused and len(self.words) > 1:
            self.words.pop(0)
        return None if self.words[0] == refused else self.words[0]


def queued(lofty: LoftyClient) -> int:
    return sum(lofty.rate_limit.queued.values())


class Hasty(RateLimiter):
    """A limiter that knows nothing of the waits that answers ask for."""

    def _on_end(self, permit: Permit, answer: Any, state: RateState | None) -> None:
        super()._on_end(permit, answer, state and evolve(state, retry_after=None))


def seen(sandbox: Sandbox, route: str) -> int:
    return sum(request.route == route for request in sandbox.requests)


class TestRepeatable:
    @pytest.mark.parametrize("name", LOST)
    async def test_what_may_be_repeated_is(self, sandbox: Sandbox, lofty: LoftyClient, name: str) -> None:
        sandbox.faults.add(ME, LOST[name][0], times=2)
        assert (await lofty.me()).id
        assert seen(sandbox, ME) == lofty.stats.requests == 3
        assert lofty.rate_limit.in_flight == 0

    @pytest.mark.parametrize("name", LOST)
    async def test_until_the_retries_are_used_up(self, sandbox: Sandbox, lofty: LoftyClient, name: str) -> None:
        fault, kind = LOST[name]
        sandbox.faults.add(ME, fault, times=None)
        with pytest.raises(kind) as caught:
            await lofty.me()
        error: Any = caught.value
        assert (error.request, error.attempts) == (ME, 4)
        assert seen(sandbox, ME) == 4
        assert "after 4 attempts" in str(error)

    @pytest.mark.parametrize("body", ["", " \n", "null", "\ufeff"])
    @pytest.mark.parametrize("way", ["list", "record", "bare list"])
    async def test_an_empty_answer_to_a_read_is_repeated(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, way: str, body: str
    ) -> None:
        reads: dict[str, Callable[[], Any]] = {
            "list": lambda: lofty.tasks.list(lead_id).collect(),
            "record": lofty.me,
            "bare list": lambda: lofty.webhooks.list().collect(),
        }
        sandbox.faults.add("GET *", faults.Reply(200, body, content_type="application/json"), times=2)
        await reads[way]()
        assert len(sandbox.requests) == 3
        sandbox.faults.add("GET *", faults.Reply(200, body, content_type="application/json"), times=None)
        with pytest.raises(DecodeError, match="the answer is empty") as caught:
            await reads[way]()
        assert caught.value.attempts == 4

    async def test_a_timeout_is_repeated(self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold") -> None:
        sandbox.faults.add(ME, hold)
        assert (await open_client(timeout=0.3).me()).id
        assert seen(sandbox, ME) == 2

    @pytest.mark.parametrize("way", ["update", "finish", "unfinish"])
    @pytest.mark.parametrize("name", ["dropped before", "dropped after", "500"])
    async def test_so_are_changes(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, way: str, name: str
    ) -> None:
        entry = sandbox.state.add_task(lead_id, content="old")
        calls: dict[str, Callable[[], Any]] = {
            "update": lambda: lofty.tasks.update(entry.id, content="new"),
            "finish": lambda: lofty.tasks.finish(entry.id),
            "unfinish": lambda: lofty.tasks.unfinish(entry.id),
        }
        sandbox.faults.add(kind=LOST[name][0])
        await calls[way]()
        assert len(sandbox.requests) == 2
        changed = sandbox.state.entries[entry.id]
        assert (changed.content, changed.finished) == ("new" if way == "update" else "old", way == "finish")

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (faults.Reply(400, {"code": 20012, "message": "no"}), InvalidRequestError),
            (faults.Reply(403, {"code": 200100, "message": "no"}), PermissionDeniedError),
            (faults.Reply(404, {"message": "no"}), NotFoundError),
            (faults.Reply(401, {"code": "BAD_CREDENTIALS", "message": "no"}), AuthenticationError),
        ],
    )
    async def test_a_verdict_is_not_appealed(
        self, sandbox: Sandbox, lofty: LoftyClient, reply: faults.Reply, kind: type[Exception]
    ) -> None:
        sandbox.faults.add(ME, reply, times=None)
        with pytest.raises(kind):
            await lofty.me()
        assert seen(sandbox, ME) == 1

    async def test_no_retries_asked_for(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME)
        with pytest.raises(ServerError) as caught:
            await lofty.with_options(retries=0).me()
        assert (seen(sandbox, ME), caught.value.attempts, caught.value.status) == (1, 1, 500)


@pytest.fixture
async def odd_server() -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Starts servers that answer everything with one status line and no body; gives their addresses."""
    async with AsyncExitStack() as stack:

        async def start(status_line: str) -> str:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(f"HTTP/1.1 {status_line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                    await writer.drain()
                    await reader.read()
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(answer, "127.0.0.1", 0))
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


@pytest.mark.parametrize("status_line", ["101 Switching Protocols", "000 Odd", "304 Not Modified", "303 See Other"])
class TestOddStatus:
    """It is no success, whatever the body; nor does it say that a create was refused."""

    async def test_is_an_error(
        self, open_client: "OpenClient", odd_server: Callable[[str], Awaitable[str]], status_line: str
    ) -> None:
        lofty = open_client(base_url=await odd_server(status_line))
        changes = (lofty.tasks.update(5, content="x"), lofty.tasks.finish(5), lofty.tasks.delete(5), lofty.me())
        for error in await asyncio.gather(*changes, return_exceptions=True):
            assert type(error) is APIError
            assert error.status == int(status_line[:3])

    async def test_leaves_a_create_in_doubt(
        self,
        open_client: "OpenClient",
        odd_server: Callable[[str], Awaitable[str]],
        call_fields: Any,
        status_line: str,
    ) -> None:
        lofty = open_client(base_url=await odd_server(status_line))
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.tasks.create(**call_fields)
        assert type(caught.value.__cause__) is APIError


class TestPatience:
    async def test_the_servers_wish_is_respected(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME, faults.Reply(503, {}, headers={"Retry-After": "0.2"}))
        await lofty.me()
        first, second = sandbox.requests
        assert second.at - first.at >= 0.2

    async def test_a_wish_beyond_the_deadline_ends_the_call_at_once(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME, faults.Reply(503, {}, headers={"Retry-After": "3600"}), times=None)
        async with asyncio.timeout(5):
            with pytest.raises(ServerError):
                await lofty.me()
        assert seen(sandbox, ME) == 1

    @pytest.mark.parametrize("wish", ["3601", "86401", "999999999"])
    @pytest.mark.parametrize(("status", "kind"), [(503, ServerError), (408, ServerError), (429, RateLimitedError)])
    async def test_a_wish_beyond_an_hour_ends_the_call_at_once(
        self, sandbox: Sandbox, open_client: "OpenClient", wish: str, status: int, kind: type[CallError]
    ) -> None:
        sandbox.faults.add(ME, faults.Reply(status, {}, headers={"Retry-After": wish}), times=None)
        with pytest.raises(kind) as caught:
            await open_client(retry=RetryPolicy(base_delay=0, deadline=inf)).me()
        assert caught.value.attempts == 1

    async def test_a_wish_beyond_max_wait_ends_the_call_at_once(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME, faults.Reply(503, {}, headers={"Retry-After": "0.05"}), times=None)
        with pytest.raises(ServerError) as caught:
            await lofty.with_options(max_wait=0.04).me()
        assert caught.value.attempts == 1
        with pytest.raises(ServerError) as caught:
            await lofty.with_options(max_wait=0.12).me()
        assert caught.value.attempts == 3  # each wait uses up some of it

    async def test_waits_that_no_server_asked_for_are_not_bounded_by_max_wait(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        lofty = open_client(retry=RetryPolicy(base_delay=0.01), max_wait=0)
        await lofty.me()
        sandbox.faults.add(ME, faults.Reply(503, {}), times=2)
        assert (await lofty.me()).id

    async def test_the_deadline_counts_what_attempts_have_taken(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        lofty = open_client(retry=RetryPolicy(base_delay=0, retries=50, deadline=0.25))
        sandbox.faults.add(ME, faults.Latency(0.1), times=None)
        sandbox.faults.add(ME, times=None)
        with pytest.raises(ServerError):
            await lofty.me()
        assert seen(sandbox, ME) == 3

    async def test_an_outage_is_not_multiplied(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME, times=None)
        results = await asyncio.gather(*(lofty.me() for _ in range(60)), return_exceptions=True)
        assert {type(result) for result in results} == {ServerError}
        assert seen(sandbox, ME) == 60 + 100  # calls, and all the retries that a client has to spend
        sandbox.faults.clear()
        await asyncio.gather(*(lofty.me() for _ in range(5)))
        sandbox.faults.add(ME)
        assert (await lofty.me()).id  # success has earned one


@define
class Resolver(AbstractResolver):
    """A name server that answers when it is told to."""

    answers: asyncio.Event = field(factory=asyncio.Event)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await self.answers.wait()
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class TestErrorWith200:
    """Taken for data, it would be a list of none: all would seem to be gone."""

    async def test_is_the_error_that_its_code_says(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        sandbox.faults.add(LIST, faults.Reply(200, {"code": 20006, "message": "Lead not exist"}))
        with pytest.raises(NotFoundError) as caught:
            await lofty.tasks.list(lead_id).collect()
        assert (caught.value.status, caught.value.name) == (200, "LEAD_NOT_EXIST")

    async def test_is_repeated_where_it_may_pass(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        sandbox.faults.add(LIST, faults.Reply(200, {"code": 20005}))
        assert await lofty.tasks.list(lead_id).collect()
        assert seen(sandbox, LIST) == 2

    async def test_leaves_a_create_in_doubt_where_the_server_failed(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any
    ) -> None:
        sandbox.faults.add(CREATE, faults.Reply(200, {"code": 20005}))
        with pytest.raises(AmbiguousWriteError):
            await lofty.tasks.create(**call_fields)
        assert seen(sandbox, CREATE) == 1


class TestCreate:
    @pytest.mark.parametrize("name", LOST)
    async def test_is_never_sent_twice(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any, name: str
    ) -> None:
        fault, kind = LOST[name]
        before = len(sandbox.state.entries)
        sandbox.faults.add(CREATE, fault, times=None)
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.tasks.create(**call_fields)
        error = caught.value
        assert seen(sandbox, CREATE) == 1
        assert (error.lead_id, error.request, error.attempts) == (lead_id, CREATE, 1)
        assert error.sent["content"] == "Ring"
        assert error.sent["endAt"] == call_fields["end_at"].isoformat()
        assert type(error.__cause__) is kind
        assert error.__cause__.request == CREATE
        assert len(sandbox.state.entries) - before == (name in LANDS)

    async def test_nor_after_a_timeout(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any, hold: "Hold"
    ) -> None:
        sandbox.faults.add(CREATE, hold)
        with pytest.raises(AmbiguousWriteError) as caught:
            await open_client(timeout=0.2).tasks.create(**call_fields)
        assert isinstance(caught.value.__cause__, RequestTimeoutError)
        assert seen(sandbox, CREATE) == 1

    async def test_one_that_waits_for_a_name_server_has_not_left(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any
    ) -> None:
        resolver = Resolver()
        async with ClientSession(connector=TCPConnector(resolver=resolver)) as session:
            url = sandbox.url.replace("127.0.0.1", "sandbox.example")
            lofty = open_client(timeout=0.05, session=session, base_url=url, allow_http=True)
            with pytest.raises(RequestTimeoutError) as caught:
                await lofty.tasks.create(**call_fields)
            assert (caught.value.sent, caught.value.attempts) == (False, 4)
            resolver.answers.set()
            assert await lofty.with_options(timeout=5).tasks.create(**call_fields) in sandbox.state.entries
        assert seen(sandbox, CREATE) == 1

    async def test_what_never_left_costs_no_permit(self, open_client: "OpenClient", call_fields: Any) -> None:
        async with ClientSession(connector=TCPConnector(resolver=Resolver())) as session:
            lofty = open_client(timeout=None, session=session, base_url="https://sandbox.example")
            create = asyncio.create_task(lofty.tasks.create(**call_fields))
            while not lofty.rate_limit.in_flight:
                await asyncio.sleep(0)
            create.cancel()
            await asyncio.wait({create})
            window = lofty._caller.manager.limiter._limits.window
        assert (window.in_flight, window.sent) == (0, 0)

    async def test_what_somebody_elses_mistake_kept_here_costs_no_permit(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any
    ) -> None:
        async def stumble(*_: object) -> None:
            raise RuntimeError("a mistake in a trace")

        trace = TraceConfig()
        trace.on_request_start.append(stumble)
        async with ClientSession(trace_configs=[trace]) as session:
            lofty = open_client(session=session)
            with pytest.raises(RuntimeError, match="in a trace"):
                await lofty.tasks.create(**call_fields)
            window = lofty._caller.manager.limiter._limits.window
        assert (window.in_flight, window.sent, sandbox.requests) == (0, 0, [])

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (faults.Reply(500, {"code": 20012, "message": "no"}), InvalidRequestError),
            (faults.Reply(503, {"code": "BAD_CREDENTIALS", "message": "no"}), AuthenticationError),
            (faults.Reply(504, "<h1>Gateway timeout</h1>"), ServerError),
            (faults.Reply(400, {"code": 20005, "message": "internal"}), ServerError),
        ],
    )
    async def test_whatever_the_code_a_5xx_leaves_it_in_doubt(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any, reply: faults.Reply, kind: type[Exception]
    ) -> None:
        lofty = open_client(Renewable([f"Bearer {sandbox.access_token}", "Bearer another"]))
        sandbox.faults.add(CREATE, reply)
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.tasks.create(**call_fields)
        assert type(caught.value.__cause__) is kind
        assert seen(sandbox, CREATE) == 1

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (faults.Reply(200, {"code": 20012, "message": "no"}), InvalidRequestError),
            (faults.Reply(408, {"code": 20012, "message": "no"}), InvalidRequestError),
            (faults.Reply(403, "<h1>Forbidden</h1>"), PermissionDeniedError),
            (faults.Reply(404, "<h1>Not found</h1>"), NotFoundError),
            (faults.Reply(400, {"message": "content quotes 'rate limit'"}), InvalidRequestError),
        ],
    )
    async def test_a_refusal_is_not_ambiguous(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any, reply: faults.Reply, kind: type[Exception]
    ) -> None:
        sandbox.faults.add(CREATE, reply)
        with pytest.raises(kind):
            await lofty.tasks.create(**call_fields)
        assert seen(sandbox, CREATE) == 1

    async def test_a_verdict_is_not_ambiguous(self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any) -> None:
        sandbox.faults.add(CREATE, faults.Reply(400, {"code": 20017, "message": "no"}))
        with pytest.raises(PermissionDeniedError):
            await lofty.tasks.create(**call_fields)

    async def test_what_never_left_is_sent_again(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any, until: Any
    ) -> None:
        before = len(sandbox.state.entries)
        lofty = open_client(retry=RetryPolicy(retries=90, base_delay=0.02, max_delay=0.02))
        await sandbox.close()
        creating = asyncio.create_task(lofty.tasks.create(**call_fields))
        await until(lambda: lofty.stats.requests > 1)
        await sandbox.start()
        task_id = await creating
        assert sandbox.state.entries[task_id].content == "Ring"
        assert len(sandbox.state.entries) - before == seen(sandbox, CREATE) == 1

    async def test_what_never_left_is_not_ambiguous(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any
    ) -> None:
        await sandbox.close()
        with pytest.raises(ConnectionFailedError, match="no connection") as caught:
            await lofty.tasks.create(**call_fields)
        assert (caught.value.sent, caught.value.attempts, caught.value.request) == (False, 4, CREATE)
        assert lofty.rate_limit.in_flight == 0

    async def test_a_refusal_for_want_of_budget_sends_it_again(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any
    ) -> None:
        before = len(sandbox.state.entries)
        sandbox.faults.add(CREATE, faults.TooManyRequests(SOON))
        assert await lofty.tasks.create(**call_fields)
        assert len(sandbox.state.entries) - before == 1


class TestDelete:
    @pytest.mark.parametrize("which", ["task", "entry", "legacy", "webhook"])
    async def test_not_found_after_a_lost_answer_is_done(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, which: str
    ) -> None:
        entry = sandbox.state.add_task(lead_id)
        subscription = sandbox.webhooks.subscriptions.add(10, "https://example.com/hook")
        deletes: dict[str, Callable[[], Any]] = {
            "task": lambda: lofty.tasks.delete(entry.id),
            "entry": lambda: lofty.calendar.delete(entry.calendar_id),
            "legacy": lambda: lofty.v1.tasks.delete(entry.id),
            "webhook": lambda: lofty.webhooks.delete(subscription.id),
        }
        sandbox.faults.add("DELETE *", faults.DropAfter())
        await deletes[which]()
        assert len(sandbox.requests) == 2
        assert sandbox.requests[-1].status in {400, 404}
        with pytest.raises((NotFoundError, InvalidRequestError)):
            await deletes[which]()

    @pytest.mark.parametrize("way", ["task", "entry", "legacy", "webhook"])
    @pytest.mark.parametrize(
        "reply",
        [
            faults.Reply(404, "<html>404 page not found</html>"),
            faults.Reply(410, "<html>gone</html>"),
            faults.Reply(404, {"message": "no Route matched with those values"}),
            faults.Reply(404, {"code": 20006, "message": "no lead, or no access to it"}),
            faults.Reply(404, {"code": 20003, "message": "no user"}),
        ],
    )
    async def test_a_404_that_does_not_speak_of_the_record_is_not_done(
        self, sandbox: Sandbox, lofty: LoftyClient, way: str, reply: faults.Reply
    ) -> None:
        deletes: dict[str, Callable[[], Any]] = {
            "task": lambda: lofty.tasks.delete(5),
            "entry": lambda: lofty.calendar.delete("5-task"),
            "legacy": lambda: lofty.v1.tasks.delete(5),
            "webhook": lambda: lofty.webhooks.delete(5),
        }
        sandbox.faults.add("DELETE *", faults.Reply(502, "<h1>Bad gateway</h1>"))
        sandbox.faults.add("DELETE *", reply, after=1, times=None)
        with pytest.raises(NotFoundError) as caught:
            await deletes[way]()
        assert (caught.value.status, caught.value.attempts) == (reply.status, 2)

    @pytest.mark.parametrize(("legacy", "is_done"), [(True, True), (False, False)])
    async def test_an_empty_404_speaks_of_the_record_in_the_legacy_api_alone(
        self, sandbox: Sandbox, lofty: LoftyClient, *, legacy: bool, is_done: bool
    ) -> None:
        async def blank(_request: web.Request, _answer: faults.Answer) -> web.StreamResponse:
            return web.Response(status=404)

        sandbox.faults.add("DELETE *", faults.Reply(502, "<h1>Bad gateway</h1>"))
        sandbox.faults.add("DELETE *", blank, after=1)
        deleting = lofty.v1.tasks.delete(5) if legacy else lofty.tasks.delete(5)
        (outcome,) = await asyncio.gather(deleting, return_exceptions=True)
        assert (outcome is None) is is_done
        assert isinstance(outcome, NotFoundError) is not is_done

    async def test_a_bad_parameter_is_not_done_but_for_the_calendar(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        for route in ("DELETE /v2.0/calendar/{calendarId}", DELETE):
            sandbox.faults.add(route, faults.Reply(502, "<h1>Bad gateway</h1>"))
            sandbox.faults.add(route, faults.Reply(400, {"code": 20012, "message": "bad"}), after=1)
        await lofty.calendar.delete("5-task")
        with pytest.raises(InvalidRequestError):
            await lofty.tasks.delete(5)

    async def test_nothing_but_not_found_is_done(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id)
        sandbox.faults.add(DELETE, faults.DropBefore())
        sandbox.faults.add(DELETE, faults.Reply(403, {"code": 200100, "message": "no scope"}), after=1)
        with pytest.raises(PermissionDeniedError):
            await lofty.tasks.delete(entry.id)

    async def test_not_found_after_what_never_left_is_not_done(
        self, sandbox: Sandbox, open_client: "OpenClient", until: Any
    ) -> None:
        lofty = open_client(retry=RetryPolicy(retries=90, base_delay=0.02, max_delay=0.02))
        await sandbox.close()
        deleting = asyncio.create_task(lofty.tasks.delete(5))
        await until(lambda: lofty.stats.requests > 1)
        await sandbox.start()
        with pytest.raises(NotFoundError):
            await deleting


class TestRefusals:
    @pytest.mark.parametrize("lane", ["interactive", "bulk"])
    async def test_a_rate_limited_call_goes_again_at_no_cost_in_retries(
        self, sandbox: Sandbox, lofty: LoftyClient, lane: str
    ) -> None:
        sandbox.faults.add(ME, faults.TooManyRequests(SOON), times=2)
        assert (await lofty.with_options(retries=0, lane=lane).me()).id
        assert (lofty.stats.requests, lofty.stats.rate_limited) == (3, 2)
        assert sandbox.rejected == 2
        assert lofty.stats.waited >= 0.04

    async def test_a_rate_limited_call_keeps_its_place(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        first, second, _ = leads = sandbox.state.leads.ids()
        lofty = open_client(limiter=RateLimiter(max_in_flight=1))
        sandbox.faults.add("GET /v2.0/tasks", faults.TooManyRequests(SOON))
        await asyncio.gather(*(lofty.tasks.list(lead_id).collect() for lead_id in leads))
        assert [int(request.query["leadId"]) for request in sandbox.requests][:3] == [first, first, second]

    async def test_a_filter_in_front_says_it_with_400(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        await lofty.me()
        sandbox.faults.add(ME, faults.Reply(400, "Too Many Requests", headers={"Retry-After": "0.02"}))
        assert (await lofty.me()).id
        assert lofty.stats.rate_limited == 1

    async def test_a_call_goes_no_earlier_than_its_refusal_asked_for(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        lofty = open_client(limiter=Hasty())
        sandbox.faults.add(ME, faults.TooManyRequests(SOON | {"Retry-After": "0.5"}))
        await lofty.me()
        first, second = sandbox.requests
        assert second.at - first.at >= 0.5
        assert lofty.stats.waited >= 0.49
        assert lofty.rate_limit.in_flight == 0

    async def test_a_call_cancelled_while_it_waits_for_the_server_holds_no_permit(
        self, sandbox: Sandbox, open_client: "OpenClient", until: Any
    ) -> None:
        lofty = open_client(limiter=Hasty())
        sandbox.faults.add(ME, faults.TooManyRequests(SOON | {"Retry-After": "30"}))
        call = asyncio.create_task(lofty.me())
        await until(lambda: lofty.stats.rate_limited and not lofty.rate_limit.in_flight and not queued(lofty))
        call.cancel()
        await asyncio.wait({call})
        assert (call.cancelled(), lofty.rate_limit.in_flight) == (True, 0)
        assert (await lofty.me()).id

    async def test_for_ever_is_too_often(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        lofty = open_client(retry=RetryPolicy(refusals=2, base_delay=0))
        sandbox.faults.add(ME, faults.TooManyRequests(SOON), times=None)
        with pytest.raises(RateLimitedError) as caught:
            await lofty.me()
        assert (caught.value.attempts, caught.value.retry_after, caught.value.status) == (3, 0.02, 429)
        assert caught.value.waited >= 0.04
        assert lofty.stats.rate_limited == 3

    async def test_a_wait_that_proves_too_long_is_told(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add(ME, hold)
        lofty = open_client(limiter=RateLimiter(max_in_flight=1))
        first = asyncio.create_task(lofty.me())
        await hold.changed.wait()
        with pytest.raises(RateLimitWaitError) as caught:
            await lofty.with_options(max_wait=0.02).me()
        assert caught.value.waited >= 0.02
        hold.gate.set()
        await first

    async def test_being_rate_limited_uses_up_the_wait(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        await lofty.me()
        sandbox.faults.add(ME, faults.TooManyRequests({"Retry-After": "30"}))
        with pytest.raises(RateLimitWaitError) as caught:
            await lofty.with_options(max_wait=2).me()
        assert (caught.value.request, caught.value.attempts) == (ME, 1)
        cause = caught.value.__cause__
        assert isinstance(cause, RateLimitedError)
        assert cause.request == ME
        assert lofty.stats.rate_limited == 1


class TestCredential:
    async def test_a_refused_one_is_renewed_and_the_call_goes_again(
        self, sandbox: Sandbox, open_client: "OpenClient", call_fields: Any
    ) -> None:
        before = len(sandbox.state.entries)
        auth = Renewable(["Bearer old", f"Bearer {sandbox.access_token}"])
        lofty = open_client(auth, retry=RetryPolicy(retries=0))
        assert await lofty.tasks.create(**call_fields)
        assert auth.renewals == ["Bearer old"]
        assert [request.status for request in sandbox.requests] == [401, 200]
        assert len(sandbox.state.entries) - before == 1

    async def test_the_wrong_scheme_is_a_matter_of_the_credential_too(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        auth = Renewable([f"Bearer {sandbox.api_key}", f"token {sandbox.api_key}"])
        assert (await open_client(auth).me()).id
        assert [request.status for request in sandbox.requests] == [400, 200]

    async def test_once_and_no_more(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        auth = Renewable(["Bearer one", "Bearer two", f"Bearer {sandbox.access_token}"])
        with pytest.raises(AuthenticationError) as caught:
            await open_client(auth).me()
        assert (caught.value.attempts, len(auth.renewals)) == (2, 1)

    async def test_one_that_cannot_be_renewed(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        with pytest.raises(AuthenticationError) as caught:
            await open_client(Renewable(["Bearer old"])).me()
        assert (caught.value.attempts, caught.value.name) == (1, "BAD_CREDENTIALS")
        assert len(sandbox.requests) == 1

    async def test_a_renewal_that_fails_says_so_of_the_call(self, open_client: "OpenClient") -> None:
        auth = Renewable(["Bearer old"], error=AuthenticationError("log in again"))
        with pytest.raises(AuthenticationError, match="log in again") as caught:
            await open_client(auth).me()
        assert (caught.value.request, caught.value.attempts) == (ME, 1)

    async def test_one_that_has_to_be_fetched(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        auth = Renewable([f"Bearer {sandbox.access_token}"], fetched=False)
        lofty = open_client(auth)
        await lofty.me()
        await lofty.me()
        assert auth.fetches == 1

    @pytest.mark.parametrize("error", [AuthenticationError("log in again"), ZeroDivisionError("theirs")])
    async def test_a_fetch_that_fails_costs_no_budget(
        self, sandbox: Sandbox, open_client: "OpenClient", error: Exception
    ) -> None:
        lofty = open_client(Renewable(["Bearer x"], fetched=False, error=error))
        with pytest.raises(type(error)):
            await lofty.me()
        assert (lofty.rate_limit.in_flight, lofty.stats.requests, len(sandbox.requests)) == (0, 0, 0)

    async def test_one_that_breaks_costs_no_budget(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        lofty = open_client(Renewable([]))
        with pytest.raises(IndexError):
            await lofty.me()
        assert (lofty.rate_limit.in_flight, lofty.stats.requests, len(sandbox.requests)) == (0, 0, 0)

    async def test_a_call_made_while_an_exception_is_handled_counts_like_any_other(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        lofty = open_client(Renewable([f"Bearer {sandbox.access_token}"], fetched=False))
        try:
            int("something of the caller's")
        except ValueError:
            await lofty.me()
        assert lofty.rate_limit.remaining == 9_999

    async def test_an_expired_token_is_renewed_once_for_all_callers(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        auth = ClientCredentials(
            sandbox.oauth.client_id,
            sandbox.oauth.client_secret,
            sandbox.api_key,
            token_url=f"{sandbox.url}/oauth/token",
        )
        lofty = open_client(auth)
        await lofty.me()
        assert auth.token is not None
        sandbox.credentials.tokens[auth.token.access_token] = 0
        assert len(await asyncio.gather(*(lofty.me() for _ in range(30)))) == 30
        assert seen(sandbox, "POST /oauth/token") == 2


TOKEN_POST = "POST /oauth/token"


@pytest.fixture
def customer(sandbox: Sandbox) -> ClientCredentials:
    url = f"{sandbox.url}/oauth/token"
    client = (sandbox.oauth.client_id, sandbox.oauth.client_secret)
    return ClientCredentials(*client, sandbox.api_key, token_url=url, random=lambda: 0.0)


class TestTokenEndpointInTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            faults.Reply(503, {}),
            faults.Reply(429, {}, {"Retry-After": "0.1"}),
            faults.NotJson(lost=True),
            faults.DropBefore(),
        ],
        ids=["503", "429", "page", "dropped"],
    )
    async def test_calls_wait_it_out_together(
        self,
        sandbox: Sandbox,
        customer: ClientCredentials,
        open_client: "OpenClient",
        call_fields: Any,
        fault: faults.Fault,
    ) -> None:
        sandbox.faults.add(TOKEN_POST, fault)
        lofty = open_client(customer)
        before = len(sandbox.state.entries)
        calls = [lofty.tasks.create(**call_fields), *(lofty.me() for _ in range(150))]  # more than the retry budget
        await asyncio.gather(*calls)
        assert seen(sandbox, TOKEN_POST) == 2
        assert (lofty.stats.requests, len(sandbox.state.entries) - before) == (151, 1)

    async def test_a_call_without_retries_says_at_once_that_it_cannot(
        self, sandbox: Sandbox, customer: ClientCredentials, open_client: "OpenClient"
    ) -> None:
        sandbox.faults.add(TOKEN_POST, faults.Reply(503, {}), times=None)
        lofty = open_client(customer).with_options(retries=0)
        for _ in range(10):
            with pytest.raises(ServerError) as caught:
                await lofty.me()
            assert (caught.value.request, caught.value.attempts) == (ME, 0)
        assert seen(sandbox, TOKEN_POST) == 1
        assert (lofty.rate_limit.in_flight, lofty.stats.requests) == (0, 0)

    async def test_a_wait_beyond_the_deadline_is_not_begun(
        self, sandbox: Sandbox, customer: ClientCredentials, open_client: "OpenClient"
    ) -> None:
        sandbox.faults.add(TOKEN_POST, faults.Reply(503, {}, {"Retry-After": "1000"}), times=None)
        lofty = open_client(customer)
        async with asyncio.timeout(10):
            failures = await asyncio.gather(*(lofty.me() for _ in range(50)), return_exceptions=True)
        assert {type(failure) for failure in failures} == {ServerError}
        assert seen(sandbox, TOKEN_POST) == 1

    async def test_a_renewal_after_a_refusal_is_tried_again_too(
        self, sandbox: Sandbox, customer: ClientCredentials, open_client: "OpenClient", call_fields: Any
    ) -> None:
        lofty = open_client(customer)
        await lofty.me()
        sandbox.credentials.tokens.clear()
        sandbox.faults.add(TOKEN_POST, faults.Reply(503, {}))
        assert await lofty.tasks.create(**call_fields)
        assert seen(sandbox, TOKEN_POST) == 3

    async def test_an_api_that_refuses_every_token_gets_no_renewal_per_call(
        self, sandbox: Sandbox, customer: ClientCredentials, open_client: "OpenClient"
    ) -> None:
        refusal = faults.Reply(401, {"code": "BAD_CREDENTIALS", "message": "no"})
        sandbox.faults.add(ME, refusal, times=None)
        lofty = open_client(customer)
        for _ in range(20):
            with pytest.raises(AuthenticationError, match="BAD_CREDENTIALS"):
                await lofty.me()
        outcomes = await asyncio.gather(*(lofty.me() for _ in range(20)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
        assert seen(sandbox, TOKEN_POST) == 2

    async def test_a_client_goes_on_where_another_of_its_credential_closes(
        self, sandbox: Sandbox, customer: ClientCredentials, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add(TOKEN_POST, hold)
        session = SessionManager(sandbox.url, "tests/1", None)
        leaving = CallManager(customer, session, RateLimiter(), settle_timeout=0.01)
        route = Route("GET", "/v1.0/me")
        first = asyncio.create_task(leaving.call(Request(route, route.template), CallOptions()))
        await hold.reached()
        second = asyncio.create_task(open_client(customer).me())
        await asyncio.sleep(0)
        await leaving.close()
        assert (await second).id
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], CallError)


async def closed_during_a_call(lofty: LoftyClient, hold: "Hold") -> tuple["asyncio.Task[None]", object]:
    """The closing of a client in the middle of a call, and what that call came to."""
    call = asyncio.create_task(lofty.me())
    await hold.reached()
    closing = asyncio.create_task(lofty.close())
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    return closing, outcome


class TestClosing:
    @pytest.fixture
    def auth(self, sandbox: Sandbox) -> ClientCredentials:
        url = f"{sandbox.url}/oauth/token"
        return ClientCredentials(sandbox.oauth.client_id, sandbox.oauth.client_secret, sandbox.api_key, token_url=url)

    async def test_lets_a_token_that_is_on_its_way_arrive(
        self, sandbox: Sandbox, auth: ClientCredentials, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add("POST /oauth/token", hold)
        closing, outcome = await closed_during_a_call(open_client(auth), hold)
        assert "closed" in str(outcome)
        assert not closing.done()
        hold.gate.set()
        await closing
        assert auth.token is not None

    async def test_lets_it_arrive_also_after_the_loop_stood_still(
        self,
        monkeypatch: pytest.MonkeyPatch,
        sandbox: Sandbox,
        auth: ClientCredentials,
        open_client: "OpenClient",
        hold: "Hold",
    ) -> None:
        sandbox.faults.add("POST /oauth/token", hold)
        closing, _ = await closed_during_a_call(open_client(auth), hold)
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: monotonic() + 60)
        await asyncio.sleep(0.01)  # in which the timers come that were due
        hold.gate.set()
        await closing
        assert auth.token is not None

    async def test_but_not_for_ever(self, sandbox: Sandbox, auth: ClientCredentials, hold: "Hold") -> None:
        sandbox.faults.add("POST /oauth/token", hold)
        session = SessionManager(sandbox.url, "tests/1", None)
        manager = CallManager(auth, session, RateLimiter(), settle_timeout=0.05)
        route = Route("GET", "/v1.0/me")
        call = asyncio.create_task(manager.call(Request(route, route.template), CallOptions()))
        await hold.reached()
        async with asyncio.timeout(3):
            await manager.close()
        assert (await asyncio.gather(call, return_exceptions=True))[0] is not None
        assert not session.needs_closing
        await auth.settle()  # it hears that the connection was closed

    async def test_lets_it_arrive_even_when_cancelled_and_closes_the_session_then(
        self, sandbox: Sandbox, auth: ClientCredentials, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add("POST /oauth/token", hold)
        closing, _ = await closed_during_a_call(open_client(auth), hold)
        before = others()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        hold.gate.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*(others() - before))
        assert auth.token is not None

    async def test_leaves_nothing_behind_where_the_event_loop_ends_meanwhile(
        self, sandbox: Sandbox, auth: ClientCredentials, hold: "Hold"
    ) -> None:
        sandbox.faults.add("POST /oauth/token", hold)
        session = SessionManager(sandbox.url, "tests/1", None)

        async def cut_short() -> None:
            manager = CallManager(auth, session, RateLimiter())
            route = Route("GET", "/v1.0/me")
            call = asyncio.create_task(manager.call(Request(route, route.template), CallOptions()))
            await asyncio.to_thread(arrived.wait, 10)
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await manager.close()
            await asyncio.gather(call, return_exceptions=True)

        arrived = threading.Event()
        running = asyncio.create_task(asyncio.to_thread(asyncio.run, cut_short()))
        await hold.reached()
        arrived.set()
        async with asyncio.timeout(10):
            await running
        assert session._own.session is None


async def test_a_timeout_raised_by_code_of_the_callers_is_not_mistaken_for_closing(
    open_client: "OpenClient",
) -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        await open_client(Renewable(["Bearer x"], fetched=False, error=TimeoutError("theirs"))).me()


async def test_a_deadline_of_the_callers_ends_the_call(sandbox: Sandbox, lofty: LoftyClient, hold: "Hold") -> None:
    sandbox.faults.add(ME, hold)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await lofty.me()
    assert lofty.rate_limit.in_flight == 0


async def test_an_answer_without_a_body_is_none(sandbox: Sandbox, lofty: LoftyClient) -> None:
    async def blank(_request: web.Request, _answer: faults.Answer) -> web.StreamResponse:
        return web.Response(status=204)

    sandbox.faults.add("PUT /v2.0/tasks/{taskId}", blank)
    await lofty.tasks.update(5, content="x")
    assert len(sandbox.requests) == 1
