"""A fleet of mirrors on a real PostgreSQL: who is due is synced, once at a time, whatever happens to the workers."""

import asyncio
import gc
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from math import ceil, floor
from pathlib import Path
from socket import gethostname
from traceback import format_exception
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("procrastinate")

from psycopg import AsyncCursor

from lofty_async import ApiKey, AuthenticationError, InvalidRequestError, LoftyClient, LoftyError
from lofty_async.errors import ConnectionFailedError
from lofty_async.mirror import PostgresDatabase, SuspiciousDeletionError, SyncRunningError
from lofty_async.sandbox import Sandbox
from lofty_async.workers import AccountState, Fleet
from lofty_async.workers.postgres import TICK_LOCK
from lofty_async.workers.queue import CLAIM_DELAY, POLL_SECONDS, longest_takeover, retry_delay, tick_seconds
from lofty_async.workers.slices import in_slices
from tests.account import Account
from tests.conftest import Hold
from tests.fleets import (
    DEADLINE,
    MIDNIGHT,
    QUICK,
    fleet_of,
    held_sync,
    holder_of,
    is_synced,
    left_wrong,
    no_client,
    reached,
    state_of,
    until,
    working,
)
from tests.postgres_server import execute, needs_postgres

pytestmark = needs_postgres

# ruff: noqa: S608 - the names are the tests' own

LONGEST_STOP = 60.0
"""Seconds: several times as long as a worker takes to stop, and half as long as its sync would go on."""

LEFT_BY_A_DEAD_WORKER = """
INSERT INTO accounts (account, due_at) VALUES ('smith', now() + interval '1 day');
WITH dead AS (
    INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '4.1 s') RETURNING id
)
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id)
SELECT 'lofty_fleet', 'lofty.sync', 'smith', '{"account": "smith"}', 'doing', id FROM dead"""


async def aiter_until(notices: AsyncGenerator[Any, None], last: str) -> AsyncIterator[Any]:
    async for notice in notices:
        if notice.payload == last:
            await notices.aclose()
            return
        yield notice


async def test_an_account_that_is_added_is_synced_at_once_and_then_at_its_times(dsn: str, made: Account) -> None:
    began = datetime.now(UTC)
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await asyncio.gather(fleet.setup(), fleet.setup())
    await fleet.add("smith")
    await fleet.add("smith")
    (added,) = await fleet.status()
    assert (added.account, added.state, added.synced_at, added.error) == ("smith", AccountState.WAITING, None, None)
    async with working(fleet):
        await until(lambda: is_synced(fleet))
        assert await left_wrong(dsn, "smith", made) == 0
        due_at = (await state_of(fleet)).due_at
        assert (due_at.hour, due_at.minute, due_at.second) == (0, 0, 0)
        assert began < due_at <= datetime.now(UTC) + timedelta(days=1)
        made.change(0.3)
        before = (await state_of(fleet)).synced_at
        await execute(dsn, "UPDATE accounts SET due_at = now()")

        async def is_synced_again() -> bool:
            return (await state_of(fleet)).synced_at != before

        await until(is_synced_again)
    assert await left_wrong(dsn, "smith", made) == 0
    assert await execute(dsn, "SELECT task_name FROM procrastinate_jobs WHERE status <> 'todo'") == []


