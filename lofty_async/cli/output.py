"""Records as tables for people and as JSON for programs."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from threading import Thread
from typing import Any, Final

import click

from lofty_async._convert import unstructure

from .options import Form
from .tables import Layout, print_table

FIELDS: Final = Layout(("field", "value"), folding="value")


def show_records(records: Sequence[Any], layout: Layout, form: Form) -> None:
    """Prints a JSON array of all fields, or a table of those that are laid out."""
    if form.as_json:
        print_json([_plain(record, form) for record in records])
    elif records:
        print_table(layout, [{name: cell(getattr(record, name)) for name in layout.columns} for record in records])
    else:
        click.echo("Nothing found.", err=True)


def show_record(record: Any, form: Form) -> None:
    """Prints a JSON object of all fields, or a table of those that are there."""
    plain = _plain(record, form)
    if form.as_json:
        print_json(plain)
    else:
        present = {name: getattr(record, name) for name in plain if getattr(record, name) is not None}
        print_table(FIELDS, [{"field": name, "value": cell(value)} for name, value in present.items()])


def print_json(value: object) -> None:
    """Prints indented ASCII, which no terminal's or pipe's encoding can spoil."""
    click.echo(json.dumps(value, indent=2))


def cell(value: object) -> str:
    """One value for people, without what would move a terminal's cursor or colour its text."""
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


async def print_in_thread(line: str) -> None:
    """Prints from a thread of its own, so that a pipe that nobody empties holds up neither the loop nor its end."""
    loop = asyncio.get_running_loop()
    printed: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if not printed.done():
            printed.set_result(None) if error is None else printed.set_exception(error)

    def work() -> None:
        error: OSError | None = None
        try:
            _write(f"{line}\n")
        except OSError as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error)

    # A daemon: whoever waits for a thread that is stuck in writing is stuck as well.
    Thread(target=work, daemon=True).start()
    await printed


def _write(text: str) -> None:
    stream = sys.stdout
    if stream is None:
        return
    # Below the buffer, whose lock Python takes at its end: it would abort on one that a stuck thread holds.
    raw = getattr(stream.buffer, "raw", stream.buffer)
    rest = text.replace("\n", os.linesep).encode(stream.encoding, stream.errors or "strict")
    while rest:
        rest = rest[raw.write(rest) or 0 :]


def _plain(record: Any, form: Form) -> dict[str, Any]:
    return unstructure(record, ids_as_strings=form.string_ids)
