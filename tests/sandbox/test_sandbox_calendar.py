from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async.sandbox.times import milliseconds

if TYPE_CHECKING:
    from tests.sandbox.conftest import Answer, Api

ALWAYS = {"startTime": "2000-01-01T00:00:00Z"}
UNKNOWN = 999_999_999_999_999
TIMES = {"startAt": "2026-07-01T09:00:00-07:00", "endAt": "2026-07-01T10:00:00-07:00"}
TASK = {"type": "TASK", "content": "Ring", "timeZoneCode": "America/New_York", "taskWay": "Call"}


def code(answer: "Answer") -> Any:
    return answer.body["status"]["code"]


async def entries(api: "Api", **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/v2.0/calendar", **(ALWAYS | {"pageSize": 500} | query))
    assert answer.body["data"]["total"] == len(answer.body["data"]["items"])
    return list(answer.body["data"]["items"])


async def test_lists_open_entries_newest_first(api: "Api") -> None:
    found = await entries(api)
    expected = [
        entry.calendar_id
        for entry in api.sandbox.state.entries.values()
        if not entry.finished and (entry.start_at or entry.end_at)
    ]
    assert sorted(item["id"] for item in found) == sorted(expected)
    starts = [item["startAtMs"] or item["endAtMs"] for item in found]
    assert starts == sorted(starts, reverse=True)
    assert "allDay" not in found[0]


async def test_finished_ones_on_demand(api: "Api") -> None:
    assert len(await entries(api, includeFinished="true")) > len(await entries(api))


async def test_oldest_first_and_by_end(api: "Api") -> None:
    ascending = [item["id"] for item in await entries(api, desc="false")]
    assert ascending == [item["id"] for item in await entries(api)][::-1]
    ends = [item["endAtMs"] for item in await entries(api, sort="endTime")]
    assert ends == sorted(ends, reverse=True)


async def test_pages_by_offset(api: "Api") -> None:
    every = [item["id"] for item in await entries(api)]
    pages = [(await api.get("/v2.0/calendar", **ALWAYS, page=page, pageSize=10)).body["data"] for page in range(6)]
    assert [item["id"] for page in pages for item in page["items"]] == every
    assert pages[-1] == {"total": len(every), "page": 5, "pageSize": 10, "items": []}


async def test_bounds_lead_and_source_types(api: "Api", lead_id: int) -> None:
    at = datetime(2027, 3, 1, tzinfo=UTC)
    entry = api.sandbox.state.add_appointment(lead_id, start_at=at, end_at=at + timedelta(hours=1))
    between = {"startTimeMs": milliseconds(at) - 1, "endTimeMs": milliseconds(at) + 1, "startTime": ""}
    assert [item["taskId"] for item in await entries(api, **between)] == [entry.id]
    assert {item["leadId"] for item in await entries(api, leadId=lead_id)} == {lead_id}
    assert {item["sourceType"] for item in await entries(api, sourceType=2)} == {2}
    assert {item["sourceType"] for item in await entries(api, sourceType="1,2")} == {1, 2}
    another = api.sandbox.state.add_task(lead_id, source_code=7, start_at=at + timedelta(days=9))
    assert [item["taskId"] for item in await entries(api, sourceType=7)] == [another.id]
    assert await entries(api, sourceType="SMART_PLAN") == []
    path = "/v2.0/calendar?startTime=2000-01-01T00:00:00Z&sourceType=2&sourceType=4&pageSize=500"
    assert {item["sourceType"] for item in (await api.call("GET", path)).body["data"]["items"]} == {2, 4}


async def test_the_string_wins_over_milliseconds(api: "Api") -> None:
    assert await entries(api, startTimeMs=milliseconds(datetime(2999, 1, 1, tzinfo=UTC)))


async def test_a_range_may_reach_to_the_ends_of_time(api: "Api") -> None:
    assert await entries(api, startTime="0001-01-01T00:00:00+14:00", endTime="9999-12-31T23:59:59-14:00")


async def test_times_in_a_zone(api: "Api", lead_id: int) -> None:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    api.sandbox.state.add_appointment(lead_id, start_at=at, end_at=at)
    found = await entries(api, startTime=at.strftime("%Y-%m-%dT%XZ"), endTime=at.strftime("%Y-%m-%dT%XZ"))
    assert [item["startAt"] for item in found] == ["2026-07-01T00:00:00+00:00"]
    zoned = await entries(
        api, startTime="2026-07-01T00:00:00Z", endTime="2026-07-01T00:00:00Z", timeZoneCode="Asia/Kolkata"
    )
    assert [item["startAt"] for item in zoned] == ["2026-07-01T05:30:00+05:30"]


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ({}, 20012),
        ({"startTime": "2026-01-01T00:00:00"}, 20012),
        ({"startTime": "2026-01-01T00:00:00 08:00"}, 20012),
        ({"startTimeMs": "soon"}, 20012),
        ({"startTimeMs": 10**18}, 20012),
        (ALWAYS | {"page": -1}, 20012),
        (ALWAYS | {"pageSize": 0}, 20012),
        (ALWAYS | {"pageSize": 501}, "LIMIT_PARAM_OVERSIZE"),
        (ALWAYS | {"sort": "mood"}, 20012),
        (ALWAYS | {"desc": "yes"}, 20012),
        (ALWAYS | {"leadId": "x"}, 20012),
        (ALWAYS | {"timeZoneCode": "Mars/Base"}, 20012),
    ],
)
async def test_list_refuses(api: "Api", query: dict[str, Any], refused: object) -> None:
    answer = await api.get("/v2.0/calendar", **query)
    assert (answer.status, code(answer)) == (400, refused)


