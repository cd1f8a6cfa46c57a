import json
from datetime import UTC, datetime

import pytest

from lofty_async.cli.options import Form
from lofty_async.cli.output import cell, show_record, show_records
from lofty_async.models import Task, TaskType, User

TABLE = Form(as_json=False, string_ids=False)
JSON = Form(as_json=True, string_ids=False)
TASK = Task(id=2**53 + 1, type=TaskType.CALL, content="李先生 [bold]🏡[/]", finished=False)
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
    show_records([TASK, Task(id=2, content="x" * 500)], ("id", "content"), TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == ["id", "content"]
    assert "9007199254740993" in lines[3]
    assert "李先生 [bold]🏡[/]" in lines[3]
    assert "x" * 500 in lines[4]


def test_nothing_found_is_said_on_standard_error(capsys: Capture) -> None:
    show_records([], ("id",), TABLE)
    assert capsys.readouterr() == ("", "Nothing found.\n")


def test_nothing_found_is_an_empty_array(capsys: Capture) -> None:
    show_records([], ("id",), JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_json_has_all_fields(capsys: Capture) -> None:
    show_records([TASK], ("id",), JSON)
    (record,) = json.loads(capsys.readouterr().out)
    assert record["id"] == 2**53 + 1
    assert record["content"] == TASK.content
    assert record["end_at"] is None


def test_json_is_ascii(capsys: Capture) -> None:
    show_records([TASK], ("id",), JSON)
    assert capsys.readouterr().out.isascii()


def test_json_can_have_ids_as_strings(capsys: Capture) -> None:
    show_record(TASK, Form(as_json=True, string_ids=True))
    assert json.loads(capsys.readouterr().out)["id"] == "9007199254740993"


def test_one_record_shows_the_fields_that_are_there(capsys: Capture) -> None:
    show_record(User(id=5, email="a@example.com", is_admin=True), TABLE)
    out = capsys.readouterr().out
    assert [line.strip("│").split()[0] for line in out.splitlines()[3:-1]] == ["id", "email", "is_admin"]
