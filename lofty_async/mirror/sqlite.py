"""The mirror's database in an SQLite file, which one thread of its own talks to."""

import json
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Final, TypeVar

from .columns import utc_text
from .database import Database
from .dialects import SQLITE
from .schema import VERSION, prepare, refusal
from .sinks import ThreadedSink
from .statements import NOW, Row, Statement, Work, drive

T = TypeVar("T")

ACCOUNT: Final = "default"
"""The account of every file: one file mirrors one."""
LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process that is writing to the same file."""
IN_MEMORY: Final = ":memory:"
OWNER_ONLY: Final = 0o600
REQUIRED: Final = {"tasks": {"id", "lead_id"}, "changes": {"seq"}, "leads": {"lead_id"}, "runs": {"number"}}
"""The tables that a user's own program might have under the same name, and columns of ours."""
OLD_FORM: Final = {"tasks": {"id", "lead_id"}, "sync": {"lead_id", "synced_at"}}
REMEDY: Final = "delete the file and sync again, or name another file"


def utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteDatabase(ThreadedSink, Database):
    """The mirror of one account in an SQLite file.

    Table `tasks` has a row per task and a column per field of `Task`. Besides, `proven_at` is the time at which reading
    its lead confirmed the row as it stands, NULL for one that only a list has shown, and `shown_in` says which lists
    showed it in the last sweep: 0 none, 1 my-tasks, 2 the calendar, 3 both; a row that is newer has 4. Table `leads`
    has in `proven_at` when each lead was last read, which confirmed all its rows. Table `changes` has every change of a
    task, as JSON before and after; table `runs` the runs, and `sources` the server and the account. The other tables
    are the running sync's own.

    Times are text in UTC, as SQLite's own functions write it: `2026-03-01 23:00:00`, with milliseconds or
    microseconds only if there are any. So they sort as they are and compare with each other, with `datetime('now')`
    and with literals of that form: `WHERE end_at < '2026-03-08 06:30:00'`. Columns that hold none are NULL.

    Use it as `async with SqliteDatabase(path) as database`: one thread of its own talks to SQLite, so that the event
    loop never waits for a disk. A new file can be read by its owner alone; an existing one keeps its permissions.
    `now` is the clock, UTC.

    Raises: sqlite3.Error if the file cannot be opened, is no database, has tables of these names that are not a
    mirror's, has the form of another version, or cannot be written.
    """

    _connection: sqlite3.Connection

    def __init__(self, path: str | PathLike[str], *, now: Callable[[], datetime] = utc_now) -> None:
        ThreadedSink.__init__(self)
        Database.__init__(self, ACCOUNT, SQLITE)
        self.path = Path(path)
        self._now = now

    async def transact(self, work: Work[T]) -> T:
        return await self._call(partial(self._transact, work))

    async def read(self, work: Work[T]) -> T:
        return await self._call(partial(drive, work, self._execute))

    def _transact(self, work: Work[T]) -> T:
        with transaction(self._connection):
            return drive(work, self._execute)

    def _execute(self, statement: Statement) -> list[Row]:
        if statement is NOW:
            return [(utc_text(self._now().replace(microsecond=0)),)]
        text = _rendered(statement.sql)
        if statement.rows is not None:
            self._connection.executemany(text, statement.rows)
            return []
        values = {
            name: json.dumps(value) if isinstance(value, list) else value for name, value in statement.values.items()
        }
        return self._connection.execute(text, {"account": self.account, **values}).fetchall()

    def _open(self) -> None:
        _create_private(self.path)
        connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            _refuse_others(connection, self.path)
            # With a write-ahead log others can read during a sync, and a killed process leaves a valid file.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._connection = connection
            with transaction(connection):
                _refuse_others(connection, self.path)
                drive(prepare(SQLITE), self._execute)
        except BaseException:
            connection.close()
            raise

    def _close(self) -> None:
        self._connection.close()


@cache
def _rendered(sql: str) -> str:
    return SQLITE.render(sql)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # If the disk is full, SQLite has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _create_private(path: Path) -> None:
    """Makes a new file that its owner alone can read; SQLite gives its `-wal` and `-shm` the same permissions."""
    if str(path) != IN_MEMORY:
        with suppress(OSError):  # it exists, or SQLite says why it cannot be made
            os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY))


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    """Refuses a database whose tables are not a mirror's of this version, before anything is written to it.

    Raises: sqlite3.DatabaseError that says what to do.
    """
    columns = _columns(connection)
    if columns.get("mirror") == {"version"}:
        (version,) = connection.execute("SELECT max(version) FROM mirror").fetchone()
        if version not in {None, VERSION}:
            raise sqlite3.DatabaseError(refusal(version, str(path), REMEDY))
        return
    if all(names <= columns.get(table, set()) for table, names in OLD_FORM.items()):
        raise sqlite3.DatabaseError(refusal(0, str(path), REMEDY))
    for table in ("mirror", "sources", *REQUIRED):
        if table in columns:
            raise sqlite3.DatabaseError(f"the database's table {table!r} was not made by a sync: name another file")


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each table, in one statement: another process may be making them."""
    columns: dict[str, set[str]] = {}
    query = (
        "SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns"
        " WHERE tables.type IN ('table', 'view')"
    )
    for table, column in connection.execute(query):
        columns.setdefault(table.lower(), set()).add(column.lower())
    return columns
