"""Runs of a mirror: one at a time, taken over from the dead, and followed by notices and changes."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from lofty_async import LoftyClient, LoftyError, WebhookNotice
from lofty_async.errors import InvalidRequestError
from lofty_async.mirror import ChangeKind, Mirror, Run, SqliteDatabase, SyncRunningError
from lofty_async.sandbox import Sandbox
from lofty_async.webhooks import parse_webhook
from tests.account import Account, fields_of, query, wrong
from tests.conftest import Hold

TASKS_OF_LEAD = "GET /v2.0/tasks"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(leads=10, tasks_per_lead=2, appointments_per_lead=0) as running:
        yield running


@pytest.fixture
async def lofty(sandbox: Sandbox) -> AsyncIterator[LoftyClient]:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url) as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(path) as opened:
        yield opened


def truth(sandbox: Sandbox) -> dict[int, int]:
    return {entry.id: entry.lead_id for entry in sandbox.state.entries.values()}


async def homes(database: SqliteDatabase) -> dict[int, int | None]:
    return {task.id: task.lead_id for task in await database.tasks()}


async def test_a_second_run_is_refused_by_the_name_of_the_first(
    sandbox: Sandbox, lofty: LoftyClient, database: SqliteDatabase, path: Path, hold: Hold
) -> None:
    sandbox.faults.add(TASKS_OF_LEAD, hold, times=None)
    mirror = Mirror(lofty, database)
    running = asyncio.create_task(mirror.sync())
    await hold.reached(10)
    sent = len(sandbox.requests)
    async with SqliteDatabase(path) as other:
        for second in (mirror, Mirror(lofty, other)):
            with pytest.raises(SyncRunningError, match=f"process {os.getpid()}, since 2") as raised:
                await second.sync()
            assert isinstance(raised.value, LoftyError)
            assert (raised.value.process, raised.value.host) == (os.getpid(), socket.gethostname())
    assert len(sandbox.requests) == sent
    hold.gate.set()
    assert (await running).complete
    assert (await mirror.sync()).complete
    assert await homes(database) == truth(sandbox)


async def claim(database: SqliteDatabase, *, resume_within: float = 3600) -> Run:
    return await database.claim("all", strategy=None, fresh=False, resume_within=resume_within)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell sets of process ids apart")
async def test_a_dead_process_of_this_machine_holds_nothing(database: SqliteDatabase, path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from lofty_async.mirror import SqliteDatabase\n"
        "async def main():\n"
        "    async with SqliteDatabase(sys.argv[1]) as database:\n"
        "        await database.claim('all', strategy=None, fresh=False, resume_within=9)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as victim:  # noqa: ASYNC220 - asyncio would wait
        await asyncio.to_thread(os.waitid, os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        assert (await claim(database)).is_resumed  # also while nobody has waited for the killed process
        await database.release()
    assert victim.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET token = 'dead', process = ?", (victim.pid,))
    assert (await claim(database)).is_resumed
    with closing(sqlite3.connect(path)) as connection, connection:  # a living process of another machine
        connection.execute("UPDATE runs SET machine = 'another', process = ?", (victim.pid,))
    async with SqliteDatabase(path) as other:
        with pytest.raises(SyncRunningError):
            await claim(other)


async def test_a_run_that_ends_can_be_read_about(lofty: LoftyClient, database: SqliteDatabase) -> None:
    mirror = Mirror(lofty, database)
    await mirror.sync()
    await mirror.sync([1])
    partial, whole = await mirror.runs()
    assert (whole.scope, whole.strategy, whole.phase, whole.cycle) == ("all", "lists", "done", 1)
    assert whole.ended_at is not None
    assert whole.report is not None
    assert (whole.report["leads"], whole.report["added"], whole.report["failed"]) == (10, 20, 0)
    assert (partial.cycle, partial.report and partial.report["failed"]) == (1, 1)
    assert partial.scope not in {"all", ""}


@pytest.mark.parametrize("strategy", ["luck", "", 7])
async def test_a_strategy_that_is_none_is_refused(lofty: LoftyClient, database: SqliteDatabase, strategy: str) -> None:
    with pytest.raises(InvalidRequestError, match="strategy must be auto, leads or lists"):
        await Mirror(lofty, database).sync(strategy=strategy)
    with pytest.raises(InvalidRequestError, match="lead by lead"):
        await Mirror(lofty, database).sync([1], strategy="lists")


@pytest.mark.parametrize("users", [["7"], [0], [True]])
async def test_users_that_are_none_are_refused(lofty: LoftyClient, database: SqliteDatabase, users: list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="users"):
        Mirror(lofty, database, users=users)


async def test_changes_go_on_behind_a_number_and_can_be_followed(
    sandbox: Sandbox, lofty: LoftyClient, database: SqliteDatabase
) -> None:
    mirror = Mirror(lofty, database)
    await mirror.sync()
    seen = [change.seq async for change in mirror.changes(5)]
    assert seen == list(range(6, 21))
    assert [change async for change in mirror.changes(20)] == []
    following = mirror.changes(20, follow=True)
    entry = next(iter(sandbox.state.entries.values()))
    sandbox.state.change(entry.id, content="Changed")
    await mirror.sync()
    async with asyncio.timeout(30):
        change = await anext(following)
    await following.aclose()
    assert (change.seq, change.kind) == (21, ChangeKind.UPDATED)
    assert change.task is not None
    assert change.before is not None
    assert (change.task.content, change.before.content) == ("Changed", entry.content)
    with pytest.raises(InvalidRequestError, match="since"):
        mirror.changes(-1)


def notice(bucket: str, **ids: int) -> WebhookNotice:
    (first,) = parse_webhook({"listId": 10, "teamId": 1, bucket: [ids]}).notices
    return first


async def test_notices_are_applied_as_they_come(sandbox: Sandbox, lofty: LoftyClient, database: SqliteDatabase) -> None:
    mirror = Mirror(lofty, database)
    await mirror.sync()
    first, second, *_ = sandbox.state.leads
    changed, gone = sandbox.state.entries.of(first)
    added = sandbox.state.add_task(second)
    sandbox.state.change(changed.id, content="Changed", lead_id=second)
    sandbox.state.remove(gone.id)

    async def notices() -> AsyncIterator[WebhookNotice]:
        yield notice("updatedTask", taskId=changed.id)
        yield notice("deletedTask", taskId=gone.id)
        yield notice("createdTask", taskId=added.id)
        yield notice("updatedTask", taskId=changed.id)

    async with asyncio.timeout(60):
        await mirror.follow(notices())
    assert await homes(database) == truth(sandbox)
    kinds = [change.kind async for change in mirror.changes(20)]
    assert sorted(kinds) == ["created", "deleted", "moved"]


async def test_a_sweep_finds_what_notices_have_missed(
    sandbox: Sandbox, lofty: LoftyClient, database: SqliteDatabase
) -> None:
    mirror = Mirror(lofty, database)
    await mirror.sync()
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
    over = asyncio.Event()

    async def notices() -> AsyncIterator[WebhookNotice]:
        await over.wait()
        for one in list[WebhookNotice]():
            yield one

    following = asyncio.create_task(mirror.follow(notices(), sweep_every=0.01))
    async with asyncio.timeout(30):
        while await homes(database) != truth(sandbox):
            await asyncio.sleep(0.01)
        over.set()
        await following


async def test_a_follower_that_is_cancelled_leaves_nothing_running(
    lofty: LoftyClient, database: SqliteDatabase
) -> None:
    began, closed = asyncio.Event(), asyncio.Event()

    async def notices() -> AsyncIterator[WebhookNotice]:
        try:
            began.set()
            await asyncio.Event().wait()
            yield notice("updatedTask", taskId=1)
        finally:
            closed.set()

    await lofty.me()  # opens the connection
    before = asyncio.all_tasks()
    following = asyncio.create_task(Mirror(lofty, database).follow(notices()))
    await began.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert closed.is_set()
    assert asyncio.all_tasks() == before


async def test_a_run_that_is_cancelled_gives_up_its_claim(
    sandbox: Sandbox, lofty: LoftyClient, database: SqliteDatabase, hold: Hold
) -> None:
    sandbox.faults.add(TASKS_OF_LEAD, hold)
    running = asyncio.create_task(Mirror(lofty, database).sync())
    await hold.reached()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sandbox.faults.clear()
    (run,) = await database.runs()
    assert (run.ended_at, run.phase) == (None, "proving")
    assert (await Mirror(lofty, database).sync()).complete


async def test_a_run_that_is_cancelled_while_it_claims_holds_nothing(
    lofty: LoftyClient, database: SqliteDatabase, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")  # so that the claim has to wait
        running = asyncio.create_task(Mirror(lofty, database).sync())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        other.execute("ROLLBACK")
    with pytest.raises(asyncio.CancelledError):
        await running
    assert query(path, "SELECT count(*) FROM runs WHERE token IS NOT NULL") == [(0,)]
    assert (await Mirror(lofty, database).sync()).complete


async def test_a_process_killed_ten_times_loses_little_and_ends_equal(path: Path) -> None:
    leads, kills, random = 300, 10, Random(3)
    async with Sandbox(leads, 0, appointments_per_lead=0, limit=100_000, latency=0.004) as sandbox:
        account = Account(sandbox)
        account.populate(2)
        command = (sys.executable, "-m", "lofty_async.cli", "sync", "--db", str(path), "--strategy", "lists")
        environment = os.environ | {"LOFTY_API_KEY": sandbox.api_key, "LOFTY_BASE_URL": sandbox.url}
        pipe = asyncio.subprocess.PIPE
        for _ in range(kills):
            victim = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
            sent, wanted = len(sandbox.requests), random.randrange(1, 60)
            async with asyncio.timeout(60):
                while len(sandbox.requests) < sent + wanted and victim.returncode is None:
                    await asyncio.sleep(0.001)
            if victim.returncode is None:
                victim.kill()
            await victim.communicate()
        for _ in range(2):
            last = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
            _, error = await last.communicate()
            assert (last.returncode, error) == (0, b"")
        users, pages, swept = 20, 4, 20 + 2 + 4 + leads // 30
        assert len(sandbox.requests) <= leads + 2 * (users + pages) + swept + kills * 40
        async with SqliteDatabase(path) as database:
            assert wrong(fields_of(await database.tasks()), account.truth()) == 0
        assert query(path, "SELECT count(*) FROM changes WHERE kind <> 'created'") == [(0,)]
