"""Leads and the caller's profile as the API writes them, with every field of the vendor's description."""

from typing import Any
from zlib import crc32

from .entities import LENDER_ID, MEMBER_ID, MEMBER_NAME, OFFICES, TEAM_ID, Lead
from .shapes import with_quirks
from .times import EPOCH, TimeStyle, show

OFFICE_NAMES = dict(zip(OFFICES, ("Austin", "North Austin", "Lisbon"), strict=True))
AGENT = {
    "licenseId": "TX-0042",
    "position": "Agent",
    "companyName": "Example Realty",
    "companyAddress": "1 Congress Ave, Austin, TX",
    "mlsAgentId": "",
    "agentPid": None,
}
OPPORTUNITIES = (None, "High Interest", "Sell", "Back to Site", "Back on Market")


def lead(lead: Lead) -> dict[str, Any]:
    fields = _person(lead) | _address() | _work(lead) | _plans() | _property(lead) | _ownership(lead)
    return with_quirks(fields, lead.quirks)


def _person(lead: Lead) -> dict[str, Any]:
    return {
        "leadId": lead.id,
        "leadUserId": lead.user_id,
        "firstName": lead.first_name,
        "lastName": lead.last_name,
        "birthday": "Feb 29, 1988",
        "emails": [lead.email],
        "phones": [lead.phone],
        "phoneStatuses": [2],
        "facebook": "",
        "twitter": "",
        "language": lead.language,
        "cannotText": False,
        "cannotCall": False,
        "cannotEmail": False,
        "unsubscription": False,
        "hiddenFlag": False,
        "referredBy": "A neighbour",
        "leadFamilyMemberList": [
            {
                "relationship": "Husband",
                "firstName": "Sam",
                "lastName": lead.last_name,
                "phones": ["+14155551234"],
                "emails": ["spouse@example.com"],
                "birthday": "Mar 1, 1990",
            }
        ],
    }


def _address() -> dict[str, Any]:
    return {"streetAddress": "12 Main St", "city": "Austin", "state": "TX", "zipCode": "73301"}


def _work(lead: Lead) -> dict[str, Any]:
    """Where the lead comes from, who looks after it, and what has come of it."""
    return {
        "leadSource": _number(lead.source),
        "source": lead.source,
        "stageId": _number(lead.stage),
        "stage": lead.stage,
        "score": lead.score,
        "opportunity": OPPORTUNITIES[lead.id % len(OPPORTUNITIES)],
        "assignedUserId": lead.assigned_user_id,
        "assignedUser": MEMBER_NAME,
        "assignCompletionStatus": True,
        "lenderUserId": lead.lender_user_id,
        "customRoleList": [
            {"roleId": _number(role), "role": role, "assigneeId": user_id, "assignee": MEMBER_NAME}
            for role, user_id in lead.custom_roles.items()
        ],
        "tags": [_tag(lead, name) for name in lead.tags],
        "segments": list(lead.segments),
        "groups": list(lead.segments),
        "createTime": show(lead.created_at, TimeStyle.OFFSET),
        "assignTime": show(lead.assigned_at or lead.created_at, TimeStyle.GMT),
        "lastUpdateTime": show(lead.updated_at, TimeStyle.PLAIN),
        "lastTouch": show(lead.last_touch, TimeStyle.OFFSET) if lead.last_touch else "",
        "lastVisit": show(lead.last_visit, TimeStyle.ZULU) if lead.last_visit else None,
    }


def _tag(lead: Lead, name: str) -> dict[str, Any]:
    return {
        "leadId": lead.id,
        "tagId": _number(name),
        "tagName": name,
        "createTime": show(lead.created_at, TimeStyle.PLAIN),
        "updateTime": show(lead.updated_at, TimeStyle.PLAIN),
        "creatorUserId": MEMBER_ID,
        "visibleType": 0,
    }


def _plans() -> dict[str, Any]:
    return {
        "leadTypes": [2],
        "buyingTimeFrame": "6-12",
        "sellingTimeFrame": "Just Looking",
        "preQual": "Yes",
        "houseToSell": "No",
        "fthb": "Yes",
        "withBuyerAgent": "No",
        "withListingAgent": "",
        "mortgage": "Yes",
        "buyHouse": None,
        "customAttributes": [{"attributeName": "Pets", "attributeType": "text", "value": "a cat", "params": ""}],
    }


