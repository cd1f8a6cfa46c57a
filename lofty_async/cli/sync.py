"""The command that copies tasks into a file: its arguments, its run and its report."""

import json
from collections.abc import Generator, Iterable
from contextlib import AsyncExitStack, contextmanager, suppress
from os.path import realpath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import click

from .options import (
    LEAD_ID,
    STDOUT,
    STDOUT_NAMES,
    FilePath,
    ServerOptions,
    examples,
    parse_id,
    server_or_sandbox_options,
)
from .times import MAX_SHOWN

if TYPE_CHECKING:
    from lofty_async.mirror import SyncReport, TaskSink, TaskSync

FILE: Final = FilePath()
LINES: Final = click.File(encoding="utf-8-sig")
DEFAULT_DB: Final = Path("tasks.sqlite")


class SyncOptions(NamedTuple):
    """What to read, and where to write it; `jsonl` may be `STDOUT`."""

    db: Path | None
    jsonl: Path | None
    lead_ids: list[int] | None = None
    concurrency: int = 32
    resume: bool = False
    string_ids: bool = False
    as_json: bool = False


@click.command(
    epilog=examples(
        "lofty-async sync --db tasks.sqlite",
        "lofty-async sync --db tasks.sqlite --resume",
        "lofty-async sync --jsonl - | jq -r .content",
    )
)
@click.option("--db", type=FILE, metavar="FILE", help="SQLite file; tasks.sqlite unless --jsonl is given.")
@click.option("--jsonl", type=FILE, metavar="FILE", help="Text file, one JSON object a line; - for standard output.")
@click.option("--lead", "leads", type=LEAD_ID, multiple=True, metavar="ID", help="Only this lead; repeatable.")
@click.option("--leads-file", type=LINES, metavar="FILE", help="Only leads listed here, one id a line.")
@click.option("--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Leads at a time.")
@click.option("--resume", is_flag=True, help="Skip leads that an unfinished run has read within 6 hours.")
@click.option("--string-ids", is_flag=True, help="Ids as strings in JSON, for JavaScript.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object for programs.")
@server_or_sandbox_options
@click.pass_context
def sync(
    context: click.Context,
    *,
    db: Path | None,
    jsonl: Path | None,
    leads: tuple[int, ...],
    leads_file: IO[str] | None,
    concurrency: int,
    server: ServerOptions,
    resume: bool,
    string_ids: bool,
    as_json: bool,
) -> None:
    """Copy the tasks of all leads, or of some, into a file.

    The SQLite file's table `tasks` is made equal to the API: another run adds no duplicates and removes deleted tasks.
    Rows of leads that fail, or that are not read, stay; failed leads are named, and the exit code is then 1. An
    interrupted run keeps what it has read, and --resume continues it; after a complete run, --resume reads the leads
    that failed.

    Times in the table are UTC, such as 2026-03-01 23:00:00, and compare as text: WHERE end_at < datetime('now').

    The text file is written to FILE.partial and renamed to FILE at the end, unless all leads failed. On standard output
    (-) tasks appear as they are read, and the report goes to standard error. New files are readable by their owner
    alone.
    """
    jsonl = STDOUT if str(jsonl) in STDOUT_NAMES else jsonl
    if db is not None and str(db) in STDOUT_NAMES:
        raise click.UsageError("--db needs a file; --jsonl - writes to standard output")
    if resume and jsonl is not None:
        raise click.UsageError("--resume continues an SQLite file; --jsonl is written anew by every run")
    if db is not None and jsonl is not None and jsonl != STDOUT and is_same_file(db, jsonl):
        raise click.UsageError("--db and --jsonl name the same file")
    options = SyncOptions(
        db=db if db or jsonl else DEFAULT_DB,
        jsonl=jsonl,
        lead_ids=chosen_leads(leads, leads_file),
        concurrency=concurrency,
        resume=resume,
        string_ids=string_ids,
        as_json=as_json,
    )
    context.exit(_run(options, server))


def chosen_leads(leads: tuple[int, ...], file: Iterable[str] | None) -> list[int] | None:
    """Returns the ids of the leads to read, or `None` for all leads.

    Raises: click.UsageError if both ways are used; click.BadParameter that names a line without a lead id, or if the
    file has no id at all.
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
        raise click.BadParameter("the file must be UTF-8 text", param_hint="--leads-file") from error
    if not ids:
        raise click.BadParameter("the file lists no lead id", param_hint="--leads-file")
    return ids


def _lead_id(text: str, number: int) -> int:
    lead_id = parse_id(text)
    if lead_id is None:
        message = f"line {number} must be a lead id, not {text[:MAX_SHOWN]!r}"
        raise click.BadParameter(message, param_hint="--leads-file")
    return lead_id


def is_same_file(db: Path, jsonl: Path) -> bool:
    """Whether both are one file, by whatever names; the text file's partial file counts too."""
    target = Path(realpath(jsonl))
    return any(_is_same(db, path) for path in (target, target.with_name(f"{target.name}.partial")))


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them does not exist yet
        return one.samefile(other)
    return realpath(one) == realpath(other)


