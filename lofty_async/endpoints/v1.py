"""The legacy calls that the vendor still supports (`/v1.0/tasks`, `/v1.0/appts`)."""

from datetime import datetime
from typing import Final

from attrs import frozen

from lofty_async import _checks
from lofty_async._checks import UNSET, OnBadRecord, Unset
from lofty_async._strategies import SinglePage
from lofty_async._times import epoch_ms
from lofty_async._wire import RecordKind, Route
from lofty_async.models import AppointmentV1, AssignedRole, TaskType, TaskV1
from lofty_async.pagination import Pager

from ._base import Caller
from ._create import create_record

LIST: Final = Route("GET", "/v1.0/tasks")
GET: Final = Route("GET", "/v1.0/tasks/{taskId}")
CREATE: Final = Route("POST", "/v1.0/tasks", repeatable=False)
UPDATE: Final = Route("PUT", "/v1.0/tasks/{taskId}")
DELETE: Final = Route("DELETE", "/v1.0/tasks/{taskId}", deletes=RecordKind.TASK_V1)
APPOINTMENTS: Final = Route("GET", "/v1.0/appts")

TASKS_OF_LEAD: Final = SinglePage(model=TaskV1, request=LIST.label, at=("taskList",))
APPOINTMENTS_OF_LEAD: Final = SinglePage(model=AppointmentV1, request=APPOINTMENTS.label, at=())


@frozen(eq=False, repr=False)
class TasksV1:
    """Tasks as the legacy API has them: no appointments, no start. Prefer `client.tasks`."""

    _caller: Caller

    def list(self, lead_id: int, *, on_bad_record: OnBadRecord | None = None) -> Pager[TaskV1]:
        """All tasks of a lead. Prefer `client.tasks.list`, which also has appointments and starts."""
        query = _checks.query(lead_id=_checks.number_id("lead_id", lead_id))
        return self._caller.pager(LIST, TASKS_OF_LEAD, query, on_bad_record)

    async def get(self, id: int) -> TaskV1:
        """One task. Prefer `client.tasks.get`.

        Raises: NotFoundError.
        """
        return await self._caller.read(TaskV1, ("task",), GET, _checks.number_id("id", id))

    async def create(
        self,
        *,
        content: str,
        lead_id: int,
        end_at: datetime,
        type: TaskType | str,
        assigned_role: AssignedRole | str,
    ) -> int:
        """Create a task and return its id; it is never sent twice. Prefer `client.tasks.create`, which can verify.

        Raises: InvalidRequestError; AmbiguousWriteError if the response is lost.
        """
        wire = {
            "content": _checks.text("content", content),
            "leadId": _checks.number_id("lead_id", lead_id),
            "deadline": epoch_ms(_checks.moment("end_at", end_at)),
            "type": _checks.member("type", type, TaskType),
            "assignedRole": _checks.member("assigned_role", assigned_role, AssignedRole),
        }
        return await create_record(self._caller, CREATE, wire, ("taskId",), int)

    async def update(
        self,
        id: int,
        *,
        content: str | Unset = UNSET,
        lead_id: int | Unset = UNSET,
        end_at: datetime | Unset = UNSET,
        type: TaskType | str | Unset = UNSET,
        assigned_role: AssignedRole | str | Unset = UNSET,
        finished: bool | Unset = UNSET,
    ) -> None:
        """Change the given fields. Prefer `client.tasks.update`.

        `lead_id` does not move a task: if given, it must be the task's own. `finished=True` finishes the task, and
        goes alone, as the API then ignores the other fields. Whether `finished=False` reopens a task is not
        documented: `client.tasks.unfinish` does.

        Raises: InvalidRequestError, with the name INVALID_UPDATE_OPERATION_LEADID for the id of another lead.
        """
        moment = _checks.unless_unset(_checks.moment, "end_at", end_at)
        changes = _checks.given(
            content=_checks.unless_unset(_checks.text, "content", content),
            end_at=epoch_ms(moment) if isinstance(moment, datetime) else moment,
            type=_checks.unless_unset(_checks.member, "type", type, TaskType),
            assigned_role=_checks.unless_unset(_checks.member, "assigned_role", assigned_role, AssignedRole),
        )
        changes |= _checks.given(finished=_checks.unless_unset(_checks.flag, "finished", finished))
        _checks.some(changes, ("content", "end_at", "type", "assigned_role", "finished"))
        if finished is True and len(changes) > 1:
            raise _checks.refuse("finished", "must be updated alone: with finished=True the API ignores other fields")
        fields = changes | _checks.given(lead_id=_checks.unless_unset(_checks.number_id, "lead_id", lead_id))
        names = {"endAt": "deadline", "finished": "finishFlag"}
        wire = {names.get(name, name): value for name, value in _checks.wire_names(fields).items()}
        await self._caller.send(UPDATE, _checks.number_id("id", id), body=wire)

    async def finish(self, id: int) -> None:
        """Mark a task as finished. Prefer `client.tasks.finish`, which can be undone."""
        await self.update(id, finished=True)

    async def delete(self, id: int) -> None:
        """Delete a task. Prefer `client.tasks.delete`."""
        await self._caller.send(DELETE, _checks.number_id("id", id))


@frozen(eq=False, repr=False)
class AppointmentsV1:
    """Appointments as the legacy API has them. Prefer `client.calendar`."""

    _caller: Caller

    def list(self, lead_id: int, *, on_bad_record: OnBadRecord | None = None) -> Pager[AppointmentV1]:
        """All appointments of a lead. Prefer `client.tasks.list` or `client.calendar.list(lead_id=…)`."""
        query = _checks.query(lead_id=_checks.number_id("lead_id", lead_id))
        return self._caller.pager(APPOINTMENTS, APPOINTMENTS_OF_LEAD, query, on_bad_record)
