"""The command that serves a sandbox; `python -m lofty_async.sandbox` runs it too."""

from typing import Any, Final

import click

from .options import HELP_NAMES, Number, Whole, examples

POSITIVE: Final = Whole(1)
NOT_NEGATIVE: Final = Whole(0)
# The values of the sandbox's enums, since importing it would make `--help` slow.
RESET_STYLES: Final = ("epoch_s", "epoch_ms", "ms_left", "s_left", "absent")
UNKNOWN_CURSORS: Final = ("continue", "restart", "empty", "error")
ENTRY_CLASSES: Final = ("finished", "appointments", "undated", "others", "unmanaged")
LIST_TOTALS: Final = ("exact", "missing", "zero", "too_small", "too_large")


@click.command(
    context_settings={"show_default": True, "help_option_names": HELP_NAMES},  # it also runs by itself
    epilog=examples("lofty-async sandbox", "lofty-async sandbox --port 0 --leads 20 --limit 100"),
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=Whole(0, 65535), default=8080, help="Port to listen on; 0 for any free port.")
@click.option("--leads", type=NOT_NEGATIVE, default=200, help="Number of leads.")
@click.option("--tasks-per-lead", type=NOT_NEGATIVE, default=5, help="Number of tasks of each lead.")
@click.option("--seed", type=int, default=0, help="Seed of the generated data.")
@click.option("--limit", type=POSITIVE, default=500, help="Requests per window.")
@click.option("--window", type=Number(0, min_open=True), default=60.0, help="Seconds of a window.")
@click.option("--reset-style", type=click.Choice(RESET_STYLES), default="epoch_s", help="Form of X-RateLimit-Reset.")
@click.option("--allow-http", is_flag=True, help="Allow http:// addresses for webhooks.")
@click.option("--latency", type=Number(0), default=0.0, help="Seconds before every answer.")
@click.option(
    "--my-tasks-hides",
    type=click.Choice(ENTRY_CLASSES),
    multiple=True,
    default=("unmanaged",),
    help="Entries that my-tasks leaves out; may be repeated.",
)
@click.option(
    "--calendar-hides",
    type=click.Choice(ENTRY_CLASSES),
    multiple=True,
    default=("unmanaged",),
    help="Entries that the calendar leaves out; may be repeated.",
)
@click.option("--ignores-user-id", is_flag=True, help="My-tasks shows the caller's own tasks whatever userId asks for.")
@click.option("--cursor-inclusive", is_flag=True, help="A page of my-tasks begins with the task of its cursor.")
@click.option(
    "--unknown-cursor",
    type=click.Choice(UNKNOWN_CURSORS),
    default="continue",
    help="Answer of my-tasks to a cursor that is no longer in the list.",
)
@click.option(
    "--list-totals",
    type=click.Choice(LIST_TOTALS),
    default="exact",
    help="Total that the lists of calendar and leads report.",
)
@click.option("--max-page-size", type=POSITIVE, help="Most records of a page, however many are requested.")
@click.option(
    "--hide-page-size",
    "reports_page_size",
    flag_value=False,
    default=True,
    show_default=False,
    help="Report the requested page size even if --max-page-size reduces it.",
)
@click.option(
    "--offset-limit",
    type=POSITIVE,
    help="Offset from which on lists answer OFFSET_EXCEED_LIMIT; scroll ids go beyond it.",
)
def sandbox(**options: Any) -> None:
    """Serve a sandbox: a Lofty server with generated data.

    Prints its address and its API key. SIGINT, SIGTERM and SIGHUP end it, with exit code 0.
    """
    import asyncio

    from lofty_async.sandbox import Sandbox

    from .run import StartupError, ended_by_signal, listen_errors, run

    try:
        server = Sandbox(**options)
    except ValueError as error:
        raise StartupError(str(error)) from error

    async def serve() -> None:
        with listen_errors(server.host, server.port):
            await server.start()
        try:
            click.echo(f"listening on {server.url}")
            click.echo(f"API key: {server.api_key}")
            with ended_by_signal():
                await asyncio.Event().wait()
        finally:
            await server.close()

    run(serve)
