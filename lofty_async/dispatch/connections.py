"""Connections that several clients share: those of one limiter, and the places in the pool of a session handed in.

Clients that share a limiter share connectors too, two for each event loop: one keeps its connections for the next
request, the other has a new one for each. A server may have closed a kept connection without this process knowing,
and what is sent over it is lost; that costs a GET another attempt, but nobody could say of a create whether it landed.
"""

import asyncio
from collections import Counter, OrderedDict
from typing import Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from attrs import define, field, frozen

from lofty_async.errors import RateLimitWaitError
from lofty_async.ratelimit import Lane, Permit, RateLimiter

BULK_SHARE: Final = 9  # interactive calls in a row that are given a place before a bulk call has its turn


class Connector(aiohttp.TCPConnector):
    """Counts towards a bound that it shares with other connectors, and that includes idle connections."""

    def __init__(self, shared: "list[Connector]", limit: int, *, force_close: bool = False) -> None:
        super().__init__(limit=limit, force_close=force_close)  # pyright: ignore[reportUnknownMemberType] - aiohttp's
        self._shared = shared
        shared.append(self)

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        # The place of the new connection is taken already, so that the bound may be reached but not passed.
        while sum(connector.size for connector in self._shared) > self.limit:
            if not any(connector.drop_idle() for connector in self._shared):
                break
        return await super()._create_connection(*args, **options)

    @property
    def size(self) -> int:
        return len(self._acquired) + sum(map(len, self._conns.values()))

    def drop_idle(self) -> bool:
        """Close an idle connection; whether there was one."""
        for idle in self._conns.values():
            if idle:
                idle.popleft()[0].close()
                return True
        return False


@define(eq=False)
class Pool:
    """The connectors of one event loop, for as long as clients use them."""

    limit: int
    users: int = 0
    _made: list[Connector] = field(factory=list[Connector], init=False)
    kept: Connector = field(init=False)
    _fresh: Connector | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.kept = Connector(self._made, self.limit)

    @property
    def fresh(self) -> Connector:
        """Has a new connection for each request."""
        if self._fresh is None:
            self._fresh = Connector(self._made, self.limit, force_close=True)
        return self._fresh

    async def close(self) -> None:
        for connector in self._made:
            await connector.close()


@define(eq=False)
class Connectors:
    """The connections of all clients that share a limiter: at most `limit` in each event loop."""

    limit: int
    _pools: dict[asyncio.AbstractEventLoop, Pool] = field(factory=dict[asyncio.AbstractEventLoop, Pool], init=False)

    @classmethod
    def of(cls, owner: object, limit: int) -> "Connectors":
        """Those of this limiter, made when they are first asked for."""
        return _CONNECTORS.setdefault(owner, cls(limit))

    def join(self) -> Pool:
        """The running loop's pool, to be left again."""
        for closed in [one for one in self._pools if one.is_closed()]:
            del self._pools[closed]
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop) or self._pools.setdefault(loop, Pool(self.limit))
        pool.users += 1
        return pool

    async def leave(self, pool: Pool) -> None:
        """Close the pool if nobody else uses it."""
        pool.users -= 1
        if not pool.users:
            self._pools = {loop: other for loop, other in self._pools.items() if other is not pool}
            await pool.close()


_CONNECTORS: Final[WeakKeyDictionary[Any, Connectors]] = WeakKeyDictionary()


