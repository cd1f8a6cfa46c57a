"""An account in a sandbox with tasks of every class, changes to it, and what a mirror of it should hold."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, evolve, field

from lofty_async._codec import structure
from lofty_async.models import Task
from lofty_async.sandbox import Entry, EntryKind, Sandbox
from lofty_async.sandbox.entities import MEMBER_ID
from lofty_async.sandbox.shapes import EntryWriter

OTHERS = tuple(range(471_208_991_000_000, 471_208_991_000_019))
CHANGES = ("remove", "remove", "remove", "edit", "edit", "finish", "add", "move", "assign")
"""A third of all changes are deletions."""
FIELDS = ("lead_id", "content", "type", "start_at", "end_at", "finished", "assigned_user_id", "updated_at")


@define
class Account:
    """The tasks of an account: 20 % finished, 30 % appointments, 5 % undated, of some users."""

    sandbox: Sandbox
    users: Sequence[int] = (MEMBER_ID, *OTHERS)
    random: Random = field(factory=lambda: Random(7))
    now: datetime = field(factory=lambda: datetime.now(UTC).replace(microsecond=0), init=False)

    def populate(self, tasks_per_lead: int) -> None:
        state = self.sandbox.state
        for lead_id in list(state.leads):
            state.leads[lead_id] = evolve(state.leads[lead_id], assigned_user_id=self.random.choice(self.users))
            for _ in range(tasks_per_lead):
                self.add(lead_id)

    def add(self, lead_id: int, **fields: Any) -> Entry:
        start = self.now + timedelta(minutes=self.random.randrange(-1_000_000, 1_000_000))
        is_dated, is_appointment = self.random.random() >= 0.05, self.random.random() < 0.3
        values: dict[str, Any] = {
            "content": f"Task {self.random.randrange(10**9)}",
            "start_at": start if is_dated else None,
            "end_at": start + timedelta(hours=1) if is_dated else None,
            "time_zone": "UTC",
            "kind": EntryKind.APPOINTMENT if is_appointment else EntryKind.TASK,
            "type": "Appointment" if is_appointment else "Call",
            "finished_at": self.now if self.random.random() < 0.2 else None,
            "assigned_user_id": self.random.choice(self.users),
        }
        return self.sandbox.state.add_task(lead_id, **(values | fields))

    def change(self, share: float) -> None:
        """Deletes, edits, finishes or reopens, adds, moves and assigns to others that share of the tasks."""
        state = self.sandbox.state
        entries, leads = sorted(state.entries.values(), key=lambda entry: entry.id), list(state.leads)
        for number, entry in enumerate(self.random.sample(entries, int(len(entries) * share))):
            match CHANGES[number % len(CHANGES)]:
                case "remove":
                    state.remove(entry.id)
                case "edit":
                    state.change(entry.id, content=f"Edit {self.random.randrange(10**9)}")
                case "finish":
                    (state.unfinish if entry.finished else state.finish)(entry.id)
                case "add":
                    self.add(self.random.choice(leads))
                case "move":
                    state.change(entry.id, lead_id=self.random.choice(leads))
                case _:
                    state.change(entry.id, assigned_user_id=self.random.choice(self.users))

    def truth(self) -> dict[int, tuple[Any, ...]]:
        """The fields of all tasks of the server."""
        state, writer = self.sandbox.state, EntryWriter(self.now)
        records = [writer.task(entry, state.leads[entry.lead_id]) for entry in state.entries.values()]
        return fields_of([structure(Task, record, path="", request="") for record in records])


def fields_of(tasks: Sequence[Task]) -> dict[int, tuple[Any, ...]]:
    return {task.id: tuple(getattr(task, name) for name in FIELDS) for task in tasks}


def wrong(held: Mapping[int, tuple[Any, ...]], truth: Mapping[int, tuple[Any, ...]]) -> int:
    """How many rows are missing, left over or different."""
    return sum(held.get(id) != truth.get(id) for id in held.keys() | truth.keys())


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
