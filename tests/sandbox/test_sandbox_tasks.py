from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async.sandbox import EntryKind, Sandbox
from lofty_async.sandbox.entities import MEMBER_ID

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api, Clock

UNKNOWN = 999_999_999_999_999
LATER = "2026-07-01T10:00:00-07:00"
CALL = {"type": "Call", "content": "Ring", "assignedRole": "Agent", "endAt": LATER}


def ids(tasks: list[dict[str, Any]]) -> list[int]:
    return [task["id"] for task in tasks]


async def test_lists_tasks_and_appointments_of_one_lead(api: "Api", lead_id: int) -> None:
    answer = await api.get("/v2.0/tasks", leadId=lead_id)
    assert ids(answer.body["tasks"]) == [entry.id for entry in api.sandbox.state.entries.of(lead_id)]
    assert len(answer.body["tasks"]) == 15
    assert all(len(str(number)) == 15 for number in ids(answer.body["tasks"]))


@pytest.mark.parametrize(
    ("lead", "status", "code"),
    [("", 400, 20012), ("0", 400, 20012), ("-1", 400, 20012), ("x", 400, 20012), (UNKNOWN, 404, 20006)],
)
async def test_list_needs_a_lead_that_exists(api: "Api", lead: object, status: int, code: int) -> None:
    answer = await api.get("/v2.0/tasks", leadId=lead)
    assert (answer.status, answer.body["code"]) == (status, code)


