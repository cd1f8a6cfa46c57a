"""Entries as the API writes them."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from attrs import frozen

from .entities import ABSENT, MEMBER_ID, MEMBER_NAME, TEAM_ID, Entry, Lead
from .times import TimeStyle, milliseconds, show

PIPELINE_ID = 880_143
ASSIGNED_ROLES = ("Agent", "Assistant")


@frozen
class Writer:
    """Writes entries as seen at a moment, their start and end in `zone` where one was asked for."""

    now: datetime
    zone: tzinfo | None = None

    def task(self, entry: Entry, lead: Lead) -> dict[str, Any]:
        return with_quirks(self._times(entry) | _task_fields(entry, lead, self.now), entry.quirks)

    def item(self, entry: Entry, lead: Lead) -> dict[str, Any]:
        """A calendar item: it lacks all-day, address, overdue and assignee."""
        return {
            "id": entry.calendar_id,
            "type": entry.kind.value,
            "taskId": entry.id,
            "sourceType": entry.source_type,
            "content": entry.content,
            "title": f"{lead.name}: {entry.type}",
            "finished": entry.finished,
            "startAt": self._local(entry.start_at, TimeStyle.OFFSET),
            "endAt": self._local(entry.end_at, TimeStyle.OFFSET),
            "startAtMs": milliseconds(entry.start_at) if entry.start_at else 0,
            "endAtMs": milliseconds(entry.end_at) if entry.end_at else 0,
            "timeZoneCode": entry.time_zone,
            "leadId": entry.lead_id,
        }

    def slot(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {
            "startTime": self._local(start, TimeStyle.OFFSET),
            "endTime": self._local(end, TimeStyle.OFFSET),
            "startTimeMs": milliseconds(start),
            "endTimeMs": milliseconds(end),
        }

    def _times(self, entry: Entry) -> dict[str, Any]:
        style = entry.time_style
        return {
            "startAt": self._local(entry.start_at, style),
            "endAt": self._local(entry.end_at, style),
            "timeZoneCode": entry.time_zone,
            "finishTime": show(entry.finished_at, style) if entry.finished_at else "",
            "createTime": show(entry.created_at, style),
            "lastUpdate": show(entry.updated_at, style),
        }

    def _local(self, moment: datetime | None, style: TimeStyle) -> str | None:
        if moment is None:
            return None
        return show(moment.astimezone(self.zone) if self.zone else moment, style)


def _task_fields(entry: Entry, lead: Lead, now: datetime) -> dict[str, Any]:
    return _common(entry, lead) | {
        "allDay": entry.all_day,
        "finishFlag": entry.finished,
        "overdueFlag": entry.overdue(now),
        "address": entry.address,
    }


def _common(entry: Entry, lead: Lead) -> dict[str, Any]:
    """What both versions of the API say alike about a task."""
    return {
        "id": entry.id,
        "leadId": entry.lead_id,
        "creatorId": MEMBER_ID,
        "content": entry.content,
        "type": entry.type,
        "leadName": lead.name,
        "leadEmail": lead.email,
        "leadPhone": lead.phone,
        "leadFirstName": lead.first_name,
        "leadLastName": lead.last_name,
        "reminderType": entry.reminder_type,
        "assignedRole": entry.assigned_role,
        "assignedUser": MEMBER_NAME,
        "teamId": TEAM_ID,
        "subject": entry.subject,
        "body": entry.body,
        "assignedUserId": entry.assigned_user_id,
        "pipelineId": PIPELINE_ID,
        "queryInfo": None,
        "leadUserId": lead.user_id,
        "queryId": entry.query_id,
    }


def task_v1(entry: Entry, lead: Lead, now: datetime) -> dict[str, Any]:
    """A task as the legacy API writes it: plain UTC times, `""` for none."""
    fields = _common(entry, lead) | {
        "deadline": show(entry.end_at, TimeStyle.PLAIN) if entry.end_at else "",
        "finishTime": show(entry.finished_at, TimeStyle.PLAIN) if entry.finished_at else "",
        "createTime": show(entry.created_at, TimeStyle.PLAIN),
        "lastUpdate": show(entry.updated_at, TimeStyle.PLAIN),
        "deleteFlag": False,
        "finishFlag": entry.finished,
        "overdueFlag": entry.overdue(now),
    }
    return with_quirks(fields, {name: value for name, value in entry.quirks.items() if name in _IN_V1})


_IN_V1 = frozenset({"pipelineId", "queryId", "leadUserId", "queryInfo", "leadEmail", "leadFirstName"})


def appointment_v1(entry: Entry, now: datetime) -> dict[str, Any]:
    """An appointment as the legacy API writes it: `deadline` is its start, in milliseconds; -1 is none."""
    return {
        "id": entry.id,
        "descr": entry.content,
        "address": entry.address,
        "createTime": show(entry.created_at, TimeStyle.ZULU),
        "lastUpdate": show(entry.updated_at, TimeStyle.ZULU),
        "deadline": milliseconds(entry.start_at) if entry.start_at else -1,
        "endTime": milliseconds(entry.end_at) if entry.end_at else -1,
        "allDay": entry.all_day,
        "finishFlag": entry.finished,
        "deleteFlag": False,
        "overdue": entry.overdue(now),
        "finishTime": milliseconds(entry.finished_at) if entry.finished_at else 0,
        "leadId": entry.lead_id,
        "assignToUid": entry.assigned_user_id,
        "assignRoleType": ASSIGNED_ROLES.index(entry.assigned_role) if entry.assigned_role in ASSIGNED_ROLES else -1,
        "creatorId": MEMBER_ID,
    }


def with_quirks(fields: dict[str, Any], quirks: Mapping[str, Any]) -> dict[str, Any]:
    """Quirks stand for what nobody set: what has been written since wins over `""`, null and missing."""
    if not quirks:
        return fields
    unset = {name: value for name, value in quirks.items() if fields.get(name) in (None, "") or name not in _SETTABLE}
    return {name: value for name, value in (fields | unset).items() if value is not ABSENT}


_SETTABLE = frozenset({"startAt", "endAt", "timeZoneCode", "finishTime", "address", "content"})