@pytest.mark.parametrize("kind", ["TASK", "task", "Appointment"])
async def test_creates_tasks_and_appointments(api: "Api", lead_id: int, kind: str) -> None:
    own: dict[str, Any] = {"taskWay": "Call"} if kind.upper() == "TASK" else {"taskWay": None, "address": "Here"}
    answer = await api.post("/v2.0/calendar", leadId=lead_id, **(TASK | TIMES | {"type": kind} | own))
    data = answer.body["data"]
    number, _, suffix = data["id"].partition("-")
    assert (suffix, data["type"]) == (kind.lower(), kind.upper())
    task = (await api.get(f"/v2.0/tasks/{number}")).body["task"]
    expected = ("Call", None) if kind.upper() == "TASK" else ("Appointment", "Here")
    assert (task["type"], task["address"]) == expected


async def test_creates_from_milliseconds(api: "Api", lead_id: int) -> None:
    times = {"startAtMs": 1_790_000_000_000, "endAtMs": 1_790_000_360_000}
    answer = await api.post("/v2.0/calendar", leadId=lead_id, **(TASK | times))
    number = int(answer.body["data"]["id"].partition("-")[0])
    start = api.sandbox.state.tasks[number].start_at
    assert start is not None
    assert milliseconds(start) == 1_790_000_000_000


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"type": None}, 20012),
        ({"type": "PARTY"}, 20012),
        ({"content": ""}, 20012),
        ({"leadId": None}, 20012),
        ({"leadId": UNKNOWN}, 20017),
        ({"timeZoneCode": None}, 20012),
        ({"taskWay": None}, 20012),
        ({"taskWay": "Dance"}, 20012),
        ({"address": "Here"}, 20012),
        ({"type": "APPOINTMENT"}, 20012),
        ({"type": "APPOINTMENT", "taskWay": None, "assignedRole": "Agent"}, 20012),
        ({"leadId": "563000000000000"}, 20012),
        ({"endAt": "2026-07-01T10:00:00-07:00:30"}, 20012),
        ({"assignedRole": "Lender"}, 20012),
        ({"startAt": None}, 20012),
        ({"endAt": None}, 20012),
        ({"startAt": "2026-06-01T12:00:00Z"}, 20012),
        ({"endAt": "2026-05-01T12:00:00Z"}, 20012),
        ({"endAt": "2026-07-01T12:00:00"}, 20012),
    ],
)
async def test_create_refuses(api: "Api", lead_id: int, body: dict[str, Any], refused: int) -> None:
    answer = await api.post("/v2.0/calendar", **(TASK | TIMES | {"leadId": lead_id} | body))
    assert (answer.status, code(answer)) == (400, refused)


