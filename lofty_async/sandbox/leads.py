"""The list of leads with its filters and orders, and the caller's profile."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from attrs import frozen

from . import errors, shapes, times
from .entities import OFFICES, Lead
from .options import Options, check_offset, page_size, reported_size, total
from .parameters import Fields, call
from .state import Leads, State

Condition = Callable[[Lead], bool]
Filter = Callable[[Fields, str], Condition]
"""Reads the parameter of this name."""


def _time(read: Callable[[Lead], datetime | None]) -> Callable[[Lead], Any]:
    return lambda lead: read(lead) or times.EPOCH


SORTS: Mapping[str, Callable[[Lead], Any] | None] = {
    "Default": None,
    "CreateTime": lambda lead: lead.created_at,
    "AssignTime": lambda lead: lead.assigned_at or lead.created_at,
    "LastContact": _time(lambda lead: lead.last_touch),
    "LastActivity": _time(lambda lead: lead.last_visit),
    "Score": lambda lead: lead.score,
}
"""The orders that are implemented; the vendor names others, which are errors."""
UNDOCUMENTED = ("otherFilters", "returnFields")
MAX_PAGE_SIZE = 100
PAGING = frozenset({"limit", "offset", "scrollId"})
SCROLL_ID = re.compile("scroll-([0-9a-f]{1,16})")


def _among(read: Callable[[Lead], Iterable[str]]) -> Filter:
    """One of the names, separated by commas, is one of the lead's."""

    def condition(fields: Fields, name: str) -> Condition:
        wanted = _names(fields.text(name))
        return lambda lead: not wanted.isdisjoint(read(lead))

    return condition


def _all_tags(fields: Fields, name: str) -> Condition:
    text = fields.text(name) or ""
    wanted = frozenset(part.strip() for part in text.split(","))
    return lambda lead: text in lead.tags or wanted <= {*lead.tags}


def _contact(read: Callable[[Lead], str]) -> Filter:
    """Equal, or contained if preciseSearchFlag is false."""

    def condition(fields: Fields, name: str) -> Condition:
        wanted = _plain(fields.text(name) or "")
        if fields.flag("preciseSearchFlag", default=True):
            return lambda lead: wanted == _plain(read(lead))
        return lambda lead: wanted in _plain(read(lead))

    return condition


def _key(fields: Fields, name: str) -> Condition:
    """Contained in name, phone or email; equal to phone or email if preciseSearchFlag is true."""
    wanted = _plain(fields.text(name) or "")
    if fields.flag("preciseSearchFlag", default=False):
        return lambda lead: wanted in (_plain(lead.phone), _plain(lead.email))
    return lambda lead: any(wanted in _plain(text) for text in (lead.name, lead.phone, lead.email))


def _contacted(fields: Fields, name: str) -> Condition:
    wanted = fields.flag(name, default=False)
    return lambda lead: (lead.last_touch is not None) is wanted


def _assigned(fields: Fields, name: str) -> Condition:
    user_id = fields.record_id(name)
    return lambda lead: lead.assigned_user_id == user_id


def _offices(fields: Fields, name: str) -> Condition:
    parts = (fields.text(name) or "").split(",")
    wanted = {Fields({name: part.strip()}, textual=True).required_id(name) for part in parts}
    if fields.flag("querySubGroup", default=False):
        wanted |= {office_id for office_id, parent_id in OFFICES.items() if parent_id in wanted}
    return lambda lead: lead.office_id in wanted


def _roles(fields: Fields, name: str) -> Condition:
    wanted = _role_filters(fields.text(name) or "", name)
    return lambda lead: all(lead.roles.get(role) in user_ids for role, user_ids in wanted)


FILTERS: Mapping[str, Filter] = {
    "stage": _among(lambda lead: [lead.stage]),
    "source": _among(lambda lead: [lead.source]),
    "phone": _contact(lambda lead: lead.phone),
    "email": _contact(lambda lead: lead.email),
    "assignedUserId": _assigned,
    "contacted": _contacted,
    "groups": _among(lambda lead: lead.segments),
    "segments": _among(lambda lead: lead.segments),
    "allTags": _all_tags,
    "anyTags": _among(lambda lead: lead.tags),
    "groupIds": _offices,
    "languages": _among(lambda lead: [lead.language]),
    "roleAssigneeFilters": _roles,
    "key": _key,
}


