"""`on_event`: what a listener is told of a call, and that it costs the call nothing."""

import asyncio
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import attrs
import pytest

from lofty_async import (
    AmbiguousWriteError,
    ApiKey,
    CallFinished,
    CallStarted,
    ConnectionFailedError,
    InvalidRequestError,
    Lane,
    LoftyClient,
    RateLimitWaitError,
    RequestFailed,
    RequestSent,
    ResponseReceived,
    RetryPolicy,
    RetryScheduled,
    WaitEvent,
    events,
)
from lofty_async.auth import Auth, TokenPost
from lofty_async.events import Event
from lofty_async.sandbox import Sandbox, faults
from tests.conftest import Hold, OpenClient, in_turn
from tests.virtual import exhausted, run

ME = "GET /v1.0/me"


def kinds(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


def only(told: list[Event], kind: type) -> Any:
    (event,) = (event for event in told if isinstance(event, kind))
    return event


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def lofty(open_client: OpenClient, told: list[Event]) -> LoftyClient:
    return open_client(on_event=told.append)


class TestACall:
    async def test_is_told_from_its_start_to_its_end(
        self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event]
    ) -> None:
        await lofty.me()
        number = only(told, CallStarted).call
        seconds = only(told, ResponseReceived).seconds
        assert told == [
            CallStarted(number, ME, Lane.INTERACTIVE, sandbox.url),
            RequestSent(number, ME, 1, 0.0),
            ResponseReceived(number, ME, 1, 0.0, seconds, 200, 9_999, None),
            CallFinished(number, ME, 1, 0.0, only(told, CallFinished).seconds, 200, None),
        ]
        assert 0 < seconds <= only(told, CallFinished).seconds

    async def test_has_a_number_of_its_own(self, lofty: LoftyClient, told: list[Event], lead_id: int) -> None:
        await asyncio.gather(lofty.me(), lofty.with_options(timeout=5).tasks.list(lead_id).collect())
        assert len({event.call for event in told if not isinstance(event, WaitEvent)}) == 2

    async def test_that_is_retried(self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event]) -> None:
        sandbox.faults.add(ME, in_turn(faults.DropAfter(), faults.Reply(503, "")), times=2)
        await lofty.me()
        attempt = ["RequestSent", "RequestFailed", "RetryScheduled"]
        again = ["RequestSent", "ResponseReceived", "RetryScheduled"]
        assert kinds(told) == ["CallStarted", *attempt, *again, "RequestSent", "ResponseReceived", "CallFinished"]
        assert only(told, RequestFailed).error == "ConnectionFailedError"
        retries = [event for event in told if isinstance(event, RetryScheduled)]
        assert [(event.attempt, event.reason) for event in retries] == [
            (1, "ConnectionFailedError"),
            (2, "HTTP 503, ServerError"),
        ]
        assert (only(told, CallFinished).attempts, only(told, CallFinished).status) == (3, 200)

    async def test_that_is_rate_limited(self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event]) -> None:
        sandbox.faults.add(ME, faults.Reply(429, ""))
        await lofty.me()
        assert only(told, RetryScheduled).reason == "HTTP 429, RateLimitedError"

    async def test_whose_credential_is_renewed(
        self, sandbox: Sandbox, open_client: OpenClient, told: list[Event]
    ) -> None:
        good = str(sandbox.auth.ready())

        class Stale(Auth):
            value = "token stale"

            def ready(self) -> str:
                return self.value

            async def renew(self, refused: str, post: TokenPost) -> str:  # noqa: ARG002 - needs no endpoint
                self.value = good
                return good

        await open_client(Stale(), on_event=told.append).me()
        assert only(told, RetryScheduled).reason.endswith("AuthenticationError")
        assert only(told, CallFinished).attempts == 2

    async def test_that_fails(self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event]) -> None:
        sandbox.faults.add(ME, faults.DropAfter(), times=None)
        with pytest.raises(ConnectionFailedError):
            await lofty.with_options(retries=0).me()
        assert kinds(told) == ["CallStarted", "RequestSent", "RequestFailed", "CallFinished"]
        assert (told[-1].status, told[-1].error) == (None, "ConnectionFailedError")  # type: ignore[union-attr] # as above

    async def test_that_is_ambiguous(
        self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event], call_fields: Any
    ) -> None:
        sandbox.faults.add("POST /v2.0/tasks", faults.Reply(504, ""))
        with pytest.raises(AmbiguousWriteError):
            await lofty.tasks.create(**call_fields)
        assert (only(told, CallFinished).status, only(told, CallFinished).error) == (504, "AmbiguousWriteError")

    async def test_that_is_cancelled(self, sandbox: Sandbox, lofty: LoftyClient, told: list[Event], hold: Hold) -> None:
        sandbox.faults.add(ME, hold)
        task = asyncio.create_task(lofty.me())
        await hold.reached()
        task.cancel()
        await asyncio.wait({task})
        assert kinds(told) == ["CallStarted", "RequestSent", "RequestFailed", "CallFinished"]
        assert only(told, RequestFailed).error == only(told, CallFinished).error == "CancelledError"

    async def test_of_a_path_without_a_method_has_no_id_in_it(self, lofty: LoftyClient, told: list[Event]) -> None:
        with pytest.raises(Exception, match=r"GET /v1\.0/notes/731000000000999"):
            await lofty.request("GET", "/v1.0/notes/731000000000999", params={"q": "Anna"})
        assert only(told, CallStarted).route == "GET /v1.0/notes/{id}"
        assert not [event for event in told if "Anna" in repr(event) or "731000000000999" in repr(event)]

    async def test_says_nothing_of_what_it_carries(
        self, lofty: LoftyClient, told: list[Event], call_fields: Any, lead_id: int
    ) -> None:
        await lofty.tasks.create(**call_fields | {"content": "Anna"})
        await lofty.tasks.list(lead_id).collect()
        key = str(lofty._caller.manager.auth.ready()).split()[1]
        assert len(told) == 8
        assert not [event for event in told for part in ("Anna", str(lead_id), key) if part in repr(event)]


