"""The mirror's SQLite file. Everything here blocks: `store.TaskStore` is its asynchronous face."""

import json
import sqlite3
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

from lofty_async.models import Task

from .checkpoint import Checkpoint
from .columns import Row, columns_of
from .diff import Changes, diff, merged
from .ownership import refuse_foreign_tables
from .sinks import LeadPart

LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process that is writing to the same file."""

TASKS: Final = columns_of(Task)
_NAMES: Final = ", ".join(TASKS.names)
_CREATE: Final = "CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY)"
_INDEX: Final = "CREATE INDEX IF NOT EXISTS tasks_lead_id ON tasks (lead_id)"
_HELD: Final = (
    f"SELECT {_NAMES} FROM tasks "  # noqa: S608 - column names come from the model
    "WHERE lead_id = ? OR id IN (SELECT value FROM json_each(?))"
)
_UPSERT: Final = (
    f"INSERT INTO tasks ({_NAMES}) VALUES ({', '.join('?' * len(TASKS.all))}) "  # noqa: S608 - same
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in TASKS.names[1:])}"
)
_GONE: Final = "lead_id NOT IN (SELECT value FROM json_each(?))"


@define
class Database:
    """A connection to the file; tables are made and grown when it is opened.

    Raises: sqlite3.Error where the file cannot be opened, is no database, or has such tables of somebody else.
    """

    path: Path
    _connection: sqlite3.Connection = field(init=False, repr=False)
    checkpoint: Checkpoint = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        refuse_foreign_tables(self._connection)
        # With a write-ahead log others can read during a sync, and a killed process leaves a valid file.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self.checkpoint = Checkpoint(self._connection)
        with self._transaction():
            self._connection.execute(_CREATE)
            self._add_missing_columns()
            self._connection.execute(_INDEX)
            self.checkpoint.create()

    def _add_missing_columns(self) -> None:
        present = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(tasks)")}
        for column in TASKS.all:
            if column.name not in present:
                self._connection.execute(f"ALTER TABLE tasks ADD COLUMN {column.name} {column.sql_type}")

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # Where the disk is full, SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def start(self, *, resume: bool) -> frozenset[int]:
        """The leads that an unfinished run has done; none, and a clean slate, unless it is to be resumed."""
        with self._transaction():
            if not resume:
                self.checkpoint.clear()
            return self.checkpoint.done()

    def replace(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks and marks the leads as done, all in one transaction."""
        with self._transaction():
            changes = [self._replace(lead_id, tasks) for lead_id, tasks in leads.items()]
            self.checkpoint.mark(leads)
        return merged(changes)

    def replace_part(self, part: LeadPart) -> Changes[int]:
        """Makes a lead's rows equal to its tasks, but for those that it may still have; it is not marked as done."""
        if not part.tasks and part.unread is None:
            return Changes()
        with self._transaction():
            return self._replace(part.lead_id, part.tasks, part.is_unread)

    def _replace(
        self, lead_id: int, tasks: Sequence[Task], is_spared: Callable[[int], bool] = lambda _: False
    ) -> Changes[int]:
        new: dict[int, Row] = {task.id: TASKS.row(task) for task in tasks}
        # Held rows include tasks that came from another lead: a change, whichever lead is read first.
        held = self._connection.execute(_HELD, (lead_id, json.dumps(list(new))))
        changes = diff({row[0]: row for row in held if row[0] in new or not is_spared(row[0])}, new)
        self._connection.executemany(_UPSERT, [new[id] for id in (*changes.added, *changes.changed)])
        self._connection.executemany("DELETE FROM tasks WHERE id = ?", [(id,) for id in changes.removed])
        return changes

    def keep_only(self, leads: Collection[int]) -> Changes[int]:
        """Removes the rows of all other leads."""
        listed = (json.dumps(list(leads)),)
        with self._transaction():
            gone = self._connection.execute(f"SELECT id FROM tasks WHERE {_GONE}", listed).fetchall()  # noqa: S608 - constant
            self._connection.execute(f"DELETE FROM tasks WHERE {_GONE}", listed)  # noqa: S608 - constant
        return Changes(removed=tuple(id for (id,) in gone))

    def finish(self) -> None:
        """Forgets the checkpoint: the next run has nothing to resume."""
        with self._transaction():
            self.checkpoint.clear()

    def leads(self) -> frozenset[int]:
        """The leads of the tasks held."""
        query = "SELECT DISTINCT lead_id FROM tasks WHERE lead_id IS NOT NULL"
        return frozenset(lead_id for (lead_id,) in self._connection.execute(query))

    def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id."""
        query = f"SELECT {_NAMES} FROM tasks WHERE ? IS NULL OR lead_id = ? ORDER BY id"  # noqa: S608 - column names come from the model
        return [TASKS.record(row) for row in self._connection.execute(query, (lead_id, lead_id))]

    def close(self) -> None:
        self._connection.close()
