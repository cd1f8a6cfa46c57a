"""Every call, made through the client: its request and its answer are what the vendor describes."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from lofty_async import EntryType, LoftyClient, TaskType, WebhookEvent
from lofty_async.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.conftest import Spy
    from tests.description import Description


@frozen
class Scene:
    """What the calls are made with and about."""

    sandbox: Sandbox
    lofty: LoftyClient
    lead_id: int
    task_id: int
    calendar_id: str
    webhook_id: int
    soon: datetime

    @property
    def later(self) -> datetime:
        return self.soon + timedelta(hours=1)


Call = Callable[[Scene], Awaitable[object]]

CALLS: dict[str, list[Call]] = {
    "GET /v2.0/tasks": [lambda at: at.lofty.tasks.list(at.lead_id).collect()],
    "POST /v2.0/tasks": [
        lambda at: at.lofty.tasks.create(
            type=TaskType.CALL, lead_id=at.lead_id, content="Ring", assigned_role="Agent", end_at=at.soon
        ),
        lambda at: at.lofty.tasks.create(
            type="Appointment",
            lead_id=at.lead_id,
            content="Viewing",
            assigned_role="Assistant",
            start_at=at.soon,
            end_at=at.later,
            time_zone="America/Chicago",
            address="12 Main St",
        ),
    ],
    "GET /v2.0/tasks/{taskId}": [lambda at: at.lofty.tasks.get(at.task_id)],
    "PUT /v2.0/tasks/{taskId}": [
        lambda at: at.lofty.tasks.update(
            at.task_id, content="New", start_at=at.soon, end_at=at.later, time_zone="Asia/Tokyo", address="1 Way"
        )
    ],
    "DELETE /v2.0/tasks/{taskId}": [lambda at: at.lofty.tasks.delete(at.task_id)],
    "POST /v2.0/tasks/{taskId}/finish": [lambda at: at.lofty.tasks.finish(at.task_id)],
    "POST /v2.0/tasks/{taskId}/unfinish": [lambda at: at.lofty.tasks.unfinish(at.task_id)],
    "GET /v2.0/tasks/my-tasks": [
        lambda at: at.lofty.tasks.mine().collect(),
        lambda at: at.lofty.tasks.mine(user_id=471_208_990_024_571, time_zone="Asia/Tokyo", page_size=5).collect(),
    ],
    "GET /v2.0/calendar": [
        lambda at: at.lofty.calendar.list(start=at.soon - timedelta(days=900)).collect(),
        lambda at: at.lofty.calendar.list(
            start=at.soon - timedelta(days=900),
            end=at.soon + timedelta(days=900),
            lead_id=at.lead_id,
            include_finished=True,
            time_zone="Asia/Tokyo",
            source_types=[1, 2],
            newest_first=True,
            page_size=3,
        ).collect(),
    ],
    "POST /v2.0/calendar": [
        lambda at: at.lofty.calendar.create(
            type=EntryType.TASK,
            lead_id=at.lead_id,
            content="Ring",
            time_zone="America/Chicago",
            start_at=at.soon,
            end_at=at.later,
            task_way=TaskType.CALL,
        ),
        lambda at: at.lofty.calendar.create(
            type=EntryType.APPOINTMENT,
            lead_id=at.lead_id,
            content="Viewing",
            time_zone="America/Chicago",
            start_at=at.soon,
            end_at=at.later,
            address="12 Main St",
        ),
    ],
    "PUT /v2.0/calendar/{calendarId}": [
        lambda at: at.lofty.calendar.update(
            at.calendar_id,
            content="New",
            start_at=at.soon,
            end_at=at.later,
            time_zone="Asia/Tokyo",
            address="1 Way",
            lead_id=at.lead_id,
            reminder_type="1",
            reminder_time="15",
        )
    ],
    "DELETE /v2.0/calendar/{calendarId}": [lambda at: at.lofty.calendar.delete(at.calendar_id)],
    "POST /v2.0/calendar/{calendarId}/finish": [lambda at: at.lofty.calendar.finish(at.calendar_id)],
    "POST /v2.0/calendar/{calendarId}/unfinish": [lambda at: at.lofty.calendar.unfinish(at.calendar_id)],
    "GET /v2.0/calendar/meetings/available": [
        lambda at: at.lofty.calendar.slots(
            start=at.soon, end=at.soon + timedelta(days=100), time_zone="Asia/Tokyo"
        ).collect()
    ],
    "GET /v1.0/tasks": [lambda at: at.lofty.v1.tasks.list(at.lead_id).collect()],
    "POST /v1.0/tasks": [
        lambda at: at.lofty.v1.tasks.create(
            content="Ring", lead_id=at.lead_id, end_at=at.soon, type="Call", assigned_role="Agent"
        )
    ],
    "GET /v1.0/tasks/{taskId}": [lambda at: at.lofty.v1.tasks.get(at.task_id)],
    "PUT /v1.0/tasks/{taskId}": [
        lambda at: at.lofty.v1.tasks.update(
            at.task_id, content="New", lead_id=at.lead_id, end_at=at.soon, type="Text", assigned_role="Assistant"
        ),
        lambda at: at.lofty.v1.tasks.finish(at.task_id),
    ],
    "DELETE /v1.0/tasks/{taskId}": [lambda at: at.lofty.v1.tasks.delete(at.task_id)],
    "GET /v1.0/appts": [lambda at: at.lofty.v1.appointments.list(at.lead_id).collect()],
    "POST /v1.0/webhook": [lambda at: at.lofty.webhooks.create(WebhookEvent.TASK, "https://example.com/hook")],
    "GET /v1.0/webhooks": [lambda at: at.lofty.webhooks.list().collect()],
    "DELETE /v1.0/webhook/{subscribeId}": [lambda at: at.lofty.webhooks.delete(at.webhook_id)],
    "GET /v1.0/leads": [
        lambda at: at.lofty.leads.list().collect(),
        lambda at: at.lofty.leads.list(
            page_size=2, scroll=True, stage="New Leads", contacted=True, desc=False
        ).collect(),
    ],
    "GET /v1.0/me": [lambda at: at.lofty.me()],
}


@pytest.fixture
def scene(sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime) -> Scene:
    task = sandbox.state.add_task(lead_id, content="Ring", end_at=tomorrow)
    appointment = sandbox.state.add_appointment(lead_id, content="Viewing", start_at=tomorrow, end_at=tomorrow)
    webhook = sandbox.webhooks.subscriptions.add(10, "https://127.0.0.1:9/other")
    return Scene(sandbox, lofty, lead_id, task.id, appointment.calendar_id, webhook.id, tomorrow)


def test_there_is_no_other_call(description: "Description") -> None:
    assert CALLS.keys() == description.routes


@pytest.mark.parametrize(
    ("route", "number"), [(route, number) for route in CALLS for number in range(len(CALLS[route]))]
)
async def test_request_and_answer_are_as_described(
    description: "Description", scene: Scene, spy: "Spy", route: str, number: int
) -> None:
    sandbox = scene.sandbox
    sandbox.faults.add(kind=spy, times=None)
    await CALLS[route][number](scene)
    assert sandbox.requests
    for request, body in zip(sandbox.requests, spy.bodies, strict=True):
        assert (request.route, request.status) == (route, 200)
        description.check_request(request)
        description.check(route, as_described(json.loads(body) if body else None))


def as_described(body: Any) -> Any:
    """The answer under the vendor's name for what is served as `_metadata`."""
    known = isinstance(body, dict) and "_metadata" in body
    return body | {"get_metadata": body["_metadata"]} if known else body
