"""Records as tables for people, as JSON for programs and as CSV for spreadsheets.

A table on a terminal fits its width; elsewhere it is one line per record, its cells separated by tabs.
"""

import csv
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, cast

import click
from attrs import fields

from lofty_async._convert import unstructure
from lofty_async.models import CalendarEntry, Lead, MeetingSlot, Model, Task, WebhookSubscription

from .options import STDOUT, OutputOptions
from .tables import Layout, dash, print_fields, print_table
from .times import Zone, clock, local_zone, span

MY_TASKS: Final = Layout(
    ("id", "lead", "type", "content", "when", "finished", "assigned_user"),
    Task,
    folding={"lead", "content", "when"},
    spare=("assigned_user", "finished", "type"),
    plain=("id", "lead_id", "type", "content", "start_at", "end_at", "finished", "assigned_user", "lead_name"),
)
LEAD_TASKS: Final = MY_TASKS._replace(spare=("lead", "assigned_user", "finished", "type"))
CALENDAR_ENTRIES: Final = Layout(
    ("id", "lead", "type", "content", "when", "finished"),
    CalendarEntry,
    folding={"content", "when"},
    spare=("finished", "type", "lead"),
    plain=("id", "lead_id", "type", "content", "start_at", "end_at", "finished"),
)
MEETING_SLOTS: Final = Layout(("when",), MeetingSlot, folding={"when"}, plain=("start_at", "end_at"))
LEADS: Final = Layout(
    ("id", "name", "phones", "emails", "stage", "source", "assigned_user", "updated"),
    Lead,
    folding={"name", "phones", "emails"},
    spare=("updated", "source", "assigned_user", "stage"),
    plain=("id", "name", "stage", "phones", "emails", "assigned_user", "source", "updated_at"),
)
SUBSCRIPTIONS: Final = Layout(
    ("id", "event", "callback_url", "limit", "permission_mode"),
    WebhookSubscription,
    folding={"callback_url"},
    spare=("limit", "permission_mode", "event"),
    plain=("id", "event", "callback_url", "limit", "permission_mode"),
)

FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a text that a spreadsheet takes for a formula; the last four are full-width."""
PHONE: Final = re.compile(r"[+-]?[\d().\s-]*")
"""A text that calls nothing, whatever a spreadsheet takes it for."""


def show_records(
    records: Sequence[Any],
    layout: Layout,
    output: OutputOptions,
    zone: Zone | None = None,
    *,
    draw: Callable[[Sequence[Any], Zone], None] | None = None,
) -> None:
    """Prints a JSON array or CSV with all fields, or a table with those of the layout.

    Tables on a terminal show times in the zone, this machine's by default. `draw` prints another picture in place of
    that table.

    Raises: click.ClickException if the file of the options cannot be written.
    """
    path, zone = output.path, zone or local_zone()
    if output.as_json:
        write(json.dumps([_plain(record, output) for record in records], indent=2), path)
    elif output.as_csv:
        write(csv_text(records, layout, output), path)
    elif not records:
        write(None, path)
        click.echo("Nothing found.", err=True)
    elif path not in {None, STDOUT} or not is_terminal():
        write(tabbed([cell(value_of(record, name)) for name in layout.plain] for record in records), path)
    elif draw is not None:
        draw(records, zone)
    else:
        print_table(layout, [{name: shown(record, name, zone) for name in layout.columns} for record in records], zone)


def show_record(record: Any, output: OutputOptions, zone: Zone | None = None) -> None:
    """Prints a JSON object with all fields, or a table with those that are not `None`.

    A table on a terminal shows times in the zone, this machine's by default.
    """
    plain = _plain(record, output)
    if output.as_json:
        print_json(plain)
        return
    values: dict[str, Any] = {name: getattr(record, name) for name in plain}
    if is_terminal():
        shown_in = (zone or local_zone()).shown
        values = {name: shown_in(value) if isinstance(value, datetime) else value for name, value in values.items()}
    show_fields({name: cell(value) for name, value in values.items() if value is not None and value != ()})


def show_fields(values: dict[str, str]) -> None:
    """Prints a table of names and texts."""
    if is_terminal():
        print_fields(values)
    else:
        click.echo(tabbed(values.items()))


def tabbed(rows: Iterable[Iterable[str]]) -> str:
    """Returns a table for a pipe or a file: a line per row, its cells separated by tabs."""
    return "\n".join(map("\t".join, rows))


def print_json(value: object) -> None:
    """Prints indented JSON in ASCII, which every encoding can represent."""
    click.echo(json.dumps(value, indent=2))


def is_terminal() -> bool:
    return sys.stdout.isatty()


def value_of(record: Any, name: str) -> object:
    """Returns a field, or one that is put together: a lead's name."""
    if name == "name":
        return _joined(record.first_name, record.last_name)
    return getattr(record, name)


