"""The command that copies tasks into a database or a file: its arguments and its run."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from os.path import realpath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import click
from attrs import asdict

from lofty_async.errors import AuthenticationError, LoftyError

from .mirror import DATABASE, DEFAULT_ACCOUNT, DEFAULT_DB, account_in, account_option, database_errors, opened
from .options import (
    LEAD_ID,
    STDOUT,
    Number,
    OutputPath,
    ServerOptions,
    Whole,
    examples,
    parse_id,
    server_or_sandbox_options,
    string_ids_option,
)
from .times import MAX_SHOWN

if TYPE_CHECKING:
    from lofty_async.client import LoftyClient
    from lofty_async.mirror import Mirror, SyncReport, TaskExport, TaskSink

LINES: Final = click.File(encoding="utf-8-sig")
STRATEGIES: Final = ("auto", "lists", "leads")
MAX_KEEP_DAYS: Final = 36_500
IN_MEMORY: Final = Path(":memory:")
"""SQLite's name for a database that is in no file."""


class SyncOptions(NamedTuple):
    """The leads to read, and the places to write to; `jsonl` may be `STDOUT`."""

    db: Path | str | None
    jsonl: Path | None
    lead_ids: list[int] | None = None
    concurrency: int = 32
    strategy: str = "auto"
    fresh: bool = False
    allow_mass_delete: bool = False
    allow_new_server: bool = False
    keep_days: float | None = None
    string_ids: bool = False
    as_json: bool = False
    account: str = DEFAULT_ACCOUNT


@click.command(
    epilog=examples(
        "lofty-async sync --db tasks.sqlite",
        "lofty-async sync --db tasks.sqlite --plan",
        "lofty-async sync --jsonl - | jq -r .content",
    )
)
@click.option(
    "--db", type=DATABASE, metavar="FILE|URL", help="SQLite file, or postgresql://…; tasks.sqlite without --jsonl."
)
@account_option
@click.option(
    "--jsonl", type=OutputPath(), metavar="FILE", help="Text file, one JSON object a line; - for standard output."
)
@click.option("--lead", "leads", type=LEAD_ID, multiple=True, metavar="ID", help="Only this lead; repeatable.")
@click.option("--leads-file", type=LINES, metavar="FILE", help="Only leads listed here, one id a line.")
@click.option("--concurrency", type=Whole(1), default=32, show_default=True, help="Leads at a time.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="auto",
    show_default=True,
    help="Sweep the lists and read the leads in question, or read every lead.",
)
@click.option("--fresh", is_flag=True, help="Start over, also after an interrupted run.")
@click.option("--allow-mass-delete", is_flag=True, help="Delete tasks even if very many are gone at once.")
@click.option("--allow-new-server", is_flag=True, help="Go on with a database of this account from another server.")
@click.option(
    "--keep-changes",
    "keep_days",
    type=Number(0, MAX_KEEP_DAYS),
    metavar="DAYS",
    help="Remove changes that were found longer ago; all are kept without it.",
)
@string_ids_option
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object for programs.")
@click.option("--plan", is_flag=True, help="Say what a sync would take, and end; a missing file is not made.")
@click.option("--watch", type=Number(0, min_open=True), metavar="SECONDS", help="Sync again and again.")
@server_or_sandbox_options
def sync(*, server: ServerOptions, plan: bool, watch: float | None, **values: Any) -> None:
    """Copy the tasks of leads into a database or a text file.

    The SQLite file's table `tasks` is made equal to the API: another run adds no duplicates and removes deleted tasks.
    Rows of leads that fail, or that are not read, stay; failed leads are named, and the exit code is then 1. An
    interrupted run keeps what it has read, and the next one goes on from there within six hours, unless --fresh.

    Strategy lists takes far fewer requests: the first run stores what the lists show, usable at once, and then reads
    every lead once; later runs read only the leads in question. --plan says what each strategy takes.

    A database belongs to the account that its first sync was about: another account is refused, and so is the same
    account on another server, unless --allow-new-server.

    A database in PostgreSQL holds the same tables for many accounts, in the schema lofty. A password belongs in
    PGPASSWORD or ~/.pgpass, as others see the command line.

    Times in SQLite are UTC, such as 2026-03-01 23:00:00, and compare as text: WHERE end_at < datetime('now').

    The text file is written to FILE.partial and renamed to FILE at the end, unless all leads failed. On standard output
    (-) tasks appear as they are read, and the report goes to standard error. New files are readable by their owner
    alone.
    """
    from .run import run

    options = _sync_options(**values)
    _check(options, plan=plan, watch=watch)
    if plan:
        _print_plan(options, server)
    elif run(lambda: _sync(options, server, watch)).failed:
        raise click.exceptions.Exit(1)


