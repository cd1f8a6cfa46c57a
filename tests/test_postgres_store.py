"""The rate limit in a real PostgreSQL; what it shares with the other stores is in test_stores.py."""

import asyncio
import gc
import logging
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define, field

from lofty_async._wire import BASE_URL, RateState
from lofty_async.errors import InvalidRequestError, StoreUnavailableError
from lofty_async.ratelimit import PostgresStore, RateLimiter
from lofty_async.ratelimit import postgres as module
from lofty_async.ratelimit.ledger import AcquireRequest, Grant
from lofty_async.ratelimit.postgres import IDLE, TABLE
from lofty_async.ratelimit.shared import SharedLimit
from lofty_async.ratelimit.stores import application_key
from tests.conftest import IN_TURN, trips_of
from tests.postgres_server import needs_postgres
from tests.redis_server import free_port

psycopg = pytest.importorskip("psycopg")

pytestmark = [needs_postgres, IN_TURN]
SELECT = f"SELECT key, ledger, changed_at FROM {TABLE}"  # noqa: S608 - a constant
KEY = application_key("my-app", BASE_URL)


@pytest.fixture
async def store(postgres: str) -> AsyncGenerator[PostgresStore, None]:
    made = PostgresStore("my-app", postgres, timeout=5.0)  # a busy machine takes its time
    yield made
    await made.close()


@pytest.fixture
async def admin(postgres: str) -> AsyncGenerator[Any, None]:
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        yield connection


async def take(store: PostgresStore, count: int = 1, *, holding: int = 0) -> Grant:
    return await store.take(AcquireRequest("a", holding, count, bulk=0, reserve=0.0))


async def rows(admin: Any, sql: str, *values: Any) -> list[Any]:
    return list(await (await admin.execute(sql, values)).fetchall())


async def backend_of(store: PostgresStore) -> Any:
    """The server's process that serves the store in this loop."""
    session: Any = (await store._links.here()).session
    return session._connection.info.backend_pid if session else None


@define
class Way:
    """A way to the server that takes so many seconds in each direction, and can be blocked or broken."""

    port: int
    seconds: float = 0.0
    is_blocked: bool = False
    dsn: str = ""
    trips: int = 0
    is_asking: bool = False
    writers: list[asyncio.StreamWriter] = field(factory=list[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * self.seconds)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self.pass_on(reader, back, is_asking=True), self.pass_on(there, writer, is_asking=False))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_asking: bool) -> None:
        self.writers.append(writer)
        loop, is_blocked = asyncio.get_running_loop(), self.is_blocked
        while data := await reader.read(1 << 16):
            if self.is_blocked and not is_blocked:  # connections that were made before
                continue
            self.trips += is_asking and not self.is_asking
            self.is_asking = is_asking
            loop.call_later(self.seconds, writer.write, data)
        loop.call_later(self.seconds, writer.close)

    def break_connections(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@asynccontextmanager
async def way_to(dsn: str, seconds: float = 0.0) -> AsyncIterator[Way]:
    info = psycopg.conninfo.conninfo_to_dict(dsn)
    way = Way(int(info["port"]), seconds)
    async with await asyncio.start_server(way.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        way.dsn = psycopg.conninfo.make_conninfo(dsn, host="127.0.0.1", port=port)
        yield way
        await asyncio.sleep(2 * seconds)  # what is under way arrives
    for writer in way.writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in way.writers), return_exceptions=True)


async def test_a_snapshot_writes_nothing(store: PostgresStore, admin: Any) -> None:
    assert (await store.snapshot()).limit is None
    assert await rows(admin, "SELECT to_regclass(%s)", TABLE) == [(None,)]
    await take(store)
    (ledger,) = await rows(admin, SELECT)
    assert (await store.snapshot()).in_flight == 1
    assert await rows(admin, SELECT) == [ledger]


