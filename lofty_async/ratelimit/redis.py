"""A ledger in Redis, for the processes of many hosts: the only module that knows Redis."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from hashlib import sha1
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

from attrs import define, field, frozen

from lofty_async.auth import hidden
from lofty_async.errors import InvalidRequestError
from lofty_async.wire import BASE_URL

from .ledger import Ledger
from .stores import STALE, Store, StoreFailed, application_key, read_ledger, write_ledger

R = TypeVar("R")

TRIES: Final = 50  # to change a ledger that others change at the same time
TIMEOUT: Final = 0.25


@frozen
class Script:
    """What the server runs, and what it is called there."""

    text: str

    @property
    def digest(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


READ: Final = Script(
    """
local now = redis.call('TIME')
local found = redis.call('HMGET', KEYS[1], 'version', 'ledger')
return {0, now[1], now[2], found[1] or '', found[2] or ''}
"""
)
SWAP: Final = Script(
    """
local now = redis.call('TIME')
local found = redis.call('HMGET', KEYS[1], 'version', 'ledger')
if (found[1] or '') ~= ARGV[1] then
  return {0, now[1], now[2], found[1] or '', found[2] or ''}
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'ledger', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, now[1], now[2], ARGV[2], ARGV[3]}
"""
)


class ScriptRunner(Protocol):
    """What of a Redis client is used; `redis.asyncio.Redis` has it."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]: ...

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]: ...


class OwnClient(ScriptRunner, Protocol):
    """A client that its store closes."""

    def aclose(self) -> Awaitable[object]: ...


@define(eq=False)
class ClientPerLoop:
    """Makes a client in each event loop that it is used in, for a connection works in no other."""

    make: Callable[[], OwnClient]
    _clients: dict[asyncio.AbstractEventLoop, tuple[OwnClient, AsyncGenerator[None, None]]] = field(
        factory=dict[asyncio.AbstractEventLoop, "tuple[OwnClient, AsyncGenerator[None, None]]"]
    )

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return await (await self._here()).evalsha(sha, numkeys, *keys_and_args)

    async def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return await (await self._here()).eval(script, numkeys, *keys_and_args)

    async def aclose(self) -> None:
        """Close the running loop's client; the others are closed with their loops."""
        _, lifetime = self._clients.pop(asyncio.get_running_loop(), (None, None))
        if lifetime:
            await lifetime.aclose()

    async def _here(self) -> OwnClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients = {other: kept for other, kept in self._clients.items() if not other.is_closed()}
            client = self.make()
            self._clients[loop] = client, _lifetime(client)
            await anext(self._clients[loop][1])
        return self._clients[loop][0]


async def _lifetime(client: OwnClient) -> AsyncGenerator[None, None]:
    """Closes the client when it is closed itself, as loops do with generators that are left when they shut down."""
    try:
        yield
    finally:
        await client.aclose()


@frozen
class Known:
    """A ledger as it was read: its version, its text, and the server's time."""

    version: str
    text: bytes
    now: float


class RedisStore(Store):
    """A ledger in one Redis hash, named by a hash of `app_id` and `base_url`, never by a secret.

    `client` is a ready asyncio client, left open; `from_url` makes one for each event loop, and closes it with the
    store or its loop. Times are the Redis server's. A change reads, computes here, and writes only if nobody else
    wrote meanwhile.

    Raises: InvalidRequestError where `app_id` is empty.
    """

    def __init__(
        self, client: ScriptRunner, app_id: str, *, base_url: str = BASE_URL, timeout: float = TIMEOUT
    ) -> None:
        self._client, self._timeout = client, timeout
        self._key = application_key(app_id, base_url)
        self._close: Callable[[], Awaitable[object]] | None = None

    @classmethod
    def from_url(cls, url: str, app_id: str, *, base_url: str = BASE_URL, timeout: float = TIMEOUT) -> "RedisStore":
        """A store with clients of its own; needs the extra `redis`.

        Raises: InvalidRequestError where `url` is no address of a Redis server.
        """
        url = hidden(url)  # it may hold a password, which frames would show
        try:
            import redis.asyncio  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('RedisStore.from_url needs redis: pip install "lofty-async[redis]"') from error

        def make() -> OwnClient:
            client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType] - untyped options
            return client

        try:
            make()  # connects to nothing yet, and tells of a malformed `url` here
        except (ValueError, TypeError, AttributeError):
            malformed = True
        else:
            malformed = False
        if malformed:  # raised out here: the frames above hold the parts of the address
            raise InvalidRequestError("url must be a redis://, rediss:// or unix:// address", argument="url")
        client = ClientPerLoop(make)
        store = cls(client, app_id, base_url=base_url, timeout=timeout)
        store._close = client.aclose
        return store

    async def aclose(self) -> None:
        if self._close:
            await self._close()

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._change(step)
        except TimeoutError as error:
            raise StoreFailed(f"Redis did not answer within {self._timeout:g} s") from error
        except StoreFailed:
            raise
        except Exception as error:  # whatever the client at hand raises: none of it may stop a call
            raise StoreFailed(f"Redis: {type(error).__name__}") from error

    async def _change(self, step: Callable[[Ledger, float], R]) -> R:
        _, known = await self._run(READ)
        for _ in range(TRIES):
            ledger = read_ledger(known.text, known.now)
            result = step(ledger, known.now)
            text, version = write_ledger(ledger, known.now), token_hex(8)
            swapped, known = await self._run(SWAP, known.version, version, text, int(STALE * 1000))
            if swapped:
                return result
        raise StoreFailed("Redis: too many others change the ledger")

    async def _run(self, script: Script, *arguments: Any) -> tuple[bool, Known]:
        try:
            reply = await self._client.evalsha(script.digest, 1, self._key, *arguments)
        except Exception as error:
            # Each client has its own class for it; the word is Redis's.
            if "NOSCRIPT" not in str(error) and "NoScript" not in type(error).__name__:
                raise
            reply = await self._client.eval(script.text, 1, self._key, *arguments)
        swapped, seconds, micros, version, text = reply
        now = int(seconds) + int(micros) / 1e6
        return bool(int(swapped)), Known(_text(version), text if isinstance(text, bytes) else str(text).encode(), now)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
