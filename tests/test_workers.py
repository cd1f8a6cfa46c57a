"""A fleet of mirrors on a real PostgreSQL: who is due is synced, once at a time, whatever happens to the workers."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from lofty_async import ApiKey, AuthenticationError, InvalidRequestError, LoftyClient, LoftyError
from lofty_async.cli.app import app
from lofty_async.mirror import PostgresDatabase, SuspiciousDeletionError, SyncRunningError
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.entities import MEMBER_ID
from lofty_async.workers import AccountState, AccountStatus, Fleet
from tests.account import OTHERS, Account, fields_of, wrong
from tests.conftest import Hold
from tests.postgres_server import needs_postgres, running_postgres

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(find_spec("procrastinate") is None, reason="procrastinate is not installed"),
]

# ruff: noqa: S608 - the names are the tests' own
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


PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from lofty_async import ApiKey, LoftyClient, RateLimiter
from lofty_async.cli.client import SingleFileStore
from lofty_async.workers import Fleet

dsn, every, ledger, servers = sys.argv[1:]
servers = json.loads(servers)

async def main():
    async with RateLimiter(store=SingleFileStore(Path(ledger))) as limiter:
        def client_for(account):
            url, key = servers[account]
            return LoftyClient(ApiKey(key), base_url=url, limiter=limiter)

        await Fleet(dsn, client_for, every=every, stalled_after=4).run_worker(concurrency=2)

asyncio.run(main())
"""


class Workers:
    """Worker processes on the sandboxes of some accounts, which share one application's budget."""

    def __init__(self, dsn: str, every: str, ledger: Path, accounts: dict[str, Account]) -> None:
        servers = {name: (made.sandbox.url, made.sandbox.api_key) for name, made in accounts.items()}
        self._arguments = (dsn, every, str(ledger), json.dumps(servers))
        self.running: dict[int, asyncio.subprocess.Process] = {}

    async def start(self, count: int) -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *self._arguments)
            self.running[process.pid] = process

    async def end(self, pid: int, how: signal.Signals) -> int:
        """Returns the exit code."""
        process = self.running.pop(pid)
        process.send_signal(how)
        return await process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pid in list(self.running):
            await self.end(pid, signal.SIGKILL)


@asynccontextmanager
async def accounts_of_an_application(count: int) -> AsyncGenerator[dict[str, Account]]:
    async with AsyncExitStack() as stack:
        made: dict[str, Account] = {}
        for number in range(count):
            budget = next((one.sandbox.budget for one in made.values()), None)
            sandbox = Sandbox(
                40, 0, appointments_per_lead=0, limit=150, window=2.0, my_tasks_hides=(), seed=number, budget=budget
            )
            account = Account(await stack.enter_async_context(sandbox), (MEMBER_ID, *OTHERS[:2]))
            account.populate(3)
            made[f"account {number}"] = account
        yield made


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


OVERLAPS = """SELECT a.account, a.number, b.number FROM runs a JOIN runs b ON a.account = b.account
AND a.number < b.number AND (a.ended_at IS NULL OR b.started_at < a.ended_at)"""