def _sync_options(
    *,
    db: Path | str | None,
    jsonl: Path | None,
    leads: tuple[int, ...],
    leads_file: IO[str] | None,
    account: str | None,
    **values: Any,
) -> SyncOptions:
    db = db if db or jsonl else DEFAULT_DB
    name = account_in(db, account)
    return SyncOptions(db=db, jsonl=jsonl, lead_ids=chosen_leads(leads, leads_file), account=name, **values)


def _check(options: SyncOptions, *, plan: bool, watch: float | None) -> None:
    """Raises: click.UsageError if options exclude each other."""
    db, jsonl = options.db, options.jsonl
    if db == STDOUT:
        raise click.UsageError("--db needs a file; --jsonl - writes to standard output")
    is_of_database = (
        options.fresh or options.allow_mass_delete or options.allow_new_server or options.keep_days is not None
    )
    if db is None and (plan or is_of_database):
        raise click.UsageError(
            "--plan, --fresh, --allow-mass-delete, --allow-new-server and --keep-changes need --db;"
            " --jsonl is written anew by every run"
        )
    if options.strategy == "lists" and (jsonl is not None or options.lead_ids is not None):
        raise click.UsageError("--strategy lists is for all leads and --db; --jsonl and --lead are read lead by lead")
    if watch is not None and jsonl is not None:
        raise click.UsageError("--watch keeps a database; --jsonl is written anew by every run")
    if isinstance(db, Path) and jsonl is not None and jsonl != STDOUT and is_same_file(db, jsonl):
        raise click.UsageError("--db and --jsonl name the same file")


def chosen_leads(leads: tuple[int, ...], file: Iterable[str] | None) -> list[int] | None:
    """Returns the ids of the leads to read, or `None` for all leads.

    Raises: click.UsageError if both ways are used, a line has no lead id, or the file has none at all.
    """
    if leads and file is not None:
        raise click.UsageError("--lead and --leads-file exclude each other")
    if file is None:
        return list(leads) or None
    try:
        ids = [
            _lead_id(text, number) for number, line in enumerate(file, 1) if (text := line.partition("#")[0].strip())
        ]
    except UnicodeDecodeError as error:
        raise click.UsageError("--leads-file must be UTF-8 text") from error
    if not ids:
        raise click.UsageError("--leads-file lists no lead id")
    return ids


def _lead_id(text: str, number: int) -> int:
    lead_id = parse_id(text)
    if lead_id is None:
        raise click.UsageError(f"--leads-file, line {number} must be a lead id, not {text[:MAX_SHOWN]!r}")
    return lead_id


def is_same_file(db: Path, jsonl: Path) -> bool:
    """Whether both are one file, by whatever names; the text file's partial file counts too."""
    target = Path(realpath(jsonl))
    return any(_is_same(db, path) for path in (target, target.with_name(f"{target.name}.partial")))


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them does not exist yet
        return one.samefile(other)
    return realpath(one) == realpath(other)


def _print_plan(options: SyncOptions, server: ServerOptions) -> None:
    """Prints the plan; a file that is not there, or empty, is an empty mirror and stays as it is."""
    from .run import run
    from .sync_report import plan_lines

    is_new = isinstance(options.db, Path) and not (options.db.exists() and options.db.stat().st_size)
    planned = options._replace(db=IN_MEMORY) if is_new else options

    async def work() -> None:
        async with _mirror(planned, server) as (mirror, _):
            with database_errors(click.ClickException):
                plan = await mirror.plan()
        click.echo(json.dumps(asdict(plan)) if options.as_json else "\n".join(plan_lines(plan)))

    run(work)


