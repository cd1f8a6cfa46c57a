"""What every store does; the same for each of them."""

import asyncio
import json
import math
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lofty_async.errors import InvalidRequestError
from lofty_async.ratelimit import FileStore, Lane, MemoryStore, PostgresStore, RateLimit, RedisStore, Store
from lofty_async.ratelimit.ledger import AcquireRequest, Grant, Ledger, Member, PermitReport
from lofty_async.ratelimit.stores import application_key, read_ledger, write_ledger
from lofty_async.ratelimit.window import Window
from tests.postgres_server import needs_postgres
from tests.redis_server import needs_redis, running_redis

LIMIT = 100
Open = Callable[[], Store]

PROCESS = """
import asyncio, sys
from lofty_async.ratelimit import FileStore, PostgresStore, RedisStore
from lofty_async.ratelimit.ledger import AcquireRequest

STORES = {
    "file": lambda place: FileStore("app", directory=place),
    "redis": lambda place: RedisStore.from_url(place, "app", timeout=5.0),
    "postgres": lambda place: PostgresStore("app", place, timeout=5.0),
}

async def main(kind, place, name):
    store = STORES[kind](place)
    print("ready", flush=True)
    sys.stdin.readline()
    got = 0
    for _ in range(40):
        got += (await store.take(AcquireRequest(name, got, 1, 0, 0.0))).interactive
    await store.close()
    print(got)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def memory(_: Path) -> AsyncGenerator[Open, None]:
    store = MemoryStore()
    yield lambda: store


@asynccontextmanager
async def file(directory: Path) -> AsyncGenerator[Open, None]:
    yield lambda: FileStore("app", directory=directory)


@asynccontextmanager
async def redis(_: Path) -> AsyncGenerator[Open, None]:
    async with running_redis() as server:
        yield lambda: RedisStore.from_url(server.url, "app", timeout=5.0)


@asynccontextmanager
async def postgres_at(dsn: str) -> AsyncGenerator[Open, None]:
    yield lambda: PostgresStore("app", dsn, timeout=5.0)


KINDS = [
    pytest.param(memory, id="memory"),
    pytest.param(file, id="file"),
    pytest.param(redis, id="redis", marks=needs_redis),
    pytest.param("postgres", id="postgres", marks=needs_postgres),
]


@pytest.fixture(params=KINDS)
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Open, None]:
    """Opens the same application's store, as each of its processes would."""
    opened: list[Store] = []
    is_postgres = request.param == "postgres"
    making = postgres_at(request.getfixturevalue("postgres")) if is_postgres else request.param(tmp_path)
    async with making as make:

        def opening() -> Store:
            opened.append(make())
            return opened[-1]

        yield opening
        for store in opened:
            await store.close()


def ask(member: str, interactive: int = 0, *, holding: int = 0) -> AcquireRequest:
    return AcquireRequest(member, holding, interactive, bulk=0, reserve=0.0)


def answer(grant: Grant, remaining: int, left: float, member: str = "a") -> PermitReport:
    return PermitReport(member, grant.lease, "answered", limit=LIMIT, remaining=remaining, left=left)


async def begin_window(store: Store, left: float = 60.0) -> None:
    """A whole window of a hundred is now known to have begun, and nobody else spends."""

    def step(ledger: Ledger, now: float) -> None:
        window = ledger.window
        window.limit, window.remaining, window.ends_at = LIMIT, LIMIT, now + left
        window.serial, ledger.serial, window.length, window.contention = 2, 2, 60.0, 0

    await store.change(step)


async def test_the_same_questions_have_the_same_answers(open_store: Open) -> None:
    a, b = open_store(), open_store()
    first = await a.take(ask("a", 5))
    assert (first.interactive, (await b.take(ask("b", 5))).interactive) == (1, 0)
    await a.observe([answer(first, 80, left=50.0)])
    second = await b.take(ask("b", 30))
    assert (second.interactive, second.lease.lowest, second.lease.epoch) == (10, 80, first.lease.epoch)
    released = PermitReport("b", second.lease, "released")
    await b.observe([released] * 4)
    assert (await a.take(ask("a", 30), reports=[])).interactive == 4
    silent = [PermitReport("b", second.lease, "silent")] * 6
    assert (await b.take(ask("b", 1), reports=silent)).interactive == 1


