"""`lofty.tasks`: what goes out, what comes back, and what is refused before it goes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async import (
    AmbiguousWriteError,
    APIError,
    AssignedRole,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    LoftyClient,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TaskType,
)
from lofty_async.models import Task
from lofty_async.sandbox import Sandbox, faults
from tests.virtual import late, now, run_with_sandbox

if TYPE_CHECKING:
    from tests.conftest import OpenClient

LIST = "GET /v2.0/tasks"
CREATE = "POST /v2.0/tasks"
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - what the tests are about
UNLANDED: dict[str, tuple[faults.Fault, type[Exception]]] = {
    "dropped before": (faults.DropBefore(), ConnectionFailedError),
    "500": (faults.Reply(), ServerError),
    "not JSON": (faults.NotJson(lost=True), DecodeError),
}
NOT_IDS: list[Any] = [0, -1, 2**63, True, "5", 5.0, None]
NOT_TEXT: list[Any] = ["", "  ", None, 5, b"x"]
NOT_MOMENTS: list[Any] = [NAIVE, "2030-01-01T00:00:00Z", None, 1_900_000_000]


def refused_by(call: Any) -> str | None:
    """The argument that a call is refused for, as soon as it is made."""
    with pytest.raises(InvalidRequestError) as caught:
        call()
    return caught.value.argument


async def refused_when_awaited(call: Any) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        await call
    return caught.value.argument


class TestReading:
    async def test_all_of_a_lead(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        tasks = await lofty.tasks.list(lead_id).collect()
        assert [task.id for task in tasks] == [entry.id for entry in sandbox.state.entries.of(lead_id)]
        assert all(task.lead_id == lead_id for task in tasks)
        (request,) = sandbox.requests
        assert (request.route, dict(request.query)) == (LIST, {"leadId": str(lead_id)})

    async def test_nothing_is_asked_before_it_is_read(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        lofty.tasks.list(1)
        lofty.tasks.mine()
        assert sandbox.requests == []

    async def test_one(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime) -> None:
        entry = sandbox.state.add_task(lead_id, content="Ring", type="Call", end_at=tomorrow, address="12 Main St")
        task = await lofty.tasks.get(entry.id)
        assert isinstance(task, Task)
        assert (task.id, task.content, task.type) == (entry.id, "Ring", TaskType.CALL)
        assert (task.end_at, task.finished, task.address) == (tomorrow, False, "12 Main St")
        assert sandbox.requests[0].path == f"/v2.0/tasks/{entry.id}"

    async def test_ids_beyond_doubles_stay_exact(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        sandbox.state.add_task(lead_id, id=2**63 - 1)
        assert (await lofty.tasks.get(2**63 - 1)).id == 9223372036854775807

    async def test_mine_page_by_page(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        tasks = await lofty.tasks.mine(page_size=20).collect()
        assert {task.id for task in tasks} == {entry.id for entry in sandbox.state.entries.values()}
        assert len(tasks) == len(sandbox.state.entries)
        first, second, *_ = sandbox.requests
        assert dict(first.query) == {"currentId": "0", "limit": "20"}
        assert dict(second.query) == {"currentId": str(tasks[18].id), "limit": "21"}

    async def test_mine_of_another_user_in_another_zone(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        user = next(iter(sandbox.state.entries.values())).assigned_user_id
        tasks = await lofty.tasks.mine(user_id=user, time_zone="Asia/Tokyo").collect()
        assert {task.assigned_user_id for task in tasks} == {user}
        offsets = {task.start_at.utcoffset() for task in tasks if task.start_at}
        assert timedelta(hours=9) in offsets
        query = sandbox.requests[0].query
        assert (query["userId"], query["timeZoneCode"], query["limit"]) == (str(user), "Asia/Tokyo", "100")

    @pytest.mark.parametrize("lead_id", NOT_IDS)
    def test_a_lead_is_an_id(self, lofty: LoftyClient, lead_id: Any) -> None:
        assert refused_by(lambda: lofty.tasks.list(lead_id)) == "lead_id"

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"user_id": 0}, "user_id"),
            ({"time_zone": ""}, "time_zone"),
            ({"page_size": 0}, "page_size"),
            ({"page_size": 101}, "page_size"),
            ({"page_size": 10.0}, "page_size"),
            ({"prefetch": -1}, "prefetch"),
        ],
    )
    def test_mine_checks_its_arguments(self, lofty: LoftyClient, options: dict[str, Any], argument: str) -> None:
        assert refused_by(lambda: lofty.tasks.mine(**options)) == argument

    async def test_an_unreadable_record(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        bad = sandbox.state.add_task(lead_id, quirks={"endAt": "soon"})
        with pytest.raises(DecodeError) as caught:
            await lofty.tasks.list(lead_id).collect()
        assert (caught.value.path, caught.value.record_id) == ("tasks[15].endAt", bad.id)
        assert len(await lofty.tasks.list(lead_id, on_bad_record="skip").collect()) == 15
        misspelt: Any = "rasie"
        with pytest.raises(InvalidRequestError, match="on_bad_record must be"):
            lofty.tasks.list(lead_id, on_bad_record=misspelt)
        seen = list[DecodeError]()
        assert len(await lofty.with_options(on_bad_record=seen.append).tasks.list(lead_id).collect()) == 15
        assert [error.record_id for error in seen] == [bad.id]
        with pytest.raises(DecodeError):
            await lofty.tasks.get(bad.id)


class TestErrors:
    @pytest.mark.parametrize(
        ("way", "kind", "name"),
        [
            ("get", NotFoundError, "TASK_NOT_EXIST"),
            ("finish", NotFoundError, "TASK_NOT_EXIST"),
            ("unfinish", NotFoundError, "TASK_NOT_EXIST"),
            ("delete", NotFoundError, "TASK_NOT_EXIST"),
        ],
    )
    async def test_no_such_task(
        self, sandbox: Sandbox, lofty: LoftyClient, way: str, kind: type[APIError], name: str
    ) -> None:
        with pytest.raises(kind) as caught:
            await getattr(lofty.tasks, way)(5)
        assert (caught.value.name, caught.value.status, caught.value.attempts) == (name, 404, 1)
        assert len(sandbox.requests) == 1

    async def test_a_smart_plans_task_cannot_be_finished(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int
    ) -> None:
        entry = sandbox.state.add_task(lead_id, smart_plan=True)
        with pytest.raises(InvalidRequestError) as caught:
            await lofty.tasks.finish(entry.id)
        assert caught.value.name == "TASK_IS_SMARTPLAN"

    async def test_no_such_lead(self, lofty: LoftyClient) -> None:
        with pytest.raises(NotFoundError) as caught:
            await lofty.tasks.list(5).collect()
        assert (caught.value.code, caught.value.name) == (20006, "LEAD_NOT_EXIST")

    async def test_a_lead_of_somebody_else(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any
    ) -> None:
        entry = sandbox.state.add_task(lead_id)
        sandbox.state.forbidden_leads.add(lead_id)
        with pytest.raises(PermissionDeniedError) as caught:
            await lofty.tasks.list(lead_id).collect()
        assert (caught.value.code, caught.value.name) == (20017, "PERMISSION_DENIED")
        with pytest.raises(PermissionDeniedError):
            await lofty.tasks.create(**call_fields)
        with pytest.raises(NotFoundError) as hidden:  # the code stands in the message's text
            await lofty.tasks.finish(entry.id)
        assert (hidden.value.code, hidden.value.name) == (20006, "LEAD_NOT_EXIST")


class TestCreate:
    async def test_what_is_given_goes_out_and_nothing_else(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any, tomorrow: datetime
    ) -> None:
        task_id = await lofty.tasks.create(**call_fields)
        assert sandbox.state.entries[task_id].end_at == tomorrow
        assert sandbox.requests[0].json() == {
            "type": "Call",
            "leadId": lead_id,
            "content": "Ring",
            "assignedRole": "Agent",
            "endAt": tomorrow.isoformat(),
        }

    async def test_an_enum_is_taken_by_name_or_value_in_any_case(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any
    ) -> None:
        await lofty.tasks.create(**call_fields | {"type": "call", "assigned_role": "AGENT"})
        body = sandbox.requests[0].json()
        assert (body["type"], body["assignedRole"]) == ("Call", "Agent")

    async def test_everything(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, tomorrow: datetime) -> None:
        start = tomorrow.astimezone(timezone(timedelta(hours=-8)))
        task_id = await lofty.tasks.create(
            type=TaskType.APPOINTMENT,
            lead_id=lead_id,
            content="Viewing 🏡",
            assigned_role=AssignedRole.ASSISTANT,
            start_at=start,
            end_at=start + timedelta(hours=1),
            time_zone="America/Los_Angeles",
            address="12 Main St",
        )
        body = sandbox.requests[0].json()
        assert (body["type"], body["assignedRole"]) == ("Appointment", "Assistant")
        assert (body["startAt"], body["timeZoneCode"]) == (start.isoformat(), "America/Los_Angeles")
        made = sandbox.state.entries[task_id]
        assert (made.content, made.address, made.start_at) == ("Viewing 🏡", "12 Main St", tomorrow)

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            *(("lead_id", value) for value in NOT_IDS),
            *((name, value) for name in ("type", "content", "assigned_role") for value in NOT_TEXT),
            *((name, value) for name in ("time_zone", "address") for value in NOT_TEXT),
            *((name, value) for name in ("end_at", "start_at") for value in NOT_MOMENTS),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any, argument: str, value: Any
    ) -> None:
        fields = call_fields | {argument: value}
        assert await refused_when_awaited(lofty.tasks.create(**fields)) == argument
        assert await refused_when_awaited(lofty.tasks.create(**fields, verify=True)) == argument
        assert sandbox.requests == []

    async def test_an_end_before_its_start(
        self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any, tomorrow: datetime
    ) -> None:
        late = tomorrow + timedelta(seconds=1)
        assert await refused_when_awaited(lofty.tasks.create(**call_fields, start_at=late)) == "end_at"
        assert sandbox.requests == []

    @pytest.mark.parametrize(
        "body", [{}, {"taskId": None}, {"taskId": 0}, {"taskId": -1}, {"taskId": True}, {"taskId": "x"}, [], 5]
    )
    async def test_an_answer_that_does_not_name_it(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, call_fields: Any, body: Any
    ) -> None:
        sandbox.faults.add(CREATE, faults.Reply(200, body))
        with pytest.raises(AmbiguousWriteError, match="does not identify it") as caught:
            await lofty.tasks.create(**call_fields)
        assert (caught.value.lead_id, caught.value.sent["content"]) == (lead_id, "Ring")
        assert isinstance(caught.value.__cause__, DecodeError)

    async def test_an_id_may_come_as_a_string(self, sandbox: Sandbox, lofty: LoftyClient, call_fields: Any) -> None:
        sandbox.faults.add(CREATE, faults.Reply(200, {"taskId": "900719925474099301"}))
        assert await lofty.tasks.create(**call_fields) == 900719925474099301


class Held:
    """A fault: the answer waits until it `may_go`."""

    def __init__(self) -> None:
        self.has_come, self.may_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, _request: Any, answer: faults.Answer) -> Any:
        self.has_come.set()
        await self.may_go.wait()
        return await answer()


class TestVerify:
    @pytest.fixture(params=[0, 123_456])
    def fields(self, call_fields: Any, request: pytest.FixtureRequest) -> Any:
        end_at = call_fields["end_at"].replace(microsecond=request.param)
        return call_fields | {"end_at": end_at, "verify": True}

    @pytest.fixture
    async def before(self, sandbox: Sandbox, fields: Any) -> AsyncIterator[set[int]]:
        """An identical task that was there before, and all the others."""
        sandbox.state.add_task(fields["lead_id"], type="Call", content="Ring", end_at=fields["end_at"])
        yield set(sandbox.state.entries)
        assert sum(request.route == CREATE for request in sandbox.requests) == 1

    def made(self, sandbox: Sandbox, before: set[int]) -> set[int]:
        return set(sandbox.state.entries) - before

    async def test_costs_one_request_more(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int]
    ) -> None:
        task_id = await lofty.tasks.create(**fields)
        assert self.made(sandbox, before) == {task_id}
        assert [request.route for request in sandbox.requests] == [LIST, CREATE]

    @pytest.mark.parametrize("fault", [faults.DropAfter(), faults.TruncatedBody(), faults.NotJson()])
    async def test_what_landed_is_found(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int], fault: faults.Fault
    ) -> None:
        sandbox.faults.add(CREATE, fault)
        task_id = await lofty.tasks.create(**fields)
        assert self.made(sandbox, before) == {task_id}

    async def test_the_server_may_keep_whole_seconds(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int]
    ) -> None:
        async def cuts(request: Any, answer: faults.Answer) -> Any:
            await answer()
            for made in self.made(sandbox, before):
                sandbox.state.change(made, end_at=fields["end_at"].replace(microsecond=0))
            return await faults.DropBefore()(request, answer)

        sandbox.faults.add(CREATE, cuts)
        assert {await lofty.tasks.create(**fields)} == self.made(sandbox, before)

    async def test_what_shows_only_at_the_second_look_is_found(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int]
    ) -> None:
        sandbox.faults.add(CREATE, faults.DropAfter())
        sandbox.faults.add(LIST, faults.Reply(200, {"tasks": []}), after=1)
        assert {await lofty.tasks.create(**fields)} == self.made(sandbox, before)

    @pytest.mark.parametrize("others", [0, 1])
    async def test_two_alike_at_once_have_an_id_each(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, others: int
    ) -> None:
        sandbox.faults.add(CREATE, faults.DropAfter(), after=others, times=2 - others)
        sandbox.faults.add(LIST, faults.Reply(200, {"tasks": []}), after=2 - others)  # what was made shows late
        before = set(sandbox.state.entries)
        in_utc = {"end_at": fields["end_at"].astimezone(UTC)}
        found = await asyncio.gather(lofty.tasks.create(**fields), lofty.tasks.create(**fields | in_utc))
        assert len(set(found)) == 2
        assert self.made(sandbox, before) == set(found)

    async def test_those_on_another_server_are_not_alike(self, open_client: "OpenClient", fields: Any) -> None:
        async with Sandbox() as one, Sandbox() as other:
            other.faults.add(CREATE, faults.DropAfter())
            here, there = (open_client(box.auth, base_url=box.url) for box in (one, other))
            made = await asyncio.gather(here.tasks.create(**fields), there.tasks.create(**fields))
            assert made[0] == made[1]  # both servers count alike

    async def test_those_alike_wait_for_each_other_and_nobody_else_does(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any
    ) -> None:
        held = Held()
        sandbox.faults.add(CREATE, held)
        async with asyncio.TaskGroup() as group:
            group.create_task(lofty.tasks.create(**fields))
            group.create_task(lofty.tasks.create(**fields))
            await held.has_come.wait()
            await lofty.tasks.create(**fields | {"content": "Else"})
            assert [request.route for request in sandbox.requests] == [LIST, CREATE, LIST, CREATE]
            held.may_go.set()

    async def test_a_bad_record_among_the_others_does_not_matter(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int]
    ) -> None:
        sandbox.faults.add(LIST, faults.Reply(200, {"tasks": [{"id": 1, "endAt": "soon"}]}))
        assert {await lofty.tasks.create(**fields)} == self.made(sandbox, before)

    async def test_those_that_wait_for_one_alike_may_be_cancelled(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any
    ) -> None:
        held = Held()
        sandbox.faults.add(CREATE, held)
        first, second = (asyncio.create_task(lofty.tasks.create(**fields)) for _ in range(2))
        await held.has_come.wait()
        second.cancel()
        await asyncio.wait({second})
        held.may_go.set()
        made = {await first, await lofty.tasks.create(**fields)}
        assert (second.cancelled(), len(made)) == (True, 2)

    async def test_where_looking_fails_too_it_stays_ambiguous(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: Any, before: set[int]
    ) -> None:
        sandbox.faults.add(CREATE, faults.DropAfter())
        sandbox.faults.add(LIST, after=1, times=None)
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.tasks.create(**fields)
        assert isinstance(caught.value.__cause__, ConnectionFailedError)
        assert caught.value.lead_id == fields["lead_id"]
        assert len(self.made(sandbox, before)) == 1


def wanted(sandbox: Sandbox) -> dict[str, Any]:
    """What `tasks.create` needs, verified; an identical task is there already."""
    end_at = datetime(2031, 1, 1, 9, tzinfo=UTC)
    lead_id = sandbox.state.leads.ids()[0]
    fields: dict[str, Any] = {"type": "Call", "content": "Ring", "end_at": end_at}
    sandbox.state.add_task(lead_id, **fields)
    return fields | {"lead_id": lead_id, "assigned_role": "Agent", "verify": True}


class TestVerifyInDoubt:
    """The looks are seconds apart, in virtual time."""

    @pytest.mark.parametrize("name", UNLANDED)
    def test_what_is_not_seen_stays_ambiguous(self, name: str) -> None:
        fault, kind = UNLANDED[name]

        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            fields = wanted(sandbox)
            sandbox.faults.add(CREATE, fault)
            began, before = now(), set(sandbox.state.entries)
            with pytest.raises(AmbiguousWriteError) as caught:
                await lofty.tasks.create(**fields)
            assert type(caught.value.__cause__) is kind
            assert (caught.value.lead_id, caught.value.sent["content"]) == (fields["lead_id"], "Ring")
            assert set(sandbox.state.entries) == before
            assert [request.route for request in sandbox.requests] == [LIST, CREATE, LIST, LIST, LIST]
            assert now() - began == pytest.approx(2.5, abs=0.2)  # also where retries do not wait at all

        run_with_sandbox(scenario)

    @pytest.mark.parametrize("status", [408, 425, 500, 504])
    @pytest.mark.parametrize(("lag", "is_seen"), [(0.4, True), (2.4, True), (4.0, False)])
    def test_what_lands_late_is_seen_or_ambiguous(self, status: int, lag: float, *, is_seen: bool) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            fields = wanted(sandbox)
            sandbox.faults.add(CREATE, late(lag, status))
            before = set(sandbox.state.entries)
            (outcome,) = await asyncio.gather(lofty.tasks.create(**fields), return_exceptions=True)
            await asyncio.sleep(lag)
            (made,) = set(sandbox.state.entries) - before
            assert outcome == made if is_seen else isinstance(outcome, AmbiguousWriteError)

        run_with_sandbox(scenario)

    def test_something_else_that_came_meanwhile_is_not_taken_for_it(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            fields = wanted(sandbox)

            async def others(request: Any, answer: faults.Answer) -> Any:
                for change in (
                    {"content": "Else"},
                    {"type": "Email"},
                    {"end_at": fields["end_at"] + timedelta(hours=1)},
                ):
                    known = {"type": "Call", "content": "Ring", "end_at": fields["end_at"]}
                    sandbox.state.add_task(fields["lead_id"], **(known | change))
                return await faults.DropBefore()(request, answer)

            sandbox.faults.add(CREATE, others)
            with pytest.raises(AmbiguousWriteError):
                await lofty.tasks.create(**fields)

        run_with_sandbox(scenario)

    def test_one_that_did_not_land_is_not_given_the_id_of_one_that_did(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            fields = wanted(sandbox) | {"content": "The first of its kind"}
            sandbox.faults.add(CREATE, faults.DropBefore(), after=1)
            sandbox.faults.add(LIST, faults.Reply(200, {"tasks": []}), after=1)  # what the other made shows late
            before = set(sandbox.state.entries)
            creates = (lofty.tasks.create(**fields) for _ in range(2))
            found, failure = await asyncio.gather(*creates, return_exceptions=True)
            assert isinstance(failure, AmbiguousWriteError)
            assert set(sandbox.state.entries) - before == {found}

        run_with_sandbox(scenario)

    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_after_one_in_doubt_a_match_could_be_either_s(self, *, is_cancelled: bool) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            fields = wanted(sandbox)
            sandbox.faults.add(CREATE, late(3.0))
            sandbox.faults.add(CREATE, faults.DropBefore(), after=1)
            first, second = (asyncio.create_task(lofty.tasks.create(**fields)) for _ in range(2))
            if is_cancelled:
                await asyncio.sleep(1)
                first.cancel()
            await asyncio.sleep(10)
            with pytest.raises(AmbiguousWriteError):
                await second
            assert first.cancelled() or isinstance(first.exception(), AmbiguousWriteError)

        run_with_sandbox(scenario)

    def test_an_answer_without_an_id_is_looked_up_or_stays_ambiguous(self) -> None:
        async def scenario(sandbox: Sandbox, lofty: LoftyClient) -> None:
            sandbox.faults.add(CREATE, faults.Reply(200, {"message": "Created"}))
            with pytest.raises(AmbiguousWriteError, match="does not identify it"):
                await lofty.tasks.create(**wanted(sandbox))

        run_with_sandbox(scenario)


class TestUpdate:
    @pytest.mark.parametrize(
        ("fields", "wire"),
        [
            ({"content": "New"}, {"content": "New"}),
            ({"address": "1 Way"}, {"address": "1 Way"}),
            ({"content": "N", "time_zone": "Asia/Tokyo"}, {"content": "N", "timeZoneCode": "Asia/Tokyo"}),
            (
                {"start_at": datetime(2031, 1, 1, 9, tzinfo=UTC), "end_at": datetime(2031, 1, 1, 9, tzinfo=UTC)},
                {"startAt": "2031-01-01T09:00:00+00:00", "endAt": "2031-01-01T09:00:00+00:00"},
            ),
        ],
    )
    async def test_only_what_is_given_goes_out(
        self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int, fields: dict[str, Any], wire: dict[str, Any]
    ) -> None:
        entry = sandbox.state.add_task(lead_id, content="Old", address="Old")
        await lofty.tasks.update(entry.id, **fields)
        assert sandbox.requests[0].json() == wire
        changed = sandbox.state.entries[entry.id]
        assert {name: getattr(changed, name) for name in fields} == fields

    @pytest.mark.parametrize(
        ("fields", "argument"),
        [
            ({}, "content"),
            ({"time_zone": "Asia/Tokyo"}, "content"),
            *(({name: value}, name) for name in ("content", "address", "time_zone") for value in NOT_TEXT),
            *(({name: value}, name) for name in ("start_at", "end_at") for value in NOT_MOMENTS),
            ({"start_at": datetime(2031, 1, 2, tzinfo=UTC), "end_at": datetime(2031, 1, 1, tzinfo=UTC)}, "end_at"),
        ],
    )
    async def test_what_is_wrong_is_refused_before_it_is_sent(
        self, sandbox: Sandbox, lofty: LoftyClient, fields: dict[str, Any], argument: str
    ) -> None:
        assert await refused_when_awaited(lofty.tasks.update(5, **fields)) == argument
        assert sandbox.requests == []


class TestChanges:
    async def test_finish_unfinish_delete(self, sandbox: Sandbox, lofty: LoftyClient, lead_id: int) -> None:
        entry = sandbox.state.add_task(lead_id)
        await lofty.tasks.finish(entry.id)
        assert sandbox.state.entries[entry.id].finished
        await lofty.tasks.unfinish(entry.id)
        assert not sandbox.state.entries[entry.id].finished
        await lofty.tasks.delete(entry.id)
        assert entry.id not in sandbox.state.entries
        assert [(request.method, request.path, request.body) for request in sandbox.requests] == [
            ("POST", f"/v2.0/tasks/{entry.id}/finish", b""),
            ("POST", f"/v2.0/tasks/{entry.id}/unfinish", b""),
            ("DELETE", f"/v2.0/tasks/{entry.id}", b""),
        ]

    @pytest.mark.parametrize("way", ["get", "finish", "unfinish", "delete", "update"])
    @pytest.mark.parametrize("id", NOT_IDS)
    async def test_take_an_id(self, sandbox: Sandbox, lofty: LoftyClient, way: str, id: Any) -> None:
        options = {"content": "x"} if way == "update" else {}
        assert await refused_when_awaited(getattr(lofty.tasks, way)(id, **options)) == "id"
        assert sandbox.requests == []


class TestManyLeads:
    async def test_travel_in_the_bulk_lane(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        lofty = open_client()
        async with lofty.tasks.for_leads(sandbox.state.leads.ids(), concurrency=2, ordered=True) as run:
            results = [result async for result in run]
        assert [result.lead_id for result in results] == sandbox.state.leads.ids()
        assert [len(result.tasks) for result in results] == [15, 15, 15]
        assert {result.error for result in results} == {None}

    async def test_a_lead_that_fails_is_a_result(self, sandbox: Sandbox, lofty: LoftyClient) -> None:
        leads = [*sandbox.state.leads.ids(), 5]
        results = {result.lead_id: result async for result in lofty.tasks.for_leads(leads)}
        assert isinstance(results[5].error, NotFoundError)
        assert sum(result.error is None for result in results.values()) == 3

    def test_concurrency_is_at_least_one(self, lofty: LoftyClient) -> None:
        assert refused_by(lambda: lofty.tasks.for_leads([1], concurrency=0)) == "concurrency"
