"""Guarantees of every kind of mirror's database: claims, the source of its rows, and how long changes are kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from attrs import evolve

from lofty_async import ApiKey, AuthenticationError, LoftyClient, LoftyError, WebhookNotice
from lofty_async.errors import InvalidRequestError, ServerError
from lofty_async.mirror import (
    ChangesPrunedError,
    Database,
    Mirror,
    OtherAccountError,
    PostgresDatabase,
    Run,
    Source,
    SqliteDatabase,
    SyncReport,
    SyncRunningError,
    read_changes,
)
from lofty_async.mirror.runs import RENEW_SECONDS
from lofty_async.mirror.sources import origin_of
from lofty_async.models import Task
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from lofty_async.webhooks import parse_webhook
from tests.conftest import AT_ONCE, Hold
from tests.postgres_server import needs_postgres

ME, LISTING, TASKS_OF_LEAD = "GET /v1.0/me", "GET /v1.0/leads", "GET /v2.0/tasks"
OTHER = Reply(200, {"id": 7, "teamId": 5})
Reopen = Callable[[], Any]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Reopen]:
    """Opens the same database again, as another process would."""
    account = token_hex(8)
    dsn = "" if request.param == "sqlite" else request.getfixturevalue("postgres_server")
    async with AsyncExitStack() as stack:

        async def opened() -> Database:
            if dsn:
                return await stack.enter_async_context(PostgresDatabase(dsn, account=account, now=clock))
            return await stack.enter_async_context(SqliteDatabase(tmp_path / "tasks.sqlite", now=clock))

        yield opened


@pytest.fixture
async def database(reopen: Reopen) -> Database:
    opened: Database = await reopen()
    return opened


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(leads=10, tasks_per_lead=2, appointments_per_lead=0) as running:
        yield running


@pytest.fixture
async def lofty(sandbox: Sandbox) -> AsyncIterator[LoftyClient]:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url, retry=AT_ONCE) as client:
        yield client


async def claim(database: Database, scope: str = "all") -> Run:
    return await database.claim(scope, strategy=None, fresh=False, resume_within=3600)


async def state(database: Database) -> tuple[Any, ...]:
    return await database.tasks(), await database.summary(), await database.runs(), await database.changes()


async def test_a_dead_holders_claim_ends_in_time_for_others_to_have_it_within_a_minute(
    reopen: Reopen, clock: Clock
) -> None:
    dead, next_one = await reopen(), await reopen()
    first = await claim(dead)
    clock.go_on(seconds=44)
    with pytest.raises(SyncRunningError):
        await claim(next_one)
    await dead.renew()
    clock.go_on(seconds=44)
    with pytest.raises(SyncRunningError):
        await claim(next_one)
    clock.go_on(seconds=1)
    taken = await claim(next_one)
    assert (taken.number, taken.is_resumed) == (first.number, True)
    for write in (dead.merge({1: [Task(id=10, lead_id=1)]}, done=[1]), dead.renew(), dead.end({}, was_swept=True)):
        with pytest.raises(SyncRunningError):
            await write
    await dead.release()
    assert await next_one.tasks() == []
    await next_one.renew()


@pytest.mark.parametrize(("before", "after"), [("all", "some"), ("some", "all")])
async def test_a_sync_whose_claim_has_ended_writes_nothing_once_another_has_the_claim(
    reopen: Reopen, clock: Clock, before: str, after: str
) -> None:
    suspended, other = await reopen(), await reopen()
    await claim(suspended)
    await suspended.release()
    await claim(suspended, before)
    clock.go_on(seconds=60)
    assert (await claim(other, after)).is_resumed is (after == "all")
    for write in (suspended.merge({1: [Task(id=10, lead_id=1)]}, done=[1]), suspended.renew()):
        with pytest.raises(SyncRunningError, match="another sync is under way"):
            await write
    await suspended.release()
    assert await other.tasks() == []
    await other.end({}, was_swept=False)
    assert (await claim(suspended)).is_resumed is (after == "some")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs renew their claims at every opportunity."""
    assert RENEW_SECONDS <= 45 - 30 - 10  # the write may wait 30 s for its turn, and the loop be blocked for 10
    monkeypatch.setattr("lofty_async.mirror.run.RENEW_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_a_run_keeps_its_claim_as_long_as_it_lives(
    sandbox: Sandbox, lofty: LoftyClient, reopen: Reopen, clock: Clock, hold: Hold
) -> None:
    database, other = await reopen(), await reopen()
    sandbox.faults.add(TASKS_OF_LEAD, hold, times=None)
    running = asyncio.create_task(Mirror(lofty, database).sync())
    await hold.reached()
    for _ in range(3):
        clock.go_on(seconds=60)
        async with asyncio.timeout(30):
            while not await is_held(other):
                await asyncio.sleep(0.01)
    hold.gate.set()
    assert (await running).complete


