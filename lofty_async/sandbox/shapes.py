"""Records as the API writes them: tasks, appointments, leads and the caller's profile, with every documented field."""

import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

from attrs import frozen

from .entities import ABSENT, LENDER_ID, MEMBER_ID, MEMBER_NAME, OFFICES, TEAM_ID, Entry, Lead
from .times import EPOCH, TimeStyle, milliseconds, show

PIPELINE_ID = 880_143
ASSIGNED_ROLES = ("Agent", "Assistant")


@frozen
class EntryWriter:
    """Writes entries as of `now`, with start and end in `zone` if it is given."""

    now: datetime
    zone: tzinfo | None = None

    def task(self, entry: Entry, lead: Lead) -> dict[str, Any]:
        style = entry.time_style
        fields = _common(entry, lead) | {
            "startAt": self._local(entry.start_at, style),
            "endAt": self._local(entry.end_at, style),
            "timeZoneCode": entry.time_zone,
            "allDay": entry.all_day,
            "finishFlag": entry.finished,
            "finishTime": show(entry.finished_at, style) if entry.finished_at else "",
            "overdueFlag": entry.overdue(self.now),
            "address": entry.address,
            "createTime": show(entry.created_at, style),
            "lastUpdate": show(entry.updated_at, style),
        }
        return with_quirks(fields, entry.quirks)

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

    def _local(self, moment: datetime | None, style: TimeStyle) -> str | None:
        if moment is None:
            return None
        return show(moment.astimezone(self.zone) if self.zone else moment, style)


def _common(entry: Entry, lead: Lead) -> dict[str, Any]:
    """The fields of a task that V1 and V2 share."""
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
    """A task in V1: plain UTC times, `""` for none."""
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
    """An appointment in V1: `deadline` is its start, in milliseconds; -1 is none."""
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
    """Replaces fields by the quirks, except those that a client has since set to a value."""
    if not quirks:
        return fields
    unset = {name: value for name, value in quirks.items() if fields.get(name) in (None, "") or name not in _SETTABLE}
    return {name: value for name, value in (fields | unset).items() if value is not ABSENT}


_SETTABLE = frozenset({"startAt", "endAt", "timeZoneCode", "finishTime", "address", "content"})


OFFICE_NAMES = dict(zip(OFFICES, ("Austin", "North Austin", "Lisbon"), strict=True))
OPPORTUNITIES = (None, "High Interest", "Sell", "Back to Site", "Back on Market")

_SAMPLES: Final[Mapping[str, dict[str, Any]]] = json.loads("""{
  "lead": {
    "streetAddress": "12 Main St", "city": "Austin", "state": "TX", "zipCode": "73301", "birthday": "Feb 29, 1988",
    "phoneStatuses": [2], "facebook": "", "twitter": "", "cannotText": false, "cannotCall": false,
    "cannotEmail": false, "unsubscription": false, "hiddenFlag": false, "referredBy": "A neighbour",
    "assignCompletionStatus": true, "leadTypes": [2], "buyingTimeFrame": "6-12",
    "sellingTimeFrame": "Just Looking", "preQual": "Yes", "houseToSell": "No", "fthb": "Yes",
    "withBuyerAgent": "No", "withListingAgent": "", "mortgage": "Yes", "buyHouse": null,
    "customAttributes": [{"attributeName": "Pets", "attributeType": "text", "value": "a cat", "params": ""}],
    "pondId": 0, "pondName": ""
  },
  "relative": {
    "relationship": "Husband", "firstName": "Sam", "phones": ["+14155551234"], "emails": ["spouse@example.com"],
    "birthday": "Mar 1, 1990"
  },
  "inquiry": {
    "priceMin": 250000, "priceMax": 900000, "propertyType": ["Single Family Home", "Condo"], "bedroomsMin": 2,
    "bedroomsMax": 4, "bathroomsMin": "1.5", "bathroomsMax": "3",
    "locations": [{"stateCode": "TX", "city": "Austin", "zipCode": "73301", "county": "Travis", "streetAddress": "",
      "description": "near the river"}],
    "modifyByAgent": false, "defaultValue": false
  },
  "home": {
    "streetAddress": "12 Main St", "city": "Austin", "state": "TX", "zipCode": "73301", "county": "Travis",
    "price": 640000, "priceMin": 600000, "priceMax": 700000, "propertyType": "Townhouse", "bedrooms": 3,
    "bathrooms": 2.5, "squareFeet": 1800, "lotSize": 0.33, "parkingSpace": 1, "floors": 2, "mailAddress": true,
    "listingId": "", "autoListingId": 0, "listingStatus": "", "label": "Home", "labelList": "Home",
    "labelType": "", "note": null, "pictureUrl": "", "siteListingUrl": ""
  },
  "profile": {
    "id": 11042, "role": 0, "roleName": "Agent", "firstLetter": "A", "email": "agatha@example.com",
    "firstName": "Agatha", "lastName": "Agent", "phoneNumber": "+14155550199", "virtualNumber": "", "status": 1,
    "accountStatus": "ACTIVE", "newLeadCount": 0, "isAdmin": false,
    "agentInfo": {"licenseId": "TX-0042", "position": "Agent", "companyName": "Example Realty",
      "companyAddress": "1 Congress Ave, Austin, TX", "mlsAgentId": "", "agentPid": null}
  },
  "office": {
    "type": 1, "phone": "5125550100", "phoneCode": "+1", "phoneCountry": "US", "email": "office@example.com",
    "city": "Austin", "state": "TX", "zipcode": "73301", "streetAddress": "1 Congress Ave",
    "webSiteUrl": "https://example.com/", "showInSite": true, "defaultFlag": true, "allowManageSub": false,
    "agentCount": 1, "boundNumber": "", "status": "ACTIVE", "layer": 1, "childPath": ""
  }
}""")
"""The fields that are the same in every lead, profile or part of one."""


