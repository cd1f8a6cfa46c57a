"""The sink that keeps tasks in an SQLite file: the columns of a model, the store, and checks of existing files."""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import attrgetter
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from attrs import fields_dict, frozen

from lofty_async._enums import as_code
from lofty_async.models import Task

from .sinks import RESUME_WITHIN, Changes, Doubt, Merged, ThreadedSink, diff, in_thread, merged

log = logging.getLogger("lofty_async.mirror")

SqlValue = int | str | bytes | None
Row = tuple[SqlValue, ...]
T = TypeVar("T")

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)


def _storable(text: str) -> str:
    """SQLite holds UTF-8, which has no half of a surrogate pair; text cut by other programs does."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _fitting(number: int) -> int | bytes:
    """SQLite's integers have 64 bits, with the sign; larger ones are stored beside them as digits.

    Digits in a blob, because a column of integers turns text into a floating-point number.
    """
    return int(number) if -(2**63) <= number < 2**63 else b"%d" % number


def _utc_text(moment: datetime) -> str:
    """UTC as SQLite's own functions write it: a fraction of three digits, or of six, only if there is one.

    So text compares as the moments do; one that UTC puts outside the years 1 to 9999 becomes their end.
    """
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = LATEST if (moment.utcoffset() or timedelta(0)) < timedelta(0) else EARLIEST
    fraction = "seconds" if not utc.microsecond else "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.replace(tzinfo=None).isoformat(" ", fraction)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@frozen
class Column:
    """One field of a model as SQLite holds it."""

    name: str
    sql_type: str
    encode: Callable[[Any], SqlValue]
    decode: Callable[[Any], Any]


def _column(name: str, annotation: Any) -> Column:
    """The column of one field.

    Raises: TypeError if the field's type has no column type.
    """
    kinds = {part for part in get_args(annotation) or (annotation,) if part is not NoneType}
    if kinds == {int, str}:
        return Column(name, "TEXT", lambda value: _storable(str(value)), as_code)
    (kind,) = kinds
    if kind is datetime:
        return Column(name, "TEXT", _utc_text, _utc)
    if issubclass(kind, Enum) and issubclass(kind, str):
        return Column(name, "TEXT", lambda value: _storable(str(value)), kind)
    if issubclass(kind, int):
        return Column(name, "INTEGER", _fitting, lambda value: kind(int(value)))
    if issubclass(kind, str):
        return Column(name, "TEXT", _storable, str)
    raise TypeError(f"no column type for field {name!r}: {annotation!r}")


@frozen
class Columns(Generic[T]):
    """The columns of a table of records of one attrs class: one per field, in the class's order.

    Integers and booleans are INTEGER, everything else is TEXT: times in UTC (`2026-03-01 23:00:00`), enums as their
    value, codes without a documented meaning as text.
    An integer beyond 64 bits is a BLOB of its digits, but for the id, which cannot be one.
    """

    model: type[T]
    all: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.all)

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that hold times."""
        return tuple(column.name for column in self.all if column.decode is _utc)

    def row(self, record: T) -> Row:
        values = attrgetter(*self.names)(record)
        return tuple(
            None if value is None else column.encode(value) for column, value in zip(self.all, values, strict=True)
        )

    def record(self, row: Row) -> T:
        return self.model(
            **{
                column.name: None if value is None else column.decode(value)
                for column, value in zip(self.all, row, strict=True)
            }
        )


def columns_of(model: type[T]) -> Columns[T]:
    """The columns of an attrs class.

    Raises: TypeError if a field's type has no column type.
    """
    kind: type[Any] = model
    types = get_type_hints(kind)
    return Columns(model, tuple(_column(name, types[name]) for name in fields_dict(kind)))


LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process that is writing to the same file."""

TASKS: Final = columns_of(Task)
_NAMES: Final = ", ".join(TASKS.names)
_LEAD: Final = TASKS.names.index("lead_id")
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS sync (lead_id INTEGER PRIMARY KEY, synced_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS tasks_lead_id ON tasks (lead_id)"
# ruff: noqa: S608 - column names come from the model, and all values are bound
_BY_ID: Final = f"SELECT {_NAMES} FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
_BY_LEAD_OR_ID: Final = f"SELECT {_NAMES} FROM tasks WHERE lead_id = ? OR id IN (SELECT value FROM json_each(?))"
_ALL_OR_BY_LEAD: Final = f"SELECT {_NAMES} FROM tasks WHERE ? IS NULL OR lead_id = ? ORDER BY id"
_UPSERT: Final = (
    f"INSERT INTO tasks ({_NAMES}) VALUES ({', '.join('?' * len(TASKS.all))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in TASKS.names[1:])}"
)
_MARK: Final = "INSERT OR REPLACE INTO sync (lead_id, synced_at) VALUES (?, datetime(?, 'unixepoch'))"
# The age is negative if the clock was set back since.
_EXPIRE: Final = (
    "DELETE FROM sync WHERE NOT coalesce(? - CAST(strftime('%s', synced_at) AS INTEGER) BETWEEN 0 AND ?, 0)"
)
IN_MEMORY: Final = ":memory:"
OWNER_ONLY: Final = 0o600


class TaskStore(ThreadedSink):
    """A local copy of tasks in an SQLite file: table `tasks`, a row per task, a column per field of `Task`.

    Times are text in UTC, as SQLite's own functions write it: `2026-03-01 23:00:00`, with milliseconds or
    microseconds only if there are any. So they sort as they are and compare with each other, with `datetime('now')`
    and with literals of that form: `WHERE end_at < '2026-03-08 06:30:00'`. Columns that hold none are NULL.

    Table `sync` has the leads that the running, or last unfinished, run has done. It is written in the same
    transactions, so that a lead counts as done exactly when its tasks are kept.

    Use it as `async with TaskStore(path) as store`: one thread of its own talks to SQLite, so that the event loop never
    waits for a disk. A new file can be read by its owner alone; an existing one keeps its permissions.

    Raises: sqlite3.Error if the file cannot be opened, is no database, has tables of these names that are not a
    mirror's, holds times in another form, or cannot be written.
    """

    _connection: sqlite3.Connection

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)

    @in_thread
    def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:
        """Begins a run; with `resume`, returns the leads that an unfinished run has done in the last seconds."""
        with self._transaction():
            if not resume:
                self._connection.execute("DELETE FROM sync")
            elif expired := self._connection.execute(_EXPIRE, (int(time.time()), resume_within)).rowcount:
                hours = f"{resume_within / 3600:.3g} h"
                log.warning("%s: starting anew: %d leads were read more than %s ago", self.path, expired, hours)
            return frozenset(lead_id for (lead_id,) in self._connection.execute("SELECT lead_id FROM sync"))

    @in_thread
    def leads(self) -> frozenset[int]:
        """The leads of the tasks held."""
        query = "SELECT DISTINCT lead_id FROM tasks WHERE lead_id IS NOT NULL"
        return frozenset(lead_id for (lead_id,) in self._connection.execute(query))

    @in_thread
    def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks, in one transaction; returns the changes."""
        with self._transaction():
            changes = [self._replace(lead_id, tasks) for lead_id, tasks in leads.items()]
            self._mark(leads)
        return merged(changes)

    @in_thread
    def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates rows in one transaction, but for those in doubt; removes none."""
        with self._transaction():
            results = [self._merge(lead_id, tasks) for lead_id, tasks in leads.items()]
            doubts = tuple(doubt for result in results for doubt in result.doubts)
            self._mark(set(done) - {doubt.lead_id for doubt in doubts})
        return Merged(merged(result.changes for result in results), doubts)

    @in_thread
    def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone, in one transaction."""
        with self._transaction():
            new = {task.id: TASKS.row(task) for task in moved}
            held = self._connection.execute(_BY_ID, (json.dumps([*new, *gone]),))
            changes = self._apply({row[0]: row for row in held}, new)
            self._mark(done)
        return changes

    @in_thread
    def finish(self, *, all_done: bool) -> None:
        """Ends a run; the leads that failed in it can be resumed, unless `all_done`."""
        if all_done:
            with self._transaction():
                self._connection.execute("DELETE FROM sync")

    @in_thread
    def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return [TASKS.record(row) for row in self._connection.execute(_ALL_OR_BY_LEAD, (lead_id, lead_id))]

    def _replace(self, lead_id: int, tasks: Sequence[Task]) -> Changes[int]:
        new = {task.id: TASKS.row(task) for task in tasks}
        return self._apply(self._held(lead_id, new), new)

    def _merge(self, lead_id: int, tasks: Sequence[Task]) -> Merged:
        new = {task.id: TASKS.row(task) for task in tasks}
        held = self._held(lead_id, new)
        elsewhere = {id for id in new if id in held and held[id][_LEAD] not in {None, lead_id}}
        missing = [id for id in held if id not in new]
        changes = self._apply(
            {id: row for id, row in held.items() if id in new and id not in elsewhere},
            {id: row for id, row in new.items() if id not in elsewhere},
        )
        doubts = [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]
        return Merged(changes, tuple(doubts))

    def _held(self, lead_id: int, ids: Collection[int]) -> dict[Any, Row]:
        """The rows of the lead, and those of the tasks, which may be another lead's."""
        return {row[0]: row for row in self._connection.execute(_BY_LEAD_OR_ID, (lead_id, json.dumps(list(ids))))}

    def _apply(self, held: Mapping[Any, Row], new: Mapping[int, Row]) -> Changes[int]:
        changes = diff(held, new)
        self._connection.executemany(_UPSERT, [new[id] for id in (*changes.added, *changes.changed)])
        self._connection.executemany("DELETE FROM tasks WHERE id = ?", [(id,) for id in changes.removed])
        return changes

    def _mark(self, done: Iterable[int]) -> None:
        now = int(time.time())
        self._connection.executemany(_MARK, [(lead_id, now) for lead_id in done])

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # If the disk is full, SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _open(self) -> None:
        _create_private(self.path)
        self._connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Makes the tables and the columns that are missing.

        Raises: sqlite3.DatabaseError if the tables are not a mirror's of this form.
        """
        refuse_foreign_tables(self._connection)
        refuse_old_times(self._connection, str(self.path), TASKS.times)
        # With a write-ahead log others can read during a sync, and a killed process leaves a valid file.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            for statement in _CREATE:
                self._connection.execute(statement)
            self._add_missing_columns()
            self._connection.execute(_INDEX)

    def _add_missing_columns(self) -> None:
        present = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(tasks)")}
        for column in TASKS.all:
            if column.name not in present:
                self._connection.execute(f"ALTER TABLE tasks ADD COLUMN {column.name} {column.sql_type}")

    def _close(self) -> None:
        self._connection.close()


def _create_private(path: Path) -> None:
    """Makes a new file that its owner alone can read; SQLite gives its `-wal` and `-shm` the same permissions."""
    if str(path) != IN_MEMORY:
        with suppress(OSError):  # it exists, or SQLite says why it cannot be made
            os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY))


REQUIRED_COLUMNS: Final = {"tasks": {"id", "lead_id"}, "sync": {"lead_id", "synced_at"}}
"""The tables that every mirror has, both or neither, and columns that each has had from the beginning."""

TIME_PATTERN: Final = "????-??-?? ??:??:??*"
"""Times as this version writes them."""


def refuse_foreign_tables(connection: sqlite3.Connection) -> None:
    """Refuses a database that has tables of these names from another program, before anything is written to it.

    Raises: sqlite3.DatabaseError naming the table.
    """
    columns = _columns(connection)
    present = [table for table in REQUIRED_COLUMNS if columns[table]]
    foreign = [table for table in present if not REQUIRED_COLUMNS[table] <= columns[table]]
    if len(present) < len(REQUIRED_COLUMNS):
        foreign = present
    if foreign:
        raise sqlite3.DatabaseError(f"the database's table {foreign[0]!r} was not made by a sync: name another file")


def refuse_old_times(connection: sqlite3.Connection, path: str, columns: Iterable[str]) -> None:
    """Refuses a database whose columns hold times in a form that this version does not write.

    Raises: sqlite3.DatabaseError with the values of one such row.
    """
    present = sorted(_columns(connection)["tasks"].intersection(columns))
    if not present:
        return
    others = " OR ".join(f"{column} NOT GLOB :time" for column in present)
    query = f"SELECT {', '.join(present)} FROM tasks WHERE {others} LIMIT 1"
    for row in connection.execute(query, {"time": TIME_PATTERN}):
        raise sqlite3.DatabaseError(
            f"{path} holds times in the form of an earlier version, {', '.join(str(value) for value in row if value)};"
            " they are UTC now, such as 2026-03-01 23:00:00: delete the file and sync again, or name another file"
        )


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each of the tables, in one statement: another process may be making them."""
    columns: dict[str, set[str]] = {table: set() for table in REQUIRED_COLUMNS}
    query = (
        "SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns"
        f" WHERE lower(tables.name) IN ({', '.join('?' * len(REQUIRED_COLUMNS))})"
    )
    for table, column in connection.execute(query, tuple(REQUIRED_COLUMNS)):
        columns[table.lower()].add(column.lower())
    return columns
