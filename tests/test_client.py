"""The client: options, sessions, closing, sharing."""

import asyncio
import copy
import gc
import inspect
import math
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from inspect import currentframe
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec
from weakref import ref

import aiohttp
import pytest

from lofty_async import (
    AccessToken,
    ApiKey,
    AuthenticationError,
    CallError,
    ClientClosedError,
    InvalidRequestError,
    Lane,
    LoftyClient,
    NotFoundError,
    RateLimiter,
    RateLimitWaitError,
    RetryPolicy,
    ServerError,
    Task,
    User,
)
from lofty_async.client import ClientOptions, Endpoint
from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.conftest import Hold, OpenClient

ME = "GET /v1.0/me"


def line_here() -> int:
    frame = currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


async def test_me_is_the_member_whose_credential_it_is(lofty: LoftyClient) -> None:
    me = await lofty.me()
    assert isinstance(me, User)
    assert me.id > 0
    assert me.email


@pytest.mark.parametrize(("kind", "word"), [("key", "token"), ("access", "Bearer")])
async def test_every_call_carries_its_headers_body_or_not(
    sandbox: Sandbox, open_client: "OpenClient", call_fields: Any, kind: str, word: str
) -> None:
    auth = ApiKey(sandbox.api_key) if kind == "key" else AccessToken(sandbox.access_token)
    lofty = open_client(auth, user_agent="crm-sync/3.1")
    created = await lofty.tasks.create(**call_fields)
    await lofty.tasks.finish(created)
    await lofty.tasks.delete(created)
    await lofty.me()
    for request in sandbox.requests:
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"] == "crm-sync/3.1"
        assert request.headers["Authorization"].split()[0] == word


async def test_the_user_agent_names_the_library_by_default(sandbox: Sandbox, lofty: LoftyClient) -> None:
    await lofty.me()
    assert sandbox.requests[0].headers["User-Agent"].startswith("lofty-async/")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "30"}, "timeout"),
        ({"max_wait": -0.1}, "max_wait"),
        ({"max_wait": math.nan}, "max_wait"),
        ({"retry": 0}, "retry"),
        ({"limiter": 100}, "limiter"),
        ({"session": "mine"}, "session"),
        ({"lane": "slow"}, "lane"),
        ({"on_bad_record": "ignore"}, "on_bad_record"),
        ({"trace_configs": aiohttp.TraceConfig()}, "trace_configs"),
        ({"trace_configs": ["trace"]}, "trace_configs"),
        ({"user_agent": ""}, "user_agent"),
        ({"user_agent": "a\r\nb: c"}, "user_agent"),
        ({"base_url": "ftp://api.lofty.com"}, "base_url"),
        ({"base_url": "api.lofty.com"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"base_url": "https://me:word@api.lofty.com"}, "base_url"),
        ({"base_url": "https://api.lofty.com?key=1"}, "base_url"),
        ({"base_url": "https://api.lofty.com#top"}, "base_url"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidRequestError, match=argument) as caught:
        LoftyClient(ApiKey("key"), **options)
    assert caught.value.argument == argument


def test_the_options_by_name_are_the_parameters() -> None:
    parameters = list(inspect.signature(LoftyClient).parameters)
    assert list(ClientOptions.__annotations__) == [name for name in parameters if name != "auth"]


@pytest.mark.parametrize("seconds", [math.inf, 10**400])
def test_for_ever_is_no_bound(seconds: float) -> None:
    assert LoftyClient(ApiKey("key"), timeout=seconds)._caller.options.timeout is None


