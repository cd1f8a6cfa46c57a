import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lofty_async.mirror.database import Database
from lofty_async.mirror.ownership import refuse_foreign_tables

OWN_SYNC = "CREATE TABLE sync (lead_id INTEGER PRIMARY KEY, synced_at TEXT)"
OWN_TASKS = "CREATE TABLE tasks (id INTEGER PRIMARY KEY, lead_id INTEGER)"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as opened:
        yield opened


@pytest.mark.parametrize("made", [(), (OWN_TASKS, OWN_SYNC), ("CREATE TABLE notes (id INTEGER)",)])
def test_a_mirrors_tables_and_free_names_are_taken(connection: sqlite3.Connection, made: tuple[str, ...]) -> None:
    for statement in made:
        connection.execute(statement)
    refuse_foreign_tables(connection)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title, lead_id)",), "tasks"),
        (("CREATE TABLE Tasks (ID INTEGER PRIMARY KEY, title, Lead_Id)",), "tasks"),
        (("CREATE VIEW tasks AS SELECT 1 AS id, 2 AS lead_id",), "tasks"),
        (("CREATE TABLE tasks (title)", OWN_SYNC), "tasks"),
        ((OWN_TASKS, "CREATE TABLE sync (cursor)"), "sync"),
        ((OWN_SYNC,), "sync"),
    ],
)
def test_anybody_elses_are_refused_by_name(connection: sqlite3.Connection, made: tuple[str, ...], named: str) -> None:
    for statement in made:
        connection.execute(statement)
    with pytest.raises(sqlite3.DatabaseError, match=f"table '{named}'"):
        refuse_foreign_tables(connection)


def test_a_database_that_is_refused_is_the_same_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "own.sqlite"
    with closing(sqlite3.connect(path)) as own, own:
        own.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title, lead_id)")
        own.execute("INSERT INTO tasks VALUES (1, 'mine', 7)")
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="not made by a sync"):
        Database(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
