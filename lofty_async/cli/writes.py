"""The commands that change records, which tasks and the calendar share: update, finish, unfinish and delete.

Beside them stands what every command that writes does: it asks before it deletes, makes one call per id, and prints
the id of what it has created.
"""

import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

import click

from lofty_async.client import LoftyClient
from lofty_async.errors import APIError

from .options import (
    OutputOptions,
    ServerOptions,
    adding,
    examples,
    given,
    server_or_sandbox_options,
    time_zone_option,
)
from .times import parse_end, parse_start, zone_named

Change = Callable[[LoftyClient, Any], Awaitable[None]]

MANY: Final = 3
"""Ids that a question shows; of more it shows the number."""


class Records(NamedTuple):
    """The records of a group of commands: what they are called, whose methods change them, and the form of an id."""

    noun: str
    plural: str
    resource: Callable[[LoftyClient], Any]
    id_type: Any
    example: str


def add_update(group: click.Group, records: Records, *options: Callable[[Any], Any]) -> None:
    """Adds the command `update` with options for its fields, `start_at` and `end_at` among them."""
    command = f"lofty-async {group.name} update {records.example}"

    @group.command(
        "update",
        help=f"Change the given fields of one {records.noun} and leave the others alone.",
        epilog=examples(
            f"{command} --start 'tomorrow 16:00' --end 'tomorrow 17:00'",
            f"{command} --content 'Ring Ann about the viewing'",
        ),
    )
    @click.argument("id", type=records.id_type, metavar="ID")
    @adding(*options)
    @time_zone_option
    @server_or_sandbox_options
    def update(
        *,
        id: Any,
        start_at: str | None,
        end_at: str | None,
        time_zone: str | None,
        server: ServerOptions,
        **fields: Any,
    ) -> None:
        zone = zone_named(time_zone)
        times = given(start_at=parse_start(start_at, zone), end_at=parse_end(end_at, zone))
        values = given(**fields) | times
        if not values:
            *others, last = _options_of({*fields, "start_at", "end_at"})
            raise click.UsageError(f"nothing to update: pass {', '.join(others)} or {last}")
        values |= given(time_zone=zone.name if times else None)
        change_each(server, [id], lambda lofty, one: records.resource(lofty).update(one, **values), "updated")


def _options_of(fields: Collection[str]) -> list[str]:
    return [one.opts[0] for one in click.get_current_context().command.params if one.name in fields]


def add_finish(group: click.Group, records: Records, word: str, state: str) -> None:
    """Adds the command `finish` or `unfinish`."""

    @group.command(
        word,
        help=f"Mark {records.plural} as {state}.",
        epilog=examples(f"lofty-async {group.name} {word} {records.example}"),
    )
    @click.argument("ids", type=records.id_type, metavar="ID...", nargs=-1, required=True)
    @server_or_sandbox_options
    def finish(*, ids: tuple[Any, ...], server: ServerOptions) -> None:
        change_each(server, ids, lambda lofty, one: getattr(records.resource(lofty), word)(one), state)


def add_delete(group: click.Group, records: Records) -> None:
    """Adds the command `delete`."""
    command = f"lofty-async {group.name} delete"

    @group.command(
        "delete",
        help=f"Delete {records.plural}; on a terminal, asks first.",
        epilog=examples(f"{command} {records.example}", f"{command} --yes {records.example}"),
    )
    @click.argument("ids", type=records.id_type, metavar="ID...", nargs=-1, required=True)
    @click.option("--yes", "-y", is_flag=True, help="Do not ask; without a terminal nothing is asked.")
    @server_or_sandbox_options
    def delete(*, ids: tuple[Any, ...], yes: bool, server: ServerOptions) -> None:
        if not yes:
            confirm_deletion(ids, records)
        change_each(server, ids, lambda lofty, one: records.resource(lofty).delete(one), "deleted")


def change_each(server: ServerOptions, ids: Sequence[int | str], change: Change, done: str) -> None:
    """Changes the records one by one, and prints each that is done; ids that are refused are named on stderr.

    Raises: click.exceptions.Exit with 1 if the server refused an id; as `run` does for what concerns all of them.
    """
    from .client import connected
    from .output import print_note
    from .run import explained, is_startup_error, run

    async def work() -> int:
        refused = 0
        async with connected(server) as lofty:
            for one in ids:
                try:
                    await change(lofty, one)
                except APIError as error:
                    if is_startup_error(error):
                        raise
                    refused += 1
                    print_note(f"Error: {one}: {explained(error)}")
                else:
                    click.echo(f"{one} {done}")
        return refused

    if run(work):
        raise click.exceptions.Exit(1)


def confirm_deletion(ids: Sequence[int | str], records: Records) -> None:
    """Asks on a terminal; elsewhere nobody could answer, and the command means what it says.

    Raises: click.exceptions.Exit with 1 if the answer is no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    noun = records.noun if len(ids) == 1 else records.plural
    named = f"{noun} {', '.join(map(str, ids))}" if len(ids) <= MANY else f"{len(ids)} {noun}"
    if not click.confirm(f"Delete {named}?", err=True):
        click.echo("Nothing deleted.", err=True)
        raise click.exceptions.Exit(1)


def created(
    server: ServerOptions,
    output: OutputOptions,
    create: Callable[[LoftyClient], Awaitable[int | str]],
    look: str,
) -> None:
    """Creates a record, and prints its id; `look` is the command that shows it.

    Raises: AmbiguousError if the response is lost; as `run` does.
    """
    from .client import ask
    from .output import cell, print_json

    id = ask(server, create, look=look)
    if output.as_json:
        print_json({"id": str(id) if output.string_ids else id})
    else:
        click.echo(f"{cell(id)} created")
