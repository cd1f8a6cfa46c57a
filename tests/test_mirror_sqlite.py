import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve, fields, frozen
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.mirror import Changes, Doubt, Merged, SqliteDatabase
from lofty_async.mirror.columns import columns_of
from lofty_async.models import AssignedRole, PermissionMode, Task, TaskType, WebhookEvent, WebhookSubscription
from tests.mirrored import mode

TASK = Task(id=10, lead_id=1, content="Call")
Homes = Mapping[int, int]
"""Which lead each task belongs to."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(path) as opened:
        yield opened


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lofty-mirror")]


async def test_holds_what_was_written(path: Path) -> None:
    async with SqliteDatabase(path) as store:
        assert await store.write({1: [TASK]}) == Changes(added=(10,))
        assert await store.tasks() == [TASK]
        assert await store.tasks(lead_id=2) == []
        assert await store.settle(gone=[10]) == Changes(removed=(10,))
        assert await store.tasks() == []


async def test_closing_ends_the_thread_and_leaves_one_file(path: Path) -> None:
    async with SqliteDatabase(path) as store:
        await store.write({1: [TASK]})
        assert threads()
    await store.close()
    assert not threads()
    assert list(path.parent.iterdir()) == [path]


async def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await SqliteDatabase(tmp_path / "no" / "such" / "folder").__aenter__()
    for thread in threads():
        await asyncio.to_thread(thread.join, timeout=30)
    assert not threads()


async def test_a_write_whose_caller_is_cancelled_is_kept(path: Path) -> None:
    async with SqliteDatabase(path) as store:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that the write has to wait
            writing = asyncio.create_task(store.write({1: [TASK]}))
            await asyncio.sleep(0)
            writing.cancel()
            other.execute("ROLLBACK")
        assert await store.tasks() == [TASK]


async def test_a_file_of_an_earlier_version_is_refused_with_what_to_do(path: Path) -> None:
    make(path, OWN_TASKS, OWN_SYNC)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=r"earlier version.*delete the file and sync again"):
        await SqliteDatabase(path).__aenter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [(1, r"later version.*upgrade lofty-async"), (-1, r"earlier version.*delete the file and sync again")],
)
async def test_a_file_of_another_version_is_refused_with_what_to_do(path: Path, change: int, message: str) -> None:
    async with SqliteDatabase(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE mirror SET version = version + ?", (change,))
    with pytest.raises(sqlite3.DatabaseError, match=message):
        await SqliteDatabase(path).__aenter__()


async def test_plain_text_sorts_and_compares_times_whatever_their_offsets(path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ends = {-90: -8, -30: 0, 30: 9, 90: -7}  # minutes from now, and the offset in which they are told
    moments = [(now + timedelta(minutes=m)).astimezone(timezone(timedelta(hours=h))) for m, h in ends.items()]
    tasks = [Task(id=id, lead_id=1, end_at=moment) for id, moment in enumerate(moments)]
    async with SqliteDatabase(path) as store:
        await store.write({1: tasks})
        assert await store.tasks() == tasks
    with closing(sqlite3.connect(path)) as connection:
        ordered = connection.execute("SELECT id FROM tasks ORDER BY end_at").fetchall()
        past = connection.execute("SELECT id FROM tasks WHERE end_at < datetime('now') ORDER BY id").fetchall()
    assert (ordered, past) == ([(0,), (1,), (2,), (3,)], [(0,), (1,)])


@pytest.mark.usefixtures("open_umask")
async def test_its_owner_alone_reads_a_new_file_and_what_lies_beside_it(path: Path) -> None:
    async with SqliteDatabase(path) as store:
        await store.write({1: [TASK]})
        assert {file.name: mode(file) for file in path.parent.iterdir()} == {
            path.name: "0o600",
            f"{path.name}-wal": "0o600",
            f"{path.name}-shm": "0o600",
        }


@pytest.mark.usefixtures("open_umask")
async def test_a_link_to_a_file_that_is_not_there_makes_it_for_its_owner_alone(path: Path) -> None:
    path.symlink_to(path.with_name("real.sqlite"))
    async with SqliteDatabase(path) as store:
        await store.write({1: [TASK]})
        assert mode(path) == "0o600"


async def test_a_file_that_is_there_keeps_its_permissions(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    async with SqliteDatabase(path) as store:
        await store.write({1: [TASK]})
        assert {mode(file) for file in path.parent.iterdir()} == {"0o640"}


async def test_a_copy_in_memory_makes_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    async with SqliteDatabase(":memory:") as store:
        await store.write({1: [TASK]})
        assert await store.tasks() == [TASK]
    assert not list(path.parent.iterdir())


def tasks_of(lead_id: int, *ids: int, **fields: Any) -> list[Task]:
    return [Task(id=id, lead_id=lead_id, **fields) for id in ids]


def grouped(homes: Homes) -> dict[int, list[Task]]:
    return {lead: tasks_of(lead, *(task for task, home in homes.items() if home == lead)) for lead in range(4)}


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def proven(path: Path) -> set[int]:
    """The leads that were read."""
    return {lead_id for (lead_id,) in query(path, "SELECT lead_id FROM leads WHERE proven_at IS NOT NULL")}


async def test_a_leads_tasks_are_replaced_as_a_whole(store: SqliteDatabase) -> None:
    await store.write({1: tasks_of(1, 10, 11, 12), 2: tasks_of(2, 20)})
    changes = await store.write({1: [*tasks_of(1, 10), *tasks_of(1, 12, content="new"), *tasks_of(1, 13)]})
    assert changes == Changes(added=(13,), changed=(12,), removed=(11,))
    assert [task.id for task in await store.tasks()] == [10, 12, 13, 20]
    assert (await store.tasks(1))[1] == Task(id=12, lead_id=1, content="new")


async def test_what_is_the_same_is_not_written_again(store: SqliteDatabase) -> None:
    leads = {1: tasks_of(1, 10, 11)}
    await store.write(leads)
    assert await store.write(leads) == Changes()


async def test_a_task_listed_twice_is_one_row(store: SqliteDatabase) -> None:
    await store.write({1: tasks_of(1, 10, 10)})
    assert len(await store.tasks()) == 1


@given(
    old=st.dictionaries(st.integers(1, 8), st.integers(0, 3)),
    new=st.dictionaries(st.integers(1, 8), st.integers(0, 3)),
    order=st.permutations(range(4)),
)
async def test_tasks_that_move_between_leads_are_neither_lost_nor_doubled(
    old: Homes, new: Homes, order: list[int]
) -> None:
    async with SqliteDatabase(":memory:") as store:
        await store.write(grouped(old))
        leads = grouped(new)
        for lead_id in order:
            await store.write({lead_id: leads[lead_id]})
        assert {task.id: task.lead_id for task in await store.tasks()} == new


async def test_merging_a_lead_removes_nothing_and_says_what_it_lacks(store: SqliteDatabase, path: Path) -> None:
    await store.write({1: tasks_of(1, 10, 11)})
    merged = await store.merge(
        {1: [*tasks_of(1, 10, content="new"), *tasks_of(1, 13)], 2: tasks_of(2, 20)}, done=[1, 2]
    )
    assert merged == Merged(Changes(added=(13, 20), changed=(10,)), (Doubt(11, 1, is_listed=False),))
    assert [task.id for task in await store.tasks()] == [10, 11, 13, 20]
    assert proven(path) == {1, 2}


async def test_a_task_of_another_lead_stays_there_until_it_is_settled(store: SqliteDatabase, path: Path) -> None:
    await store.write({1: tasks_of(1, 10, 11)})
    merged = await store.merge({2: tasks_of(2, 10)}, done=[2])
    assert merged == Merged(Changes(), (Doubt(10, 2, is_listed=True),))
    assert await store.tasks() == tasks_of(1, 10, 11)
    assert proven(path) == {1}
    assert await store.settle(moved=tasks_of(2, 10), gone=[11, 12], done=[2]) == Changes((), (10,), (11,))
    assert await store.tasks() == tasks_of(2, 10)
    assert proven(path) == {1, 2}


async def test_a_row_without_a_lead_belongs_to_the_one_that_lists_it(store: SqliteDatabase) -> None:
    await store.write({1: [Task(id=10)]})
    assert await store.merge({2: tasks_of(2, 10)}, done=[2]) == Merged(Changes(changed=(10,)))


async def test_the_leads_are_those_of_the_rows(store: SqliteDatabase) -> None:
    await store.write({1: tasks_of(1, 10, 11), 2: [], 3: [Task(id=30)]})
    assert await store.leads() == {1}


async def test_integers_beyond_64_bits_are_kept_exactly(store: SqliteDatabase) -> None:
    tasks = tasks_of(1, 10, query_id=2**64 - 1)
    await store.write({1: tasks})
    assert await store.write({1: tasks}) == Changes()
    assert await store.tasks() == tasks


async def test_ids_beyond_what_a_double_holds_are_exact(store: SqliteDatabase) -> None:
    lead_id, task_id = 2**53 + 1, 2**63 - 1
    await store.write({lead_id: tasks_of(lead_id, task_id)})
    await store.write({lead_id: tasks_of(lead_id, task_id)})
    assert await store.merge({lead_id: tasks_of(lead_id, task_id)}) == Merged(Changes())
    assert await store.settle(gone=[task_id - 1]) == Changes()
    assert await store.tasks() == tasks_of(lead_id, task_id)


async def test_a_batch_that_fails_leaves_everything_as_it_was(store: SqliteDatabase) -> None:
    await store.write({1: tasks_of(1, 10)})
    too_big = tasks_of(2, 2**63)
    with pytest.raises(sqlite3.IntegrityError):
        await store.write({1: [], 2: too_big})
    assert await store.tasks() == tasks_of(1, 10)
    assert len(await store.changes()) == 1


async def test_the_table_has_the_id_as_integer_primary_key(store: SqliteDatabase, path: Path) -> None:
    await store.write({1: tasks_of(1, 10)})
    columns = {name: (kind, key) for _, name, kind, _, _, key in query(path, "PRAGMA table_info(tasks)")}
    assert columns["id"] == ("INTEGER", 1)
    own = {"proven_at": ("TEXT", 0), "shown_in": ("INTEGER", 0)}
    assert columns == {column.name: (column.sql_type, int(column.name == "id")) for column in TASKS.all} | own


async def test_a_file_of_an_older_model_gets_the_columns_that_it_lacks(path: Path) -> None:
    async with SqliteDatabase(path) as store:
        await store.write({1: tasks_of(1, 10)})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE tasks RENAME COLUMN content TO own_note")
        connection.execute("UPDATE tasks SET own_note = 'mine'")
    async with SqliteDatabase(path) as store:
        assert await store.tasks() == tasks_of(1, 10)
        await store.write({1: tasks_of(1, 10, content="Call")})
    assert query(path, "SELECT content, own_note FROM tasks") == [("Call", "mine")]


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await SqliteDatabase(path).__aenter__()


async def test_a_full_file_says_so_and_takes_more_once_there_is_room(store: SqliteDatabase) -> None:
    await store._call(lambda: store._connection.execute("PRAGMA max_page_count = 16"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await store.write({1: tasks_of(1, *range(1, 100), content="x" * 3000)})
    await store._call(lambda: store._connection.execute("PRAGMA max_page_count = 10000"))
    assert await store.write({1: tasks_of(1, 10)}) == Changes(added=(10,))


async def test_others_can_read_while_a_batch_is_written(store: SqliteDatabase, path: Path) -> None:
    await store.write({1: tasks_of(1, 10)})
    seen: list[object] = []

    class Leads(dict[int, list[Task]]):
        def items(self) -> Any:  # the store takes the leads within its transaction
            yield 1, []
            seen.extend(query(path, "SELECT id FROM tasks"))

    assert await store.write(Leads({1: []})) == Changes(removed=(10,))
    assert (seen, query(path, "SELECT id FROM tasks")) == ([(10,)], [])


TASKS = columns_of(Task)
EAST = timezone(timedelta(hours=9, minutes=30))
WEST = timezone(timedelta(hours=-8))
IDS = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS)  # noqa: DTZ001 - bounds have none
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
BY_TYPE = {int: IDS, bool: st.booleans(), datetime: TIMES, str: TEXTS}
TASK_RECORDS = st.builds(
    Task,
    id=IDS,
    lead_id=st.none() | IDS,
    type=st.none() | TEXTS.map(TaskType),
    assigned_role=st.none() | st.sampled_from(AssignedRole),
    content=st.none() | TEXTS,
    end_at=st.none() | TIMES,
    finished=st.none() | st.booleans(),
    query_id=st.none() | st.integers(),
    reminder_type=st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from(["POPUP", "007", "-", "1.5", "9" * 30]),
)


def test_every_field_has_a_column_in_the_order_of_the_class() -> None:
    assert TASKS.names == tuple(field.name for field in fields(Task))


@pytest.mark.parametrize(
    ("name", "sql_type"),
    [
        ("id", "INTEGER"),
        ("finished", "INTEGER"),
        ("content", "TEXT"),
        ("type", "TEXT"),
        ("reminder_type", "TEXT"),
        ("end_at", "TEXT"),
    ],
)
def test_a_column_has_the_type_of_its_field(name: str, sql_type: str) -> None:
    assert {column.name: column.sql_type for column in TASKS.all}[name] == sql_type


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("id", 2**53 + 1, 2**53 + 1),
        ("query_id", -(2**63), -(2**63)),
        ("query_id", 2**63, b"9223372036854775808"),
        ("query_id", -(2**63) - 1, b"-9223372036854775809"),
        ("finished", True, 1),
        ("finished", None, None),
        ("type", TaskType.CALL, "Call"),
        ("reminder_type", 3, "3"),
        ("reminder_type", "POPUP", "POPUP"),
        ("type", TaskType("Handwritten Note"), "Handwritten Note"),
        ("end_at", datetime(2026, 3, 1, 15, tzinfo=UTC), "2026-03-01 15:00:00"),
        ("end_at", datetime(2026, 3, 1, 15, tzinfo=EAST), "2026-03-01 05:30:00"),
        ("end_at", datetime(2026, 3, 1, 15, 0, 0, 250_000, tzinfo=UTC), "2026-03-01 15:00:00.250"),
        ("end_at", datetime(2026, 3, 1, 15, 0, 0, 250_001, tzinfo=UTC), "2026-03-01 15:00:00.250001"),
        ("end_at", datetime(9999, 12, 31, 23, tzinfo=WEST), "9999-12-31 23:59:59.999999"),
        ("end_at", datetime(1, 1, 1, 1, tzinfo=EAST), "0001-01-01 00:00:00"),
        ("content", "李先生 🏡", "李先生 🏡"),
        ("content", "cut in the middle of an emoji: \ud83c", "cut in the middle of an emoji: ?"),
    ],
)
def test_values_are_stored_in_plain_forms(field: str, value: object, stored: object) -> None:
    row = TASKS.row(evolve(Task(id=1), **cast("Any", {field: value})))
    assert dict(zip(TASKS.names, row, strict=True))[field] == stored


@given(TASK_RECORDS)
def test_a_record_survives_its_row(task: Task) -> None:
    assert TASKS.record(TASKS.row(task)) == task


def stored(moment: datetime) -> str:
    return str(dict(zip(TASKS.names, TASKS.row(Task(id=1, end_at=moment)), strict=True))["end_at"])


@given(TIMES, TIMES)
def test_the_text_of_times_compares_as_the_moments_do(one: datetime, other: datetime) -> None:
    assert (stored(one) < stored(other), stored(one) == stored(other)) == (one < other, one == other)


@given(TIMES.map(lambda moment: moment.replace(microsecond=0)))
def test_whole_seconds_are_as_sqlite_writes_them(moment: datetime) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT datetime(?)", (stored(moment),)).fetchone() == (stored(moment),)


@pytest.mark.parametrize("code", [5, 0, -1, "POPUP", "05", "", "\u0663", "9" * 5000])
def test_a_code_may_be_a_number_or_a_text(code: int | str) -> None:
    @frozen
    class Reminder:
        id: int
        kind: int | str | None

    reminders = columns_of(Reminder)
    assert reminders.all[1].sql_type == "TEXT"
    assert reminders.record(reminders.row(Reminder(1, code))) == Reminder(1, code)


def test_integer_enums_are_integers() -> None:
    webhooks = columns_of(WebhookSubscription)
    record = WebhookSubscription(id=1, event=WebhookEvent.TASK, permission_mode=PermissionMode(7))
    assert webhooks.record(webhooks.row(record)) == record


def test_a_field_without_a_column_type_is_refused_by_name() -> None:
    class Colour(Enum):
        RED = (255, 0, 0)

    @frozen
    class Paint:
        colour: Colour

    with pytest.raises(TypeError, match="colour"):
        columns_of(Paint)


OWN_SYNC = "CREATE TABLE sync (lead_id INTEGER PRIMARY KEY, synced_at TEXT)"
OWN_TASKS = "CREATE TABLE tasks (id INTEGER PRIMARY KEY, lead_id INTEGER)"


def make(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("made", [(), ("CREATE TABLE notes (id INTEGER)",), (OWN_SYNC,)])
async def test_a_mirrors_tables_and_free_names_are_taken(path: Path, made: tuple[str, ...]) -> None:
    make(path, *made)
    async with SqliteDatabase(path) as store:
        await store.write({1: [TASK]})
        assert await store.tasks() == [TASK]


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title, lead_id)",), "tasks"),
        (("CREATE TABLE Tasks (ID INTEGER PRIMARY KEY, title, Lead_Id)",), "tasks"),
        (("CREATE VIEW tasks AS SELECT 1 AS id, 2 AS lead_id",), "tasks"),
        (("CREATE TABLE tasks (title)", OWN_SYNC), "tasks"),
        (("CREATE TABLE leads (lead_id INTEGER)",), "leads"),
        (("CREATE TABLE sources (name TEXT)",), "sources"),
        (("CREATE TABLE mirror (glass TEXT)",), "mirror"),
    ],
)
async def test_tables_of_other_programs_are_refused_by_name_and_stay_the_same(
    path: Path, made: tuple[str, ...], named: str
) -> None:
    make(path, *made)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=f"table '{named}' was not made by a sync"):
        await SqliteDatabase(path).__aenter__()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
