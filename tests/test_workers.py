"""A fleet of mirrors on a real PostgreSQL: who is due is synced, once at a time, whatever happens to the workers."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lofty_async import ApiKey, InvalidRequestError, LoftyClient, LoftyError
from lofty_async.cli.app import app
from lofty_async.mirror import PostgresDatabase
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from lofty_async.workers import AccountState, AccountStatus, Fleet
from tests.account import Account, fields_of, wrong
from tests.conftest import Hold
from tests.postgres_server import needs_postgres, running_postgres

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(find_spec("procrastinate") is None, reason="procrastinate is not installed"),
]

QUICK = 4.0
"""Seconds until a worker without a sign of life is taken for dead."""
DEADLINE = 60.0
MIDNIGHT = "0 0 * * *"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
async def dsn(server: str) -> str:
    """A server without the tables."""
    await execute(server, "DROP SCHEMA IF EXISTS lofty CASCADE; DROP SCHEMA IF EXISTS lofty_fleet CASCADE")
    return server


async def execute(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    options = "-c search_path=lofty_fleet,lofty"
    async with await AsyncConnection.connect(dsn, autocommit=True, options=options) as connection:
        cursor = await connection.execute(sql.encode())
        return await cursor.fetchall() if cursor.description else []


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Looks until it is so."""
    async with asyncio.timeout(DEADLINE):
        while not await check():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def working(fleet: Fleet, **options: Any) -> AsyncGenerator[None, None]:
    """A worker in this process."""
    running = asyncio.create_task(fleet.run_worker(**options))
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({running})


@pytest.fixture
async def made() -> AsyncIterator[Account]:
    async with Sandbox(12, 0, appointments_per_lead=0, limit=100_000) as sandbox:
        account = Account(sandbox)
        account.populate(3)
        yield account


def fleet_of(dsn: str, made: Account, **options: Any) -> Fleet:
    sandbox = made.sandbox
    return Fleet(dsn, lambda _: LoftyClient(sandbox.auth, base_url=sandbox.url), **({"every": MIDNIGHT} | options))


async def left_wrong(dsn: str, name: str, made: Account) -> int:
    async with PostgresDatabase(dsn, account=name) as database:
        return wrong(fields_of(await database.tasks()), made.truth())


async def state_of(fleet: Fleet, name: str = "smith") -> AccountStatus:
    return next(one for one in await fleet.status() if one.account == name)


async def is_synced(fleet: Fleet) -> bool:
    return all(one.synced_at and one.state is AccountState.WAITING for one in await fleet.status())


async def test_an_account_that_is_added_is_synced_at_once_and_then_at_its_times(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await asyncio.gather(fleet.setup(), fleet.setup())
    await fleet.add("smith")
    await fleet.add("smith")
    (added,) = await fleet.status()
    assert (added.account, added.state, added.synced_at, added.error) == ("smith", AccountState.WAITING, None, None)
    async with working(fleet):
        await until(lambda: is_synced(fleet))
        assert await left_wrong(dsn, "smith", made) == 0
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
        assert (await state_of(fleet)).due_at == datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=UTC)
        made.change(0.3)
        before = (await state_of(fleet)).synced_at
        await execute(dsn, "UPDATE accounts SET due_at = now()")

        async def is_synced_again() -> bool:
            return (await state_of(fleet)).synced_at != before

        await until(is_synced_again)
    assert await left_wrong(dsn, "smith", made) == 0
    assert await execute(dsn, "SELECT task_name FROM procrastinate_jobs WHERE status <> 'todo'") == []
