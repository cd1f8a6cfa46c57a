"""The calls on tasks, in V2 and V1, and V1's list of appointments."""

from datetime import datetime
from typing import Any

from attrs import frozen

from . import errors, shapes, times
from .entities import MEMBER_ID, Entry, EntryKind
from .options import Options, UnknownCursor, page_size
from .parameters import Fields, call
from .shapes import EntryWriter
from .state import State, newest_first

TYPES = ("Other", "Call", "Email", "Text", "Appointment")
V1_TYPES = ("Other", "Call", "Email", "Text")
ROLES = ("Agent", "Assistant")
MAX_PAGE_SIZE = 100
UPDATABLE = ("content", "startAt", "endAt", "address")
FIELDS = f"{' '.join(UPDATABLE)} timeZoneCode"
V1_FIELDS = "content leadId deadline type assignedRole finishFlag"


@frozen
class TaskHandlers:
    """`/v2.0/tasks`, where appointments are tasks too."""

    state: State
    options: Options

    @call("GET /v2.0/tasks", query="leadId")
    def list_tasks(self, fields: Fields) -> Any:
        return self._tasks(_of_lead(self.state, fields), EntryWriter(self.state.now()))

    @call("POST /v2.0/tasks", body=f"{FIELDS} type leadId assignedRole")
    def create(self, fields: Fields) -> Any:
        fields.require("type", "content", "assignedRole", "leadId", "endAt")
        lead_id = fields.required_id("leadId")
        values: dict[str, Any] = {
            "type": fields.choice("type", TYPES),
            "assigned_role": fields.choice("assignedRole", ROLES),
            **_changes(fields),
            "time_zone": fields.zone(),
        }
        check_permission(self.state, lead_id)
        if values["type"] == "Appointment":
            values["kind"] = EntryKind.APPOINTMENT
        return {"taskId": self.state.add_task(lead_id, **values).id}

    @call("GET /v2.0/tasks/my-tasks", query="userId currentId limit timeZoneCode")
    def mine(self, fields: Fields) -> Any:
        cursor = fields.integer("currentId") or 0
        if cursor < 0:
            raise errors.ResponseError(400, "INVALID_PARAMETER", "currentId is negative", errors.bare)
        limit = fields.limit(default=10, most=MAX_PAGE_SIZE)
        code = fields.zone()
        entries = self._after(cursor, self._assigned(fields.record_id("userId")))
        writer = EntryWriter(self.state.now(), times.zone(code) if code else None)
        return self._tasks(entries[: page_size(self.options, limit)], writer)

    @call("GET /v2.0/tasks/{taskId}")
    def get(self, fields: Fields) -> Any:
        entry = _existing(self.state, fields)
        check_permission(self.state, entry.lead_id)
        return {"task": EntryWriter(self.state.now()).task(entry, self.state.leads[entry.lead_id])}

    @call("PUT /v2.0/tasks/{taskId}", body=FIELDS)
    def update(self, fields: Fields) -> Any:
        entry = _changeable(self.state, fields)
        changes, zone = _changes(fields), fields.zone()
        if not changes:
            raise errors.missing(f"one of {', '.join(UPDATABLE)} is required")
        self.state.change(entry.id, **changes, **({"time_zone": zone} if zone else {}))
        return {"message": "Task updated successfully"}

    @call("DELETE /v2.0/tasks/{taskId}")
    def delete(self, fields: Fields) -> Any:
        self.state.remove(_changeable(self.state, fields).id)
        return {"message": "Task deleted successfully"}

    @call("POST /v2.0/tasks/{taskId}/finish")
    def finish(self, fields: Fields) -> Any:
        finish(self.state, _changeable(self.state, fields))
        return {"message": "Task finished successfully"}

    @call("POST /v2.0/tasks/{taskId}/unfinish")
    def unfinish(self, fields: Fields) -> Any:
        self.state.unfinish(_changeable(self.state, fields).id)
        return {"message": "Task unfinished successfully"}

    def _tasks(self, entries: list[Entry], writer: EntryWriter) -> Any:
        return {"tasks": [writer.task(entry, self.state.leads[entry.lead_id]) for entry in entries]}

    def _assigned(self, user_id: int | None) -> list[Entry]:
        entries = self.state.sorted_entries(newest_first)
        owner = MEMBER_ID if user_id is None or self.options.ignores_user_id else user_id
        return self.state.visible(
            ("assigned", owner),
            lambda: (entry for entry in entries if entry.assigned_user_id == owner),
            self.options.my_tasks_hides,
        )

    def _after(self, cursor: int, entries: list[Entry]) -> list[Entry]:
        if not cursor:
            return entries
        for place, entry in enumerate(entries):
            if entry.id == cursor:
                return entries[place if self.options.cursor_inclusive else place + 1 :]
        return self._after_unknown(cursor, entries)

    def _after_unknown(self, cursor: int, entries: list[Entry]) -> list[Entry]:
        match self.options.unknown_cursor:
            case UnknownCursor.CONTINUE:
                last = self.state.entries.get(cursor) or self.state.removed.get(cursor)
                return [entry for entry in entries if last is not None and newest_first(entry) > newest_first(last)]
            case UnknownCursor.RESTART:
                return entries
            case UnknownCursor.EMPTY:
                return []
            case UnknownCursor.ERROR:
                raise errors.invalid("currentId is not in the list")


