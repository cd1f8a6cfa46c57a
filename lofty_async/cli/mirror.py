"""The database of a mirror as commands name it, and the commands that read one: its changes and its state."""

import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
from attrs import asdict

from lofty_async._convert import unstructure

from .options import POSTGRES, OutputPath, Whole, examples, string_ids_option

if TYPE_CHECKING:
    from lofty_async.mirror import Change, Database, PostgresDatabase, Run, SqliteDatabase

DEFAULT_DB: Final = Path("tasks.sqlite")
DEFAULT_ACCOUNT: Final = "default"
EXTRAS: Final = ("psycopg", "procrastinate", "croniter")
RUNS_SHOWN: Final = 5


class DatabaseParam(OutputPath):
    """The path of a file, or the address of a PostgreSQL database, which stays a string."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).startswith(POSTGRES) else super().convert(value, param, ctx)


DATABASE: Final = DatabaseParam()

account_option = click.option(
    "--account",
    metavar="NAME",
    help=f"The mirror's name in PostgreSQL, where many accounts share a database. Default: {DEFAULT_ACCOUNT}.",
)
db_option = click.option(
    "--db", type=DATABASE, default=DEFAULT_DB, show_default=True, metavar="FILE|URL", help="Database of a sync."
)


@click.command(epilog=examples("lofty-async changes --since 1200", "lofty-async changes --follow --json"))
@db_option
@account_option
@click.option("--since", type=Whole(0), metavar="N", help="Changes after this; all that are kept without it.")
@click.option("--follow", is_flag=True, help="Go on with the changes to come.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the task before and after.")
@string_ids_option
def changes(
    *, db: Path | str, account: str | None, since: int | None, follow: bool, as_json: bool, string_ids: bool
) -> None:
    """List the changes of tasks that syncs have found, oldest first.

    Each has a number; --since N continues after that number, and fails if changes after it were removed. A line has
    the number, the time of the sync's write, the kind (created, updated, finished, reopened, moved, deleted), the
    task, its lead and its content, separated by tabs.
    """
    name = account_in(db, account)

    async def work() -> None:
        from lofty_async.mirror import read_changes

        async with opened(db, name) as database:
            if not follow:
                await _refuse_new(database, db, name)
            async for change in read_changes(database, since, follow=follow):
                text = json.dumps(change_object(change, string_ids=string_ids)) if as_json else change_line(change)
                click.echo(text)

    run_on(db, work)


@click.command(epilog=examples("lofty-async status", "lofty-async status --db tasks.sqlite --json"))
@db_option
@account_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs.")
def status(*, db: Path | str, account: str | None, as_json: bool) -> None:
    """Show the tasks of a sync's database, and its last runs.

    Rows that reading their lead has confirmed are counted; so are tasks that the lists do not show.
    """
    name = account_in(db, account)

    async def work() -> None:
        async with opened(db, name) as database:
            await _refuse_new(database, db, name)
            text = await (_status_json(database) if as_json else _status_text(database, label_of(db, name)))
        click.echo(text)

    run_on(db, work)


def change_object(change: "Change", *, string_ids: bool) -> dict[str, Any]:
    def plain(task: Any) -> Any:
        return None if task is None else unstructure(task, ids_as_strings=string_ids)

    return {
        "seq": change.seq,
        "at": change.at.isoformat(),
        "kind": change.kind.value,
        "task": plain(change.task),
        "before": plain(change.before),
    }


def change_line(change: "Change") -> str:
    """Returns a change for people: a line of cells separated by tabs."""
    from .output import cell

    task = change.task or change.before
    cells = (change.seq, f"{change.at:%Y-%m-%d %H:%M:%S}", change.kind.value)
    of_task = () if task is None else (task.id, task.lead_id, task.content)
    return "\t".join(cell(value) for value in (*cells, *of_task))


def run_line(run: "Run") -> str:
    head = f"run {run.number}, {run.started_at:%Y-%m-%d %H:%M} UTC, {run.strategy or 'no strategy yet'}"
    if run.report is None:
        state = "interrupted" if run.ended_at is not None or run.process is None else f"{run.phase.value}, unfinished"
        return f"{head}: {state}"
    report = run.report
    changed = changed_rows(report["added"], report["changed"], report["removed"])
    since = "resumed, and since then " if run.is_resumed else ""
    failed = f", {count(report['failed'], 'lead')} failed" if report["failed"] else ""
    return f"{head}: {since}{changed}{failed}, {count(report['requests'], 'request')}"


async def _status_text(database: "Database", label: str) -> str:
    from lofty_async.mirror.lists import Lists

    summary, hidden = await database.summary(), await Lists(database).hidden()
    oldest = "" if summary.oldest_proof is None else f", the oldest at {summary.oldest_proof:%Y-%m-%d %H:%M} UTC"
    lines = (
        f"{label}: {count(summary.tasks, 'task')} of {count(summary.leads, 'lead')}",
        f"{summary.proven:,} confirmed by reading their lead{oldest}",
        *(f"not in the lists: {line}" for line in hidden),
        *map(run_line, await database.runs(RUNS_SHOWN)),
    )
    return "\n".join(lines)


async def _status_json(database: "Database") -> str:
    runs = [asdict(run) for run in await database.runs()]
    return json.dumps(asdict(await database.summary()) | {"runs": runs}, default=datetime.isoformat)


@asynccontextmanager
async def opened(db: Path | str, account: str) -> "AsyncGenerator[SqliteDatabase | PostgresDatabase, None]":
    """Yields the database.

    Raises: StartupError if it cannot be opened.
    """
    from lofty_async.mirror import PostgresDatabase, SqliteDatabase

    from .run import StartupError

    async with AsyncExitStack() as stack:
        with database_errors(StartupError, db):
            database = SqliteDatabase(db) if isinstance(db, Path) else PostgresDatabase(db, account=account)
            await stack.enter_async_context(database)
        yield database


def run_on(db: Path | str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs work on a database; an error of it is one line. A file that is not there is not made.

    Raises: click.ClickException.
    """
    from .run import StartupError, run

    if isinstance(db, Path) and not db.exists():
        raise StartupError(f"{db} does not exist: lofty-async sync --db {db} makes it")
    with database_errors(click.ClickException):
        run(work)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def changed_rows(added: int, changed: int, removed: int, *, is_complete: bool = True) -> str:
    """Returns what a run has done to the rows, for people."""
    if is_complete and not (added or changed or removed):
        return "nothing changed"
    return f"{added:,} added, {changed:,} changed, {removed:,} removed"