class TestWaits:
    def test_above_the_threshold_are_told(self, told: list[Event]) -> None:
        async def main() -> None:
            async with Sandbox(1, 1, limit=1000) as sandbox:
                limiter = exhausted(1000, wait_threshold=30.0)
                async with LoftyClient(
                    sandbox.auth, base_url=sandbox.url, limiter=limiter, on_event=told.append
                ) as one:
                    await asyncio.gather(one.me(), one.with_options(lane=Lane.BULK).me())

        run(main())
        waits = [event for event in told if isinstance(event, WaitEvent)]
        assert {(event.route, event.lane) for event in waits} == {(ME, Lane.INTERACTIVE), (ME, Lane.BULK)}
        assert all(60 <= event.seconds < 65 for event in waits)
        sent = [event.waited for event in told if isinstance(event, RequestSent)]
        assert sorted(sent) == sorted(event.seconds for event in waits)

    def test_that_are_refused_end_the_call(self, told: list[Event]) -> None:
        async def main() -> None:
            async with LoftyClient(ApiKey("key"), limiter=exhausted(), max_wait=1, on_event=told.append) as lofty:
                with pytest.raises(RateLimitWaitError):
                    await lofty.me()

        run(main())
        assert kinds(told) == ["CallStarted", "CallFinished"]
        assert only(told, CallFinished).error == "RateLimitWaitError"


class TestAListener:
    @pytest.mark.parametrize("failure", [ValueError("mine"), asyncio.CancelledError(), GeneratorExit()])
    async def test_that_fails_costs_nothing(
        self, open_client: OpenClient, caplog: pytest.LogCaptureFixture, failure: BaseException
    ) -> None:
        def listen(_: Event) -> None:
            raise failure

        lofty = open_client(on_event=listen)
        assert (await lofty.me()).id
        assert lofty.rate_limit.in_flight == 0
        assert [record.message for record in caplog.records if record.name == "lofty_async.events"] == [
            "a listener failed"
        ] * 4

    @pytest.mark.parametrize("at", ["CallStarted", "RequestSent", "ResponseReceived", "CallFinished"])
    async def test_that_is_interrupted_leaves_nothing_behind(self, open_client: OpenClient, at: str) -> None:
        def listen(event: Event) -> None:
            if type(event).__name__ == at:
                raise SystemExit

        lofty = open_client(on_event=listen)
        with pytest.raises(SystemExit):
            await lofty.me()
        assert lofty.rate_limit.in_flight == 0

    async def test_has_to_be_a_plain_function(self) -> None:
        async def listen(_: Event) -> None: ...

        class Listener:
            async def __call__(self, _: Event) -> None: ...

        for wrong in (listen, Listener(), "print", 5):
            with pytest.raises(InvalidRequestError, match="on_event must be a plain function"):
                LoftyClient(ApiKey("key"), on_event=wrong)  # type: ignore[arg-type] # on purpose

    async def test_of_a_client_hears_nothing_of_others(self, open_client: OpenClient, told: list[Event]) -> None:
        open_client(on_event=told.append)
        await open_client().me()
        assert told == []


async def test_nobody_listening_costs_nothing(lofty: LoftyClient, open_client: OpenClient) -> None:
    home = Path(events.__file__).parent
    watching = {str(home / name) for name in ("_observe.py", "_logging.py", "events.py")}

    async def functions(client: LoftyClient) -> set[str]:
        seen = set[CodeType]()
        await client.me()
        sys.setprofile(lambda frame, event, _: seen.add(frame.f_code) if event == "call" else None)
        try:
            await client.me()
        finally:
            sys.setprofile(None)
        return {code.co_name for code in seen if code.co_filename in watching}

    assert "tell" in await functions(lofty)
    assert await functions(open_client()) == set()


@pytest.mark.parametrize("name", sorted(set(events.__all__) - {"Event", "OnEvent"}))
def test_events_are_frozen(name: str) -> None:
    kind = getattr(events, name)
    event = kind(*range(len(attrs.fields(kind))))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.route = ""
    assert event == kind(*range(len(attrs.fields(kind))))


def test_no_wait_of_a_retry_is_a_wait_for_the_limit(told: list[Event]) -> None:
    async def main() -> None:
        async with Sandbox(1, 1, limit=1000) as sandbox:
            sandbox.faults.add(ME, faults.Reply(503, ""), times=2)
            policy = RetryPolicy(base_delay=10)
            async with LoftyClient(sandbox.auth, base_url=sandbox.url, retry=policy, on_event=told.append) as lofty:
                await lofty.me()

    run(main())
    assert not [event for event in told if isinstance(event, WaitEvent)]
    assert only(told, CallFinished).waited == 0
    assert sum(event.delay for event in told if isinstance(event, RetryScheduled)) > 0