async def is_held(database: Database) -> bool:
    try:
        await database.check(Source("http://127.0.0.1"))
    except SyncRunningError:
        return True
    return False


async def test_rows_of_another_account_are_refused_before_anything_is_written(
    sandbox: Sandbox, lofty: LoftyClient, database: Database
) -> None:
    await Mirror(lofty, database).sync()
    before = await state(database)
    sandbox.faults.add(ME, OTHER, times=None)
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
    sent = len(sandbox.requests)
    for run in (Mirror(lofty, database).sync(), Mirror(lofty, database).sync([1], fresh=True)):
        with pytest.raises(OtherAccountError, match="name another database") as raised:
            await run
        assert isinstance(raised.value, LoftyError)
        assert (raised.value.held or "").startswith("member 11042 of team ")
        assert raised.value.found == "member 7 of team 5 on http://127.0.0.1"
        assert f"mirrors {raised.value.held}, and the client reads {raised.value.found}" in str(raised.value)
    assert {request.route for request in sandbox.requests[sent:]} == {ME}
    assert await state(database) == before


async def test_an_interrupted_run_survives_the_refusal_of_another_account(
    sandbox: Sandbox, lofty: LoftyClient, database: Database
) -> None:
    begun = asyncio.Event()
    running = asyncio.create_task(Mirror(lofty, database).sync(on_progress=lambda _: begun.set()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sandbox.faults.add(ME, OTHER)
    with pytest.raises(OtherAccountError):
        await Mirror(lofty, database).sync(fresh=True)
    assert (await Mirror(lofty, database).sync()).run == 1


async def test_a_run_whose_account_is_not_known_yet_holds_the_database_and_leaves_no_trace(
    sandbox: Sandbox, lofty: LoftyClient, reopen: Reopen, hold: Hold
) -> None:
    database, other = await reopen(), await reopen()
    sandbox.faults.add(ME, hold)
    running = asyncio.create_task(Mirror(lofty, database).sync())
    await hold.reached()
    with pytest.raises(SyncRunningError):
        await claim(other)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await database.runs() == []
    assert (await claim(other)).number == 1


async def test_the_same_account_on_another_server_goes_on_only_where_that_is_meant(
    sandbox: Sandbox, lofty: LoftyClient, database: Database
) -> None:
    await Mirror(lofty, database).sync()
    before, sent = await state(database), len(sandbox.requests)
    moved = sandbox.url.replace("127.0.0.1", "localhost")
    async with LoftyClient(sandbox.auth, base_url=moved) as client:
        for mirror in (Mirror(client, database), Mirror(client, database)):
            with pytest.raises(OtherAccountError, match=r"reads http://localhost.*pass allow_new_server=True"):
                await mirror.sync()
        assert (await state(database), len(sandbox.requests)) == (before, sent)
        assert (await mirror.sync(allow_new_server=True)).complete
        assert (await mirror.sync()).complete
        sandbox.faults.add(ME, OTHER)
        with pytest.raises(OtherAccountError):
            await Mirror(client, database).sync(allow_new_server=True)
    with pytest.raises(OtherAccountError, match=r"on http://localhost, and the client reads http://127\.0\.0\.1:"):
        await Mirror(lofty, database).sync()


async def test_another_key_and_another_port_of_this_machine_are_the_same_account(
    sandbox: Sandbox, lofty: LoftyClient, database: Database
) -> None:
    await Mirror(lofty, database).sync()
    async with (
        Sandbox(leads=10, tasks_per_lead=2, appointments_per_lead=0) as other,
        LoftyClient(other.auth, base_url=other.url) as client,
    ):
        assert (other.url, other.api_key) != (sandbox.url, sandbox.api_key)
        assert (await Mirror(client, database).sync()).complete


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.lofty.com:443/v9/", "https://api.lofty.com"),
        ("https://api.lofty.com:8443", "https://api.lofty.com:8443"),
        ("http://localhost:1234", "http://localhost"),
        ("http://[::1]:99", "http://::1"),
    ],
)
async def test_a_server_is_its_origin(sandbox: Sandbox, url: str, origin: str) -> None:
    async with LoftyClient(sandbox.auth, base_url=url) as client:
        assert str(Source(origin_of(client.base_url))) == origin


