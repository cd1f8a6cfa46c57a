"""Commands that create, change and delete."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from lofty_async.cli.app import app
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import DropAfter, DropBefore, Reply
from tests.commands import Terminal, answer, invoke, sandboxed

NOT_THERE = 999_999_999_999


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    with sandboxed(monkeypatch, appointments_per_lead=1) as running:
        yield running


@pytest.fixture
def lead_id(sandbox: Sandbox) -> int:
    return sandbox.state.leads.ids()[0]


@pytest.fixture
def task_ids(sandbox: Sandbox) -> list[int]:
    open_ones = [entry for entry in sandbox.state.entries.values() if not entry.finished and not entry.smart_plan]
    return [entry.id for entry in open_ones if entry.kind == "TASK"][:3]


def id_in(output: str) -> str:
    id, word = output.split()
    assert word == "created"
    return id


class TestTasks:
    def test_a_task_is_created_in_the_machines_zone(self, sandbox: Sandbox, lead_id: int) -> None:
        day = (datetime.now(UTC) + timedelta(40)).date()
        options = ("--lead", lead_id, "--type", "call", "--content", "Ring", "--end", f"{day} 15:00")
        entry = sandbox.state.entries[int(id_in(invoke("tasks", "create", *options).stdout))]
        assert entry.end_at is not None
        assert (entry.end_at.date(), entry.end_at.utcoffset() in {timedelta(hours=-8), timedelta(hours=-7)}) == (
            day,
            True,
        )
        assert (entry.type, entry.content, entry.time_zone) == ("Call", "Ring", "America/Los_Angeles")

    def test_a_deadline_that_is_a_date_is_the_end_of_its_day(self, sandbox: Sandbox, lead_id: int) -> None:
        made = invoke("tasks", "create", "--lead", lead_id, "--content", "x", "--end", "tomorrow", "--time-zone", "UTC")
        entry = sandbox.state.entries[int(id_in(made.stdout))]
        assert entry.end_at is not None
        assert entry.end_at.astimezone(UTC).strftime("%H:%M:%S") == "23:59:59"

    def test_its_id_is_json_for_programs(self, sandbox: Sandbox, lead_id: int) -> None:
        made = answer("tasks", "create", "--lead", lead_id, "--content", "x", "--end", "tomorrow", "--string-ids")
        assert int(made["id"]) in sandbox.state.entries

    def test_a_task_is_shown_with_all_its_fields(self, task_ids: list[int]) -> None:
        shown = dict(line.split("\t") for line in invoke("tasks", "get", task_ids[0]).stdout.splitlines())
        assert shown["id"] == str(task_ids[0])
        assert answer("tasks", "get", task_ids[0]).keys() > shown.keys()

    def test_only_the_given_fields_change(self, sandbox: Sandbox, task_ids: list[int]) -> None:
        before = sandbox.state.entries[task_ids[0]]
        assert invoke("tasks", "update", before.id, "--content", "New").stdout == f"{before.id} updated\n"
        after = sandbox.state.entries[before.id]
        assert (after.content, after.end_at, after.start_at) == ("New", before.end_at, before.start_at)

    def test_several_are_finished_and_opened_again(self, sandbox: Sandbox, task_ids: list[int]) -> None:
        assert invoke("tasks", "finish", *task_ids).stdout.splitlines() == [f"{id} finished" for id in task_ids]
        assert all(sandbox.state.entries[id].finished for id in task_ids)
        assert invoke("tasks", "unfinish", *task_ids).exit_code == 0
        assert not any(sandbox.state.entries[id].finished for id in task_ids)

    def test_one_that_is_refused_does_not_keep_the_others(self, sandbox: Sandbox, task_ids: list[int]) -> None:
        result = invoke("tasks", "finish", task_ids[0], NOT_THERE, task_ids[1])
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [f"{task_ids[0]} finished", f"{task_ids[1]} finished"]
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith(f"Error: {NOT_THERE}: ")
        assert sandbox.state.entries[task_ids[1]].finished

    def test_a_wrong_credential_ends_it_at_once(
        self, sandbox: Sandbox, task_ids: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOFTY_API_KEY", "wrong")
        assert invoke("tasks", "finish", *task_ids).exit_code == 2
        assert len(sandbox.requests) == 1

    def test_several_are_deleted_without_a_question_without_a_terminal(
        self, sandbox: Sandbox, task_ids: list[int]
    ) -> None:
        assert invoke("tasks", "delete", *task_ids).exit_code == 0
        assert not any(id in sandbox.state.entries for id in task_ids)

    @pytest.mark.parametrize("arguments", [("finish",), ("unfinish",), ("delete",), ("get",)])
    def test_an_id_is_needed(self, sandbox: Sandbox, arguments: tuple[str, ...]) -> None:
        result = invoke("tasks", *arguments)
        assert (result.exit_code, "ID" in result.stderr, len(sandbox.requests)) == (2, True, 0)


class TestCalendar:
    def test_an_appointment_is_created(self, sandbox: Sandbox, lead_id: int) -> None:
        options = ("--lead", lead_id, "--content", "Viewing", "--start", "tomorrow 15:00", "--end", "tomorrow 16:00")
        id = id_in(invoke("calendar", "create", *options, "--address", "5 High Street").stdout)
        number, kind = id.split("-")
        entry = sandbox.state.entries[int(number)]
        assert (kind, entry.content, entry.address) == ("appointment", "Viewing", "5 High Street")
        assert entry.start_at is not None
        assert entry.end_at is not None
        assert entry.end_at - entry.start_at == timedelta(hours=1)

    def test_a_day_is_from_midnight_to_midnight(self, sandbox: Sandbox, lead_id: int) -> None:
        id = id_in(invoke("calendar", "create", "--lead", lead_id, "--content", "Open", "--all-day", "tomorrow").stdout)
        assert answer("tasks", "get", id.split("-")[0])["all_day"] is True
        assert id.endswith("-appointment")
        assert int(id.split("-")[0]) in sandbox.state.entries

    def test_a_task_needs_its_way(self, sandbox: Sandbox, lead_id: int) -> None:
        options = ("--lead", lead_id, "--content", "x", "--type", "task", "--start", "tomorrow", "--end", "tomorrow")
        result = invoke("calendar", "create", *options)
        assert (result.exit_code, "--way" in result.stderr, len(sandbox.requests)) == (2, True, 0)
        assert id_in(invoke("calendar", "create", *options, "--way", "call").stdout).endswith("-task")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ((), "pass --start and --end, or --all-day"),
            (("--start", "tomorrow"), "pass --start and --end, or --all-day"),
            (("--start", "tomorrow", "--all-day", "tomorrow"), "--all-day excludes"),
            (("--all-day", "soon"), "--all-day"),
        ],
    )
    def test_its_times_are_needed(self, sandbox: Sandbox, lead_id: int, options: tuple[str, ...], message: str) -> None:
        result = invoke("calendar", "create", "--lead", lead_id, "--content", "x", *options)
        assert (result.exit_code, message in result.stderr, len(sandbox.requests)) == (2, True, 0)

    def test_a_machine_without_a_named_zone_needs_one(
        self, sandbox: Sandbox, lead_id: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "XYZ-2")
        options = ("calendar", "create", "--lead", lead_id, "--content", "x", "--all-day", "tomorrow")
        result = invoke(*options)
        assert (result.exit_code, "--time-zone" in result.stderr, len(sandbox.requests)) == (2, True, 0)
        assert invoke(*options, "--time-zone", "UTC").exit_code == 0

    def test_an_entry_is_changed_finished_opened_and_deleted(self, sandbox: Sandbox, task_ids: list[int]) -> None:
        number = task_ids[0]
        id = f"{number}-task"
        assert invoke("calendar", "update", id, "--content", "New").stdout == f"{id} updated\n"
        assert sandbox.state.entries[number].content == "New"
        assert invoke("calendar", "finish", id).stdout == f"{id} finished\n"
        assert sandbox.state.entries[number].finished
        assert invoke("calendar", "unfinish", id).exit_code == 0
        assert invoke("calendar", "delete", id, "--yes").stdout == f"{id} deleted\n"
        assert number not in sandbox.state.entries


def test_an_id_of_the_server_moves_no_cursor(sandbox: Sandbox, lead_id: int) -> None:
    sandbox.faults.add("POST /v2.0/calendar", Reply(200, {"data": {"id": "5-task\x1b[2J\r\n"}}))
    result = invoke("calendar", "create", "--lead", lead_id, "--content", "x", "--all-day", "tomorrow")
    assert all(one.isprintable() or one == "\n" for one in result.stdout)


class TestACreateWhoseResponseIsLost:
    def test_has_an_exit_code_of_its_own_and_says_how_to_look(self, sandbox: Sandbox, lead_id: int) -> None:
        sandbox.faults.add("POST /v2.0/tasks", DropBefore())
        result = invoke("tasks", "create", "--lead", lead_id, "--content", "x", "--end", "tomorrow")
        assert (result.exit_code, result.stdout) == (3, "")
        assert f"lofty-async tasks list {lead_id}" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    def test_also_in_the_calendar(self, sandbox: Sandbox, lead_id: int) -> None:
        sandbox.faults.add("POST /v2.0/calendar", Reply(504, "a gateway"))
        result = invoke("calendar", "create", "--lead", lead_id, "--content", "x", "--all-day", "tomorrow")
        assert (result.exit_code, result.stdout) == (3, "")
        look = result.stderr.split("lofty-async ")[1].split()
        assert look[:3] == ["calendar", "--lead", str(lead_id)]
        assert invoke(*look, "--json").exit_code == 0

    def test_may_be_looked_for(self, sandbox: Sandbox, lead_id: int) -> None:
        sandbox.faults.add("POST /v2.0/tasks", DropAfter())
        result = invoke("tasks", "create", "--lead", lead_id, "--content", "x", "--end", "tomorrow", "--verify")
        assert int(id_in(result.stdout)) in sandbox.state.entries


@pytest.mark.parametrize(("answered", "code"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_a_terminal_is_asked_before_a_deletion(
    sandbox: Sandbox, task_ids: list[int], answered: bytes, code: int
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lofty_async", "tasks", "delete", str(task_ids[0])]
    deleting = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    with closing(os.fdopen(ours, "r+b", buffering=0)) as terminal:
        asked = b""
        while b"?" not in asked:
            asked += terminal.read(1024)
        assert not sandbox.requests
        terminal.write(answered)
        deleting.communicate(timeout=60)
    assert deleting.returncode == code
    assert asked.startswith(f"Delete task {task_ids[0]}?".encode())
    assert (task_ids[0] in sandbox.state.entries) is bool(code)


@pytest.mark.parametrize(("number", "question"), [(2, "Delete tasks 1, 2?"), (4, "Delete 4 tasks?")])
def test_many_deletions_are_one_question(monkeypatch: pytest.MonkeyPatch, number: int, question: str) -> None:
    asked: list[str] = []

    def confirm(text: str, **_: object) -> None:
        asked.append(text)

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("click.confirm", confirm)
    assert app.main(["tasks", "delete", *map(str, range(1, number + 1))], standalone_mode=False) == 1
    assert asked == [question]


def test_json_ids_are_numbers(sandbox: Sandbox, lead_id: int) -> None:
    result = invoke("tasks", "create", "--lead", lead_id, "--content", "x", "--end", "tomorrow", "--json")
    assert json.loads(result.stdout)["id"] in sandbox.state.entries


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--content", "", "--end", "tomorrow"), "--content must not be empty"),
        (
            ("--content", "x", "--end", "2026-03-02", "--start", "2026-03-03"),
            "--end must not be earlier than --start",
        ),
    ],
)
def test_an_error_names_the_option(sandbox: Sandbox, lead_id: int, options: tuple[str, ...], text: str) -> None:
    result = invoke("tasks", "create", "--lead", lead_id, *options)
    assert (result.exit_code, result.stderr) == (2, f"Error: {text}\n")
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("slots", "--start", "9999-12-31"), "--start"),
        (("calendar", "--week", "9999-12-31"), "--week"),
        (("calendar", "create", "--lead", "7", "--content", "x", "--all-day", "9999-12-31"), "--all-day"),
    ],
)
def test_a_day_with_no_day_after_it_is_refused(sandbox: Sandbox, command: tuple[str, ...], option: str) -> None:
    result = invoke(*command)
    assert result.exit_code == 2
    assert f"{option} must be earlier than the end of the year 9999" in result.stderr
    assert not sandbox.requests
