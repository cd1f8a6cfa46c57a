import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lofty_async.cli.app import app
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import DropBefore, Reply
from tests.commands import sandboxed
from tests.mirrored import held, read_lines, truth

TASKS_OF_LEAD = "GET /v2.0/tasks"
REFUSAL = Reply(403, {"code": 20017, "message": "no"})
KEYS = {"leads", "tasks", "failed", "requests", "rate_limited", "waited_s", "seconds"}


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.in_thread(leads=12, tasks_per_lead=3) as running:
        monkeypatch.setenv("LOFTY_API_KEY", running.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", running.url)
        monkeypatch.delenv("LOFTY_ACCESS_TOKEN", raising=False)
        yield running


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tasks.sqlite"


def invoke(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["sync", *map(str, arguments)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def report(*arguments: object) -> dict[str, Any]:
    (line,) = invoke("--json", *arguments).stdout.splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_all_tasks_of_all_leads_are_kept(sandbox: Sandbox, db: Path) -> None:
    result = invoke()
    assert result.exit_code == 0
    assert held(db) == truth(sandbox)
    assert result.stdout.splitlines()[0] == f"12 leads, {len(truth(sandbox))} tasks"
    assert result.stderr == ""


def test_a_run_that_had_to_read_no_lead_says_what_the_mirror_holds(sandbox: Sandbox, db: Path) -> None:
    invoke()
    lines = invoke().stdout.splitlines()
    tasks = len(truth(sandbox))
    assert lines[:2] == ["Lists checked, no lead had to be read", f"tasks.sqlite: {tasks} tasks, nothing changed"]
    assert f"lists: nothing changed, {lines[-1].split(',')[0]}" in status(db)


def test_an_account_without_leads_is_no_error(monkeypatch: pytest.MonkeyPatch, db: Path) -> None:
    with sandboxed(monkeypatch, leads=0):
        assert invoke().exit_code == 0
        assert invoke("--strategy", "leads").stdout.splitlines()[0] == "0 leads, 0 tasks"
    assert held(db) == {}


def status(db: Path) -> str:
    return CliRunner().invoke(app, ["status", "--db", str(db)]).stdout


@pytest.mark.usefixtures("sandbox")
class TestAPlan:
    def test_writes_no_file(self, db: Path) -> None:
        assert "leads: usable after" in invoke("--plan").stdout
        assert [*db.parent.iterdir()] == []

    def test_leaves_an_empty_file_empty(self, db: Path) -> None:
        db.touch()
        assert invoke("--plan", "--db", db).exit_code == 0
        assert db.read_bytes() == b""

    def test_leaves_a_mirror_as_it_is(self, db: Path) -> None:
        invoke()
        before = db.read_bytes()
        assert "(a guess)" not in invoke("--plan").stdout
        assert db.read_bytes() == before
        assert [*db.parent.iterdir()] == [db]


def test_a_second_run_leaves_no_duplicates_and_removes_what_is_gone(sandbox: Sandbox, db: Path) -> None:
    invoke()
    state = sandbox.state
    first, second, third, *_ = state.leads
    gone, changed, *_ = (entry.id for entry in state.entries.of(first))
    moved = state.entries.of(second)[0].id
    of_third = len(state.entries.of(third))
    state.remove(gone)
    state.change(changed, content="Changed")
    state.change(moved, lead_id=first)
    state.remove_lead(third)
    added = state.add_task(state.add_lead().id, content="Added").id
    again = report()
    assert held(db) == truth(sandbox)
    assert (again["added"] >= 1, again["removed"] >= 1 + of_third) == (True, True)
    assert added in held(db)
    assert held(db)[moved] == first
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT content FROM tasks WHERE id = ?", (changed,)).fetchone() == ("Changed",)


@pytest.mark.usefixtures("sandbox", "db")
def test_nothing_new_is_nothing_written() -> None:
    invoke()
    assert [report()[what] for what in ("added", "changed", "removed")] == [0, 0, 0]


def test_the_report_is_one_object(sandbox: Sandbox, db: Path) -> None:
    run = report()
    assert run.keys() >= KEYS
    assert (run["leads"], run["failed"], run["failures"], run["rate_limited"]) == (12, 0, [], 0)
    assert run["tasks"] == len(held(db)) == run["added"]
    assert run["requests"] == len(sandbox.requests)
    assert run["complete"]


def test_leads_that_fail_are_named_and_keep_what_is_held(sandbox: Sandbox, db: Path) -> None:
    invoke()
    before = held(db)
    lead_id = next(iter(sandbox.state.leads))
    sandbox.state.forbidden_leads.add(lead_id)
    result = invoke("--json")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"lead {lead_id}: ")
    run = json.loads(result.stdout)
    assert (run["failed"], run["failures"][0]["lead_id"]) == (1, lead_id)
    assert held(db) == before


def test_a_listing_that_fails_removes_nothing(sandbox: Sandbox, db: Path) -> None:
    invoke()
    before = held(db)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    sandbox.faults.add("GET /v1.0/leads", REFUSAL, times=None)
    result = invoke("--json")
    assert result.exit_code == 1
    assert "20017" in result.stderr
    assert json.loads(result.stdout)["complete"] is False
    assert held(db) == before


def test_leads_can_be_chosen(sandbox: Sandbox, db: Path) -> None:
    first, second, *_ = sandbox.state.leads
    assert report("--lead", first, "--lead", second, "--lead", first)["leads"] == 2
    assert set(held(db).values()) == {first, second}


def test_chosen_leads_leave_the_others_alone(sandbox: Sandbox, db: Path) -> None:
    invoke()
    assert report("--lead", next(iter(sandbox.state.leads)))["removed"] == 0
    assert held(db) == truth(sandbox)


def test_leads_can_come_from_standard_input(sandbox: Sandbox, db: Path) -> None:
    lead_id = next(iter(sandbox.state.leads))
    assert invoke("--leads-file", "-", stdin=f"# one\n{lead_id}\n").exit_code == 0
    assert set(held(db).values()) == {lead_id}


def test_tasks_can_go_to_a_text_file(sandbox: Sandbox, db: Path, tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    result = invoke("--jsonl", text, "--string-ids")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in text.read_text(encoding="ascii").splitlines()]
    assert {int(line["id"]): int(line["lead_id"]) for line in lines} == truth(sandbox)
    assert all(isinstance(line["id"], str) for line in lines)
    assert not db.exists()


@pytest.mark.usefixtures("sandbox")
def test_tasks_can_go_to_both(db: Path, tmp_path: Path) -> None:
    invoke("--jsonl", tmp_path / "tasks.jsonl", "--db", db)
    assert len((tmp_path / "tasks.jsonl").read_text(encoding="ascii").splitlines()) == len(held(db))


def test_an_empty_list_of_leads_leaves_the_text_file(sandbox: Sandbox, db: Path) -> None:
    text = db.with_name("tasks.jsonl")
    invoke("--jsonl", text)
    requests = len(sandbox.requests)
    assert invoke("--jsonl", text, "--leads-file", "-", stdin="# none today\n").exit_code == 2
    assert read_lines(text) == truth(sandbox)
    assert len(sandbox.requests) == requests


def test_chosen_leads_leave_the_lines_of_the_others(sandbox: Sandbox, db: Path) -> None:
    text = db.with_name("tasks.jsonl")
    invoke("--jsonl", text)
    first, second, *_ = sandbox.state.leads
    sandbox.state.remove(sandbox.state.entries.of(first)[0].id)
    kept = sandbox.state.entries.of(second)[0].id
    before = truth(sandbox)
    sandbox.state.remove(kept)
    assert invoke("--jsonl", text, "--lead", first).exit_code == 0
    assert read_lines(text) == before


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
@pytest.mark.parametrize("report", [(), ("--json",)])
def test_tasks_can_go_to_standard_output(sandbox: Sandbox, db: Path, name: str, report: tuple[str, ...]) -> None:
    result = invoke("--jsonl", name, "--db", db, *report)
    assert {line["id"]: line["lead_id"] for line in map(json.loads, result.stdout.splitlines())} == truth(sandbox)
    assert held(db) == truth(sandbox)
    assert "12" in result.stderr
    assert list(db.parent.iterdir()) == [db]


def test_a_database_of_another_form_is_refused_with_what_to_do(sandbox: Sandbox, db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, lead_id INTEGER, end_at TEXT)")
        connection.execute("CREATE TABLE sync (lead_id INTEGER PRIMARY KEY, synced_at TEXT)")
    before = db.read_bytes()
    result = invoke()
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "delete the file and sync again" in result.stderr
    assert (len(sandbox.requests), db.read_bytes()) == (0, before)


def test_an_outage_leaves_the_text_file_of_the_day_before(sandbox: Sandbox, db: Path) -> None:
    text = db.with_name("tasks.jsonl")
    invoke("--jsonl", text)
    sandbox.faults.add(TASKS_OF_LEAD, REFUSAL, times=None)
    before = text.read_bytes()
    for leads in ((), ("--lead", 99)):
        result = invoke("--jsonl", text, *leads)
        assert (result.exit_code, text.read_bytes()) == (1, before)
        assert "left as it was" in result.stdout
    assert list(db.parent.iterdir()) == [text]


def test_leads_that_fail_keep_the_lines_that_the_text_file_has_of_them(sandbox: Sandbox, db: Path) -> None:
    text = db.with_name("tasks.jsonl")
    invoke("--jsonl", text)
    lead_id = next(iter(sandbox.state.leads))
    sandbox.state.forbidden_leads.add(lead_id)
    assert invoke("--jsonl", text).exit_code == 1
    assert read_lines(text) == truth(sandbox)


def test_a_text_file_loses_the_leads_that_are_gone_and_no_others(sandbox: Sandbox, db: Path) -> None:
    text = db.with_name("tasks.jsonl")
    invoke("--jsonl", text)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    sandbox.faults.add("GET /v1.0/leads", Reply(200, {}), times=None)
    assert invoke("--jsonl", text).exit_code == 0
    assert read_lines(text) == truth(sandbox)


def test_a_database_of_somebody_else_is_left_alone(sandbox: Sandbox, db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title, lead_id)")
        connection.execute("INSERT INTO tasks VALUES (1, 'mine', 7)")
    before = db.read_bytes()
    result = invoke()
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "'tasks'" in result.stderr
    assert db.read_bytes() == before
    assert not sandbox.requests


def plain_name(_: Path, text: Path) -> Path:
    return text


def linked_name(db: Path, text: Path) -> Path:
    db.symlink_to(text)
    return db


def hard_linked_name(db: Path, text: Path) -> Path:
    text.touch()
    db.hardlink_to(text)
    return db


def name_of_the_partial_file(_: Path, text: Path) -> Path:
    return text.with_name(f"{text.name}.partial")


@pytest.mark.parametrize("name", [plain_name, linked_name, hard_linked_name, name_of_the_partial_file])
def test_one_file_cannot_be_both(sandbox: Sandbox, db: Path, name: Callable[[Path, Path], Path]) -> None:
    text = db.with_name("tasks.jsonl")
    result = invoke("--db", name(db, text), "--jsonl", text)
    assert result.exit_code == 2
    assert "the same file" in result.stderr
    assert not sandbox.requests


def test_a_pipe_is_not_replaced_by_a_text_file(sandbox: Sandbox, db: Path) -> None:
    pipe = db.with_name("pipe")
    os.mkfifo(pipe)
    result = invoke("--jsonl", pipe)
    assert (result.exit_code, pipe.is_fifo()) == (2, True)
    assert not sandbox.requests


def test_lost_connections_cost_nothing_but_time(sandbox: Sandbox, db: Path) -> None:
    sandbox.faults.add(TASKS_OF_LEAD, DropBefore(), times=3)
    assert invoke().exit_code == 0
    assert held(db) == truth(sandbox)


@pytest.mark.usefixtures("db")
def test_the_base_url_can_be_given(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_BASE_URL", "http://127.0.0.1:9")
    assert invoke("--base-url", sandbox.url).exit_code == 0


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lead", "abc"), "abc"),
        (("--lead", "0"), "0"),
        (("--concurrency", "0"), "0"),
        (("--lead", "1", "--leads-file", "-"), "exclude each other"),
        (("--sandbox", "--base-url", "http://127.0.0.1:9"), "exclude each other"),
        (("--fresh", "--jsonl", "x"), "--fresh"),
        (("--plan", "--jsonl", "x"), "--plan"),
        (("--watch", "60", "--jsonl", "x"), "--watch"),
        (("--watch", "0"), "--watch"),
        (("--strategy", "lists", "--jsonl", "x"), "--strategy"),
        (("--strategy", "lists", "--lead", "7"), "--strategy"),
        (("--strategy", "luck"), "--strategy"),
        (("--leads-file", "missing.txt"), "missing.txt"),
        (("--leads-file", "-"), "lists no lead id"),
        (("--db", "-"), "--jsonl -"),
        (("--db", "/dev/stdout", "--jsonl", "x"), "--jsonl -"),
    ],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_without_a_credential_nothing_starts(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOFTY_API_KEY", raising=False)
    monkeypatch.delenv("LOFTY_ACCESS_TOKEN", raising=False)
    result = invoke()
    assert result.exit_code == 2
    assert "LOFTY_API_KEY" in result.stderr
    assert not db.exists()


@pytest.mark.usefixtures("sandbox", "db")
@pytest.mark.parametrize("arguments", [(), ("--lead", "7"), ("--json",)])
def test_a_refused_credential_ends_the_run_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "secret-of-mine")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "secret-of-mine" not in result.output
    assert "goes on from here" not in result.output


@pytest.mark.parametrize("option", ["--db", "--jsonl"])
def test_a_file_that_cannot_be_written_is_refused_in_one_line(sandbox: Sandbox, tmp_path: Path, option: str) -> None:
    result = invoke(option, tmp_path / "no" / "such" / "folder")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not sandbox.requests


@pytest.mark.usefixtures("sandbox")
def test_a_file_that_is_no_database_is_left_alone(db: Path) -> None:
    db.write_text("my shopping list\n" * 100, encoding="ascii")
    result = invoke()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"{db.name}: file is not a database\n")
    assert db.read_text(encoding="ascii").startswith("my shopping list")


def test_a_database_that_breaks_in_the_middle_ends_in_one_line(sandbox: Sandbox, db: Path) -> None:
    invoke("--lead", next(iter(sandbox.state.leads)))
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    result = invoke("--json")
    assert result.exit_code == 1
    assert result.stderr == "Error: disk full\n"
    assert json.loads(result.stdout)["complete"] is False


def test_a_sandbox_can_be_had_for_the_asking(db: Path) -> None:
    run = report("--sandbox")
    assert (run["leads"], run["failed"], run["rate_limited"]) == (200, 0, 0)
    assert len(set(held(db).values())) == 200
