"""Tasks of leads and of the caller (`/v2.0/tasks`)."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from lofty_async import _checks
from lofty_async._checks import UNSET, OnBadRecord, Unset
from lofty_async._strategies import CursorPages, SinglePage
from lofty_async._wire import Route
from lofty_async.bulk import BulkRun, LeadIds, as_value
from lofty_async.complaints import RecordKind
from lofty_async.models import AssignedRole, Task, TaskType
from lofty_async.pagination import Pager

from . import optional
from .caller import Caller
from .creation import created, settled

LIST: Final = Route("GET", "/v2.0/tasks")
MINE: Final = Route("GET", "/v2.0/tasks/my-tasks")
GET: Final = Route("GET", "/v2.0/tasks/{taskId}")
CREATE: Final = Route("POST", "/v2.0/tasks", repeatable=False)
UPDATE: Final = Route("PUT", "/v2.0/tasks/{taskId}")
DELETE: Final = Route("DELETE", "/v2.0/tasks/{taskId}", deletes=RecordKind.TASK)
FINISH: Final = Route("POST", "/v2.0/tasks/{taskId}/finish")
UNFINISH: Final = Route("POST", "/v2.0/tasks/{taskId}/unfinish")

TASKS_OF_LEAD: Final = SinglePage(model=Task, request=LIST.label, at=("tasks",))


@frozen(eq=False)
class Tasks:
    """The calls on tasks. Those that change one repeat safely, but for `create`."""

    _caller: Caller

    def list(self, lead_id: int, *, on_bad_record: OnBadRecord | None = None) -> Pager[Task]:
        """All tasks and appointments of a lead; the API sends them in one answer.

        Raises: InvalidRequestError where `lead_id` is no id.
        """
        asked = {"leadId": str(_checks.number_id("lead_id", lead_id))}
        return self._caller.pager(LIST, TASKS_OF_LEAD, asked, on_bad_record)

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

        Raises: InvalidRequestError where an argument is out of its range.
        """
        asked = {} if user_id is None else {"userId": str(_checks.number_id("user_id", user_id))}
        asked |= {} if time_zone is None else {"timeZoneCode": _checks.text("time_zone", time_zone)}
        size = _checks.within("page_size", page_size, 1, 100)
        strategy = CursorPages(model=Task, request=MINE.label, at=("tasks",), page_size=size)
        return self._caller.pager(
            MINE, strategy, asked, on_bad_record, prefetch=_checks.within("prefetch", prefetch, 0)
        )

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
        """Create a task or appointment and return its id; it is never sent twice.

        Where the answer is lost it may or may not exist. With `verify` the lead's tasks are read before and, in that
        case, three times within 2.5 s after: a new match is the answer. Its absence proves nothing, as the record may
        still appear. `verify` costs one request more. In one event loop, creates of the same thing take turns, for
        which `max_wait` is no bound.

        Raises: InvalidRequestError; AmbiguousWriteError where the answer was lost and the task was not seen.
        """
        body = _checks.given(
            type=_checks.member("type", type, TaskType),
            content=_checks.text("content", content),
            assigned_role=_checks.member("assigned_role", assigned_role, AssignedRole),
            lead_id=_checks.number_id("lead_id", lead_id),
            end_at=_checks.moment("end_at", end_at),
            start_at=optional.moment("start_at", start_at),
            time_zone=optional.text("time_zone", time_zone),
            address=optional.text("address", address),
        )
        _checks.not_reversed(start_at, end_at)
        wire = _checks.wire_names(body)
        if verify:
            look = self.list(lead_id, on_bad_record="skip").collect
            return await settled(lambda: self._create(wire), look, body, self._caller)
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
        """Change what is given of a task and leave the rest alone.

        Raises: InvalidRequestError, also where nothing but `time_zone` is given, which the API takes for nothing.
        """
        body = _checks.given(
            content=optional.text("content", content),
            start_at=optional.moment("start_at", start_at),
            end_at=optional.moment("end_at", end_at),
            address=optional.text("address", address),
            time_zone=optional.text("time_zone", time_zone),
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

        `lead_ids` is any iterable, plain or async, and pulled lazily. Results come as they are ready, or in the order
        of the ids with `ordered`. `max_wait` bounds the seconds that a call waits for the rate limit; the client's own
        does not apply here.

        Raises: InvalidRequestError where an argument is out of its range.
        """
        bulk = Tasks(self._caller.in_bulk(_checks.seconds("max_wait", max_wait)))
        return BulkRun(lead_ids, as_value(bulk._pages), concurrency=concurrency, ordered=ordered)

    async def _pages(self, lead_id: int) -> AsyncIterator[Sequence[Task]]:
        async for page in self.list(lead_id).pages():
            yield page.items

    async def _create(self, wire: dict[str, object]) -> int:
        return await created(self._caller, CREATE, wire, ("taskId",), int)