async def test_one_row_for_an_application_and_server_that_tells_no_id(store: PostgresStore, admin: Any) -> None:
    await take(store)
    await take(store.for_server("http://127.0.0.1:8081"))
    found = await rows(admin, SELECT)
    assert {key for key, *_ in found} == {KEY, application_key("my-app", "http://127.0.0.1:8081")}
    assert "my-app" not in str(found)


async def test_the_time_is_the_servers(store: PostgresStore, admin: Any) -> None:
    before, seen = time.time(), await store.change(lambda _ledger, now: now)
    ((after,),) = await rows(admin, "SELECT extract(epoch FROM clock_timestamp())::float8")
    assert before - 60 < seen <= after


async def test_a_table_that_is_dropped_is_made_again(store: PostgresStore, admin: Any) -> None:
    before = await take(store)
    await admin.execute(f"DROP TABLE {TABLE}")
    assert (await take(store)).lease.epoch != before.lease.epoch


async def test_many_may_make_the_table_at_once(postgres: str) -> None:
    stores = [PostgresStore("my-app", postgres, timeout=5.0) for _ in range(8)]
    grants = await asyncio.gather(*(take(store) for store in stores))
    assert len({grant.lease.epoch for grant in grants}) == 1
    for store in stores:
        await store.close()


@pytest.mark.parametrize("trip", [0.02, 0.05, 0.1, 0.15])
async def test_many_far_away_may_make_the_table_at_once(postgres: str, trip: float) -> None:
    async with way_to(postgres, trip / 2) as way:
        stores = [PostgresStore("my-app", way.dsn, timeout=1.0) for _ in range(8)]
        grants = await asyncio.gather(*(take(store) for store in stores))
        for store in stores:
            await store.close()
    assert len({grant.lease.epoch for grant in grants}) == 1


async def test_a_change_takes_two_round_trips_and_a_snapshot_one(postgres: str) -> None:
    async with way_to(postgres, 0.02) as way:
        store = PostgresStore("my-app", way.dsn, timeout=5.0)
        await take(store)
        # On a busy machine, one message may go in two parts.
        assert min([await trips_of(way, take(store, holding=1)) for _ in range(5)]) == 2
        assert min([await trips_of(way, store.snapshot()) for _ in range(5)]) == 1
        await store.close()


async def test_a_session_that_the_server_ended_is_replaced_unseen(store: PostgresStore, admin: Any) -> None:
    epoch, backend = (await take(store)).lease.epoch, await backend_of(store)
    await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
    assert (await take(store, holding=1)).lease.epoch == epoch
    assert await backend_of(store) != backend


async def test_a_server_that_is_gone_is_told_and_found_again(postgres: str) -> None:
    async with way_to(postgres) as way:
        store = PostgresStore("my-app", way.dsn)
        epoch = (await take(store)).lease.epoch
        port, way.port = way.port, free_port()
        way.break_connections()
        with pytest.raises(
            StoreUnavailableError, match=r"^PostgreSQL: cannot connect: (Connection refused|OperationalError)$"
        ):
            await take(store, holding=1)
        way.port = port
        assert (await take(store, holding=1)).lease.epoch == epoch
        await store.close()