@pytest.mark.parametrize("answer", [Reply(403, {"code": 200100}), Reply(404, ""), Reply(200, {"id": "none"})])
async def test_where_nobody_tells_whose_account_it_is_the_server_alone_counts(
    sandbox: Sandbox, lofty: LoftyClient, database: Database, caplog: pytest.LogCaptureFixture, answer: Reply
) -> None:
    sandbox.faults.add(ME, answer, times=None)
    assert (await Mirror(lofty, database).sync()).complete
    assert "only the server is compared" in caplog.text
    sandbox.faults.clear()
    await Mirror(lofty, database).sync()
    sandbox.faults.add(ME, answer, times=None)
    await Mirror(lofty, database).sync()
    sandbox.faults.clear()
    sandbox.faults.add(ME, OTHER)  # the account that was noted meanwhile counts
    with pytest.raises(OtherAccountError):
        await Mirror(lofty, database).sync()


async def test_a_server_that_fails_now_is_not_taken_for_one_that_never_tells(
    sandbox: Sandbox, lofty: LoftyClient, database: Database
) -> None:
    sandbox.faults.add(ME, Reply(500, "down"), times=None)
    with pytest.raises(ServerError):
        await Mirror(lofty, database).sync()
    assert await database.tasks() == []
    sandbox.faults.clear()
    assert (await Mirror(lofty, database).sync()).complete


async def test_a_credential_that_is_refused_writes_nothing(sandbox: Sandbox, database: Database) -> None:
    async with LoftyClient(ApiKey("a-key-that-nobody-knows"), base_url=sandbox.url) as client:
        with pytest.raises(AuthenticationError):
            await Mirror(client, database).sync()
    assert await database.runs() == []


async def test_notices_of_another_account_are_refused(sandbox: Sandbox, lofty: LoftyClient, database: Database) -> None:
    await Mirror(lofty, database).sync()
    entry = next(iter(sandbox.state.entries.values()))
    sandbox.state.remove(entry.id)
    sandbox.faults.add(ME, OTHER)

    async def notices() -> AsyncIterator[WebhookNotice]:
        for one in parse_webhook({"listId": 10, "teamId": 1, "deletedTask": [{"taskId": entry.id}]}).notices:
            yield one

    with pytest.raises(OtherAccountError):
        await Mirror(lofty, database).follow(notices())
    assert entry.id in {task.id for task in await database.tasks()}
    await Mirror(lofty, database).follow(notices())
    assert entry.id not in {task.id for task in await database.tasks()}


async def test_a_mirror_asks_once_whose_account_it_is(sandbox: Sandbox, lofty: LoftyClient, database: Database) -> None:
    mirror = Mirror(lofty, database)
    for _ in range(3):
        await mirror.sync()
    assert sum(request.route == ME for request in sandbox.requests) == 1


async def logged(database: Database, clock: Clock, count: int) -> None:
    """Makes changes, each an hour after the one before."""
    for number in range(count):
        await database.write({1: [Task(id=10, lead_id=1, content=f"{clock.now} {number}")]})
        clock.go_on(hours=1)


async def numbers(database: Database, since: int | None = 0) -> list[int]:
    return [change.seq async for change in read_changes(database, since)]


async def test_changes_are_kept_until_they_are_removed(database: Database, clock: Clock) -> None:
    await logged(database, clock, 6)
    assert await database.prune_changes(timedelta(days=1)) == 0
    assert await numbers(database) == [1, 2, 3, 4, 5, 6]
    assert await database.prune_changes(timedelta(hours=3)) == 3
    summary = await database.summary()
    assert (summary.pruned_changes, summary.last_change) == (3, 6)
    for since in (0, 2):
        with pytest.raises(ChangesPrunedError, match="would leave a gap") as raised:
            await database.changes(since)
        assert raised.value.oldest == 3
    assert await numbers(database, 3) == await numbers(database, None) == [4, 5, 6]
    assert await database.prune_changes(timedelta(0)) == 3
    assert await numbers(database, None) == []
    await logged(database, clock, 1)
    assert await numbers(database, 6) == [7]
    assert (await database.summary()).last_change == 7


