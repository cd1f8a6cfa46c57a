from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async.sandbox.times import milliseconds

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api

UNKNOWN = 999_999_999_999_999
DEADLINE = 1_790_000_000_000
CALL = {"type": "Call", "content": "Ring", "assignedRole": "Agent", "deadline": DEADLINE}
LAST_YEAR = datetime(2025, 6, 1, tzinfo=UTC)


async def test_lists_tasks_without_appointments(api: "Api", lead_id: int) -> None:
    tasks = (await api.get("/v1.0/tasks", leadId=lead_id)).body["taskList"]
    expected = [entry.id for entry in api.sandbox.state.entries.of(lead_id) if entry.id in api.sandbox.state.tasks]
    assert [task["id"] for task in tasks] == expected
    assert "startAt" not in tasks[0]


async def test_lists_appointments_as_a_bare_array(api: "Api", lead_id: int) -> None:
    found = (await api.get("/v1.0/appts", leadId=lead_id)).body
    assert [one["id"] for one in found] == [*api.sandbox.state.appointments][:2]


async def test_times_are_plain_utc_or_empty(api: "Api", lead_id: int) -> None:
    at = datetime.fromisoformat("2026-07-01T10:00:00-07:00")
    entry = api.sandbox.state.add_task(lead_id, end_at=at)
    task = (await api.get(f"/v1.0/tasks/{entry.id}")).body["task"]
    assert (task["deadline"], task["finishTime"], task["createTime"]) == (
        "2026-07-01 17:00:00",
        "",
        "2026-06-01 12:00:00",
    )


async def test_an_appointments_times_are_milliseconds(api: "Api", lead_id: int) -> None:
    start, end = LAST_YEAR, LAST_YEAR + timedelta(hours=1)
    timeless = api.sandbox.state.add_appointment(lead_id, assigned_role="Lender")
    late = api.sandbox.state.add_appointment(lead_id, start_at=start, end_at=end, content="Viewing")
    shown = {one["id"]: one for one in (await api.get("/v1.0/appts", leadId=lead_id)).body}
    one = shown[late.id]
    assert (one["deadline"], one["endTime"], one["finishTime"]) == (milliseconds(start), milliseconds(end), 0)
    assert (one["descr"], one["overdue"], one["assignRoleType"]) == ("Viewing", True, 0)
    assert (shown[timeless.id]["deadline"], shown[timeless.id]["assignRoleType"]) == (-1, -1)
    api.sandbox.state.finish(late.id)
    found = (await api.get("/v1.0/appts", leadId=lead_id)).body
    assert milliseconds(api.sandbox.state.now()) in [one["finishTime"] for one in found]


@pytest.mark.parametrize("path", ["/v1.0/tasks", "/v1.0/appts"])
async def test_lists_need_a_lead(api: "Api", lead_id: int, path: str) -> None:
    unknown = await api.get(path, leadId=UNKNOWN)
    assert (unknown.status, unknown.body["errorCode"]) == (404, 20006)
    assert (await api.get(path)).status == 400
    api.sandbox.state.forbidden_leads.add(lead_id)
    denied = await api.get(path, leadId=lead_id)
    assert (denied.status, denied.body["errorCode"]) == (400, 20017)


async def test_creates(api: "Api", lead_id: int) -> None:
    answer = await api.post("/v1.0/tasks", leadId=lead_id, **CALL)
    entry = api.sandbox.state.tasks[answer.body["taskId"]]
    assert entry.end_at is not None
    assert (entry.type, milliseconds(entry.end_at)) == ("Call", DEADLINE)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *((name, None, 20012) for name in ("type", "content", "assignedRole", "leadId", "deadline")),
        ("type", "Appointment", 20012),
        ("deadline", "2026-07-01T10:00:00Z", 20012),
        ("deadline", 0, 20012),
        ("deadline", -1, 20012),
        ("deadline", str(DEADLINE), 20012),
        ("leadId", "563000000000000", 20012),
        ("finishFlag", True, 20012),
        ("leadId", UNKNOWN, 20017),
    ],
)
async def test_create_refuses(api: "Api", lead_id: int, field: str, value: object, code: int) -> None:
    answer = await api.post("/v1.0/tasks", **(CALL | {"leadId": lead_id, field: value}))
    assert (answer.status, answer.body["errorCode"]) == (400, code)