async def test_a_server_that_hangs_costs_the_timeout_and_no_more(
    postgres: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCK_WAIT", 1000.0)
    async with way_to(postgres) as way, asyncio.timeout(60):
        store = PostgresStore("my-app", way.dsn)
        epoch = (await take(store)).lease.epoch
        way.is_blocked = True
        with pytest.raises(StoreUnavailableError, match=r"within 0\.25 s"):
            await take(store, holding=1)
        assert (await take(store, holding=1)).lease.epoch == epoch
        await store.close()
    await ended(admin)


async def test_a_connection_that_was_dropped_while_idle_is_made_again(postgres: str) -> None:
    async with way_to(postgres) as way:
        store = PostgresStore("my-app", way.dsn)
        epoch = (await take(store)).lease.epoch
        way.is_blocked = True
        (await store._links.here()).answered_at -= IDLE
        assert (await take(store, holding=1)).lease.epoch == epoch
        await store.close()


async def ended(admin: Any) -> None:
    """Wait until no session of a store in this schema is left at the server."""
    ((schema,),) = await rows(admin, "SELECT current_schema()")
    lock = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND pid <> pg_backend_pid()"
    async with asyncio.timeout(10):
        while await rows(admin, lock, f"{schema}.{TABLE}") != [(0,)]:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def locked(postgres: str) -> AsyncIterator[Any]:
    """Another process has begun to change the ledger."""
    async with await psycopg.AsyncConnection.connect(postgres) as other:
        await other.execute(f"{SELECT} FOR UPDATE")
        yield other


async def test_a_change_waits_for_the_changes_of_others_also_after_the_loop_stood_still(
    store: PostgresStore, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = (await take(store)).lease.epoch
    async with locked(postgres) as other:
        monkeypatch.setattr(store, "_timeout", 1.0)
        waiting = asyncio.create_task(take(store, holding=1))
        _, unfinished = await asyncio.wait({waiting}, timeout=1.5)  # longer than an answer may take
        assert unfinished
        assert (await PostgresStore("my-app", postgres, timeout=5.0).snapshot()).in_flight == 1
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + 60)
        await asyncio.sleep(0.01)  # in which the timers come that were due
        await other.rollback()
        assert (await waiting).lease.epoch == epoch


async def test_others_that_take_too_long_are_told(
    store: PostgresStore, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCK_WAIT", 0.1)
    await take(store)
    async with locked(postgres):
        with pytest.raises(StoreUnavailableError, match=r"^PostgreSQL: too many others change the ledger$"):
            await take(store, holding=1)
    assert (await take(store, holding=1)).lease.epoch


async def test_a_process_that_stops_in_a_change_holds_up_the_others_for_a_moment(
    store: PostgresStore, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCK_HOLD", 0.3)
    epoch = (await take(store)).lease.epoch
    stopped = await module._open(postgres)
    await stopped.lock(KEY)
    assert (await take(store, holding=1)).lease.epoch == epoch
    with pytest.raises(psycopg.OperationalError):
        await stopped.commit(KEY, "{}")  # it goes on, too late
    await stopped.close()
    assert (await take(store, holding=1)).lease.epoch == epoch


@pytest.mark.parametrize("turns", range(0, 14, 2))
async def test_a_cancelled_change_leaves_nothing_behind(
    store: PostgresStore, postgres: str, admin: Any, turns: int
) -> None:
    epoch = (await take(store)).lease.epoch
    changing = asyncio.create_task(take(store, holding=1))
    for _ in range(turns):
        await asyncio.sleep(0)
    changing.cancel()
    await asyncio.wait({changing}, timeout=5)
    assert changing.done()
    await ended(admin)
    assert (await take(PostgresStore("my-app", postgres, timeout=5.0), holding=1)).lease.epoch == epoch
    assert not [task for task in asyncio.all_tasks() if "PostgreSQL" in task.get_name()]


async def test_a_change_that_waits_for_others_is_cancelled_at_once(
    store: PostgresStore, postgres: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCK_WAIT", 1000.0)
    await take(store)
    async with locked(postgres) as other:
        waiting = asyncio.create_task(take(store, holding=1))
        while not await rows(admin, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=60)
        assert waiting.cancelled()
        await other.rollback()
    await ended(admin)


async def test_cancelled_while_it_connects_to_a_server_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = PostgresStore("my-app", f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db")
        connecting = asyncio.create_task(take(store))
        await asyncio.wait({connecting}, timeout=0.2)
        connecting.cancel()
        await asyncio.wait({connecting}, timeout=1)
        assert connecting.cancelled()
        await store.close()
    gc.collect()  # a connection that was left open would warn now


async def test_closing_while_a_change_waits_ends_it(
    store: PostgresStore, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCK_WAIT", 1000.0)
    await take(store)
    async with locked(postgres), RateLimiter(store=PostgresStore("my-app", postgres)) as shared:
        asking = asyncio.create_task(shared.acquire())
        await asyncio.wait({asking}, timeout=0.1)
        asking.cancel()
        async with asyncio.timeout(60):
            await shared.close()


@pytest.mark.parametrize("is_patient", [True, False])
async def test_closing_leaves_a_change_under_way_to_its_end(
    store: PostgresStore, postgres: str, admin: Any, is_patient: bool
) -> None:
    epoch = (await take(store)).lease.epoch
    backend = await backend_of(store)
    async with locked(postgres) as other:
        changing = asyncio.create_task(take(store, holding=1))
        while not await rows(admin, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", backend):
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        if not is_patient:
            closing.cancel()
        await other.rollback()
    assert (await changing).lease.epoch == epoch
    await asyncio.wait({closing})
    async with asyncio.timeout(10):
        while await rows(admin, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", backend):
            await asyncio.sleep(0.01)


async def test_each_event_loop_has_a_connection_of_its_own_that_ends_with_it(store: PostgresStore, admin: Any) -> None:
    async def backend() -> int:
        await take(store)
        return int(await backend_of(store))

    backends = [await asyncio.to_thread(lambda: asyncio.run(backend())) for _ in range(3)]
    gc.collect()  # a connection that was left open would warn now
    own = await backend()
    assert len({own, *backends}) == 4
    async with asyncio.timeout(10):
        while await rows(admin, "SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", backends):
            await asyncio.sleep(0.01)
    assert await backend() == own


async def test_threads_may_share_a_store(store: PostgresStore) -> None:
    async def main() -> bool:
        async with RateLimiter(store=store) as shared:
            for _ in range(5):
                (await shared.acquire()).settle(RateState(100, 50, 50.0))
            assert isinstance(shared._shared, SharedLimit)
            return shared._shared.is_away

    assert await asyncio.gather(*(asyncio.to_thread(asyncio.run, main()) for _ in range(4))) == [False] * 4


FORK = """
import asyncio, os, sys
from lofty_async import PostgresStore
from lofty_async.ratelimit import postgres as module
from lofty_async.ratelimit.ledger import AcquireRequest

store = PostgresStore("my-app", sys.argv[1])

async def backend():
    await store.take(AcquireRequest("a", 0, 1, 0, 0.0))
    return (await store._links.here()).session._connection.info.backend_pid

with asyncio.Runner() as runner:
    before = runner.run(backend())
    if not (child := os.fork()):
        os._exit(asyncio.run(backend()) == before)
    assert os.waitpid(child, 0)[1] == 0
    print(runner.run(backend()) == before)
"""


async def test_a_forked_process_leaves_its_parents_connection_alone(postgres: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FORK, postgres], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


async def test_a_server_far_away_is_used_from_the_first_call_on(
    postgres: str, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        way_to(postgres, 0.075) as way,
        RateLimiter(store=PostgresStore("my-app", way.dsn, timeout=1.0)) as shared,
    ):
        for remaining in (99, 98):
            permit = await shared.acquire()
            permit.settle(RateState(100, remaining, 50.0))
        await shared.close()
    known = await store.change(lambda ledger, _now: ledger.window.remaining)
    assert known == 98
    assert "unavailable" not in caplog.text


@pytest.mark.parametrize("options", ["-cdefault_transaction_isolation=serializable", "-cstatement_timeout=100"])
async def test_the_roles_defaults_do_not_matter(postgres: str, options: str) -> None:
    info = psycopg.conninfo.conninfo_to_dict(postgres)
    dsn = psycopg.conninfo.make_conninfo(postgres, options=f"{info['options']} {options}")
    stores = [PostgresStore("my-app", dsn, timeout=5.0) for _ in range(4)]
    await asyncio.gather(*(take(stores[number % 4]) for number in range(40)))
    async with locked(postgres) as other:
        waiting = asyncio.create_task(take(stores[0]))
        await asyncio.wait({waiting}, timeout=0.3)
        await other.rollback()
        await waiting
    for store in stores:
        await store.close()


async def test_a_role_that_may_not_make_the_table_uses_one_that_exists(
    store: PostgresStore, postgres: str, admin: Any
) -> None:
    ((schema,),) = await rows(admin, "SELECT current_schema()")
    role = f"r{schema}"
    await admin.execute(f"CREATE ROLE {role} LOGIN")
    await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    theirs = PostgresStore("my-app", psycopg.conninfo.make_conninfo(postgres, user=role), timeout=5.0)
    with pytest.raises(StoreUnavailableError, match=r"may not create or change the table lofty_rate_limit_v1"):
        await take(theirs)
    epoch = (await take(store)).lease.epoch
    await admin.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO {role}")
    assert (await take(theirs, holding=1)).lease.epoch == epoch
    await theirs.close()
    await admin.execute(f"DROP OWNED BY {role}")
    await admin.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "dsn",
    [
        *["", "nonsense", "http://me:sesame@host/db", "postgresql://me:sesame@host:port/db"],
        *["postgresql://me:sesame@[host", "host=a sesame=1", "host=a password='sesame", 5],
    ],
)
def test_a_malformed_address_is_refused_at_once_without_its_password(dsn: Any) -> None:
    with pytest.raises(InvalidRequestError, match="postgresql://user@host") as caught:
        PostgresStore("app", dsn)
    assert caught.value.argument == "dsn"
    assert "sesame" not in shown(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def shown(error: BaseException, *, of: str = "lofty_async") -> str:
    """Frames as reports of errors show them, with their variables."""
    ours = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain = [ours, *filter(None, (ours.__cause__, ours.__context__))]
    frames = [frame for part in chain for frame in part.stack if "/tests/" not in frame.filename]
    return "".join(str(frame.locals) for frame in frames if of in frame.filename) + "".join(map(str, chain))


async def test_no_error_or_log_shows_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = PostgresStore("app", f"postgresql://me:sesame@127.0.0.1:{free_port()}/db")
    with pytest.raises(StoreUnavailableError) as caught:
        await store.snapshot()
    assert "psycopg" not in shown(caught.value, of="psycopg")
    assert "sesame" not in shown(caught.value, of="") + caplog.text + repr(store) + repr(vars(store))
    assert caught.value.__cause__ is None


async def test_an_answer_of_the_server_is_not_shown(store: PostgresStore, admin: Any) -> None:
    await admin.execute(f"CREATE TABLE {TABLE} (key text PRIMARY KEY, secret text DEFAULT 'sesame')")
    with pytest.raises(StoreUnavailableError, match=r"^PostgreSQL: UndefinedColumn$") as caught:
        await take(store)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("wrong", ["user", "dbname"])
async def test_it_tells_why_it_cannot_connect(postgres: str, wrong: str) -> None:
    store = PostgresStore("app", psycopg.conninfo.make_conninfo(postgres, **{wrong: "sesame"}))
    with pytest.raises(StoreUnavailableError, match=r"^PostgreSQL: cannot connect: does not exist$"):
        await store.snapshot()


def test_a_sandbox_and_production_have_a_ledger_each(postgres: str) -> None:
    store = PostgresStore("my-app", postgres)
    assert store.for_server(BASE_URL)._key == store._key == KEY
    assert store.for_server("http://127.0.0.1:8081")._key != KEY


def test_an_application_needs_an_id(postgres: str) -> None:
    with pytest.raises(InvalidRequestError, match="app_id"):
        PostgresStore("", postgres)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ModuleNotFoundError, match=r"lofty-async\[postgres\]"):
        PostgresStore("app", "postgresql://127.0.0.1/db")
