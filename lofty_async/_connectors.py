"""Connections that several clients share: the connectors of one limiter, and the pool of a session handed in.

Clients that share a limiter share two connectors in each event loop: one keeps its connections for the next request,
the other opens a new one for each. A server may have closed a kept connection without this process knowing, and a
request sent over it is lost: that costs a GET another attempt, but nobody can say whether a create was carried out.
"""

import asyncio
from collections import Counter, OrderedDict
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from attrs import define, field, frozen

from ._wire import RateState
from .errors import RateLimitWaitError
from .ratelimit import Lane, Permit, RateLimiter

BULK_SHARE: Final = 9  # interactive calls in a row that get a slot before a bulk call does


class PooledConnection(ResponseHandler):
    """A connection that ends at once, and that no request uses again once the server has sent more than was asked for.

    A second answer, or a proxy's 408 before it hangs up, would be read as the answer to the next request, perhaps one
    of another account. To end TLS, asyncio waits up to 30 s for the server to agree: the socket would outlive the
    client, and the event loop that ends with it.
    """

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close

    def close(self) -> None:
        transport = self.transport
        if transport is not None and transport.get_extra_info("sslcontext") is not None:
            transport.abort()
        super().close()


class BoundedConnector(aiohttp.TCPConnector):
    """Counts towards a bound that it shares with other connectors, and that includes idle connections."""

    def __init__(self, shared: "list[BoundedConnector]", limit: int, *, force_close: bool = False) -> None:
        super().__init__(limit=limit, force_close=force_close)  # pyright: ignore[reportUnknownMemberType] - aiohttp's
        kind: type[ResponseHandler] = PooledConnection
        self._factory = partial(kind, loop=asyncio.get_running_loop())
        self._shared = shared
        shared.append(self)

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        # The new connection is counted already, so that the bound may be reached but not passed.
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


@define(eq=False, repr=False)
class LoopConnectors:
    """The two connectors of one event loop, for as long as clients use them."""

    limit: int
    users: int = 0
    _made: list[BoundedConnector] = field(factory=list[BoundedConnector], init=False)
    kept: BoundedConnector = field(init=False)
    _fresh: BoundedConnector | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.kept = BoundedConnector(self._made, self.limit)

    @property
    def fresh(self) -> BoundedConnector:
        """Opens a new connection for each request."""
        if self._fresh is None:
            self._fresh = BoundedConnector(self._made, self.limit, force_close=True)
        return self._fresh

    async def close(self) -> None:
        for connector in self._made:
            await connector.close()


@define(eq=False, repr=False)
class Connectors:
    """The connections of all clients that share a limiter: at most `limit` in each event loop."""

    limit: int
    _loops: dict[asyncio.AbstractEventLoop, LoopConnectors] = field(
        factory=dict[asyncio.AbstractEventLoop, LoopConnectors], init=False
    )

    @classmethod
    def of(cls, limiter: object, limit: int) -> "Connectors":
        """The connectors of this limiter, made on first use."""
        return _CONNECTORS.setdefault(limiter, cls(limit))

    def join(self) -> LoopConnectors:
        """The running loop's connectors; `leave` them again."""
        for closed in [loop for loop in self._loops if loop.is_closed()]:
            del self._loops[closed]
        loop = asyncio.get_running_loop()
        connectors = self._loops.get(loop) or self._loops.setdefault(loop, LoopConnectors(self.limit))
        connectors.users += 1
        return connectors

    async def leave(self, connectors: LoopConnectors) -> None:
        """Close the connectors if no other client uses them."""
        connectors.users -= 1
        if not connectors.users:
            self._loops = {loop: other for loop, other in self._loops.items() if other is not connectors}
            await connectors.close()


_CONNECTORS: Final[WeakKeyDictionary[Any, Connectors]] = WeakKeyDictionary()


