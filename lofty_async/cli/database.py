"""The database of a mirror as commands name it: an SQLite file, or an account in PostgreSQL."""

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from .options import FilePath

if TYPE_CHECKING:
    from lofty_async.mirror import PostgresDatabase, SqliteDatabase

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_DB: Final = Path("tasks.sqlite")
DEFAULT_ACCOUNT: Final = "default"
EXTRAS: Final = ("psycopg", "procrastinate", "croniter")
SCHEMES: Final = ("postgresql://", "postgres://")


class DatabaseParam(FilePath):
    """The path of a file, or the address of a PostgreSQL database, which stays a string."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).startswith(SCHEMES) else super().convert(value, param, ctx)


DATABASE: Final = DatabaseParam()


def account_option(command: Command) -> Command:
    """Adds `--account`."""
    text = "The mirror's name in PostgreSQL, where many accounts share a database."
    return click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, metavar="NAME", help=text)(command)


def label_of(db: Path | str) -> str:
    """Returns the database's name for people, without credentials."""
    if isinstance(db, Path):
        return str(db)
    parts = urlsplit(db)
    return f"{parts.hostname or 'PostgreSQL'}{parts.path}"


def open_database(db: Path | str, account: str) -> "AbstractAsyncContextManager[SqliteDatabase | PostgresDatabase]":
    from lofty_async.mirror import PostgresDatabase, SqliteDatabase

    return SqliteDatabase(db) if isinstance(db, Path) else PostgresDatabase(db, account=account)


@contextmanager
def database_errors(kind: type[click.ClickException]) -> Generator[None, None, None]:
    """Replaces the error of a file or of a database that cannot be read or written by one line."""
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
        raise kind(" ".join(str(error).split())) from error


def _is_of_database(error: Exception) -> bool:
    import sqlite3
    import sys

    psycopg = sys.modules.get("psycopg")  # who has not loaded it raises none of its errors
    return isinstance(error, sqlite3.Error | OSError) or (psycopg is not None and isinstance(error, psycopg.Error))
