"""CSV for spreadsheets, and lists that go to a file."""

import csv
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.cli.options import OutputOptions
from lofty_async.cli.output import LEADS, MY_TASKS, csv_cell, csv_text
from lofty_async.models import CalendarEntry, Lead, LeadTag, MeetingSlot, Task, WebhookSubscription
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from tests.commands import answer, invoke, sandboxed

FULL = Path("/dev/full")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch) as running:
        yield running


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (("tasks", "mine"), Task),
        (("calendar", "--start", "2000-01-01", "--end", "2100-01-01"), CalendarEntry),
        (("slots", "--start", "2090-01-02", "--end", "2090-01-03"), MeetingSlot),
        (("leads", "list"), Lead),
        (("webhooks", "list"), WebhookSubscription),
    ],
)
def test_every_list_has_all_fields(arguments: tuple[str, ...], model: Any) -> None:
    names, *lines = csv.reader(io.StringIO(invoke(*arguments, "--csv").stdout))
    assert names == [field.name for field in fields(model)]
    assert len(lines) == len(answer(*arguments))
    assert {len(line) for line in lines} <= {len(names)}


@pytest.mark.usefixtures("sandbox")
def test_its_values_are_those_of_json() -> None:
    numbers = {"id", "lead_id", "team_id", "creator_id"}
    for row, record in zip(rows_of(invoke("tasks", "mine", "--csv").stdout), answer("tasks", "mine"), strict=True):
        assert {row[name] for name in numbers} == {str(record[name]) for name in numbers}
        assert row["end_at"] == (record["end_at"] or "")
        assert row["finished"] == ("true" if record["finished"] else "false")


def test_what_is_nested_is_json() -> None:
    lead = Lead(id=5, emails=("a@example.com", "b@example.com"), tags=(LeadTag(tag_id=7, tag_name="vip"),))
    (row,) = rows_of(csv_text([lead], LEADS, OutputOptions()))
    assert json.loads(row["emails"]) == ["a@example.com", "b@example.com"]
    assert json.loads(row["tags"])[0]["tag_name"] == "vip"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('=HYPERLINK("https://evil.test")', '\'=HYPERLINK("https://evil.test")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("@SUM(A1:A9)", "'@SUM(A1:A9)"),
        ("\t=1+1", "' =1+1"),
        ("  =A1", "'  =A1"),
        ("\uff1dA1", "'\uff1dA1"),
        ("+1 (415) 555-0100", "+1 (415) 555-0100"),
        ("-5", "-5"),
        ("a = b", "a = b"),
        ("", ""),
        (-5, "-5"),
        (None, ""),
        (True, "true"),
        ("two\r\nlines \x1b[31mred", "two  lines  [31mred"),
    ],
)
def test_no_text_is_a_formula_or_moves_the_cursor(value: object, text: str) -> None:
    assert csv_cell(value) == text


@given(st.text())
def test_no_cell_begins_like_a_formula_but_numbers(text: str) -> None:
    shown = csv_cell(text)
    assert shown.isprintable()
    assert not shown.lstrip().startswith(("=", "@"))
    assert not (shown.lstrip().startswith(("+", "-")) and any(one.isalpha() for one in shown))


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_record_is_one_line(contents: list[str]) -> None:
    tasks = [Task(id=number, content=content) for number, content in enumerate(contents, 1)]
    text = csv_text(tasks, MY_TASKS, OutputOptions())
    assert [row["id"] for row in rows_of(text)] == [str(task.id) for task in tasks]
    assert len(text.splitlines()) == 1 + len(tasks)


def test_nothing_is_a_line_of_names() -> None:
    assert csv_text([], MY_TASKS, OutputOptions()).split(",")[0] == "id"


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_dash_may_follow_the_form(sandbox: Sandbox, form: str) -> None:
    lead = sandbox.state.leads.ids()[0]
    for command in (("tasks", "mine"), ("tasks", "list", lead)):
        assert invoke(*command, form, "-", "--limit", 2).stdout == invoke(*command, form, "--limit", 2).stdout != ""
    assert invoke("tasks", "list", form, "-", lead).exit_code == 0
    assert invoke("tasks", "mine", "-").exit_code == 2


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("form", [("--json",), ("--csv",), ()])
@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_a_dash_is_standard_output(
    form: tuple[str, ...], target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = invoke("tasks", "mine", *form)
    monkeypatch.chdir(tmp_path)
    assert invoke("tasks", "mine", *form, "--output", target).stdout == usual.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("form", [("--json",), ("--csv",), ()])
def test_a_file_holds_what_would_be_printed(form: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "tasks"
    result = invoke("tasks", "mine", *form, "-o", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text(encoding="utf-8") == invoke("tasks", "mine", *form).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("sandbox")
def test_a_file_that_exists_keeps_its_permissions_and_its_name(tmp_path: Path) -> None:
    file, link = tmp_path / "tasks", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o644)
    link.symlink_to(file)
    assert invoke("tasks", "mine", "--csv", "-o", link).exit_code == 0
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").startswith("id,lead_id,")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_list_that_fails_leaves_the_file_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "tasks"
    file.write_text("old")
    sandbox.faults.add("GET /v2.0/tasks/my-tasks", Reply(403, {"code": 20017, "message": "no"}))
    assert invoke("tasks", "mine", "--json", "-o", file).exit_code == 1
    assert file.read_text() == "old"


@pytest.mark.usefixtures("sandbox")
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "tasks.csv"
    result = invoke("tasks", "mine", "--csv", "-o", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"cannot write {file}: No such file or directory; choose another file" in result.stderr


@pytest.mark.usefixtures("sandbox")
@pytest.mark.skipif(not FULL.exists(), reason="a disk that is always full is Linux's")
def test_a_disk_that_is_full_is_told() -> None:
    result = invoke("tasks", "mine", "--csv", "-o", FULL)
    assert (result.exit_code, "No space left" in result.stderr) == (1, True)
