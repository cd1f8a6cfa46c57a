"""The calls on the calendar: entries by time, under composite ids, and free slots for meetings."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from attrs import frozen

from . import errors, times
from .entities import Entry, EntryKind
from .options import Options, check_offset, page_size, reported_size, total
from .parameters import ANY_YEAR, MAX_ID, Fields, call
from .shapes import EntryWriter
from .state import State, latest_end_first, newest_first
from .tasks import FIELDS, ROLES, check_permission, finish

Interval = tuple[datetime, datetime]

RANGE = "startTime endTime startTimeMs endTimeMs timeZoneCode"
FILTERS = "leadId includeFinished page pageSize sort desc sourceType"
WAYS = ("Call", "Email", "Text", "Other")
MAX_PAGE_SIZE = 500
MAX_RANGE = timedelta(days=90)
COMPOSITE = re.compile(r"(?P<id>[1-9][0-9]{0,18})-(?P<kind>task|appointment)")
FIRST_HOUR = time(9)
HOURS_PER_DAY = 8
SATURDAY = 5
SLOT_LENGTH = timedelta(hours=1)


@frozen
class CalendarHandlers:
    """`/v2.0/calendar`."""

    state: State
    options: Options

    @call("GET /v2.0/calendar", query=f"{RANGE} {FILTERS}", is_typed=True)
    def list_entries(self, fields: Fields) -> Any:
        query = CalendarQuery.read(fields)
        page, asked = _page(fields)
        size = page_size(self.options, asked)
        check_offset(self.options, page * size)
        code = fields.zone()
        ordered = query.ordered(self.state)
        found = self.state.visible(query, lambda: filter(query.matches, ordered), self.options.calendar_hides)
        writer = EntryWriter(self.state.now(), times.zone(code) if code else None)
        shown = found[page * size : (page + 1) * size]
        items = [writer.item(entry, self.state.leads[entry.lead_id]) for entry in shown]
        page_fields = {"page": page, "pageSize": reported_size(self.options, asked), "items": items}
        return {"data": {**total(self.options, len(found)), **page_fields}}

    @call("POST /v2.0/calendar", body=f"{FIELDS} type leadId startAtMs endAtMs taskWay assignedRole")
    def create(self, fields: Fields) -> Any:
        fields.require("type", "content", "leadId", "timeZoneCode")
        kind = _kind(fields)
        lead_id = fields.required_id("leadId")
        values: dict[str, Any] = {
            "start_at": self._later("startAt", fields.required_moment("startAt")),
            "end_at": self._later("endAt", fields.required_moment("endAt")),
            "content": fields.text("content"),
            "time_zone": fields.zone(),
            **_of_kind(kind, fields),
        }
        check_permission(self.state, lead_id)
        add = self.state.add_task if kind is EntryKind.TASK else self.state.add_appointment
        message = "Calendar created successfully"
        return {"data": {"id": add(lead_id, **values).calendar_id, "type": kind.value, "message": message}}

    @call("GET /v2.0/calendar/meetings/available", query=f"{RANGE} limit", is_typed=True)
    def available(self, fields: Fields) -> Any:
        start, end = fields.required_moment("startTime"), fields.required_moment("endTime")
        limit = fields.limit(default=10)
        self._check_range(start, end)
        slots = free_slots(start, end, times.zone(fields.zone() or self.options.time_zone) or UTC, self._busy())
        written = [EntryWriter(start).slot(*slot) for slot in slots[:limit]]
        return {"data": {"total": len(slots), "slots": written}}

    @call("PUT /v2.0/calendar/{calendarId}", body=f"{FIELDS} leadId startAtMs endAtMs reminderType reminderTime")
    def update(self, fields: Fields) -> Any:
        entry = self._managed(fields)
        values: dict[str, Any] = {
            "content": fields.text("content"),
            "start_at": self._later("startAt", fields.moment("startAt")),
            "end_at": self._later("endAt", fields.moment("endAt")),
            "time_zone": fields.zone(),
            "address": fields.text("address"),
            "reminder_type": _reminder_type(fields),
            "reminder_time": fields.text("reminderTime"),
            "lead_id": fields.record_id("leadId"),
        }
        changes = {name: value for name, value in values.items() if value not in (None, "")}
        check_permission(self.state, changes.get("lead_id", entry.lead_id))
        self.state.change(entry.id, **changes)
        return {"message": "Calendar updated successfully"}

    @call("DELETE /v2.0/calendar/{calendarId}")
    def delete(self, fields: Fields) -> Any:
        self.state.remove(self._managed(fields).id)
        return {"message": "Calendar deleted successfully"}

    @call("POST /v2.0/calendar/{calendarId}/finish")
    def finish(self, fields: Fields) -> Any:
        finish(self.state, self._managed(fields))
        return {"message": "Calendar finished successfully"}

    @call("POST /v2.0/calendar/{calendarId}/unfinish")
    def unfinish(self, fields: Fields) -> Any:
        self.state.unfinish(self._managed(fields).id)
        return {"message": "Calendar unfinished successfully"}

    def _managed(self, fields: Fields) -> Entry:
        calendar_id = COMPOSITE.fullmatch(fields.path["calendarId"])
        if calendar_id is None or int(calendar_id["id"]) > MAX_ID:
            raise errors.invalid("calendarId is not of the form <number>-task or <number>-appointment")
        entry = self.state.entries.get(int(calendar_id["id"]))
        if entry is None or entry.kind.lower() != calendar_id["kind"]:
            raise errors.invalid("no such calendar entry")
        check_permission(self.state, entry.lead_id)
        return entry

    def _later(self, name: str, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= self.state.now():
            raise errors.invalid(f"{name} is not later than now")
        return moment

    def _check_range(self, start: datetime, end: datetime) -> None:
        if start <= self.state.now():
            raise errors.invalid("startTime is not later than now")
        if end <= start:
            raise errors.invalid("endTime is not later than startTime")
        if end - start > MAX_RANGE:
            raise errors.invalid("the range is longer than 90 days")

    def _busy(self) -> list[Interval]:
        appointments = (
            (entry.start_at, entry.end_at)
            for entry in self.state.entries.values()
            if entry.kind is EntryKind.APPOINTMENT and entry.start_at and entry.end_at and not entry.finished
        )
        return self.state.cached("busy", lambda: merged(appointments))


@frozen
class CalendarQuery:
    """The filters and the order of a list; an entry counts at its start, or at its end if it has no start."""

    since: datetime | None
    until: datetime | None
    lead_id: int | None
    include_finished: bool
    source_types: frozenset[str]
    by_end: bool
    descending: bool

    @classmethod
    def read(cls, fields: Fields) -> "CalendarQuery":
        since, until = fields.moment("startTime", ANY_YEAR), fields.moment("endTime", ANY_YEAR)
        if since is None and until is None:
            raise errors.invalid("one of startTime and endTime is required")
        return cls(
            since,
            until,
            fields.record_id("leadId"),
            fields.flag("includeFinished", default=False),
            frozenset((fields.text("sourceType") or "").split(",")) - {""},
            by_end=fields.choice("sort", ("startTime", "endTime")) == "endTime",
            descending=fields.flag("desc", default=True),
        )

    def ordered(self, state: State) -> list[Entry]:
        entries = state.sorted_entries(latest_end_first if self.by_end else newest_first)
        return entries if self.descending else entries[::-1]

    def matches(self, entry: Entry) -> bool:
        at = entry.start_at or entry.end_at
        return (
            at is not None
            and (self.since is None or at >= self.since)
            and (self.until is None or at <= self.until)
            and self.lead_id in (None, entry.lead_id)
            and (self.include_finished or not entry.finished)
            and (not self.source_types or str(entry.source_type) in self.source_types)
        )


def _page(fields: Fields) -> tuple[int, int]:
    page, size = fields.integer("page") or 0, fields.integer("pageSize")
    size = 20 if size is None else size
    if page < 0 or size < 1:
        raise errors.invalid("page or pageSize is too small")
    if size > MAX_PAGE_SIZE:
        raise errors.page_size_too_large()
    return page, size


def _kind(fields: Fields) -> EntryKind:
    try:
        return EntryKind((fields.text("type") or "").upper())
    except ValueError:
        raise errors.invalid("type is neither TASK nor APPOINTMENT") from None


def _of_kind(kind: EntryKind, fields: Fields) -> dict[str, Any]:
    """The fields of this kind of entry; those of the other kind are errors."""
    for name in ("address",) if kind is EntryKind.TASK else ("taskWay", "assignedRole"):
        if fields.given(name):
            raise errors.invalid(f"{name} is not for an entry of type {kind.value}")
    if kind is EntryKind.APPOINTMENT:
        return {"address": fields.text("address")}
    fields.require("taskWay")
    return {
        "type": fields.choice("taskWay", WAYS),
        "assigned_role": fields.choice("assignedRole", ROLES) or "Agent",
    }


def _reminder_type(fields: Fields) -> int | str | None:
    """A string here, though tasks show a number."""
    text = fields.text("reminderType")
    if not text or not (text.isascii() and text.isdigit()):
        return text
    return Fields({"reminderType": text}, textual=True).integer("reminderType")


def free_slots(start: datetime, end: datetime, zone: tzinfo, busy: list[Interval]) -> list[Interval]:
    """The working hours between `start` and `end` that overlap no busy interval, ascending; `busy` must be `merged`."""
    begins = [since for since, _ in busy]

    def is_free(opens: datetime, closes: datetime) -> bool:
        place = bisect_left(begins, closes)
        return place == 0 or busy[place - 1][1] <= opens

    hours = _working_hours(start.astimezone(zone), end.astimezone(zone))
    return [hour for hour in hours if is_free(*hour)]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as disjoint intervals, ascending, so that a search finds the only one that can overlap."""
    found: list[Interval] = []
    for since, until in sorted(intervals):
        if found and since <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((since, max(since, until)))
    return found


def _working_hours(start: datetime, end: datetime) -> Iterator[Interval]:
    day = start.date()
    while day <= end.date():
        first = datetime.combine(day, FIRST_HOUR, tzinfo=start.tzinfo)
        for hour in range(HOURS_PER_DAY if day.weekday() < SATURDAY else 0):
            opens = first + hour * SLOT_LENGTH
            if opens >= start and opens + SLOT_LENGTH <= end:
                yield opens, opens + SLOT_LENGTH
        day += timedelta(days=1)
