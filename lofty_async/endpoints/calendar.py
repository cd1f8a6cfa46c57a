"""The caller's calendar: tasks and appointments in a range of time, and free slots (`/v2.0/calendar`)."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from attrs import frozen

from lofty_async import checks
from lofty_async._strategies import SlotWindows, TimePages
from lofty_async.checks import UNSET, OnBadRecord, Unset
from lofty_async.complaints import RecordKind
from lofty_async.models import AssignedRole, CalendarEntry, EntryType, MeetingSlot, TaskType
from lofty_async.pagination import Pager
from lofty_async.times import format_time
from lofty_async.wire import Route

from . import optional
from .caller import Caller, utc_now
from .creation import created

LIST: Final = Route("GET", "/v2.0/calendar")
SLOTS: Final = Route("GET", "/v2.0/calendar/meetings/available")
CREATE: Final = Route("POST", "/v2.0/calendar", repeatable=False)
UPDATE: Final = Route("PUT", "/v2.0/calendar/{calendarId}")
DELETE: Final = Route("DELETE", "/v2.0/calendar/{calendarId}", deletes=RecordKind.CALENDAR_ENTRY)
FINISH: Final = Route("POST", "/v2.0/calendar/{calendarId}/finish")
UNFINISH: Final = Route("POST", "/v2.0/calendar/{calendarId}/unfinish")

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


@frozen(eq=False)
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
        source_types: Iterable[int] | None = None,
        newest_first: bool = False,
        page_size: int = 500,
        prefetch: int = 1,
        on_bad_record: OnBadRecord | None = None,
    ) -> Pager[CalendarEntry]:
        """The entries between `start` and `end`, of which one may be left open.

        Ascending by start unless `newest_first`: entries that are added meanwhile then shift fewer rows.
        `page_size` is 1 to 500. As the length of the list is told, `prefetch` pages may be fetched side by side.
        Once read, the count is held against the total, and what shifted away is read again.

        Raises: InvalidRequestError where both ends are open, one is naive, or an argument is out of its range.
        """
        if start is None and end is None:
            raise checks.refuse("start", "or end must be given")
        asked: dict[str, str | tuple[str, ...]] = {
            "includeFinished": str(checks.flag("include_finished", include_finished)).lower(),
            "sort": "startTime",
            "desc": str(checks.flag("newest_first", newest_first)).lower(),
        }
        asked |= {} if start is None else {"startTime": format_time(checks.moment("start", start))}
        asked |= {} if end is None else {"endTime": format_time(checks.moment("end", end))}
        if start is not None and end is not None:
            checks.ordered(start, end)
        asked |= {} if lead_id is None else {"leadId": str(checks.number_id("lead_id", lead_id))}
        asked |= {} if time_zone is None else {"timeZoneCode": checks.text("time_zone", time_zone)}
        types = checks.numbers("source_types", source_types)
        asked |= {"sourceType": tuple(map(str, types))} if types else {}
        strategy = TimePages(
            model=CalendarEntry,
            start=start,
            end=end,
            newest_first=newest_first,
            side_by_side=prefetch > 1,
            request=LIST.label,
            at=("data", "items"),
            page_size=checks.within("page_size", page_size, 1, 500),
        )
        return self._caller.pager(LIST, strategy, asked, on_bad_record, prefetch=checks.within("prefetch", prefetch, 0))

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
        """Free times for a meeting between `start`, which is later than now, and `end`, ascending.

        The API answers for 90 days and `limit` slots at a time; longer ranges and more slots are asked for piece by
        piece, so `limit` (1 or more) is the size of a page.

        Raises: InvalidRequestError where a time is naive, `start` has passed or `end` is not after it.
        """
        checks.later("start", checks.moment("start", start), self._now())
        checks.ordered(start, checks.moment("end", end))
        asked = {} if time_zone is None else {"timeZoneCode": checks.text("time_zone", time_zone)}
        strategy = SlotWindows(
            request=SLOTS.label,
            start=start,
            end=end,
            page_size=checks.within("limit", limit, 1),
            now=self._now,
        )
        return self._caller.pager(
            SLOTS, strategy, asked, on_bad_record, prefetch=checks.within("prefetch", prefetch, 0)
        )

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
        """Create a task or appointment and return its composite id; it is never sent twice.

        Both times are later than now. `task_way` is needed for a task, whose `assigned_role` is Agent unless given;
        `address` is for appointments. An appointment from midnight to midnight, each in its own offset, is all-day.

        Raises: InvalidRequestError; AmbiguousWriteError where the answer was lost.
        """
        is_task = checks.text("type", type).upper() == EntryType.TASK
        if is_task and task_way is UNSET:
            raise checks.refuse("task_way", "is needed for a task")
        role = AssignedRole.AGENT if is_task and assigned_role is UNSET else assigned_role
        body = checks.given(
            type=checks.text("type", type),
            content=checks.text("content", content),
            lead_id=checks.number_id("lead_id", lead_id),
            time_zone=checks.text("time_zone", time_zone),
            start_at=checks.later("start_at", checks.moment("start_at", start_at), self._now()),
            end_at=checks.later("end_at", checks.moment("end_at", end_at), self._now()),
            task_way=optional.text("task_way", task_way),
            assigned_role=optional.text("assigned_role", role),
            address=optional.text("address", address),
        )
        checks.not_reversed(start_at, end_at)
        return await created(self._caller, CREATE, checks.wire_names(body), ("data", "id"), str)

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
        reminder_type: str | Unset = UNSET,
        reminder_time: str | Unset = UNSET,
    ) -> None:
        """Change what is given of an entry and leave the rest alone; times are later than now.

        The codes of `reminder_type` and the unit of `reminder_time` are not documented: they pass as they are.

        Raises: InvalidRequestError.
        """
        for argument, value in (("start_at", start_at), ("end_at", end_at)):
            if value is not UNSET:
                checks.later(argument, checks.moment(argument, value), self._now())
        checks.not_reversed(start_at, end_at)
        body = checks.given(
            content=optional.text("content", content),
            start_at=start_at,
            end_at=end_at,
            address=optional.text("address", address),
            lead_id=optional.number_id("lead_id", lead_id),
            reminder_type=optional.text("reminder_type", reminder_type),
            reminder_time=optional.text("reminder_time", reminder_time),
            time_zone=optional.text("time_zone", time_zone),
        )
        checks.some(body, CHANGEABLE)
        await self._caller.send(UPDATE, checks.composite_id("id", id), body=checks.wire_names(body))

    async def delete(self, id: str) -> None:
        """Delete an entry."""
        await self._caller.send(DELETE, checks.composite_id("id", id))

    async def finish(self, id: str) -> None:
        """Mark an entry as finished."""
        await self._caller.send(FINISH, checks.composite_id("id", id))

    async def unfinish(self, id: str) -> None:
        """Mark an entry as open again."""
        await self._caller.send(UNFINISH, checks.composite_id("id", id))