async def test_a_number_beyond_the_last_change_is_another_databases(database: Database, clock: Clock) -> None:
    await logged(database, clock, 2)
    assert await numbers(database, 2) == []
    with pytest.raises(InvalidRequestError, match="since must be at most 2, the last change") as raised:
        await numbers(database, 3)
    assert raised.value.argument == "since"


async def test_a_clock_that_was_set_back_removes_no_change_from_the_middle(database: Database, clock: Clock) -> None:
    await logged(database, clock, 2)
    clock.go_on(hours=-5)
    await logged(database, clock, 2)
    clock.go_on(hours=3.5)
    await database.prune_changes(timedelta(hours=2))
    assert await numbers(database, None) == [2, 3, 4]


async def test_a_follower_that_falls_behind_what_is_kept_says_so(database: Database, clock: Clock) -> None:
    await logged(database, clock, 2)
    following = read_changes(database, follow=True)
    assert (await anext(following)).seq == 1
    await database.prune_changes(timedelta(0))
    assert (await anext(following)).seq == 2  # it was read with the first
    await logged(database, clock, 2)
    await database.prune_changes(timedelta(0))
    with pytest.raises(ChangesPrunedError):
        await anext(following)


async def test_a_mirror_removes_old_changes_at_the_end_of_a_run(
    sandbox: Sandbox, lofty: LoftyClient, database: Database, clock: Clock
) -> None:
    mirror = Mirror(lofty, database, keep_changes=timedelta(days=30))
    await mirror.sync()
    clock.go_on(days=31)
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
    await mirror.sync()
    assert [change.seq async for change in mirror.changes(None)] == [21]
    with pytest.raises(ChangesPrunedError):
        await anext(mirror.changes())


@pytest.mark.parametrize("age", [30, timedelta(seconds=-1), "30 days"])
async def test_an_age_that_is_none_is_refused(lofty: LoftyClient, database: Database, age: Any) -> None:
    with pytest.raises(InvalidRequestError, match="keep_changes must"):
        Mirror(lofty, database, keep_changes=age)
    with pytest.raises(InvalidRequestError, match="older_than must"):
        await database.prune_changes(age)
    assert await database.prune_changes(timedelta.max) == 0


@pytest.mark.parametrize("number", [-1, 2**63, "3"])
async def test_a_number_that_is_none_is_refused(lofty: LoftyClient, database: Database, number: Any) -> None:
    with pytest.raises(InvalidRequestError, match="since must be"):
        await database.changes(number)
    with pytest.raises(InvalidRequestError, match="limit must be"):
        await database.runs(number)
    with pytest.raises(InvalidRequestError, match="since must be"):
        Mirror(lofty, database).changes(number)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "6 h"])
async def test_a_duration_that_is_none_is_refused(lofty: LoftyClient, database: Database, seconds: Any) -> None:
    with pytest.raises(InvalidRequestError, match="resume_within must be"):
        await Mirror(lofty, database).sync(resume_within=seconds)

    async def none() -> AsyncIterator[WebhookNotice]:
        return
        yield

    with pytest.raises(InvalidRequestError, match="sweep_every must be"):
        await Mirror(lofty, database).follow(none(), sweep_every=seconds)


async def test_a_sync_that_is_cancelled_again_and_again_gives_the_database_up(
    lofty: LoftyClient, reopen: Reopen
) -> None:
    for ticks in range(0, 240, 20):
        database = await reopen()
        syncing = asyncio.create_task(Mirror(lofty, database).sync(fresh=True))
        for _ in range(ticks):
            await asyncio.sleep(0)
        while not syncing.done():
            syncing.cancel()
            await asyncio.sleep(0)
        await database.close()
    assert (await Mirror(lofty, await reopen()).sync()).complete


async def test_of_two_syncs_of_one_object_at_once_one_is_refused_and_the_other_ends(
    lofty: LoftyClient, database: Database
) -> None:
    mirror = Mirror(lofty, database)
    results = await asyncio.gather(mirror.sync(), mirror.sync(), return_exceptions=True)
    (report,) = [result for result in results if isinstance(result, SyncReport)]
    assert [type(result) for result in results if result is not report] == [SyncRunningError]
    (run,) = await database.runs()
    assert (run.number, run.phase, run.ended_at is not None) == (report.run, "done", True)


