"""The tables of a mirror's SQLite file: their versions, and the refusal of files that are not of this form."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .columns import TASKS

VERSION: Final = 1
LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process that is writing to the same file."""
IN_MEMORY: Final = ":memory:"
OWNER_ONLY: Final = 0o600

CREATE: Final = """
CREATE TABLE IF NOT EXISTS mirror (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, proven_at TEXT, shown_in INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS leads (
    lead_id INTEGER PRIMARY KEY, assigned_user_id INTEGER, listed_run INTEGER,
    due_run INTEGER, due_for TEXT, proven_run INTEGER, proven_at TEXT
);
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, task_id INTEGER NOT NULL,
    task TEXT, before TEXT
);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, cycle INTEGER NOT NULL, scope TEXT NOT NULL, strategy TEXT,
    phase TEXT NOT NULL, started_at TEXT NOT NULL, seen_at TEXT NOT NULL, ended_at TEXT,
    was_swept INTEGER NOT NULL DEFAULT 0, host TEXT, process INTEGER, machine TEXT, token TEXT, report TEXT
);
CREATE TABLE IF NOT EXISTS sweeps (
    list TEXT PRIMARY KEY, cursor TEXT, records INTEGER NOT NULL, is_done INTEGER NOT NULL,
    is_complete INTEGER NOT NULL, note INTEGER
);
CREATE TABLE IF NOT EXISTS sightings (
    task_id INTEGER PRIMARY KEY, lists INTEGER NOT NULL, differs INTEGER NOT NULL, lead_id INTEGER
);
CREATE INDEX IF NOT EXISTS leads_proven_run ON leads (proven_run);
"""
INDEX: Final = "CREATE INDEX IF NOT EXISTS tasks_lead_id ON tasks (lead_id)"
REQUIRED: Final = {"tasks": {"id", "lead_id"}, "changes": {"seq"}, "leads": {"lead_id"}, "runs": {"number"}}
"""The tables that a user's own program might have under the same name, and columns of ours."""
OLD_FORM: Final = {"tasks": {"id", "lead_id"}, "sync": {"lead_id", "synced_at"}}


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, and makes the tables and columns that are missing.

    Raises: sqlite3.Error if it cannot be opened, is no database, or has tables of another form.
    """
    _create_private(path)
    connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)
    try:
        _refuse_others(connection, path)
        # With a write-ahead log others can read during a sync, and a killed process leaves a valid file.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            _refuse_others(connection, path)
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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


def _create(connection: sqlite3.Connection) -> None:
    for statement in CREATE.split(";"):
        connection.execute(statement)
    if not connection.execute("SELECT 1 FROM mirror").fetchone():
        connection.execute("INSERT INTO mirror VALUES (?)", (VERSION,))
    present = {name for _, name, *_ in connection.execute("PRAGMA table_info(tasks)")}
    for column in TASKS.all:
        if column.name not in present:
            connection.execute(f"ALTER TABLE tasks ADD COLUMN {column.name} {column.sql_type}")
    connection.execute(INDEX)


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
        _refuse_newer(connection, path)
        return
    if all(names <= columns.get(table, set()) for table, names in OLD_FORM.items()):
        raise sqlite3.DatabaseError(
            f"{path} was written by an earlier version, whose tables have another form:"
            " delete the file and sync again, or name another file"
        )
    for table in ("mirror", *REQUIRED):
        if table in columns:
            raise sqlite3.DatabaseError(f"the database's table {table!r} was not made by a sync: name another file")


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("SELECT max(version) FROM mirror").fetchone()
    if version is not None and version > VERSION:
        raise sqlite3.DatabaseError(
            f"{path} was written by a later version (form {version}, this one knows {VERSION}): upgrade lofty-async"
        )


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