def shown(record: Any, name: str, zone: Zone) -> str:
    """Returns a cell of a table on a terminal: the lead's name, else its id; times in the zone."""
    match name:
        case "when":
            return span(record.start_at, record.end_at, zone, dash())
        case "updated":
            return clock(record.updated_at, zone) if record.updated_at else ""
        case "lead":
            return cell(lead_name(record) or record.lead_id)
        case _:
            return cell(value_of(record, name))


def lead_name(record: Any) -> str:
    """Returns the name of the lead that a task or an entry is about, empty if it is not known."""
    name: str | None = getattr(record, "lead_name", None)
    return name or _joined(getattr(record, "lead_first_name", None), getattr(record, "lead_last_name", None))


def _joined(*names: str | None) -> str:
    return " ".join(name for name in names if name)


def cell(value: object) -> str:
    """Returns one value for people, its control characters replaced by blanks."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case Model():
            named = {name: cell(part) for name, part in _parts(value).items()}
            return ", ".join(f"{name} {text}" for name, text in named.items() if text)
        case tuple():
            parts = cast("tuple[object, ...]", value)
            return ("; " if any(isinstance(part, Model) for part in parts) else ", ").join(map(cell, parts))
        case _:
            return one_line(value.name.lower() if isinstance(value, IntEnum) else str(value))


def _parts(record: Model) -> dict[str, object]:
    return {one.name: getattr(record, one.name) for one in fields(cast("Any", type(record)))}


def one_line(text: str) -> str:
    """Returns the text with blanks in place of control characters and line breaks."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def csv_text(records: Sequence[Any], layout: Layout, output: OutputOptions) -> str:
    """Returns a line of field names and one per record, each with all fields; nested ones as JSON."""
    names = [one.name for one in fields(layout.model)] if layout.model else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        plain = _plain(record, output)
        writer.writerow([csv_cell(plain[name]) for name in names])
    return text.getvalue().removesuffix("\n")


def csv_cell(value: object) -> str:
    """Returns a value of JSON for a spreadsheet: on one line, and never a formula.

    Anybody may fill in a lead's name: a text that begins like a formula has an apostrophe in front, unless it has but
    digits, as phone numbers do.
    """
    match value:
        case None:
            return ""
        case str():
            text = one_line(value)
            is_formula = text.lstrip().startswith(FORMULA) and not PHONE.fullmatch(text)
            return f"'{text}" if is_formula else text
        case _:
            return json.dumps(value, ensure_ascii=False)


def write(text: str | bytes | None, path: Path | None) -> None:
    """Writes the text, `None` for nothing at all, to the file, or to standard output if none is named.

    Raises: click.ClickException if the file cannot be written.
    """
    if path is None or path == STDOUT:
        if text is not None:
            click.echo(text, nl=isinstance(text, str))
        return
    data = text if isinstance(text, bytes) else f"{text}\n".encode(errors="replace") if text is not None else b""
    try:
        _replace(path, data)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror or error}; choose another file") from error


def _replace(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; a new one for its owner alone. What is no regular file is written in place."""
    path = Path(os.path.realpath(path))
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG | 0o600
    if not stat.S_ISREG(mode):
        path.write_bytes(data)
        return
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(data)
            file.close()
            partial.chmod(stat.S_IMODE(mode))
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


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


def _plain(record: Any, output: OutputOptions) -> dict[str, Any]:
    return unstructure(record, ids_as_strings=output.string_ids)
