"""Values of any kind through the client and a real socket: what goes out, what comes back, what is refused."""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self
from unittest.mock import MagicMock
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from attrs import define, field

from lofty_async import UNSET, ApiKey, AssignedRole, InvalidRequestError, Lead, LoftyClient, LoftyError, TaskType

EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\r\n2026-01-01 CRITICAL forged\u202e\x9b31m"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
# Daylight saving time ends at 2 o'clock: the later of the two has the earlier wall clock.
EARLIER = datetime(2027, 11, 7, 1, 30, tzinfo=LOS_ANGELES)
LATER = datetime(2027, 11, 7, 1, 0, tzinfo=LOS_ANGELES, fold=1)
TASK: dict[str, Any] = {"type": "Call", "lead_id": 5, "content": "Ring", "assigned_role": "Agent"}
ENTRY: dict[str, Any] = TASK | {"type": "TASK", "task_way": "Call", "time_zone": "UTC"}

Call = Callable[..., Any]


@define
class Server:
    """Answers every request with `body`, and keeps what was asked."""

    body: Any = field(factory=dict[str, Any])
    status: int = 200
    paths: list[str] = field(factory=list[str])
    queries: list[list[tuple[str, str]]] = field(factory=list[list[tuple[str, str]]])
    bodies: list[Any] = field(factory=list[Any])

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.queries.append(list(request.query.items()))
        self.bodies.append(await request.json() if request.can_read_body else None)
        return web.json_response(self.body, status=self.status)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LoftyClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with LoftyClient(ApiKey("key"), base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield client
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "call"),
    [
        (400, {"code": 20012, "message": EVIL}, lambda client: client.me()),
        (400, {"message": f"BaseApplicationException:errorCode=20006,errorMsg={EVIL}"}, lambda client: client.me()),
        (400, EVIL, lambda client: client.me()),
        (200, {"code": 20012, "message": EVIL}, lambda client: client.tasks.get(5)),
        (200, {"task": {"id": EVIL}}, lambda client: client.tasks.get(5)),
        (200, {"task": EVIL}, lambda client: client.tasks.get(5)),
        (200, {"tasks": [{"id": EVIL}]}, lambda client: client.tasks.list(5).collect()),
        (200, {"tasks": EVIL}, lambda client: client.tasks.list(5).collect()),
        (
            200,
            {"data": {"items": [{"id": EVIL, "startAt": EVIL}]}},
            lambda client: client.calendar.list(start=NOON).collect(),
        ),
        (200, {"taskId": {EVIL: 5}}, lambda client: client.v1.tasks.get(5)),
    ],
)
async def test_no_error_carries_the_control_characters_of_a_server(
    server: Server, client: LoftyClient, status: int, body: Any, call: Callable[[LoftyClient], Any]
) -> None:
    server.status, server.body = status, body
    with pytest.raises(LoftyError) as caught:
        await call(client)
    assert str(caught.value).isprintable()
    assert all(text.isprintable() for text in map(str, vars(caught.value).values()))


async def test_no_log_line_of_a_bad_record_does_either(
    server: Server, client: LoftyClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.body = {"tasks": [{"id": EVIL}, {"id": 7}]}
    with caplog.at_level(logging.DEBUG, "lofty_async"):
        (task,) = await client.tasks.list(5, on_bad_record="skip").collect()
    assert task.id == 7
    lines = [record.getMessage() for record in caplog.records]
    assert any("skipped a bad record" in line for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("POPUP", "POPUP"),
        (3, 3),
        (0, 0),
        ("3", 3),
        ("007", "007"),
        ("9" * 30, "9" * 30),
        (-2, -2),
        ("", None),
        (-1, None),
    ],
)
async def test_codes_without_a_documented_meaning_are_integers_or_strings(
    server: Server, client: LoftyClient, wire: Any, value: Any
) -> None:
    server.body = {"tasks": [{"id": 7, "reminderType": wire}, {"id": 8}]}
    assert [task.reminder_type for task in await client.tasks.list(5).collect()] == [value, None]
    server.body = {"taskList": [{"id": 7, "reminderType": wire}]}
    assert [task.reminder_type for task in await client.v1.tasks.list(5).collect()] == [value]
    server.body = [{"id": 7, "assignRoleType": wire}]
    assert [one.assign_role_type for one in await client.v1.appointments.list(5).collect()] == [value]
    server.body = {"data": {"total": 1, "items": [{"id": "7-task", "sourceType": wire}]}}
    assert [entry.source_type for entry in await client.calendar.list(start=NOON).collect()] == [value]
    server.body = {"id": 1, "role": wire, "status": wire, "group": {"type": wire}}
    user = await client.me()
    assert (user.role, user.status, user.group and user.group.type) == (value, value, value)
    server.body = {"leads": [{"leadId": 1, "tags": [{"visibleType": wire}]}]}
    assert [lead.tags[0].visible_type for lead in await client.leads.list().collect()] == [value]