def lead(lead: Lead) -> dict[str, Any]:
    """A lead as lists show it: what all leads share, and what this one has."""
    fields = _SAMPLES["lead"] | _person(lead) | _assignment(lead) | _history(lead) | _property(lead)
    return with_quirks(fields, lead.quirks)


def _person(lead: Lead) -> dict[str, Any]:
    return {
        "leadId": lead.id,
        "leadUserId": lead.user_id,
        "firstName": lead.first_name,
        "lastName": lead.last_name,
        "emails": [lead.email],
        "phones": [lead.phone],
        "language": lead.language,
        "leadFamilyMemberList": [_SAMPLES["relative"] | {"lastName": lead.last_name}],
        "score": lead.score,
        "opportunity": OPPORTUNITIES[lead.id % len(OPPORTUNITIES)],
    }


def _assignment(lead: Lead) -> dict[str, Any]:
    """The source and stage of the lead, and the users and the office that look after it."""
    return {
        "leadSource": _number(lead.source),
        "source": lead.source,
        "stageId": _number(lead.stage),
        "stage": lead.stage,
        "teamId": TEAM_ID,
        "assignedUser": MEMBER_NAME,
        "assignedUserId": lead.assigned_user_id,
        "lenderUserId": lead.lender_user_id,
        "customRoleList": [
            {"roleId": _number(role), "role": role, "assigneeId": user_id, "assignee": MEMBER_NAME}
            for role, user_id in lead.custom_roles.items()
        ],
        "ownershipScope": "TEAM" if lead.office_id is None else "OFFICE",
        "ownershipId": lead.office_id,
    }


def _history(lead: Lead) -> dict[str, Any]:
    created, updated = show(lead.created_at, TimeStyle.PLAIN), show(lead.updated_at, TimeStyle.PLAIN)
    tag = {"leadId": lead.id, "createTime": created, "updateTime": updated, "creatorUserId": MEMBER_ID}
    return {
        "tags": [tag | {"tagId": _number(name), "tagName": name, "visibleType": 0} for name in lead.tags],
        "segments": lead.segments,
        "groups": lead.segments,
        "createTime": show(lead.created_at, TimeStyle.OFFSET),
        "assignTime": show(lead.assigned_at or lead.created_at, TimeStyle.GMT),
        "lastUpdateTime": updated,
        "lastTouch": show(lead.last_touch, TimeStyle.OFFSET) if lead.last_touch else "",
        "lastVisit": show(lead.last_visit, TimeStyle.ZULU) if lead.last_visit else None,
    }


def _property(lead: Lead) -> dict[str, Any]:
    """The homes that the lead is looking for, and the one that it owns."""
    times = {"createTime": show(lead.created_at, TimeStyle.ZULU), "updateTime": show(lead.updated_at, TimeStyle.ZULU)}
    return {
        "leadInquiry": _SAMPLES["inquiry"] | {"id": lead.id + 1, "leadUserId": lead.user_id} | times,
        "leadPropertyList": [_SAMPLES["home"] | {"id": lead.id + 2, "leadUserId": lead.user_id}],
    }


def profile(time_zone: str, lead_count: int) -> dict[str, Any]:
    """The caller's membership of the team; its short `id` occurs in no other record."""
    office_id = next(iter(OFFICES))
    return _SAMPLES["profile"] | {
        "teamId": TEAM_ID,
        "invitorUserId": LENDER_ID,
        "memberUserId": MEMBER_ID,
        "assignedLeadCount": lead_count,
        "timeZoneId": time_zone,
        "groupId": office_id,
        "groupName": OFFICE_NAMES[office_id],
        "group": _office(office_id),
    }


def _office(office_id: int) -> dict[str, Any]:
    return _SAMPLES["office"] | {
        "id": office_id,
        "teamId": TEAM_ID,
        "parentId": OFFICES[office_id] or 0,
        "websiteOwnerId": MEMBER_ID,
        "name": OFFICE_NAMES[office_id],
        "createTime": show(EPOCH, TimeStyle.ZULU),
        "updateTime": show(EPOCH, TimeStyle.ZULU),
        "path": f"/{office_id}",
    }


@lru_cache
def _number(name: str) -> int:
    """An id that is always the same for a name."""
    return crc32(name.encode()) % 1_000_000
