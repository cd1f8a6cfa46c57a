"""V2 calendar: entries by time, under composite ids, and free slots."""

import re
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from attrs import frozen

from . import refusals, times
from .entities import Entry, EntryKind
from .handlers_tasks import ROLES, newest_first
from .paging import ListBehaviour
from .reading import LARGEST_ID, Fields
from .refusals import json_answer
from .shapes import Writer
from .slots import Interval, free_slots
from .state import State

WAYS = ("Call", "Email", "Text", "Other")
LARGEST_PAGE = 500
LONGEST_RANGE = timedelta(days=90)
COMPOSITE = re.compile(r"(?P<id>[1-9][0-9]{0,18})-(?P<kind>task|appointment)")


@frozen
class CalendarHandlers:
    """`/v2.0/calendar`; `time_zone` is the caller's own."""

    state: State
    time_zone: str
    lists: ListBehaviour

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2.0/calendar", self.list_entries, allow_head=False),
            web.post("/v2.0/calendar", self.create),
            web.get("/v2.0/calendar/meetings/available", self.available, allow_head=False),
            web.put("/v2.0/calendar/{calendarId}", self.update),
            web.delete("/v2.0/calendar/{calendarId}", self.delete),
            web.post("/v2.0/calendar/{calendarId}/finish", self.finish),
            web.post("/v2.0/calendar/{calendarId}/unfinish", self.unfinish),
        ]

    async def list_entries(self, request: web.Request) -> web.Response:
        fields = Fields.of_query(request)
        query = CalendarQuery.read(fields, _source_types(request))
        page, asked = _page(fields)
        size = self.lists.page_size(asked)
        self.lists.check_offset(page * size)
        code = fields.zone()
        found = [entry for entry in query.ordered(self.state) if query.matches(entry) and self._visible(entry)]
        writer = Writer(self.state.now(), times.zone(code) if code else None)
        shown = found[page * size : (page + 1) * size]
        items = [writer.item(entry, self.state.leads[entry.lead_id]) for entry in shown]
        told = {"page": page, "pageSize": self.lists.reported_size(asked), "items": items}
        return json_answer({"data": {**self.lists.total(len(found)), **told}})

    async def create(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        fields.require("type", "content", "leadId", "timeZoneCode")
        kind = _kind(fields)
        lead_id = fields.required_identity("leadId")
        made: dict[str, Any] = {
            "start_at": self._later(fields, "startAt", required=True),
            "end_at": self._later(fields, "endAt", required=True),
            "content": fields.text("content"),
            "time_zone": fields.zone(),
            **_of_kind(kind, fields),
        }
        if not self.state.manages(lead_id):
            raise refusals.permission_denied()
        add = self.state.add_task if kind is EntryKind.TASK else self.state.add_appointment
        message = "Calendar created successfully"
        data = {"id": add(lead_id, **made).calendar_id, "type": kind.value, "message": message}
        return json_answer({"data": data})

    async def available(self, request: web.Request) -> web.Response:
        fields = Fields.of_query(request)
        start, end = fields.required_moment("startTime"), fields.required_moment("endTime")
        limit = fields.integer("limit")
        if limit is not None and limit < 1:
            raise refusals.limit_not_valid()
        self._check_range(start, end)
        zone = times.zone(fields.zone() or self.time_zone) or times.EPOCH.tzinfo
        assert zone is not None, "the caller's zone is known"  # noqa: S101 - narrows a type
        slots = free_slots(start, end, zone, self._busy())
        written = [Writer(start).slot(*slot) for slot in slots[: 10 if limit is None else limit]]
        return json_answer({"data": {"total": len(slots), "slots": written}})

    async def update(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        entry = self._managed(request)
        read: dict[str, Any] = {
            "content": fields.text("content"),
            "start_at": self._later(fields, "startAt"),
            "end_at": self._later(fields, "endAt"),
            "time_zone": fields.zone(),
            "address": fields.text("address"),
            "reminder_type": _reminder_type(fields),
            "reminder_time": fields.text("reminderTime"),
            "lead_id": fields.identity("leadId"),
        }
        changes = {name: value for name, value in read.items() if value not in (None, "")}
        if not self.state.manages(changes.get("lead_id", entry.lead_id)):
            raise refusals.permission_denied()
        self.state.change(entry.id, **changes)
        return json_answer({"message": "Calendar updated successfully"})

    async def delete(self, request: web.Request) -> web.Response:
        self.state.remove(self._managed(request).id)
        return json_answer({"message": "Calendar deleted successfully"})

    async def finish(self, request: web.Request) -> web.Response:
        entry = self._managed(request)
        if entry.smart_plan:
            raise refusals.smart_plan()
        self.state.finish(entry.id)
        return json_answer({"message": "Calendar finished successfully"})

    async def unfinish(self, request: web.Request) -> web.Response:
        self.state.unfinish(self._managed(request).id)
        return json_answer({"message": "Calendar unfinished successfully"})

    def _managed(self, request: web.Request) -> Entry:
        named = COMPOSITE.fullmatch(request.match_info["calendarId"])
        if named is None or int(named["id"]) > LARGEST_ID:
            raise refusals.invalid("calendarId is not of the form <number>-task or <number>-appointment")
        entry = self.state.entries.get(int(named["id"]))
        if entry is None or entry.kind.lower() != named["kind"]:
            raise refusals.invalid("no such calendar entry")
        if not self.state.manages(entry.lead_id):
            raise refusals.permission_denied()
        return entry

    def _visible(self, entry: Entry) -> bool:
        return self.state.listed(entry) and self.state.manages(entry.lead_id)

    def _later(self, fields: Fields, name: str, *, required: bool = False) -> datetime | None:
        moment = fields.required_moment(name) if required else fields.moment(name)
        if moment is not None and moment <= self.state.now():
            raise refusals.invalid(f"{name} is not later than now")
        return moment

    def _check_range(self, start: datetime, end: datetime) -> None:
        if start <= self.state.now():
            raise refusals.invalid("startTime is not later than now")
        if end <= start:
            raise refusals.invalid("endTime is not later than startTime")
        if end - start > LONGEST_RANGE:
            raise refusals.invalid("the range is longer than 90 days")

    def _busy(self) -> list[Interval]:
        return [
            (entry.start_at, entry.end_at)
            for entry in self.state.appointments.values()
            if entry.start_at and entry.end_at and not entry.finished
        ]


@frozen
class CalendarQuery:
    """Which entries to list; an entry is at its start, or at its end where it has none."""

    since: datetime | None
    till: datetime | None
    lead_id: int | None
    include_finished: bool
    source_types: frozenset[str]
    by_end: bool
    descending: bool

    @classmethod
    def read(cls, fields: Fields, source_types: frozenset[str]) -> "CalendarQuery":
        since, till = fields.bound("startTime"), fields.bound("endTime")
        if since is None and till is None:
            raise refusals.invalid("one of startTime and endTime is required")
        return cls(
            since,
            till,
            fields.identity("leadId"),
            fields.flag("includeFinished", default=False),
            source_types,
            by_end=fields.choice("sort", ("startTime", "endTime")) == "endTime",
            descending=fields.flag("desc", default=True),
        )

    def ordered(self, state: State) -> list[Entry]:
        entries = state.sorted_entries(_latest_end_first if self.by_end else newest_first)
        return entries if self.descending else entries[::-1]

    def matches(self, entry: Entry) -> bool:
        at = entry.start_at or entry.end_at
        return (
            at is not None
            and (self.since is None or at >= self.since)
            and (self.till is None or at <= self.till)
            and self.lead_id in (None, entry.lead_id)
            and (self.include_finished or not entry.finished)
            and (not self.source_types or str(entry.source_type) in self.source_types)
        )


def _latest_end_first(entry: Entry) -> tuple[float, int]:
    end = entry.end_at or entry.start_at or times.EPOCH
    return -end.timestamp(), -entry.id


def _page(fields: Fields) -> tuple[int, int]:
    page, size = fields.integer("page") or 0, fields.integer("pageSize")
    size = 20 if size is None else size
    if page < 0 or size < 1:
        raise refusals.invalid("page or pageSize is too small")
    if size > LARGEST_PAGE:
        raise refusals.limit_oversize()
    return page, size


def _source_types(request: web.Request) -> frozenset[str]:
    """Repeated keys and commas are both read: which of them the vendor means is not known, nor what its codes are."""
    return frozenset(",".join(request.query.getall("sourceType", [])).split(",")) - {""}


def _kind(fields: Fields) -> EntryKind:
    try:
        return EntryKind((fields.text("type") or "").upper())
    except ValueError:
        raise refusals.invalid("type is neither TASK nor APPOINTMENT") from None


def _of_kind(kind: EntryKind, fields: Fields) -> dict[str, Any]:
    """The fields that only one kind of entry has; those of the other kind are refused."""
    for name in ("address",) if kind is EntryKind.TASK else ("taskWay", "assignedRole"):
        if fields.given(name):
            raise refusals.invalid(f"{name} is not for an entry of type {kind.value}")
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
    if not text or not text.isdecimal():
        return text
    return Fields({"reminderType": text}, textual=True).integer("reminderType")
