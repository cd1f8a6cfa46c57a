"""The rows of tasks in SQLite, and the changes that are written with them."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from lofty_async.models import Task

from .columns import TASKS, Row, from_utc_text, utc_text
from .database import Change, ChangeKind
from .rows import LEAD, kind_of
from .sinks import Changes, Doubt, Merged, diff, merged

Held = tuple[Row, str | None]
"""A row, and since when it is proven."""

NAMES: Final = ", ".join(TASKS.names)
# ruff: noqa: S608 - column names come from the model, and all values are bound
BY_ID: Final = f"SELECT {NAMES}, proven_at FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
BY_LEAD_OR_ID: Final = f"{BY_ID} OR lead_id = ?"
ALL_OR_BY_LEAD: Final = f"SELECT {NAMES} FROM tasks WHERE ? IS NULL OR lead_id = ? ORDER BY id"
UPSERT: Final = (
    f"INSERT INTO tasks ({NAMES}, proven_at) VALUES ({', '.join('?' * (len(TASKS.all) + 1))}) ON CONFLICT (id)"
    f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in (*TASKS.names[1:], 'proven_at'))}"
)
PROVE: Final = "UPDATE tasks SET proven_at = ? WHERE id = ?"
PROVE_LEAD: Final = (
    "INSERT INTO leads (lead_id, proven_run, proven_at) VALUES (?, ?, ?) ON CONFLICT (lead_id)"
    " DO UPDATE SET proven_run = excluded.proven_run, proven_at = excluded.proven_at"
)
LOG: Final = "INSERT INTO changes (at, kind, task_id, task, before) VALUES (?, ?, ?, ?, ?)"


@frozen
class Rows:
    """Reads and writes rows of tasks, within the caller's transaction; `now` is the time of the writes."""

    connection: sqlite3.Connection
    now: Callable[[], datetime]

    def tasks(self, lead_id: int | None) -> list[Task]:
        return [TASKS.record(row) for row in self.connection.execute(ALL_OR_BY_LEAD, (lead_id, lead_id))]

    def replace(self, lead_id: int, tasks: Sequence[Task]) -> Changes[int]:
        """Makes the rows of a lead equal to its tasks."""
        new = {task.id: TASKS.row(task) for task in tasks}
        return self.apply(self.held_of(lead_id, new), new, is_proof=True)

    def merge(self, lead_id: int, tasks: Sequence[Task]) -> Merged:
        """Adds and updates the rows of a lead, but for those in doubt; removes none."""
        new = {task.id: TASKS.row(task) for task in tasks}
        held = self.held_of(lead_id, new)
        elsewhere = {id for id in new if id in held and held[id][0][LEAD] not in {None, lead_id}}
        missing = [id for id in held if id not in new]
        changes = self.apply(
            {id: row for id, row in held.items() if id in new and id not in elsewhere},
            {id: row for id, row in new.items() if id not in elsewhere},
            is_proof=True,
        )
        doubts = [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]
        return Merged(changes, tuple(doubts))

    def merge_all(self, leads: Mapping[int, Sequence[Task]]) -> Merged:
        results = [self.merge(lead_id, tasks) for lead_id, tasks in leads.items()]
        doubts = tuple(doubt for result in results for doubt in result.doubts)
        return Merged(merged(result.changes for result in results), doubts)

    def settle(self, moved: Sequence[Task], gone: Collection[int]) -> Changes[int]:
        new = {task.id: TASKS.row(task) for task in moved}
        return self.apply(self.held([*new, *gone]), new, is_proof=True)

    def take_over(self, tasks: Sequence[Task]) -> tuple[Changes[int], dict[int, int]]:
        """Adds and updates unproven rows; also returns the lead that each moved task has left, by task."""
        new = {task.id: TASKS.row(task) for task in tasks}
        held = self.held(new)
        left = {id: row[LEAD] for id, (row, _) in held.items() if row[LEAD] != new[id][LEAD]}
        changes = self.apply(held, new, is_proof=False)
        return changes, {id: lead_id for id, lead_id in left.items() if isinstance(lead_id, int)}

    def held(self, ids: Collection[int]) -> dict[Any, Held]:
        rows = self.connection.execute(BY_ID, (json.dumps(list(ids)),))
        return {row[0]: (row[:-1], row[-1]) for row in rows}

    def held_of(self, lead_id: int, ids: Collection[int]) -> dict[Any, Held]:
        """The rows of the lead, and those of the tasks, which may be another lead's."""
        rows = self.connection.execute(BY_LEAD_OR_ID, (json.dumps(list(ids)), lead_id))
        return {row[0]: (row[:-1], row[-1]) for row in rows}

    def apply(self, held: Mapping[Any, Held], new: Mapping[int, Row], *, is_proof: bool) -> Changes[int]:
        """Turns the rows held into the new ones; what is the same is written only to become proven."""
        old = {id: row for id, (row, _) in held.items()}
        changes = diff(old, new)
        written, now = (*changes.added, *changes.changed), self._now
        proven_at = now if is_proof else None
        self.connection.executemany(UPSERT, [(*new[id], proven_at) for id in written])
        self.connection.executemany("DELETE FROM tasks WHERE id = ?", [(id,) for id in changes.removed])
        if is_proof:
            unproven = [id for id, (_, proven) in held.items() if proven is None and id in new]
            self.connection.executemany(PROVE, [(now, id) for id in unproven])
        self._log(now, ((old.get(id), new.get(id)) for id in (*written, *changes.removed)))
        return changes

    def prove_leads(self, leads: Iterable[int], run: int | None) -> None:
        now = self._now
        self.connection.executemany(PROVE_LEAD, [(lead_id, run, now) for lead_id in leads])

    def changes(self, since: int, limit: int) -> list[Change]:
        query = "SELECT seq, at, kind, task, before FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
        return [_change(*row) for row in self.connection.execute(query, (since, limit))]

    def _log(self, now: str, pairs: Iterable[tuple[Row | None, Row | None]]) -> None:
        self.connection.executemany(LOG, [(now, *_logged(before, after)) for before, after in pairs])

    @property
    def _now(self) -> str:
        return utc_text(self.now().replace(microsecond=0))


def _logged(before: Row | None, after: Row | None) -> tuple[object, ...]:
    known = before if after is None else after
    texts = [None if row is None else TASKS.to_json(row) for row in (after, before)]
    return kind_of(before, after).value, known and known[0], *texts


def _change(seq: int, at: str, kind: str, task: str | None, before: str | None) -> Change:
    return Change(
        seq=seq,
        at=from_utc_text(at),
        kind=ChangeKind(kind),
        task=None if task is None else TASKS.from_json(task),
        before=None if before is None else TASKS.from_json(before),
    )