@define(eq=False)
class Places:
    """Who has a place in the pool of a connector of somebody else's, and who waits for one.

    Interactive calls take priority over bulk ones, with one bulk call after nine of them.
    """

    limit: int
    limit_per_host: int
    _taken: Counter[str] = field(factory=Counter[str], init=False)
    _waiting: dict[Lane, OrderedDict["asyncio.Future[None]", str]] = field(init=False)
    _since_bulk: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = {lane: OrderedDict() for lane in Lane}

    @classmethod
    def of(cls, connector: aiohttp.BaseConnector | None) -> "Places | None":
        """Those of this connector, `None` where it has no bound."""
        if connector is None or not (connector.limit or connector.limit_per_host):
            return None
        return _PLACES.setdefault(connector, cls(connector.limit, connector.limit_per_host))

    def take_now(self, host: str) -> bool:
        """Take a place unless all are taken or somebody waits; whether it was taken."""
        is_free = self._is_free(host) and not any(host in waiting.values() for waiting in self._waiting.values())
        if is_free:
            self._taken[host] += 1
        return is_free

    async def take(self, host: str, lane: Lane) -> None:
        """Wait for a place; cancelling it costs nobody else's."""
        if self.take_now(host):
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[lane][future] = host
        try:
            await future
        except BaseException:
            if self._waiting[lane].pop(future, None) is None:
                self.leave(host)  # it had just been given
            raise

    def leave(self, host: str) -> None:
        """Give a place back, to the first who can use it."""
        self._taken[host] -= 1
        is_due = self._since_bulk >= BULK_SHARE
        for lane in (Lane.BULK, Lane.INTERACTIVE) if is_due else (Lane.INTERACTIVE, Lane.BULK):
            waiting = self._waiting[lane]
            future = next((one for one, wanted in waiting.items() if self._is_free(wanted)), None)
            if future is not None:
                self._since_bulk = 0 if lane is Lane.BULK else self._since_bulk + 1
                self._taken[waiting.pop(future)] += 1
                if not future.done():
                    future.set_result(None)
                return

    def _is_free(self, host: str) -> bool:
        of_host = not self.limit_per_host or self._taken[host] < self.limit_per_host
        return of_host and (not self.limit or self._taken.total() < self.limit)


_PLACES: Final[WeakKeyDictionary[aiohttp.BaseConnector, Places]] = WeakKeyDictionary()


@frozen(eq=False)
class Gate:
    """A limiter whose permits come with a place in the pool, which ends with them.

    Nobody holds a place while waiting for a permit, or a permit while waiting for a place: a bulk call that waits for
    the next window keeps no interactive one from the pool.
    """

    limiter: RateLimiter
    places: Places
    host: str

    def acquire_now(self, route: str, *, lane: Lane, returning: Permit | None = None) -> Permit | None:
        """As a limiter's; `None` also where the call has to wait for a place."""
        return self._permit(route, lane, returning) if self.places.take_now(self.host) else None

    async def acquire(
        self, route: str, *, lane: Lane, max_wait: float | None = None, returning: Permit | None = None
    ) -> Permit:
        """As a limiter's; `max_wait` bounds the waiting for both.

        Raises: what the limiter raises; RateLimitWaitError where no place is free in time.
        """
        now = asyncio.get_running_loop().time
        began = now()
        while True:
            left = None if max_wait is None else max(0.0, began + max_wait - now())
            await self._place(route, lane, max_wait, left)
            permit = self._permit(route, lane, returning)
            if permit is None:
                left = None if max_wait is None else max(0.0, began + max_wait - now())
                permit = await self.limiter.acquire(route, lane=lane, max_wait=left, returning=returning)
                if not self.places.take_now(self.host):
                    permit.release()
                    continue
                permit.on_end = self.leave
            permit.waited = now() - began
            return permit

    async def _place(self, route: str, lane: Lane, max_wait: float | None, left: float | None) -> None:
        try:
            async with asyncio.timeout(left):
                await self.places.take(self.host, lane)
        except TimeoutError:
            raise RateLimitWaitError(
                f"no connection of the session's pool was free within max_wait={max_wait:g} s",
                predicted=self.limiter.predict(lane, route),
                max_wait=max_wait or 0.0,
            ) from None

    def _permit(self, route: str, lane: Lane, returning: Permit | None) -> Permit | None:
        """A permit for the place just taken, which is given back if there is none now."""
        permit = None
        try:
            permit = self.limiter.acquire_now(route, lane=lane, returning=returning)
        finally:
            if permit is None:
                self.leave()
        if permit is not None:
            permit.on_end = self.leave
        return permit

    def leave(self) -> None:
        self.places.leave(self.host)
