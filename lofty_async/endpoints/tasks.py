"""Tasks of leads and of the caller (`/v2.0/tasks`)."""

from datetime import datetime
from typing import Final

from attrs import frozen

from lofty_async import _checks
from lofty_async._checks import UNSET, OnBadRecord, Unset
from lofty_async._strategies import CursorPages, SinglePage
from lofty_async._wire import RecordKind, Route
from lofty_async.bulk import BulkRun, LeadIds, as_value, pages_of
from lofty_async.models import AssignedRole, Task, TaskType
from lofty_async.pagination import Pager

from ._base import Caller
from ._create import create_record, create_verified

LIST: Final = Route("GET", "/v2.0/tasks")
MINE: Final = Route("GET", "/v2.0/tasks/my-tasks")
GET: Final = Route("GET", "/v2.0/tasks/{taskId}")
CREATE: Final = Route("POST", "/v2.0/tasks", repeatable=False)
UPDATE: Final = Route("PUT", "/v2.0/tasks/{taskId}")
DELETE: Final = Route("DELETE", "/v2.0/tasks/{taskId}", deletes=RecordKind.TASK)
FINISH: Final = Route("POST", "/v2.0/tasks/{taskId}/finish")
UNFINISH: Final = Route("POST", "/v2.0/tasks/{taskId}/unfinish")

TASKS_OF_LEAD: Final = SinglePage(model=Task, request=LIST.label, at=("tasks",))


@frozen(eq=False, repr=False)
class Tasks:
    """The calls on tasks. All but `create` can be repeated safely."""

    _caller: Caller

    def list(self, lead_id: int, *, on_bad_record: OnBadRecord | None = None) -> Pager[Task]:
        """All tasks and appointments of a lead; the API sends them in one answer.

        Raises: InvalidRequestError if `lead_id` is not an id.
        """
        query = _checks.query(lead_id=_checks.number_id("lead_id", lead_id))
        return self._caller.pager(LIST, TASKS_OF_LEAD, query, on_bad_record)

    def mine(
        self,
        *,
        user_id: int | None = None,
        time_zone: str | None = None,
        page_size: int = 100,
        prefetch: int = 1,
        on_bad_record: OnBadRecord | None = None,
    ) -> Pager[Task]:
        """The caller's tasks, newest start first.

        `user_id` is the 15-digit id that records carry, not the one of `me()`; leave it out for the caller's own.
        `page_size` is 1 to 100. `time_zone` (IANA) chooses the offset of the times.

        Tasks that stay as they are while the list is read are yielded once, whatever is added, deleted, finished or
        moved meanwhile. The API reports neither the list's length nor a page's size: a page shorter than `page_size` is
        taken for the end, also if a server sends fewer at once than it is asked for. After `resume`, tasks that start
        at the same time as the last one before may be yielded again.

        Raises: InvalidRequestError if an argument is out of its range.
        """
        query = _checks.query(
            user_id=_checks.unless_none(_checks.number_id, "user_id", user_id),
            time_zone=_checks.unless_none(_checks.text, "time_zone", time_zone),
        )
        size = _checks.within("page_size", page_size, 1, 100)
        strategy = CursorPages(model=Task, request=MINE.label, at=("tasks",), page_size=size)
        return self._caller.pager(MINE, strategy, query, on_bad_record, prefetch=prefetch)

    async def get(self, id: int) -> Task:
        """One task or appointment, by the id that both share.

        Raises: NotFoundError.
        """
        return await self._caller.read(Task, ("task",), GET, _checks.number_id("id", id))

    async def create(
        self,
        *,
        type: TaskType | str,
        lead_id: int,
        content: str,
        assigned_role: AssignedRole | str,
        end_at: datetime,
        start_at: datetime | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        address: str | Unset = UNSET,
        verify: bool = False,
    ) -> int:
        """Create a task or appointment and return its id; the request is never sent twice.

        If the response is lost, the task may exist. With `verify`, the lead's tasks are read before and, in that case,
        three times within 2.5 s after: a new match is the created task. Its absence proves nothing, as the task may
        still appear. `verify` costs one request more. In one event loop, verified creates of the same task take turns,
        which `max_wait` does not bound.

        Raises: InvalidRequestError; AmbiguousWriteError if the response is lost and the task was not seen.
        """
        body = _checks.given(
            type=_checks.member("type", type, TaskType),
            content=_checks.text("content", content),
            assigned_role=_checks.member("assigned_role", assigned_role, AssignedRole),
            lead_id=_checks.number_id("lead_id", lead_id),
            end_at=_checks.moment("end_at", end_at),
            start_at=_checks.unless_unset(_checks.moment, "start_at", start_at),
            time_zone=_checks.unless_unset(_checks.text, "time_zone", time_zone),
            address=_checks.unless_unset(_checks.text, "address", address),
        )
        _checks.not_reversed(start_at, end_at)
        wire = _checks.wire_names(body)
        if verify:
            look = self.list(lead_id, on_bad_record="skip").collect
            return await create_verified(lambda: self._create(wire), look, body, self._caller)
        return await self._create(wire)

    async def update(
        self,
        id: int,
        *,
        content: str | Unset = UNSET,
        start_at: datetime | Unset = UNSET,
        end_at: datetime | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        address: str | Unset = UNSET,
    ) -> None:
        """Change the given fields of a task and leave the others alone.

        Raises: InvalidRequestError, also if only `time_zone` is given, which the API does not accept alone.
        """
        body = _checks.given(
            content=_checks.unless_unset(_checks.text, "content", content),
            start_at=_checks.unless_unset(_checks.moment, "start_at", start_at),
            end_at=_checks.unless_unset(_checks.moment, "end_at", end_at),
            address=_checks.unless_unset(_checks.text, "address", address),
            time_zone=_checks.unless_unset(_checks.text, "time_zone", time_zone),
        )
        _checks.some(body, ("content", "start_at", "end_at", "address"))
        _checks.not_reversed(start_at, end_at)
        await self._caller.send(UPDATE, _checks.number_id("id", id), body=_checks.wire_names(body))

    async def delete(self, id: int) -> None:
        """Delete a task or appointment."""
        await self._caller.send(DELETE, _checks.number_id("id", id))

    async def finish(self, id: int) -> None:
        """Mark a task as finished.

        Raises: InvalidRequestError named TASK_IS_SMARTPLAN for a task of a smart plan, which cannot be finished.
        """
        await self._caller.send(FINISH, _checks.number_id("id", id))

    async def unfinish(self, id: int) -> None:
        """Mark a task as open again."""
        await self._caller.send(UNFINISH, _checks.number_id("id", id))

    def for_leads(
        self,
        lead_ids: LeadIds,
        *,
        concurrency: int = 32,
        ordered: bool = False,
        max_wait: float | None = None,
    ) -> BulkRun:
        """The tasks of many leads, in the bulk lane; a lead that fails is a result with an `error`.

        `lead_ids` is any iterable, plain or async, and is read lazily. Results come as they are ready, or with
        `ordered` in the order of the ids. `max_wait` bounds the seconds that a call waits for the rate limit; the
        client's own `max_wait` does not apply.

        Raises: InvalidRequestError if an argument is out of its range.
        """
        bulk = Tasks(self._caller.in_bulk(_checks.seconds("max_wait", max_wait)))
        return BulkRun(lead_ids, as_value(pages_of(bulk.list)), concurrency=concurrency, ordered=ordered)

    async def _create(self, wire: dict[str, object]) -> int:
        return await create_record(self._caller, CREATE, wire, ("taskId",), int)
