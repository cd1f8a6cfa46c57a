"""The tasks that two reads disagree on, and where the API says that they are. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from attrs import define, field

from lofty_async._wire import RecordKind, is_gone
from lofty_async.errors import LoftyError, NotFoundError, PermissionDeniedError
from lofty_async.models import Task

from .reading import UnreadTasksError
from .sinks import Doubt

PERMISSION_DENIED: Final = 20017
"""Lofty's code for a record of a lead that the caller does not manage."""


def is_denied(error: LoftyError | None) -> bool:
    """Whether Lofty's own code says that the caller does not manage the lead."""
    return isinstance(error, PermissionDeniedError) and error.code == PERMISSION_DENIED


def is_unread(doubt: Doubt, error: LoftyError | None) -> bool:
    """Whether the lead may have the task after all, as a record that could not be read."""
    if error is None or doubt.is_listed:
        return False
    return not isinstance(error, UnreadTasksError) or error.ids is None or doubt.id in error.ids


@define
class DoubtfulTask:
    """A task in doubt: the leads that list it, each with its record, and those under which the store alone has it."""

    listed: dict[int, Task] = field(factory=dict[int, Task])
    missing: set[int] = field(factory=set[int])

    @property
    def leads(self) -> set[int]:
        return self.missing.union(self.listed)


@define
class Resolution:
    """The tasks to write and to remove, and the leads whose doubts stay open."""

    moved: list[Task] = field(factory=list[Task])
    gone: list[int] = field(factory=list[int])
    failed: dict[int, LoftyError] = field(factory=dict[int, LoftyError])


@define
class Doubts:
    """The tasks in doubt of a run, by id."""

    tasks: dict[int, DoubtfulTask] = field(factory=dict[int, DoubtfulTask], init=False)

    def add(self, doubts: Iterable[Doubt], tasks: Sequence[Task]) -> None:
        """Notes doubts; `tasks` are what the leads list."""
        listed = {(task.lead_id, task.id): task for task in tasks}
        for doubt in doubts:
            task = self.tasks.setdefault(doubt.id, DoubtfulTask())
            if doubt.is_listed:
                task.listed[doubt.lead_id] = listed[doubt.lead_id, doubt.id]
            else:
                task.missing.add(doubt.lead_id)

    def resolve(self, answers: Iterable[tuple[int, Task | LoftyError]], leads: Collection[int]) -> Resolution:
        """Resolves doubts by what the API says of each task; `leads` are those that the store may have tasks of.

        A lead that was read whole proves that a task is not there; the answer only tells to which other lead it went.
        """
        resolution = Resolution()
        for id, answer in answers:
            task = self.tasks[id]
            if isinstance(answer, Task):
                _resolve(id, task, answer if answer.lead_id in leads else None, resolution)
            elif is_without_task(answer) or (not task.missing and isinstance(answer, NotFoundError)):
                _resolve(id, task, None, resolution)
            else:
                resolution.failed.update(dict.fromkeys(task.leads, answer))
        return resolution


def is_without_task(error: LoftyError) -> bool:
    """Whether Lofty's own code says that a task does not exist, or not for the caller; a status may be a gateway's."""
    return is_denied(error) or is_gone(error, RecordKind.TASK) or is_gone(error, RecordKind.LEAD)


def _resolve(id: int, task: DoubtfulTask, found: Task | None, resolution: Resolution) -> None:
    if found is not None and found.lead_id in task.listed:
        resolution.moved.append(task.listed[found.lead_id])
    elif found is not None and task.missing:
        resolution.moved.append(found)
    elif task.missing and task.listed:
        resolution.moved.append(next(iter(task.listed.values())))
    elif task.missing:
        resolution.gone.append(id)
    # Otherwise it is where the store has it, and the lead that lists it besides changes nothing.
