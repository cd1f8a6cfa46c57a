"""Which leads a query asks for, and in which order."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from attrs import frozen

from . import refusals, times
from .entities import OFFICES, Lead
from .reading import Fields
from .state import Leads

Condition = Callable[[Lead], bool]
Filter = Callable[[Fields, str], Condition]
"""Reads one parameter, by its name."""


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
"""The orders that are implemented; the vendor names others, which are refused."""
UNDOCUMENTED = ("otherFilters", "returnFields")


def _among(read: Callable[[Lead], Iterable[str]]) -> Filter:
    """One of the names, separated by commas, is one of the lead's."""

    def condition(fields: Fields, name: str) -> Condition:
        asked = _names(fields.text(name))
        return lambda lead: not asked.isdisjoint(read(lead))

    return condition


def _all_tags(fields: Fields, name: str) -> Condition:
    text = fields.text(name) or ""
    asked = frozenset(part.strip() for part in text.split(","))
    return lambda lead: text in lead.tags or asked <= {*lead.tags}


def _contact(read: Callable[[Lead], str]) -> Filter:
    """The whole of it, or a part where preciseSearchFlag is false."""

    def condition(fields: Fields, name: str) -> Condition:
        asked = _plain(fields.text(name) or "")
        if fields.flag("preciseSearchFlag", default=True):
            return lambda lead: asked == _plain(read(lead))
        return lambda lead: asked in _plain(read(lead))

    return condition


def _key(fields: Fields, name: str) -> Condition:
    """A part of name, telephone or email; the whole of one of the latter where preciseSearchFlag is true."""
    asked = _plain(fields.text(name) or "")
    if fields.flag("preciseSearchFlag", default=False):
        return lambda lead: asked in (_plain(lead.phone), _plain(lead.email))
    return lambda lead: any(asked in _plain(text) for text in (lead.name, lead.phone, lead.email))


def _contacted(fields: Fields, name: str) -> Condition:
    asked = fields.flag(name, default=False)
    return lambda lead: (lead.last_touch is not None) is asked


def _assigned(fields: Fields, name: str) -> Condition:
    user_id = fields.identity(name)
    return lambda lead: lead.assigned_user_id == user_id


def _offices(fields: Fields, name: str) -> Condition:
    parts = (fields.text(name) or "").split(",")
    asked = {Fields({name: part.strip()}, textual=True).required_identity(name) for part in parts}
    if fields.flag("querySubGroup", default=False):
        asked |= {office_id for office_id, parent_id in OFFICES.items() if parent_id in asked}
    return lambda lead: lead.office_id in asked


def _roles(fields: Fields, name: str) -> Condition:
    asked = _role_filters(fields.text(name) or "", name)
    return lambda lead: all(lead.roles.get(role) in user_ids for role, user_ids in asked)


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


@frozen
class LeadQuery:
    """Conditions that hold together, and an order; the order of the list where none is named."""

    conditions: tuple[Condition, ...]
    order: Callable[[Lead], Any] | None
    descending: bool

    @classmethod
    def read(cls, fields: Fields) -> "LeadQuery":
        """Raises: Refusal for what is malformed, would have no effect or is not implemented."""
        for name in UNDOCUMENTED:
            if fields.given(name):
                raise refusals.invalid(f"{name} is not documented, and the sandbox does not implement it")
        _check_flags(fields)
        sort = fields.choice("sort", tuple(SORTS))
        order = SORTS[sort] if sort else None
        return cls(tuple(_conditions(fields)), order, fields.flag("desc", default=False))

    def choose(self, leads: Leads) -> list[int]:
        ids = leads.ids()
        if self.conditions:
            ids = [lead_id for lead_id in ids if all(holds(leads[lead_id]) for holds in self.conditions)]
        order = self.order
        if order is not None:
            ids = sorted(ids, key=lambda lead_id: order(leads[lead_id]))
        return ids[::-1] if self.descending else ids


def _conditions(fields: Fields) -> Iterator[Condition]:
    for name, read in FILTERS.items():
        if fields.given(name):
            yield read(fields, name)


def _check_flags(fields: Fields) -> None:
    """Refuses flags that have nothing to act on."""
    if fields.flag("querySubGroup", default=False) and not fields.given("groupIds"):
        raise refusals.invalid("querySubGroup needs groupIds")
    if fields.given("preciseSearchFlag") and not any(fields.given(name) for name in ("email", "phone", "key")):
        raise refusals.invalid("preciseSearchFlag needs email, phone or key")


def _names(text: str | None) -> frozenset[str]:
    """The names separated by commas, and the whole: a name may have a comma itself."""
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
        raise refusals.invalid(f'{name} is not of the form [{{"roleName":"Agent","assigneeToIds":[1]}}]')
    return read


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in cast("list[object]", value))