@pytest.mark.parametrize("wire", [True, 1.5, [], {}])
async def test_nothing_else_is_a_code(server: Server, client: LoftyClient, wire: Any) -> None:
    server.body = {"tasks": [{"id": 7, "reminderType": wire}]}
    with pytest.raises(LoftyError, match=r"expected a code at tasks\[0\].reminderType \(record 7\)"):
        await client.tasks.list(5).collect()


async def test_codes_go_out_as_they_are_given(server: Server, client: LoftyClient) -> None:
    server.body = {"data": {"total": 0, "items": []}}
    codes: list[Any] = ["SMART_PLAN", 3, Index(4), "3"]
    await client.calendar.list(start=NOON, source_types=iter(codes)).collect()
    assert [value for name, value in server.queries[0] if name == "sourceType"] == ["SMART_PLAN", "3", "4", "3"]
    await client.calendar.update("5-task", reminder_type="POPUP", reminder_time=15)
    await client.calendar.update("5-task", reminder_type=2, reminder_time="PT15M")
    assert server.bodies[1:] == [
        {"reminderType": "POPUP", "reminderTime": "15"},
        {"reminderType": "2", "reminderTime": "PT15M"},
    ]


async def test_one_code_in_place_of_a_list_is_told_what_to_write(client: LoftyClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"must be a list of codes, not 'SMART_PLAN': use \['SMART_PLAN'\]"):
        client.calendar.list(start=NOON, source_types="SMART_PLAN")


async def test_entries_are_sorted_by_the_field_that_is_given(server: Server, client: LoftyClient) -> None:
    server.body = {"data": {"total": 0, "items": []}}
    await client.calendar.list(start=NOON, sort="endTime").collect()
    assert ("sort", "endTime") in server.queries[0]


async def test_a_member_s_name_is_taken_for_its_value(server: Server, client: LoftyClient) -> None:
    server.body = {"taskId": 1}
    given: list[tuple[Any, Any]] = [("CALL", "AGENT"), ("Call", "Agent"), (TaskType.CALL, AssignedRole.AGENT)]
    for kind, role in given:
        await client.tasks.create(**(TASK | {"type": kind, "assigned_role": role}), end_at=NOON)
        await client.v1.tasks.create(**(TASK | {"type": kind, "assigned_role": role}), end_at=NOON)
        await client.v1.tasks.update(5, type=kind, assigned_role=role)
    assert {(body["type"], body["assignedRole"]) for body in server.bodies} == {("Call", "Agent")}
    server.bodies.clear()
    server.body = {"data": {"id": "5-task"}}
    await client.calendar.create(
        **(ENTRY | {"task_way": "EMAIL", "assigned_role": "ASSISTANT"}), start_at=NOON, end_at=NOON
    )
    await client.calendar.create(**(ENTRY | {"task_way": TaskType("CALL")}), start_at=NOON, end_at=NOON)
    assert [body["taskWay"] for body in server.bodies] == ["Email", "CALL"]


RANGES: dict[str, Callable[[LoftyClient, Any, Any], Any]] = {
    "tasks.create": lambda client, start, end: client.tasks.create(**TASK, start_at=start, end_at=end),
    "tasks.update": lambda client, start, end: client.tasks.update(5, start_at=start, end_at=end),
    "calendar.create": lambda client, start, end: client.calendar.create(**ENTRY, start_at=start, end_at=end),
    "calendar.update": lambda client, start, end: client.calendar.update("5-task", start_at=start, end_at=end),
    "calendar.list": lambda client, start, end: client.calendar.list(start=start, end=end).collect(),
    "calendar.slots": lambda client, start, end: client.calendar.slots(start=start, end=end).collect(),
}
ANSWER: dict[str, Any] = {"taskId": 5, "data": {"id": "5-task", "total": 0, "items": [], "slots": []}}


@pytest.mark.parametrize("name", RANGES)
async def test_times_of_one_zone_are_compared_as_instants(server: Server, client: LoftyClient, name: str) -> None:
    server.body = ANSWER
    await RANGES[name](client, EARLIER, LATER)
    assert len(server.queries) == 1
    sent = {**dict(server.queries[0]), **(server.bodies[0] or {})}
    assert [sent.get(key) or sent[f"{key[:-2]}Time"] for key in ("startAt", "endAt")] == [
        "2027-11-07T01:30:00-07:00",
        "2027-11-07T01:00:00-08:00",
    ]
    with pytest.raises(InvalidRequestError, match="start"):
        await RANGES[name](client, LATER, EARLIER)
    assert len(server.queries) == 1