PARAMETERS = (*PAGING, "sort", "desc", "querySubGroup", "preciseSearchFlag", *FILTERS, *UNDOCUMENTED)


def choose(leads: Leads, fields: Fields) -> list[int]:
    """The leads to which all filters apply, in the order asked for; by default in that of the list.

    Raises: ResponseError for what is malformed, would have no effect or is not implemented.
    """
    for name in UNDOCUMENTED:
        if fields.given(name):
            raise errors.invalid(f"{name} is not documented, and the sandbox does not implement it")
    _check_flags(fields)
    conditions = [read(fields, name) for name, read in FILTERS.items() if fields.given(name)]
    sort, descending = fields.choice("sort", tuple(SORTS)), fields.flag("desc", default=False)
    ids = [lead_id for lead_id in leads if all(holds(leads[lead_id]) for holds in conditions)]
    order = SORTS[sort or "Default"]
    if order is not None:
        ids.sort(key=lambda lead_id: order(leads[lead_id]))
    return ids[::-1] if descending else ids


def _check_flags(fields: Fields) -> None:
    """Raises: ResponseError for a flag that has no effect."""
    if fields.flag("querySubGroup", default=False) and not fields.given("groupIds"):
        raise errors.invalid("querySubGroup needs groupIds")
    if fields.given("preciseSearchFlag") and not any(fields.given(name) for name in ("email", "phone", "key")):
        raise errors.invalid("preciseSearchFlag needs email, phone or key")


def _names(text: str | None) -> frozenset[str]:
    """The names separated by commas, and the whole text: a name may contain a comma."""
    whole = text or ""
    return frozenset({whole, *(part.strip() for part in whole.split(","))})


def _plain(text: str) -> str:
    return text.removeprefix("+1").casefold()


def _role_filters(text: str, name: str) -> list[tuple[str, list[int]]]:
    try:
        read = [(one["roleName"], one["assigneeToIds"]) for one in json.loads(text)]
    except (ValueError, TypeError, KeyError, RecursionError):
        read = None
    if not read or not all(isinstance(role, str) and _are_ids(user_ids) for role, user_ids in read):
        raise errors.invalid(f'{name} is not of the form [{{"roleName":"Agent","assigneeToIds":[1]}}]')
    return read


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in cast("list[object]", value))


@frozen
class LeadHandlers:
    """`/v1.0/leads` and `/v1.0/me`."""

    state: State
    options: Options

    @call("GET /v1.0/leads", query=" ".join(PARAMETERS))
    def list_leads(self, fields: Fields) -> Any:
        asked, offset = fields.limit(default=10, most=MAX_PAGE_SIZE), self._offset(fields)
        size = page_size(self.options, asked)
        filters = frozenset((name, value) for name, value in fields.values.items() if name not in PAGING)
        ids = self.state.cached(filters, lambda: choose(self.state.leads, fields))
        shown = ids[self._start(len(ids), size, offset) :][:size]
        metadata = {
            "collection": "leads",
            "limit": reported_size(self.options, asked),
            "offset": offset,
            **total(self.options, len(ids)),
            "scrollId": f"scroll-{offset + len(shown):x}",
        }
        return {"_metadata": metadata, "leads": [shapes.lead(self.state.leads[lead_id]) for lead_id in shown]}

    @call("GET /v1.0/me")
    def me(self, _fields: Fields) -> Any:
        return shapes.profile(self.options.time_zone, len(self.state.leads))

    def _offset(self, fields: Fields) -> int:
        """The start of the page, also in a scroll id, which has no limit of offsets."""
        scroll = fields.text("scrollId")
        if scroll and fields.given("offset"):
            raise errors.invalid("offset and scrollId exclude each other")
        if scroll:
            return _scrolled(scroll)
        offset = fields.integer("offset") or 0
        if offset < 0:
            raise errors.invalid("offset is negative")
        check_offset(self.options, offset)
        return offset

    def _start(self, count: int, size: int, offset: int) -> int:
        if offset >= count and self.options.repeat_last_page:
            return max(0, count - size)
        return offset


def _scrolled(scroll: str) -> int:
    place = SCROLL_ID.fullmatch(scroll)
    if place is None:
        raise errors.invalid("scrollId is unknown or has expired")
    return int(place[1], 16)
