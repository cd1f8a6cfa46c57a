"""Calendar entries and tasks as an iCalendar file (RFC 5545); needs the extra `ical`.

An appointment is an event. A task is an event at its deadline, as Google Calendar and Outlook show no to-dos, or a
to-do. Times are written in UTC, which every reader shows in its own zone; all-day entries are dates. What has no time
has no place among events, and is a to-do without a date.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, Final, Literal

from attrs import frozen

from ._checks import moment, refuse, text, unless_none
from ._times import instant
from .models import CalendarEntry, EntryType, Task, TaskType

__all__ = ["to_ical"]

_PRODUCT: Final = "-//lofty_async//calendar//EN"
_DOMAIN: Final = "api.lofty.com"
_UNKNOWN_STAMP: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_DONE: Final = "\N{CHECK MARK} "
_NUMBER: Final = re.compile(r"\d+(?=-(?:task|appointment)$)", re.ASCII | re.IGNORECASE)
_BREAK: Final = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPED: Final = {"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"}


def to_ical(
    entries: Iterable[CalendarEntry | Task],
    *,
    name: str = "Lofty",
    tasks: Literal["event", "todo"] = "event",
    stamp: datetime | None = None,
) -> bytes:
    """The entries as an iCalendar file in UTF-8, the same bytes for the same entries; `name` is the calendar's.

    `tasks` says what a task becomes. A finished to-do is completed; the title of a finished event begins with a check
    mark. An entry has the same UID each time, whether it is read as `CalendarEntry` or as `Task`; one that comes again
    is left out. `stamp` is the DTSTAMP of entries that do not say when they changed, 1970 by default: pass the current
    time for readers that import the same file again and look for newer entries.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
    """
    if tasks not in ("event", "todo"):
        raise refuse("tasks", "must be 'event' or 'todo'")
    writer = _Writer(_icalendar(), tasks == "todo", unless_none(moment, "stamp", stamp) or _UNKNOWN_STAMP)
    return writer.calendar(text("name", name), _items(entries))


def _icalendar() -> Any:
    try:
        import icalendar  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('to_ical needs icalendar: pip install "lofty-async[ical]"') from error
    return icalendar


@frozen(kw_only=True)
class _Item:
    """The fields that entries and tasks share."""

    uid: str
    is_appointment: bool
    all_day: bool
    start: datetime | None
    end: datetime | None
    finished: bool | None
    finished_at: datetime | None = None
    summary: str
    description: str
    location: str | None = None
    category: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


def _items(entries: Iterable[CalendarEntry | Task]) -> Iterator[_Item]:
    if not isinstance(entries, Iterable):
        raise refuse("entries", "must be a list of CalendarEntry or Task: use [entry], or await pager.collect()")
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry, CalendarEntry | Task):
            raise refuse("entries", f"must hold CalendarEntry or Task, not {type(entry).__name__}")
        item = _of_entry(entry) if isinstance(entry, CalendarEntry) else _of_task(entry)
        if item.uid not in seen:
            seen.add(item.uid)
            yield item


def _of_entry(entry: CalendarEntry) -> _Item:
    number = _NUMBER.match(entry.id)
    is_appointment = entry.type != EntryType.TASK if entry.type else entry.id.lower().endswith("-appointment")
    return _Item(
        uid=_uid(entry.task_id or (number and number[0]) or entry.id),
        is_appointment=is_appointment,
        all_day=_is_all_day(None, entry, is_appointment),
        start=entry.start_at,
        end=entry.end_at,
        finished=entry.finished,
        summary=_first_line(entry.title, entry.content, "Appointment" if is_appointment else "Task"),
        description=entry.content or "",
    )


def _of_task(task: Task) -> _Item:
    is_appointment = task.type == TaskType.APPOINTMENT
    return _Item(
        uid=_uid(task.id),
        is_appointment=is_appointment,
        all_day=_is_all_day(task.all_day, task, is_appointment),
        start=task.start_at,
        end=task.end_at,
        finished=task.finished,
        finished_at=task.finished_at,
        summary=_first_line(task.content, task.subject, task.type, "Task"),
        description="\n".join(part for part in (task.content, task.lead_name and f"Lead: {task.lead_name}") if part),
        location=task.address,
        category=task.type,
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


def _first_line(*texts: str | None) -> str:
    """The first line of the texts that says something."""
    lines = (line.strip() for text in texts if text for line in text.splitlines())
    return next(line for line in lines if line)


def _uid(number: int | str) -> str:
    return f"{number}@{_DOMAIN}"


def _is_all_day(flag: bool | None, entry: CalendarEntry | Task, is_appointment: bool) -> bool:
    """Whether the entry says so, or is an appointment from midnight to midnight, which is how the API says it."""
    times = (entry.start_at, entry.end_at)
    return bool(flag) or (flag is None and is_appointment and all(one and one.time() == time() for one in times))


class _Writer:
    """Writes components with the package icalendar, which is an extra."""

    def __init__(self, icalendar: Any, has_todos: bool, stamp: datetime) -> None:
        self.icalendar, self.has_todos, self.stamp = icalendar, has_todos, stamp
        self.text = _text_kind(icalendar)

    def calendar(self, name: str, items: Iterable[_Item]) -> bytes:
        calendar = self.icalendar.Calendar()
        # Google and Outlook know the last of these alone.
        texts = {"prodid": _PRODUCT, "version": "2.0", "name": name, "x-wr-calname": name}
        self._add_texts(calendar, texts)
        for item in items:
            calendar.add_component(self._component(item))
        content: bytes = calendar.to_ical()
        return content

    def _component(self, item: _Item) -> Any:
        is_todo = self.has_todos and not item.is_appointment
        times = _todo_times(item) if is_todo else _event_times(item)
        is_todo = is_todo or not times
        component = self.icalendar.Todo() if is_todo else self.icalendar.Event()
        texts = {
            "uid": item.uid,
            "summary": item.summary if is_todo or not item.finished else _DONE + item.summary,
            "description": item.description if item.description != item.summary else None,
            "location": item.location,
            "categories": item.category,
        }
        status = _todo_status(item) if is_todo else _event_status(item)
        self._add_texts(component, texts)
        for name, value in (times | _stamps(item, self.stamp) | status).items():
            component.add(name, value)
        return component

    def _add_texts(self, component: Any, texts: Mapping[str, str | None]) -> None:
        for name, value in texts.items():
            if value:
                component.add(name, self.text(_clean(value)))


@cache
def _text_kind(icalendar: Any) -> Any:
    class Text(icalendar.vText):  # type: ignore[misc,no-any-unimported,unused-ignore] # the package is an extra
        r"""A text that is escaped right: icalendar takes \N, as in the path C:\New, for a line break."""

        def to_ical(self) -> bytes:
            return "".join(_ESCAPED.get(one, one) for one in str(self)).encode()

    return Text


def _clean(value: str) -> str:
    """The text with line feeds as its only line breaks, and without control characters, which the format forbids."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BREAK.sub("\n", value))


