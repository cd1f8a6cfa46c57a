"""What a run reads of a lead: all that can be read, and which records cannot."""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from lofty_async._checks import LARGEST_ID
from lofty_async.bulk import LeadTasks
from lofty_async.client import LoftyClient
from lofty_async.errors import ClientClosedError, DecodeError, LoftyError
from lofty_async.models import Task

TOO_LARGE: Final = "the id has more than 63 bits, which no store can hold"


@define(slots=False, eq=False, repr=False, str=False)
class UnreadTasksError(LoftyError):
    """Some of a lead's tasks cannot be read: those with these `ids`, which are `None` where one has no id."""

    ids: frozenset[int] | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, errors: Sequence[DecodeError]) -> "UnreadTasksError":
        others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        return cls(f"{errors[0]}{others}", ids=_ids(errors))


def _ids(errors: Iterable[DecodeError]) -> frozenset[int] | None:
    known = [str(error.record_id) for error in errors]
    return frozenset(map(int, known)) if all(id.isascii() and id.isdecimal() for id in known) else None


@frozen
class LeadReader:
    """Reads the tasks of one lead; whatever is wrong with it is part of the result.

    With an `UnreadTasksError`, `tasks` holds all that can be read.
    """

    client: LoftyClient

    async def find(self, task_id: int) -> Task | LoftyError:
        """The task wherever it is, or what keeps it from being read.

        Raises: ClientClosedError.
        """
        try:
            return await self.client.tasks.get(task_id)
        except ClientClosedError:
            raise
        except LoftyError as error:
            return error

    async def read(self, lead_id: int) -> LeadTasks:
        bad: list[DecodeError] = []
        try:
            read = await self.client.tasks.list(lead_id, on_bad_record=bad.append).collect()
        except ClientClosedError:
            raise
        except LoftyError as error:
            return LeadTasks(lead_id, error=error)
        bad += [DecodeError(TOO_LARGE, record_id=task.id) for task in read if task.id > LARGEST_ID]
        tasks = tuple(_of_lead(task, lead_id) for task in read if task.id <= LARGEST_ID)
        return LeadTasks(lead_id, tasks, UnreadTasksError.of(bad) if bad else None)


def _of_lead(task: Task, lead_id: int) -> Task:
    # A store replaces by lead, so the lead that was asked for counts, whatever the record says.
    return task if task.lead_id == lead_id else evolve(task, lead_id=lead_id)
