"""No parameter of any call is ignored: it changes the answer or the data, or it is refused."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.entities import LENDER_ID
from tests.description import Description

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.sandbox.conftest import Answer, Api, Clock

LEAD = 563_000_000_000_000
OTHER_LEAD = LEAD + 7
TASK = 731_000_000_000_000
APPOINTMENT = TASK + 4
FINISHED = TASK + 3
ALWAYS = {"startTime": "2000-01-01T00:00:00Z"}
WEEK = {"startTime": "2026-06-01T13:00:00Z", "endTime": "2026-06-08T13:00:00Z"}
NEXT_WEEK = 1_780_930_800_000
NEW_TASK = {"type": "Call", "content": "Ring", "assignedRole": "Agent", "leadId": LEAD, "endAt": "2026-07-01T09:00:00Z"}
NEW_TASK_V1 = {
    "type": "Call",
    "content": "Ring",
    "assignedRole": "Agent",
    "leadId": LEAD,
    "deadline": 1_790_000_000_000,
}
TIMES = {"startAt": "2026-07-01T09:00:00Z", "endAt": "2026-07-01T10:00:00Z"}
MILLISECONDS = {"startAtMs": 1_790_000_000_000, "endAtMs": 1_790_000_360_000}
NEW_ENTRY = {"content": "x", "leadId": LEAD, "timeZoneCode": "UTC", **TIMES}
NEW_ENTRY_TASK = NEW_ENTRY | {"type": "TASK", "taskWay": "Call"}
HOOK = {"listId": 10, "callbackUrl": "https://example.com/hook"}
ROLES = json.dumps([{"roleName": "Lender", "assigneeToIds": [LENDER_ID]}])
DAY = {"startTime": "2026-07-10T00:00:00Z", "endTime": "2026-07-11T00:00:00Z"}


@frozen
class Trial:
    """A good request, and the value of the parameter that makes another of it."""

    base: Mapping[str, Any]
    change: Any
    refused: bool = False


QUERIES: Mapping[str, Mapping[str, Trial]] = {
    "GET /v2.0/tasks": {"leadId": Trial({"leadId": LEAD}, OTHER_LEAD)},
    "GET /v2.0/tasks/my-tasks": {
        "userId": Trial({}, 7),
        "currentId": Trial({}, TASK),
        "limit": Trial({}, 3),
        "timeZoneCode": Trial({}, "Asia/Tokyo"),
    },
    "GET /v2.0/calendar": {
        "leadId": Trial(ALWAYS, LEAD),
        "startTime": Trial(ALWAYS, "2026-07-01T00:00:00Z"),
        "endTime": Trial(ALWAYS, "2026-07-01T00:00:00Z"),
        "startTimeMs": Trial({"endTime": "2030-01-01T00:00:00Z"}, 1_782_864_000_000),
        "endTimeMs": Trial(ALWAYS, 1_782_864_000_000),
        "timeZoneCode": Trial(ALWAYS, "Asia/Tokyo"),
        "includeFinished": Trial(ALWAYS, "true"),
        "page": Trial(ALWAYS, 1),
        "pageSize": Trial(ALWAYS, 5),
        "sort": Trial(DAY | {"pageSize": 500}, "endTime"),
        "desc": Trial(ALWAYS, "false"),
        "sourceType": Trial(ALWAYS, 2),
    },
    "GET /v2.0/calendar/meetings/available": {
        "startTime": Trial(WEEK, "2026-06-03T13:00:00Z"),
        "endTime": Trial(WEEK, "2026-06-01T18:00:00Z"),
        "startTimeMs": Trial({"startTimeMs": 1_780_318_800_000, "endTime": "2026-06-12T13:00:00Z"}, NEXT_WEEK),
        "endTimeMs": Trial({"startTime": WEEK["startTime"], "endTimeMs": 1_780_340_000_000}, NEXT_WEEK),
        "timeZoneCode": Trial(WEEK, "Asia/Tokyo"),
        "limit": Trial(WEEK, 3),
    },
    "GET /v1.0/tasks": {"leadId": Trial({"leadId": LEAD}, OTHER_LEAD)},
    "GET /v1.0/appts": {"leadId": Trial({"leadId": LEAD}, OTHER_LEAD)},
    "GET /v1.0/leads": {
        "stage": Trial({}, "Hot,Closed"),
        "source": Trial({}, "Referral"),
        "phone": Trial({}, "4155550003"),
        "email": Trial({}, "lead3@example.com"),
        "assignedUserId": Trial({}, 7),
        "contacted": Trial({"contacted": "false"}, "true"),
        "groups": Trial({}, "Downtown Area"),
        "segments": Trial({}, "Downtown Area"),
        "allTags": Trial({}, "vip,relocation"),
        "anyTags": Trial({"allTags": "vip"}, "relocation"),
        "groupIds": Trial({}, "3101,3103"),
        "querySubGroup": Trial({"groupIds": 3101}, "true"),
        "scrollId": Trial({}, "scroll-5"),
        "offset": Trial({}, 5),
        "limit": Trial({}, 5),
        "sort": Trial({}, "Score"),
        "desc": Trial({}, "true"),
        "languages": Trial({}, "es,zh"),
        "preciseSearchFlag": Trial({"email": "lead3"}, "false"),
        "roleAssigneeFilters": Trial({}, ROLES),
        "key": Trial({}, "lead3@"),
        "otherFilters": Trial({}, "{}", refused=True),
        "returnFields": Trial({}, "leadId", refused=True),
    },
}
BODIES: Mapping[str, Mapping[str, Trial]] = {
    "POST /v2.0/tasks": {
        "type": Trial(NEW_TASK, "Appointment"),
        "content": Trial(NEW_TASK, "Write"),
        "leadId": Trial(NEW_TASK, OTHER_LEAD),
        "assignedRole": Trial(NEW_TASK, "Assistant"),
        "startAt": Trial(NEW_TASK, "2026-07-01T08:00:00Z"),
        "endAt": Trial(NEW_TASK, "2026-07-02T09:00:00Z"),
        "timeZoneCode": Trial(NEW_TASK, "UTC"),
        "address": Trial(NEW_TASK, "Here"),
    },
    "PUT /v2.0/tasks/{taskId}": {
        "content": Trial({"endAt": TIMES["endAt"]}, "Write"),
        "startAt": Trial({"content": "x"}, TIMES["startAt"]),
        "endAt": Trial({"content": "x"}, TIMES["endAt"]),
        "address": Trial({"content": "x"}, "Here"),
        "timeZoneCode": Trial({"content": "x"}, "Asia/Tokyo"),
    },
    "POST /v2.0/calendar": {
        "type": Trial(NEW_ENTRY_TASK, "APPOINTMENT", refused=True),
        "content": Trial(NEW_ENTRY_TASK, "y"),
        "leadId": Trial(NEW_ENTRY_TASK, OTHER_LEAD),
        "startAt": Trial(NEW_ENTRY_TASK, "2026-07-01T09:30:00Z"),
        "endAt": Trial(NEW_ENTRY_TASK, "2026-07-01T11:00:00Z"),
        "startAtMs": Trial(NEW_ENTRY_TASK | MILLISECONDS | {"startAt": None}, 1_789_000_000_000),
        "endAtMs": Trial(NEW_ENTRY_TASK | MILLISECONDS | {"endAt": None}, 1_791_000_000_000),
        "timeZoneCode": Trial(NEW_ENTRY_TASK, "Asia/Tokyo"),
        "taskWay": Trial(NEW_ENTRY_TASK, "Email"),
        "assignedRole": Trial(NEW_ENTRY_TASK, "Assistant"),
        "address": Trial(NEW_ENTRY | {"type": "APPOINTMENT"}, "Here"),
    },
    "PUT /v2.0/calendar/{calendarId}": {
        "content": Trial({}, "y"),
        "startAt": Trial({}, TIMES["startAt"]),
        "endAt": Trial({}, TIMES["endAt"]),
        "startAtMs": Trial({}, 1_790_000_000_000),
        "endAtMs": Trial({}, 1_790_000_000_000),
        "timeZoneCode": Trial({}, "Asia/Tokyo"),
        "reminderType": Trial({}, "POPUP"),
        "reminderTime": Trial({}, "30"),
        "leadId": Trial({}, OTHER_LEAD),
        "address": Trial({}, "Here"),
    },
    "POST /v1.0/tasks": {
        "type": Trial(NEW_TASK_V1, "Text"),
        "content": Trial(NEW_TASK_V1, "Write"),
        "leadId": Trial(NEW_TASK_V1, OTHER_LEAD),
        "assignedRole": Trial(NEW_TASK_V1, "Assistant"),
        "deadline": Trial(NEW_TASK_V1, 1_790_000_360_000),
        "finishFlag": Trial(NEW_TASK_V1, True, refused=True),
    },
    "PUT /v1.0/tasks/{taskId}": {
        "type": Trial({"content": "x"}, "Text"),
        "content": Trial({"deadline": 1_790_000_000_000}, "Write"),
        "leadId": Trial({"content": "x"}, OTHER_LEAD, refused=True),
        "assignedRole": Trial({"content": "x"}, "Agent"),
        "deadline": Trial({"content": "x"}, 1_790_000_360_000),
        "finishFlag": Trial({"content": "x"}, False),
    },
    "POST /v1.0/webhook": {
        "listId": Trial(HOOK, 11),
        "callbackUrl": Trial(HOOK, "https://example.com/other"),
        "limit": Trial(HOOK, 5),
        "permissionMode": Trial(HOOK, 1),
    },
}
WITHOUT_PARAMETERS = frozenset(
    {
        "GET /v1.0/me",
        "GET /v1.0/webhooks",
        "GET /v1.0/tasks/{taskId}",
        "GET /v2.0/tasks/{taskId}",
        "DELETE /v1.0/tasks/{taskId}",
        "DELETE /v1.0/webhook/{subscribeId}",
        "DELETE /v2.0/calendar/{calendarId}",
        "DELETE /v2.0/tasks/{taskId}",
        "POST /v2.0/calendar/{calendarId}/finish",
        "POST /v2.0/calendar/{calendarId}/unfinish",
        "POST /v2.0/tasks/{taskId}/finish",
        "POST /v2.0/tasks/{taskId}/unfinish",
    }
)
QUERY_TRIALS = [(call, name) for call, trials in QUERIES.items() for name in trials]
BODY_TRIALS = [(call, name) for call, trials in BODIES.items() for name in trials]
CALLS = sorted({*QUERIES, *BODIES, *WITHOUT_PARAMETERS})


def prepared(clock: "Clock") -> Sandbox:
    """The same data each time; among it a day with two entries that end in another order than they start."""
    sandbox = Sandbox(20, 4, limit=10_000, appointments_per_lead=1, clock=clock)
    for hours in ((8, 20), (9, 10)):
        start, end = (datetime(2026, 7, 10, hour, tzinfo=UTC) for hour in hours)
        sandbox.state.add_appointment(LEAD, start_at=start, end_at=end)
    sandbox.state.add_task(LEAD, assigned_user_id=7, start_at=datetime(2026, 7, 12, tzinfo=UTC))
    sandbox.webhooks.subscriptions.add(10, "https://127.0.0.1:9/", team_id=5)
    return sandbox


async def ask(api: "Api", call: str, query: Mapping[str, Any], body: Mapping[str, Any] | None) -> "Answer":
    method, path = call.split()
    task_id = FINISHED if "/v1.0/" in path else TASK
    path = path.replace("{taskId}", str(task_id)).replace("{calendarId}", f"{APPOINTMENT}-appointment")
    params = {name: str(value) for name, value in query.items()}
    data = None if body is None else json.dumps(body)
    return await api.call(method, path.replace("{subscribeId}", "7001"), params=params, data=data)


async def outcome(api: "Api", call: str, query: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> Any:
    """The answer, and the data after it."""
    answer = await ask(api, call, query, body)
    state, webhooks = api.sandbox.state, api.sandbox.webhooks.subscriptions
    return answer.status, answer.text, dict(state.entries), dict(webhooks.by_id)


@pytest.fixture
def sandbox(clock: "Clock") -> Sandbox:
    return prepared(clock)


@pytest.fixture
async def twin(clock: "Clock", api_of: Any) -> "AsyncIterator[Api]":
    async with api_of(prepared(clock)) as api:
        yield api


@pytest.mark.parametrize(("call", "name"), QUERY_TRIALS)
async def test_a_parameter_has_an_effect(api: "Api", call: str, name: str) -> None:
    trial = QUERIES[call][name]
    before = await outcome(api, call, trial.base)
    after = await outcome(api, call, {**trial.base, name: trial.change})
    assert (before[0], after[0]) == (200, 400 if trial.refused else 200)
    assert before != after


@pytest.mark.parametrize(("call", "name"), BODY_TRIALS)
async def test_a_field_has_an_effect(api: "Api", twin: "Api", call: str, name: str) -> None:
    trial = BODIES[call][name]
    before = await outcome(api, call, {}, trial.base)
    after = await outcome(twin, call, {}, {**trial.base, name: trial.change})
    assert (before[0], after[0]) == (200, 400 if trial.refused else 200)
    assert before != after


@pytest.mark.parametrize("call", CALLS)
async def test_an_unknown_parameter_is_refused(api: "Api", call: str) -> None:
    trials = QUERIES.get(call) or BODIES.get(call) or {"": Trial({}, None)}
    good = dict(next(iter(trials.values())).base)
    query, body = ({}, good) if call in BODIES else (good, None)
    started = await outcome(api, "GET /v1.0/me", {})
    for asked in ((query | {"lead_id": 5}, body), (query, (body or {}) | {"lead_id": 5})):
        status, text, *data = await outcome(api, call, *asked)
        assert (status, "20012" in text, data) == (400, True, [*started[2:]])
        assert "lead_id" in text or "takes no body" in text


async def test_a_parameter_is_given_once(api: "Api") -> None:
    answer = await api.call("GET", f"/v2.0/tasks?leadId={LEAD}&leadId={OTHER_LEAD}")
    assert (answer.status, answer.body["code"]) == (400, 20012)


@pytest.mark.skipif(Description.load() is None, reason="the vendor's description is not there")
def test_every_documented_parameter_is_tried() -> None:
    description = Description.load()
    assert description is not None
    queries = {call: description.parameters(call) for call in description.routes}
    bodies = {call: description.fields(call) for call in description.routes}
    assert {call: names for call, names in queries.items() if names} == {call: {*t} for call, t in QUERIES.items()}
    assert {call: names for call, names in bodies.items() if names} == {call: {*t} for call, t in BODIES.items()}
    assert {call for call in description.routes if not queries[call] | bodies[call]} == WITHOUT_PARAMETERS