def _property(lead: Lead) -> dict[str, Any]:
    """The homes that the lead looks for, and the one that it has."""
    return {"leadInquiry": _inquiry(lead), "leadPropertyList": [_home(lead)]}


def _inquiry(lead: Lead) -> dict[str, Any]:
    return {
        "id": lead.id + 1,
        "leadUserId": lead.user_id,
        "priceMin": 250_000,
        "priceMax": 900_000,
        "propertyType": ["Single Family Home", "Condo"],
        "bedroomsMin": 2,
        "bedroomsMax": 4,
        "bathroomsMin": "1.5",
        "bathroomsMax": "3",
        "locations": [
            {
                "stateCode": "TX",
                "city": "Austin",
                "zipCode": "73301",
                "county": "Travis",
                "streetAddress": "",
                "description": "near the river",
            }
        ],
        "modifyByAgent": False,
        "createTime": show(lead.created_at, TimeStyle.ZULU),
        "updateTime": show(lead.updated_at, TimeStyle.ZULU),
        "defaultValue": False,
    }


def _home(lead: Lead) -> dict[str, Any]:
    return _address() | {
        "id": lead.id + 2,
        "leadUserId": lead.user_id,
        "county": "Travis",
        "price": 640_000,
        "priceMin": 600_000,
        "priceMax": 700_000,
        "propertyType": "Townhouse",
        "bedrooms": 3,
        "bathrooms": 2.5,
        "squareFeet": 1800,
        "lotSize": 0.33,
        "parkingSpace": 1,
        "floors": 2,
        "mailAddress": True,
        "listingId": "",
        "autoListingId": 0,
        "listingStatus": "",
        "label": "Home",
        "labelList": "Home",
        "labelType": "",
        "note": None,
        "pictureUrl": "",
        "siteListingUrl": "",
    }


def _ownership(lead: Lead) -> dict[str, Any]:
    owned_by_office = lead.office_id is not None
    return {
        "teamId": TEAM_ID,
        "ownershipScope": "OFFICE" if owned_by_office else "TEAM",
        "ownershipId": lead.office_id,
        "pondId": 0,
        "pondName": "",
    }


def profile(time_zone: str, lead_count: int) -> dict[str, Any]:
    """The caller's membership of the team: its `id` is short and joins with no record."""
    first, last = MEMBER_NAME.split()
    office_id = next(iter(OFFICES))
    return {
        "id": 11_042,
        "teamId": TEAM_ID,
        "invitorUserId": LENDER_ID,
        "memberUserId": MEMBER_ID,
        "role": 0,
        "roleName": "Agent",
        "firstLetter": first[0],
        "email": "agatha@example.com",
        "firstName": first,
        "lastName": last,
        "phoneNumber": "+14155550199",
        "virtualNumber": "",
        "status": 1,
        "accountStatus": "ACTIVE",
        "newLeadCount": 0,
        "assignedLeadCount": lead_count,
        "isAdmin": False,
        "agentInfo": AGENT,
        "timeZoneId": time_zone,
        "groupId": office_id,
        "groupName": OFFICE_NAMES[office_id],
        "group": _office(office_id),
    }


def _office(office_id: int) -> dict[str, Any]:
    return {
        "id": office_id,
        "teamId": TEAM_ID,
        "parentId": OFFICES[office_id] or 0,
        "websiteOwnerId": MEMBER_ID,
        "name": OFFICE_NAMES[office_id],
        "type": 1,
        "phone": "5125550100",
        "phoneCode": "+1",
        "phoneCountry": "US",
        "email": "office@example.com",
        "city": "Austin",
        "state": "TX",
        "zipcode": "73301",
        "streetAddress": "1 Congress Ave",
        "webSiteUrl": "https://example.com/",
        "createTime": show(EPOCH, TimeStyle.ZULU),
        "updateTime": show(EPOCH, TimeStyle.ZULU),
        "path": f"/{office_id}",
        "showInSite": True,
        "defaultFlag": True,
        "allowManageSub": False,
        "agentCount": 1,
        "boundNumber": "",
        "status": "ACTIVE",
        "layer": 1,
        "childPath": "",
    }


def _number(name: str) -> int:
    """An id that always is the same for the name."""
    return crc32(name.encode()) % 1_000_000
