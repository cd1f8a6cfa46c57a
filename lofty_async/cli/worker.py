"""The command that syncs many accounts, one of the workers of a fleet."""

import json
import logging
import os
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async.auth import ApiKey
from lofty_async.client import LoftyClient
from lofty_async.errors import InvalidRequestError

from .mirror import count, database_errors
from .options import POSTGRES, FilePath, ServerOptions, Whole, examples, server_options

if TYPE_CHECKING:
    from lofty_async.workers import AccountStatus

EVERY: Final = "*/15 * * * *"
SCHEMA: Final = "lofty_fleet"


@click.command(
    epilog=examples(
        "lofty-async worker --db postgresql://db/lofty --accounts accounts.toml",
        "lofty-async worker --db postgresql://db/lofty --accounts accounts.toml --every '0 * * * *'",
        "lofty-async worker --db postgresql://db/lofty --status",
    )
)
@click.option(
    "--db",
    required=True,
    type=hidden,
    metavar="URL",
    help="PostgreSQL database of the mirrors, postgresql://…; its password may be in PGPASSWORD.",
)
@click.option(
    "--accounts",
    "file",
    type=FilePath(),
    metavar="FILE",
    help="Names each account's variable: lines such as smith = 'LOFTY_KEY_SMITH', or JSON in FILE.json.",
)
@click.option(
    "--every", default=EVERY, show_default=True, metavar="CRON", help="Times at which accounts are due, in UTC."
)
@click.option("--concurrency", type=Whole(1), default=4, show_default=True, help="Accounts at a time.")
@click.option(
    "--schema", default=SCHEMA, show_default=True, metavar="NAME", help="Schema of the queue; another is another fleet."
)
@click.option("--status", is_flag=True, help="Print the state of each account, and end; needs no FILE.")
@click.option("--remove", metavar="NAME", help="Remove an account from the fleet, and end; its mirror stays.")
@server_options
def worker(
    *,
    db: str,
    file: Path | None,
    every: str,
    concurrency: int,
    schema: str,
    status: bool,
    remove: str | None,
    server: ServerOptions,
) -> None:
    """Keep the mirrors of many accounts in PostgreSQL.

    Any number of workers, on any machines, share the accounts of one database. Each makes the tables, adds the
    accounts of FILE and syncs those that are due, until SIGTERM or Ctrl-C. The keys stay in the environment, in the
    variables that FILE names. All workers need the keys of all accounts. A line on standard error says how each sync
    has ended. An account that is deleted from FILE stays in the fleet until --remove.

    The workers of a fleet share one rate limit through the same database, unless --store names another place.
    """
    from .run import StartupError, run

    if not db.startswith(POSTGRES):
        raise click.UsageError("--db must be the address of a PostgreSQL database: postgresql://…")
    work: Callable[[], Coroutine[Any, Any, str]]
    if status:
        work = partial(_status, db, schema)
    elif remove is not None:
        work = partial(_remove, db, schema, remove)
    elif file is not None:
        work = partial(_work, _keys(file, os.environ), db, schema, every=every, concurrency=concurrency, server=server)
    else:
        raise click.UsageError("--accounts FILE names the accounts to sync; --status and --remove need none")
    with database_errors(StartupError):
        text = run(work)
    if text:
        click.echo(text)


async def _status(db: str, schema: str) -> str:
    from lofty_async.workers import Fleet

    found = await Fleet(db, _no_client, schema=schema).status()
    return "\n".join(line for one in found for line in status_lines(one)) or "no accounts"


async def _remove(db: str, schema: str, account: str) -> str:
    """Raises: StartupError if the fleet has no such account."""
    from lofty_async.workers import Fleet

    from .run import StartupError

    fleet = Fleet(db, _no_client, schema=schema)
    if account not in {one.account for one in await fleet.status()}:
        raise StartupError(f"the fleet has no account {account!r}; --status lists them")
    await fleet.remove(account)
    return f"{account} removed; its mirror stays"


async def _work(
    keys: Mapping[str, str], db: str, schema: str, *, every: str, concurrency: int, server: ServerOptions
) -> str:
    from lofty_async.workers import Fleet

    from .client import options_for
    from .run import leave_signals

    _log_to_stderr()
    async with options_for(_sharing(server, db, schema)) as options:

        def client_for(account: str) -> LoftyClient:
            return LoftyClient(ApiKey(_key(keys, account)), **options)

        fleet = Fleet(db, client_for, every=every, schema=schema)
        await fleet.setup()
        for account in keys:
            await fleet.add(account)
        leave_signals()  # a worker's own end it within 10 s, also if the database does not answer
        await fleet.run_worker(concurrency=concurrency)
    return ""


def status_lines(one: "AccountStatus") -> list[str]:
    """Returns the state of an account for people."""
    where = f" on {one.host}, process {one.process}, since {_time(one.began_at)}" if one.state == "running" else ""
    due = f", due at {_time(one.due_at)}" if one.state in {"waiting", "retrying"} else ""
    lines = [f"{one.account}: {one.state.value}{where}{due}"]
    if one.synced_at is not None:
        tasks = f"{one.tasks or 0:,} tasks, {one.unproven or 0:,} of them not confirmed by reading their lead"
        proof = "" if one.oldest_proof is None else f"; the oldest proof is of {_time(one.oldest_proof)}"
        lines.append(f"  synced at {_time(one.synced_at)}: {tasks}{proof}")
    if one.error is not None:
        remedy = f"run lofty-async sync --db URL --account {one.account} --allow-mass-delete"
        error = one.error.replace("pass allow_mass_delete=True", remedy)
        failures = f" ({count(one.failures, 'failure')} since it was due)" if one.failures else ""
        lines.append(f"  last error at {_time(one.ended_at)}{failures}: {error}")
    return lines


def _time(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _no_client(account: str) -> LoftyClient:
    raise AssertionError(account)  # only a worker asks for clients


def _sharing(server: ServerOptions, db: str, schema: str) -> ServerOptions:
    """Returns the options with the fleet's own database as the store, where none was named."""
    return server if server.store is not None else server._replace(store=db, app_id=server.app_id or schema)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("lofty_async.workers")
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    for name in ("procrastinate", "psycopg.pool"):  # the fleet logs what they log, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _key(keys: Mapping[str, str], account: str) -> str:
    if account not in keys:
        raise InvalidRequestError(
            "not in this worker's file of accounts: add it there, or stop its syncs with --remove"
        )
    return keys[account]


def _keys(file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the key of each account of a file.

    Raises: click.UsageError if the file cannot be read, holds something else, or names a variable that is not set.
    """
    variables = _read(file)
    if not isinstance(variables, dict) or not variables:
        raise _refused(file, "must name an account and its variable, such as smith = 'LOFTY_KEY_SMITH'")
    keys: dict[str, str] = {}
    for account, variable in cast("dict[str, Any]", variables).items():
        try:
            name = _checks.text(_checks.text("account", account), variable)
        except InvalidRequestError as error:
            raise _refused(file, f"{error}; use the name of the environment variable of its key") from None
        if not environ.get(name):
            raise _refused(file, f"account {account}: the environment variable {name} is not set")
        keys[account] = hidden(environ[name])
    return keys


def _read(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8-sig")
        return json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from None
    except ValueError as error:
        raise _refused(file, f"is not {'JSON' if file.suffix == '.json' else 'TOML'}: {error}") from None


def _refused(file: Path, message: str) -> click.UsageError:
    return click.UsageError(f"--accounts {file}: {message}")