async def test_an_appointment_is_no_task_here(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_appointment(lead_id)
    answer = await api.get(f"/v1.0/tasks/{entry.id}")
    assert (answer.status, answer.body["errorCode"]) == (404, "TASK_NOT_EXIST")


async def test_updates_with_an_empty_answer(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, content="Old", type="Text")
    answer = await api.put(f"/v1.0/tasks/{entry.id}", content="New", leadId=lead_id, deadline=DEADLINE)
    assert (answer.status, answer.text) == (200, "")
    changed = api.sandbox.state.tasks[entry.id]
    assert (changed.content, changed.type) == ("New", "Text")


async def test_finishing_ignores_the_other_fields(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, content="Old")
    await api.put(f"/v1.0/tasks/{entry.id}", finishFlag=True, content="New", leadId=UNKNOWN)
    changed = api.sandbox.state.tasks[entry.id]
    assert (changed.finished, changed.content) == (True, "Old")


async def test_a_finish_flag_that_is_false_reopens(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, content="Old", finished_at=LAST_YEAR)
    assert (await api.put(f"/v1.0/tasks/{entry.id}", content="New")).status == 200
    assert api.sandbox.state.tasks[entry.id].finished
    for body in ({"finishFlag": False}, {"finishFlag": False, "content": "Newer"}):
        assert (await api.put(f"/v1.0/tasks/{entry.id}", **body)).status == 200
        assert not api.sandbox.state.tasks[entry.id].finished
    assert api.sandbox.state.tasks[entry.id].content == "Newer"


@pytest.mark.parametrize(
    ("smart_plan", "body", "code"),
    [
        (False, {}, "MISSING_PARAMETER"),
        (False, {"leadId": UNKNOWN, "content": "x"}, "INVALID_UPDATE_OPERATION_LEADID"),
        (False, {"deadline": 10**18}, 20012),
        (False, {"finishFlag": ""}, "MISSING_PARAMETER"),
        (False, {"finishFlag": "maybe"}, 20012),
        (False, {"finishFlag": "true"}, 20012),
        (False, {"deadline": 0}, 20012),
        (False, {"leadId": "563000000000000", "content": "x"}, 20012),
        (True, {"finishFlag": True}, "TASK_IS_SMARTPLAN"),
    ],
)
async def test_update_refuses(api: "Api", lead_id: int, smart_plan: bool, body: dict[str, Any], code: object) -> None:
    entry = api.sandbox.state.add_task(lead_id, smart_plan=smart_plan)
    answer = await api.put(f"/v1.0/tasks/{entry.id}", **body)
    assert (answer.status, answer.body["errorCode"]) == (400, code)


async def test_deletes_with_empty_answers(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id)
    first, again = [await api.delete(f"/v1.0/tasks/{entry.id}") for _ in range(2)]
    assert [(answer.status, answer.text) for answer in (first, again)] == [(200, ""), (404, "")]


async def test_the_tasks_of_somebody_elses_lead(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id)
    api.sandbox.state.forbidden_leads.add(lead_id)
    got, deleted = await api.get(f"/v1.0/tasks/{entry.id}"), await api.delete(f"/v1.0/tasks/{entry.id}")
    assert (got.status, got.body["errorCode"]) == (400, 20017)
    assert (deleted.status, "errorCode=20006" in deleted.body["message"]) == (404, True)
    assert (await api.post("/v1.0/tasks", leadId=lead_id, **CALL)).status == 400
