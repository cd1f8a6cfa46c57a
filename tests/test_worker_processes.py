"""Worker processes on a real PostgreSQL that are killed or stopped: their syncs go on elsewhere, none is lost."""

import asyncio
import gc
import signal
from collections.abc import Iterator

import pytest

pytest.importorskip("procrastinate")

from lofty_async.workers import AccountState, Fleet
from tests.account import Account
from tests.conftest import IN_TURN, Hold
from tests.fleets import (
    MIDNIGHT,
    Workers,
    accounts_of_an_application,
    assert_applied_once,
    holder_of,
    is_synced,
    left_wrong,
    no_client,
    reached,
    state_of,
    until,
    working,
)
from tests.fleets import fleet_of as fleet_of_account
from tests.postgres_server import PostgresServer, drop_tables, execute, needs_postgres, restartable_postgres

pytestmark = [needs_postgres, pytest.mark.slow, IN_TURN]

# ruff: noqa: S608 - the names are the tests' own
OVERLAPS = """SELECT a.account, a.number, b.number FROM runs a JOIN runs b ON a.account = b.account
AND a.number < b.number AND (a.ended_at IS NULL OR b.started_at < a.ended_at)"""
IS_HANDED_OVER = """SELECT status = 'todo' AND scheduled_at <= now()
OR worker_id IN (SELECT id FROM procrastinate_workers) FROM procrastinate_jobs WHERE lock IS NOT NULL"""
"""Whether a sync is due at once, or a living worker has it already."""
LONGEST = 300
"""Seconds for twelve accounts: ten windows of the rate limit, two dead workers, and a busy machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with restartable_postgres() as server:
        yield server


@pytest.fixture
async def dsn(server: PostgresServer) -> str:
    """A server without the tables."""
    await drop_tables(server.dsn)
    return server.dsn


async def test_workers_are_killed_and_every_mirror_is_right(dsn: str) -> None:
    """The second is killed while it goes on with what the first has left; the third does all the rest."""
    async with (
        asyncio.timeout(LONGEST),
        accounts_of_an_application(12) as accounts,
        Workers(dsn, "* * * * * */5", accounts) as workers,
    ):
        fleet, victim, hold = Fleet(dsn, no_client), "account 1", Hold()
        await fleet.setup()
        accounts[victim].sandbox.faults.add("*", hold, times=None, after=20)
        await workers.start(3)
        await reached(hold)
        killed_at = [await kill_holder(dsn, victim, workers) for _ in range(2)][-1]
        hold.gate.set()

        async def all_synced() -> bool:
            found = await fleet.status()
            return len(found) == len(accounts) and all(one.synced_at for one in found)

        await until(all_synced)
        resumed = await execute(
            dsn,
            f"SELECT started_at < '{killed_at}' FROM runs WHERE account = '{victim}' AND number = 1 AND phase = 'done'",
        )
        assert resumed == [(True,)]

        for made in accounts.values():
            made.change(0.3)
        await until_synced_anew(dsn, accounts)
        (last,) = workers.running
        assert await workers.end(last, signal.SIGTERM) == 0
        for name, made in accounts.items():
            assert await left_wrong(dsn, name, made) == 0
            await assert_applied_once(dsn, name)
            assert made.sandbox.rejected == 0
        assert await execute(dsn, OVERLAPS) == []
        assert min(await execute(dsn, "SELECT max(number) FROM runs GROUP BY account")) >= (2,)


async def kill_holder(dsn: str, account: str, workers: Workers) -> object:
    """Returns the time of the server at which the process was killed that syncs the account."""

    async def is_taken() -> bool:
        return await holder_of(dsn, account) in workers.running

    await until(is_taken)
    pid = await holder_of(dsn, account)
    assert pid is not None
    await workers.end(pid, signal.SIGKILL)
    ((killed_at,),) = await execute(dsn, "SELECT clock_timestamp()")
    return killed_at


async def until_synced_anew(dsn: str, accounts: dict[str, Account]) -> None:
    """Waits until each account had a run that has begun after now."""
    ((now,),) = await execute(dsn, "SELECT clock_timestamp()")

    async def is_so() -> bool:
        sql = f"SELECT count(DISTINCT account) FROM runs WHERE phase = 'done' AND started_at > '{now}'"
        return (await execute(dsn, sql)) == [(len(accounts),)]

    await until(is_so)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_told_to_stop_hands_its_sync_over(dsn: str, how: signal.Signals) -> None:
    async with accounts_of_an_application(1) as accounts, Workers(dsn, MIDNIGHT, accounts) as workers:
        fleet, name, hold = Fleet(dsn, no_client), "account 0", Hold()
        accounts[name].sandbox.faults.add("*", hold, times=None, after=20)
        await workers.start()
        await reached(hold)
        (first,) = workers.running
        await workers.start()
        (second,) = workers.running.keys() - {first}

        async def are_two() -> bool:
            return await execute(dsn, "SELECT count(*) FROM procrastinate_workers") == [(2,)]

        await until(are_two)
        status = await state_of(fleet, name)
        assert (status.state, status.process) == (AccountState.RUNNING, first)
        assert await workers.end(first, how) == 0  # it ends itself by the signal if it takes too long
        assert await execute(dsn, IS_HANDED_OVER) == [(True,)]

        async def is_taken_over() -> bool:
            return await holder_of(dsn, name) == second

        await until(is_taken_over)
        hold.gate.set()
        await until(lambda: is_synced(fleet))
        assert await left_wrong(dsn, name, accounts[name]) == 0
        assert await execute(dsn, "SELECT number, phase FROM runs") == [(1, "done")]
        await assert_applied_once(dsn, name)


async def test_a_worker_that_cannot_stop_ends(dsn: str, server: PostgresServer) -> None:
    async with accounts_of_an_application(1) as accounts, Workers(dsn, MIDNIGHT, accounts) as workers:
        hold = Hold()
        accounts["account 0"].sandbox.faults.add("*", hold, times=None, after=20)
        await workers.start()
        await reached(hold)
        (pid,) = workers.running
        with server.frozen():
            hold.gate.set()
            assert await workers.end(pid, signal.SIGTERM) == -signal.SIGTERM


async def test_a_database_that_was_away_is_waited_for(
    dsn: str, server: PostgresServer, made: Account, caplog: pytest.LogCaptureFixture
) -> None:
    fleet, hold = fleet_of_account(dsn, made, stalled_after=4), Hold()
    await fleet.setup()
    await fleet.add("smith")
    made.sandbox.faults.add("*", hold, times=None, after=2)
    async with working(fleet):
        await reached(hold)
        server.stop()

        async def is_missed() -> bool:
            return "the database cannot be reached" in caplog.text

        await until(is_missed)
        server.start()
        hold.gate.set()
        # The claim of the sync that has broken off ends by itself; this process is not dead.
        await execute(dsn, "UPDATE runs SET seen_at = seen_at - interval '1 minute'")
        await until(lambda: is_synced(fleet))
    gc.collect()  # asyncio logs errors that nobody has asked for; those of the queue's own jobs are not ours to ask for
    assert [record for record in caplog.records if record.name == "asyncio" and "Fleet." in record.getMessage()] == []
    assert await left_wrong(dsn, "smith", made) == 0
    await assert_applied_once(dsn, "smith")
