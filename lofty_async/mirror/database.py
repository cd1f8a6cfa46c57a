"""The mirror's SQLite file. Everything here blocks: `store.TaskStore` is its asynchronous face."""

import json
import logging
import os
import sqlite3
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from lofty_async.models import Task

from .checkpoint import Checkpoint
from .columns import Row, columns_of
from .diff import Changes, diff, merged
from .ownership import refuse_foreign_tables, refuse_old_times
from .sinks import Doubt, Merged

log = logging.getLogger("lofty_async.mirror")

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
_BY_ID: Final = f"SELECT {_NAMES} FROM tasks WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 - same
_LEAD: Final = TASKS.names.index("lead_id")
IN_MEMORY: Final = ":memory:"
OWNER_ONLY: Final = 0o600


@define
class Database:
    """A connection to the file; tables are made and grown when it is opened.

    Raises: sqlite3.Error where the file cannot be opened, is no database, or has such tables of somebody else.
    """

    path: Path
    _connection: sqlite3.Connection = field(init=False, repr=False)
    checkpoint: Checkpoint = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _create_private(self.path)
        self._connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        refuse_foreign_tables(self._connection)
        refuse_old_times(self._connection, str(self.path), TASKS.times)
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

    def start(self, *, resume_within: float | None) -> frozenset[int]:
        """The leads that an unfinished run has done in the last seconds; without a number, none and a clean slate."""
        with self._transaction():
            if resume_within is None:
                self.checkpoint.clear()
            elif expired := self.checkpoint.expire(resume_within):
                hours = f"{resume_within / 3600:.3g} h"
                log.warning("%s: starting anew: %d leads were read more than %s ago", self.path, expired, hours)
            return self.checkpoint.done()

    def replace(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks and marks the leads as done, all in one transaction."""
        with self._transaction():
            changes = [self._replace(lead_id, tasks) for lead_id, tasks in leads.items()]
            self.checkpoint.mark(leads)
        return merged(changes)

    def merge(self, leads: Mapping[int, Sequence[Task]], done: Collection[int]) -> Merged:
        """Adds and updates the leads' rows, all in one transaction; leads of `done` without a doubt are marked."""
        with self._transaction():
            results = [self._merge(lead_id, tasks) for lead_id, tasks in leads.items()]
            doubts = tuple(doubt for result in results for doubt in result.doubts)
            self.checkpoint.mark(set(done) - {doubt.lead_id for doubt in doubts})
        return Merged(merged(result.changes for result in results), doubts)

    def settle(self, moved: Sequence[Task], gone: Collection[int], done: Collection[int]) -> Changes[int]:
        """Puts the tasks under their leads, removes those that are gone and marks leads, all in one transaction."""
        with self._transaction():
            new = {task.id: TASKS.row(task) for task in moved}
            held = self._connection.execute(_BY_ID, (json.dumps([*new, *gone]),))
            changes = self._apply({row[0]: row for row in held}, new)
            self.checkpoint.mark(done)
        return changes

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
        return {row[0]: row for row in self._connection.execute(_HELD, (lead_id, json.dumps(list(ids))))}

    def _apply(self, held: Mapping[Any, Row], new: Mapping[int, Row]) -> Changes[int]:
        changes = diff(held, new)
        self._connection.executemany(_UPSERT, [new[id] for id in (*changes.added, *changes.changed)])
        self._connection.executemany("DELETE FROM tasks WHERE id = ?", [(id,) for id in changes.removed])
        return changes

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


def _create_private(path: Path) -> None:
    """Makes a new file that its owner alone can read; SQLite gives its `-wal` and `-shm` the same permissions."""
    if str(path) != IN_MEMORY:
        with suppress(OSError):  # it is there, or SQLite says why it cannot be
            os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY))