def test_a_bare_key_is_not_taken_for_a_credential_nor_shown() -> None:
    bare: Any = "s3cret"
    with pytest.raises(InvalidRequestError, match="ApiKey") as caught:
        LoftyClient(bare)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"timeout": 0}, "timeout"),
        ({"max_wait": -1}, "max_wait"),
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"lane": "slow"}, "lane"),
        ({"on_bad_record": None}, "on_bad_record"),
    ],
)
def test_a_copy_checks_its_options_too(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        LoftyClient(ApiKey("key")).with_options(**options)
    assert caught.value.argument == argument


@pytest.mark.parametrize("bound", [None, math.inf])
async def test_infinite_is_no_bound(open_client: "OpenClient", bound: float | None) -> None:
    lofty = open_client(timeout=bound, max_wait=bound)
    assert (await lofty.me()).id
    assert (await lofty.with_options(timeout=bound, max_wait=bound).me()).id


def test_the_repr_says_where_it_calls() -> None:
    assert repr(LoftyClient(ApiKey("key"), base_url="https://lofty.test/v9")) == "<LoftyClient https://lofty.test/v9>"


def test_the_repr_of_a_client_whose_arguments_were_refused_hides_nothing() -> None:
    shown = []
    try:
        LoftyClient(ApiKey("key"), timeout=0)
    except InvalidRequestError as error:
        trace = error.__traceback__
        while trace:
            shown += [repr(value) for value in trace.tb_frame.f_locals.values()]
            trace = trace.tb_next
    assert "<LoftyClient>" in shown


async def test_a_base_url_may_have_a_path(sandbox: Sandbox, open_client: "OpenClient") -> None:
    lofty = open_client(base_url=sandbox.url + "/proxied/")
    for call in (lofty.me(), lofty.tasks.get(5)):
        with pytest.raises(NotFoundError):
            await call
    assert [request.path for request in sandbox.requests] == ["/proxied/v1.0/me", "/proxied/v2.0/tasks/5"]


class TestEnvironment:
    async def test_key_and_address(self, sandbox: Sandbox) -> None:
        environ = {"LOFTY_API_KEY": sandbox.api_key, "LOFTY_BASE_URL": sandbox.url}
        async with LoftyClient.from_env(environ) as lofty:
            assert (await lofty.me()).id

    async def test_the_processs_own(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        async with LoftyClient.from_env() as lofty:
            assert (await lofty.me()).id

    async def test_options_win(self, sandbox: Sandbox) -> None:
        environ = {"LOFTY_ACCESS_TOKEN": sandbox.access_token, "LOFTY_BASE_URL": "https://elsewhere.test"}
        async with LoftyClient.from_env(environ, base_url=sandbox.url, user_agent="mine/1") as lofty:
            await lofty.me()
        assert sandbox.requests[0].headers["User-Agent"] == "mine/1"

    def test_the_vendors_address_by_default(self) -> None:
        assert repr(LoftyClient.from_env({"LOFTY_API_KEY": "key"})) == "<LoftyClient https://api.lofty.com>"

    def test_no_credential(self) -> None:
        with pytest.raises(AuthenticationError, match="LOFTY_API_KEY"):
            LoftyClient.from_env({})


class TestSession:
    def test_is_not_opened_before_it_is_used(self) -> None:
        LoftyClient(ApiKey("key"))  # outside any loop, and no warning that it was not closed
        gc.collect()

    async def test_opening_and_closing_unused_is_fine(self) -> None:
        async with LoftyClient(ApiKey("key")):
            pass

    async def test_a_session_handed_in_is_used_and_never_closed(
        self, sandbox: Sandbox, open_client: "OpenClient"
    ) -> None:
        async with aiohttp.ClientSession() as session:
            lofty = open_client(session=session)
            await lofty.me()
            await lofty.close()
            assert not session.closed
            assert (await session.get(sandbox.url)).status == 403

    async def test_its_own_takes_traces(self, open_client: "OpenClient", call_fields: Any) -> None:
        seen: list[str] = []

        async def note(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
            seen.append(f"{params.method} {params.url.path}")

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(note)
        lofty = open_client(trace_configs=[trace])
        await lofty.me()
        await lofty.tasks.create(**call_fields)
        assert seen == ["GET /v1.0/me", "POST /v2.0/tasks"]

    async def test_a_session_that_raises_for_status_still_tells_the_servers_word(
        self, open_client: "OpenClient"
    ) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            with pytest.raises(NotFoundError, match="TASK_NOT_EXIST"):
                await open_client(session=session).tasks.get(5)

    async def test_a_session_closed_by_its_owner(self, open_client: "OpenClient") -> None:
        session = aiohttp.ClientSession()
        await session.close()
        lofty = open_client(session=session)
        with pytest.raises(InvalidRequestError, match="closed by its owner") as caught:
            await lofty.me()
        assert caught.value.argument == "session"
        assert lofty.rate_limit.in_flight == 0

    def test_a_session_of_another_loop(self) -> None:
        with Sandbox.in_thread(1) as sandbox:

            async def make() -> aiohttp.ClientSession:
                return aiohttp.ClientSession()

            with asyncio.Runner() as home:
                session = home.run(make())
                lofty = LoftyClient(sandbox.auth, base_url=sandbox.url, session=session)
                assert home.run(lofty.me()).id
                with pytest.raises(InvalidRequestError, match="another event loop") as caught:
                    asyncio.run(lofty.me())
                assert caught.value.argument == "session"
                assert (lofty.rate_limit.in_flight, lofty.rate_limit.remaining) == (0, 499)
                home.run(session.close())

    def test_a_new_event_loop_gets_a_new_session_and_nothing_is_left_open(self) -> None:
        with Sandbox.in_thread(1) as sandbox:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)

            async def several() -> list[User]:
                return await asyncio.gather(*(lofty.me() for _ in range(5)))

            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert len(asyncio.run(several())) == 5
                assert len(asyncio.run(several())) == 5
                asyncio.run(lofty.close())
                gc.collect()
            assert [str(warning.message) for warning in caught] == []

    def test_a_loop_that_still_runs_keeps_its_session_until_it_ends(self) -> None:
        with Sandbox.in_thread(1) as sandbox, asyncio.Runner() as home:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
            home.run(lofty.me())
            asyncio.run(lofty.me())
            assert home.run(lofty.me()).id
            home.run(lofty.close())

    def test_a_loop_that_ended_roughly_is_no_obstacle(self) -> None:
        with Sandbox.in_thread(1) as sandbox:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
            rough = asyncio.new_event_loop()
            assert rough.run_until_complete(lofty.me()).id
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # of the transport, whose loop was not ended well
                rough.close()
                assert asyncio.run(lofty.me()).id
                asyncio.run(lofty.close())
                gc.collect()


class TestDroppedOpen:
    @pytest.mark.parametrize("way", ["class", "environment", "copy"])
    async def test_the_warning_names_the_line_where_the_client_was_made(
        self, sandbox: Sandbox, until: Any, way: str
    ) -> None:
        environ = {"LOFTY_API_KEY": sandbox.api_key, "LOFTY_BASE_URL": sandbox.url}
        if way == "environment":
            lofty, line = LoftyClient.from_env(environ), line_here()
        else:
            lofty, line = LoftyClient(sandbox.auth, base_url=sandbox.url), line_here()
        if way == "copy":
            lofty = lofty.with_options(retries=0)
        await lofty.me()
        own = lofty._caller.manager.session._own.session
        assert own
        with pytest.warns(ResourceWarning, match=re.escape(f"{__file__}:{line} was never closed")) as caught:
            del lofty
        await until(lambda: own.closed)  # by the loop, which it was left to
        assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, line)]

    @pytest.mark.parametrize("raised", [False, True])
    @pytest.mark.parametrize(
        "fault",
        [
            faults.DropBefore(),
            faults.DropAfter(),
            faults.NotJson(),
            faults.Reply(500),
            faults.Reply(400, {"code": 20012}),
            faults.TooManyRequests({"Retry-After": "0"}),
            faults.Latency(0.2),
        ],
        ids=["dropped before", "dropped after", "not JSON", "500", "400", "429", "slow"],
    )
    async def test_a_failure_holds_nothing_in_a_circle(
        self, sandbox: Sandbox, fault: faults.Fault, raised: bool
    ) -> None:
        sandbox.faults.add("GET /v1.0/me", fault, times=2 if raised else 1)
        retry = RetryPolicy(retries=0 if raised else 1, base_delay=0, refusals=0 if raised else 1)
        lofty = LoftyClient(sandbox.auth, base_url=sandbox.url, retry=retry, timeout=0.1)
        gc.collect()
        gc.disable()
        try:
            with suppress(CallError):
                await asyncio.create_task(lofty.me())  # the task keeps the error, and the call knows its task
            await lofty.close()
            manager = ref(lofty._caller.manager)
            del lofty
            await asyncio.sleep(0)
            assert manager() is None
        finally:
            gc.enable()

    async def test_nor_does_one_of_a_create_that_several_ask_for(self, sandbox: Sandbox) -> None:
        sandbox.faults.add("GET /v1.0/webhooks", faults.Reply(400, {"code": 20012}), times=None)
        lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
        gc.collect()
        gc.disable()
        try:
            ensures = [asyncio.create_task(lofty.webhooks.ensure(10, "https://example.com/hook")) for _ in range(2)]
            await asyncio.wait(ensures)
            assert {type(ensure.exception()) for ensure in ensures} == {InvalidRequestError}
            await lofty.close()
            manager = ref(lofty._caller.manager)
            del lofty, ensures
            await asyncio.sleep(0)
            assert manager() is None
        finally:
            gc.enable()

    async def test_a_copy_keeps_it_open(self, sandbox: Sandbox) -> None:
        lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
        copy = lofty.with_options(lane=Lane.BULK)
        await lofty.me()
        del lofty
        gc.collect()
        assert (await copy.me()).id
        await copy.close()


