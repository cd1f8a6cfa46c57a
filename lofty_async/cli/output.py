"""Records as tables for people and as JSON for programs."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

from lofty_async.convert import unstructure

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
            return "".join(character if character.isprintable() else " " for character in str(value))


def _plain(record: Any, form: Form) -> dict[str, Any]:
    return unstructure(record, ids_as_strings=form.string_ids)