async def test_a_sync_that_begins_as_the_one_before_it_ends_keeps_its_claim(
    sandbox: Sandbox, lofty: LoftyClient, reopen: Reopen, hold: Hold
) -> None:
    database, other = await reopen(), await reopen()
    mirror = Mirror(lofty, database)
    first = asyncio.create_task(mirror.sync(strategy="lists"))
    async with asyncio.timeout(30):
        while not mirror.report.complete:
            await asyncio.sleep(0)
    sandbox.faults.add(LISTING, hold, times=None)
    second = asyncio.create_task(Mirror(lofty, database).sync())
    await first
    await hold.reached()
    assert await is_held(other)
    hold.gate.set()
    assert (await second).complete
    assert [run.ended_at is None for run in await other.runs()] == [False, False]


async def test_a_database_that_was_lost_during_a_sync_is_synced_again_once_the_claim_has_ended(
    sandbox: Sandbox, lofty: LoftyClient, reopen: Reopen, clock: Clock, hold: Hold
) -> None:
    database = await reopen()
    sandbox.faults.add(TASKS_OF_LEAD, hold, times=None)
    running = asyncio.create_task(Mirror(lofty, database).sync())
    await hold.reached()
    await database.close()
    hold.gate.set()
    with pytest.raises(RuntimeError, match="not open"):
        await running
    async with database:
        with pytest.raises(SyncRunningError):
            await Mirror(lofty, database).sync()
        clock.go_on(seconds=60)
        assert (await Mirror(lofty, database).sync()).complete


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_lets_no_second_sync_of_one_object_begin(
    sandbox: Sandbox, lofty: LoftyClient, database: Database, clock: Clock, hold: Hold, *, hours: int
) -> None:
    sandbox.faults.add(TASKS_OF_LEAD, hold, times=None)
    running = asyncio.create_task(Mirror(lofty, database).sync())
    await hold.reached()
    clock.go_on(hours=hours)
    async with asyncio.timeout(30):
        with pytest.raises(SyncRunningError):
            await Mirror(lofty, database).sync()
    with pytest.raises(SyncRunningError):
        await claim(database)
    hold.gate.set()
    assert (await running).complete


async def test_notices_go_on_when_another_process_has_taken_over_the_sync(
    sandbox: Sandbox, lofty: LoftyClient, reopen: Reopen, clock: Clock
) -> None:
    database, other = await reopen(), await reopen()
    mirror = Mirror(lofty, database)
    await mirror.sync()
    entry = next(iter(sandbox.state.entries.values()))
    sandbox.state.remove(entry.id)

    async def notices() -> AsyncIterator[WebhookNotice]:
        await claim(database)
        clock.go_on(seconds=60)
        await claim(other)
        for one in parse_webhook({"listId": 10, "teamId": 1, "deletedTask": [{"taskId": entry.id}]}).notices:
            yield one

    await mirror.follow(notices(), sweep_every=None)
    with pytest.raises(SyncRunningError):
        await database.renew()


@pytest.mark.parametrize("strategy", ["lists", "leads"])
@pytest.mark.parametrize("number", [2**63, -1])
async def test_ids_that_no_database_holds_end_no_run(
    sandbox: Sandbox, lofty: LoftyClient, database: Database, number: int, strategy: str
) -> None:
    state = sandbox.state
    unassigned, nameless, *_, last = state.leads
    state.leads[unassigned] = evolve(state.leads[unassigned], quirks={"assignedUserId": number})
    state.leads[nameless] = evolve(state.leads[nameless], quirks={"leadId": number})
    task = state.entries.of(last)[0]
    state.change(task.id, quirks={"leadId": number, "assignedUserId": number})
    sandbox.faults.add(ME, Reply(200, {"id": number, "teamId": number}), times=None)
    assert (await Mirror(lofty, database).sync(strategy=strategy)).failed == ()
    report = await Mirror(lofty, database).sync(strategy=strategy)
    assert (report.failed, report.added, report.changed) == ((), 0, 0)
    held = {task.id: task.lead_id for task in await database.tasks()}
    assert held == {
        entry.id: entry.lead_id for entry in state.entries.values() if strategy == "lists" or entry.lead_id != nameless
    }
