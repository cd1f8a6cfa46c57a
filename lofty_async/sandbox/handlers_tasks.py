"""V2 tasks."""

from datetime import datetime
from typing import Any

from aiohttp import web
from attrs import frozen

from . import refusals, times
from .entities import MEMBER_ID, Entry, EntryKind
from .paging import ListBehaviour, UnknownCursor
from .reading import Fields, path_id
from .refusals import json_answer
from .shapes import Writer
from .state import State

TYPES = ("Other", "Call", "Email", "Text", "Appointment")
ROLES = ("Agent", "Assistant")
LARGEST_PAGE = 100
UPDATABLE = ("content", "startAt", "endAt", "address")


def newest_first(entry: Entry) -> tuple[float, int]:
    start = entry.start_at or entry.end_at or times.EPOCH
    return -start.timestamp(), -entry.id


@frozen
class TaskHandlers:
    """`/v2.0/tasks`."""

    state: State
    lists: ListBehaviour

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2.0/tasks", self.list_tasks, allow_head=False),
            web.post("/v2.0/tasks", self.create),
            web.get("/v2.0/tasks/my-tasks", self.mine, allow_head=False),
            web.get("/v2.0/tasks/{taskId}", self.get, allow_head=False),
            web.put("/v2.0/tasks/{taskId}", self.update),
            web.delete("/v2.0/tasks/{taskId}", self.delete),
            web.post("/v2.0/tasks/{taskId}/finish", self.finish),
            web.post("/v2.0/tasks/{taskId}/unfinish", self.unfinish),
        ]

    async def list_tasks(self, request: web.Request) -> web.Response:
        lead_id = Fields.of_query(request).required_identity("leadId")
        if lead_id not in self.state.leads:
            raise refusals.lead_not_exist()
        if not self.state.manages(lead_id):
            raise refusals.permission_denied()
        entries = [entry for entry in self.state.entries.of(lead_id) if self.state.listed(entry)]
        return self._tasks(entries, Writer(self.state.now()))

    async def create(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        fields.require("type", "content", "assignedRole", "leadId", "endAt")
        lead_id = fields.required_identity("leadId")
        made: dict[str, Any] = {
            "type": fields.choice("type", TYPES),
            "assigned_role": fields.choice("assignedRole", ROLES),
            **_changes(fields),
            "time_zone": fields.zone(),
        }
        if not self.state.manages(lead_id):
            raise refusals.permission_denied()
        if made["type"] == "Appointment":
            made["kind"] = EntryKind.APPOINTMENT
        return json_answer({"taskId": self.state.add_task(lead_id, **made).id})

    async def mine(self, request: web.Request) -> web.Response:
        fields = Fields.of_query(request)
        cursor = fields.integer("currentId") or 0
        if cursor < 0:
            raise refusals.Refusal(400, "INVALID_PARAMETER", "currentId is negative", refusals.bare)
        limit = fields.integer("limit")
        limit = 10 if limit is None else limit
        if not 1 <= limit <= LARGEST_PAGE:
            raise refusals.limit_not_valid()
        code = fields.zone()
        entries = self._after(cursor, self._assigned(fields.identity("userId") or MEMBER_ID))
        return self._tasks(
            entries[: self.lists.page_size(limit)], Writer(self.state.now(), times.zone(code) if code else None)
        )

    async def get(self, request: web.Request) -> web.Response:
        entry = self._entry(request)
        if not self.state.manages(entry.lead_id):
            raise refusals.permission_denied()
        return json_answer({"task": Writer(self.state.now()).task(entry, self.state.leads[entry.lead_id])})

    async def update(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        entry = self._reachable(request)
        changes, zone = _changes(fields), fields.zone()
        if not changes:
            raise refusals.missing(f"one of {', '.join(UPDATABLE)} is required")
        self.state.change(entry.id, **changes, **({"time_zone": zone} if zone else {}))
        return json_answer({"message": "Task updated successfully"})

    async def delete(self, request: web.Request) -> web.Response:
        self.state.remove(self._reachable(request).id)
        return json_answer({"message": "Task deleted successfully"})

    async def finish(self, request: web.Request) -> web.Response:
        entry = self._reachable(request)
        if entry.smart_plan:
            raise refusals.smart_plan()
        self.state.finish(entry.id)
        return json_answer({"message": "Task finished successfully"})

    async def unfinish(self, request: web.Request) -> web.Response:
        self.state.unfinish(self._reachable(request).id)
        return json_answer({"message": "Task unfinished successfully"})

    def _entry(self, request: web.Request) -> Entry:
        try:
            return self.state.entries[path_id(request, "taskId")]
        except KeyError:
            raise refusals.task_not_exist() from None

    def _reachable(self, request: web.Request) -> Entry:
        entry = self._entry(request)
        if not self.state.manages(entry.lead_id):
            raise refusals.lead_not_reachable()
        return entry

    def _assigned(self, user_id: int) -> list[Entry]:
        state = self.state
        found = (entry for entry in state.sorted_entries(newest_first) if entry.assigned_user_id == user_id)
        return [entry for entry in found if state.listed(entry) and state.manages(entry.lead_id)]

    def _after(self, cursor: int, entries: list[Entry]) -> list[Entry]:
        if not cursor:
            return entries
        for place, entry in enumerate(entries):
            if entry.id == cursor:
                return entries[place if self.lists.cursor_inclusive else place + 1 :]
        return self._after_unknown(cursor, entries)

    def _after_unknown(self, cursor: int, entries: list[Entry]) -> list[Entry]:
        match self.lists.unknown_cursor:
            case UnknownCursor.CONTINUE:
                last = self.state.entries.get(cursor) or self.state.removed.get(cursor)
                return [entry for entry in entries if last is not None and newest_first(entry) > newest_first(last)]
            case UnknownCursor.RESTART:
                return entries
            case UnknownCursor.EMPTY:
                return []
            case UnknownCursor.ERROR:
                raise refusals.invalid("currentId is not in the list")

    def _tasks(self, entries: "list[Entry]", writer: Writer) -> web.Response:
        return json_answer({"tasks": [writer.task(entry, self.state.leads[entry.lead_id]) for entry in entries]})


def _changes(fields: Fields) -> dict[str, Any]:
    """The given ones of the fields that create and update have in common."""
    read: dict[str, str | datetime | None] = {
        "content": fields.text("content"),
        "start_at": fields.iso("startAt"),
        "end_at": fields.iso("endAt"),
        "address": fields.text("address"),
    }
    return {name: value for name, value in read.items() if value is not None}
