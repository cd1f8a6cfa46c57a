import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.mirror import Changes, Doubt, Merged
from lofty_async.mirror.database import TASKS, Database
from lofty_async.models import Task

Homes = Mapping[int, int]
"""Which lead each task belongs to."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path)) as opened:
        yield opened


def tasks_of(lead_id: int, *ids: int, **fields: Any) -> list[Task]:
    return [Task(id=id, lead_id=lead_id, **fields) for id in ids]


def grouped(homes: Homes) -> dict[int, list[Task]]:
    return {lead: tasks_of(lead, *(task for task, home in homes.items() if home == lead)) for lead in range(4)}


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_leads_tasks_are_replaced_as_a_whole(database: Database) -> None:
    database.replace({1: tasks_of(1, 10, 11, 12), 2: tasks_of(2, 20)})
    changes = database.replace({1: [*tasks_of(1, 10), *tasks_of(1, 12, content="new"), *tasks_of(1, 13)]})
    assert changes == Changes(added=(13,), changed=(12,), removed=(11,))
    assert [task.id for task in database.tasks()] == [10, 12, 13, 20]
    assert database.tasks(1)[1] == Task(id=12, lead_id=1, content="new")


def test_what_is_the_same_is_not_written_again(database: Database) -> None:
    leads = {1: tasks_of(1, 10, 11)}
    database.replace(leads)
    assert database.replace(leads) == Changes()


def test_a_task_listed_twice_is_one_row(database: Database) -> None:
    database.replace({1: tasks_of(1, 10, 10)})
    assert len(database.tasks()) == 1


@given(
    old=st.dictionaries(st.integers(1, 8), st.integers(0, 3)),
    new=st.dictionaries(st.integers(1, 8), st.integers(0, 3)),
    order=st.permutations(range(4)),
)
def test_tasks_that_move_between_leads_are_neither_lost_nor_doubled(old: Homes, new: Homes, order: list[int]) -> None:
    with closing(Database(Path(":memory:"))) as database:
        database.replace(grouped(old))
        leads = grouped(new)
        for lead_id in order:
            database.replace({lead_id: leads[lead_id]})
        assert {task.id: task.lead_id for task in database.tasks()} == new


def test_merging_a_lead_removes_nothing_and_says_what_it_lacks(database: Database) -> None:
    database.replace({1: tasks_of(1, 10, 11), 2: tasks_of(2, 20)})
    database.start(resume_within=None)
    merged = database.merge({1: [*tasks_of(1, 10, content="new"), *tasks_of(1, 13)], 2: tasks_of(2, 20)}, [1, 2])
    assert merged == Merged(Changes(added=(13,), changed=(10,)), (Doubt(11, 1, is_listed=False),))
    assert [task.id for task in database.tasks()] == [10, 11, 13, 20]
    assert database.start(resume_within=60) == {2}


def test_a_task_of_another_lead_stays_there_until_it_is_settled(database: Database) -> None:
    database.replace({1: tasks_of(1, 10, 11)})
    merged = database.merge({2: tasks_of(2, 10)}, [2])
    assert merged == Merged(Changes(), (Doubt(10, 2, is_listed=True),))
    assert database.tasks() == tasks_of(1, 10, 11)
    assert database.settle(tasks_of(2, 10), [11, 12], [2]) == Changes(changed=(10,), removed=(11,))
    assert database.tasks() == tasks_of(2, 10)
    assert database.start(resume_within=60) == {1, 2}


def test_a_row_without_a_lead_belongs_to_the_one_that_lists_it(database: Database) -> None:
    database.replace({1: [Task(id=10)]})
    assert database.merge({2: tasks_of(2, 10)}, [2]) == Merged(Changes(changed=(10,)))


def test_the_leads_are_those_of_the_rows(database: Database) -> None:
    database.replace({1: tasks_of(1, 10, 11), 2: [], 3: [Task(id=30)]})
    assert database.leads() == {1}


def test_integers_beyond_64_bits_are_kept_exactly(database: Database) -> None:
    tasks = tasks_of(1, 10, query_id=2**64 - 1)
    database.replace({1: tasks})
    assert database.replace({1: tasks}) == Changes()
    assert database.tasks() == tasks


def test_ids_beyond_what_a_double_holds_are_exact(database: Database) -> None:
    lead_id, task_id = 2**53 + 1, 2**63 - 1
    database.replace({lead_id: tasks_of(lead_id, task_id)})
    database.replace({lead_id: tasks_of(lead_id, task_id)})
    assert database.merge({lead_id: tasks_of(lead_id, task_id)}, ()) == Merged(Changes())
    assert database.settle([], [task_id - 1], ()) == Changes()
    assert database.tasks() == tasks_of(lead_id, task_id)


def test_a_batch_that_fails_leaves_everything_as_it_was(database: Database) -> None:
    database.replace({1: tasks_of(1, 10)})
    too_big = tasks_of(2, 2**63)
    with pytest.raises(sqlite3.IntegrityError):
        database.replace({1: [], 2: too_big})
    assert database.tasks() == tasks_of(1, 10)
    assert database.start(resume_within=60) == {1}


def test_a_resumed_run_knows_what_is_done_and_a_new_one_does_not(database: Database) -> None:
    database.replace({1: [], 2: []})
    assert database.start(resume_within=60) == {1, 2}
    assert database.start(resume_within=None) == frozenset()
    assert database.start(resume_within=60) == frozenset()


def test_a_finished_run_has_nothing_to_resume(database: Database) -> None:
    database.replace({1: []})
    database.finish()
    assert database.start(resume_within=60) == frozenset()


def test_what_was_done_is_known_after_reopening(database: Database, path: Path) -> None:
    database.replace({1: tasks_of(1, 10)})
    with closing(Database(path)) as reopened:
        assert reopened.start(resume_within=60) == {1}
        assert reopened.tasks() == tasks_of(1, 10)


@pytest.mark.parametrize(
    ("done_at", "within", "left"),
    [
        ("-59 minutes", 3600, {1, 2}),
        ("-61 minutes", 3600, {2}),
        ("-11 months", 3600, {2}),
        ("-11 months", float("inf"), {1, 2}),
        ("+1 hour", 3600, {2}),
        ("+0 seconds", 0.9, {1, 2}),
    ],
)
def test_a_lead_counts_as_done_for_some_time(
    database: Database, done_at: str, within: float, left: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    database.replace({1: [], 2: []})
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("UPDATE sync SET synced_at = datetime('now', ?) WHERE lead_id = 1", (done_at,))
        connection.execute("UPDATE sync SET synced_at = datetime('now') WHERE lead_id = 2")
    assert database.start(resume_within=within) == left
    assert ("starting anew: 1 " in caplog.text) == (left == {2})


def test_the_table_has_the_id_as_integer_primary_key(database: Database, path: Path) -> None:
    database.replace({1: tasks_of(1, 10)})
    columns = {name: (kind, key) for _, name, kind, _, _, key in query(path, "PRAGMA table_info(tasks)")}
    assert columns["id"] == ("INTEGER", 1)
    assert columns == {column.name: (column.sql_type, int(column.name == "id")) for column in TASKS.all}


def test_a_file_of_an_older_model_gets_the_columns_that_it_lacks(path: Path) -> None:
    query(path, "CREATE TABLE tasks (id INTEGER PRIMARY KEY, lead_id INTEGER, own_note TEXT)")
    query(path, "CREATE TABLE sync (lead_id INTEGER PRIMARY KEY, synced_at TEXT)")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO tasks VALUES (10, 1, 'mine')")
    with closing(Database(path)) as database:
        assert database.tasks() == tasks_of(1, 10)
        database.replace({1: tasks_of(1, 10, content="Call")})
    assert query(path, "SELECT content, own_note FROM tasks") == [("Call", "mine")]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Database(path)


def test_a_full_file_says_so_and_takes_more_once_there_is_room(database: Database) -> None:
    database._connection.execute("PRAGMA max_page_count = 16")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        database.replace({1: tasks_of(1, *range(1, 100), content="x" * 3000)})
    database._connection.execute("PRAGMA max_page_count = 10000")
    assert database.replace({1: tasks_of(1, 10)}) == Changes(added=(10,))


def test_others_can_read_while_a_batch_is_written(database: Database, path: Path) -> None:
    database.replace({1: tasks_of(1, 10)})
    with database._transaction():
        database._replace(1, [])
        assert query(path, "SELECT id FROM tasks") == [(10,)]
    assert query(path, "SELECT id FROM tasks") == []
