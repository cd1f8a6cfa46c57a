import json
from datetime import UTC, datetime

import pytest

from lofty_async.cli.options import Form
from lofty_async.cli.output import cell, show_record, show_records
from lofty_async.cli.tables import Layout, fitting
from lofty_async.models import Task, TaskType, User

TABLE = Form(as_json=False, string_ids=False)
JSON = Form(as_json=True, string_ids=False)
TASK = Task(id=2**53 + 1, type=TaskType.CALL, content="李先生 [bold]🏡[/]", finished=False)
IDS = Layout(("id",))
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        (TaskType.CALL, "Call"),
        (datetime(2026, 3, 1, 15, 30, 12, tzinfo=UTC), "2026-03-01 15:30+00:00"),
        ("two\nlines", "two lines"),
        ("\x1b[31mred\x07", " [31mred "),
        ("half an emoji \ud83c", "half an emoji  "),
    ],
)
def test_a_cell_is_one_harmless_line(value: object, text: str) -> None:
    assert cell(value) == text


def test_a_table_shows_the_chosen_columns_one_record_a_line(capsys: Capture) -> None:
    show_records([TASK, Task(id=2, content="x" * 500)], Layout(("id", "content"), folding="content"), TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == ["id", "content"]
    assert "9007199254740993" in lines[3]
    assert "李先生 [bold]🏡[/]" in lines[3]
    assert "x" * 500 in lines[4]


def test_nothing_found_is_said_on_standard_error(capsys: Capture) -> None:
    show_records([], IDS, TABLE)
    assert capsys.readouterr() == ("", "Nothing found.\n")


def test_nothing_found_is_an_empty_array(capsys: Capture) -> None:
    show_records([], IDS, JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_json_has_all_fields(capsys: Capture) -> None:
    show_records([TASK], IDS, JSON)
    (record,) = json.loads(capsys.readouterr().out)
    assert record["id"] == 2**53 + 1
    assert record["content"] == TASK.content
    assert record["end_at"] is None


def test_json_is_ascii(capsys: Capture) -> None:
    show_records([TASK], IDS, JSON)
    assert capsys.readouterr().out.isascii()


def test_json_can_have_ids_as_strings(capsys: Capture) -> None:
    show_record(TASK, Form(as_json=True, string_ids=True))
    assert json.loads(capsys.readouterr().out)["id"] == "9007199254740993"


def test_one_record_shows_the_fields_that_are_there(capsys: Capture) -> None:
    show_record(User(id=5, email="a@example.com", is_admin=True), TABLE)
    out = capsys.readouterr().out
    assert [line.strip("│").split()[0] for line in out.splitlines()[3:-1]] == ["id", "email", "is_admin"]


LAYOUT = Layout(("id", "note", "end"), folding="note", spare=("end", "note"))


@pytest.mark.parametrize(
    ("widths", "room", "shown"),
    [
        ((4, 20, 9), 43, ["id", "note", "end"]),
        ((4, 20, 9), 35, ["id", "note", "end"]),
        ((4, 20, 9), 34, ["id", "note"]),
        ((4, 20, 9), 23, ["id", "note"]),
        ((4, 20, 9), 22, ["id"]),
        ((4, 5, 9), 28, ["id", "note", "end"]),
        ((4, 5, 9), 27, ["id", "note"]),
        ((40, 5, 9), 1, ["id"]),
    ],
)
def test_the_folding_column_gives_way_and_then_the_spare_ones_go(
    widths: tuple[int, int, int], room: int, shown: list[str]
) -> None:
    assert fitting(LAYOUT, dict(zip(LAYOUT.columns, widths, strict=True)), room) == shown


def test_without_a_terminal_a_record_is_a_line_however_long(capsys: Capture) -> None:
    show_records([Task(id=2, content="x" * 20_000)], Layout(("id", "content"), folding="content"), TABLE)
    assert "x" * 20_000 in capsys.readouterr().out.splitlines()[3]
