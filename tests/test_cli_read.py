from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from tests.commands import answer, invoke, sandboxed

WEEK = timedelta(7)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch) as running:
        yield running


def test_my_tasks(sandbox: Sandbox) -> None:
    assert {task["id"] for task in answer("tasks", "mine")} == set(sandbox.state.entries)


def test_my_tasks_for_the_tools_of_a_shell(sandbox: Sandbox) -> None:
    rows = [line.split("\t") for line in invoke("tasks", "mine").stdout.splitlines()]
    assert {int(row[0]) for row in rows} == set(sandbox.state.entries)
    assert {len(row) for row in rows} == {9}


@pytest.mark.usefixtures("sandbox")
def test_a_limit_limits() -> None:
    assert len(answer("tasks", "mine", "--limit", 2)) == 2


def test_the_tasks_of_a_lead(sandbox: Sandbox) -> None:
    lead_id = next(iter(sandbox.state.leads))
    tasks = answer("tasks", "list", lead_id, "--string-ids")
    assert {task["id"] for task in tasks} == {str(entry.id) for entry in sandbox.state.entries.of(lead_id)}


def test_the_calendar(sandbox: Sandbox) -> None:
    lead_id = next(iter(sandbox.state.leads))
    week = ("--start", "2000-01-01", "--end", "2100-01-01", "--time-zone", "UTC")
    everything = answer("calendar", *week, "--include-finished")
    open_ones = answer("calendar", *week)
    of_lead = answer("calendar", *week, "--lead", lead_id)
    assert len(everything) > len(open_ones) > len(of_lead) > 0
    assert {entry["lead_id"] for entry in of_lead} == {lead_id}


def test_a_week_in_a_pipe_is_a_line_for_each_entry(sandbox: Sandbox) -> None:
    entries = answer("calendar", "--week", "--time-zone", "UTC")
    rows = [line.split("\t") for line in invoke("calendar", "--week", "--time-zone", "UTC").stdout.splitlines()]
    assert [row[0] for row in rows] == [entry["id"] for entry in entries]
    assert {len(row) for row in rows} == {7}
    assert sandbox.requests


def test_without_a_range_the_calendar_is_that_of_seven_days(sandbox: Sandbox) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    wide = answer("calendar", "--start", "2000-01-01", "--end", "2100-01-01")
    near = [
        one["id"] for one in wide if today <= datetime.fromisoformat(one["start_at"] or one["end_at"]) < today + WEEK
    ]
    assert [one["id"] for one in answer("calendar", "--time-zone", "UTC")] == near
    assert [one["id"] for one in answer("calendar", "list", "--time-zone", "UTC")] == near
    assert near
    assert sandbox.requests


@pytest.mark.usefixtures("sandbox")
def test_without_a_range_slots_are_those_of_seven_days() -> None:
    now = datetime.now(UTC)
    starts = [datetime.fromisoformat(slot["start_at"]) for slot in answer("slots")]
    assert starts
    assert now < min(starts) <= max(starts) < now + WEEK + timedelta(hours=1)


def test_leads_pass_filters(sandbox: Sandbox) -> None:
    lead = next(iter(sandbox.state.leads.values()))
    assert {one["id"] for one in answer("leads", "list")} == set(sandbox.state.leads)
    assert [one["id"] for one in answer("leads", "list", "--search", lead.email)] == [lead.id]
    of_stage = answer("leads", "list", "--stage", lead.stage)
    assert lead.id in {one["id"] for one in of_stage}
    assert {one["stage"] for one in of_stage} == {lead.stage}
    options = ("--filter", "contacted=true", "--filter", f"assigned-user-id={lead.assigned_user_id}")
    contacted = {one.id for one in sandbox.state.leads.values() if one.last_touch}
    assert {one["id"] for one in answer("leads", "list", *options)} <= contacted
    assert answer("leads", "list", "--sort", "CreateTime", "--desc", "--limit", 1)[0]["id"] in sandbox.state.leads


@pytest.mark.usefixtures("sandbox")
def test_free_slots() -> None:
    slots = answer("slots", "--start", "2090-01-02T00:00Z", "--end", "2090-01-09T00:00Z", "--limit", 3)
    assert len(slots) == 3
    assert all(slot.keys() == {"start_at", "end_at"} for slot in slots)


@pytest.mark.usefixtures("sandbox")
def test_whoami() -> None:
    assert "email" in answer("whoami")
    assert "email" in invoke("whoami").stdout