async def test_updates_only_what_is_not_empty(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_appointment(lead_id, content="Old", address="Here")
    answer = await api.put(
        f"/v2.0/calendar/{entry.calendar_id}",
        content="",
        address=None,
        endAt=TIMES["endAt"],
        reminderType="3",
    )
    assert answer.body == {"message": "Calendar updated successfully"}
    changed = api.sandbox.state.entries[entry.id]
    assert (changed.content, changed.address, changed.reminder_type) == ("Old", "Here", 3)
    assert changed.end_at == datetime(2026, 7, 1, 17, tzinfo=UTC)


async def test_update_moves_an_entry_to_another_lead(api: "Api", lead_id: int) -> None:
    other = api.sandbox.state.leads.ids()[1]
    entry = api.sandbox.state.add_appointment(lead_id)
    assert (await api.put(f"/v2.0/calendar/{entry.calendar_id}", leadId=other)).status == 200
    assert entry.id in {moved.id for moved in api.sandbox.state.entries.of(other)}
    assert entry.id not in {left.id for left in api.sandbox.state.entries.of(lead_id)}
    refused = await api.put(f"/v2.0/calendar/{entry.calendar_id}", leadId=UNKNOWN)
    assert (refused.status, code(refused)) == (400, 20017)


@pytest.mark.parametrize(
    "body",
    [{"startAt": "2026-05-01T12:00:00Z"}, {"endAtMs": 1}, {"reminderType": 3}, {"reminderType": "9" * 5000}],
    ids=lambda body: next(iter(body)),
)
async def test_update_refuses(api: "Api", lead_id: int, body: dict[str, Any]) -> None:
    entry = api.sandbox.state.add_appointment(lead_id)
    answer = await api.put(f"/v2.0/calendar/{entry.calendar_id}", **body)
    assert (answer.status, code(answer)) == (400, 20012)


async def test_finishes_reopens_and_deletes(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_appointment(lead_id)
    for action, finished in (("finish", True), ("finish", True), ("unfinish", False)):
        assert (await api.post(f"/v2.0/calendar/{entry.calendar_id}/{action}")).status == 200
        assert api.sandbox.state.entries[entry.id].finished is finished
    assert (await api.delete(f"/v2.0/calendar/{entry.calendar_id}")).status == 200
    again = await api.delete(f"/v2.0/calendar/{entry.calendar_id}")
    assert (again.status, code(again)) == (400, 20012)


async def test_smart_plan_tasks_cannot_be_finished_here_either(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id, smart_plan=True)
    answer = await api.post(f"/v2.0/calendar/{entry.calendar_id}/finish")
    assert (answer.status, code(answer)) == (400, "TASK_IS_SMARTPLAN")


async def test_entries_have_composite_ids_that_name_their_kind(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id)
    for name in (
        str(entry.id),
        f"{entry.id}-appointment",
        f"{entry.id}-TASK",
        "0-task",
        f"{9**20}-task",
        "x-task",
    ):
        answer = await api.delete(f"/v2.0/calendar/{name}")
        assert (answer.status, code(answer)) == (400, 20012)


async def test_an_entry_of_somebody_elses_lead(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id)
    api.sandbox.state.forbidden_leads.add(lead_id)
    answer = await api.delete(f"/v2.0/calendar/{entry.calendar_id}")
    assert (answer.status, code(answer)) == (400, 20017)
    assert lead_id not in {item["leadId"] for item in await entries(api)}


WEEK = {"startTime": "2026-06-01T13:00:00Z", "endTime": "2026-06-08T13:00:00Z"}


async def slots(api: "Api", **query: Any) -> dict[str, Any]:
    return dict((await api.get("/v2.0/calendar/meetings/available", **(WEEK | query))).body["data"])


async def test_slots_are_free_hours_ascending(api: "Api", lead_id: int) -> None:
    api.sandbox.state.appointments.clear()
    free = await slots(api, limit=100)
    starts = [slot["startTimeMs"] for slot in free["slots"]]
    assert free["total"] == len(starts) == 40
    assert starts == sorted(starts)
    assert free["slots"][0]["startTime"] == "2026-06-01T09:00:00-07:00"
    start = datetime.fromtimestamp(starts[3] / 1000, UTC)
    api.sandbox.state.add_appointment(lead_id, start_at=start, end_at=start + timedelta(minutes=5))
    assert starts[3] not in [slot["startTimeMs"] for slot in (await slots(api, limit=100))["slots"]]


async def test_slots_are_limited_and_counted(api: "Api") -> None:
    free = await slots(api)
    assert len(free["slots"]) == 10
    assert free["total"] > 10


async def test_slots_in_another_zone(api: "Api") -> None:
    assert (await slots(api, timeZoneCode="Asia/Kolkata"))["slots"][0]["startTime"] == "2026-06-02T09:00:00+05:30"


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ({"startTime": ""}, 20012),
        ({"endTime": ""}, 20012),
        ({"startTime": "2026-06-01T12:00:00Z"}, 20012),
        ({"endTime": "2026-06-01T13:00:00Z"}, 20012),
        ({"endTime": "2026-08-30T13:00:01Z"}, 20012),
        ({"endTime": "2026-06-08T13:00:00"}, 20012),
        ({"startTime": "9999-12-01T00:00:00Z", "endTime": "9999-12-31T23:59:59Z"}, 20012),
        ({"limit": 0}, 20042),
        ({"limit": "many"}, 20012),
    ],
)
async def test_slots_refuse(api: "Api", query: dict[str, Any], refused: int) -> None:
    answer = await api.get("/v2.0/calendar/meetings/available", **(WEEK | query))
    assert (answer.status, code(answer)) == (400, refused)


async def test_slots_over_exactly_ninety_days(api: "Api") -> None:
    assert (await slots(api, endTime="2026-08-30T13:00:00Z"))["total"] > 100
