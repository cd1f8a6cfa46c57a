"""Whether a database's tables are a mirror's: one that is not must never be written to."""

import sqlite3
from typing import Final

MARKS: Final = {"tasks": {"id", "lead_id"}, "sync": {"lead_id", "synced_at"}}
"""The tables that every mirror has, both or neither, and columns that each has had from the beginning."""


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


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each of the tables, in one statement: another process may be making them."""
    columns: dict[str, set[str]] = {table: set() for table in MARKS}
    places = ", ".join("?" * len(MARKS))
    query = f"SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns WHERE lower(tables.name) IN ({places})"  # noqa: E501, S608 - placeholders alone
    for table, column in connection.execute(query, tuple(MARKS)):
        columns[table.lower()].add(column.lower())
    return columns
