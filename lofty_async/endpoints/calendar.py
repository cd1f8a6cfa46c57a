"""The caller's calendar: tasks and appointments in a range of time, and free slots (`/v2.0/calendar`)."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from lofty_async import _checks
from lofty_async._checks import UNSET, OnBadRecord, Unset
from lofty_async._strategies import SlotWindows, TimePages
from lofty_async._wire import RecordKind, Route
from lofty_async.models import AssignedRole, CalendarEntry, EntryType, MeetingSlot, TaskType
from lofty_async.pagination import Pager

from ._base import Caller, utc_now
from ._create import create_record

LIST: Final = Route("GET", "/v2.0/calendar")
SLOTS: Final = Route("GET", "/v2.0/calendar/meetings/available")
CREATE: Final = Route("POST", "/v2.0/calendar", repeatable=False)
UPDATE: Final = Route("PUT", "/v2.0/calendar/{calendarId}")
DELETE: Final = Route("DELETE", "/v2.0/calendar/{calendarId}", deletes=RecordKind.CALENDAR_ENTRY)
FINISH: Final = Route("POST", "/v2.0/calendar/{calendarId}/finish")
UNFINISH: Final = Route("POST", "/v2.0/calendar/{calendarId}/unfinish")

LONGEST_SLOT_RANGE: Final = timedelta(days=5 * 366)  # 21 requests of 90 days at least

CHANGEABLE: Final = (
    "content",
    "start_at",
    "end_at",
    "address",
    "lead_id",
    "reminder_type",
    "reminder_time",
    "time_zone",
)


@frozen(eq=False, repr=False)
class Calendar:
    """The calls on the calendar. Ids are composite (`12345-task`) and go back as they came."""

    _caller: Caller
    _now: Callable[[], datetime] = utc_now

    def list(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        lead_id: int | None = None,
        include_finished: bool = False,
        time_zone: str | None = None,
        source_types: Iterable[int | str] | None = None,
        sort: str = "startTime",
        newest_first: bool = False,
        page_size: int = 500,
        prefetch: int = 1,
        on_bad_record: OnBadRecord | None = None,
    ) -> Pager[CalendarEntry]:
        """The entries between `start` and `end`, of which one may be omitted.

        Ascending by start unless `newest_first`. `sort` is the vendor's name of a field; only `startTime` is
        documented. `source_types` are codes without a documented meaning: integers or strings, as entries have them.
        `page_size` is 1 to 500; `prefetch` pages may be fetched side by side.

        Entries that stay as they are while the list is read are yielded once, whatever is added, deleted, finished or
        moved meanwhile. Two cases are the server's: entries that start together and fill more than a page, if it
        sends them in another order each time, and other sorts than `startTime`. After `resume`, entries that start at
        the same time as the last one before may be yielded again.

        Raises: InvalidRequestError if both ends are omitted, one is naive, or an argument is out of its range.
        """
        if start is None and end is None:
            raise _checks.refuse("start", "or end is required")
        query = _checks.query(
            include_finished=_checks.flag("include_finished", include_finished),
            sort=_checks.text("sort", sort),
            desc=_checks.flag("newest_first", newest_first),
            start_time=_checks.unless_none(_checks.moment, "start", start),
            end_time=_checks.unless_none(_checks.moment, "end", end),
            lead_id=_checks.unless_none(_checks.number_id, "lead_id", lead_id),
            time_zone=_checks.unless_none(_checks.text, "time_zone", time_zone),
            source_type=_checks.codes("source_types", source_types) or None,
        )
        if start is not None and end is not None:
            _checks.ordered(start, end)
        strategy = TimePages(
            model=CalendarEntry,
            start=start,
            end=end,
            newest_first=newest_first,
            is_by_start=sort == "startTime",
            side_by_side=prefetch > 1,
            request=LIST.label,
            at=("data", "items"),
            page_size=_checks.within("page_size", page_size, 1, 500),
        )
        return self._caller.pager(LIST, strategy, query, on_bad_record, prefetch=prefetch)

    def slots(
        self,
        *,
        start: datetime,
        end: datetime,
        time_zone: str | None = None,
        limit: int = 100,
        prefetch: int = 1,
        on_bad_record: OnBadRecord | None = None,
    ) -> Pager[MeetingSlot]:
        """Free times for a meeting between `start` and `end`, ascending.

        `start` must be later than now by the server's clock; the server refuses an earlier one. `end` is at most
        1,830 days later. The API answers for 90 days and `limit` slots at a time; longer ranges and more slots take
        more requests, so `limit` (1 or more) is the size of a page.

        Raises: InvalidRequestError if a time is naive, or if `end` is not after `start` or too far from it.
        """
        start, end = _checks.moment("start", start), _checks.moment("end", end)
        _checks.ordered(start, end)
        _checks.at_most(LONGEST_SLOT_RANGE, start, end)
        query = _checks.query(time_zone=_checks.unless_none(_checks.text, "time_zone", time_zone))
        strategy = SlotWindows(
            request=SLOTS.label,
            start=start,
            end=end,
            page_size=_checks.within("limit", limit, 1),
            now=self._now,
        )
        return self._caller.pager(SLOTS, strategy, query, on_bad_record, prefetch=prefetch)

    async def create(
        self,
        *,
        type: EntryType | str,
        lead_id: int,
        content: str,
        time_zone: str,
        start_at: datetime,
        end_at: datetime,
        task_way: TaskType | str | Unset = UNSET,
        assigned_role: AssignedRole | str | Unset = UNSET,
        address: str | Unset = UNSET,
    ) -> str:
        """Create a task or appointment and return its composite id; the request is never sent twice.

        Both times must be later than now by the server's clock, and the server refuses earlier ones. `task_way` is
        required for a task, whose `assigned_role` is Agent unless given; `address` is for appointments. An appointment
        from midnight to midnight, each in its own offset, is all-day.

        Raises: InvalidRequestError; AmbiguousWriteError if the response is lost.
        """
        is_task = _checks.text("type", type).upper() == EntryType.TASK
        if is_task and task_way is UNSET:
            raise _checks.refuse("task_way", "is required for a task")
        role = AssignedRole.AGENT if is_task and assigned_role is UNSET else assigned_role
        body = _checks.given(
            type=_checks.member("type", type, EntryType),
            content=_checks.text("content", content),
            lead_id=_checks.number_id("lead_id", lead_id),
            time_zone=_checks.text("time_zone", time_zone),
            start_at=_checks.moment("start_at", start_at),
            end_at=_checks.moment("end_at", end_at),
            task_way=_checks.unless_unset(_checks.member, "task_way", task_way, TaskType),
            assigned_role=_checks.unless_unset(_checks.member, "assigned_role", role, AssignedRole),
            address=_checks.unless_unset(_checks.text, "address", address),
        )
        _checks.not_reversed(start_at, end_at)
        return await create_record(self._caller, CREATE, _checks.wire_names(body), ("data", "id"), str)

    async def update(
        self,
        id: str,
        *,
        content: str | Unset = UNSET,
        start_at: datetime | Unset = UNSET,
        end_at: datetime | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        address: str | Unset = UNSET,
        lead_id: int | Unset = UNSET,
        reminder_type: int | str | Unset = UNSET,
        reminder_time: int | str | Unset = UNSET,
    ) -> None:
        """Change the given fields of an entry and leave the others alone.

        Times must be later than now by the server's clock, and the server refuses earlier ones. The codes of
        `reminder_type` and the unit of `reminder_time` are not documented: integers and strings go out as text.

        Raises: InvalidRequestError.
        """
        body = _checks.given(
            content=_checks.unless_unset(_checks.text, "content", content),
            start_at=_checks.unless_unset(_checks.moment, "start_at", start_at),
            end_at=_checks.unless_unset(_checks.moment, "end_at", end_at),
            address=_checks.unless_unset(_checks.text, "address", address),
            lead_id=_checks.unless_unset(_checks.number_id, "lead_id", lead_id),
            reminder_type=_checks.unless_unset(_checks.code, "reminder_type", reminder_type),
            reminder_time=_checks.unless_unset(_checks.code, "reminder_time", reminder_time),
            time_zone=_checks.unless_unset(_checks.text, "time_zone", time_zone),
        )
        _checks.some(body, CHANGEABLE)
        _checks.not_reversed(start_at, end_at)
        await self._caller.send(UPDATE, _checks.composite_id("id", id), body=_checks.wire_names(body))

    async def delete(self, id: str) -> None:
        """Delete an entry."""
        await self._caller.send(DELETE, _checks.composite_id("id", id))

    async def finish(self, id: str) -> None:
        """Mark an entry as finished."""
        await self._caller.send(FINISH, _checks.composite_id("id", id))

    async def unfinish(self, id: str) -> None:
        """Mark an entry as open again."""
        await self._caller.send(UNFINISH, _checks.composite_id("id", id))