@define(eq=False, repr=False)
class ConnectionSlots:
    """The slots in the pool of somebody else's connector: who holds one, and who waits for one.

    Interactive calls take priority over bulk calls, with one bulk call after nine of them.
    """

    limit: int
    limit_per_host: int
    _held: Counter[str] = field(factory=Counter[str], init=False)
    _waiting: dict[Lane, OrderedDict["asyncio.Future[None]", str]] = field(init=False)
    _since_bulk: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = {lane: OrderedDict() for lane in Lane}

    @classmethod
    def of(cls, connector: aiohttp.BaseConnector | None) -> "ConnectionSlots | None":
        """The slots of this connector, `None` if it has no bound."""
        if connector is None or not (connector.limit or connector.limit_per_host):
            return None
        return _SLOTS.setdefault(connector, cls(connector.limit, connector.limit_per_host))

    def acquire_now(self, host: str) -> bool:
        """Take a slot unless all are held or others wait; whether one was taken."""
        is_free = self._is_free(host) and not any(host in waiting.values() for waiting in self._waiting.values())
        if is_free:
            self._held[host] += 1
        return is_free

    async def acquire(self, host: str, lane: Lane) -> None:
        """Wait for a slot; a cancelled waiter leaves no slot held."""
        if self.acquire_now(host):
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[lane][future] = host
        try:
            await future
        except BaseException:
            if self._waiting[lane].pop(future, None) is None:
                self.release(host)  # it had just been given
            raise

    def release(self, host: str) -> None:
        """Give a slot back, to the first waiter who can use it."""
        self._held[host] -= 1
        is_due = self._since_bulk >= BULK_SHARE
        for lane in (Lane.BULK, Lane.INTERACTIVE) if is_due else (Lane.INTERACTIVE, Lane.BULK):
            waiting = self._waiting[lane]
            future = next((one for one, wanted in waiting.items() if self._is_free(wanted)), None)
            if future is not None:
                self._since_bulk = 0 if lane is Lane.BULK else self._since_bulk + 1
                self._held[waiting.pop(future)] += 1
                if not future.done():
                    future.set_result(None)
                return

    def _is_free(self, host: str) -> bool:
        of_host = not self.limit_per_host or self._held[host] < self.limit_per_host
        return of_host and (not self.limit or self._held.total() < self.limit)


_SLOTS: Final[WeakKeyDictionary[aiohttp.BaseConnector, ConnectionSlots]] = WeakKeyDictionary()


@define(eq=False, repr=False)
class PooledPermit:
    """A permit with a connection slot; both end together, once."""

    permit: Permit
    waited: float
    _slots: ConnectionSlots
    _host: str
    _is_open: bool = True

    def settle(self, state: RateState | None = None, *, refused: bool = False) -> None:
        self._leave()
        self.permit.settle(state, refused=refused)

    def release(self) -> None:
        self._leave()
        self.permit.release()

    def _leave(self) -> None:
        if self._is_open:
            self._is_open = False
            self._slots.release(self._host)


@frozen(eq=False, repr=False)
class PooledLimiter:
    """A limiter whose permits come with a connection slot.

    A call holds neither a slot while it waits for a permit nor a permit while it waits for a slot: a bulk call that
    waits for the next window keeps no interactive call from the pool.
    """

    limiter: RateLimiter
    slots: ConnectionSlots
    host: str

    def acquire_now(self, route: str, *, lane: Lane, returning: PooledPermit | None = None) -> PooledPermit | None:
        """As a limiter's; `None` also if the call has to wait for a slot."""
        return self._permit(route, lane, returning) if self.slots.acquire_now(self.host) else None

    async def acquire(
        self, route: str, *, lane: Lane, max_wait: float | None = None, returning: PooledPermit | None = None
    ) -> PooledPermit:
        """As a limiter's; `max_wait` bounds the wait for both.

        Raises: the limiter's errors; RateLimitWaitError if no slot is free in time.
        """
        now = asyncio.get_running_loop().time
        began = now()
        while True:
            left = None if max_wait is None else max(0.0, began + max_wait - now())
            await self._slot(route, lane, max_wait, left)
            held = self._permit(route, lane, returning)
            if held is None:
                left = None if max_wait is None else max(0.0, began + max_wait - now())
                before = returning.permit if returning else None
                permit = await self.limiter.acquire(route, lane=lane, max_wait=left, returning=before)
                if not self.slots.acquire_now(self.host):
                    permit.release()
                    continue
                held = self._held(permit)
            held.waited = now() - began
            return held

    async def _slot(self, route: str, lane: Lane, max_wait: float | None, left: float | None) -> None:
        try:
            async with asyncio.timeout(left):
                await self.slots.acquire(self.host, lane)
        except TimeoutError:
            raise RateLimitWaitError(
                f"no connection of the session's pool was free within max_wait={max_wait:g} s",
                predicted=self.limiter.predict(lane, route),
                max_wait=max_wait or 0.0,
            ) from None

    def _permit(self, route: str, lane: Lane, returning: PooledPermit | None) -> PooledPermit | None:
        """A permit for the slot just taken, which is given back if there is none now."""
        permit = None
        try:
            before = returning.permit if returning else None
            permit = self.limiter.acquire_now(route, lane=lane, returning=before)
        finally:
            if permit is None:
                self.slots.release(self.host)
        return None if permit is None else self._held(permit)

    def _held(self, permit: Permit) -> PooledPermit:
        return PooledPermit(permit, permit.waited, self.slots, self.host)
