"""A mirror in PostgreSQL, against a real server: what SQLite guarantees holds there too, for many accounts at once."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lofty_async import InvalidRequestError, LoftyClient, LoftyError
from lofty_async.cli.app import app
from lofty_async.mirror import (
    Changes,
    Doubt,
    Merged,
    Mirror,
    PostgresDatabase,
    SqliteDatabase,
    SuspiciousDeletionError,
)
from lofty_async.models import Task, TaskType
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.entities import MEMBER_ID
from lofty_async.sandbox.faults import Reply
from tests.account import OTHERS, Account, fields_of, wrong
from tests.postgres_server import needs_postgres, running_postgres

pytestmark = needs_postgres

LEADS = 60
TASK = Task(id=10, lead_id=1, content="Call")
Homes = Mapping[int, int]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
def dsn(server: str) -> str:
    """A server without the tables."""
    asyncio.run(execute(server, "DROP SCHEMA IF EXISTS lofty CASCADE"))
    return server


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[PostgresDatabase]:
    async with PostgresDatabase(dsn, account="one") as opened:
        yield opened


async def execute(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    async with await AsyncConnection.connect(dsn, autocommit=True, options="-c search_path=lofty") as connection:
        cursor = await connection.execute(sql.encode())
        return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def account(database: PostgresDatabase, **options: Any) -> AsyncGenerator[tuple[Account, Mirror]]:
    async with (
        Sandbox(LEADS, 0, appointments_per_lead=0, limit=100_000, **options) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
    ):
        made = Account(sandbox, (MEMBER_ID, *OTHERS[:2]))
        made.populate(3)
        yield made, Mirror(lofty, database)


async def left_wrong(database: PostgresDatabase, made: Account) -> int:
    return wrong(fields_of(await database.tasks()), made.truth())


async def test_runs_end_equal_and_one_over_an_unchanged_server_writes_nothing(
    dsn: str, database: PostgresDatabase
) -> None:
    async with account(database) as (made, mirror):
        first = await mirror.sync()
        assert (first.strategy, first.added, first.proven) == ("lists", 180, 180)
        rows = "SELECT xmin::text, id FROM tasks ORDER BY id"
        before = await execute(dsn, rows)
        second = await mirror.sync()
        assert (second.added, second.changed, second.removed, second.requests < 15) == (0, 0, 0, True)
        assert await execute(dsn, rows) == before
        for _ in range(3):
            made.change(0.06)
            assert (await mirror.sync()).failed == ()
            assert await left_wrong(database, made) == 0
        held: dict[int, Task] = {}
        async for change in mirror.changes():
            if change.before is not None:
                assert held.pop(change.before.id) == change.before
            if change.task is not None:
                held[change.task.id] = change.task
        assert held == {task.id: task for task in await database.tasks()}
        assert [run.report and run.report["failed"] for run in await mirror.runs()] == [0] * 5


@pytest.mark.parametrize(
    "hiding",
    [
        {"my_tasks_hides": ["finished"], "calendar_hides": ["finished"]},
        {"my_tasks_hides": ["appointments"]},
        {"ignores_user_id": True},
    ],
)
async def test_what_no_list_shows_is_right_after_thirty_runs(
    database: PostgresDatabase, hiding: dict[str, Any]
) -> None:
    async with account(database, **hiding) as (made, mirror):
        assert (await mirror.sync(strategy="lists")).hidden
        made.change(0.2)
        for _ in range(30):
            assert (await mirror.sync(strategy="lists")).requests < LEADS
        assert await left_wrong(database, made) == 0


async def test_every_lead_can_be_read(database: PostgresDatabase) -> None:
    async with account(database) as (made, mirror):
        for _ in range(2):
            assert (await mirror.sync(strategy="leads")).leads == LEADS
            made.change(0.1)
        await mirror.sync(list(made.sandbox.state.leads))
        assert await left_wrong(database, made) == 0


async def test_very_many_deletions_are_refused(database: PostgresDatabase) -> None:
    async with account(database) as (made, mirror):
        await mirror.sync()
        for entry in list(made.sandbox.state.entries.values())[:60]:
            made.sandbox.state.remove(entry.id)
        with pytest.raises(SuspiciousDeletionError):
            await mirror.sync()
        assert (await mirror.sync(allow_mass_delete=True)).removed == 60


async def test_a_list_that_is_suddenly_empty_deletes_nothing(database: PostgresDatabase) -> None:
    async with account(database) as (made, mirror):
        await mirror.sync()
        made.sandbox.faults.add("GET /v2.0/tasks/my-tasks", Reply(200, {"tasks": []}), times=None)
        with pytest.raises(SuspiciousDeletionError):
            await mirror.sync()
        made.sandbox.faults.clear()
        assert ((await mirror.sync()).run, await left_wrong(database, made)) == (3, 0)


async def test_an_interrupted_run_goes_on_where_it_was(database: PostgresDatabase) -> None:
    async with account(database) as (made, mirror):
        for stop_after in (1, 3, 3, 20):
            running = asyncio.create_task(mirror.sync(strategy="lists"))
            sent = len(made.sandbox.requests)
            async with asyncio.timeout(30):
                while len(made.sandbox.requests) < sent + stop_after:
                    await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        report = await mirror.sync(strategy="lists")
        assert (report.run, report.complete, report.skipped > 0) == (1, True, True)
        assert await left_wrong(database, made) == 0


async def test_accounts_share_a_database_and_nothing_else(dsn: str, database: PostgresDatabase) -> None:
    async with PostgresDatabase(dsn, account="two") as other:
        await database.write({1: [TASK]})
        await other.write({1: [evolve(TASK, content="Theirs")]})
        await other.settle(gone=[10])
        assert await database.tasks() == [TASK]
        assert await other.tasks() == []
        assert [change.seq for change in await database.changes()] == [1]
        assert [(change.seq, change.kind) for change in await other.changes()] == [(1, "created"), (2, "deleted")]
        first = await claim(database)
        second = await claim(other)
        assert (first.number, second.number) == (1, 1)
        assert (await database.summary()).tasks == 1
    assert await execute(dsn, "SELECT account, id, task->>'content' FROM changes JOIN tasks USING (account)") == [
        ("one", 10, "Call")
    ]


async def claim(database: PostgresDatabase) -> Any:
    return await database.claim("all", strategy=None, fresh=False, resume_within=3600)


async def test_two_that_claim_at_once_do_not_both_get_it(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as first, PostgresDatabase(dsn, account="one") as second:
        results = await asyncio.gather(claim(first), claim(second), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Run", "SyncRunningError"]


async def test_writers_that_take_turns_skip_no_number(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as first, PostgresDatabase(dsn, account="one") as second:
        writes = [one.write({lead: [Task(id=lead, lead_id=lead)]}) for lead, one in enumerate([first, second] * 10, 1)]
        await asyncio.gather(*writes)
        assert [change.seq for change in await first.changes()] == list(range(1, 21))


async def test_a_write_whose_caller_is_cancelled_is_kept(database: PostgresDatabase) -> None:
    writing = asyncio.create_task(database.write({1: [TASK]}))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await database.tasks() == [TASK]


async def test_values_are_kept_as_they_are(database: PostgresDatabase) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=-8)))
    task = Task(
        id=2**63 - 1,
        lead_id=2**53 + 1,
        content="\u00fcber 🏡 'quoted' %s",
        type=TaskType("Handwritten"),
        start_at=moment,
        finished=False,
        reminder_type=5,
        query_id=2**64 - 1,
    )
    await database.write({2**53 + 1: [task]})
    assert await database.tasks() == [task]
    assert await database.write({2**53 + 1: [task]}) == Changes()
    (change,) = await database.changes()
    assert change.task == task
    odd = evolve(
        task, content="nul \0 and half \ud800", start_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))
    )
    await database.write({2**53 + 1: [odd]})
    (kept,) = await database.tasks()
    assert (kept.content, kept.start_at) == ("nul \ufffd and half ?", datetime.min.replace(tzinfo=UTC))


def grouped(homes: Homes) -> dict[int, list[Task]]:
    return {lead: [Task(id=id, lead_id=lead) for id, home in homes.items() if home == lead] for lead in range(4)}


@given(
    old=st.dictionaries(st.integers(1, 6), st.integers(0, 3)),
    new=st.dictionaries(st.integers(1, 6), st.integers(0, 3)),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_it_agrees_with_sqlite(database: PostgresDatabase, old: Homes, new: Homes) -> None:
    await database.settle(gone=range(1, 7))
    async with SqliteDatabase(":memory:") as sqlite:
        for one in (database, sqlite):
            await one.write(grouped(old))
        results = [await one.merge(grouped(new), done=range(4)) for one in (database, sqlite)]
        assert [same(result) for result in results[:1]] == [same(result) for result in results[1:]]
        assert await database.tasks() == await sqlite.tasks()


def same(result: Merged) -> tuple[Any, ...]:
    changes = result.changes
    told = (set(changes.added), set(changes.changed), set(changes.removed))
    return (*told, {(doubt.id, doubt.lead_id, doubt.is_listed) for doubt in result.doubts})


async def test_a_task_of_another_lead_stays_there_until_it_is_settled(database: PostgresDatabase) -> None:
    await database.write({1: [TASK]})
    merged = await database.merge({2: [evolve(TASK, lead_id=2)]}, done=[2])
    assert merged == Merged(Changes(), (Doubt(10, 2, is_listed=True),))
    assert await database.settle(moved=[evolve(TASK, lead_id=2)], done=[2]) == Changes((), (10,), ())
    assert await database.leads() == {2}


async def test_columns_of_a_later_model_are_added_and_another_form_is_refused(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as database:
        await database.write({1: [TASK]})
    await execute(dsn, "ALTER TABLE tasks DROP COLUMN content, ADD COLUMN own_note text DEFAULT 'mine'")
    async with PostgresDatabase(dsn, account="one") as database:
        assert await database.tasks() == [evolve(TASK, content=None)]
        await database.write({1: [TASK]})
    assert await execute(dsn, "SELECT content, own_note FROM tasks") == [("Call", "mine")]
    await execute(dsn, "UPDATE mirror SET version = version + 1")
    with pytest.raises(LoftyError, match=r"later version.*upgrade lofty-async"):
        await PostgresDatabase(dsn, account="one").__aenter__()
    await execute(dsn, "UPDATE mirror SET version = 1; DROP TABLE sources")
    with pytest.raises(LoftyError, match=r"earlier version.*DROP SCHEMA lofty CASCADE, and sync again"):
        await PostgresDatabase(dsn, account="one").__aenter__()
    assert await execute(dsn, "SELECT to_regclass('sources')") == [(None,)]


async def test_a_database_that_is_not_open_says_how_to_open_it(dsn: str) -> None:
    database = PostgresDatabase(dsn, account="one")
    with pytest.raises(RuntimeError, match="async with PostgresDatabase"):
        await database.tasks()
    await database.close()
    async with database:
        assert await database.tasks() == []
    await database.close()
    with pytest.raises(RuntimeError, match="async with PostgresDatabase"):
        await database.tasks()


@pytest.mark.parametrize(("dsn_text", "name", "argument"), [("", "one", "dsn"), ("postgresql://", "", "account")])
def test_arguments_that_are_wrong_are_refused(dsn_text: str, name: str, argument: str) -> None:
    with pytest.raises(InvalidRequestError, match=argument):
        PostgresDatabase(dsn_text, account=name)


def test_the_address_of_a_database_is_not_shown() -> None:
    assert "s3cret" not in repr(vars(PostgresDatabase("postgresql://me:s3cret@there/db", account="one")))


def test_commands_take_the_address_of_a_database(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox.in_thread(leads=12, tasks_per_lead=3, appointments_per_lead=0) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        label = f"127.0.0.1/{dsn.rpartition('/')[2]}, account smith"
        synced = CliRunner().invoke(app, ["sync", "--db", dsn, "--account", "smith"])
        assert (synced.exit_code, synced.stdout.splitlines()[1]) == (0, f"{label}: 36 added, 0 changed, 0 removed")
    state = CliRunner().invoke(app, ["status", "--db", dsn, "--account", "smith"])
    assert state.stdout.splitlines()[0] == f"{label}: 36 tasks of 12 leads"
    listed = CliRunner().invoke(app, ["changes", "--db", dsn, "--account", "smith", "--since", "30"])
    assert len(listed.stdout.splitlines()) == 6


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("changes",)])
def test_the_name_of_an_account_that_no_sync_has_begun_is_an_error(dsn: str, command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--db", dsn, "--account", "smit"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert ", account smit: no sync has begun; lofty-async sync or worker begins one" in result.stderr


def test_a_server_that_cannot_be_reached_is_one_line() -> None:
    result = CliRunner().invoke(app, ["status", "--db", "postgresql://me:s3cret@127.0.0.1:9/none"])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "s3cret" not in result.stderr


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    result = CliRunner().invoke(app, ["status", "--db", "postgresql://there/tasks"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert 'pip install "lofty-async[postgres]"' in result.stderr