@pytest.mark.parametrize("name", RANGES)
async def test_whether_a_time_has_passed_is_asked_of_the_server(server: Server, client: LoftyClient, name: str) -> None:
    server.status, server.body = 400, {"code": 20012, "message": "start must be later than now"}
    past = datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidRequestError) as caught:
        await RANGES[name](client, past, past + timedelta(hours=1))
    assert (caught.value.status, caught.value.argument, len(server.queries)) == (400, None, 1)


@pytest.mark.parametrize(
    ("end", "is_refused"),
    [
        (NOON + timedelta(days=1830), False),
        (NOON + timedelta(days=1830, microseconds=1), True),
        (datetime(9999, 12, 31, tzinfo=UTC), True),
    ],
)
async def test_a_range_of_slots_has_an_end(
    server: Server, client: LoftyClient, end: datetime, is_refused: bool
) -> None:
    server.body = ANSWER
    if is_refused:
        with pytest.raises(InvalidRequestError, match=r"^end must be at most 1830 days after start$"):
            client.calendar.slots(start=NOON, end=end)
        assert server.queries == []
    else:
        assert await client.calendar.slots(start=NOON, end=end).collect() == []
        assert len(server.queries) < 25


class NotATime(datetime):
    """As pandas' NaT: a datetime by its class alone."""

    def utcoffset(self) -> timedelta | None:
        raise ValueError("NaTType does not support utcoffset")

    def __repr__(self) -> str:
        return "NaT"


class Nanoseconds(datetime):
    """As pandas' Timestamp: writes itself in its own way."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "2030-03-01T12:00:00.123456789+00:00"

    def astimezone(self, tz: Any = None) -> Self:
        return super().astimezone(tz)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NotATime(2030, 1, 1, tzinfo=UTC), "must be a datetime, not NaT"),
        (MagicMock(spec=datetime), "must be a datetime, not <MagicMock"),
        (datetime(2030, 1, 1), "must be timezone-aware, e.g. datetime.now"),  # noqa: DTZ001 - what is to be refused
        ("2030-01-01T00:00:00Z", "must be a datetime, not str: use datetime.fromisoformat"),
        (1_900_000_000, "must be a datetime, not int: use datetime.fromtimestamp"),
        (date(2030, 1, 1), "must be a datetime, not date: use datetime.combine"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-8))), "must be between the years 1 and 9999 in UTC"),
    ],
)
@pytest.mark.parametrize("name", RANGES)
async def test_what_only_looks_like_a_time_is_refused_by_its_argument(
    server: Server, client: LoftyClient, name: str, value: Any, message: str
) -> None:
    argument = "end" if name in ("calendar.list", "calendar.slots") else "end_at"
    with pytest.raises(InvalidRequestError, match=f"^{argument} {message}") as caught:
        await RANGES[name](client, NOON, value)
    assert caught.value.argument == argument
    assert server.queries == []


async def test_a_time_of_a_subclass_goes_out_as_any_other(server: Server, client: LoftyClient) -> None:
    server.body = ANSWER
    time = Nanoseconds(2030, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    for call in RANGES.values():
        await call(client, time, time + timedelta(hours=1))
    await client.v1.tasks.update(5, end_at=time)
    assert server.bodies[-1] == {"deadline": 1_898_596_800_123}
    sent = [str(body) for body in (*server.bodies, *server.queries)]
    assert not any("789" in text for text in sent)


class Index:
    """As numpy's int64: an integer that is no `int`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


IDS: dict[str, Callable[[LoftyClient, Any], Any]] = {
    "tasks.list": lambda client, number: client.tasks.list(number).collect(),
    "tasks.mine": lambda client, number: client.tasks.mine(user_id=number).collect(),
    "tasks.get": lambda client, number: client.tasks.get(number),
    "tasks.create": lambda client, number: client.tasks.create(**(TASK | {"lead_id": number}), end_at=NOON),
    "tasks.create verified": lambda client, number: client.tasks.create(
        **(TASK | {"lead_id": number}), end_at=NOON, verify=True
    ),
    "tasks.update": lambda client, number: client.tasks.update(number, content="x"),
    "tasks.delete": lambda client, number: client.tasks.delete(number),
    "tasks.finish": lambda client, number: client.tasks.finish(number),
    "tasks.unfinish": lambda client, number: client.tasks.unfinish(number),
    "calendar.list": lambda client, number: client.calendar.list(start=NOON, lead_id=number).collect(),
    "calendar.create": lambda client, number: client.calendar.create(
        **(ENTRY | {"lead_id": number}), start_at=NOON, end_at=NOON
    ),
    "calendar.update": lambda client, number: client.calendar.update("5-task", lead_id=number),
    "leads.list": lambda client, number: client.leads.list(assigned_user_id=number).collect(),
    "webhooks.delete": lambda client, number: client.webhooks.delete(number),
    "v1.tasks.list": lambda client, number: client.v1.tasks.list(number).collect(),
    "v1.tasks.get": lambda client, number: client.v1.tasks.get(number),
    "v1.tasks.create": lambda client, number: client.v1.tasks.create(**(TASK | {"lead_id": number}), end_at=NOON),
    "v1.tasks.update": lambda client, number: client.v1.tasks.update(5, content="x", lead_id=number),
    "v1.tasks.finish": lambda client, number: client.v1.tasks.finish(number),
    "v1.tasks.delete": lambda client, number: client.v1.tasks.delete(number),
    "v1.appointments.list": lambda client, number: client.v1.appointments.list(number).collect(),
}


