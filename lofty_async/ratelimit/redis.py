"""A ledger in Redis, for the processes of many hosts: the only module that knows Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from hashlib import sha1
from random import uniform
from secrets import token_hex
from typing import Any, Final, Protocol, Self, TypeVar

from attrs import define, frozen

from lofty_async._deadlines import lenient_timeout
from lofty_async._wire import BASE_URL
from lofty_async.errors import InvalidRequestError, StoreUnavailableError

from .ledger import Ledger
from .per_loop import PerLoop
from .stores import STALE, Store, application_key, read_ledger, write_ledger

R = TypeVar("R")

TRIES: Final = 50  # to change a ledger that others change at the same time
EAGER_TRIES: Final = 3  # that follow each other at once
TIMEOUT: Final = 0.25  # seconds for one answer of the server
CONNECT_TIMEOUT: Final = 3.0  # seconds more where a connection may have to be made: seven round trips, nine with TLS
IDLE: Final = 10.0  # seconds of silence after which a connection may have to be made again


@frozen
class Script:
    """A script that the server runs, and its digest, which names it there."""

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
    """The part of a Redis client that is used; `redis.asyncio.Redis` has it."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]: ...

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]: ...


class OwnClient(ScriptRunner, Protocol):
    """A client that its store closes."""

    def aclose(self) -> Awaitable[object]: ...


@define(eq=False)
class ClientPerLoop(PerLoop[OwnClient]):
    """Makes a client in each event loop that it is used in."""

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return await (await self.here()).evalsha(sha, numkeys, *keys_and_args)

    async def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return await (await self.here()).eval(script, numkeys, *keys_and_args)


@frozen
class Known:
    """A ledger as it was read: its version, its text, and the server's time."""

    version: str
    text: bytes
    now: float


class RedisStore(Store):
    """A ledger in one Redis hash, named by a hash of `app_id` and the client's base URL, never by a secret.

    `client` is a ready asyncio client, left open; `from_url` makes one for each event loop, and closes it with the
    store or its loop. `timeout` bounds one answer in seconds; connecting may take 3 more. Times are the Redis
    server's. A change reads, computes here, and writes only if nobody else wrote meanwhile.

    Raises: InvalidRequestError where `app_id` is empty, or `client` is none.
    """

    change_timeout = None  # each answer has its own bound, and what others change meanwhile is no failure
    remedy = "give all processes RedisStore with the same server, database and app_id"

    def __init__(self, client: ScriptRunner, app_id: str, *, timeout: float = TIMEOUT) -> None:
        if not hasattr(client, "evalsha"):
            kind = type(client).__name__
            client = ""  # type: ignore[assignment] # an address may hold a password, which a traceback should not
            text = f"client must be an asyncio Redis client, not {kind}: use RedisStore.from_url(url, app_id)"
            raise InvalidRequestError(text, argument="client")
        self._client, self._timeout, self._app_id = client, timeout, app_id
        self._key = application_key(app_id, BASE_URL)
        self._close: Callable[[], Awaitable[object]] | None = None
        self._last_answer: tuple[int, float] | None = None
        self._under_way = 0

    @classmethod
    def from_url(cls, url: str, app_id: str, *, timeout: float = TIMEOUT) -> "RedisStore":
        """A store with clients of its own; needs the extra `redis`.

        Raises: InvalidRequestError where `url` is not the address of a Redis.
        """
        client = _client_of(url)
        url = ""  # it may hold a password, which a traceback should not
        if client is None:
            raise InvalidRequestError("url must look like redis://host:6379/0, rediss://… or unix://…", argument="url")
        store = cls(client, app_id, timeout=timeout)
        store._close = client.aclose
        return store

    def for_server(self, base_url: str) -> Self:
        other = copy(self)
        other._key = application_key(self._app_id, base_url)  # noqa: SLF001 - a store of this class
        return other

    async def close(self) -> None:
        if self._close:
            await self._close()

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        return await _reached(self._change(step))

    async def read(self, step: Callable[[Ledger, float], R]) -> R:
        _, known = await _reached(self._run(READ))
        return step(read_ledger(known.text, known.now), known.now)

    async def _change(self, step: Callable[[Ledger, float], R]) -> R:
        clock = asyncio.get_running_loop().time
        began = clock()
        _, known = await self._run(READ)
        trip = clock() - began
        for failed in range(TRIES):
            if failed >= EAGER_TRIES:
                # Of all who try in one round trip, one succeeds: the fewer try, the fewer try in vain.
                await asyncio.sleep(uniform(0, failed * trip))  # noqa: S311 - no secret
                _, known = await self._run(READ)
            ledger = read_ledger(known.text, known.now)
            result = step(ledger, known.now)
            text, version = write_ledger(ledger, known.now), token_hex(8)
            swapped, known = await self._run(SWAP, known.version, version, text, int(STALE * 1000))
            if swapped:
                return result
        raise StoreUnavailableError("Redis: too many others change the ledger")

    async def _run(self, script: Script, *arguments: Any) -> tuple[bool, Known]:
        try:
            reply = await self._answer(lambda client: client.evalsha(script.digest, 1, self._key, *arguments))
        except Exception as error:
            # Each client has its own class for it; the word is Redis's.
            if "NOSCRIPT" not in str(error) and "NoScript" not in type(error).__name__:
                raise
            reply = None
        if reply is None:
            reply = await self._answer(lambda client: client.eval(script.text, 1, self._key, *arguments))
        swapped, seconds, micros, version, text = reply
        now = int(seconds) + int(micros) / 1e6
        return bool(int(swapped)), Known(_text(version), text if isinstance(text, bytes) else str(text).encode(), now)

    async def _answer(self, ask: Callable[[ScriptRunner], Awaitable[Any]]) -> Any:
        """One answer in the time for it, and for connecting where there may be no connection."""
        loop = asyncio.get_running_loop()
        is_connected = (
            self._last_answer is not None
            and self._last_answer[0] == id(loop)
            and loop.time() - self._last_answer[1] < IDLE
        )
        seconds = self._timeout if is_connected and not self._under_way else self._timeout + CONNECT_TIMEOUT
        self._last_answer = None
        self._under_way += 1
        with suppress(TimeoutError):
            try:
                async with lenient_timeout(seconds):
                    answer = await ask(self._client)
            finally:
                self._under_way -= 1
            self._last_answer = id(loop), loop.time()
            return answer
        raise StoreUnavailableError(f"Redis did not answer within {seconds:g} s")


async def _reached(work: Awaitable[R]) -> R:
    try:
        return await work
    except StoreUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the client at hand raises: none of it may stop a call
        failure = type(error).__name__
    # Raised out here, without a cause: the client's frames hold the password.
    raise StoreUnavailableError(f"Redis: {failure}")


def _client_of(url: str) -> ClientPerLoop | None:
    """A client for each loop, `None` where the address is malformed."""
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('RedisStore.from_url needs redis: pip install "lofty-async[redis]"') from error

    def make() -> OwnClient:
        # One more attempt at once, on a new connection; to wait between attempts is the limiter's business.
        client: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 1))  # pyright: ignore[reportUnknownMemberType] - untyped options
        return client

    try:
        make()  # connects to nothing yet
    except ValueError:
        return None
    return ClientPerLoop(make)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