async def test_a_snapshot_tells_the_budget_of_all_processes_and_changes_nothing(open_store: Open) -> None:
    a, b = open_store(), open_store()
    assert await b.snapshot() == RateLimit(None, None, None, {Lane.INTERACTIVE: 0, Lane.BULK: 0}, 0)
    await begin_window(a)
    grant = await a.take(AcquireRequest("a", 0, 100, 30, reserve=0.0, queued_interactive=400, queued_bulk=30))
    await a.observe([answer(grant, 99, left=50.0)])
    before = await a.read(lambda ledger, _now: ledger.as_json())
    told = await b.snapshot()
    assert (told.limit, told.remaining, told.in_flight) == (LIMIT, 99, 99)
    assert told.resets_in is not None
    assert 30 < told.resets_in <= 50
    # Each tenth permit was bulk's.
    assert told.queued == {Lane.INTERACTIVE: 400 - 90, Lane.BULK: 30 - 10}
    assert await a.read(lambda ledger, _now: ledger.as_json()) == before


async def test_a_snapshot_after_the_window_tells_the_next_one(open_store: Open) -> None:
    store = open_store()
    await begin_window(store, left=0.0)
    told = await store.snapshot()
    assert (told.limit, told.remaining, told.resets_in, told.in_flight) == (LIMIT, LIMIT, None, 0)


async def test_many_tasks_at_once_are_granted_each_permit_once(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    await begin_window(stores[0])

    async def take(number: int) -> int:
        store, name = stores[number % 4], f"member {number}"
        grants = [(await store.take(ask(name, 3))).interactive]
        grants.append((await store.take(ask(name, 3, holding=grants[0]))).interactive)
        return sum(grants)

    assert sum(await asyncio.gather(*(take(number) for number in range(24)))) == LIMIT


async def test_a_step_that_fails_changes_nothing_for_others(open_store: Open) -> None:
    store = open_store()
    await begin_window(store)

    def fail(_ledger: Ledger, _now: float) -> None:
        raise LookupError

    with pytest.raises(Exception, match=r"^$|LookupError"):
        await store.change(fail)
    assert (await open_store().take(ask("a", LIMIT))).interactive == LIMIT


async def test_a_store_that_was_closed_opens_again_when_it_is_used(open_store: Open) -> None:
    store = open_store()
    epoch = (await store.take(ask("a", 1))).lease.epoch
    await store.close()
    await store.close()
    assert (await store.take(ask("a"))).lease.epoch == epoch


@asynccontextmanager
async def place_of(kind: str, request: pytest.FixtureRequest) -> AsyncGenerator[tuple[Store, str], None]:
    """A store, and where it is in words that another process understands."""
    if kind == "redis":
        async with running_redis() as server:
            yield RedisStore.from_url(server.url, "app", timeout=5.0), server.url
    elif kind == "postgres":
        dsn = request.getfixturevalue("postgres")
        yield PostgresStore("app", dsn, timeout=5.0), dsn
    else:
        directory = request.getfixturevalue("tmp_path")
        yield FileStore("app", directory=directory), str(directory)


@pytest.mark.parametrize(
    "kind", ["file", pytest.param("redis", marks=needs_redis), pytest.param("postgres", marks=needs_postgres)]
)
async def test_real_processes_at_once_are_granted_each_permit_once(kind: str, request: pytest.FixtureRequest) -> None:
    async with place_of(kind, request) as (store, place):
        await begin_window(store)
        processes = [await start(kind, place, f"process {number}") for number in range(4)]
        answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        await store.close()
    assert sum(int(output) for output, _ in answers) == LIMIT


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """A process that is ready to ask for permits as soon as it is told to."""
    pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, *arguments, **pipes)
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"
    return process


