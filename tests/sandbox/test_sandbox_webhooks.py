import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from attrs import define, field

from lofty_async.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api, Clock

HOOK = {"listId": 10, "callbackUrl": "https://example.com/hook/abc"}
TASK, APPOINTMENT = 10, 11


@define
class Subscriber:
    """Somebody who takes what is posted."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(factory=list)
    meanwhile: list[Callable[[], object]] = field(factory=list)

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.bodies.append(await request.json())
        if self.meanwhile:
            self.meanwhile.pop()()
        return web.Response()


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    taker = Subscriber()
    app = web.Application()
    app.add_routes([web.post("/hook", taker.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    taker.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield taker
    await runner.cleanup()


@pytest.fixture
async def sandbox(clock: "Clock") -> Sandbox:
    return Sandbox(2, 2, clock=clock, allow_http=True, most_webhooks=3)


async def test_subscribes_lists_and_deletes(api: "Api") -> None:
    made = (await api.post("/v1.0/webhook", **HOOK)).body
    assert made | {"subscribeId": 0, "teamId": 0, "vendorId": 0} == {
        **HOOK,
        "subscribeId": 0,
        "teamId": 0,
        "vendorId": 0,
        "limit": 100,
        "permissionMode": 0,
    }
    assert (await api.get("/v1.0/webhooks")).body == [made]
    deleted = await api.delete(f"/v1.0/webhook/{made['subscribeId']}")
    assert (deleted.status, deleted.text) == (200, "")
    assert (await api.get("/v1.0/webhooks")).body == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"listId": None}, "WEBHOOK_TYPE_ERROR"),
        ({"listId": 0}, "WEBHOOK_TYPE_ERROR"),
        ({"listId": 13}, "WEBHOOK_TYPE_ERROR"),
        ({"listId": True}, "WEBHOOK_TYPE_ERROR"),
        ({"callbackUrl": None}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "ftp://example.com/"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://[half"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://example.com:99999/"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://exam\nple.com/"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://example.com/\0"}, "WEBHOOK_CALLBACK_URL_INVALID"),
        ({"callbackUrl": "https://example.com/" + "x" * 2000}, "WEBHOOK_CALLBACK_URL_INVALID"),
    ],
)
async def test_create_refuses(api: "Api", body: dict[str, Any], code: str) -> None:
    answer = await api.post("/v1.0/webhook", **(HOOK | body))
    assert (answer.status, answer.body["code"]) == (400, code)


@pytest.mark.parametrize(
    ("body", "code"), [({"limit": 0}, 20042), ({"limit": 5001}, 20042), ({"permissionMode": 2}, 20012)]
)
async def test_create_limits_its_numbers(api: "Api", body: dict[str, Any], code: int) -> None:
    answer = await api.post("/v1.0/webhook", **(HOOK | body))
    assert (answer.status, answer.body["errorCode"]) == (400, code)


async def test_callbacks_need_https_by_default(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, clock=clock)) as api:
        answer = await api.post("/v1.0/webhook", listId=10, callbackUrl="http://127.0.0.1:9/hook")
        assert (answer.status, answer.body["code"]) == (400, "WEBHOOK_CALLBACK_URL_INVALID")


async def test_there_is_a_quota(api: "Api") -> None:
    for _ in range(3):
        assert (await api.post("/v1.0/webhook", **HOOK)).status == 200
    answer = await api.post("/v1.0/webhook", **HOOK)
    assert (answer.status, answer.body["code"]) == (400, "WEBHOOK_EXCEED_LIMIT")


async def test_delete_refuses(api: "Api") -> None:
    foreign = api.sandbox.webhooks.subscriptions.add(10, "https://example.org/", team_id=5)
    assert (await api.get("/v1.0/webhooks")).body == []
    for number, code in ((foreign.id, "WEBHOOK_DELETE_NO_AUTHORITY"), (1, "WEBHOOK_DELETE_NOT_EXIST")):
        answer = await api.delete(f"/v1.0/webhook/{number}")
        assert (answer.status, answer.body["code"]) == (400, code)


async def test_bodies_group_records_by_action(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    state = api.sandbox.state
    one, other = state.add_task(lead_id), state.add_task(lead_id)
    state.finish(one.id)
    state.unfinish(one.id)
    state.remove(other.id)
    state.add_appointment(lead_id)
    await api.sandbox.webhooks.settled()
    (body,) = subscriber.bodies
    assert {name: [record["taskId"] for record in body[name]] for name in body if name.endswith("Task")} == {
        "createdTask": [one.id, other.id],
        "finishedTask": [one.id],
        "updatedTask": [one.id],
        "deletedTask": [other.id],
    }
    assert body["listId"] == TASK
    assert body["createdTask"][0] == {
        "taskId": one.id,
        "leadId": lead_id,
        "updateTime": int(state.now().timestamp() * 1000),
    }


async def test_changes_through_the_api_are_delivered(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=APPOINTMENT, callbackUrl=subscriber.url)
    entry = next(entry for entry in api.sandbox.state.entries.of(lead_id) if entry.kind == "APPOINTMENT")
    await api.put(f"/v2.0/tasks/{entry.id}", content="x")
    await api.sandbox.webhooks.settled()
    assert [body["updatedAppointment"][0]["appointmentId"] for body in subscriber.bodies] == [entry.id]


async def test_a_second_subscription_doubles_every_delivery(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    for _ in range(2):
        await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    api.sandbox.state.add_task(lead_id)
    await api.sandbox.webhooks.settled()
    assert len(subscriber.bodies) == 2
    assert [delivery.status for delivery in api.sandbox.webhooks.deliveries] == [200, 200]


async def test_a_body_holds_no_more_than_its_limit(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url, limit=2)
    for _ in range(5):
        api.sandbox.state.add_task(lead_id)
    await api.sandbox.webhooks.settled()
    assert [len(body["createdTask"]) for body in subscriber.bodies] == [2, 2, 1]


async def test_repeats_and_shuffling_on_demand(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    api.sandbox.webhooks.repeats, api.sandbox.webhooks.shuffle = 2, True
    made = [api.sandbox.state.add_task(lead_id).id for _ in range(20)]
    await api.sandbox.webhooks.settled()
    told = [record["taskId"] for body in subscriber.bodies for record in body["createdTask"]]
    assert sorted(told) == sorted(made * 2)
    assert told != sorted(told)


async def test_delay_on_demand(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    api.sandbox.webhooks.delay = 0.05
    started = asyncio.get_running_loop().time()
    api.sandbox.state.add_task(lead_id)
    await api.sandbox.webhooks.settled()
    assert asyncio.get_running_loop().time() - started >= 0.05
    assert len(subscriber.bodies) == 1


async def test_an_unreachable_subscriber(api: "Api", lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl="http://127.0.0.1:1/hook")
    api.sandbox.state.add_task(lead_id)
    await api.sandbox.webhooks.settled()
    assert [delivery.status for delivery in api.sandbox.webhooks.deliveries] == [None]


async def test_an_unresolvable_subscriber_does_not_stop_deliveries(
    api: "Api", subscriber: Subscriber, lead_id: int
) -> None:
    for url in ("https://hooks..example.com/x", subscriber.url):
        await api.post("/v1.0/webhook", listId=TASK, callbackUrl=url)
    for _ in range(2):
        api.sandbox.state.add_task(lead_id)
        async with asyncio.timeout(10):
            await api.sandbox.webhooks.settled()
    assert [delivery.status for delivery in api.sandbox.webhooks.deliveries] == [None, 200] * 2


async def test_events_while_closed_are_posted_after_the_next_start(sandbox: Sandbox, subscriber: Subscriber) -> None:
    sandbox.webhooks.subscriptions.add(TASK, subscriber.url)
    sandbox.state.add_task(sandbox.state.leads.ids()[0])
    async with sandbox:
        await sandbox.webhooks.settled()
    assert len(subscriber.bodies) == 1


async def test_a_delivery_that_closing_interrupts_is_made_after_the_next_start(sandbox: Sandbox) -> None:
    received, arrived, released = list[Any](), asyncio.Event(), asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        received.append(await request.json())
        arrived.set()
        if len(received) == 1:
            await released.wait()
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for _ in range(2):
        sandbox.webhooks.subscriptions.add(TASK, f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
    async with sandbox:
        sandbox.state.add_task(sandbox.state.leads.ids()[0])
        await arrived.wait()
    async with sandbox, asyncio.timeout(10):
        await sandbox.webhooks.settled()
    released.set()
    await runner.cleanup()
    assert [delivery.status for delivery in sandbox.webhooks.deliveries] == [200, 200]
    assert len(received) == 3


async def test_changes_from_another_thread_are_delivered(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    thread = threading.Thread(target=api.sandbox.state.add_task, args=(lead_id,))
    thread.start()
    thread.join()
    await api.sandbox.webhooks.settled()
    assert len(subscriber.bodies) == 1


async def test_settled_returns_at_once_without_subscriptions(api: "Api", lead_id: int) -> None:
    api.sandbox.state.add_task(lead_id)  # nobody has subscribed
    await api.sandbox.webhooks.settled()
    assert api.sandbox.webhooks.deliveries == []


async def test_settled_waits_for_the_start_if_there_are_events(sandbox: Sandbox, subscriber: Subscriber) -> None:
    async with asyncio.timeout(10):
        await sandbox.webhooks.settled()
        sandbox.webhooks.subscriptions.add(TASK, subscriber.url)
        sandbox.state.add_task(sandbox.state.leads.ids()[0])
        settled = asyncio.create_task(sandbox.webhooks.settled())
        await asyncio.sleep(0)
        assert not settled.done()
        async with sandbox:
            await settled
    assert len(subscriber.bodies) == 1


async def test_settled_waits_for_a_sandbox_on_another_thread(subscriber: Subscriber) -> None:
    asyncio.get_running_loop().set_debug(True)  # an unsafe call from another thread is an error
    with Sandbox.in_thread(1, 1, allow_http=True) as sandbox:
        sandbox.webhooks.subscriptions.add(TASK, subscriber.url)
        sandbox.state.add_task(sandbox.state.leads.ids()[0])
        async with asyncio.timeout(10):
            await sandbox.webhooks.settled()
    assert len(subscriber.bodies) == 1


async def test_settled_may_be_cancelled_and_awaited_by_many(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    api.sandbox.state.add_task(lead_id)
    first, second = [asyncio.create_task(api.sandbox.webhooks.settled()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert (first.cancelled(), len(subscriber.bodies)) == (True, 1)


async def test_events_during_a_delivery_are_delivered_next(api: "Api", subscriber: Subscriber, lead_id: int) -> None:
    await api.post("/v1.0/webhook", listId=TASK, callbackUrl=subscriber.url)
    subscriber.meanwhile = [lambda: api.sandbox.state.add_task(lead_id)]
    api.sandbox.state.add_task(lead_id)
    await api.sandbox.webhooks.settled()
    assert [len(body["createdTask"]) for body in subscriber.bodies] == [1, 1]


async def test_the_permission_mode_selects_leads(api: "Api", subscriber: Subscriber) -> None:
    state = api.sandbox.state
    for mode in (0, 1):
        await api.post("/v1.0/webhook", listId=TASK, callbackUrl=f"{subscriber.url}?{mode}", permissionMode=mode)
    own, colleagues, forbidden = state.add_lead(), state.add_lead(assigned_user_id=7), state.add_lead()
    state.forbidden_leads.add(forbidden.id)
    for lead in (own, colleagues, forbidden):
        state.add_task(lead.id)
    await api.sandbox.webhooks.settled()
    told = [[record["leadId"] for record in body["createdTask"]] for body in subscriber.bodies]
    assert told == [[own.id], [own.id, colleagues.id]]
