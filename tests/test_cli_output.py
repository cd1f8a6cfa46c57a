import asyncio
import io
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from lofty_async._stdout import write_stdout
from lofty_async.cli.options import OutputOptions
from lofty_async.cli.output import cell, show_record, show_records
from lofty_async.cli.tables import Layout, fitting
from lofty_async.mirror import JsonLinesOutput
from lofty_async.models import AgentInfo, LeadTag, Task, TaskType, User

TABLE = OutputOptions(as_json=False, string_ids=False)
JSON = OutputOptions(as_json=True, string_ids=False)
TASK = Task(id=2**53 + 1, type=TaskType.CALL, content="李先生 [bold]🏡[/]", finished=False)
IDS = Layout(("id",), plain=("id",))
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


def test_a_nested_record_is_its_fields_by_name() -> None:
    assert cell(AgentInfo(position="Broker\x1b", company_name="Acme")) == "position Broker , company_name Acme"
    assert cell((LeadTag(tag_id=1, tag_name="vip"), LeadTag(tag_id=2))) == "tag_id 1, tag_name vip; tag_id 2"
    assert cell(AgentInfo()) == cell(()) == ""


def test_without_a_terminal_a_record_is_one_line_of_cells_between_tabs(capsys: Capture) -> None:
    show_records([TASK, Task(id=2, content="x" * 20_000)], Layout((), plain=("id", "content", "end_at")), TABLE)
    assert capsys.readouterr().out == f"9007199254740993\t李先生 [bold]🏡[/]\t\n2\t{'x' * 20_000}\t\n"


def test_a_tab_or_a_line_break_in_a_text_ends_no_cell(capsys: Capture) -> None:
    show_records([Task(id=2, content="a\tb\r\nc\u2028d\x85e")], Layout((), plain=("id", "content")), TABLE)
    assert capsys.readouterr().out == "2\ta b  c d e\n"


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
    show_record(TASK, OutputOptions(as_json=True, string_ids=True))
    assert json.loads(capsys.readouterr().out)["id"] == "9007199254740993"


def test_one_record_shows_the_fields_that_are_there(capsys: Capture) -> None:
    show_record(User(id=5, email="a@example.com", is_admin=True), TABLE)
    out = capsys.readouterr().out
    assert out == "id\t5\nemail\ta@example.com\nis_admin\tyes\n"


LAYOUT = Layout(("id", "note", "end"), folding={"note"}, spare=("end", "note"))


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
        ((40, 5, 9), 1, None),
    ],
)
def test_the_folding_column_gives_way_and_then_the_spare_ones_go(
    widths: tuple[int, int, int], room: int, shown: list[str] | None
) -> None:
    assert fitting(LAYOUT, dict(zip(LAYOUT.columns, widths, strict=True)), room) == shown


class Stalled(io.FileIO):
    """A pipe that says when it has no room, and how often in a row it was tried then."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w")
        self.is_full = threading.Event()
        self.in_a_row = self.most_in_a_row = 0

    def write(self, data: Any) -> Any:
        written = super().write(data)
        self.in_a_row = 0 if written else self.in_a_row + 1
        self.most_in_a_row = max(self.most_in_a_row, self.in_a_row)
        if not written:
            self.is_full.set()
        return written


async def one_line(text: str) -> None:
    await write_stdout(f"{text}\n")


async def one_task(text: str) -> None:
    await JsonLinesOutput().merge({7: [Task(id=1, content=text)]})


@pytest.mark.parametrize("write", [one_line, one_task])
async def test_a_pipe_that_does_not_block_is_waited_for_not_polled(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Awaitable[None]]
) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    pipe, read = Stalled(theirs), bytearray()

    def drain() -> None:
        pipe.is_full.wait(10)
        with io.FileIO(ours) as reader:
            while chunk := reader.read(65536):
                read.extend(chunk)

    with monkeypatch.context() as patch, io.TextIOWrapper(io.BufferedWriter(pipe), encoding="utf-8") as stdout:
        patch.setattr(sys, "stdout", stdout)
        draining = threading.Thread(target=drain)
        draining.start()
        await write("x" * 1_000_000)
    draining.join(10)
    assert (read.count(b"x"), read.count(b"\n")) == (1_000_000, 1)
    assert pipe.most_in_a_row <= 1


async def test_an_output_that_is_closed_is_an_error_not_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO())
    stdout.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(ValueError, match="closed"):
            await asyncio.wait_for(write_stdout("a line"), 5)


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise LookupError("no place")


async def test_an_error_of_a_programs_own_output_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken())
        with pytest.raises(LookupError, match="no place"):
            await asyncio.wait_for(write_stdout("a line"), 5)