def test_an_application_is_named_without_telling_its_id() -> None:
    key = application_key("my-app", "https://api.lofty.com")
    assert "my-app" not in key
    assert key == application_key("my-app", "https://api.lofty.com")
    assert len({key, application_key("other", "https://api.lofty.com"), application_key("my-app", "http://x")}) == 3


def test_an_application_needs_an_id() -> None:
    with pytest.raises(InvalidRequestError, match="app_id") as caught:
        FileStore("")
    assert caught.value.argument == "app_id"


@pytest.mark.parametrize(
    "app_id",
    [
        "/run/lofty.json",
        "~/lofty",
        "./lofty",
        "../lofty",
        "..\\lofty",
        "C:\\lofty",
        "redis://localhost/0",
        "postgresql://db/x",
    ],
)
def test_a_path_or_an_address_is_no_id_of_an_application(app_id: str) -> None:
    for make in (
        FileStore,
        lambda given: PostgresStore(given, "postgresql://db/x"),
        lambda given: RedisStore.from_url("redis://localhost", given),
    ):
        with pytest.raises(InvalidRequestError, match=r"app_id must be the application's id.*not a path") as caught:
            make(app_id)
        assert caught.value.argument == "app_id"


@pytest.mark.parametrize("app_id", ["my-app", "com.example/app", "Zm9v/YmFy+==", "app:1", "a~b"])
def test_ids_of_other_forms_are_taken(app_id: str) -> None:
    assert application_key(app_id, "https://api.lofty.com")


@pytest.mark.parametrize(("age", "known"), [(0.0, True), (599.0, True), (601.0, False), (-59.0, True), (-61.0, False)])
def test_a_ledger_is_known_while_it_is_fresh_and_its_clock_is_the_same(age: float, known: bool) -> None:
    text = write_ledger(Ledger("e"), 1000.0)
    assert (read_ledger(text, 1000.0 + age).epoch == "e") is known


@pytest.mark.parametrize("behind", [b"", b"   ", b"\0\0", b'"left over"}}'])
def test_what_stands_behind_a_ledger_is_not_read(behind: bytes) -> None:
    assert read_ledger(write_ledger(Ledger("e"), 0.0) + behind, 0.0).epoch == "e"


@pytest.mark.parametrize(
    "text",
    [
        *[b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"written_at": "now"}', b'{"written_at": 0}'],
        *[b"[" * 100_000, b'{"written_at": 1' + b"0" * 400 + b"}"],
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_ledger_makes_a_new_one(text: bytes) -> None:
    assert read_ledger(text, 0.0).members == {}


def ledger_text(**figures: Any) -> bytes:
    """A ledger as a store keeps it, but for these figures."""
    ledger = Ledger("e", window=Window(limit=LIMIT, remaining=LIMIT, ends_at=30.0), members={"a": Member()})
    values = json.loads(write_ledger(ledger, 0.0))
    for part in (values["ledger"], values["ledger"]["window"], values["ledger"]["members"]["a"]):
        part.update({name: value for name, value in figures.items() if name in part})
    return json.dumps(values).encode()


def test_a_ledger_is_read_as_it_was_written() -> None:
    assert read_ledger(ledger_text(), 0.0).epoch == "e"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", ["since_bulk", "granted", "remaining", "ends_at", "held_until"])
def test_a_number_without_bounds_makes_a_new_ledger(name: str, value: float) -> None:
    assert read_ledger(ledger_text(**{name: value}), 0.0).epoch != "e"


@pytest.mark.parametrize(
    ("name", "value"),
    [("late", 10**6), ("remaining", -5), ("ends_at", 1e9), ("limit", 0), ("held_until", 10**400)],
    ids=lambda part: str(part)[:12],
)
def test_a_number_that_cannot_have_come_about_makes_a_new_ledger(name: str, value: float) -> None:
    assert read_ledger(ledger_text(**{name: value}), 0.0).epoch != "e"