def test_a_sandbox_can_be_had_for_the_asking() -> None:
    assert len(answer("tasks", "mine", "--limit", 7, "--sandbox")) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("calendar", "nonsense"), "nonsense"),
        (("calendar", "--week", "soon"), "--week"),
        (("calendar", "--week", "9999-12-31"), "--week must be earlier than the end of the year 9999"),
        (("slots", "--start", "9999-12-31T12:00Z"), "--start must be earlier than the end of the year 9999"),
        (("calendar", "--week", "--start", "today"), "--week excludes"),
        (("calendar", "--ics", "a.ics", "--json"), "--ics excludes"),
        (("tasks", "mine", "--json", "--csv"), "exclude each other"),
        (("calendar", "--start", "soon"), "ISO 8601"),
        (("calendar", "--start", "2026-03-01", "--time-zone", "Mars"), "Mars"),
        (("slots", "--start", "soon"), "--start"),
        (("leads", "list", "--filter", "colour=red"), "query_sub_group"),
        (("leads", "list", "--filter", "contacted=perhaps"), "contacted must be true or false"),
        (("leads", "list", "--filter", "group_ids=many"), "group_ids must be a number"),
        (("leads", "list", "--assigned-user", "me"), "--assigned-user must be a user id"),
        (("tasks", "get", "5-task"), "ID must be a task id, not '5-task': use 5"),
        (("tasks", "update", "5"), "pass --content, --start, --end or --address"),
        (("calendar", "update", "5-task"), "pass --content, --start, --end, --lead or --address"),
        (("calendar", "finish", "5-task", "5"), "ID must look like '12345-task'"),
        (("tasks", "mine", "--store", "postgresql://me:secret@db/lofty"), "pass --app-id"),
        (("tasks", "mine", "--time-zone", "Mars"), "Mars"),
        (("tasks", "list", "abc"), "abc"),
        (("tasks", "mine", "--limit", "0"), "0"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(
    sandbox: Sandbox, arguments: tuple[str, ...], message: str
) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not sandbox.requests


@pytest.mark.usefixtures("sandbox")
def test_an_error_of_the_server_is_one_line() -> None:
    result = invoke("tasks", "list", 7)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_a_failure_in_the_middle_prints_no_half_an_answer(sandbox: Sandbox) -> None:
    sandbox.faults.add("GET /v2.0/tasks/my-tasks", Reply(403, {"code": 20017, "message": "no"}))
    result = invoke("tasks", "mine", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "20017" in result.stderr


EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\r\n\t2026-01-01 CRITICAL forged\u202e\x9b31m\x7f"


@pytest.mark.parametrize(
    ("route", "body", "arguments"),
    [
        (
            "GET /v2.0/tasks/my-tasks",
            {"tasks": [{"id": 1, "type": EVIL, "content": EVIL, "assignedUser": EVIL}]},
            ("tasks", "mine"),
        ),
        (
            "GET /v2.0/calendar",
            {"data": {"total": 1, "items": [{"id": EVIL, "type": EVIL, "content": EVIL}]}},
            ("calendar", "--start", "2026-01-01T00:00Z"),
        ),
        ("GET /v1.0/me", {"id": 1, "firstName": EVIL, "email": EVIL}, ("whoami",)),
        ("GET /v1.0/webhooks", [{"subscribeId": 9, "callbackUrl": f"https://x/{EVIL}/"}], ("webhooks", "list")),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_text_of_the_server_moves_the_cursor(
    sandbox: Sandbox, route: str, body: object, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    sandbox.faults.add(route, Reply(200, body), times=None)
    result = invoke(*arguments, *form)
    assert result.exit_code == 0, result.stderr
    shown = result.stdout if not form else "".join(result.stdout.splitlines())
    assert "forged" in shown or "***" in shown
    assert all(character.isprintable() or character in "\t\n" for character in shown)
    assert form or len(shown.splitlines()) == (3 if arguments == ("whoami",) else 1)


@pytest.mark.usefixtures("sandbox")
def test_a_refused_credential_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "secret-of-mine")
    result = invoke("whoami")
    assert result.exit_code == 2
    assert "secret-of-mine" not in result.output


def test_the_sandbox_command_takes_the_sandboxs_options() -> None:
    result = invoke("sandbox", "--help")
    assert result.exit_code == 0
    assert "--tasks-per-lead" in result.stdout


def test_the_version() -> None:
    assert invoke("--version").stdout.startswith("lofty-async, version ")