async def test_a_change_of_the_times_holds_at_once(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")
    async with working(fleet):
        await until(lambda: is_synced(fleet))
    before = (await state_of(fleet)).synced_at

    async def is_synced_again() -> bool:
        return (await state_of(fleet)).synced_at != before

    async with working(fleet_of(dsn, made, stalled_after=QUICK, every="* * * * * *")):
        await until(is_synced_again)


async def test_a_sync_that_fails_is_tried_again_and_holds_up_no_other(dsn: str, made: Account) -> None:
    sandbox = made.sandbox

    async def client_for(account: str) -> LoftyClient:
        if account == "broken":
            raise KeyError("s3cret")
        auth = ApiKey("not-the-key") if account == "refused" else sandbox.auth
        return LoftyClient(auth, base_url=sandbox.url)

    fleet = Fleet(dsn, client_for, every=MIDNIGHT, stalled_after=QUICK)
    await fleet.setup()
    for name in ("broken", "refused", "smith"):
        await fleet.add(name)

    async def has_ended() -> bool:
        return all(one.synced_at or one.error for one in await fleet.status())

    async with working(fleet, concurrency=1):
        await until(has_ended)

        async def is_settled() -> bool:
            return all(one.state is not AccountState.RUNNING for one in await fleet.status())

        await until(is_settled)
        broken, refused, smith = await fleet.status()
        assert (broken.state, broken.error, broken.failures) == (AccountState.RETRYING, "KeyError", 1)
        assert (smith.state, smith.error, smith.tasks) == (AccountState.WAITING, None, 36)
        assert (refused.state, refused.synced_at) == (AccountState.WAITING, None)
        assert refused.error is not None
        assert "401" in refused.error
        assert await left_wrong(dsn, "smith", made) == 0
        assert sum(request.status == 401 for request in sandbox.requests) <= 2


async def test_the_status_says_where_a_sync_runs_and_what_it_has_left(dsn: str, made: Account) -> None:
    began = datetime.now(UTC)
    async with held_sync(dsn, made) as (fleet, hold):
        running = await state_of(fleet)
        assert (running.state, running.host, running.process) == (AccountState.RUNNING, gethostname(), os.getpid())
        assert running.began_at
        assert running.began_at >= began
        assert (running.ended_at, running.synced_at, running.tasks, running.oldest_proof) == (None, None, None, None)
        hold.gate.set()
        await until(lambda: is_synced(fleet))
        done = await state_of(fleet)
    assert (done.tasks, done.unproven, done.failures, done.error) == (36, 0, 0, None)
    assert done.began_at
    assert done.oldest_proof
    assert done.synced_at
    assert done.began_at.replace(microsecond=0) <= done.oldest_proof <= done.synced_at == done.ended_at


async def test_an_account_that_comes_back_at_once_is_synced_again(dsn: str, made: Account) -> None:
    async with held_sync(dsn, made) as (fleet, hold):
        await fleet.remove("smith")
        await fleet.add("smith")
        hold.gate.set()
        await until(lambda: is_synced(fleet))
    assert await left_wrong(dsn, "smith", made) == 0


@pytest.mark.parametrize(
    ("error", "failures", "attempts", "delay"),
    [
        (OSError(), 1, 0, 15),
        (OSError(), 6, 40, 480),
        (OSError(), 7, 7, None),
        (ConnectionFailedError("reset"), 1, 0, 15),
        (LoftyError("the rows are another account's"), 1, 0, None),
        (AuthenticationError(status=401), 1, 0, None),
        (SuspiciousDeletionError("gone"), 1, 0, None),
        (SyncRunningError("elsewhere"), 0, 44, 2),
        (SyncRunningError("elsewhere"), 0, 45, None),
    ],
)
def test_syncs_are_tried_again_as_their_errors_allow(
    error: Exception, failures: int, attempts: int, delay: int | None
) -> None:
    assert retry_delay(error, failures=failures, attempts=attempts) == delay


@asynccontextmanager
async def full_worker(dsn: str, made: Account) -> AsyncGenerator[tuple[Fleet, Hold], None]:
    """A fleet whose worker has a single place, in which the sync of the account large goes on and on."""
    hold = Hold()
    async with Sandbox(12, 0, appointments_per_lead=0, limit=100_000) as large:
        large.faults.add("*", hold, times=None, after=8)

        def client_for(account: str) -> LoftyClient:
            sandbox = large if account == "large" else made.sandbox
            return LoftyClient(sandbox.auth, base_url=sandbox.url)

        fleet = Fleet(dsn, client_for, every=MIDNIGHT, stalled_after=QUICK, time_slice=1.0)
        await fleet.setup()
        await fleet.add("large")
        async with working(fleet, concurrency=1):
            await reached(hold)
            yield fleet, hold


async def test_a_long_sync_gives_its_place_to_an_account_that_waits(dsn: str, made: Account) -> None:
    """A tick finds the second account only once the single place is free."""
    async with full_worker(dsn, made) as (fleet, hold):
        arrived = hold.arrived
        await fleet.add("smith")

        async def is_next() -> bool:
            return (await state_of(fleet)).synced_at is not None

        async def goes_on() -> bool:
            return (await state_of(fleet, "large")).state is AccountState.RUNNING and hold.arrived > arrived

        await until(is_next)
        await until(goes_on)
        ((attempts, priority),) = await execute(
            dsn, "SELECT attempts, priority FROM procrastinate_jobs WHERE lock = 'large'"
        )
        assert attempts == -priority >= 1  # each place that it gives away sets it back
        assert (await state_of(fleet, "large")).error is None
        hold.gate.set()
        await until(lambda: is_synced(fleet))
    assert await left_wrong(dsn, "smith", made) == 0
    assert await execute(dsn, "SELECT number, phase FROM runs WHERE account = 'large'") == [(1, "done")]


async def test_a_long_sync_gives_its_place_to_the_sync_of_a_dead_worker(dsn: str, made: Account) -> None:
    """No tick can find it while every place is taken."""
    async with full_worker(dsn, made) as (fleet, hold):
        await execute(dsn, LEFT_BY_A_DEAD_WORKER)

        async def is_taken_over() -> bool:
            return (await state_of(fleet)).synced_at is not None

        await until(is_taken_over)
        hold.gate.set()
    assert await left_wrong(dsn, "smith", made) == 0


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_long_sync_that_no_account_waits_for_keeps_its_place(*, is_cancelled: bool) -> None:
    looked, ended, released = asyncio.Event(), asyncio.Event(), asyncio.Event()
    looks = 0

    async def is_place_awaited() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            looked.set()
        if looks == 2:
            raise OSError  # the database is away
        return False

    async def sync() -> None:
        try:
            await released.wait()
        finally:
            ended.set()

    using = asyncio.create_task(in_slices(sync(), 0.001, is_place_awaited))
    await asyncio.wait_for(looked.wait(), 60)
    if is_cancelled:
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
    else:
        released.set()
        await using
    assert ended.is_set()


async def test_a_client_that_is_none_is_an_error_of_its_account(dsn: str) -> None:
    fleet = Fleet(dsn, lambda _: None, every=MIDNIGHT)  # type: ignore[arg-type, return-value]
    await fleet.setup()
    await fleet.add("smith")

    async def is_refused() -> bool:
        return "client_for must be of type LoftyClient" in ((await state_of(fleet)).error or "")

    async with working(fleet):
        await until(is_refused)


async def test_a_client_for_that_is_cancelled_from_within_is_a_failure(dsn: str) -> None:
    async def client_for(_account: str) -> LoftyClient:
        raise asyncio.CancelledError

    fleet = Fleet(dsn, client_for, every=MIDNIGHT)
    await fleet.setup()
    await fleet.add("smith")

    async def has_failed() -> bool:
        found = await state_of(fleet)
        return (found.state, found.failures) == (AccountState.RETRYING, 1)

    async with working(fleet):
        await until(has_failed)
    assert (await state_of(fleet)).error == "ClientForCancelledError"


async def test_a_client_of_two_accounts_fails_one_of_them_alone(dsn: str, made: Account) -> None:
    client = LoftyClient(made.sandbox.auth, base_url=made.sandbox.url)
    fleet = Fleet(dsn, lambda _: client, every=MIDNIGHT)
    await fleet.setup()
    await fleet.add("smith")
    await fleet.add("jones")

    async def has_ended() -> bool:
        return all(one.ended_at for one in await fleet.status())

    async with working(fleet, concurrency=1):
        await until(has_ended)
    assert sorted(one.error is None for one in await fleet.status()) == [False, True]
    (error,) = [one.error for one in await fleet.status() if one.error]
    assert "closed" in error


@pytest.mark.parametrize("lost_in", ["procrastinate_update_heartbeat", "UPDATE accounts SET host"])
async def test_a_worker_ends_though_a_cancellation_is_lost(
    dsn: str, made: Account, lost_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for`, which psycopg uses, loses one on Python 3.11 that comes together with an answer."""
    execute, arrived = AsyncCursor.execute, asyncio.Event()

    async def losing(cursor: Any, sql: Any, *values: Any, **options: Any) -> Any:
        if lost_in in (sql.decode() if isinstance(sql, bytes) else str(sql)) and not arrived.is_set():
            arrived.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return await execute(cursor, sql, *values, **options)

    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")
    made.sandbox.faults.add("*", Hold(), times=None)
    monkeypatch.setattr(AsyncCursor, "execute", losing)
    running = asyncio.create_task(fleet.run_worker())
    async with asyncio.timeout(DEADLINE):
        await arrived.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=LONGEST_STOP)
    assert running.cancelled()


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_a_clock_that_is_wrong_delays_nothing(
    dsn: str, made: Account, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's clock, from which the queue would take the time of a retry."""
    monkeypatch.setattr("procrastinate.utils.utcnow", lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    calls: list[str] = []

    def client_for(account: str) -> LoftyClient:
        calls.append(account)
        if account == "broken":
            raise OSError
        return LoftyClient(made.sandbox.auth, base_url=made.sandbox.url)

    fleet, hold = Fleet(dsn, client_for, every=MIDNIGHT, stalled_after=QUICK), Hold()
    await fleet.setup()
    await fleet.add("broken")
    async with working(fleet):

        async def is_retrying() -> bool:
            return (await state_of(fleet, "broken")).state is AccountState.RETRYING

        await until(is_retrying)
        delay = "extract(epoch FROM scheduled_at - ended_at)::float8"
        ((delay,),) = await execute(dsn, f"SELECT {delay} FROM accounts JOIN procrastinate_jobs ON lock = account")
        assert 15 <= delay < 60
        await fleet.remove("broken")
        await fleet.add("smith")
        made.sandbox.faults.add("*", hold, times=None)
        await reached(hold)
    # The worker has stopped and given its sync back: it is due at once.
    assert (await state_of(fleet)).state is AccountState.QUEUED
    hold.gate.set()


async def test_a_job_of_a_dead_worker_is_due_at_once(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await execute(dsn, LEFT_BY_A_DEAD_WORKER)
    assert (await state_of(fleet)).state is AccountState.QUEUED
    assert (await state_of(Fleet(dsn, no_client, stalled_after=60))).state is AccountState.RUNNING
    async with working(fleet):
        await until(lambda: is_synced(fleet))


async def test_a_claim_of_a_machine_that_is_gone_ends_within_a_minute(dsn: str) -> None:
    began = now = datetime.now(UTC)
    claim: dict[str, Any] = {"strategy": None, "fresh": False, "resume_within": 3600.0}
    async with (
        PostgresDatabase(dsn, account="smith", now=lambda: now) as dead,
        PostgresDatabase(dsn, account="smith", now=lambda: now) as other,
    ):
        await dead.claim("all", **claim)
        await execute(dsn, "UPDATE runs SET machine = 'gone'")
        now = began + timedelta(seconds=40)
        with pytest.raises(SyncRunningError):
            await other.claim("all", **claim)
        # The attempt before was a moment too early, and the place polled just before this one.
        now = began + timedelta(seconds=60 - CLAIM_DELAY - POLL_SECONDS)
        assert (await other.claim("all", **claim)).is_resumed


@given(
    stalled_after=st.floats(4, 60),
    killed_at=st.floats(0, 1000),
    tick_at=st.floats(0, 10),
    tick_delay=st.floats(0, 1),
    poll_at=st.floats(0, 1),
)
def test_the_sync_of_a_killed_worker_is_fetched_in_time(
    stalled_after: float, killed_at: float, tick_at: float, tick_delay: float, poll_at: float
) -> None:
    def first(offset: float, every: float, after: float) -> float:
        return offset + every * ceil((after - offset) / every)

    heartbeat = stalled_after / 4
    stalled_at = heartbeat * floor(killed_at / heartbeat) + stalled_after
    found_at = first(tick_at, tick_seconds(stalled_after), stalled_at) + tick_delay
    fetched_at = first(poll_at, POLL_SECONDS, found_at)
    assert fetched_at - killed_at <= longest_takeover(stalled_after) + 1e-6
    assert longest_takeover(20.0) == 32


async def test_two_fleets_share_a_database_and_nothing_else(dsn: str, made: Account) -> None:
    other = fleet_of(dsn, made, stalled_after=QUICK, schema="lofty_staging")
    await asyncio.gather(other.setup(), other.setup())
    async with held_sync(dsn, made) as (fleet, hold):
        assert await other.status() == []
        await other.add("smith")
        job = "SELECT id FROM procrastinate_jobs WHERE task_name = 'lofty.sync'"
        ((id,),) = await execute(dsn, job)
        copied = "id, queue_name, task_name, lock, args"
        await execute(
            dsn,
            f"INSERT INTO lofty_staging.procrastinate_jobs ({copied}, status) SELECT {copied}, 'doing'"
            f" FROM lofty_fleet.procrastinate_jobs WHERE id = {id}",
        )
        await other.remove("smith")
        assert [one.state for one in await fleet.status()] == [AccountState.RUNNING]
        hold.gate.set()
        await until(lambda: is_synced(fleet))
    assert await other.status() == []


async def test_no_other_program_in_the_database_hears_of_a_job_that_is_cancelled(dsn: str, made: Account) -> None:
    """A procrastinate of its own would take the job's id for one of its jobs, and cancel that."""
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    async with await AsyncConnection.connect(dsn, autocommit=True) as other:
        await other.execute(b"LISTEN procrastinate_any_queue_v1")
        async with held_sync(dsn, made) as (fleet, hold):
            await fleet.remove("smith")
            await execute(dsn, "NOTIFY procrastinate_any_queue_v1, 'the last'")
            heard = [notice.payload async for notice in aiter_until(other.notifies(), "the last")]
            hold.gate.set()
    assert heard
    assert [payload for payload in heard if "abort" in payload] == []


async def test_a_role_that_may_make_nothing_sets_up_what_is_there(dsn: str) -> None:
    await Fleet(dsn, no_client).setup()
    await execute(dsn, "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN")
    for sql in ("USAGE ON SCHEMA lofty_fleet", "ALL ON ALL TABLES IN SCHEMA lofty_fleet"):
        await execute(dsn, f"GRANT {sql} TO plain")
    fleet = Fleet(dsn.replace("lofty@", "plain@"), no_client)
    await fleet.setup()
    await fleet.add("smith")
    assert [one.account for one in await fleet.status()] == ["smith"]


async def test_a_sync_elsewhere_is_waited_for(dsn: str, made: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lofty_async.workers")
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")
    async with PostgresDatabase(dsn, account="smith") as other:
        await other.claim("all", strategy=None, fresh=False, resume_within=3600)
        async with working(fleet):

            async def is_refused() -> bool:
                return "another sync is under way" in ((await state_of(fleet)).error or "")

            async def is_tried_again() -> bool:
                return await execute(dsn, "SELECT 1 FROM procrastinate_jobs WHERE attempts = 3") != []

            await until(is_refused)
            await until(is_tried_again)
            assert (await state_of(fleet)).failures == 0
            assert caplog.text.count("another sync is under way") == 1
            await other.release()
            await until(lambda: is_synced(fleet))
    assert await left_wrong(dsn, "smith", made) == 0


async def test_an_account_that_is_removed_is_synced_no_longer(dsn: str, made: Account) -> None:
    async with held_sync(dsn, made) as (fleet, hold):
        await fleet.remove("smith")
        await fleet.remove("nobody")
        assert await fleet.status() == []

        async def is_cancelled() -> bool:
            sql = "SELECT 1 FROM procrastinate_jobs WHERE lock = 'smith'"
            return await execute(dsn, sql) == [] and await holder_of(dsn, "smith") is None

        await until(is_cancelled)
        hold.gate.set()


async def test_a_worker_that_is_cancelled_twice_leaves_nothing_running(dsn: str, made: Account) -> None:
    fleet, hold = fleet_of(dsn, made, stalled_after=QUICK), Hold()
    await fleet.setup()
    await fleet.add("smith")
    made.sandbox.faults.add("*", hold, times=None)
    before = asyncio.all_tasks()
    running = asyncio.create_task(fleet.run_worker())
    await reached(hold)
    for _ in range(2):
        running.cancel()
        await asyncio.wait({running}, timeout=0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)
    assert {task for task in asyncio.all_tasks() - before if "/workers/" in repr(task)} == set()
    hold.gate.set()
    async with working(fleet):
        await until(lambda: is_synced(fleet))


async def test_a_job_of_an_account_that_is_gone_does_nothing(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await execute(
        dsn,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)"
        " VALUES ('lofty_fleet', 'lofty.sync', 'smith', '{\"account\": \"smith\"}')",
    )

    async def is_done() -> bool:
        return await execute(dsn, "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'lofty.sync'") == []

    async with working(fleet):
        await until(is_done)
    assert made.sandbox.requests == []


async def test_a_tick_that_a_dead_worker_has_left_stops_no_other(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")
    await execute(
        dsn,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, args)"
        " VALUES ('lofty_fleet', 'lofty.tick', 'doing', '{\"timestamp\": 1}')",
    )

    async def is_dropped() -> bool:
        sql = "SELECT 1 FROM procrastinate_jobs WHERE args->>'timestamp' = '1'"
        return await execute(dsn, sql) == []

    async with working(fleet):
        await until(is_dropped)
        await until(lambda: is_synced(fleet))


async def test_one_process_ticks_at_a_time(dsn: str, made: Account) -> None:
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")

    async def has_ticked() -> bool:
        deferred = await execute(dsn, "SELECT 1 FROM procrastinate_periodic_defers")
        return deferred != [] and await execute(dsn, "SELECT 1 FROM procrastinate_jobs") == []

    async with working(fleet):
        async with await AsyncConnection.connect(dsn) as other:
            await other.execute(f"SELECT pg_advisory_xact_lock({TICK_LOCK}, hashtext('lofty_fleet'))".encode())
            await execute(dsn, "UPDATE accounts SET due_at = now()")
            await until(has_ticked)
        await until(lambda: is_synced(fleet))


async def test_a_worker_that_loses_its_tables_says_so(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    running = asyncio.create_task(fleet.run_worker())

    async def is_registered() -> bool:
        return await execute(dsn, "SELECT 1 FROM procrastinate_workers") != []

    await until(is_registered)
    with pytest.raises(RuntimeError, match="runs a worker already"):
        await fleet.run_worker()
    await execute(dsn, "DROP SCHEMA lofty_fleet CASCADE")
    with pytest.raises(LoftyError, match=r"fleet\.setup\(\)"):
        await asyncio.wait_for(running, 60)
    gc.collect()  # the queue's jobs that have failed log it when they go: in this test and in no later one


async def test_tables_of_an_earlier_version_are_brought_up_to_date(dsn: str) -> None:
    fleet = Fleet(dsn, no_client)
    await fleet.setup()
    function = "SELECT 1 FROM pg_proc WHERE proname = 'procrastinate_trigger_function_status_events_update_v1'"
    await execute(dsn, "DROP FUNCTION procrastinate_trigger_function_status_events_update_v1 CASCADE")
    await execute(dsn, "DELETE FROM migrations WHERE name LIKE '03.04.00_50_post%'")
    assert await execute(dsn, function) == []
    await fleet.setup()
    assert await execute(dsn, function) == [(1,)]
    await fleet.setup()


async def test_missing_tables_are_named(dsn: str) -> None:
    fleet = Fleet(dsn, no_client)
    for call in (fleet.status(), fleet.add("smith"), fleet.remove("smith"), fleet.run_worker()):
        with pytest.raises(LoftyError, match=r"fleet\.setup\(\)"):
            await call


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dsn", ""),
        ("dsn", "tasks.sqlite"),
        ("client_for", None),
        ("every", "every day"),
        ("every", "0 0 30 2 *"),
        ("stalled_after", 1),
        ("stalled_after", None),
        ("time_slice", 0.5),
        ("time_slice", None),
        ("schema", "a;b"),
    ],
)
def test_arguments_that_are_wrong_are_refused(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"dsn": "postgresql://there/db", "client_for": lambda _: None, argument: value}
    with pytest.raises(InvalidRequestError, match=argument):
        Fleet(**arguments)


@pytest.mark.parametrize(
    "dsn", ["postgres:/me:s3cret@there/db", "mysql://me:s3cret@there/db", "postgresql://[me:s3cret"]
)
async def test_an_address_that_cannot_be_read_is_refused_without_its_password(dsn: str) -> None:
    with pytest.raises(InvalidRequestError, match="dsn must look like postgresql:") as of_fleet:
        Fleet(dsn, no_client)
    with pytest.raises(InvalidRequestError, match="dsn must look like postgresql:") as of_mirror:
        await PostgresDatabase(dsn, account="smith").__aenter__()
    for error in (of_fleet.value, of_mirror.value):
        assert "s3cret" not in "".join(format_exception(error))


@pytest.mark.parametrize("schema", ["user", "public", "_"])
async def test_a_schema_may_have_any_name(dsn: str, schema: str) -> None:
    fleet = Fleet(dsn, no_client, schema=schema)
    await execute(dsn, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await fleet.setup()
    await fleet.add("smith")
    assert [one.account for one in await fleet.status()] == ["smith"]
    await execute(dsn, f'DROP SCHEMA "{schema}" CASCADE; CREATE SCHEMA IF NOT EXISTS public')


async def test_a_schema_of_another_program_is_left_alone(dsn: str) -> None:
    """Its accounts would be taken for the fleet's."""
    await execute(dsn, "CREATE SCHEMA lofty_theirs; CREATE TABLE lofty_theirs.accounts (account text PRIMARY KEY)")
    fleet = Fleet(dsn, no_client, schema="lofty_theirs")
    with pytest.raises(LoftyError, match="schema lofty_theirs has tables of another program, such as accounts"):
        await fleet.setup()
    assert await execute(dsn, "SELECT relname FROM pg_class WHERE relname = 'procrastinate_jobs'") == []


@pytest.mark.parametrize(
    "name", ["Ä 日本 🙂", "x'y\"; DROP TABLE accounts;--", "%s %(account)s", "a\nb", "{}", "語" * 200]
)
async def test_an_account_may_have_any_name(dsn: str, made: Account, name: str) -> None:
    fleet = fleet_of(dsn, made)
    await fleet.setup()
    await fleet.add(name)
    async with working(fleet):
        await until(lambda: is_synced(fleet))
    assert await left_wrong(dsn, name, made) == 0
    await fleet.remove(name)
    assert await fleet.status() == []


async def test_a_concurrency_or_an_account_that_is_wrong_is_refused() -> None:
    fleet = Fleet("postgresql://me:s3cret@there/db", no_client)
    with pytest.raises(InvalidRequestError, match="concurrency"):
        await fleet.run_worker(concurrency=0)
    names = ("", "a\0b", "a" * 201)
    for call in (*map(fleet.add, names), *map(fleet.remove, names)):
        with pytest.raises(InvalidRequestError, match="account"):
            await call
    assert "s3cret" not in repr(vars(fleet))


@pytest.mark.parametrize("missing", ["procrastinate", "psycopg", "croniter"])
def test_without_the_extra_the_error_names_it(missing: str) -> None:
    probe = f"import sys; sys.modules[{missing!r}] = None; import lofty_async.workers"
    finished = subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True, text=True, timeout=100)
    error = 'ModuleNotFoundError: lofty_async.workers needs its extra: pip install "lofty-async[workers]"'
    assert finished.stderr.splitlines()[-1] == error


PROGRAMS = re.compile(r"```\{code-block\} python\n(?::class: program\n)?# (\w+)\.py\n(.*?)```", re.DOTALL)
GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "workers.md"


@pytest.mark.parametrize("queue", ["taskiq", "streaq", "celery"])
def test_the_programs_of_the_guide_for_other_queues_load(queue: str, tmp_path: Path) -> None:
    if find_spec(queue) is None:
        pytest.skip(f"{queue} is not installed")
    programs = dict(PROGRAMS.findall(GUIDE.read_text(encoding="utf-8")))
    assert programs.keys() == {"mirrors", "with_taskiq", "with_streaq", "with_celery"}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    code = f"import mirrors, with_{queue} as queue; assert queue.sync is mirrors.sync and queue.sync_account"
    addresses = {"DATABASE_URL": "postgresql://there/db", "REDIS_URL": "redis://there/0"}
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **addresses, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (loaded.returncode, loaded.stderr) == (0, "")