@frozen
class V1TaskHandlers:
    """`/v1.0/tasks` and `/v1.0/appts`, where tasks and appointments are apart."""

    state: State

    @call("GET /v1.0/tasks", query="leadId")
    def list_tasks(self, fields: Fields) -> Any:
        return {"taskList": [self._task(entry) for entry in _of_lead(self.state, fields, EntryKind.TASK)]}

    @call("GET /v1.0/appts", query="leadId")
    def list_appointments(self, fields: Fields) -> Any:
        found = _of_lead(self.state, fields, EntryKind.APPOINTMENT)
        return [shapes.appointment_v1(entry, self.state.now()) for entry in found]

    @call("POST /v1.0/tasks", body=V1_FIELDS)
    def create(self, fields: Fields) -> Any:
        fields.require("content", "leadId", "deadline", "type", "assignedRole")
        if fields.flag("finishFlag", default=False):
            raise errors.invalid("finishFlag is for updates")
        lead_id, values = fields.required_id("leadId"), _v1_changes(fields)
        check_permission(self.state, lead_id)
        return {"taskId": self.state.add_task(lead_id, **values).id}

    @call("GET /v1.0/tasks/{taskId}")
    def get(self, fields: Fields) -> Any:
        entry = _existing(self.state, fields, EntryKind.TASK)
        check_permission(self.state, entry.lead_id)
        return {"task": self._task(entry)}

    @call("PUT /v1.0/tasks/{taskId}", body=V1_FIELDS)
    def update(self, fields: Fields) -> None:
        entry = _changeable(self.state, fields, EntryKind.TASK)
        if fields.flag("finishFlag", default=False):
            finish(self.state, entry)
        else:
            self._update(fields, entry)

    @call("DELETE /v1.0/tasks/{taskId}")
    def delete(self, fields: Fields) -> None:
        try:
            entry = _changeable(self.state, fields, EntryKind.TASK)
        except errors.ResponseError as error:
            raise errors.v1_task_not_exist() if error.code == "TASK_NOT_EXIST" else error from None
        self.state.remove(entry.id)

    def _update(self, fields: Fields, entry: Entry) -> None:
        """Changes what is given; a finishFlag that is false reopens a finished task."""
        lead_id = fields.record_id("leadId")
        if lead_id not in (None, entry.lead_id):
            raise errors.lead_id_mismatch()
        changes = _v1_changes(fields)
        if not changes and lead_id is None and not fields.given("finishFlag"):
            raise errors.missing("a field to update is required")
        if fields.given("finishFlag") and entry.finished:
            self.state.unfinish(entry.id)
        if changes:
            self.state.change(entry.id, **changes)

    def _task(self, entry: Entry) -> Any:
        return shapes.task_v1(entry, self.state.leads[entry.lead_id], self.state.now())


def finish(state: State, entry: Entry) -> None:
    """Raises: ResponseError for a task of a smart plan."""
    if entry.smart_plan:
        raise errors.smart_plan()
    state.finish(entry.id)


def check_permission(state: State, lead_id: int) -> None:
    """Raises: ResponseError if the caller does not manage the lead."""
    if not state.manages(lead_id):
        raise errors.permission_denied()


def _of_lead(state: State, fields: Fields, kind: EntryKind | None = None) -> list[Entry]:
    lead_id = fields.required_id("leadId")
    if lead_id not in state.leads:
        raise errors.lead_not_exist()
    check_permission(state, lead_id)
    return [entry for entry in state.entries.of(lead_id) if kind in (None, entry.kind) and state.listed(entry)]


def _existing(state: State, fields: Fields, kind: EntryKind | None = None) -> Entry:
    entry = state.entries.get(fields.path_id("taskId"))
    if entry is None or kind not in (None, entry.kind):
        raise errors.task_not_exist()
    return entry


def _changeable(state: State, fields: Fields, kind: EntryKind | None = None) -> Entry:
    """A change gets another error than a read without access to the entry's lead."""
    entry = _existing(state, fields, kind)
    if not state.manages(entry.lead_id):
        raise errors.lead_not_exist(errors.hidden)
    return entry


def _changes(fields: Fields) -> dict[str, Any]:
    """The given ones of the fields that create and update have in common."""
    return _without_nulls(
        content=fields.text("content"),
        start_at=fields.iso("startAt"),
        end_at=fields.iso("endAt"),
        address=fields.text("address"),
    )


def _v1_changes(fields: Fields) -> dict[str, Any]:
    return _without_nulls(
        content=fields.text("content"),
        end_at=_deadline(fields),
        type=fields.choice("type", V1_TYPES),
        assigned_role=fields.choice("assignedRole", ROLES),
    )


def _without_nulls(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _deadline(fields: Fields) -> datetime | None:
    """A time after 1970: numbers use 0 and -1 for none, and a task needs a deadline."""
    moment = fields.milliseconds("deadline")
    if moment is not None and moment <= times.EPOCH:
        raise errors.invalid("deadline is not a time")
    return moment
