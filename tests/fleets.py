"""Helpers of the tests of fleets: databases without tables, workers in this process and in others, their results."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

import pytest

pytest.importorskip("procrastinate")

from lofty_async import LoftyClient
from lofty_async.mirror import PostgresDatabase
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.entities import MEMBER_ID
from lofty_async.workers import AccountState, AccountStatus, Fleet
from tests.account import OTHERS, Account, fields_of, wrong
from tests.conftest import Hold
from tests.postgres_server import execute

# ruff: noqa: S608 - the names are the tests' own
QUICK = 4.0
"""Seconds until a worker without a heartbeat is considered dead."""
DEADLINE = 240.0
MIDNIGHT = "0 0 * * *"


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Looks until it is so."""
    async with asyncio.timeout(DEADLINE):
        while not await check():
            await asyncio.sleep(0.05)


async def reached(hold: Hold) -> None:
    """Waits until the fault holds a request; a worker of a process of its own takes long to start."""

    async def has_arrived() -> bool:
        return hold.arrived > 0

    await until(has_arrived)


@asynccontextmanager
async def working(fleet: Fleet, **options: Any) -> AsyncGenerator[None, None]:
    """A worker in this process."""
    running = asyncio.create_task(fleet.run_worker(**options))
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait({running})


def fleet_of(dsn: str, made: Account, **options: Any) -> Fleet:
    sandbox = made.sandbox
    return Fleet(dsn, lambda _: LoftyClient(sandbox.auth, base_url=sandbox.url), **({"every": MIDNIGHT} | options))


def no_client(_account: str) -> LoftyClient:
    pytest.fail("this fleet has no worker")


@asynccontextmanager
async def held_sync(dsn: str, made: Account, **options: Any) -> AsyncGenerator[tuple[Fleet, Hold], None]:
    """A fleet whose worker is in the middle of the sync of the account smith."""
    fleet, hold = fleet_of(dsn, made, stalled_after=QUICK, **options), Hold()
    await fleet.setup()
    await fleet.add("smith")
    made.sandbox.faults.add("*", hold, times=None, after=2)
    async with working(fleet):
        await reached(hold)
        yield fleet, hold


async def left_wrong(dsn: str, name: str, made: Account) -> int:
    async with PostgresDatabase(dsn, account=name) as database:
        return wrong(fields_of(await database.tasks()), made.truth())


async def state_of(fleet: Fleet, name: str = "smith") -> AccountStatus:
    return next(one for one in await fleet.status() if one.account == name)


async def is_synced(fleet: Fleet) -> bool:
    return all(one.synced_at and one.state is AccountState.WAITING for one in await fleet.status())


async def holder_of(dsn: str, name: str) -> int | None:
    """The process that syncs an account."""
    found = await execute(dsn, f"SELECT process FROM runs WHERE account = '{name}' AND token IS NOT NULL")
    return found[0][0] if found else None


async def assert_applied_once(dsn: str, name: str) -> None:
    """Each change goes on from the state that the one before it has left, and the last state is the row."""
    async with PostgresDatabase(dsn, account=name) as database:
        changes = await database.changes(limit=100_000)
        state: dict[int, Any] = {}
        for change in changes:
            of = change.task or change.before
            assert of
            assert state.get(of.id) == change.before
            state[of.id] = change.task
        assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
        assert {id: task for id, task in state.items() if task} == {task.id: task for task in await database.tasks()}


PROGRAM = """
import asyncio, json, sys
from lofty_async import ApiKey, LoftyClient, PostgresStore, RateLimiter
from lofty_async.workers import Fleet

dsn, every, concurrency, servers = sys.argv[1:]
servers = json.loads(servers)

class OneStore(PostgresStore):
    def for_server(self, base_url):
        return self  # the accounts of an application, here each at an address of its own, share its budget

async def main():
    async with RateLimiter(store=OneStore("application", dsn)) as limiter:
        def client_for(account):
            url, key = servers[account]
            return LoftyClient(ApiKey(key), base_url=url, limiter=limiter)

        fleet = Fleet(dsn, client_for, every=every, stalled_after=4)
        await fleet.setup()
        for account in servers:
            await fleet.add(account)
        await fleet.run_worker(concurrency=int(concurrency))

asyncio.run(main())
"""


class Workers:
    """Worker processes on the sandboxes of some accounts, which share one application's budget."""

    def __init__(self, dsn: str, every: str, accounts: dict[str, Account], *, concurrency: int = 2) -> None:
        servers = {name: (made.sandbox.url, made.sandbox.api_key) for name, made in accounts.items()}
        self._arguments = (dsn, every, str(concurrency), json.dumps(servers))
        self.running: dict[int, asyncio.subprocess.Process] = {}

    async def start(self, count: int = 1) -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *self._arguments)
            self.running[process.pid] = process

    async def end(self, pid: int, how: signal.Signals) -> int:
        """Returns the exit code."""
        process = self.running.pop(pid)
        with suppress(ProcessLookupError):  # it has ended by itself
            process.send_signal(how)
        return await process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pid in list(self.running):
            await self.end(pid, signal.SIGKILL)


@asynccontextmanager
async def accounts_of_an_application(count: int) -> AsyncGenerator[dict[str, Account]]:
    """Accounts whose servers share one rate limit."""
    async with AsyncExitStack() as stack:
        made: dict[str, Account] = {}
        for number in range(count):
            budget = next((one.sandbox.budget for one in made.values()), None)
            sandbox = Sandbox(
                40, 0, appointments_per_lead=0, limit=450, window=6.0, my_tasks_hides=(), seed=number, budget=budget
            )
            account = Account(await stack.enter_async_context(sandbox), (MEMBER_ID, *OTHERS[:2]))
            account.populate(3)
            made[f"account {number}"] = account
        yield made
