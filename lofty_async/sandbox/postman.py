"""Posts what happens to webhook subscribers."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp
from attrs import define, field, frozen

from .entities import Entry
from .refusals import json_answer
from .subscriptions import Notice, Subscription, Subscriptions, bodies

PATIENCE = aiohttp.ClientTimeout(total=5.0)
HEADERS = {"Content-Type": "application/json", "User-Agent": "Lofty-Webhook/1.0"}


@frozen
class Delivery:
    """One body that was posted; `status` is `None` where the subscriber could not be reached."""

    subscription_id: int
    body: dict[str, Any]
    status: int | None


@define(eq=False)
class Postman:
    """Collects notices and posts them, once only and in order unless told otherwise.

    Set `delay` (seconds before the post), `repeats` (how often each body comes) and `shuffle` (one notice in a
    body, in any order) at any time. Nothing is retried: whether the real server does is not known.
    """

    subscriptions: Subscriptions
    now: Callable[[], datetime]
    modes: Callable[[int], frozenset[int]]
    """The permission modes in which a subscription hears of a lead's entries."""
    _dice: random.Random
    delay: float = 0.0
    repeats: int = 1
    shuffle: bool = False
    deliveries: list[Delivery] = field(factory=list[Delivery], init=False)
    _waiting: list[Notice] = field(factory=list[Notice], init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _called: asyncio.Event = field(factory=asyncio.Event, init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)
    _round: asyncio.Task[None] | None = field(default=None, init=False)

    def collect(self, happened: str, entry: Entry) -> None:
        """Takes a notice, if there is anybody to tell; safe from any thread."""
        if not self.subscriptions.by_id:
            return
        self._waiting.append(Notice(happened, entry, self.now(), self.modes(entry.lead_id)))
        self._idle.clear()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._called.set)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._called, self._idle = asyncio.Event(), asyncio.Event()
        if self._waiting:
            self._called.set()
        else:
            self._idle.set()
        self._round = self._loop.create_task(self._walk())

    async def close(self) -> None:
        """Stops posting; what waits is posted after the next start."""
        walking, self._round, self._loop = self._round, None, None
        if walking is not None:
            walking.cancel()
            await asyncio.gather(walking, return_exceptions=True)

    async def settled(self) -> None:
        """Returns when everything that happened so far has been posted."""
        await self._idle.wait()

    async def _walk(self) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            await asyncio.sleep(self.delay)
            await self._deliver()
            if not self._waiting:
                self._idle.set()

    async def _deliver(self) -> None:
        async with aiohttp.ClientSession(timeout=PATIENCE, headers=HEADERS) as session:
            for subscription, body in self._load():
                self.deliveries.append(await _post(session, subscription, body))

    def _load(self) -> list[tuple[Subscription, dict[str, Any]]]:
        notices, self._waiting = self._waiting, []
        load = [
            (subscription, body)
            for subscription in self.subscriptions.by_id.values()
            for body in bodies(subscription, notices, 1 if self.shuffle else subscription.limit)
            for _ in range(self.repeats)
        ]
        if self.shuffle:
            self._dice.shuffle(load)
        return load


async def _post(session: aiohttp.ClientSession, subscription: Subscription, body: dict[str, Any]) -> Delivery:
    try:
        async with session.post(subscription.callback_url, data=json_answer(body).body) as answer:
            return Delivery(subscription.id, body, answer.status)
    except (aiohttp.ClientError, TimeoutError, ValueError):  # UnicodeError: a host that cannot be looked up
        return Delivery(subscription.id, body, None)
