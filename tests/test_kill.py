"""A process that is killed while it holds permits, for real: the others lose those, and only until the window ends."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen

from lofty_async import FileStore, LoftyClient, PostgresStore, RateLimiter, RedisStore, Store
from lofty_async.sandbox import Sandbox
from tests.postgres_server import needs_postgres
from tests.redis_server import needs_redis, running_redis

LIMIT, WINDOW, HELD = 80, 9.0, 8

VICTIM = f"""
import asyncio, sys
from lofty_async import ApiKey, FileStore, LoftyClient, PostgresStore, RateLimiter, RedisStore

async def main(kind, place, url, key):
    if kind == "file":
        store = FileStore("app", directory=place)
    else:
        store = RedisStore.from_url(place, "app") if kind == "redis" else PostgresStore("app", place)
    limiter = RateLimiter(store=store)
    async with LoftyClient(ApiKey(key), base_url=url, limiter=limiter) as lofty:
        await lofty.me()
        held = [await limiter.acquire() for _ in range({HELD})]
        print(len(held), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@frozen
class Place:
    """Where the store is, in words that another process understands."""

    kind: str
    where: str

    def open(self) -> Store:
        if self.kind == "file":
            return FileStore("app", directory=self.where)
        if self.kind == "postgres":
            return PostgresStore("app", self.where)
        return RedisStore.from_url(self.where, "app")


@pytest.fixture(
    params=["file", pytest.param("redis", marks=needs_redis), pytest.param("postgres", marks=needs_postgres)]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Place, None]:
    if request.param == "file":
        yield Place("file", str(tmp_path))
    elif request.param == "postgres":
        yield Place("postgres", request.getfixturevalue("postgres"))
    else:
        async with running_redis() as server:
            yield Place("redis", server.url)


@asynccontextmanager
async def victim(place: Place, sandbox: Sandbox) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    arguments = [place.kind, place.where, sandbox.url, sandbox.auth.key]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_killed_process_costs_its_permits_until_the_window_ends(place: Place) -> None:
    async with (
        # The victim's first request begins the window, and answers tell its end to the millisecond.
        Sandbox(1, 1, limit=LIMIT, window=WINDOW, reset_style="ms_left", aligned=False) as sandbox,
        RateLimiter(store=place.open()) as limiter,
        LoftyClient(sandbox.auth, base_url=sandbox.url, limiter=limiter) as lofty,
    ):
        async with victim(place, sandbox) as process:
            assert process.stdout
            assert int(await process.stdout.readline()) == HELD
            process.kill()
        end = time.monotonic() + await seconds_left(place.open().for_server(sandbox.url))
        # One request of the window was the victim's own.
        await at_once(lofty, LIMIT - HELD - 1)
        assert time.monotonic() < end
        await at_once(lofty, LIMIT)
        # Later answers may have told the end a little earlier; without those permits it would take a window more.
        assert end - 0.5 < time.monotonic() < end + WINDOW
        assert (sandbox.served, sandbox.rejected) == (LIMIT - HELD + LIMIT, 0)


async def seconds_left(store: Store) -> float:
    left = await store.change(lambda ledger, now: (ledger.window.ends_at or now) - now)
    await store.close()
    return left


async def at_once(lofty: LoftyClient, count: int) -> None:
    await asyncio.gather(*(lofty.me() for _ in range(count)))
