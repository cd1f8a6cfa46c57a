import asyncio
import gc
import sys
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from attrs import define, field

from lofty_async._wire import BASE_URL, RateState
from lofty_async.errors import InvalidRequestError, StoreUnavailableError
from lofty_async.ratelimit import RateLimiter, RedisStore
from lofty_async.ratelimit.ledger import AcquireRequest, Grant
from lofty_async.ratelimit.redis import CONNECT_TIMEOUT, TRIES, ClientPerLoop
from lofty_async.ratelimit.shared import SharedLimit
from lofty_async.ratelimit.stores import application_key
from tests.conftest import IN_TURN, trips_of
from tests.redis_server import RedisServer, free_port, needs_redis, running_redis

pytestmark = [needs_redis, IN_TURN]
KEY = application_key("my-app", BASE_URL)


@pytest.fixture
async def server() -> AsyncGenerator[RedisServer, None]:
    async with running_redis() as running:
        yield running


@pytest.fixture
async def client(server: RedisServer) -> AsyncGenerator[Any, None]:
    made: Any = redis.asyncio.Redis(port=server.port)
    yield made
    await made.aclose()


@pytest.fixture
async def store(server: RedisServer) -> AsyncGenerator[RedisStore, None]:
    made = RedisStore.from_url(server.url, "my-app")
    yield made
    await made.close()


async def test_a_snapshot_writes_nothing(store: RedisStore, client: Any) -> None:
    assert (await store.snapshot()).limit is None
    assert await client.keys() == []
    await take(store)
    ledger = await client.hgetall(KEY)
    assert (await store.snapshot()).in_flight == 1
    assert await client.hgetall(KEY) == ledger


async def test_a_snapshot_of_a_server_that_is_gone_says_so(server: RedisServer, store: RedisStore) -> None:
    await server.stop()
    with pytest.raises(StoreUnavailableError, match=r"^Redis"):
        await store.snapshot()


async def take(store: RedisStore, count: int = 1, *, holding: int = 0) -> Grant:
    return await store.take(AcquireRequest("a", holding, count, bulk=0, reserve=0.0))


async def test_one_hash_for_an_application_that_tells_no_id_and_expires_by_itself(
    store: RedisStore, client: Any
) -> None:
    await take(store)
    assert await client.keys() == [KEY.encode()]
    assert await client.type(KEY) == b"hash"
    assert 0 < await client.pttl(KEY) <= 600_000
    assert b"my-app" not in b"".join(await client.hvals(KEY))


async def test_scripts_that_the_server_forgot_are_loaded_again(store: RedisStore, client: Any) -> None:
    before = await take(store)
    await client.script_flush()
    assert (await take(store, holding=1)).lease.epoch == before.lease.epoch
    assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] > 0


async def test_a_ready_client_is_left_open(client: Any) -> None:
    store = RedisStore(client, "my-app")
    await take(store)
    await store.close()
    assert await client.ping()


async def test_a_client_that_decodes_answers_will_do(server: RedisServer, store: RedisStore) -> None:
    client: Any = redis.asyncio.Redis(port=server.port, decode_responses=True)
    before = await take(store)
    assert (await take(RedisStore(client, "my-app"), holding=1)).lease.epoch == before.lease.epoch
    await client.aclose()


@define
class OtherClient:
    """Runs scripts, and is of no class that anybody knows; what it says of a missing script is its own."""

    client: Any
    ran: list[str] = field(factory=list[str])

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        raise type("NoScriptError", (Exception,), {})(sha, numkeys, keys_and_args)

    async def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        self.ran.append(script)
        return await self.client.eval(script, numkeys, *keys_and_args)


async def test_anything_that_runs_scripts_with_keys_and_arguments_will_do(client: Any) -> None:
    other = OtherClient(client)
    assert (await take(RedisStore(other, "my-app"))).interactive == 1
    assert len(other.ran) == 2


async def test_the_time_is_the_servers(store: RedisStore, client: Any) -> None:
    seen = await store.change(lambda _ledger, now: now)
    seconds, micros = await client.time()
    assert 0 <= seconds + micros / 1e6 - seen < 60


async def test_a_server_that_was_restarted_empty_begins_a_new_ledger(store: RedisStore, server: RedisServer) -> None:
    before = await take(store)
    await server.stop()
    with pytest.raises(StoreUnavailableError, match=r"^Redis"):
        await take(store, holding=1)
    await server.start()
    after = await take(store, holding=1)
    assert after.lease.epoch != before.lease.epoch
    assert await store.change(lambda ledger, _now: ledger.window.in_flight) == 1 + after.interactive


async def test_a_server_that_hangs_costs_the_timeout_and_no_more(store: RedisStore, server: RedisServer) -> None:
    await take(store)
    server.pause()
    with pytest.raises(StoreUnavailableError, match=r"within 0\.25 s"):
        await take(store, holding=1)
    server.resume()
    assert (await take(store, holding=1)).lease.epoch


async def test_a_key_that_holds_something_else_is_told_without_its_content(store: RedisStore, client: Any) -> None:
    await client.set(KEY, "secret")
    with pytest.raises(StoreUnavailableError, match=r"^Redis: ResponseError$"):
        await take(store)


