"""Commands that change records: confirmation, one call per id, and what is printed."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import click

from lofty_async.client import LoftyClient
from lofty_async.errors import APIError

from .options import OutputOptions, ServerOptions
from .output import cell, print_json, print_note
from .run import connected, is_startup_error, run

Change = Callable[[LoftyClient, Any], Awaitable[None]]

MANY: Final = 3
"""Ids that a question shows; of more it shows the number."""


def change_each(server: ServerOptions, ids: Sequence[int | str], change: Change, done: str) -> None:
    """Changes the records one by one, and prints each that is done; ids that are refused are named on stderr.

    Raises: click.exceptions.Exit with 1 if the server refused an id; as `run` does for what concerns all of them.
    """

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
                    print_note(f"Error: {one}: {error}")
                else:
                    click.echo(f"{one} {done}")
        return refused

    if run(work):
        raise click.exceptions.Exit(1)


def confirm_deletion(ids: Sequence[int | str], noun: str, *, is_confirmed: bool) -> None:
    """Asks on a terminal; elsewhere nobody could answer, and the command means what it says.

    Raises: click.exceptions.Exit with 1 if the answer is no.
    """
    if is_confirmed or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    named = ", ".join(map(str, ids)) if len(ids) <= MANY else f"{len(ids)} of them"
    if not click.confirm(f"Delete {noun} {named}?", err=True):
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

    async def work() -> int | str:
        async with connected(server) as lofty:
            return await create(lofty)

    id = run(work, look=look)
    if output.as_json:
        print_json({"id": str(id) if output.string_ids else id})
    else:
        click.echo(f"{cell(id)} created")
