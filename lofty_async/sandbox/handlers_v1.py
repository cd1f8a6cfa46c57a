"""The legacy API: the same tasks and appointments, told apart, in its own words."""

from datetime import datetime
from typing import Any

from aiohttp import web
from attrs import frozen

from . import refusals, shapes, times
from .entities import Entry, EntryKind
from .handlers_tasks import ROLES
from .reading import Fields, path_id
from .refusals import json_answer
from .state import State

TYPES = ("Other", "Call", "Email", "Text")


@frozen
class LegacyHandlers:
    """`/v1.0/tasks` and `/v1.0/appts`."""

    state: State

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1.0/tasks", self.list_tasks, allow_head=False),
            web.post("/v1.0/tasks", self.create),
            web.get("/v1.0/tasks/{taskId}", self.get, allow_head=False),
            web.put("/v1.0/tasks/{taskId}", self.update),
            web.delete("/v1.0/tasks/{taskId}", self.delete),
            web.get("/v1.0/appts", self.list_appointments, allow_head=False),
        ]

    async def list_tasks(self, request: web.Request) -> web.Response:
        return json_answer({"taskList": [self._shown(entry) for entry in self._of_lead(request, EntryKind.TASK)]})

    async def list_appointments(self, request: web.Request) -> web.Response:
        found = self._of_lead(request, EntryKind.APPOINTMENT)
        return json_answer([shapes.appointment_v1(entry, self.state.now()) for entry in found])

    async def create(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        fields.require("content", "leadId", "deadline", "type", "assignedRole")
        if fields.flag("finishFlag", default=False):
            raise refusals.invalid("finishFlag is for updates")
        lead_id = fields.required_identity("leadId")
        changes = _changes(fields)
        if not self.state.manages(lead_id):
            raise refusals.permission_denied()
        return json_answer({"taskId": self.state.add_task(lead_id, **changes).id})

    async def get(self, request: web.Request) -> web.Response:
        entry = self._task(request)
        if not self.state.manages(entry.lead_id):
            raise refusals.permission_denied()
        return json_answer({"task": self._shown(entry)})

    async def update(self, request: web.Request) -> web.Response:
        fields = await Fields.of_body(request)
        entry = self._reachable(request)
        if fields.flag("finishFlag", default=False):
            self._finish(entry)
        else:
            self._update(fields, entry)
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        try:
            entry = self._reachable(request)
        except refusals.Refusal as refusal:
            if refusal.code == "TASK_NOT_EXIST":
                raise refusals.task_gone() from None
            raise
        self.state.remove(entry.id)
        return web.Response()

    def _update(self, fields: Fields, entry: Entry) -> None:
        """Changes what is given; a finishFlag that is false reopens a finished task."""
        changes = _update(fields, entry)
        if fields.has("finishFlag") and entry.finished:
            self.state.unfinish(entry.id)
        if changes:
            self.state.change(entry.id, **changes)

    def _finish(self, entry: Entry) -> None:
        if entry.smart_plan:
            raise refusals.smart_plan()
        self.state.finish(entry.id)

    def _of_lead(self, request: web.Request, kind: EntryKind) -> list[Entry]:
        lead_id = Fields.of_query(request).required_identity("leadId")
        if lead_id not in self.state.leads:
            raise refusals.lead_not_exist()
        if not self.state.manages(lead_id):
            raise refusals.permission_denied()
        found = self.state.entries.of(lead_id)
        return [entry for entry in found if entry.kind is kind and self.state.listed(entry)]

    def _task(self, request: web.Request) -> Entry:
        try:
            return self.state.tasks[path_id(request, "taskId")]
        except KeyError:
            raise refusals.task_not_exist() from None

    def _reachable(self, request: web.Request) -> Entry:
        entry = self._task(request)
        if not self.state.manages(entry.lead_id):
            raise refusals.lead_not_reachable()
        return entry

    def _shown(self, entry: Entry) -> dict[str, Any]:
        return shapes.task_v1(entry, self.state.leads[entry.lead_id], self.state.now())


def _update(fields: Fields, entry: Entry) -> dict[str, Any]:
    lead_id = fields.identity("leadId")
    if lead_id not in (None, entry.lead_id):
        raise refusals.unmatched_lead()
    changes = _changes(fields)
    if not changes and lead_id is None and not fields.has("finishFlag"):
        raise refusals.missing("a field to update is required")
    return changes


def _changes(fields: Fields) -> dict[str, Any]:
    read: dict[str, str | datetime | None] = {
        "content": fields.text("content"),
        "end_at": _deadline(fields),
        "type": fields.choice("type", TYPES),
        "assigned_role": fields.choice("assignedRole", ROLES),
    }
    return {name: value for name, value in read.items() if value is not None}


def _deadline(fields: Fields) -> datetime | None:
    """A time after 1970: numbers use 0 and -1 for none, and a task needs a deadline."""
    moment = fields.milliseconds("deadline")
    if moment is not None and moment <= times.EPOCH:
        raise refusals.invalid("deadline is not a time")
    return moment