async def _sync(options: SyncOptions, server: ServerOptions, watch: float | None) -> "SyncReport":
    from lofty_async.mirror import TaskExport

    from .client import connected

    with database_errors(click.ClickException):  # closing a file may fail too
        async with AsyncExitStack() as stack:
            if options.db is None:
                client = await stack.enter_async_context(connected(server))
                sink = await _open_lines(options, stack)
                export = TaskExport(client, sink, options.lead_ids, concurrency=options.concurrency)
                async with _reported(export, client, options):
                    return await export.run()
            mirror, client = await stack.enter_async_context(_mirror(options, server))
            lines = None if options.jsonl is None else await _open_lines(options, stack)
            report = await _sync_once(mirror, client, options, lines)
            while watch is not None:
                await asyncio.sleep(watch)
                report = await _sync_again(mirror, client, options)
            return report


async def _sync_once(
    mirror: "Mirror", client: "LoftyClient", options: SyncOptions, export: "TaskSink | None" = None
) -> "SyncReport":
    async with _reported(mirror, client, options):
        return await mirror.sync(
            options.lead_ids,
            strategy=options.strategy,
            allow_mass_delete=options.allow_mass_delete,
            allow_new_server=options.allow_new_server,
            fresh=options.fresh,
            concurrency=options.concurrency,
            export=export,
        )


async def _sync_again(mirror: "Mirror", client: "LoftyClient", options: SyncOptions) -> "SyncReport":
    """Syncs; an outage, or another sync, is reported and ends nothing."""
    from lofty_async.mirror import OtherAccountError, SuspiciousDeletionError

    from .output import print_note

    try:
        with database_errors(click.ClickException):
            return await _sync_once(mirror, client, options)
    except AuthenticationError:
        raise
    except (LoftyError, click.ClickException) as error:
        if isinstance(error.__cause__, (OtherAccountError, SuspiciousDeletionError)):
            raise
        print_note(error.message if isinstance(error, click.ClickException) else str(error))
        return mirror.report


@asynccontextmanager
async def _reported(
    sync: "Mirror | TaskExport", client: "LoftyClient", options: SyncOptions
) -> AsyncGenerator[None, None]:
    """Shows the progress inside the context, and prints the report at its end, even if the run is interrupted."""
    from lofty_async.mirror import OtherAccountError, SuspiciousDeletionError, SyncRunningError

    from .run import StartupError
    from .sync_report import print_report, progress_bar

    has_begun = True
    try:
        async with progress_bar(sync, client):
            yield
    except (OtherAccountError, SyncRunningError) as error:
        has_begun = False
        raise StartupError(str(error).replace("pass allow_new_server=True", "pass --allow-new-server")) from error
    except SuspiciousDeletionError as error:
        text = str(error).replace("allow_mass_delete=True", "--allow-mass-delete")
        raise click.ClickException(text) from error
    finally:
        # An error that came before the first request is all there is to say.
        if has_begun and (options.as_json or sync.report.requests):
            print_report(sync.report, options)


@asynccontextmanager
async def _mirror(options: SyncOptions, server: ServerOptions) -> "AsyncGenerator[tuple[Mirror, LoftyClient], None]":
    from lofty_async.mirror import Mirror

    from .client import connected

    keep = None if options.keep_days is None else timedelta(days=options.keep_days)
    async with connected(server) as client, opened(options.db or DEFAULT_DB, options.account) as database:
        yield Mirror(client, database, keep_changes=keep), client


async def _open_lines(options: SyncOptions, stack: AsyncExitStack) -> "TaskSink":
    from lofty_async.mirror import JsonLines, JsonLinesOutput

    from .run import StartupError

    if options.jsonl is None or options.jsonl == STDOUT:
        return JsonLinesOutput(string_ids=options.string_ids)
    with database_errors(StartupError, options.jsonl):
        return await stack.enter_async_context(JsonLines(options.jsonl, string_ids=options.string_ids))
