"""`LoftyClient.request`: any path of the API, with what all other calls have."""

import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import (
    AmbiguousWriteError,
    ApiKey,
    DecodeError,
    InvalidRequestError,
    LoftyClient,
    LoftyError,
    NotFoundError,
    Pager,
    Permit,
    RateLimitedError,
    RateLimiter,
    Response,
    RetryPolicy,
    ServerError,
)
from lofty_async.sandbox import Sandbox, faults
from tests.conftest import AT_ONCE, OpenClient
from tests.raw_server import RawServer, answer, raw_server

KEY = ApiKey("key")


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as running:
        yield running


@pytest.fixture
async def raw(server: RawServer) -> AsyncIterator[LoftyClient]:
    async with LoftyClient(KEY, base_url=server.url, retry=AT_ONCE) as client:
        yield client


class Noting(RateLimiter):
    """Notes the routes that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.routes = set[str]()

    def acquire_now(self, route: str = "", **options: Any) -> Permit | None:
        self.routes.add(route)
        return super().acquire_now(route, **options)


def sent_query(server: RawServer) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(server.heads[-1].split()[1]).query, keep_blank_values=True)


class TestAnswer:
    async def test_reads_what_a_call_reads(self, lofty: LoftyClient, lead_id: int) -> None:
        response = await lofty.request("get", "/v2.0/tasks", params={"leadId": lead_id})
        tasks = await lofty.tasks.list(lead_id).collect()
        assert (response.status, response.headers["content-TYPE"][:16]) == (200, "application/json")
        assert [task["id"] for task in response.json()["tasks"]] == [task.id for task in tasks]
        assert repr(response) == "Response(status=200, request='GET /v2.0/tasks')"

    async def test_counts_towards_the_budget(self, lofty: LoftyClient) -> None:
        await lofty.request("GET", "/v1.0/me")
        assert lofty.stats.requests == 1
        assert lofty.rate_limit.limit == 10_000

    async def test_may_be_anything(self, server: RawServer, raw: LoftyClient) -> None:
        server.reply = lambda _: answer(b"<p>\xff", "Content-Disposition: inline")
        response = await raw.request("GET", "/v1.0/report")
        assert response.body == b"<p>\xff"
        with pytest.raises(DecodeError, match=r"^GET /v1\.0/report: the answer is not JSON"):
            response.json()

    async def test_may_be_empty(self, server: RawServer, raw: LoftyClient) -> None:
        server.reply = lambda _: answer(b"")
        response = await raw.request("GET", "/v1.0/report")
        with pytest.raises(DecodeError, match="the answer is empty"):
            response.json()

    async def test_may_be_null(self, server: RawServer, raw: LoftyClient) -> None:
        server.reply = lambda _: answer(b"null")
        assert (await raw.request("GET", "/v1.0/report")).json() is None

    async def test_survives_a_queue(self, raw: LoftyClient) -> None:
        response: Response = pickle.loads(pickle.dumps(await raw.request("GET", "/v1.0/me")))  # noqa: S301 - our own
        assert response.json() == {"id": 7}

    @pytest.mark.parametrize(
        ("headers", "found"),
        [
            (("X-Trace-Id: c", "Request-Id: b", "X-Request-Id: a"), "a"),
            (("X-Trace-Id: c", "Request-Id: b"), "b"),
            (("X-Trace-Id: c",), "c"),
            ((), None),
        ],
    )
    async def test_has_the_servers_id_of_the_request(
        self, server: RawServer, raw: LoftyClient, headers: tuple[str, ...], found: str | None
    ) -> None:
        server.reply = lambda _: answer(b"{}", *headers)
        assert (await raw.request("GET", "/v1.0/me")).request_id == found
        server.reply = lambda _: answer(b'{"code": 20006}', *headers, status=404)
        for failing in (raw.request("GET", "/v1.0/me"), raw.me()):
            with pytest.raises(NotFoundError) as caught:
                await failing
            assert caught.value.request_id == found
            assert type(caught.value)(*caught.value.args).request_id == found  # type: ignore[arg-type] # as celery does


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"task": {"id": "x"}, "taskId": "x"}', b"[1]"])
async def test_an_answer_that_is_no_record_has_the_servers_id_too(
    server: RawServer, raw: LoftyClient, call_fields: Any, body: bytes
) -> None:
    server.reply = lambda _: answer(body, "X-Request-Id: r-1")
    with pytest.raises(DecodeError) as unread:
        await raw.tasks.get(5)
    with pytest.raises(AmbiguousWriteError) as created:
        await raw.tasks.create(**call_fields)
    assert unread.value.request_id == created.value.request_id == "r-1"


@pytest.mark.parametrize("body", [b'{"tasks": 7}', b"[]", b'{"tasks": [{"id": "x"}]}'])
@pytest.mark.parametrize("read", [Pager.collect, Pager.first])
async def test_a_list_that_cannot_be_read_has_the_servers_id_too(
    server: RawServer, raw: LoftyClient, body: bytes, read: Callable[[Pager[Any]], Awaitable[Any]]
) -> None:
    server.reply = lambda _: answer(body, "X-Request-Id: r-1")
    for pager in (raw.tasks.list(5), raw.tasks.mine()):
        with pytest.raises(DecodeError) as unread:
            await read(pager)
        assert unread.value.request_id == "r-1"


class TestErrors:
    @pytest.mark.parametrize("status", [200, 404])
    async def test_are_what_their_code_says(self, server: RawServer, raw: LoftyClient, status: int) -> None:
        server.reply = lambda _: answer(b'{"code": 20006, "message": "Lead not exist"}', status=status)
        with pytest.raises(NotFoundError) as caught:
            await raw.request("GET", "/v1.0/leads/8")
        assert (caught.value.request, caught.value.code) == ("GET /v1.0/leads/8", 20006)

    async def test_are_retried(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        sandbox.faults.add("GET /v2.0/tasks", faults.DropAfter(), times=2)
        response = await lofty.request("GET", "/v2.0/tasks", params={"leadId": lead_id})
        assert response.status == 200
        assert lofty.stats.requests == 3

    async def test_429_waits_for_its_turn_again(self, server: RawServer, raw: LoftyClient) -> None:
        answers = iter([answer(b'{"message": "Too Many Requests"}', status=429), answer(b"{}")])
        server.reply = lambda _: next(answers)
        await raw.request("POST", "/v1.0/notes", json={})
        assert raw.stats.rate_limited == 1

    async def test_429_for_ever_is_an_error(self, server: RawServer) -> None:
        server.reply = lambda _: answer(b"", status=429)
        async with LoftyClient(KEY, base_url=server.url, retry=RetryPolicy(refusals=0)) as lofty:
            with pytest.raises(RateLimitedError):
                await lofty.request("GET", "/v1.0/notes")


class TestRepeatable:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
    async def test_by_method(self, server: RawServer, raw: LoftyClient, method: str) -> None:
        answers = iter([answer(b"", status=503), answer(b"")])
        server.reply = lambda _: next(answers)
        assert (await raw.request(method, "/v1.0/notes")).status == 200

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_nor_sent_twice(self, server: RawServer, raw: LoftyClient, method: str) -> None:
        server.reply = lambda _: answer(b"", "X-Request-Id: a", status=503)
        with pytest.raises(AmbiguousWriteError, match="the request may have been carried out") as caught:
            await raw.request(method, "/v1.0/notes", json={"leadId": 5, "text": "x"})
        assert (caught.value.lead_id, caught.value.sent) == (5, {"leadId": 5, "text": "x"})
        assert (caught.value.attempts, caught.value.request_id) == (1, "a")
        assert isinstance(caught.value.__cause__, ServerError)

    async def test_a_list_in_doubt_has_no_fields(self, server: RawServer, raw: LoftyClient) -> None:
        server.reply = lambda _: answer(b"", status=503)
        with pytest.raises(AmbiguousWriteError) as caught:
            await raw.request("POST", "/v1.0/notes", json=[{"leadId": 5}])
        assert (caught.value.lead_id, caught.value.sent) == (None, {})

    async def test_has_a_connection_of_its_own_unless_it_is_repeatable(
        self, server: RawServer, raw: LoftyClient
    ) -> None:
        await raw.request("GET", "/v1.0/me")
        await raw.request("POST", "/v1.0/notes")
        assert (server.made_by, server.header("Content-Length")) == ([1, 2], "0")
        await raw.request("POST", "/v1.0/search", json={}, repeatable=True)
        assert server.made_by[-1] == 1

    async def test_as_the_caller_says(self, server: RawServer, raw: LoftyClient) -> None:
        answers = iter([answer(b"", status=503), answer(b"{}"), answer(b"", status=503)])
        server.reply = lambda _: next(answers)
        assert (await raw.request("POST", "/v1.0/search", json={}, repeatable=True)).status == 200
        with pytest.raises(AmbiguousWriteError):
            await raw.request("PUT", "/v1.0/counter", repeatable=False)


class TestSending:
    async def test_body_and_headers(self, server: RawServer, raw: LoftyClient) -> None:
        await raw.request("PUT", "/v1.0/notes/5", json={"text": "Grüße"}, headers={"X-Correlation-Id": "42"})
        assert server.bodies[-1] == '{"text":"Grüße"}'.encode()
        found = {name: server.header(name) for name in ("Content-Type", "Authorization", "X-Correlation-Id")}
        assert found == {"Content-Type": "application/json", "Authorization": "token key", "X-Correlation-Id": "42"}

    async def test_query(self, server: RawServer, raw: LoftyClient) -> None:
        zone = timezone(timedelta(hours=1))
        noon = datetime(2026, 3, 1, 12, tzinfo=zone)
        some = {"a b": "x&y=ü", "empty": "", "flag": True, "n": 2**62, "part": 0.5, "left_out": None}
        params = some | {"at": noon, "many": [1, "two"]}
        await raw.request("GET", "/v1.0/notes", params=params)
        assert sent_query(server) == [
            ("a b", "x&y=ü"),
            ("empty", ""),
            ("flag", "true"),
            ("n", str(2**62)),
            ("part", "0.5"),
            ("at", "2026-03-01T12:00:00+01:00"),
            ("many", "1"),
            ("many", "two"),
        ]

    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text("a+&=%#?/ \xe9")))
    async def test_any_query_arrives_as_it_was(self, params: dict[str, str]) -> None:
        params = {name: value for name, value in params.items() if name.strip()}
        async with raw_server() as server, LoftyClient(KEY, base_url=server.url) as lofty:
            await lofty.request("GET", "/v1.0/notes", params=params)
            assert sent_query(server) == list(params.items())

    @pytest.mark.parametrize(
        ("path", "sent"),
        [
            ("/v1.0/tags/New lead", "/v1.0/tags/New%20lead"),
            ("/a%2Fb/ü", "/a%2Fb/%C3%BC"),
            ("/a;b=1,2/@me", None),
            ("/100%/%zz", "/100%25/%25zz"),
        ],
    )
    async def test_path(self, server: RawServer, raw: LoftyClient, path: str, sent: str | None) -> None:
        await raw.request("GET", path)
        assert server.heads[-1].split()[1] == (sent or path)


def bad(**changes: Any) -> Any:
    return pytest.param(changes, id="-".join(f"{name}={value!r}"[:40] for name, value in changes.items()))


class TestChecks:
    @pytest.mark.parametrize(
        "changes",
        [
            bad(method="TRACE"),
            bad(method=None),
            *(bad(path=path) for path in ("v1.0/me", "https://evil.example/x", "//evil.example/x", "/\\evil.example")),
            *(bad(path=path) for path in ("", 5, "/a/../b", "/a/%2e%2E/b", "/a/..%2fb", "/.", "/a?b=1", "/a#b")),
            *(bad(path=path) for path in ("/a\r\nX: y", "/a%0d%0aX", "/a\x00", "/a\tb", "/x://y")),
            bad(params=[("a", 1)]),
            bad(params={5: 1}),
            bad(json={"at": datetime.now(UTC)}),
            bad(json=float("nan")),
            bad(repeatable="yes"),
            bad(headers=["X-A"]),
            *(bad(headers={name: "x"}) for name in ("AUTHORIZATION", "content-type", "Host", "Cookie", "User-Agent")),
            *(bad(headers={name: "x"}) for name in ("Content-Length", "", "a b", "X:", "Transfer-Encoding")),
            *(bad(headers={name: "x"}) for name in ("content_type", "User_Agent", "X-HTTP-Method-Override")),
            *(bad(headers={"X-A": value}) for value in ("a\r\nB: c", "", "ü", 5)),
        ],
    )
    async def test_refuse_before_anything_is_sent(
        self, server: RawServer, raw: LoftyClient, changes: dict[str, Any]
    ) -> None:
        arguments: dict[str, Any] = {"method": "GET", "path": "/v1.0/me", **changes}
        with pytest.raises(InvalidRequestError) as caught:
            await raw.request(arguments.pop("method"), arguments.pop("path"), **arguments)
        (name,) = changes
        assert (caught.value.argument or "").startswith(name)
        assert server.heads == []

    @pytest.mark.parametrize("value", [datetime(2026, 1, 1), float("inf"), b"x", {"a": 1}, [[1]]])  # noqa: DTZ001 - naive is the point
    async def test_a_parameter_is_named(self, raw: LoftyClient, value: Any) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            await raw.request("GET", "/v1.0/me", params={"since": value})
        assert caught.value.argument == "params['since']"

    async def test_a_forbidden_header_is_not_shown(self, raw: LoftyClient) -> None:
        for refusing in (
            lambda: raw.request("GET", "/v1.0/me", headers={"Authorization": "token sesame"}),
            lambda: raw.with_options(headers={"authorization": "token sesame"}).me(),
            lambda: LoftyClient(KEY, headers={"AUTHORIZATION": "token sesame"}).me(),
            lambda: LoftyClient.from_env({"LOFTY_API_KEY": "k"}, headers={"Authorization": "token sesame"}).me(),
        ):
            with pytest.raises(InvalidRequestError, match=r"must not set (?i:authorization)") as caught:
                await refusing()
            frames = [frame.frame.f_locals for frame in caught.traceback[1:]]
            shown = [repr(value) for names in frames for name, value in names.items() if name != "refusing"]
            assert not [text for text in shown if "sesame" in text]

    @pytest.mark.parametrize("more", [{"X-B": ""}, {"X-B": "a\nb"}, {"Cookie": "c"}, {"X-A": "sesame\n"}])
    async def test_no_header_shows_in_a_refusal(self, raw: LoftyClient, more: dict[str, str]) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            await raw.request("GET", "/v1.0/me", headers={"X-A": "sesame"} | more)
        frames = [frame.frame.f_locals for frame in caught.traceback[1:]]
        assert "sesame" not in repr([dict(names) for names in frames])


class TestHeaders:
    async def test_of_a_client_go_with_every_call(self, server: RawServer) -> None:
        async with LoftyClient(KEY, base_url=server.url, headers={"X-App": "crm"}) as lofty:
            await lofty.me()
            await lofty.v1.tasks.create(
                content="x", lead_id=5, end_at=datetime.now(UTC), type="Call", assigned_role="Agent"
            )
            assert [server.header("X-App", at) for at in (0, 1)] == ["crm", "crm"]

    async def test_of_a_copy_are_added(self, server: RawServer) -> None:
        async with LoftyClient(KEY, base_url=server.url, headers={"X-App": "crm", "X-Id": "1"}) as lofty:
            await lofty.with_options(headers={"x-id": "2"}).with_options(timeout=5).me()
            assert (server.header("X-App"), server.header("X-Id")) == ("crm", "2")
            assert server.heads[-1].lower().count("x-id:") == 1
            await lofty.request("GET", "/v1.0/me", headers={"X-App": "other"})
            await lofty.me()
            assert [server.header("X-App", at) for at in (1, 2)] == ["other", "crm"]
            assert server.header("X-Id") == "1"


class TestRoutes:
    async def test_paths_that_differ_in_ids_are_one(self, open_client: OpenClient) -> None:
        limiter = Noting()
        lofty = open_client(limiter=limiter)
        for number in range(30):
            with pytest.raises(LoftyError):
                await lofty.request("GET", f"/v2.0/tasks/{10**15 + number}")
        assert limiter.routes == {"GET /v2.0/tasks/{taskId}"}

    async def test_any_number_of_paths_is_few_routes(self, server: RawServer) -> None:
        limiter = Noting()
        words = [f"{first}{second}" for first in "abcdefghijklmnopqrstuvwxyz" for second in "abcdefgh"]
        async with LoftyClient(KEY, base_url=server.url, limiter=limiter) as lofty:
            for word in words:
                await lofty.with_options().request("GET", f"/v1.0/tags/{word}")
        assert 1 < len(limiter.routes) <= 65