@pytest.mark.slow
async def test_workers_are_killed_and_every_mirror_is_right(dsn: str, tmp_path: Path) -> None:
    async with (
        accounts_of_an_application(4) as accounts,
        Workers(dsn, "* * * * * */3", tmp_path / "ledger", accounts) as workers,
    ):
        fleet = Fleet(dsn, lambda _: pytest.fail("no worker"))
        await fleet.setup()
        for name in accounts:
            await fleet.add(name)
        victim = "account 1"
        hold = Hold()
        accounts[victim].sandbox.faults.add("*", hold, times=None, after=20)
        await workers.start(3)
        await within(hold.reached())

        async def is_taken() -> bool:
            return await holder_of(dsn, victim) in workers.running

        for _ in range(2):
            await until(is_taken)
            pid = await holder_of(dsn, victim)
            assert pid is not None
            await workers.end(pid, signal.SIGKILL)
            (killed_at,) = (await execute(dsn, "SELECT clock_timestamp()"))[0]
        hold.gate.set()

        async def all_synced() -> bool:
            return all(one.synced_at for one in await fleet.status())

        await until(all_synced)
        resumed = await execute(
            dsn,
            f"SELECT started_at < '{killed_at}', ended_at < timestamptz '{killed_at}' + interval '60 s' FROM runs"
            f" WHERE account = '{victim}' AND number = 1 AND phase = 'done'",
        )
        assert resumed == [(True, True)]

        for made in accounts.values():
            made.change(0.3)
        (changed_at,) = (await execute(dsn, "SELECT clock_timestamp()"))[0]

        async def all_caught_up() -> bool:
            sql = f"SELECT count(DISTINCT account) FROM runs WHERE phase = 'done' AND started_at > '{changed_at}'"
            return (await execute(dsn, sql)) == [(len(accounts),)]

        await until(all_caught_up)
        (last,) = workers.running
        began = time.monotonic()
        assert await workers.end(last, signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        for name, made in accounts.items():
            assert await left_wrong(dsn, name, made) == 0
            await assert_applied_once(dsn, name)
            assert made.sandbox.rejected == 0
        assert await execute(dsn, OVERLAPS) == []
        assert min(await execute(dsn, "SELECT max(number) FROM runs GROUP BY account")) >= (2,)


@pytest.mark.slow
async def test_a_worker_that_is_told_to_stop_hands_its_sync_over(dsn: str, tmp_path: Path) -> None:
    async with (
        accounts_of_an_application(1) as accounts,
        Workers(dsn, MIDNIGHT, tmp_path / "ledger", accounts) as workers,
    ):
        fleet = Fleet(dsn, lambda _: pytest.fail("no worker"))
        await fleet.setup()
        await fleet.add("account 0")
        hold = Hold()
        accounts["account 0"].sandbox.faults.add("*", hold, times=None, after=20)
        await workers.start(1)
        await within(hold.reached())
        (pid,) = workers.running
        assert (await state_of(fleet, "account 0")).state is AccountState.RUNNING
        began = time.monotonic()
        assert await workers.end(pid, signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        assert (await state_of(fleet, "account 0")).state is AccountState.QUEUED
        assert await execute(dsn, "SELECT number, token, ended_at FROM runs") == [(1, None, None)]
        hold.gate.set()
        await workers.start(1)
        await until(lambda: is_synced(fleet))
        assert await left_wrong(dsn, "account 0", accounts["account 0"]) == 0
        assert await execute(dsn, "SELECT number, phase FROM runs") == [(1, "done")]
        await assert_applied_once(dsn, "account 0")


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
        assert (broken.state, broken.error, broken.attempts) == (AccountState.RETRYING, "KeyError", 1)
        assert (smith.state, smith.error) == (AccountState.WAITING, None)
        assert (refused.state, refused.synced_at) == (AccountState.WAITING, None)
        assert refused.error is not None
        assert "401" in refused.error
        assert await left_wrong(dsn, "smith", made) == 0


@asynccontextmanager
async def held_sync(dsn: str, made: Account) -> AsyncGenerator[tuple[Fleet, Hold], None]:
    """A fleet whose worker is in the middle of the sync of the account smith."""
    fleet, hold = fleet_of(dsn, made, stalled_after=QUICK), Hold()
    await fleet.setup()
    await fleet.add("smith")
    made.sandbox.faults.add("*", hold, times=None, after=2)
    async with working(fleet):
        await within(hold.reached())
        yield fleet, hold


async def test_an_account_that_comes_back_at_once_is_synced_again(dsn: str, made: Account) -> None:
    async with held_sync(dsn, made) as (fleet, hold):
        await fleet.remove("smith")
        await fleet.add("smith")
        hold.gate.set()
        await until(lambda: is_synced(fleet))
    assert await left_wrong(dsn, "smith", made) == 0


@pytest.mark.parametrize(
    ("error", "attempts", "delay"),
    [
        (OSError(), 0, 15),
        (OSError(), 5, 480),
        (OSError(), 6, None),
        (AuthenticationError(status=401), 0, None),
        (SuspiciousDeletionError("gone"), 0, None),
        (SyncRunningError("elsewhere"), 30, 2),
        (SyncRunningError("elsewhere"), 45, None),
        (asyncio.CancelledError(), 100, 0),
    ],
)
def test_syncs_are_tried_again_as_their_errors_allow(error: BaseException, attempts: int, delay: int | None) -> None:
    from lofty_async.workers.queue import Retries  # noqa: PLC0415 - skipped where its library is missing

    assert Retries().delay(error, attempts) == delay


async def test_a_client_that_is_none_is_an_error_of_its_account(dsn: str) -> None:
    fleet = Fleet(dsn, lambda _: None, every=MIDNIGHT)  # type: ignore[arg-type, return-value]
    await fleet.setup()
    await fleet.add("smith")

    async def is_refused() -> bool:
        return "client_for must be of type LoftyClient" in ((await state_of(fleet)).error or "")

    async with working(fleet):
        await until(is_refused)


async def test_a_sync_elsewhere_is_waited_for(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")
    async with PostgresDatabase(dsn, account="smith") as other:
        await other.claim("all", strategy=None, fresh=False, resume_within=3600)
        async with working(fleet):

            async def is_refused() -> bool:
                return (await state_of(fleet)).attempts > 0

            await until(is_refused)
            assert (await state_of(fleet)).error is None
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


async def test_a_job_of_an_account_that_is_gone_does_nothing(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await execute(
        dsn,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)"
        " VALUES ('lofty', 'lofty.sync', 'smith', '{\"account\": \"smith\"}')",
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
        " VALUES ('lofty', 'lofty.tick', 'doing', '{\"timestamp\": 1}')",
    )

    async def is_dropped() -> bool:
        sql = "SELECT 1 FROM procrastinate_jobs WHERE args->>'timestamp' = '1'"
        return await execute(dsn, sql) == []

    async with working(fleet):
        await until(is_dropped)
        await until(lambda: is_synced(fleet))


async def test_one_process_ticks_at_a_time(dsn: str, made: Account) -> None:
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    from lofty_async.workers.postgres import TICK_LOCK  # noqa: PLC0415 - beside it

    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    await fleet.add("smith")

    async def has_ticked() -> bool:
        deferred = await execute(dsn, "SELECT 1 FROM procrastinate_periodic_defers")
        return deferred != [] and await execute(dsn, "SELECT 1 FROM procrastinate_jobs") == []

    async with working(fleet):
        async with await AsyncConnection.connect(dsn) as other:
            await other.execute(f"SELECT pg_advisory_xact_lock({TICK_LOCK})".encode())
            await execute(dsn, "UPDATE accounts SET due_at = now()")
            await until(has_ticked)
        await until(lambda: is_synced(fleet))


async def test_a_worker_that_loses_its_database_says_so(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made, stalled_after=QUICK)
    await fleet.setup()
    running = asyncio.create_task(fleet.run_worker())

    async def is_registered() -> bool:
        return await execute(dsn, "SELECT 1 FROM procrastinate_workers") != []

    await until(is_registered)
    with pytest.raises(RuntimeError, match="runs a worker already"):
        await fleet.run_worker()
    await execute(dsn, "DROP SCHEMA lofty_fleet CASCADE")
    with pytest.raises(LoftyError, match="lost its database"):
        await within(running)


async def test_tables_of_an_earlier_version_are_brought_up_to_date(dsn: str) -> None:
    fleet = Fleet(dsn, lambda _: pytest.fail("no worker"))
    await fleet.setup()
    function = "SELECT 1 FROM pg_proc WHERE proname = 'procrastinate_trigger_function_status_events_update_v1'"
    await execute(dsn, "DROP FUNCTION procrastinate_trigger_function_status_events_update_v1 CASCADE")
    await execute(dsn, "DELETE FROM migrations WHERE name LIKE '03.04.00_50_post%'")
    assert await execute(dsn, function) == []
    await fleet.setup()
    assert await execute(dsn, function) == [(1,)]
    await fleet.setup()


async def test_missing_tables_are_named(dsn: str) -> None:
    fleet = Fleet(dsn, lambda _: pytest.fail("no worker"))
    for call in (fleet.status(), fleet.add("smith"), fleet.remove("smith"), fleet.run_worker()):
        with pytest.raises(LoftyError, match=r"fleet\.setup\(\)"):
            await call


@pytest.mark.parametrize(
    ("argument", "value"),
    [("dsn", ""), ("client_for", None), ("every", "every day"), ("stalled_after", 1), ("stalled_after", None)],
)
def test_arguments_that_are_wrong_are_refused(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"dsn": "postgresql://there/db", "client_for": lambda _: None, argument: value}
    with pytest.raises(InvalidRequestError, match=argument):
        Fleet(**arguments)


async def test_a_concurrency_or_an_account_that_is_wrong_is_refused() -> None:
    fleet = Fleet("postgresql://me:s3cret@there/db", lambda _: pytest.fail("no worker"))
    with pytest.raises(InvalidRequestError, match="concurrency"):
        await fleet.run_worker(concurrency=0)
    for call in (fleet.add(""), fleet.remove("")):
        with pytest.raises(InvalidRequestError, match="account"):
            await call
    assert "s3cret" not in repr(vars(fleet))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lofty_async.workers.queue", raising=False)
    monkeypatch.delattr("lofty_async.workers.queue", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    with pytest.raises(ModuleNotFoundError, match=r"lofty-async\[workers\]"):
        Fleet("postgresql://there/db", lambda _: pytest.fail("no worker"))


@pytest.mark.parametrize("form", ["toml", "json"])
async def test_the_command_syncs_the_accounts_of_a_file(dsn: str, made: Account, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"accounts.{form}"
    file.write_text('smith = "KEY_OF_SMITH"\n' if form == "toml" else '{"smith": "KEY_OF_SMITH"}')
    fleet = fleet_of(dsn, made)
    await fleet.setup()
    await fleet.add("jones")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOFTY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lofty_async", "worker", "--db", dsn, "--accounts", str(file)),
        *("--base-url", made.sandbox.url),
        env=environment | {"KEY_OF_SMITH": made.sandbox.api_key},
        stderr=asyncio.subprocess.PIPE,
    )

    async def is_done() -> bool:
        return [bool(one.synced_at or one.error) for one in await fleet.status()] == [True, True]

    try:
        await until(is_done)
    finally:
        process.terminate()
        _, errors = await process.communicate()
    lines = sorted(line.partition(" account ")[2] for line in errors.decode().splitlines())
    assert process.returncode == 0
    assert lines[0] == "jones: account jones is not in the file of accounts of this worker"
    assert lines[1].startswith("smith: 36 added, 0 changed, 0 removed, ")
    assert len(lines) == 2
    assert await left_wrong(dsn, "smith", made) == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("smith = 'NOT_SET_ANYWHERE'", "account smith: the environment variable NOT_SET_ANYWHERE is not set"),
        ("smith = 5", "must be a string, not int"),
        ("smith =", "is not TOML"),
        ("", "must name an account and its variable"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_of_accounts_that_is_wrong_is_one_line(tmp_path: Path, text: str | None, error: str) -> None:
    file = tmp_path / "accounts.toml"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(app, ["worker", "--db", "postgresql://there/db", "--accounts", str(file)])
    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())


def test_a_worker_without_a_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "accounts.toml").write_text("smith = 'KEY_OF_SMITH'")
    monkeypatch.setenv("KEY_OF_SMITH", "key-of-smith")
    monkeypatch.setattr("lofty_async.cli.worker._log_to_stderr", lambda: None)  # of a process of its own
    command = ["worker", "--accounts", str(tmp_path / "accounts.toml"), "--db"]
    result = CliRunner().invoke(app, [*command, "postgresql://me:s3cret@127.0.0.1:9/none"])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "s3cret" not in result.stderr
    assert CliRunner().invoke(app, [*command, "tasks.sqlite"]).exit_code == 2


async def within(work: Awaitable[None]) -> None:
    async with asyncio.timeout(DEADLINE):
        await work
