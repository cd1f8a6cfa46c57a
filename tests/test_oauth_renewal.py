"""Credentials that get their own access tokens, against a token server on a real socket."""

import asyncio
import copy
import gc
import json
import logging
import pickle
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async._session import token_post
from lofty_async.auth import TokenPost
from lofty_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConnectionFailedError,
    InvalidRequestError,
    LoftyError,
    ServerError,
)
from lofty_async.oauth import (
    API_TOKEN_URL,
    CRM_TOKEN_URL,
    ClientCredentials,
    FileTokenStore,
    RefreshToken,
    Token,
)
from tests.leaks import others

EARLY = 60.0
LIFE = 3600.0


@define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@define
class TokenServer:
    """Rotates its one refresh token with every renewal and refuses all older ones, echoing what was sent."""

    refresh_token: str = "refresh-0"
    granted: int = 0
    failing: web.Response | None = None
    retry_after: str | None = None
    asked: asyncio.Event = field(factory=asyncio.Event)
    open: asyncio.Event = field(factory=asyncio.Event)
    watch: Callable[[Mapping[str, Any]], None] = field(default=lambda _: None)
    forms: list[dict[str, Any]] = field(factory=list)
    url: str = ""
    _runner: "web.ServerRunner | None" = None

    async def __aenter__(self) -> Self:
        self.open.set()
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/oauth/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.open.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        form = dict(await request.post())
        self.forms.append(form)
        self.watch(form)
        self.asked.set()
        await self.open.wait()
        if self.failing is not None:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.Response(status=self.failing.status, text=self.failing.text, headers=headers)
        return self.grant(form, request.headers.get("Authorization", ""))

    def grant(self, form: Mapping[str, Any], authorization: str) -> web.Response:
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh_token:
            echo = f"{json.dumps(dict(form))} {authorization}"
            return web.json_response({"error": "invalid_grant", "error_description": echo}, status=400)
        self.granted += 1
        self.refresh_token = f"refresh-{self.granted}"
        return web.json_response(
            {
                "access_token": f"access-{self.granted}",
                "refresh_token": self.refresh_token,
                "expires_in": LIFE,
            }
        )


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with TokenServer() as server:
        yield server


