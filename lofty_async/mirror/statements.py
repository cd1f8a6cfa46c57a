"""Work on a database, independent of its driver: generators that yield statements and receive their rows.

A transaction is such a generator, composed of others by `yield from`. A driver runs each statement and sends its rows
back: SQLite's in a thread, that of PostgreSQL asynchronously. The SQL is the same for both: values are named
(`:name`), and what has to differ is a fragment of the dialect, named in braces.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, TypeAlias, TypeVar

from attrs import field, frozen

Row = tuple[Any, ...]
T = TypeVar("T")


@frozen
class Statement:
    """A statement, run once with `values`, or once for each of `rows`.

    `:account` is always bound. A list is a value that `{in_ids}` and its like read.
    """

    sql: str
    values: Mapping[str, Any] = field(factory=dict[str, Any])
    rows: Sequence[Mapping[str, Any]] | None = None


Work: TypeAlias = Generator[Statement, list[Row], T]

NOW: Final = Statement("now")
"""Asks for the time; the driver answers with one row, from the clock that all processes of the database share."""


def query(sql: str, **values: Any) -> Statement:
    return Statement(sql, values)


def each(sql: str, rows: Iterable[Mapping[str, Any]]) -> Statement:
    """The statement for each of the rows, in one round trip."""
    return Statement(sql, rows=tuple(rows))


def upsert(table: str, key: str, *columns: str, **merged: str) -> str:
    """The text that inserts a row, or replaces these columns of the row with this key.

    `merged` are expressions for columns that are not just replaced.
    """
    values = ", ".join(f":{name}" for name in (key, *columns))
    changes = ", ".join(f"{name} = {merged.get(name, f'excluded.{name}')}" for name in columns)
    return (
        f"INSERT INTO {table} ({{account}}{', '.join((key, *columns))}) VALUES ({{account_value}}{values})"  # noqa: S608 - names are constants
        f" ON CONFLICT ({{account}}{key}) DO UPDATE SET {changes}"
    )


def drive(work: Work[T], execute: Callable[[Statement], list[Row]]) -> T:
    """Runs the work's statements and returns its result."""
    with closing(work):
        try:
            statement = next(work)
            while True:
                statement = work.send(execute(statement))
        except StopIteration as end:
            result: T = end.value
            return result


async def drive_async(work: Work[T], execute: Callable[[Statement], Awaitable[list[Row]]]) -> T:
    """Runs the work's statements and returns its result."""
    with closing(work):
        try:
            statement = next(work)
            while True:
                statement = work.send(await execute(statement))
        except StopIteration as end:
            result: T = end.value
            return result
