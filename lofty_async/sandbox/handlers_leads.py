"""Leads and the caller's profile."""

import re

from aiohttp import web
from attrs import frozen

from . import refusals, shapes_leads
from .lead_query import LeadQuery
from .paging import ListBehaviour
from .reading import Fields
from .refusals import json_answer
from .state import State

LARGEST_PAGE = 100
SCROLL = "scroll"
SCROLL_ID = re.compile(f"{SCROLL}-([0-9a-f]{{1,16}})")


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
        ids = LeadQuery.read(fields).choose(self.state.leads)
        shown = ids[self._start(len(ids), size, offset) :][:size]
        metadata = {
            "collection": "leads",
            "limit": self.lists.reported_size(asked),
            "offset": offset,
            **self.lists.total(len(ids)),
            "scrollId": f"{SCROLL}-{offset + len(shown):x}",
        }
        leads = [shapes_leads.lead(self.state.leads[lead_id]) for lead_id in shown]
        return json_answer({"_metadata": metadata, "leads": leads})

    async def me(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        return json_answer(shapes_leads.profile(self.time_zone, len(self.state.leads)))

    def _offset(self, fields: Fields) -> int:
        """Where the page starts; a scroll id says so as well, and goes on beyond the limit of offsets."""
        scroll = fields.text("scrollId")
        if scroll and fields.given("offset"):
            raise refusals.invalid("offset and scrollId exclude each other")
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