async def test_a_ledger_that_others_change_all_the_time_is_given_up(store: RedisStore, client: Any) -> None:
    patient = RedisStore(client, "my-app", timeout=10.0)

    class Rival(OtherClient):
        async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
            if len(keys_and_args) > 1:
                await client.hset(KEY, "version", f"rival {len(self.ran)}")
                self.ran.append(sha)
            return await client.evalsha(sha, numkeys, *keys_and_args)

    await take(patient)
    rival = Rival(client)
    with pytest.raises(StoreUnavailableError, match="too many others"):
        await take(RedisStore(rival, "my-app", timeout=10.0))
    assert len(rival.ran) == TRIES
    assert (await take(store, holding=1)).lease.epoch


async def test_each_event_loop_has_a_client_of_its_own_that_ends_with_it(store: RedisStore, client: Any) -> None:
    before = len(await client.client_list())
    for _ in range(3):
        await asyncio.to_thread(lambda: asyncio.run(take(store)))
    gc.collect()  # a connection that was left open would warn now
    assert len(await client.client_list()) == before
    await take(store)
    assert len(await client.client_list()) == before + 1


async def test_a_store_of_one_loop_goes_on_while_it_is_used_in_another(store: RedisStore) -> None:
    epoch, own = (await take(store)).lease.epoch, await own_client(store)
    other = await asyncio.to_thread(lambda: asyncio.run(own_client(store)))
    assert other is not own
    assert (await take(store, holding=1)).lease.epoch == epoch
    assert await own_client(store) is own


async def own_client(store: RedisStore) -> Any:
    await take(store)
    assert isinstance(store._client, ClientPerLoop)
    return await store._client.here()


def test_a_limiter_left_open_shares_in_every_loop_from_its_first_call_on() -> None:
    with asyncio.Runner() as runner:
        server = RedisServer(free_port())
        runner.run(server.start())
        shared = RateLimiter(store=RedisStore.from_url(server.url, "my-app"))
        assert [asyncio.run(_is_shared(shared)) for _ in range(3)] == [True] * 3
        runner.run(server.stop())


async def _is_shared(shared: RateLimiter) -> bool:
    permit = await shared.acquire()
    assert isinstance(shared._shared, SharedLimit)
    has_lease = permit.lease is not None
    permit.settle(RateState(100, 90, 50.0))
    assert shared._shared._task
    await shared._shared._task  # the connection is idle when its loop ends
    return has_lease


def test_an_address_in_place_of_a_client_is_refused_with_what_to_use() -> None:
    with pytest.raises(InvalidRequestError, match=r"not str: use RedisStore\.from_url") as caught:
        RedisStore("redis://me:sesame@host", "app")  # type: ignore[arg-type] # the slip itself
    ours = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "sesame" not in "".join(str(frame.locals) for frame in ours.stack if "lofty_async" in frame.filename)


@pytest.mark.parametrize("url", ["nonsense", "http://me:sesame@host", "redis://me:sesame@host:port", "redis://[sesame"])
def test_a_malformed_address_is_refused_at_once_without_its_password(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="redis://host") as caught:
        RedisStore.from_url(url, "app")
    assert caught.value.argument == "url"
    ours = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(str(frame.locals) for frame in ours.stack if "lofty_async" in frame.filename)
    assert "sesame" not in shown
    assert caught.value.__cause__ is caught.value.__context__ is None


@define
class Way:
    """A way to the server that counts round trips."""

    url: str = ""
    trips: int = 0
    is_asking: bool = False

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_asking: bool) -> None:
        while data := await reader.read(1 << 16):
            self.trips += is_asking and not self.is_asking
            self.is_asking = is_asking
            writer.write(data)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def way_to(server: RedisServer) -> AsyncGenerator[Way, None]:
    way, ended = Way(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(way.pass_on(reader, back, is_asking=True), way.pass_on(there, writer, is_asking=False))
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        way.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        yield way
        await ended.wait()


async def test_a_server_150_ms_away_has_the_time_that_it_needs(server: RedisServer) -> None:
    """An answer takes one round trip, and connecting no more than there is time for."""
    async with way_to(server) as way:
        store = RedisStore.from_url(way.url, "my-app", timeout=5.0)
        await take(store)
        assert 0.15 * way.trips < CONNECT_TIMEOUT
        # A change reads and writes. On a busy machine, one message may go in two parts.
        assert min([await trips_of(way, take(store, holding=1)) for _ in range(5)]) == 2
        assert min([await trips_of(way, store.snapshot()) for _ in range(5)]) == 1
        await store.close()


async def test_threads_may_share_a_store(store: RedisStore) -> None:
    async def main() -> bool:
        async with RateLimiter(store=store) as shared:
            for _ in range(5):
                (await shared.acquire()).settle(RateState(100, 50, 50.0))
            assert isinstance(shared._shared, SharedLimit)
            return shared._shared.is_away

    assert await asyncio.gather(*(asyncio.to_thread(asyncio.run, main()) for _ in range(4))) == [False] * 4


def test_a_sandbox_and_production_have_a_ledger_each(store: RedisStore) -> None:
    assert store.for_server(BASE_URL)._key == store._key == KEY
    assert store.for_server("http://127.0.0.1:8081")._key != KEY


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ModuleNotFoundError, match=r"lofty-async\[redis\]"):
        RedisStore.from_url("redis://127.0.0.1", "app")
