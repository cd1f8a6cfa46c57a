"""`lofty.webhooks`: subscriptions, and never two of one."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define

from lofty_async import (
    AmbiguousWriteError,
    ApiKey,
    InvalidRequestError,
    LoftyClient,
    NotFoundError,
    PermissionDeniedError,
    PermissionMode,
    RequestTimeoutError,
    WebhookEvent,
    WebhookSubscription,
)
from lofty_async.auth import Auth
from lofty_async.sandbox import Sandbox, faults
from tests.virtual import late, now, run_with_sandbox

if TYPE_CHECKING:
    from tests.conftest import OpenClient

CREATE = "POST /v1.0/webhook"
LIST = "GET /v1.0/webhooks"
URL = "https://example.com/hooks/0f3c"


def subscribed(sandbox: Sandbox) -> list[tuple[int, str]]:
    return [(one.event, one.callback_url) for one in sandbox.webhooks.subscriptions.own()]


def routes(sandbox: Sandbox) -> list[str]:
    return [request.route for request in sandbox.requests]


async def test_create_list_delete(sandbox: Sandbox, lofty: LoftyClient) -> None:
    made = await lofty.webhooks.create(WebhookEvent.TASK, URL, limit=5000, permission_mode=PermissionMode.OWNERSHIP)
    assert isinstance(made, WebhookSubscription)
    assert (made.event, made.callback_url, made.limit) == (WebhookEvent.TASK, URL, 5000)
    assert made.permission_mode is PermissionMode.OWNERSHIP
    assert sandbox.requests[0].json() == {"listId": 10, "callbackUrl": URL, "limit": 5000, "permissionMode": 1}
    assert await lofty.webhooks.list().collect() == [made]
    await lofty.webhooks.delete(made.id)
    assert await lofty.webhooks.list().collect() == []


async def test_the_defaults_are_sent(sandbox: Sandbox, lofty: LoftyClient) -> None:
    await lofty.webhooks.create(2, URL)
    assert sandbox.requests[0].json() == {"listId": 2, "callbackUrl": URL, "limit": 100, "permissionMode": 0}


@pytest.mark.parametrize("way", ["create", "ensure"])
@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"event": 0}, "event"),
        ({"event": 13}, "event"),
        ({"event": "TASKS"}, "event"),
        ({"event": "13"}, "event"),
        ({"event": ""}, "event"),
        ({"permission_mode": "OWNER"}, "permission_mode"),
        ({"callback_url": "http://example.com"}, "callback_url"),
        ({"callback_url": "example.com"}, "callback_url"),
        ({"callback_url": "https://"}, "callback_url"),
        ({"callback_url": ""}, "callback_url"),
        ({"callback_url": None}, "callback_url"),
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"permission_mode": 2}, "permission_mode"),
    ],
)
async def test_what_is_wrong_is_refused_before_it_is_sent(
    sandbox: Sandbox, lofty: LoftyClient, way: str, change: dict[str, Any], argument: str
) -> None:
    fields: dict[str, Any] = {"event": 10, "callback_url": URL} | change
    with pytest.raises(InvalidRequestError) as caught:
        await getattr(lofty.webhooks, way)(**fields)
    assert caught.value.argument == argument
    assert sandbox.requests == []


@pytest.mark.parametrize("way", ["create", "ensure"])
@pytest.mark.parametrize("event", ["LEAD_ACTIVITY", "lead_activity", "lead-activity", "3", WebhookEvent.LEAD_ACTIVITY])
@pytest.mark.parametrize("mode", ["OWNERSHIP", "ownership", "1", 1])
async def test_events_and_modes_are_taken_by_name(
    sandbox: Sandbox, lofty: LoftyClient, way: str, event: Any, mode: Any
) -> None:
    made = await getattr(lofty.webhooks, way)(event, URL, permission_mode=mode)
    assert made.event is WebhookEvent.LEAD_ACTIVITY
    assert made.permission_mode is PermissionMode.OWNERSHIP
    assert sandbox.requests[-1].json() == {"listId": 3, "callbackUrl": URL, "limit": 100, "permissionMode": 1}


@pytest.mark.parametrize("id", [0, -1, True, "7001", None])
async def test_delete_takes_an_id(sandbox: Sandbox, lofty: LoftyClient, id: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await lofty.webhooks.delete(id)
    assert caught.value.argument == "id"
    assert sandbox.requests == []


async def test_plain_addresses_are_for_sandboxes(open_client: "OpenClient") -> None:
    async with Sandbox(1, allow_http=True) as sandbox:
        lofty = open_client(base_url=sandbox.url, allow_http=True)
        made = await lofty.webhooks.create(10, "http://127.0.0.1:9/hook")
        assert made.callback_url == "http://127.0.0.1:9/hook"


async def test_what_cannot_be_deleted(sandbox: Sandbox, lofty: LoftyClient) -> None:
    with pytest.raises(NotFoundError) as missing:
        await lofty.webhooks.delete(5)
    assert missing.value.name == "WEBHOOK_DELETE_NOT_EXIST"
    foreign = sandbox.webhooks.subscriptions.add(10, URL, team_id=5)
    with pytest.raises(PermissionDeniedError) as denied:
        await lofty.webhooks.delete(foreign.id)
    assert denied.value.name == "WEBHOOK_DELETE_NO_AUTHORITY"


async def test_too_many(open_client: "OpenClient") -> None:
    async with Sandbox(1, most_webhooks=0) as sandbox:
        with pytest.raises(InvalidRequestError) as caught:
            await open_client(base_url=sandbox.url).webhooks.create(10, URL)
        assert caught.value.name == "WEBHOOK_EXCEED_LIMIT"


@pytest.mark.parametrize("fault", [faults.DropBefore(), faults.DropAfter(), faults.NotJson(), faults.Reply()])
async def test_create_is_never_sent_twice(sandbox: Sandbox, lofty: LoftyClient, fault: faults.Fault) -> None:
    sandbox.faults.add(CREATE, fault)
    with pytest.raises(AmbiguousWriteError) as caught:
        await lofty.webhooks.create(10, URL)
    assert (caught.value.lead_id, caught.value.sent["callbackUrl"]) == (None, URL)
    assert routes(sandbox) == [CREATE]


@pytest.mark.parametrize("body", ["", {}, [], {"subscribeId": None}])
async def test_an_answer_that_does_not_name_it(sandbox: Sandbox, lofty: LoftyClient, body: Any) -> None:
    sandbox.faults.add(CREATE, faults.Reply(200, body))
    with pytest.raises(AmbiguousWriteError, match="does not identify it"):
        await lofty.webhooks.create(10, URL)


class TestEnsure:
    async def test_the_one_that_exists(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        for event, url in ((10, URL + "0"), (11, URL), (10, URL)):
            sandbox.webhooks.subscriptions.add(event, url)
        found = await lofty.webhooks.ensure(WebhookEvent.TASK, URL, limit=7)
        assert (found.event, found.callback_url, found.limit) == (WebhookEvent.TASK, URL, 100)
        assert routes(sandbox) == [LIST]

    async def test_a_new_one(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        made = await lofty.webhooks.ensure(10, URL, limit=7, permission_mode=1)
        assert (made.limit, made.permission_mode) == (7, PermissionMode.OWNERSHIP)
        assert await lofty.webhooks.ensure(10, URL) == made
        assert subscribed(sandbox) == [(10, URL)]

    @pytest.mark.parametrize("fault", [faults.DropAfter(), faults.TruncatedBody(), faults.NotJson()])
    async def test_an_answer_that_is_lost(self, sandbox: Sandbox, lofty: LoftyClient, fault: faults.Fault) -> None:
        sandbox.faults.add(CREATE, fault)
        made = await lofty.webhooks.ensure(10, URL)
        assert subscribed(sandbox) == [(10, URL)]
        assert [one.id for one in sandbox.webhooks.subscriptions.own()] == [made.id]

    async def test_where_looking_fails_too_it_is_not_created_again(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(CREATE, faults.DropAfter())
        sandbox.faults.add(LIST, after=1, times=None)
        with pytest.raises(AmbiguousWriteError):
            await lofty.webhooks.ensure(10, URL)
        assert subscribed(sandbox) == [(10, URL)]

    async def test_several_at_once_are_one(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        await lofty.webhooks.list().collect()  # the first call goes alone in any case
        sandbox.faults.add(LIST, faults.Reply(200, []), times=None)  # what was made shows late
        made = await asyncio.gather(*(lofty.webhooks.ensure(10, URL) for _ in range(3)))
        assert subscribed(sandbox) == [(10, URL)]
        assert {one.id for one in made} == {one.id for one in sandbox.webhooks.subscriptions.own()}

    async def test_several_clients_of_one_credential_are_one(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        clients = [open_client(ApiKey(sandbox.auth.key)) for _ in range(2)]
        made = await asyncio.gather(*(lofty.webhooks.ensure(10, URL) for lofty in clients))
        assert subscribed(sandbox) == [(10, URL)]
        assert made[0] == made[1]

    async def test_a_credential_need_not_be_hashable(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        @define
        class Own(Auth):
            key: str

            def ready(self) -> str:
                return f"token {self.key}"

        lofty = open_client(Own(sandbox.auth.key))
        assert len({one.id for one in await asyncio.gather(*(lofty.webhooks.ensure(10, URL) for _ in range(2)))}) == 1

    async def test_several_at_once_go_on_after_one_that_fails(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        sandbox.faults.add(CREATE, faults.Reply(403, {"code": 200100}))
        both = (lofty.webhooks.ensure(10, URL) for _ in range(2))
        failure, made = await asyncio.gather(*both, return_exceptions=True)
        assert isinstance(failure, PermissionDeniedError)
        assert isinstance(made, WebhookSubscription)


class TestEnsureInDoubt:
    """The looks are seconds apart, in virtual time."""

    @pytest.mark.parametrize(
        "fault",
        [
            faults.DropBefore(),
            faults.NotJson(lost=True),
            faults.Reply(503),
            faults.Reply(408, ""),
            faults.Reply(200, {}),
        ],
    )
    def test_it_is_created_once_and_looked_for(self, fault: faults.Fault) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(CREATE, fault, times=None)
            began = now()
            with pytest.raises(AmbiguousWriteError) as caught:
                await lofty.webhooks.ensure(10, URL)
            assert caught.value.sent["callbackUrl"] == URL
            assert routes(sandbox) == [LIST, CREATE, LIST, LIST, LIST]
            assert now() - began == pytest.approx(2.5, abs=0.2)

        run_with_sandbox(scenario)

    @pytest.mark.parametrize(("lag", "is_seen"), [(0.4, True), (2.4, True), (4.0, False)])
    @pytest.mark.parametrize("callers", [1, 3])
    def test_what_lands_late_is_seen_or_in_doubt_for_all(self, lag: float, *, is_seen: bool, callers: int) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(CREATE, late(lag))
            ensures = (lofty.webhooks.ensure(10, URL) for _ in range(callers))
            outcomes = await asyncio.gather(*ensures, return_exceptions=True)
            await asyncio.sleep(lag)
            assert subscribed(sandbox) == [(10, URL)]
            kind = WebhookSubscription if is_seen else AmbiguousWriteError
            assert {type(outcome) for outcome in outcomes} == {kind}

        run_with_sandbox(scenario)

    def test_one_that_is_cancelled_leaves_its_create_to_the_others(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(CREATE, faults.Latency(3))
            first, second = (asyncio.create_task(lofty.webhooks.ensure(10, URL)) for _ in range(2))
            await asyncio.sleep(1)
            first.cancel()
            made = await second
            assert first.cancelled()
            assert [one.id for one in sandbox.webhooks.subscriptions.own()] == [made.id]
            assert routes(sandbox) == [LIST, CREATE]

        run_with_sandbox(scenario)

    def test_the_last_to_be_cancelled_takes_the_create_along(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(CREATE, faults.Latency(3))
            ensures = [asyncio.create_task(lofty.webhooks.ensure(10, URL)) for _ in range(2)]
            await asyncio.sleep(1)
            before = asyncio.all_tasks()
            for ensure in ensures:
                ensure.cancel()
            await asyncio.wait(ensures)
            assert all(ensure.cancelled() for ensure in ensures)
            assert lofty.rate_limit.in_flight == 0
            assert len(before - asyncio.all_tasks()) == 3
            sandbox.faults.clear()
            assert (await lofty.webhooks.ensure(10, URL)).callback_url == URL

        run_with_sandbox(scenario)

    def test_what_kept_one_from_asking_is_not_what_the_others_hear(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(LIST, faults.Latency(3))
            hasty = lofty.with_options(timeout=1, retries=0)
            ensures = hasty.webhooks.ensure(10, URL), lofty.webhooks.ensure(10, URL)
            failure, made = await asyncio.gather(*ensures, return_exceptions=True)
            assert isinstance(failure, RequestTimeoutError)
            assert isinstance(made, WebhookSubscription)
            assert subscribed(sandbox) == [(10, URL)]

        run_with_sandbox(scenario)