def label_of(db: Path | str, account: str) -> str:
    """Returns the mirror's name for people, without credentials."""
    if isinstance(db, Path):
        return str(db)
    parts = urlsplit(db)
    return f"{parts.hostname or 'PostgreSQL'}{parts.path}, account {account}"


def account_in(db: Path | str | None, account: str | None) -> str:
    """Returns the name of a mirror in its database.

    Raises: click.UsageError if a file is to hold an account of some name.
    """
    if account is not None and not isinstance(db, str):
        raise click.UsageError("--account is for --db postgresql://…; a file holds one account: use a file for each")
    return DEFAULT_ACCOUNT if account is None else account


async def _refuse_new(database: "Database", db: Path | str, account: str) -> None:
    """Raises: StartupError if no sync of the account has begun, as where its name is wrong."""
    from .run import StartupError

    if not await database.runs(1) and not (await database.summary()).last_change:
        raise StartupError(f"{label_of(db, account)}: no sync has begun; lofty-async sync or worker begins one")


@contextmanager
def database_errors(kind: type[click.ClickException], db: Path | str | None = None) -> Generator[None, None, None]:
    """Replaces the error of a file or of a database that cannot be read or written by one line.

    The line names the file `db`, unless the error does; the address of a server is in the error.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # click ends without output if the reader has closed the pipe
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise kind(str(error)) from error
    except Exception as error:
        if not _is_of_database(error):
            raise
        text = " ".join(str(error).split())
        has_name = not isinstance(db, Path) or str(db) in text
        raise kind(text if has_name else f"{db}: {text}") from error


def _is_of_database(error: Exception) -> bool:
    # Whoever has not loaded a library raises none of its errors.
    kinds = [library.Error for name in ("sqlite3", "psycopg") if (library := sys.modules.get(name)) is not None]
    return isinstance(error, (OSError, *kinds))
