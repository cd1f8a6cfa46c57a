"""`lofty.v1`: the legacy calls."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lofty_async import (
    AmbiguousWriteError,
    AppointmentV1,
    InvalidRequestError,
    LoftyClient,
    NotFoundError,
    TaskType,
    TaskV1,
)
from lofty_async.sandbox import Sandbox, faults

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - what the tests are about
NOT_IDS: list[Any] = [0, -1, 2**63, True, "5", None]
NOT_TEXT: list[Any] = ["", "  ", None, 5]
NOT_MOMENTS: list[Any] = [NAIVE, "2030-01-01T00:00:00Z", None, 1_900_000_000_000]


async def refused(call: Any) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        await call
    return caught.value.argument


async def test_tasks_of_a_lead(sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
    tasks = await lofty.v1.tasks.list(lead_id).collect()
    own = [entry for entry in sandbox.state.tasks.values() if entry.lead_id == lead_id]
    assert [task.id for task in tasks] == [entry.id for entry in own]
    assert dict(sandbox.requests[0].query) == {"leadId": str(lead_id)}


async def test_appointments_of_a_lead(sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime) -> None:
    made = sandbox.state.add_appointment(lead_id, start_at=tomorrow, end_at=tomorrow, content="Viewing")
    appointments = await lofty.v1.appointments.list(lead_id).collect()
    assert all(isinstance(one, AppointmentV1) for one in appointments)
    (one,) = [one for one in appointments if one.id == made.id]
    assert (one.content, one.start_at, one.end_at) == ("Viewing", tomorrow, tomorrow)
    assert sandbox.requests[0].route == "GET /v1.0/appts"


async def test_one_task(sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime) -> None:
    entry = sandbox.state.add_task(lead_id, type="Call", end_at=tomorrow)
    task = await lofty.v1.tasks.get(entry.id)
    assert isinstance(task, TaskV1)
    assert (task.id, task.type, task.end_at, task.finished) == (entry.id, TaskType.CALL, tomorrow, False)


@pytest.mark.parametrize("way", ["tasks", "appointments"])
@pytest.mark.parametrize("lead_id", NOT_IDS)
def test_a_lead_is_an_id(lofty: LoftyClient, way: str, lead_id: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        getattr(lofty.v1, way).list(lead_id)
    assert caught.value.argument == "lead_id"


class TestCreate:
    async def test_times_go_out_as_milliseconds(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any, tomorrow: datetime
    ) -> None:
        end_at = tomorrow.replace(microsecond=123_999)
        task_id = await lofty.v1.tasks.create(**(call_fields | {"end_at": end_at}))
        assert sandbox.requests[0].json() == {
            "type": "Call",
            "leadId": lead_id,
            "content": "Ring",
            "assignedRole": "Agent",
            "deadline": int(tomorrow.timestamp()) * 1000 + 123,
        }
        assert sandbox.state.tasks[task_id].end_at == tomorrow.replace(microsecond=123_000)

    @pytest.mark.parametrize("fault", [faults.DropBefore(), faults.DropAfter(), faults.Reply(), faults.NotJson()])
    async def test_is_never_sent_twice(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any, fault: faults.Fault
    ) -> None:
        sandbox.faults.add(kind=fault)
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.v1.tasks.create(**call_fields)
        assert (caught.value.lead_id, len(sandbox.requests)) == (lead_id, 1)

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            *(("lead_id", value) for value in NOT_IDS),
            *((name, value) for name in ("type", "content", "assigned_role") for value in NOT_TEXT),
            *(("end_at", value) for value in NOT_MOMENTS),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any, argument: str, value: Any
    ) -> None:
        assert await refused(lofty.v1.tasks.create(**(call_fields | {argument: value}))) == argument
        assert sandbox.requests == []


class TestUpdate:
    @pytest.mark.parametrize(
        ("fields", "wire"),
        [
            ({"content": "New"}, {"content": "New"}),
            ({"type": TaskType.EMAIL}, {"type": "Email"}),
            ({"assigned_role": "Assistant"}, {"assignedRole": "Assistant"}),
            ({"end_at": datetime(2031, 1, 1, tzinfo=UTC)}, {"deadline": 1_924_992_000_000}),
        ],
    )
    async def test_only_what_is_given_goes_out(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, fields: dict[str, Any], wire: dict[str, Any]
    ) -> None:
        entry = sandbox.state.add_task(lead_id)
        await lofty.v1.tasks.update(entry.id, **fields, lead_id=lead_id)
        assert sandbox.requests[0].json() == wire | {"leadId": lead_id}
        changed = sandbox.state.entries[entry.id]
        assert {name: getattr(changed, name) for name in fields} == fields

    async def test_another_lead_is_refused_by_the_server(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int
    ) -> None:
        entry = sandbox.state.add_task(lead_id)
        with pytest.raises(InvalidRequestError) as caught:
            await lofty.v1.tasks.update(entry.id, content="New", lead_id=lead_id + 7)
        assert caught.value.name == "INVALID_UPDATE_OPERATION_LEADID"

    @pytest.mark.parametrize(
        ("fields", "argument"),
        [
            ({}, "content"),
            ({"lead_id": 5}, "content"),
            ({"content": "x", "lead_id": "5"}, "lead_id"),
            *(({name: value}, name) for name in ("content", "type", "assigned_role") for value in NOT_TEXT),
            *(({"end_at": value}, "end_at") for value in NOT_MOMENTS),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: dict[str, Any], argument: str
    ) -> None:
        assert await refused(lofty.v1.tasks.update(5, **fields)) == argument
        assert sandbox.requests == []


class TestChanges:
    async def test_finish_and_delete(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id)
        await lofty.v1.tasks.finish(entry.id)
        assert sandbox.state.entries[entry.id].finished
        assert sandbox.requests[0].json() == {"finishFlag": True}
        await lofty.v1.tasks.delete(entry.id)
        assert entry.id not in sandbox.state.entries

    async def test_a_smart_plans_task(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id, smart_plan=True)
        with pytest.raises(InvalidRequestError) as caught:
            await lofty.v1.tasks.finish(entry.id)
        assert caught.value.name == "TASK_IS_SMARTPLAN"

    @pytest.mark.parametrize("way", ["get", "finish", "delete"])
    async def test_no_such_task(self, lofty: LoftyClient, way: str) -> None:
        with pytest.raises(NotFoundError) as caught:
            await getattr(lofty.v1.tasks, way)(5)
        assert caught.value.status == 404

    @pytest.mark.parametrize("way", ["get", "finish", "delete", "update"])
    @pytest.mark.parametrize("id", NOT_IDS)
    async def test_take_an_id(self, sandbox: Sandbox, lofty: LoftyClient, way: str, id: Any) -> None:
        options = {"content": "x"} if way == "update" else {}
        assert await refused(getattr(lofty.v1.tasks, way)(id, **options)) == "id"
        assert sandbox.requests == []
