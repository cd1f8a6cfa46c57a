"""Webhook subscriptions: their rules, and the bodies that are posted to them."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen

from . import refusals
from .entities import TEAM_ID, Entry, EntryKind
from .reading import Fields
from .times import milliseconds

EVENTS = range(1, 13)
TASK_EVENT = 10
APPOINTMENT_EVENT = 11
LARGEST_LIMIT = 5000
LONGEST_URL = 2000

_NOUNS = {TASK_EVENT: "Task", APPOINTMENT_EVENT: "Appointment"}
_ID_NAMES = {TASK_EVENT: "taskId", APPOINTMENT_EVENT: "appointmentId"}
_BUCKETS = {"unfinished": "updated"}


@frozen
class Subscription:
    """Who is told about one type of event; a callback gets at most `limit` records at once."""

    id: int
    event: int
    callback_url: str = field(repr=False)
    limit: int = 100
    permission_mode: int = 0
    team_id: int = TEAM_ID

    def shown(self) -> dict[str, Any]:
        return {
            "subscribeId": self.id,
            "teamId": self.team_id,
            "listId": self.event,
            "vendorId": 123,
            "callbackUrl": self.callback_url,
            "limit": self.limit,
            "permissionMode": self.permission_mode,
        }


@define
class Subscriptions:
    """All subscriptions. The same one may be made twice: it is then told everything twice."""

    allow_http: bool = False
    most: int = 50
    by_id: dict[int, Subscription] = field(factory=dict[int, Subscription], init=False)
    _ids: Iterator[int] = field(factory=lambda: itertools.count(7001), init=False)

    def create(self, fields: Fields) -> Subscription:
        if len(self.by_id) >= self.most:
            raise refusals.webhook("WEBHOOK_EXCEED_LIMIT")
        return self.add(_event(fields), self._callback(fields), _limit(fields), _permission_mode(fields))

    def add(
        self,
        event: int,
        callback_url: str,
        limit: int = 100,
        permission_mode: int = 0,
        team_id: int = TEAM_ID,
    ) -> Subscription:
        """Adds one without checking it; a subscription of another team can be neither seen nor deleted."""
        made = Subscription(next(self._ids), event, callback_url, limit, permission_mode, team_id)
        self.by_id[made.id] = made
        return made

    def own(self) -> list[Subscription]:
        return [one for one in self.by_id.values() if one.team_id == TEAM_ID]

    def delete(self, subscription_id: int) -> None:
        one = self.by_id.get(subscription_id)
        if one is None:
            raise refusals.webhook("WEBHOOK_DELETE_NOT_EXIST")
        if one.team_id != TEAM_ID:
            raise refusals.webhook("WEBHOOK_DELETE_NO_AUTHORITY")
        del self.by_id[subscription_id]

    def _callback(self, fields: Fields) -> str:
        url = fields.values.get("callbackUrl")
        schemes = ("https", "http") if self.allow_http else ("https",)
        if not isinstance(url, str) or len(url) > LONGEST_URL or not _is_url(url, schemes):
            raise refusals.webhook("WEBHOOK_CALLBACK_URL_INVALID")
        return url


@frozen
class Notice:
    """Something that happened to a task or an appointment."""

    happened: str
    entry: Entry
    at: datetime
    modes: frozenset[int]
    """The permission modes in which a subscription hears of it."""

    @property
    def event(self) -> int:
        return TASK_EVENT if self.entry.kind is EntryKind.TASK else APPOINTMENT_EVENT

    @property
    def bucket(self) -> str:
        return _BUCKETS.get(self.happened, self.happened) + _NOUNS[self.event]

    def record(self) -> dict[str, Any]:
        ids = {_ID_NAMES[self.event]: self.entry.id, "leadId": self.entry.lead_id}
        return ids | {"updateTime": milliseconds(self.at)}


def bodies(subscription: Subscription, notices: Sequence[Notice], size: int) -> list[dict[str, Any]]:
    """What a subscription is sent: records in buckets named after what happened, at most `size` a body.

    The shape is that of the one body of another event type that has been seen; those of tasks and
    appointments are not published.
    """
    mode = subscription.permission_mode
    own = [notice for notice in notices if notice.event == subscription.event and mode in notice.modes]
    parts = [own[start : start + size] for start in range(0, len(own), size)]
    return [_body(subscription, part) for part in parts]


def _body(subscription: Subscription, notices: Sequence[Notice]) -> dict[str, Any]:
    buckets: dict[str, list[dict[str, Any]]] = {}
    for notice in notices:
        buckets.setdefault(notice.bucket, []).append(notice.record())
    return {"listId": subscription.event, "teamId": subscription.team_id} | buckets


def _event(fields: Fields) -> int:
    event = fields.values.get("listId")
    if isinstance(event, bool) or not isinstance(event, int) or event not in EVENTS:
        raise refusals.webhook("WEBHOOK_TYPE_ERROR")
    return event


def _limit(fields: Fields) -> int:
    limit = fields.integer("limit")
    if limit is not None and not 1 <= limit <= LARGEST_LIMIT:
        raise refusals.limit_not_valid()
    return limit or 100


def _permission_mode(fields: Fields) -> int:
    mode = fields.integer("permissionMode") or 0
    if mode not in (0, 1):
        raise refusals.invalid("permissionMode is neither 0 nor 1")
    return mode


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and not text.isspace() and " " not in text
    except ValueError:
        return False
