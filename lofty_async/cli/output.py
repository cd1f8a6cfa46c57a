"""Records as tables for people and as JSON for programs.

A table fits the terminal's width and never cuts an id; in a pipe it is one line per record, separated by tabs.
"""

import asyncio
import json
import os
import select
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Thread
from typing import Any, Final, NamedTuple

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lofty_async._convert import unstructure

from .options import OutputOptions

MIN_FOLDING_WIDTH: Final = 12
"""Characters that the folding column keeps, if its text has as many."""
COLUMN_PADDING: Final = 3
"""Characters of a column beside its text: a blank on each side, and a line."""

Row = Mapping[str, str]


class Layout(NamedTuple):
    """Columns from left to right: `folding` may take several lines, `spare` are omitted if the table is too wide."""

    columns: Sequence[str]
    folding: str | None = None
    spare: Sequence[str] = ()
    """In the order in which they are omitted."""


FIELDS: Final = Layout(("field", "value"), folding="value")
MY_TASKS: Final = Layout(
    ("id", "lead_id", "type", "content", "start_at", "end_at", "finished", "assigned_user"),
    folding="content",
    spare=("assigned_user", "start_at", "finished", "type", "lead_id", "end_at", "content"),
)
LEAD_TASKS: Final = MY_TASKS._replace(
    spare=("lead_id", "start_at", "assigned_user", "finished", "type", "end_at", "content")
)
CALENDAR_ENTRIES: Final = Layout(
    ("id", "lead_id", "type", "content", "start_at", "end_at", "finished"),
    folding="content",
    spare=("finished", "end_at", "type", "lead_id", "start_at", "content"),
)
MEETING_SLOTS: Final = Layout(("start_at", "end_at"), spare=("end_at",))
SUBSCRIPTIONS: Final = Layout(
    ("id", "event", "callback_url", "limit", "permission_mode"),
    folding="callback_url",
    spare=("limit", "permission_mode", "event"),
)


def show_records(records: Sequence[Any], layout: Layout, output: OutputOptions) -> None:
    """Prints a JSON array with all fields, or a table with those of the layout."""
    if output.as_json:
        print_json([_plain(record, output) for record in records])
    elif records:
        print_table(layout, [{name: cell(getattr(record, name)) for name in layout.columns} for record in records])
    else:
        click.echo("Nothing found.", err=True)


def show_record(record: Any, output: OutputOptions) -> None:
    """Prints a JSON object with all fields, or a table with those that are not `None`."""
    plain = _plain(record, output)
    if output.as_json:
        print_json(plain)
    else:
        present = {name: getattr(record, name) for name in plain if getattr(record, name) is not None}
        print_table(FIELDS, [{"field": name, "value": cell(value)} for name, value in present.items()])


def print_json(value: object) -> None:
    """Prints indented JSON in ASCII, which every encoding can represent."""
    click.echo(json.dumps(value, indent=2))


def cell(value: object) -> str:
    """Returns one value for people, its control characters replaced by blanks."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case _:
            text = str(value)
            if text.isprintable():
                return text
            return "".join(character if character.isprintable() else " " for character in text)


def print_table(layout: Layout, rows: Sequence[Row]) -> None:
    """Prints a table as wide as the terminal; in a pipe, one line per row, its cells separated by tabs."""
    if sys.stdout is None or not sys.stdout.isatty():
        click.echo("\n".join("\t".join(row[name] for name in layout.columns) for row in rows))
        return
    console, widths = Console(), _widths(layout.columns, rows)
    shown = fitting(layout, widths, console.width)
    console.width = max(console.width, _table_width({name: _min_width(layout, widths, name) for name in shown}, shown))
    console.print(_table(layout, shown, rows), crop=False)


def fitting(layout: Layout, widths: Mapping[str, int], room: int) -> list[str]:
    """Returns the columns of a table that is `room` characters wide; columns that are not spare always stay."""
    least = {name: _min_width(layout, widths, name) for name in layout.columns}
    shown = list(layout.columns)
    for name in layout.spare:
        if _table_width(least, shown) <= room:
            break
        shown.remove(name)
    return shown


def _widths(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, int]:
    return {name: max(cell_len(text) for text in (name, *(row[name] for row in rows))) for name in columns}


def _min_width(layout: Layout, widths: Mapping[str, int], name: str) -> int:
    return min(widths[name], MIN_FOLDING_WIDTH) if name == layout.folding else widths[name]


def _table_width(widths: Mapping[str, int], shown: Collection[str]) -> int:
    return 1 + sum(widths[name] + COLUMN_PADDING for name in shown)


def _table(layout: Layout, shown: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table()
    for name in shown:
        table.add_column(name, no_wrap=name != layout.folding, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    return table


def print_note(text: str) -> None:
    """Prints a line on standard error; a terminal that is gone is no reason to fail."""
    try:
        click.echo(text, err=True)
    except OSError:
        mute_stderr()


def mute_stderr() -> None:
    """Makes the null device standard error, also for its buffer, which Python would fail to write at exit."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)


async def print_in_thread(line: str) -> None:
    """Prints from a new thread, so that a full pipe blocks neither the loop nor its end.

    Raises: OSError, ValueError if standard output cannot be written.
    """
    loop = asyncio.get_running_loop()
    printed: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not printed.done():
            printed.set_result(None) if error is None else printed.set_exception(error)

    def work() -> None:
        error: Exception | None = None
        try:
            _write(f"{line}\n")
        except (OSError, ValueError) as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error)

    # A daemon: a thread that is blocked in a write must not keep the process alive.
    Thread(target=work, daemon=True).start()
    await printed


def _write(text: str) -> None:
    stream = sys.stdout
    if stream is None:
        return
    # Not through the buffer: Python takes its lock at exit, and would abort if a blocked thread holds it.
    raw = getattr(stream.buffer, "raw", stream.buffer)
    rest = text.replace("\n", os.linesep).encode(stream.encoding, stream.errors or "strict")
    while rest:
        written = raw.write(rest)
        if written is None:  # a pipe that does not block has no room
            select.select([], [raw], [])
        else:
            rest = rest[written:]


def _plain(record: Any, output: OutputOptions) -> dict[str, Any]:
    return unstructure(record, ids_as_strings=output.string_ids)
