"""The decisions on rows of tasks that every database shares. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from lofty_async.models import CalendarEntry, EntryType, Task, TaskType

from .columns import TASKS, Columns
from .database import ChangeKind
from .decide import COMPARED

LEAD: Final = TASKS.names.index("lead_id")
FINISHED: Final = TASKS.names.index("finished")
PLACES: Final = [TASKS.names.index(name) for name in COMPARED]


def kind_of(before: Sequence[Any] | None, after: Sequence[Any] | None) -> ChangeKind:
    """How a task changed, given its rows before and after."""
    if before is None:
        return ChangeKind.CREATED
    if after is None:
        return ChangeKind.DELETED
    if before[LEAD] != after[LEAD]:
        return ChangeKind.MOVED
    if bool(before[FINISHED]) != bool(after[FINISHED]):
        return ChangeKind.FINISHED if after[FINISHED] else ChangeKind.REOPENED
    return ChangeKind.UPDATED


def differing(row: Sequence[Any], entry: CalendarEntry, columns: Columns[Task]) -> int:
    """The bits of the fields in which a calendar entry differs from the row of its task."""
    bits = 0
    for bit, (name, place) in enumerate(zip(COMPARED, PLACES, strict=True)):
        value = getattr(entry, name)
        bits |= (row[place] != (None if value is None else columns.all[place].encode(value))) << bit
    return bits


def as_task(id: int, entry: CalendarEntry) -> Task:
    """The part of a task that the calendar tells."""
    return Task(
        id=id,
        type=TaskType.APPOINTMENT if entry.type == EntryType.APPOINTMENT else None,
        **{name: getattr(entry, name) for name in COMPARED},
    )
