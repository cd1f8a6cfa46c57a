"""Webhooks: subscriptions with the calls on them, and the sender that posts events to their callbacks."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import aiohttp
from attrs import define, field, frozen

from . import errors
from .entities import TEAM_ID, Entry, EntryKind
from .errors import json_response
from .parameters import Fields, call, is_url
from .times import milliseconds

EVENT_TYPES = range(1, 13)
TASK_EVENT = 10
APPOINTMENT_EVENT = 11
MAX_RECORDS = 5000
MAX_URL_LENGTH = 2000
POST_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
POST_HEADERS = {"Content-Type": "application/json", "User-Agent": "Lofty-Webhook/1.0"}


@frozen
class Subscription:
    """Delivers one event type to one callback URL, at most `limit` records at once."""

    id: int
    event: int
    callback_url: str = field(repr=False)
    limit: int = 100
    permission_mode: int = 0
    team_id: int = TEAM_ID

    def body(self) -> dict[str, Any]:
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
    """All subscriptions, and the calls on them.

    The same one may be created twice; every event is then delivered twice.
    """

    allow_http: bool = False
    most: int = 50
    by_id: dict[int, Subscription] = field(factory=dict[int, Subscription], init=False)
    _ids: Iterator[int] = field(factory=lambda: itertools.count(7001), init=False)

    def add(
        self,
        event: int,
        callback_url: str,
        limit: int = 100,
        permission_mode: int = 0,
        team_id: int = TEAM_ID,
    ) -> Subscription:
        """Adds one without validation; one of another team can be neither listed nor deleted."""
        added = Subscription(next(self._ids), event, callback_url, limit, permission_mode, team_id)
        self.by_id[added.id] = added
        return added

    def own(self) -> list[Subscription]:
        return [one for one in self.by_id.values() if one.team_id == TEAM_ID]

    @call("POST /v1.0/webhook", body="listId callbackUrl limit permissionMode")
    def create_call(self, fields: Fields) -> Any:
        if len(self.by_id) >= self.most:
            raise errors.webhook("WEBHOOK_EXCEED_LIMIT")
        limit = fields.limit(default=100, most=MAX_RECORDS)
        event, url = _event_type(fields), self._callback_url(fields)
        return self.add(event, url, limit, _permission_mode(fields)).body()

    @call("GET /v1.0/webhooks")
    def list_call(self, _fields: Fields) -> Any:
        return [one.body() for one in self.own()]

    @call("DELETE /v1.0/webhook/{subscribeId}")
    def delete_call(self, fields: Fields) -> None:
        one = self.by_id.get(fields.path_id("subscribeId"))
        if one is None:
            raise errors.webhook("WEBHOOK_DELETE_NOT_EXIST")
        if one.team_id != TEAM_ID:
            raise errors.webhook("WEBHOOK_DELETE_NO_AUTHORITY")
        del self.by_id[one.id]

    def _callback_url(self, fields: Fields) -> str:
        url = fields.values.get("callbackUrl")
        schemes = ("https", "http") if self.allow_http else ("https",)
        if not isinstance(url, str) or len(url) > MAX_URL_LENGTH or not is_url(url, schemes):
            raise errors.webhook("WEBHOOK_CALLBACK_URL_INVALID")
        return url


@frozen
class Event:
    """A change of a task or an appointment."""

    action: str
    entry: Entry
    at: datetime
    modes: frozenset[int]
    """The permission modes whose subscriptions receive it."""

    @property
    def type(self) -> int:
        return TASK_EVENT if self.entry.kind is EntryKind.TASK else APPOINTMENT_EVENT

    @property
    def bucket(self) -> str:
        action = "updated" if self.action == "unfinished" else self.action
        return action + self.entry.kind.capitalize()

    def record(self) -> dict[str, Any]:
        id_name = f"{self.entry.kind.lower()}Id"
        return {id_name: self.entry.id, "leadId": self.entry.lead_id, "updateTime": milliseconds(self.at)}


def bodies(subscription: Subscription, events: Sequence[Event], size: int) -> Iterator[dict[str, Any]]:
    """The bodies for a subscription: records in buckets named after the action, at most `size` in a body.

    The shape is that of the one body of another event type that has been seen; those of tasks and
    appointments are not published.
    """
    mode = subscription.permission_mode
    own = [event for event in events if event.type == subscription.event and mode in event.modes]
    for start in range(0, len(own), size):
        buckets: dict[str, list[dict[str, Any]]] = {}
        for event in own[start : start + size]:
            buckets.setdefault(event.bucket, []).append(event.record())
        yield {"listId": subscription.event, "teamId": subscription.team_id} | buckets


@frozen
class Delivery:
    """One body that was posted; `status` is `None` if there was no response."""

    subscription_id: int
    body: dict[str, Any]
    status: int | None


Post = tuple[Subscription, dict[str, Any]]


@define(eq=False)
class WebhookSender:
    """Queues events and posts them, by default once and in order.

    Set `delay` (seconds before the post), `repeats` (how often each body is posted) and `shuffle` (one event in
    a body, in random order) at any time. A failed post is not retried: whether the real server does is unknown.
    """

    subscriptions: Subscriptions
    now: Callable[[], datetime]
    modes: Callable[[int], frozenset[int]]
    """The permission modes whose subscriptions receive the events of a lead."""
    _rng: random.Random
    delay: float = 0.0
    repeats: int = 1
    shuffle: bool = False
    deliveries: list[Delivery] = field(factory=list[Delivery], init=False)
    _events: list[Event] = field(factory=list[Event], init=False)
    _posts: deque[Post] = field(factory=deque[Post], init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False)
    _idle: Future[None] = field(factory=Future[None], init=False)  # of threads: any loop may wait for it
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def notify(self, action: str, entry: Entry) -> None:
        """Queues an event if there is any subscription; safe from any thread."""
        if not self.subscriptions.by_id:
            return
        self._events.append(Event(action, entry, self.now(), self.modes(entry.lead_id)))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    def start(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._wake.set()
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Stops posting; what is queued is posted after the next start."""
        task, self._task, self._loop = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settled(self) -> None:
        """Returns when all queued events have been posted, also if that is after the next start; on any event loop."""
        while True:
            idle = self._idle
            if not self._events and not self._posts:
                return
            await asyncio.shield(asyncio.wrap_future(idle))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._events or self._posts:
                await asyncio.sleep(self.delay)
                await self._deliver()
            if not self._events:
                idle, self._idle = self._idle, Future()
                idle.set_result(None)

    async def _deliver(self) -> None:
        self._queue_posts()
        async with aiohttp.ClientSession(timeout=POST_TIMEOUT, headers=POST_HEADERS) as session:
            while self._posts:
                self.deliveries.append(await _post(session, *self._posts[0]))
                self._posts.popleft()

    def _queue_posts(self) -> None:
        events = self._events.copy()
        posts = [
            (subscription, body)
            for subscription in self.subscriptions.by_id.values()
            for body in bodies(subscription, events, 1 if self.shuffle else subscription.limit)
            for _ in range(self.repeats)
        ]
        if self.shuffle:
            self._rng.shuffle(posts)
        self._posts.extend(posts)
        del self._events[: len(events)]  # last, so that another thread never finds both empty too early


async def _post(session: aiohttp.ClientSession, subscription: Subscription, body: dict[str, Any]) -> Delivery:
    try:
        async with session.post(subscription.callback_url, data=json_response(body).body) as response:
            return Delivery(subscription.id, body, response.status)
    except (aiohttp.ClientError, TimeoutError, ValueError):  # UnicodeError: a host that cannot be looked up
        return Delivery(subscription.id, body, None)


def _event_type(fields: Fields) -> int:
    event_type = fields.values.get("listId")
    if isinstance(event_type, bool) or not isinstance(event_type, int) or event_type not in EVENT_TYPES:
        raise errors.webhook("WEBHOOK_TYPE_ERROR")
    return event_type


def _permission_mode(fields: Fields) -> int:
    mode = fields.integer("permissionMode") or 0
    if mode not in (0, 1):
        raise errors.invalid("permissionMode is neither 0 nor 1")
    return mode