@pytest.fixture
async def post() -> AsyncIterator[TokenPost]:
    async with aiohttp.ClientSession() as session:
        yield token_post(session, timeout=5.0, user_agent="tests/1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@define
class FailsAtFirst:
    """An `on_token` that raises on its first call; `tokens` are all that it was given."""

    error: Exception
    tokens: list[Token] = field(factory=list[Token])

    def __call__(self, token: Token) -> None:
        self.tokens.append(token)
        if len(self.tokens) == 1:
            raise self.error


Login = Callable[..., RefreshToken]


@pytest.fixture
def login(server: TokenServer, clock: Clock) -> Login:
    """A credential for the server above; with `life` it starts with an access token of so many seconds."""

    def make(life: float | None = None, **options: Any) -> RefreshToken:
        token = None if life is None else Token("access-0", "refresh-0", clock.now + life)
        return RefreshToken(
            "refresh-0",
            "id",
            "s3cret",
            **({"token": token, "token_url": server.url, "clock": clock, "random": lambda: 0.0} | options),
        )

    return make


def run_under_way() -> "asyncio.Task[Any]":
    (run,) = [task for task in others() if task.get_name() == "lofty_async token renewal"]
    return run


class TestOneRenewalForAll:
    async def test_100_callers_with_an_expired_token_cause_exactly_one_renewal(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth = login(life=-1)
        headers = await asyncio.gather(*(auth.fetch(post) for _ in range(100)))
        assert set(headers) == {"Bearer access-1"}
        assert len(server.forms) == 1

    async def test_100_callers_whose_token_was_refused_cause_exactly_one_renewal(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth = login(life=LIFE)
        headers = await asyncio.gather(*(auth.renew("Bearer access-0", post) for _ in range(100)))
        assert set(headers) == {"Bearer access-1"}
        assert len(server.forms) == 1

    async def test_cancelling_the_first_in_the_middle_leaves_99_answered(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth = login(life=-1)
        server.open.clear()
        first, *rest = [asyncio.create_task(auth.fetch(post)) for _ in range(100)]
        await server.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.open.set()
        assert set(await asyncio.gather(*rest)) == {"Bearer access-1"}
        assert len(server.forms) == 1

    async def test_a_renewal_on_its_way_is_not_lost_with_its_last_caller(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        heard: list[Token] = []
        auth = login(life=-1, on_token=heard.append)
        server.open.clear()
        only = asyncio.create_task(auth.fetch(post))
        await server.asked.wait()
        only.cancel()
        await asyncio.wait({only})
        server.open.set()
        await auth.settle()
        assert [token.refresh_token for token in heard] == ["refresh-1"]
        assert auth.ready() == "Bearer access-1"
        assert auth.token == heard[0]

    async def test_a_failure_that_nobody_waits_for_passes_quietly(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        auth = login()
        server.failing = web.Response(status=500)
        server.open.clear()
        only = asyncio.create_task(auth.fetch(post))
        await server.asked.wait()
        only.cancel()
        await asyncio.wait({only})
        server.open.set()
        await auth.settle()
        await auth.settle()
        del only
        gc.collect()
        assert reported == []

    async def test_callers_outlive_a_renewal_that_somebody_else_cancels(self, login: Login, post: TokenPost) -> None:
        asked, never = asyncio.Event(), asyncio.Event()

        async def stuck_at_first(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
            if not asked.is_set():
                asked.set()
                await never.wait()
            return await post(url, form, basic)

        auth = login()
        callers = [asyncio.create_task(auth.fetch(stuck_at_first)) for _ in range(10)]
        await asked.wait()
        run_under_way().cancel()
        assert set(await asyncio.gather(*callers)) == {"Bearer access-1"}

    async def test_a_caller_that_arrives_as_a_renewal_ends_starts_another(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth, late = login(), list[asyncio.Task[str | None]]()

        def arrive(task: "asyncio.Task[str]") -> None:
            late.append(asyncio.create_task(auth.renew(task.result(), post)))

        first = asyncio.create_task(auth.fetch(post))
        await server.asked.wait()
        run_under_way().add_done_callback(arrive)
        assert await first == "Bearer access-1"
        assert await late[0] == "Bearer access-2"
        assert len(server.forms) == 2

    async def test_one_that_comes_late_finds_the_token_there(self, login: Login, post: TokenPost) -> None:
        auth = login()
        header = await auth.fetch(post)
        assert auth.ready() == header == await auth.fetch(post)

    @pytest.mark.parametrize("step", range(12))
    async def test_a_caller_may_be_cancelled_at_every_await(self, step: int, clock: Clock) -> None:
        server = TokenServer()
        saved: list[Token] = []

        async def slow_post(_: str, form: Mapping[str, str], __: object) -> tuple[int, Any]:
            await asyncio.sleep(0)
            answer = server.grant(form, "")
            await asyncio.sleep(0)
            assert answer.text is not None
            return answer.status, json.loads(answer.text)

        async def slow_save(token: Token) -> None:
            await asyncio.sleep(0)
            saved.append(token)
            await asyncio.sleep(0)

        auth = RefreshToken("refresh-0", "id", "s3cret", on_token=slow_save, clock=clock)
        caller = asyncio.create_task(auth.fetch(slow_post))
        for _ in range(step):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        assert await auth.fetch(slow_post) == "Bearer access-1"
        assert [token.refresh_token for token in saved] == ["refresh-1"]
        await auth.settle()
        assert others() == set()


def starting_with(token: Token, **options: Any) -> RefreshToken:
    return RefreshToken("refresh-0", "id", "s3cret", token=token, **options)


class TestWhen:
    @pytest.mark.parametrize(
        ("life", "early", "jitter", "renewed_after"),
        [
            (3600, 60, 0.0, 3540),
            (3600, 60, 0.5, 3510),
            (100, 60, 0.0, 90),
            (100, 60, 0.5, 85),
            (3600, 0, 0.9, 3600),
            (-50, 60, 0.5, -50),
        ],
    )
    def test_a_token_is_renewed_shortly_before_its_end(
        self, clock: Clock, life: float, early: float, jitter: float, renewed_after: float
    ) -> None:
        token = Token("access-0", "refresh-0", clock.now + life)
        auth = starting_with(token, clock=clock, early=early, random=lambda: jitter)
        start = clock.now
        clock.now = start + renewed_after - 0.001
        assert auth.ready() == "Bearer access-0"
        clock.now = start + renewed_after
        assert auth.ready() is None

    @given(life=st.floats(0.01, 1e8), early=st.floats(0, 1e6), jitter=st.floats(0, 1, exclude_max=True))
    def test_every_token_is_used_for_most_of_its_life_and_renewed_before_its_end(
        self, life: float, early: float, jitter: float
    ) -> None:
        clock = Clock()
        token = Token("access-0", expires_at=clock.now + life)
        auth = starting_with(token, clock=clock, early=early, random=lambda: jitter)
        end = clock.now + life
        clock.now = end - min(2 * early, 0.2 * life) - 1e-3
        assert auth.ready() is not None
        clock.now = end
        assert auth.ready() is None

    def test_a_token_of_unknown_life_is_used_until_it_is_refused(self, clock: Clock) -> None:
        auth = starting_with(Token("access-0", "refresh-0"), clock=clock)
        clock.now = 1e12
        assert auth.ready() == "Bearer access-0"

    async def test_a_postponed_renewal_never_outlasts_the_token(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        server.failing, server.retry_after = web.Response(status=503), "600"
        auth = login(life=30)
        clock.now += 29
        assert await auth.fetch(post) == "Bearer access-0"
        clock.now += 1
        with pytest.raises(ServerError):
            await auth.fetch(post)

    async def test_a_token_is_used_until_shortly_before_its_end(
        self, login: Login, clock: Clock, post: TokenPost
    ) -> None:
        auth = login(life=LIFE)
        clock.now += LIFE - EARLY - 1
        assert auth.ready() == "Bearer access-0"
        clock.now += 1
        assert auth.ready() is None
        assert await auth.fetch(post) == "Bearer access-1"

    async def test_chance_spreads_the_renewals_of_many_processes(self, login: Login, clock: Clock) -> None:
        sooner, later = login(life=LIFE, random=lambda: 0.9), login(life=LIFE)
        clock.now += LIFE - 1.5 * EARLY
        assert (sooner.ready(), later.ready()) == (None, "Bearer access-0")

    async def test_a_life_is_counted_from_when_it_was_asked_for(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        def slowly(_: object) -> None:
            clock.now += 100

        server.watch = slowly
        auth = login()
        await auth.fetch(post)
        assert auth.token is not None
        assert auth.token.expires_at == 1000.0 + LIFE

    @pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
    async def test_a_failing_endpoint_leaves_a_valid_token_in_use_and_is_left_alone_for_a_while(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost, status: int
    ) -> None:
        auth = login(life=LIFE)
        server.failing = web.Response(status=status)
        clock.now += LIFE - EARLY
        assert await auth.fetch(post) == "Bearer access-0"
        assert auth.ready() == "Bearer access-0"
        assert len(server.forms) == 1
        clock.now += 0.5
        server.failing = None
        assert auth.ready() is None
        assert await auth.fetch(post) == "Bearer access-1"

    @pytest.mark.parametrize(
        "failure", [ConnectionFailedError("gone"), ClientClosedError("closed"), ServerError("down")]
    )
    async def test_what_says_nothing_about_the_grant_leaves_a_valid_token_in_use(
        self, login: Login, clock: Clock, failure: LoftyError
    ) -> None:
        async def fail(*_: object) -> tuple[int, Any]:
            raise failure

        auth = login(life=LIFE)
        clock.now += LIFE - 1
        assert await auth.fetch(fail) == "Bearer access-0"
        clock.now += 1
        with pytest.raises(type(failure)):
            await auth.fetch(fail)

    async def test_a_refused_token_is_not_used_on_however_long_it_had_left(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth = login(life=LIFE)
        server.failing = web.Response(status=503)
        with pytest.raises(ServerError):
            await auth.renew("Bearer access-0", post)
        assert auth.ready() is None
        with pytest.raises(ServerError):
            await auth.fetch(post)


class TestRefused:
    async def test_one_that_was_refused_late_gets_the_newer_token_at_once(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        auth = login(life=LIFE)
        assert await auth.renew("Bearer access-0", post) == "Bearer access-1"
        assert await auth.renew("Bearer access-0", post) == "Bearer access-1"
        assert len(server.forms) == 1

    async def test_the_same_token_again_is_no_new_one(self, login: Login, server: TokenServer, post: TokenPost) -> None:
        auth = login(life=LIFE)
        server.failing = web.json_response({"access_token": "access-0"})
        assert await auth.renew("Bearer access-0", post) is None

    async def test_a_refused_refresh_says_to_log_in_again_and_is_not_repeated(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        server.refresh_token = "another"
        auth = login()
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="log in again") as caught:
                await auth.fetch(post)
            assert (caught.value.status, caught.value.name) == (400, "invalid_grant")
        assert len(server.forms) == 1

    async def test_a_wrong_client_may_be_put_right(self, login: Login, server: TokenServer, post: TokenPost) -> None:
        server.failing = web.json_response({"error": "invalid_client"}, status=401)
        auth = login()
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="client secret"):
                await auth.fetch(post)
        assert len(server.forms) == 1
        server.failing = None
        auth.client_secret = "an0ther"
        assert await auth.fetch(post) == "Bearer access-1"


ON_STRIKE = {
    "503": web.Response(status=503),
    "429": web.Response(status=429),
    "a page": web.Response(text="<html>Maintenance</html>"),
    "a refusal that nobody explains": web.Response(status=401, text="<html>"),
    "invalid_client": web.json_response({"error": "invalid_client"}, status=401),
    "invalid_grant": web.json_response({"error": "invalid_grant"}, status=400),
}


def customer(server: TokenServer, clock: Clock) -> ClientCredentials:
    return ClientCredentials("id", "s3cret", "cust0mer", token_url=server.url, clock=clock, random=lambda: 0.0)


class TestOneAttemptForAll:
    @pytest.mark.parametrize("answer", ON_STRIKE)
    async def test_a_failure_is_shared_and_so_is_the_pause_after_it(
        self, server: TokenServer, clock: Clock, post: TokenPost, answer: str
    ) -> None:
        server.failing = ON_STRIKE[answer]
        auth = customer(server, clock)
        for _ in range(3):
            failures = await asyncio.gather(*(auth.fetch(post) for _ in range(50)), return_exceptions=True)
            assert all(isinstance(failure, LoftyError) for failure in failures)
        assert len(server.forms) == 1

    @pytest.mark.parametrize(
        ("answer", "after"), [("503", 0.5), ("429", 0.5), ("a page", 0.5), ("a refusal that nobody explains", 60.0)]
    )
    async def test_after_the_pause_it_is_asked_again(
        self, server: TokenServer, clock: Clock, post: TokenPost, answer: str, after: float
    ) -> None:
        server.failing = ON_STRIKE[answer]
        auth = customer(server, clock)
        with pytest.raises(LoftyError):
            await auth.fetch(post)
        assert auth.pause() == after
        clock.now += after
        server.failing = None
        assert await auth.fetch(post) == "Bearer access-1"
        assert auth.pause() == 0

    @pytest.mark.parametrize("answer", ["invalid_client", "invalid_grant"])
    async def test_what_is_refused_for_good_is_never_sent_again(
        self, server: TokenServer, clock: Clock, post: TokenPost, answer: str
    ) -> None:
        server.failing = ON_STRIKE[answer]
        auth = customer(server, clock)
        for _ in range(3):
            with pytest.raises(AuthenticationError) as caught:
                await auth.fetch(post)
            assert caught.value.name == answer
            clock.now += 86_400
        assert len(server.forms) == 1

    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_is_honoured(
        self, server: TokenServer, clock: Clock, post: TokenPost, status: int
    ) -> None:
        server.failing, server.retry_after = web.Response(status=status), "17"
        auth = customer(server, clock)
        with pytest.raises(LoftyError):
            await auth.fetch(post)
        assert auth.pause() == 17

    async def test_a_backoff_doubles_up_to_half_a_minute_and_is_spread_by_jitter(self, clock: Clock) -> None:
        async def fail(*_: object) -> tuple[int, Any]:
            return 503, None

        async def backoffs(auth: ClientCredentials, count: int) -> list[float]:
            seconds: list[float] = []
            for _ in range(count):
                with pytest.raises(ServerError):
                    await auth.fetch(fail)
                seconds.append(auth.pause())
                clock.now += auth.pause()
            return seconds

        plain = ClientCredentials("id", "s3cret", "cust0mer", clock=clock, random=lambda: 0.0)
        spread = ClientCredentials("id", "s3cret", "cust0mer", clock=clock, random=lambda: 0.5)
        assert await backoffs(plain, 30) == [0.5, 1, 2, 4, 8, 16, *[30] * 24]
        assert await backoffs(spread, 2) == [0.75, 1.5]

    @pytest.mark.parametrize(("wanted", "seconds"), [("0.1", 0.5), ("7", 7), ("86400", 3600)])
    async def test_a_backoff_is_as_long_as_the_endpoint_asks_for_up_to_an_hour(
        self, server: TokenServer, clock: Clock, post: TokenPost, wanted: str, seconds: float
    ) -> None:
        server.failing, server.retry_after = web.Response(status=503), wanted
        auth = customer(server, clock)
        with pytest.raises(ServerError):
            await auth.fetch(post)
        assert auth.pause() == seconds

    async def test_a_backoff_ends_also_if_the_clock_is_set_back(
        self, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        server.failing = web.Response(status=503)
        auth = customer(server, clock)
        with pytest.raises(ServerError):
            await auth.fetch(post)
        clock.now -= 1
        assert auth.pause() == 0
        server.failing = None
        assert await auth.fetch(post) == "Bearer access-1"

    async def test_retry_after_is_honoured_while_a_token_is_still_good(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        server.failing, server.retry_after = web.Response(status=503), "40"
        auth = login(life=LIFE)
        clock.now += LIFE - EARLY
        for _ in range(4):
            assert await auth.fetch(post) == "Bearer access-0"
            clock.now += 9.9
        assert len(server.forms) == 1

    async def test_a_session_that_closes_under_it_costs_no_pause(
        self, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        async def closed(*_: object) -> tuple[int, Any]:
            raise ClientClosedError("closed")

        auth = customer(server, clock)
        with pytest.raises(ClientClosedError):
            await auth.fetch(closed)
        assert await auth.fetch(post) == "Bearer access-1"

    async def test_a_new_token_that_was_refused_is_not_renewed_for_a_minute(
        self, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        auth = customer(server, clock)
        first = await auth.fetch(post)
        second = await auth.renew(first, post)
        assert second is not None
        auth.rejected(first)  # of a call that was slow: it says nothing of the second
        third = await auth.renew(second, post)
        assert third is not None
        for _ in range(5):
            auth.rejected(third)
            assert await auth.renew(third, post) is None
            assert auth.ready() == third
            clock.now += 11
        clock.now += 5
        assert await auth.renew(third, post) == "Bearer access-4"
        assert len(server.forms) == 4


class TestOnToken:
    async def test_a_rotated_refresh_token_is_on_disk_before_it_is_used(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost, tmp_path: Path
    ) -> None:
        store = FileTokenStore(tmp_path / "token.json")
        on_disk: list[tuple[str, str]] = []

        def look(form: Mapping[str, Any]) -> None:
            on_disk.append((form["refresh_token"], json.loads(store.path.read_text())["refresh_token"]))

        server.watch = look
        await store.save(Token("access-0", "refresh-0"))
        auth = login(on_token=store.save)
        for _ in range(3):
            await auth.fetch(post)
            clock.now += LIFE
        assert on_disk == [(f"refresh-{n}", f"refresh-{n}") for n in range(3)]

    async def test_no_caller_has_the_token_before_on_token_is_done(self, login: Login, post: TokenPost) -> None:
        called, done = asyncio.Event(), asyncio.Event()

        async def slow(_: Token) -> None:
            called.set()
            await done.wait()

        auth = login(on_token=slow)
        caller = asyncio.create_task(auth.fetch(post))
        await called.wait()
        assert not caller.done()
        assert auth.ready() is None
        assert auth.token is not None
        done.set()
        assert await caller == "Bearer access-1"

    @pytest.mark.parametrize("has_store", [False, True])
    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            # Of another service: it is no refusal of the token endpoint.
            AuthenticationError("the vault is locked", name="invalid_grant"),
        ],
    )
    async def test_a_failing_on_token_keeps_the_token_and_is_called_again(
        self, login: Login, server: TokenServer, post: TokenPost, error: Exception, has_store: bool
    ) -> None:
        on_token = FailsAtFirst(error)
        auth = login(on_token=on_token, store=Memory() if has_store else None)
        with pytest.raises(type(error)) as caught:
            await auth.fetch(post)
        assert caught.value is error
        assert auth.ready() is None
        assert await auth.fetch(post) == "Bearer access-1"
        assert [token.refresh_token for token in on_token.tokens] == ["refresh-1", "refresh-1"]
        assert len(server.forms) == 1

    async def test_a_run_cancelled_in_on_token_keeps_the_token(
        self, login: Login, server: TokenServer, post: TokenPost
    ) -> None:
        heard: list[Token] = []
        first, never = asyncio.Event(), asyncio.Event()

        async def stuck_at_first(token: Token) -> None:
            heard.append(token)
            if len(heard) == 1:
                first.set()
                await never.wait()

        auth = login(on_token=stuck_at_first)
        caller = asyncio.create_task(auth.fetch(post))
        await first.wait()
        run_under_way().cancel()
        assert await caller == "Bearer access-1"
        assert len(server.forms) == 1

    @pytest.mark.parametrize("itself", [True, False])
    async def test_a_cancellation_of_its_own_is_an_error_of_on_token(
        self, login: Login, server: TokenServer, post: TokenPost, itself: bool
    ) -> None:
        heard: list[Token] = []

        async def cancelled(token: Token) -> None:
            heard.append(token)
            task = asyncio.current_task()
            if itself and task:
                task.cancel()
                await asyncio.sleep(0)
            raise asyncio.CancelledError

        auth = login(on_token=cancelled)
        async with asyncio.timeout(10):
            callers = await asyncio.gather(*(auth.fetch(post) for _ in range(20)), return_exceptions=True)
        assert {type(outcome) for outcome in callers} == {RuntimeError}
        assert len(heard) <= 2
        auth.on_token = heard.append
        assert await auth.fetch(post) == "Bearer access-1"
        assert len(server.forms) == 1

    async def test_a_post_that_cancels_itself_is_an_error_too(self, login: Login) -> None:
        posts = 0

        async def cancelled(*_: object) -> tuple[int, Any]:
            nonlocal posts
            posts += 1
            raise asyncio.CancelledError

        with pytest.raises(RuntimeError, match="cancelled from within"):
            await login().fetch(cancelled)
        assert posts == 1

    async def test_a_kept_token_that_has_ended_meanwhile_is_renewed_once_it_is_saved(
        self, login: Login, clock: Clock, post: TokenPost
    ) -> None:
        on_token = FailsAtFirst(OSError(28, "No space left on device"))
        auth = login(on_token=on_token)
        with pytest.raises(OSError, match="No space left"):
            await auth.fetch(post)
        clock.now += LIFE
        assert await auth.fetch(post) == "Bearer access-2"
        assert [token.refresh_token for token in on_token.tokens] == ["refresh-1", "refresh-1", "refresh-2"]

    async def test_an_on_token_that_waits_for_itself_is_told_so(self, login: Login, post: TokenPost) -> None:
        async def circular(_: Token) -> None:
            await auth.fetch(post)

        auth = login(on_token=circular)
        with pytest.raises(RuntimeError, match="on_token must not"):
            await auth.fetch(post)

    async def test_a_login_is_taken_up_from_its_store(
        self, server: TokenServer, post: TokenPost, tmp_path: Path
    ) -> None:
        store = FileTokenStore(tmp_path / "token.json")
        with pytest.raises(AuthenticationError, match="log in first"):
            await RefreshToken.from_store(store, "id", "s3cret")
        await store.save(Token("access-0", "refresh-0"))
        auth = await RefreshToken.from_store(store, "id", "s3cret", token_url=server.url)
        assert auth.ready() == "Bearer access-0"
        assert await auth.renew("Bearer access-0", post) == "Bearer access-1"
        stored = await store.load()
        assert stored is not None
        assert stored.refresh_token == "refresh-1"


@define
class Memory:
    """A store of the user's own, which may keep the marks of tokens or not."""

    token: Token | None = None
    keeps_origin: bool = True
    saved: list[str | None] = field(factory=list)

    async def load(self) -> Token | None:
        return self.token

    async def save(self, token: Token) -> None:
        self.saved.append(token.refresh_token)
        self.token = token if self.keeps_origin else evolve(token, origin=None)


class TestStore:
    @pytest.mark.parametrize("keeps_origin", [True, False])
    async def test_a_refresh_token_goes_on_after_a_restart(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost, keeps_origin: bool
    ) -> None:
        store = Memory(keeps_origin=keeps_origin)
        for number in range(1, 4):
            assert await login(store=store).fetch(post) == f"Bearer access-{number}"
            assert await login(store=store).fetch(post) == f"Bearer access-{number}", "a good one is used on"
            clock.now += LIFE
        assert store.saved == ["refresh-1", "refresh-2", "refresh-3"]
        assert len(server.forms) == 3

    async def test_another_login_begins_anew(self, login: Login, server: TokenServer, post: TokenPost) -> None:
        store = Memory()
        await login(store=store).fetch(post)
        server.refresh_token = "newer"
        other = RefreshToken("newer", "id", "s3cret", token_url=server.url, store=store)
        assert await other.fetch(post) == "Bearer access-2"
        assert [form["refresh_token"] for form in server.forms] == ["refresh-0", "newer"]

    async def test_one_whose_mark_is_lost_is_tried_first(
        self, login: Login, server: TokenServer, clock: Clock, post: TokenPost
    ) -> None:
        store = Memory(Token("ended", "dead", clock.now - 1))
        assert await login(store=store).fetch(post) == "Bearer access-1"
        assert [form["refresh_token"] for form in server.forms] == ["dead", "refresh-0"]

    async def test_two_that_share_a_store_use_one_renewal(
        self, server: TokenServer, clock: Clock, post: TokenPost, tmp_path: Path
    ) -> None:
        store = FileTokenStore(tmp_path / "token.json")
        await store.save(Token("access-0", "refresh-0", clock.now - 1))
        logins = [
            await RefreshToken.from_store(store, "id", "s3cret", token_url=server.url, on_token=None) for _ in range(3)
        ]
        for auth in logins:
            auth.clock = clock
        assert set(await asyncio.gather(*(auth.fetch(post) for auth in logins))) == {"Bearer access-1"}
        assert len(server.forms) == 1

    async def test_nothing_is_spent_that_could_not_be_kept(
        self, login: Login, server: TokenServer, post: TokenPost, tmp_path: Path
    ) -> None:
        auth = login(store=FileTokenStore(tmp_path / "none" / "token.json"))
        with pytest.raises(AuthenticationError, match="cannot be kept"):
            await auth.fetch(post)
        assert server.forms == []

    async def test_on_token_is_called_as_well(self, login: Login, post: TokenPost) -> None:
        heard: list[Token] = []
        store = Memory()
        await login(store=store, on_token=heard.append).fetch(post)
        assert heard == [store.token]


class TestEventLoops:
    """A run belongs to its loop: another loop starts its own."""

    @staticmethod
    def auth() -> ClientCredentials:
        return ClientCredentials("id", "s3cret", "cust0mer")

    @staticmethod
    async def grant(*_: object) -> tuple[int, Any]:
        return 200, {"access_token": "granted"}

    @staticmethod
    async def never(*_: object) -> tuple[int, Any]:
        await asyncio.Event().wait()
        return 500, None

    def test_threads_that_share_a_credential_spend_its_refresh_token_once(self) -> None:
        spent: list[str] = []
        waiting, is_spent = threading.Barrier(4), threading.Event()

        async def post(_: str, form: Mapping[str, str], __: object) -> tuple[int, Any]:
            spent.append(form["refresh_token"])
            is_spent.set()
            await asyncio.to_thread(waiting.wait, 10)
            return 200, {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": LIFE}

        async def caller() -> str:
            fetching = asyncio.create_task(auth.fetch(post))
            for _ in range(5):
                await asyncio.sleep(0)
            if threading.current_thread() is not threads[0]:
                await asyncio.to_thread(waiting.wait, 10)
            return await fetching

        auth = RefreshToken("refresh-0", "id", "s3cret")
        headers: list[str] = []
        threads = [threading.Thread(target=lambda: headers.append(asyncio.run(caller()))) for _ in range(4)]
        threads[0].start()
        assert is_spent.wait(10)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (headers, spent) == (["Bearer access-1"] * 4, ["refresh-0"])

    def test_a_loop_that_stopped_in_the_middle_of_a_run_holds_up_no_other(self) -> None:
        auth = RefreshToken("refresh-0", "id", "s3cret")
        with asyncio.Runner() as runner:
            caller = runner.run(self._begun(auth))
            assert asyncio.run(auth.fetch(self.grant)) == "Bearer granted"
            assert not caller.done()

    async def _begun(self, auth: ClientCredentials | RefreshToken) -> "asyncio.Task[str]":
        caller = asyncio.create_task(auth.fetch(self.never))
        await asyncio.sleep(0)
        return caller

    def test_a_loop_does_not_wait_for_a_run_of_another(self) -> None:
        auth = self.auth()
        with asyncio.Runner() as runner:
            caller = runner.run(self._begun(auth))
            assert asyncio.run(auth.fetch(self.grant)) == "Bearer granted"
            assert not caller.done()

    def test_a_loop_closed_in_the_middle_of_a_run_is_forgotten(self) -> None:
        auth, loop = self.auth(), asyncio.new_event_loop()
        caller = loop.run_until_complete(self._begun(auth))
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined] # left behind on purpose
        loop.close()
        assert asyncio.run(auth.fetch(self.grant)) == "Bearer granted"
        assert auth._single_flight._tasks == {}
        assert not caller.done()

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda auth: pickle.loads(pickle.dumps(auth))])  # noqa: S301 - our own
    def test_a_copy_made_in_the_middle_of_a_run_starts_without_it(self, duplicate: Callable[[Any], Any]) -> None:
        auth = self.auth()
        with asyncio.Runner() as runner:
            runner.run(self._begun(auth))
            assert asyncio.run(duplicate(auth).fetch(self.grant)) == "Bearer granted"
        assert auth.ready() is None


async def test_client_credentials_ask_with_the_customer_key(server: TokenServer, post: TokenPost) -> None:
    auth = ClientCredentials("id", "s3cret", "cust0mer", token_url=server.url)
    assert await auth.fetch(post) == "Bearer access-1"
    assert await auth.renew("Bearer access-1", post) == "Bearer access-2"
    asked = {
        "grant_type": "client_credentials",
        "client_id": "id",
        "client_secret": "s3cret",
        "customer_key": "cust0mer",
    }
    assert server.forms == [asked, asked]


def test_each_grant_has_its_documented_endpoint() -> None:
    assert RefreshToken("r", "id", "secret").token_url == CRM_TOKEN_URL
    assert RefreshToken("r", "id").token_url == API_TOKEN_URL
    assert ClientCredentials("id", "secret", "customer").token_url == API_TOKEN_URL


def test_the_refresh_token_given_goes_before_that_of_the_token() -> None:
    assert RefreshToken("newer", "id", "secret", token=Token("a", "older")).refresh_token == "newer"
    assert RefreshToken(None, "id", "secret", token=Token("a", "kept")).refresh_token == "kept"


Attempt = Callable[[RefreshToken, TokenPost], Awaitable[object]]


@pytest.mark.parametrize("failing", [None, 302, 400, 401, 429, 500, 200])
@pytest.mark.parametrize("attempt", [RefreshToken.fetch, lambda auth, post: auth.renew("Bearer access-0", post)])
async def test_no_secret_shows_in_a_repr_a_log_or_an_exception(  # noqa: PLR0917 - fixtures
    login: Login,
    server: TokenServer,
    post: TokenPost,
    caplog: pytest.LogCaptureFixture,
    failing: int | None,
    attempt: Attempt,
) -> None:
    secrets = ("s3cret", "refresh-0", "refresh-1", "access-0", "access-1", "aWQ6czNjcmV0")
    if failing is not None:
        server.failing = web.Response(status=failing, text=json.dumps({"error": secrets, "message": secrets}))
    auth = login(life=30)
    shown = [repr(auth), repr(auth.token)]
    with caplog.at_level(logging.DEBUG):
        try:
            await attempt(auth, post)
        except LoftyError as error:
            shown += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    shown += [repr(auth), repr(auth.token), caplog.text]
    assert not [secret for secret in secrets if any(secret in text for text in shown)]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("refresh_token", ""),
        ("refresh_token", None),
        ("client_id", ""),
        ("client_id", "a:b"),
        ("client_secret", "two words"),
        ("token_url", "http://crm.lofty.com/"),
        ("token", "access"),
        ("on_token", 5),
        ("store", 5),
        ("allow_http", "yes"),
        ("early", -1),
        ("early", float("nan")),
        ("early", True),
        ("clock", 5.0),
        ("random", 5.0),
    ],
)
def test_a_wrong_value_is_refused_by_name(argument: str, value: Any) -> None:
    values = {"refresh_token": "r", "client_id": "id", "client_secret": "secret"} | {argument: value}
    with pytest.raises(InvalidRequestError) as caught:
        RefreshToken(**values)
    assert caught.value.argument == argument
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("argument", ["client_id", "client_secret", "customer_key"])
def test_client_credentials_refuse_what_cannot_be_sent(argument: str) -> None:
    values: dict[str, Any] = {"client_id": "id", "client_secret": "secret", "customer_key": "customer"}
    with pytest.raises(InvalidRequestError) as caught:
        ClientCredentials(**values | {argument: "\n"})
    assert caught.value.argument == argument


def test_plain_http_elsewhere_is_for_those_who_allow_it() -> None:
    url = "http://sandbox:8080/oauth/token"
    assert RefreshToken("r", "id", token_url=url, allow_http=True).token_url == url
    assert ClientCredentials("id", "s", "k", token_url=url, allow_http=True).token_url == url
    with pytest.raises(InvalidRequestError, match="token_url"):
        ClientCredentials("id", "s", "k", token_url=url)


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\t", "\ufeff", "\xa0", "\u200b"])
def test_white_space_that_was_pasted_along_is_dropped(around: str) -> None:
    def pasted(text: str) -> str:
        return f"{around}{text}{around}"

    refresh = RefreshToken(pasted("r"), pasted("id"), pasted("s"))
    client = ClientCredentials(pasted("id"), pasted("s"), customer_key=pasted("k"))
    assert (refresh.refresh_token, refresh.client_id, refresh.client_secret) == ("r", "id", "s")
    assert (client.client_id, client.client_secret, client.customer_key) == ("id", "s", "k")
    assert Token(pasted("a")).header == "Bearer a"
