"""Leads and the caller's profile."""

import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from attrs import frozen

from . import refusals, shapes
from .entities import Lead
from .paging import ListBehaviour
from .reading import Fields
from .refusals import json_answer
from .state import State

LARGEST_PAGE = 100
SCROLL = "scroll"
SCROLL_ID = re.compile(f"{SCROLL}-([0-9a-f]{{1,16}})")

FILTERS: dict[str, Callable[[Lead], Any]] = {
    "stage": lambda lead: lead.stage,
    "source": lambda lead: lead.source,
    "email": lambda lead: lead.email,
    "phone": lambda lead: lead.phone.removeprefix("+1"),
    "assignedUserId": lambda lead: str(lead.assigned_user_id),
}


@frozen
class LeadHandlers:
    """`/v1.0/leads` and `/v1.0/me`."""

    state: State
    time_zone: str
    lists: ListBehaviour

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1.0/leads", self.list_leads, allow_head=False),
            web.get("/v1.0/me", self.me, allow_head=False),
        ]

    async def list_leads(self, request: web.Request) -> web.Response:
        fields = Fields.of_query(request)
        asked, offset = _limit(fields), self._offset(fields)
        size = self.lists.page_size(asked)
        ids = self._matching(fields)
        shown = ids[self._start(len(ids), size, offset) :][:size]
        metadata = {
            "collection": "leads",
            "limit": self.lists.reported_size(asked),
            "offset": offset,
            **self.lists.total(len(ids)),
            "scrollId": f"{SCROLL}-{offset + len(shown):x}",
        }
        leads = [shapes.lead(self.state.leads[lead_id]) for lead_id in shown]
        return json_answer({"_metadata": metadata, "leads": leads})

    async def me(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        return json_answer(shapes.profile(self.time_zone, len(self.state.leads)))

    def _offset(self, fields: Fields) -> int:
        """Where the page starts; a scroll id says so as well, wins, and goes on beyond the limit of offsets."""
        scroll = fields.text("scrollId")
        if scroll:
            return _scrolled(scroll)
        offset = fields.integer("offset") or 0
        if offset < 0:
            raise refusals.invalid("offset is negative")
        self.lists.check_offset(offset)
        return offset

    def _start(self, total: int, size: int, offset: int) -> int:
        if offset >= total and self.lists.repeat_last_page:
            return max(0, total - size)
        return offset

    def _matching(self, fields: Fields) -> list[int]:
        asked = [(value, FILTERS[name]) for name, value in fields.values.items() if name in FILTERS and value]
        ids = self.state.leads.ids()
        if asked:
            ids = [lead_id for lead_id in ids if self._has(lead_id, asked)]
        return ids[::-1] if fields.flag("desc", default=False) else ids

    def _has(self, lead_id: int, asked: list[tuple[str, Callable[[Lead], Any]]]) -> bool:
        lead = self.state.leads[lead_id]
        return all(value.removeprefix("+1") == read(lead) for value, read in asked)


def _limit(fields: Fields) -> int:
    limit = fields.integer("limit")
    limit = 10 if limit is None else limit
    if not 1 <= limit <= LARGEST_PAGE:
        raise refusals.limit_not_valid()
    return limit


def _scrolled(scroll: str) -> int:
    place = SCROLL_ID.fullmatch(scroll)
    if place is None:
        raise refusals.invalid("scrollId is unknown or has expired")
    return int(place[1], 16)