@pytest.mark.parametrize("name", IDS)
async def test_an_id_may_be_of_any_integer_type(server: Server, client: LoftyClient, name: str) -> None:
    is_list_of_its_own = name == "v1.appointments.list"
    server.body = [] if is_list_of_its_own else ANSWER | {"task": {"id": 9}, "leads": [], "tasks": [], "taskList": []}
    await IDS[name](client, Index(2**53 + 1))
    assert str(2**53 + 1) in f"{server.paths} {server.queries} {server.bodies}"


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("563000000000000", r"must be an int, not str: use int\(…\)"),
        ("563-task", "must be an int, not '563-task': use the task_id of the entry, 563"),
        (5.0, "must be an int, not float"),
        (Decimal(5), "must be an int, not Decimal"),
        (Fraction(5), "must be an int, not Fraction"),
        (True, "must be an int, not bool"),
        (Lead(id=5), r"must be an int, not Lead: use its (id|assigned_user_id)$"),
        (0, r"must be from 1 to 2\*\*63 - 1, not 0"),
        (Index(-3), r"must be from 1 to 2\*\*63 - 1, not -3"),
        (10**5000, r"must be from 1 to 2\*\*63 - 1, not an integer of 16610 bits"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", IDS)
async def test_what_is_no_id_is_refused_with_what_to_write(
    server: Server, client: LoftyClient, name: str, id: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^\w+ {message}") as caught:
        await IDS[name](client, id)
    assert caught.value.argument in ("id", "lead_id", "user_id", "assigned_user_id")
    assert server.queries == []


async def test_sizes_may_be_of_any_integer_type_too(server: Server, client: LoftyClient) -> None:
    server.body = {"tasks": [], "leads": []}
    await client.tasks.mine(page_size=Index(7)).collect(limit=Index(3))  # type: ignore[arg-type] # as numpy's
    await client.leads.list(page_size=Index(8), offset=Index(20)).collect()  # type: ignore[arg-type] # as numpy's
    assert server.queries == [[("currentId", "0"), ("limit", "7")], [("limit", "8"), ("offset", "20")]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.tasks.update(5), "nothing to update: pass content, start_at, end_at or address"),
        (
            lambda client: client.tasks.mine(time_zone=LOS_ANGELES),
            "time_zone must be a string, not ZoneInfo: use its IANA",
        ),
        (lambda client: client.tasks.get(UNSET), "id must be an int, not Unset"),
        (lambda client: client.calendar.delete(5), "id must look like '12345-task' or '12345-appointment', not 5"),
        (lambda client: client.calendar.list(), "start or end is required"),
        (lambda client: client.leads.list(stages="New"), "stages is not a filter of leads: use stage, source, phone"),
        (lambda client: client.leads.list(offset=-1), "offset must be from 0 to"),
        (lambda client: client.leads.list(scroll="yes"), "scroll must be True or False, not 'yes'"),
        (
            lambda client: client.v1.tasks.update(5, content="x", finished=True),
            "finished must be updated alone: with finished=True the API ignores other fields",
        ),
    ],
)
async def test_a_likely_slip_is_told_what_to_write(client: LoftyClient, call: Call, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await call(client)


async def test_the_finish_flag_goes_out_either_way(server: Server, client: LoftyClient) -> None:
    await client.v1.tasks.update(5, finished=True)
    await client.v1.tasks.update(5, finished=True, lead_id=7)
    await client.v1.tasks.update(5, content="New", finished=False)
    await client.v1.tasks.finish(5)
    assert server.bodies == [
        {"finishFlag": True},
        {"finishFlag": True, "leadId": 7},
        {"content": "New", "finishFlag": False},
        {"finishFlag": True},
    ]
