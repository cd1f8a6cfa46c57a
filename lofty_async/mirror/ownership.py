"""Whether a database's tables are a mirror's: one that is not must never be written to."""

import sqlite3
from collections.abc import Iterable
from typing import Final

MARKS: Final = {"tasks": {"id", "lead_id"}, "sync": {"lead_id", "synced_at"}}
"""The tables that every mirror has, both or neither, and columns that each has had from the beginning."""

TIME: Final = "????-??-?? ??:??:??*"
"""Times as this version writes them."""


def refuse_foreign_tables(connection: sqlite3.Connection) -> None:
    """Makes sure that the names of the mirror's tables are free, or taken by those.

    Raises: sqlite3.DatabaseError naming a table that is somebody else's.
    """
    columns = _columns(connection)
    present = [table for table in MARKS if columns[table]]
    foreign = [table for table in present if not MARKS[table] <= columns[table]]
    if len(present) < len(MARKS):
        foreign = present
    if foreign:
        raise sqlite3.DatabaseError(f"the database's table {foreign[0]!r} was not made by a sync: name another file")


def refuse_old_times(connection: sqlite3.Connection, path: str, columns: Iterable[str]) -> None:
    """Makes sure that the columns, as far as there are any, hold times in the form that this version writes.

    Raises: sqlite3.DatabaseError with a value of another form.
    """
    present = sorted(_columns(connection)["tasks"].intersection(columns))
    if not present:
        return
    others = " OR ".join(f"{column} NOT GLOB :time" for column in present)
    query = f"SELECT {', '.join(present)} FROM tasks WHERE {others} LIMIT 1"  # noqa: S608 - a model's fields
    for row in connection.execute(query, {"time": TIME}):
        raise sqlite3.DatabaseError(
            f"{path} holds times in the form of an earlier version, {', '.join(str(value) for value in row if value)};"
            " they are UTC now, such as 2026-03-01 23:00:00: delete the file and sync again, or name another file"
        )


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each of the tables, in one statement: another process may be making them."""
    columns: dict[str, set[str]] = {table: set() for table in MARKS}
    places = ", ".join("?" * len(MARKS))
    query = f"SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns WHERE lower(tables.name) IN ({places})"  # noqa: E501, S608 - placeholders alone
    for table, column in connection.execute(query, tuple(MARKS)):
        columns[table.lower()].add(column.lower())
    return columns