def _utc(value: datetime | None) -> datetime | None:
    """The time in UTC to the second; `None` if it is not between the years 1 and 9999 there."""
    if value is None:
        return None
    if value.utcoffset() is None:
        raise refuse("entries", "must hold timezone-aware times alone")
    try:
        return instant(value).replace(microsecond=0)
    except OverflowError:
        return None


def _event_times(item: _Item) -> dict[str, Any]:
    """When an event is; empty if it has no time. A task whose start is not before its deadline is at its deadline."""
    if item.all_day:
        first, last = _days(item)
        return {"dtstart": first, "dtend": last + _DAY} if first and last and last < date.max else {}
    start, end = _utc(item.start), _utc(item.end)
    if start is None or (end and start >= end and not item.is_appointment):
        start = end
    if start is None:
        return {}
    return {"dtstart": start} | ({"dtend": end} if end and start < end else {})


def _todo_times(item: _Item) -> dict[str, Any]:
    """When a to-do is due, and its start if that is earlier."""
    start: date | None
    due: date | None
    start, due = _days(item) if item.all_day else (_utc(item.start), _utc(item.end))
    if due is None:
        return {"dtstart": start} if start else {}
    return {"due": due} | ({"dtstart": start} if start and start < due else {})


def _days(item: _Item) -> tuple[date | None, date | None]:
    """The first and the last day by the wall clock of the entry's own offset; one that ends at midnight ends before."""
    start, end = item.start or item.end, item.end or item.start
    if start is None or end is None:
        return None, None
    last = end.date()
    if last > start.date() and end.time() == time():
        last -= _DAY
    return start.date(), max(start.date(), last)


def _stamps(item: _Item, otherwise: datetime) -> dict[str, datetime]:
    changed = {"created": _utc(item.created_at), "last-modified": _utc(item.updated_at)}
    known = {name: value for name, value in changed.items() if value}
    return {"dtstamp": known.get("last-modified") or known.get("created") or otherwise} | known


def _todo_status(item: _Item) -> dict[str, Any]:
    if item.finished is None:
        return {}
    if not item.finished:
        return {"status": "NEEDS-ACTION"}
    finished_at = _utc(item.finished_at)
    return {"status": "COMPLETED", "percent-complete": 100} | ({"completed": finished_at} if finished_at else {})


def _event_status(item: _Item) -> dict[str, Any]:
    """A deadline and what is over leave the time free."""
    return {"transp": "TRANSPARENT"} if item.finished or not item.is_appointment else {}