async def test_a_lead_of_somebody_else(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.entries.of(lead_id)[0].id
    api.sandbox.state.forbidden_leads.add(lead_id)
    listed, got = await api.get("/v2.0/tasks", leadId=lead_id), await api.get(f"/v2.0/tasks/{entry}")
    created = await api.post("/v2.0/tasks", leadId=lead_id, **CALL)
    for answer in (listed, got, created):
        assert (answer.status, answer.body["code"]) == (400, 20017)


CHANGES = [("PUT", "", '{"content":"x"}'), ("DELETE", "", ""), ("POST", "/finish", ""), ("POST", "/unfinish", "")]


@pytest.mark.parametrize(("method", "action", "body"), CHANGES)
async def test_changes_hide_the_code_of_an_unreachable_lead_in_text(
    api: "Api", lead_id: int, method: str, action: str, body: str
) -> None:
    entry = api.sandbox.state.add_task(lead_id, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
    api.sandbox.state.forbidden_leads.add(lead_id)
    answer = await api.call(method, f"/v2.0/tasks/{entry.id}{action}", data=body)
    assert api.sandbox.state.entries[entry.id] == entry
    assert answer.status == 404
    assert answer.body == {"message": "BaseApplicationException:errorCode=20006,errorMsg=Lead not exist"}


async def test_creates_a_task(api: "Api", lead_id: int) -> None:
    answer = await api.post("/v2.0/tasks", leadId=lead_id, startAt="2026-07-01T09:00:00Z", **CALL)
    entry = api.sandbox.state.tasks[answer.body["taskId"]]
    assert (entry.type, entry.content, entry.lead_id) == ("Call", "Ring", lead_id)
    assert entry.end_at == datetime(2026, 7, 1, 17, tzinfo=UTC)
    got = await api.get(f"/v2.0/tasks/{entry.id}")
    assert got.body["task"]["endAt"] == LATER


async def test_creates_an_appointment_that_lasts_all_day(api: "Api", lead_id: int) -> None:
    times = {"startAt": "2026-07-01T00:00:00+09:00", "endAt": "2026-07-02T00:00:00-04:00"}
    asked = CALL | times | {"type": "Appointment", "address": "12 Main St", "timeZoneCode": "Asia/Kolkata"}
    answer = await api.post("/v2.0/tasks", leadId=lead_id, **asked)
    assert api.sandbox.state.appointments[answer.body["taskId"]].kind is EntryKind.APPOINTMENT
    task = (await api.get(f"/v2.0/tasks/{answer.body['taskId']}")).body["task"]
    assert (task["allDay"], task["address"], task["timeZoneCode"]) == (True, "12 Main St", "Asia/Kolkata")


@pytest.mark.parametrize("left_out", ["type", "content", "assignedRole", "leadId", "endAt"])
async def test_create_needs_five_fields(api: "Api", lead_id: int, left_out: str) -> None:
    body = {name: value for name, value in (CALL | {"leadId": lead_id}).items() if name != left_out}
    answer = await api.post("/v2.0/tasks", **body)
    assert (answer.status, answer.body["code"]) == (400, 20012)
    assert left_out in answer.body["message"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("type", "Dance", 20012),
        ("type", 3, 20012),
        ("assignedRole", "Lender", 20012),
        ("endAt", "2026-07-01T10:00:00", 20012),
        ("endAt", "tomorrow", 20012),
        ("endAt", "2026-07-01T10:00:00+05:30:15", 20012),
        ("endAt", "2026-07-01T10:00:00+0530", 20012),
        ("endAt", "2026-W27-3T10:00:00Z", 20012),
        ("endAt", "2026-13-01T10:00:00Z", 20012),
        ("startAt", "2026-07-01 10:00:00Z", 20012),
        ("endAt", 1_780_000_000_000, 20012),
        ("startAt", "2026-07-01", 20012),
        ("timeZoneCode", "Mars/Base", 20012),
        ("leadId", True, 20012),
        ("leadId", "563000000000000", 20012),
        ("leadId", 2**63, 20012),
        ("leadId", UNKNOWN, 20017),
        ("content", "x" * 10_001, 20043),
    ],
)
async def test_create_refuses(api: "Api", lead_id: int, field: str, value: object, code: int) -> None:
    before = len(api.sandbox.state.entries)
    answer = await api.post("/v2.0/tasks", **(CALL | {"leadId": lead_id, field: value}))
    assert (answer.status, answer.body["code"]) == (400, code)
    assert len(api.sandbox.state.entries) == before


@pytest.mark.parametrize("body", ["", "{", "[]", "null"])
async def test_create_needs_a_json_object(api: "Api", body: str) -> None:
    answer = await api.call("POST", "/v2.0/tasks", data=body)
    assert (answer.status, answer.body["code"]) == (400, 20012)


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"content":"\\ud800"}', b'{"content":"\xed\xa0\x80"}', b'{"leadId":' + b"9" * 5000 + b"}"],
    ids=["too deep", "half a pair escaped", "half a pair", "too many digits"],
)
async def test_update_needs_json_that_can_be_encoded(api: "Api", lead_id: int, body: bytes) -> None:
    task = api.sandbox.state.entries.of(lead_id)[0]
    answer = await api.call("PUT", f"/v2.0/tasks/{task.id}", data=body)
    assert (answer.status, answer.body["code"]) == (400, 20012)
    assert api.sandbox.state.entries[task.id] == task


async def test_half_a_surrogate_pair_that_a_test_puts_there_is_escaped(api: "Api", lead_id: int) -> None:
    task = api.sandbox.state.add_task(lead_id, content="half \ud800")
    answer = await api.get(f"/v2.0/tasks/{task.id}")
    assert (answer.status, answer.body["task"]["content"]) == (200, "half \ud800")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_times_exist_in_every_zone(api: "Api", lead_id: int, moment: str) -> None:
    task = api.sandbox.state.entries.of(lead_id)[0]
    answer = await api.put(f"/v2.0/tasks/{task.id}", endAt=moment)
    assert (answer.status, answer.body) == (400, {"code": 20012, "message": "INVALID_PARAMETER: endAt is out of range"})