def _run(options: SyncOptions, server: ServerOptions) -> int:
    """Syncs, and prints the report even if the run is interrupted; returns the exit code."""
    from .run import run

    syncs: list[TaskSync] = []
    try:
        return 1 if run(lambda: _sync(options, server, syncs)).failed else 0
    finally:
        for sync in syncs:
            print_report(sync.report, options)


async def _sync(options: SyncOptions, server: ServerOptions, syncs: "list[TaskSync]") -> "SyncReport":
    from lofty_async.mirror import TaskSync

    from .progress import progress_bar
    from .run import connected

    with _file_errors(click.ClickException):  # closing a file may fail too
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connected(server))
            sink = await _open(options, stack)
            sync = TaskSync(client, sink, options.lead_ids, concurrency=options.concurrency, resume=options.resume)
            syncs.append(sync)
            async with progress_bar(sync, client):
                return await sync.run()


async def _open(options: SyncOptions, stack: AsyncExitStack) -> "TaskSink":
    from lofty_async.mirror import JsonLines, JsonLinesOutput, TaskStore, Tee

    from .run import StartupError

    sinks: list[TaskSink] = []
    with _file_errors(StartupError):
        if options.db is not None:
            sinks.append(await stack.enter_async_context(TaskStore(options.db)))
        if options.jsonl == STDOUT:
            sinks.append(JsonLinesOutput(string_ids=options.string_ids))
        elif options.jsonl is not None:
            lines = JsonLines(options.jsonl, string_ids=options.string_ids)
            sinks.append(await stack.enter_async_context(lines))
    return Tee(tuple(sinks))


@contextmanager
def _file_errors(kind: type[click.ClickException]) -> Generator[None, None, None]:
    """Replaces the error of a file that cannot be read or written by one line."""
    import sqlite3

    try:
        yield
    except BrokenPipeError:
        raise  # click ends without output if the reader has closed the pipe
    except (sqlite3.Error, OSError) as error:
        raise kind(str(error)) from error


def print_report(report: "SyncReport", options: SyncOptions) -> None:
    """Prints the failed leads on stderr, and one line of JSON or a few of text.

    These go to stderr too if standard output receives the tasks.
    """
    from .output import print_note

    for failure in report.failed:
        print_note(f"lead {failure.lead_id}: {failure.error}")
    if options.as_json:
        text = json.dumps(report_object(report, string_ids=options.string_ids))
    else:
        text = "\n".join(report_lines(report, options))
    if options.jsonl == STDOUT:
        print_note(text)
    else:
        click.echo(text)


def report_object(report: "SyncReport", *, string_ids: bool) -> dict[str, Any]:
    """Returns the report for programs: `failed` is a count, `failures` names the leads."""
    from attrs import asdict

    plain = asdict(report)
    del plain["total"]
    failures = [
        failure | {"lead_id": str(failure["lead_id"])} if string_ids else failure for failure in plain.pop("failed")
    ]
    return plain | {"failed": len(report.failed), "failures": failures}


def report_lines(report: "SyncReport", options: SyncOptions) -> list[str]:
    """Returns the report for people: what was read, what was written, what it took."""
    lines = [_read_line(report)]
    if options.db is not None:
        changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed"
        hint = "; go on with --resume" if not report.complete and _has_read(report) else ""
        lines.append(f"{options.db}: {changes}{hint}")
    if options.jsonl is not None:
        lines.append(_jsonl_line(report, options.jsonl))
    # Calls wait concurrently, so their waits add up to more than the run's time.
    waited = f", {report.waited_s:,.1f} s of them waiting for the rate limit" if report.waited_s else ""
    requests = f"{_count(report.requests, 'request')}, {report.rate_limited:,} rate limited"
    return [*lines, f"{requests}, {report.seconds:,.1f} s{waited}"]


def _read_line(report: "SyncReport") -> str:
    failed = f", {len(report.failed):,} failed" if report.failed else ""
    skipped = f", {report.skipped:,} skipped as done before" if report.skipped else ""
    head = "" if report.complete else "Cut short: "
    return f"{head}{_count(report.leads, 'lead')}, {_count(report.tasks, 'task')}{failed}{skipped}"


def _jsonl_line(report: "SyncReport", path: Path) -> str:
    from lofty_async.mirror import JsonLines

    if path == STDOUT:
        return f"standard output: {_count(report.tasks, 'line')}"
    if not report.complete:
        return f"{JsonLines(path).partial}: {_count(report.tasks, 'line')}"
    if report.failed and not _has_read(report):
        return f"{path}: left as it was"
    kept = ", besides those it had of the leads that failed" if report.failed else ""
    return f"{path}: {_count(report.tasks, 'line')} written{kept}"


def _has_read(report: "SyncReport") -> bool:
    """Whether the run, or the one that it resumed, has read a lead."""
    return report.leads + report.skipped > len(report.failed) or report.tasks > 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
