"""`lofty.calendar`: what goes out, what comes back, and what is refused before it goes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lofty_async import (
    AmbiguousWriteError,
    ConnectionFailedError,
    EntryType,
    InvalidRequestError,
    LoftyClient,
    MeetingSlot,
    NotFoundError,
    PermissionDeniedError,
    TaskType,
)
from lofty_async.sandbox import Sandbox, faults

CREATE = "POST /v2.0/calendar"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - what the tests are about
NOT_IDS: list[Any] = ["", "5", 5, "5-note", "task-5", "0-task", "-5-task", "05-task", "5-task ", "\u0665-task", None]
NOT_TEXT: list[Any] = ["", "  ", None, 5]
NOT_MOMENTS: list[Any] = [NAIVE, "2030-01-01T00:00:00Z", None]


@pytest.fixture
def fields(lead_id: int, tomorrow: datetime) -> dict[str, Any]:
    """What `calendar.create` needs for a task."""
    return {
        "type": EntryType.TASK,
        "lead_id": lead_id,
        "content": "Ring",
        "time_zone": "America/New_York",
        "start_at": tomorrow,
        "end_at": tomorrow + timedelta(hours=1),
        "task_way": TaskType.CALL,
    }


async def refused(call: Any) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        await call
    return caught.value.argument


class TestList:
    async def test_all_between_two_times_ascending(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        start, end = LONG_AGO, datetime(2100, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        entries = await lofty.calendar.list(start=start, end=end, include_finished=True).collect()
        assert {entry.task_id for entry in entries} == {
            entry.id for entry in sandbox.state.entries.values() if entry.start_at or entry.end_at
        }
        starts = [entry.start_at or entry.end_at for entry in entries]
        assert starts == sorted(starts, key=lambda moment: moment or LONG_AGO)
        (request,) = sandbox.requests
        assert dict(request.query) == {
            "startTime": "2000-01-01T00:00:00+00:00",
            "endTime": "2100-01-01T00:00:00+05:30",
            "includeFinished": "true",
            "sort": "startTime",
            "desc": "false",
            "page": "0",
            "pageSize": "500",
        }

    async def test_narrowed(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        listing = lofty.calendar.list(
            start=LONG_AGO, lead_id=lead_id, time_zone="Asia/Tokyo", source_types=[1, 2], newest_first=True
        )
        entries = await listing.collect()
        assert {entry.lead_id for entry in entries} == {lead_id}
        assert {entry.finished for entry in entries} == {False}
        assert {entry.source_type for entry in entries} == {1, 2}
        assert entries[0].start_at
        assert entries[0].start_at.utcoffset() == timedelta(hours=9)
        query = sandbox.requests[0].query
        assert query.getall("sourceType") == ["1", "2"]
        assert (query["desc"], query["leadId"], query["includeFinished"]) == ("true", str(lead_id), "false")

    @pytest.mark.parametrize("prefetch", [0, 1, 4])
    async def test_page_by_page_and_side_by_side(self, sandbox: Sandbox, lofty: LoftyClient, prefetch: int) -> None:
        listing = lofty.calendar.list(end=datetime(2100, 1, 1, tzinfo=UTC), page_size=7, prefetch=prefetch)
        entries = await listing.collect()
        assert len({entry.id for entry in entries}) == len(entries) > 21
        assert len(sandbox.requests) <= len(entries) // 7 + 2

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"start": None}, "start"),
            ({"start": NAIVE}, "start"),
            ({"start": "2030-01-01"}, "start"),
            ({"end": NAIVE}, "end"),
            ({"end": LONG_AGO}, "end"),
            ({"lead_id": 0}, "lead_id"),
            ({"time_zone": " "}, "time_zone"),
            ({"include_finished": "no"}, "include_finished"),
            ({"include_finished": None}, "include_finished"),
            ({"newest_first": 1}, "newest_first"),
            ({"end": datetime.max.replace(tzinfo=timezone(timedelta(hours=-8)))}, "end"),
            ({"source_types": 5}, "source_types"),
            ({"source_types": "5"}, "source_types"),
            ({"source_types": [""]}, "source_types"),
            ({"source_types": [1.0]}, "source_types"),
            ({"source_types": [2**63]}, "source_types"),
            ({"sort": ""}, "sort"),
            ({"page_size": 0}, "page_size"),
            ({"page_size": 501}, "page_size"),
            ({"prefetch": -1}, "prefetch"),
        ],
    )
    def test_what_is_wrong_is_refused_at_once(self, lofty: LoftyClient, options: dict[str, Any], argument: str) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            lofty.calendar.list(**({"start": LONG_AGO} | options))
        assert caught.value.argument == argument


class TestSlots:
    async def test_free_times_ascending(self, sandbox: Sandbox, lofty: LoftyClient, tomorrow: datetime) -> None:
        slots = await lofty.calendar.slots(
            start=tomorrow, end=tomorrow + timedelta(days=5), time_zone="Asia/Tokyo"
        ).collect()
        assert slots
        assert all(isinstance(slot, MeetingSlot) for slot in slots)
        starts = [slot.start_at for slot in slots]
        assert starts == sorted(set(starts))
        query = sandbox.requests[0].query
        assert (query["startTime"], query["limit"], query["timeZoneCode"]) == (
            tomorrow.isoformat(),
            "100",
            "Asia/Tokyo",
        )

    async def test_beyond_ninety_days_and_beyond_the_limit(
        self, sandbox: Sandbox, lofty: LoftyClient, tomorrow: datetime
    ) -> None:
        end = tomorrow + timedelta(days=120)
        every = await lofty.calendar.slots(start=tomorrow, end=end, limit=5000).collect()
        few = await lofty.calendar.slots(start=tomorrow, end=end, limit=200).collect()
        assert few == every
        assert max(slot.start_at for slot in every) > tomorrow + timedelta(days=110)
        for request in sandbox.requests:
            asked = [datetime.fromisoformat(request.query[name]) for name in ("startTime", "endTime")]
            assert asked[1] - asked[0] <= timedelta(days=90)
            assert request.status == 200

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"start": NAIVE}, "start"),
            ({"start": datetime.max.replace(tzinfo=timezone(timedelta(hours=-8)))}, "start"),
            ({"end": NAIVE}, "end"),
            ({"end": LONG_AGO}, "end"),
            ({"end": datetime(9999, 1, 1, tzinfo=UTC)}, "end"),
            ({"time_zone": ""}, "time_zone"),
            ({"limit": 0}, "limit"),
            ({"limit": True}, "limit"),
            ({"prefetch": -1}, "prefetch"),
        ],
    )
    def test_what_is_wrong_is_refused_at_once(
        self, lofty: LoftyClient, tomorrow: datetime, options: dict[str, Any], argument: str
    ) -> None:
        fields: dict[str, Any] = {"start": tomorrow, "end": tomorrow + timedelta(days=1)}
        with pytest.raises(InvalidRequestError) as caught:
            lofty.calendar.slots(**(fields | options))
        assert caught.value.argument == argument


class TestCreate:
    async def test_a_task(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, fields: Any, tomorrow: datetime
    ) -> None:
        entry_id = await lofty.calendar.create(**fields)
        number, _, kind = entry_id.partition("-")
        assert kind == "task"
        assert sandbox.state.tasks[int(number)].content == "Ring"
        assert sandbox.requests[0].json() == {
            "type": "TASK",
            "leadId": lead_id,
            "content": "Ring",
            "timeZoneCode": "America/New_York",
            "startAt": tomorrow.isoformat(),
            "endAt": (tomorrow + timedelta(hours=1)).isoformat(),
            "taskWay": "Call",
            "assignedRole": "Agent",
        }

    async def test_an_appointment(self, sandbox: Sandbox, lofty: LoftyClient, fields: Any) -> None:
        del fields["task_way"]
        entry_id = await lofty.calendar.create(**(fields | {"type": "appointment", "address": "12 Main St"}))
        assert entry_id.endswith("-appointment")
        body = sandbox.requests[0].json()
        assert (body["type"], body["address"]) == ("APPOINTMENT", "12 Main St")
        assert not {"taskWay", "assignedRole"} & body.keys()

    async def test_a_role_that_is_given(self, sandbox: Sandbox, lofty: LoftyClient, fields: Any) -> None:
        await lofty.calendar.create(**fields, assigned_role="Assistant")
        assert sandbox.requests[0].json()["assignedRole"] == "Assistant"

    async def test_microseconds_arrive(self, sandbox: Sandbox, lofty: LoftyClient, fields: Any) -> None:
        end_at = fields["end_at"].replace(microsecond=123_456)
        entry_id = await lofty.calendar.create(**(fields | {"end_at": end_at}))
        assert sandbox.state.entries[int(entry_id.partition("-")[0])].end_at == end_at

    @pytest.mark.parametrize("fault", [faults.DropBefore(), faults.DropAfter()])
    async def test_is_never_sent_twice(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, fields: Any, fault: faults.Fault
    ) -> None:
        sandbox.faults.add(CREATE, fault)
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.calendar.create(**fields)
        assert (caught.value.lead_id, caught.value.sent["type"]) == (lead_id, "TASK")
        assert isinstance(caught.value.__cause__, ConnectionFailedError)
        assert len(sandbox.requests) == 1

    @pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"id": 5}}, {"data": {"id": ""}}, {"data": [1]}])
    async def test_an_answer_that_does_not_name_it(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, body: Any
    ) -> None:
        sandbox.faults.add(CREATE, faults.Reply(200, body))
        with pytest.raises(AmbiguousWriteError, match="does not identify it"):
            await lofty.calendar.create(**fields)

    @pytest.mark.parametrize(
        ("change", "argument"),
        [
            *(({name: value}, name) for name in ("type", "content", "time_zone") for value in NOT_TEXT),
            *(({name: value}, name) for name in ("task_way", "assigned_role", "address") for value in NOT_TEXT),
            *(({name: value}, name) for name in ("start_at", "end_at") for value in NOT_MOMENTS),
            ({"end_at": LONG_AGO}, "end_at"),
            ({"lead_id": -1}, "lead_id"),
            ({"start_at": datetime(2100, 1, 1, tzinfo=UTC)}, "end_at"),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, change: dict[str, Any], argument: str
    ) -> None:
        assert await refused(lofty.calendar.create(**(fields | change))) == argument
        assert sandbox.requests == []

    @pytest.mark.parametrize("kind", ["TASK", "task", "Task"])
    async def test_a_task_needs_its_way(self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, kind: str) -> None:
        del fields["task_way"]
        assert await refused(lofty.calendar.create(**(fields | {"type": kind}))) == "task_way"
        assert sandbox.requests == []


class TestUpdate:
    async def test_everything_that_can_change(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime
    ) -> None:
        entry = sandbox.state.add_appointment(lead_id)
        other = sandbox.state.leads.ids()[1]
        await lofty.calendar.update(
            entry.calendar_id,
            content="New",
            start_at=tomorrow,
            end_at=tomorrow,
            time_zone="Asia/Tokyo",
            address="1 Way",
            lead_id=other,
            reminder_type="POPUP",
            reminder_time=15,
        )
        assert sandbox.requests[0].path == f"/v2.0/calendar/{entry.calendar_id}"
        assert sandbox.requests[0].json() == {
            "content": "New",
            "startAt": tomorrow.isoformat(),
            "endAt": tomorrow.isoformat(),
            "timeZoneCode": "Asia/Tokyo",
            "address": "1 Way",
            "leadId": other,
            "reminderType": "POPUP",
            "reminderTime": "15",
        }
        changed = sandbox.state.entries[entry.id]
        assert (changed.content, changed.start_at, changed.lead_id) == ("New", tomorrow, other)

    @pytest.mark.parametrize(
        ("fields", "argument"),
        [
            ({}, "content"),
            *(({name: value}, name) for name in ("content", "address", "time_zone") for value in NOT_TEXT),
            *(({name: value}, name) for name in ("reminder_type", "reminder_time") for value in ["", None, 1.5, True]),
            *(({name: value}, name) for name in ("start_at", "end_at") for value in NOT_MOMENTS),
            ({"lead_id": "5"}, "lead_id"),
            ({"start_at": datetime(2100, 1, 2, tzinfo=UTC), "end_at": datetime(2100, 1, 1, tzinfo=UTC)}, "end_at"),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: dict[str, Any], argument: str
    ) -> None:
        assert await refused(lofty.calendar.update("5-task", **fields)) == argument
        assert sandbox.requests == []


class TestChanges:
    @pytest.mark.parametrize("kind", ["task", "appointment"])
    async def test_finish_unfinish_delete(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, kind: str) -> None:
        add = sandbox.state.add_task if kind == "task" else sandbox.state.add_appointment
        entry = add(lead_id)
        await lofty.calendar.finish(entry.calendar_id)
        assert sandbox.state.entries[entry.id].finished
        await lofty.calendar.unfinish(entry.calendar_id)
        assert not sandbox.state.entries[entry.id].finished
        await lofty.calendar.delete(entry.calendar_id)
        assert entry.id not in sandbox.state.entries
        path = f"/v2.0/calendar/{entry.id}-{kind}"
        assert [(request.method, request.path) for request in sandbox.requests] == [
            ("POST", f"{path}/finish"),
            ("POST", f"{path}/unfinish"),
            ("DELETE", path),
        ]

    @pytest.mark.parametrize("way", ["finish", "unfinish", "delete", "update"])
    @pytest.mark.parametrize("id", NOT_IDS)
    async def test_take_a_composite_id(self, sandbox: Sandbox, lofty: LoftyClient, way: str, id: Any) -> None:
        options = {"content": "x"} if way == "update" else {}
        assert await refused(getattr(lofty.calendar, way)(id, **options)) == "id"
        assert sandbox.requests == []

    async def test_no_such_entry(self, lofty: LoftyClient) -> None:
        with pytest.raises((NotFoundError, InvalidRequestError)) as caught:
            await lofty.calendar.delete("5-task")
        assert caught.value.code == 20012

    async def test_a_smart_plans_task(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id, smart_plan=True)
        with pytest.raises(InvalidRequestError) as caught:
            await lofty.calendar.finish(entry.calendar_id)
        assert caught.value.name == "TASK_IS_SMARTPLAN"

    async def test_an_entry_of_somebody_else(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id)
        sandbox.state.forbidden_leads.add(lead_id)
        with pytest.raises(PermissionDeniedError) as caught:
            await lofty.calendar.delete(entry.calendar_id)
        assert caught.value.name == "PERMISSION_DENIED"