async def test_updates_what_is_given_and_ignores_nulls(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.entries.of(lead_id)[0]
    answer = await api.put(f"/v2.0/tasks/{entry.id}", content="New", startAt=None, timeZoneCode="UTC")
    assert (answer.status, list(answer.body)) == (200, ["message"])
    changed = api.sandbox.state.entries[entry.id]
    assert (changed.content, changed.start_at, changed.time_zone) == ("New", entry.start_at, "UTC")


@pytest.mark.parametrize("body", [{}, {"timeZoneCode": "UTC"}, {"content": None}, {"startAt": ""}])
async def test_update_needs_something_to_update(api: "Api", lead_id: int, body: dict[str, Any]) -> None:
    entry = api.sandbox.state.entries.of(lead_id)[0].id
    answer = await api.put(f"/v2.0/tasks/{entry}", **body)
    assert (answer.status, answer.body["code"]) == (400, "MISSING_PARAMETER")


async def test_updates_win_over_seeded_quirks(api: "Api", lead_id: int) -> None:
    blank = next(entry for entry in api.sandbox.state.entries.of(lead_id) if entry.quirks.get("startAt") == "")
    await api.put(f"/v2.0/tasks/{blank.id}", startAt=LATER, endAt=LATER, timeZoneCode="UTC")
    task = (await api.get(f"/v2.0/tasks/{blank.id}")).body["task"]
    assert (task["startAt"], task["endAt"], task["timeZoneCode"]) == (LATER, LATER, "UTC")


async def test_finishes_and_reopens(api: "Api", lead_id: int, clock: "Clock") -> None:
    entry = api.sandbox.state.add_task(lead_id, content="x").id
    for _ in range(2):  # both can be repeated
        assert (await api.post(f"/v2.0/tasks/{entry}/finish")).status == 200
        clock.now += 60
    task = (await api.get(f"/v2.0/tasks/{entry}")).body["task"]
    assert (task["finishFlag"], task["finishTime"]) == (True, "2026-06-01T12:00:00+00:00")
    for _ in range(2):
        assert (await api.post(f"/v2.0/tasks/{entry}/unfinish")).status == 200
    task = (await api.get(f"/v2.0/tasks/{entry}")).body["task"]
    assert (task["finishFlag"], task["finishTime"]) == (False, "")


async def test_smart_plan_tasks_cannot_be_finished(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, smart_plan=True).id
    answer = await api.post(f"/v2.0/tasks/{entry}/finish")
    assert (answer.status, answer.body["code"]) == (400, "TASK_IS_SMARTPLAN")
    assert not api.sandbox.state.tasks[entry].finished


async def test_deletes_once(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.entries.of(lead_id)[0].id
    assert (await api.delete(f"/v2.0/tasks/{entry}")).status == 200
    assert entry not in api.sandbox.state.entries
    again = await api.delete(f"/v2.0/tasks/{entry}")
    assert (again.status, again.body["code"]) == (404, "TASK_NOT_EXIST")


@pytest.mark.parametrize(
    ("path", "status"),
    [(UNKNOWN, 404), (0, 400), ("abc", 400), ("12-task", 400), (2**63, 400), ("9" * 5000, 400)],
    ids=lambda value: str(value)[:20],
)
async def test_a_task_is_named_by_a_number_that_exists(api: "Api", path: object, status: int) -> None:
    answer = await api.get(f"/v2.0/tasks/{path}")
    assert answer.status == status


async def test_a_task_becomes_overdue_as_the_clock_passes_its_deadline(
    api: "Api", lead_id: int, clock: "Clock"
) -> None:
    end = datetime.fromtimestamp(clock.now, UTC) + timedelta(minutes=1)
    entry = api.sandbox.state.add_task(lead_id, end_at=end).id
    assert not (await api.get(f"/v2.0/tasks/{entry}")).body["task"]["overdueFlag"]
    clock.now += 61
    assert (await api.get(f"/v2.0/tasks/{entry}")).body["task"]["overdueFlag"]
    await api.post(f"/v2.0/tasks/{entry}/finish")
    assert not (await api.get(f"/v2.0/tasks/{entry}")).body["task"]["overdueFlag"]


async def walk(api: "Api", size: int) -> list[list[int]]:
    pages, cursor = list[list[int]](), 0
    while True:
        page = ids((await api.get("/v2.0/tasks/my-tasks", currentId=cursor, limit=size)).body["tasks"])
        if not page or page[-1] == cursor:
            return pages
        pages.append(page)
        cursor = page[-1]


async def test_my_tasks_come_newest_first_each_once(api: "Api") -> None:
    found = [number for page in await walk(api, 7) for number in page]
    assert sorted(found) == sorted(api.sandbox.state.entries)
    starts = [(entry.start_at or entry.end_at) for entry in map(api.sandbox.state.entries.__getitem__, found)]
    known = [start for start in starts if start is not None]
    assert known == sorted(known, reverse=True)


async def test_an_inclusive_cursor_repeats_its_entry(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(2, 5, cursor_inclusive=True, clock=clock)) as api:
        pages = await walk(api, 4)
        assert all(before[-1] == after[0] for before, after in pairwise(pages))
        assert {number for page in pages for number in page} == set(api.sandbox.state.entries)


async def test_a_cursor_survives_the_removal_of_its_entry(api: "Api") -> None:
    first = ids((await api.get("/v2.0/tasks/my-tasks", limit=5)).body["tasks"])
    rest = ids((await api.get("/v2.0/tasks/my-tasks", currentId=first[-1], limit=5)).body["tasks"])
    api.sandbox.state.remove(first[-1])
    assert ids((await api.get("/v2.0/tasks/my-tasks", currentId=first[-1], limit=5)).body["tasks"]) == rest


async def test_my_tasks_of_a_user_and_in_a_time_zone(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, assigned_user_id=7, start_at=datetime(2026, 7, 1, tzinfo=UTC))
    answer = await api.get("/v2.0/tasks/my-tasks", userId=7, timeZoneCode="America/New_York")
    assert ids(answer.body["tasks"]) == [entry.id]
    assert answer.body["tasks"][0]["startAt"] == "2026-06-30T20:00:00-04:00"
    mine = await api.get("/v2.0/tasks/my-tasks", userId=MEMBER_ID, limit=100)
    assert len(mine.body["tasks"]) == 45
    assert (await api.get("/v2.0/tasks/my-tasks", limit=100)).body == mine.body
    assert (await api.get("/v2.0/tasks/my-tasks", currentId=UNKNOWN)).body == {"tasks": []}


async def test_my_tasks_shows_ten_by_default(api: "Api") -> None:
    assert len((await api.get("/v2.0/tasks/my-tasks")).body["tasks"]) == 10


@pytest.mark.parametrize("limit", [0, 101, -1])
async def test_my_tasks_limits_its_limit(api: "Api", limit: int) -> None:
    answer = await api.get("/v2.0/tasks/my-tasks", limit=limit)
    assert (answer.status, answer.body) == (400, {"code": 20042, "message": "LIMIT_NOT_VALID"})


async def test_a_negative_cursor_is_refused_with_a_bare_string(api: "Api") -> None:
    answer = await api.get("/v2.0/tasks/my-tasks", currentId=-1)
    assert (answer.status, answer.body) == (400, "INVALID_PARAMETER")


async def test_lists_may_lag_behind_writes(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, 0, appointments_per_lead=0, read_lag=2.0, clock=clock)) as api:
        lead_id = api.sandbox.state.leads.ids()[0]
        created = await api.post("/v2.0/tasks", leadId=lead_id, **CALL)
        assert (await api.get("/v2.0/tasks", leadId=lead_id)).body == {"tasks": []}
        assert (await api.get(f"/v2.0/tasks/{created.body['taskId']}")).status == 200
        clock.now += 2
        assert len((await api.get("/v2.0/tasks", leadId=lead_id)).body["tasks"]) == 1
        api.sandbox.read_lag = 3.0
        assert (await api.get("/v2.0/tasks", leadId=lead_id)).body == {"tasks": []}