class TestCopies:
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_are_made_by_no_other_way(self, duplicate: Any) -> None:
        with pytest.raises(TypeError, match=r"make one in each process.*with_options"):
            duplicate(LoftyClient(ApiKey("key")))

    async def test_share_session_limiter_and_counts(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        copy = lofty.with_options(timeout=5, retries=0, max_wait=1, lane="bulk", on_bad_record="skip")
        await lofty.me()
        await copy.me()
        assert lofty.stats == copy.stats
        assert lofty.stats.requests == 2
        assert lofty.rate_limit.remaining == copy.rate_limit.remaining == 9_998
        assert lofty._caller.manager is copy._caller.manager
        assert len(sandbox.requests) == 2

    async def test_of_a_class_of_the_users_own_keep_what_it_adds(self, sandbox: Sandbox) -> None:
        class Tenant(LoftyClient):
            def __init__(self, name: str, **options: Any) -> None:
                super().__init__(sandbox.auth, base_url=sandbox.url, **options)
                self.name = name

        async with Tenant("acme", lane=Lane.BULK) as tenant:
            await tenant.tasks.mine().first()
            copy = tenant.with_options(lane=Lane.INTERACTIVE)
            assert (copy.name, copy.tasks is tenant.tasks) == ("acme", False)

    async def test_leave_the_original_as_it_was(self, lofty: LoftyClient) -> None:
        before = lofty._caller
        lofty.with_options(timeout=None, retries=9, max_wait=None, lane=Lane.BULK, on_bad_record="skip")
        assert lofty._caller is before
        assert lofty.with_options()._caller.options == before.options

    async def test_retries_are_the_copys_own(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(ME, times=None)
        with pytest.raises(ServerError):
            await lofty.with_options(retries=1).me()
        assert len(sandbox.requests) == 2

    async def test_closing_one_closes_all(self, lofty: LoftyClient) -> None:
        copy = lofty.with_options(retries=0)
        await lofty.me()
        await copy.close()
        with pytest.raises(ClientClosedError):
            await lofty.me()


class TestClosing:
    async def test_a_closed_client_is_not_entered_again(self, lofty: LoftyClient) -> None:
        async with lofty.with_options(retries=0):
            pass
        with pytest.raises(ClientClosedError):
            async with lofty:
                pass

    async def test_a_call_after_close_raises_at_once(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        await lofty.close()
        await lofty.close()
        async with asyncio.timeout(1):
            with pytest.raises(ClientClosedError) as caught:
                await lofty.me()
        assert caught.value.request == ME
        assert sandbox.requests == []

    async def test_a_list_after_close_raises_at_once(self, lofty: LoftyClient, lead_id: int) -> None:
        await lofty.close()
        with pytest.raises(ClientClosedError):
            await lofty.tasks.list(lead_id).collect()

    @pytest.mark.parametrize("handed_in", [False, True])
    async def test_calls_in_flight_end(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", handed_in: bool
    ) -> None:
        sandbox.faults.add(ME, hold, times=None)
        session = aiohttp.ClientSession() if handed_in else None
        lofty = open_client(session=session)
        calls = [asyncio.create_task(lofty.me()) for _ in range(3)]
        await hold.reached()
        await lofty.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {ClientClosedError}
        assert lofty.rate_limit.in_flight == 0
        if session:
            await session.close()

    async def test_calls_that_wait_for_their_turn_end(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add(ME, hold, times=None)
        lofty = open_client(limiter=RateLimiter(max_in_flight=1))
        calls = [asyncio.create_task(lofty.me()) for _ in range(5)]
        await hold.reached()
        assert lofty.rate_limit.queued[Lane.INTERACTIVE] == 4
        await lofty.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {ClientClosedError}
        assert lofty.rate_limit.queued[Lane.INTERACTIVE] == 0

    async def test_calls_of_others_that_share_the_limiter_go_on(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add(ME, hold, times=2)
        limiter = RateLimiter(max_in_flight=1)
        one, other = open_client(limiter=limiter), open_client(limiter=limiter)
        closed, waiting = asyncio.create_task(one.me()), asyncio.create_task(other.me())
        await hold.reached()
        await one.close()
        hold.gate.set()
        assert (await waiting).id
        with pytest.raises(ClientClosedError):
            await closed

    async def test_a_call_between_two_attempts_ends(self, sandbox: Sandbox, lofty: LoftyClient, until: Any) -> None:
        sandbox.faults.add(ME, faults.Reply(503, headers={"Retry-After": "60"}), times=None)
        call = asyncio.create_task(lofty.me())
        await until(lambda: lofty.stats.requests and not lofty.rate_limit.in_flight)
        async with asyncio.timeout(2):
            await lofty.close()
            with pytest.raises(ClientClosedError):
                await call

    async def test_a_create_in_flight_says_that_it_may_have_landed(
        self, sandbox: Sandbox, lofty: LoftyClient, hold: "Hold", call_fields: Any
    ) -> None:
        sandbox.faults.add("POST *", hold)
        call = asyncio.create_task(lofty.tasks.create(**call_fields))
        await hold.reached()
        await lofty.close()
        with pytest.raises(ClientClosedError, match="the record may exist") as caught:
            await call
        assert (caught.value.request, caught.value.attempts) == ("POST /v2.0/tasks", 1)

    async def test_a_list_that_is_read_ahead_ends(self, sandbox: Sandbox, lofty: LoftyClient, hold: "Hold") -> None:
        sandbox.faults.add("GET /v2.0/tasks/my-tasks", hold, after=1)
        pages = aiter(lofty.tasks.mine(page_size=10).pages())
        assert len(await anext(pages)) == 10
        await hold.reached()
        await lofty.close()
        with pytest.raises(ClientClosedError) as caught:
            await anext(pages)
        assert caught.value.cursor


class TestWaiting:
    async def test_the_clock_of_a_call_starts_when_it_leaves(self, open_client: "OpenClient", until: Any) -> None:
        limiter = RateLimiter(max_in_flight=1)
        lofty = open_client(limiter=limiter, timeout=0.4)
        permit = await limiter.acquire()
        call = asyncio.create_task(lofty.me())
        await until(lambda: lofty.rate_limit.queued[Lane.INTERACTIVE])
        asyncio.get_running_loop().call_later(0.6, permit.release)
        assert (await call).id
        assert lofty.stats.waited >= 0.5

    async def test_a_wait_that_is_going_to_be_too_long_is_refused_at_once(self) -> None:
        async with Sandbox(1, limit=2) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            await lofty.me()
            await lofty.me()
            with pytest.raises(RateLimitWaitError) as caught:
                await lofty.with_options(max_wait=1).me()
            assert (caught.value.request, caught.value.attempts, caught.value.max_wait) == (ME, 0, 1)
            assert 1 < caught.value.predicted <= 62
            assert len(sandbox.requests) == 2
            assert lofty.rate_limit.remaining == 0
            assert lofty.rate_limit.resets_in is not None

    async def test_a_window_is_waited_for(self) -> None:
        options: dict[str, Any] = {"limit": 5, "window": 0.5, "reset_style": "ms_left"}
        async with Sandbox(1, **options) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            await asyncio.gather(*(lofty.me() for _ in range(12)))
            assert sandbox.served == 12


class TestConcurrency:
    async def test_no_pool_holds_back_what_the_limiter_lets_through(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        lofty = open_client(limiter=RateLimiter(max_in_flight=200))
        await lofty.me()
        sandbox.faults.add(ME, hold, times=None)
        calls = [asyncio.create_task(lofty.me()) for _ in range(200)]
        await hold.reached(200)
        hold.gate.set()
        assert len(await asyncio.gather(*calls)) == 200

    async def test_no_more_than_the_largest_burst_is_in_flight(
        self, sandbox: Sandbox, open_client: "OpenClient", hold: "Hold"
    ) -> None:
        sandbox.faults.add(ME, hold, times=None)
        lofty = open_client(limiter=RateLimiter(max_in_flight=7))
        calls = [asyncio.create_task(lofty.me()) for _ in range(60)]
        hold.gate.set()
        assert len(await asyncio.gather(*calls)) == 60
        assert hold.most <= 7
        assert lofty.rate_limit.in_flight == 0


def endpoint_calls(owner: type, prefix: str = "") -> Iterator[str]:
    """Every call of a client, such as `tasks.get`."""
    for name, kind in vars(owner).items():
        if isinstance(kind, Endpoint):
            calls = getattr(owner, name)
            yield from endpoint_calls(calls, f"{prefix}{name}.")
        elif prefix and inspect.isfunction(kind) and not name.startswith("_"):
            yield prefix + name


class TestAMockOfTheClient:
    async def test_knows_the_calls(self) -> None:
        mock = create_autospec(LoftyClient, instance=True)
        mock.tasks.get.return_value = Task(id=7)
        assert await mock.tasks.get(7) == Task(id=7)
        mock.tasks.get.assert_awaited_once_with(7)
        mock.v1.tasks.list(7)
        mock.v1.appointments.list(lead_id=7)
        mock.calendar.list(start=None, page_size=5)

    async def test_lists_what_it_is_given(self) -> None:
        mock = create_autospec(LoftyClient, instance=True)
        mock.tasks.mine.return_value.__aiter__.return_value = [Task(id=7)]
        assert [task async for task in mock.tasks.mine(page_size=5)] == [Task(id=7)]

    def test_checks_the_arguments_of_every_call(self) -> None:
        mock = create_autospec(LoftyClient, instance=True)
        calls = ["me", "close", "with_options", *endpoint_calls(LoftyClient)]
        assert len(calls) > 30
        assert {"tasks.get", "calendar.slots", "webhooks.ensure", "v1.tasks.finish", "v1.appointments.list"} < {*calls}
        for call in calls:
            with pytest.raises(TypeError):
                attrgetter(call)(mock)(nothing=3)
            with pytest.raises(TypeError):
                attrgetter(call)(mock)(1, 2, 3, 4)

    def test_has_no_other_calls(self) -> None:
        mock = create_autospec(LoftyClient, instance=True)
        for call in ("tasks.fetch", "v1.leads", "v1.tasks.mine", "deals"):
            with pytest.raises(AttributeError):
                attrgetter(call)(mock)


async def test_a_client_has_its_calls_once_and_its_class_has_their_classes() -> None:
    lofty = LoftyClient(ApiKey("key"))
    copy = lofty.with_options(retries=0)
    assert isinstance(lofty.tasks, LoftyClient.tasks)
    assert isinstance(lofty.v1.tasks, LoftyClient.v1.tasks)
    assert lofty.tasks is lofty.tasks is not copy.tasks
    assert lofty.v1.appointments is lofty.v1.appointments
