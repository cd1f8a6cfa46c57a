from datetime import datetime

from attrs import frozen

from .enums import Code, EntryType


@frozen(kw_only=True)
class CalendarEntry:
    """A task or appointment as the calendar shows it.

    `id` is composite (`12345-task`, `12345-appointment`) and goes back to the server as it came. `task_id` reads
    through `tasks.get`, which also has what the calendar leaves out: address, assignee, all-day, overdue.
    `source_type` is a code without a documented meaning, an integer or a string.
    """

    id: str
    type: EntryType | None = None
    task_id: int | None = None
    source_type: Code | None = None
    content: str | None = None
    title: str | None = None
    finished: bool | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    time_zone: str | None = None
    lead_id: int | None = None


@frozen(kw_only=True)
class MeetingSlot:
    """A time at which a meeting can be held."""

    start_at: datetime
    end_at: datetime
