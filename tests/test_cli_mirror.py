"""The commands around a mirror: its plan, its strategies, its changes and its state."""

import fcntl
import json
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lofty_async.cli.app import app
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply

LEADS = 40
TASKS = 4 * LEADS
TASKS_OF_LEAD = "GET /v2.0/tasks"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    with Sandbox.in_thread(leads=LEADS, tasks_per_lead=3) as running:
        monkeypatch.setenv("LOFTY_API_KEY", running.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", running.url)
        yield running


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(*arguments: object) -> list[str]:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def reads(sandbox: Sandbox) -> int:
    return sum(request.route == TASKS_OF_LEAD for request in sandbox.requests)


def test_a_plan_says_what_a_sync_takes_and_reads_nothing(sandbox: Sandbox) -> None:
    size, by_lists, by_leads = lines("sync", "--plan")
    assert size == f"{LEADS} leads, {2 * LEADS} tasks (a guess), 1 user; 500 requests a minute"
    assert by_lists.startswith("lists: usable after 3 requests (under 1 min), proven after 43 requests")
    assert by_lists.endswith("(chosen)")
    assert by_leads == "leads: usable after 41 requests (under 1 min), proven after 41 requests (under 1 min)"
    assert reads(sandbox) == 0
    plan = json.loads(invoke("sync", "--plan", "--json").stdout)
    assert (plan["leads"], plan["chosen"], len(plan["plans"])) == (LEADS, "lists", 2)


def test_later_syncs_read_only_the_leads_in_question(sandbox: Sandbox) -> None:
    lines("sync")
    assert reads(sandbox) == LEADS
    gone = next(iter(sandbox.state.entries.values()))
    sandbox.state.remove(gone.id)
    _, changed, proven, _ = lines("sync")
    assert changed == "tasks.sqlite: 0 added, 0 changed, 1 removed"
    assert proven.startswith(f"{TASKS - 1} of {TASKS - 1} tasks confirmed by reading their lead, the oldest at ")
    assert reads(sandbox) < LEADS + 10
    lines("sync", "--strategy", "leads")
    assert reads(sandbox) >= 2 * LEADS


def test_changes_are_listed_behind_a_number(sandbox: Sandbox) -> None:
    lines("sync")
    entry = next(entry for entry in sandbox.state.entries.values() if not entry.finished)
    sandbox.state.change(entry.id, content="Bring\nthe \x1b[31mkeys")
    sandbox.state.finish(entry.id)
    lines("sync")
    assert len(lines("changes")) == TASKS + 1
    (line,) = lines("changes", "--since", TASKS)
    number, _, *others = line.split("\t")
    assert (number, others) == (str(TASKS + 1), ["finished", str(entry.id), str(entry.lead_id), "Bring the  [31mkeys"])
    (text,) = lines("changes", "--since", TASKS, "--json", "--string-ids")
    change = json.loads(text)
    assert (change["kind"], change["task"]["id"]) == ("finished", str(entry.id))
    assert (change["before"]["finished"], change["task"]["finished"]) == (False, True)
    assert lines("changes", "--since", TASKS + 1) == []


def test_the_state_of_a_file_can_be_told_without_a_credential(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines("sync")
    sent = len(sandbox.requests)
    monkeypatch.delenv("LOFTY_API_KEY")
    head, proven, run = lines("status")
    assert head == f"tasks.sqlite: {TASKS} tasks of {LEADS} leads"
    assert proven.startswith(f"{TASKS} confirmed by reading their lead, the oldest at ")
    assert run.endswith(f"lists: {TASKS} added, 0 changed, 0 removed, {sent} requests")
    state = json.loads(invoke("status", "--json").stdout)
    assert (state["tasks"], state["proven"], [run["number"] for run in state["runs"]]) == (TASKS, TASKS, [1])
    assert len(sandbox.requests) == sent


@pytest.mark.parametrize("command", ["changes", "status"])
def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, command: str) -> None:
    path = tmp_path / "none.sqlite"
    result = invoke(command, "--db", path)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "does not exist" in result.stderr
    assert not path.exists()
    path.write_text("my shopping list\n" * 100, encoding="ascii")
    assert (invoke(command, "--db", path).exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_a_second_sync_is_refused_in_one_line(sandbox: Sandbox) -> None:
    lines("sync")
    with closing(sqlite3.connect("tasks.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE runs SET ended_at = NULL, token = 'x', host = 'there', process = 77, machine = 'another',"
            " seen_at = datetime('now')"
        )
    sent = len(sandbox.requests)
    result = invoke("sync")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "another sync is under way: on there, process 77, since" in result.stderr
    assert len(sandbox.requests) == sent


def test_many_tasks_gone_at_once_are_deleted_only_where_that_is_said(sandbox: Sandbox) -> None:
    lines("sync")
    for entry in list(sandbox.state.entries.values())[:60]:
        sandbox.state.remove(entry.id)
    result = invoke("sync")
    assert result.exit_code == 1
    assert "--allow-mass-delete" in result.stderr
    assert "allow_mass_delete" not in result.stderr
    assert "60 removed" in lines("sync", "--allow-mass-delete")[1]


def test_a_file_of_another_account_is_refused_in_one_line(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    lines("sync")
    sandbox.faults.add("GET /v1.0/me", Reply(200, {"id": 7, "teamId": 5}))
    result = invoke("sync")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "and the client reads member 7 of team 5 on http://127.0.0.1: name another database" in result.stderr
    monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url.replace("127.0.0.1", "localhost"))
    result = invoke("sync")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "pass --allow-new-server if the same account" in result.stderr
    assert "nothing changed" in lines("sync", "--allow-new-server")[1]
    assert invoke("sync", "--jsonl", "-", "--allow-new-server").exit_code == 2


@pytest.mark.usefixtures("sandbox")
def test_old_changes_are_removed_where_that_is_said() -> None:
    lines("sync")
    with closing(sqlite3.connect("tasks.sqlite")) as connection, connection:
        connection.execute("UPDATE changes SET at = datetime(at, '-8 days') WHERE seq <= 100")
    lines("sync", "--keep-changes", "9")
    assert len(lines("changes")) == TASKS
    lines("sync", "--keep-changes", "7")
    assert len(lines("changes")) == len(lines("changes", "--since", "100")) == TASKS - 100
    result = invoke("changes", "--since", "99")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "the changes up to 100 were removed" in result.stderr
    assert invoke("sync", "--keep-changes", "-1").exit_code == 2
    assert invoke("sync", "--jsonl", "-", "--keep-changes", "7").exit_code == 2


def test_watching_syncs_again_and_again_until_it_is_stopped(sandbox: Sandbox) -> None:
    command = (sys.executable, "-m", "lofty_async", "sync", "--watch", "0.05", "--json")
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    runs = [json.loads(watching.stdout.readline())["run"] for _ in range(3)]
    sandbox.faults.add("GET /v1.0/leads", failing(), times=1)
    assert watching.stderr is not None
    assert "20017" in watching.stderr.readline()
    watching.send_signal(signal.SIGTERM)
    watching.communicate(timeout=30)
    assert (runs, watching.returncode) == ([1, 2, 3], 143)


@pytest.mark.usefixtures("sandbox")
def test_watching_outlives_another_sync_and_a_database_that_fails() -> None:
    command = (sys.executable, "-m", "lofty_async", "sync", "--watch", "0.05", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        with closing(sqlite3.connect("tasks.sqlite", isolation_level=None, timeout=30)) as connection:
            connection.execute(
                "CREATE TRIGGER other BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            )
            assert "the disk is full" in watching.stderr.readline()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DROP TRIGGER other")
            connection.execute(
                "INSERT INTO runs (number, cycle, scope, phase, started_at, seen_at, host, process, machine, token)"
                " SELECT max(number) + 1, max(cycle), 'some', 'listing', datetime('now'), datetime('now'), 'there', 1,"
                " 'other', 'held' FROM runs"
            )
            connection.execute("COMMIT")
            while "another sync is under way: on there, process 1" not in watching.stderr.readline():
                assert watching.poll() is None
            connection.execute("UPDATE runs SET ended_at = seen_at, token = NULL WHERE host = 'there'")
        while json.loads(watching.stdout.readline())["run"] < 3:
            assert watching.poll() is None
        watching.send_signal(signal.SIGTERM)


def test_a_database_that_fails_during_a_plan_is_one_line(sandbox: Sandbox) -> None:
    lines("sync", "--lead", next(iter(sandbox.state.leads)))
    with closing(sqlite3.connect("tasks.sqlite", isolation_level=None)) as connection:
        connection.execute("ALTER TABLE tasks RENAME COLUMN proven_at TO proven")
    result = invoke("sync", "--plan")
    assert (result.exit_code, result.stderr) == (1, "Error: no such column: proven_at\n")


def failing() -> Reply:
    return Reply(403, {"code": 20017, "message": "no"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sync", "--watch", "often"), "--watch must be a number above 0, not 'often'"),
        (("sync", "--watch", "nan"), "--watch must be a number above 0, not 'nan'"),
        (("sync", "--keep-changes", "nan"), "--keep-changes must be a number from 0 to 36500, not 'nan'"),
        (("sync", "--keep-changes", "-1"), "--keep-changes must be a number from 0 to 36500, not '-1'"),
        (("sync", "--concurrency", "0"), "--concurrency must be an integer of 1 or more, not '0'"),
        (("changes", "--since", "x"), "--since must be an integer of 0 or more, not 'x'"),
        (("changes", "--since", 2**63), f"--since must be an integer from 0 to {2**63 - 1}, not '{2**63}'"),
        (("tasks", "mine", "--limit", "1.5"), "--limit must be an integer of 1 or more, not '1.5'"),
    ],
)
def test_a_number_that_is_wrong_names_its_option_and_its_range(arguments: tuple[object, ...], message: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {message}")


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("command", ["sync", "status", "changes"])
def test_a_file_has_no_names_of_accounts(command: str) -> None:
    lines("sync")
    result = invoke(command, "--account", "smith")
    assert result.exit_code == 2
    assert "--account is for --db postgresql://…; a file holds one account: use a file for each" in result.stderr


@pytest.mark.usefixtures("sandbox")
def test_an_error_before_the_first_request_comes_without_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "wrong")
    result = invoke("sync")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert json.loads(invoke("sync", "--json").stdout)["requests"] == 0
    assert "no sync has begun" in invoke("status").stderr


@pytest.mark.usefixtures("sandbox")
def test_changes_that_were_removed_name_the_number_to_go_on_from() -> None:
    lines("sync")
    with closing(sqlite3.connect("tasks.sqlite")) as file, file:
        file.execute("UPDATE changes SET at = '2020-01-01 00:00:00'")
    lines("sync", "--keep-changes", "1")
    removed = invoke("changes", "--since", "5")
    assert f"copy the tasks again, and then read the changes since {TASKS}" in removed.stderr
    assert lines("changes", "--since", TASKS) == []


@pytest.mark.usefixtures("sandbox")
def test_what_a_resumed_run_counts_is_not_taken_for_the_whole_run() -> None:
    lines("sync")
    with closing(sqlite3.connect("tasks.sqlite")) as file, file:
        file.execute(
            "UPDATE runs SET ended_at = NULL, report = NULL, phase = 'proving', machine = 'another', host = 'there',"
            " seen_at = datetime('now', '-5 minutes')"
        )
    lines("sync")
    run = lines("status")[-1]
    assert run.startswith("run 1, ")
    assert ", lists: resumed, and since then nothing changed, " in run
    assert json.loads(invoke("status", "--json").stdout)["runs"][0]["is_resumed"] is True


def waiting(stream: int) -> int:
    """The bytes that wait in a pipe for their reader."""
    return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)


def handles(process: int, number: signal.Signals) -> bool:
    (mask,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)  # between two looks at another process
    pytest.fail("it did not come to that")


@pytest.mark.usefixtures("sandbox")
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which signals a process handles")
def test_the_second_signal_ends_a_command_that_a_full_pipe_blocks() -> None:
    lines("sync")
    command = [sys.executable, "-m", "lofty_async.cli", "changes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        try:
            assert run.stdout is not None
            pipe = run.stdout.fileno()
            until(lambda: waiting(pipe) > 40_000)  # a pipe holds 64 KiB, less what each page has left
            run.send_signal(signal.SIGTERM)
            until(lambda: not handles(run.pid, signal.SIGTERM))
            run.send_signal(signal.SIGINT)
            assert run.wait(timeout=30) == -signal.SIGINT
        finally:
            run.kill()
