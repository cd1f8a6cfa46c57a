"""All that differs between the SQL of the databases: fragments of texts, and the form of values."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from lofty_async.models import Task

from .columns import Columns, columns_of, from_utc_text, in_utc, postgres_column, utc_text


@frozen
class Dialect:
    """The SQL of a kind of database.

    Its fragments: `own` limits a table to the account's rows; `account`, `account_value` and `account_column` begin
    keys, values and tables; `in_ids` and `in_leads` compare with the values of these names, and `leads` is one as a
    table with a column `value`; `id`, `number` (an integer of any size), `time`, `boolean` and `json` are types;
    `columns_of_tasks` queries the names of the columns of `tasks`.
    """

    fragments: Mapping[str, str]
    tasks: Columns[Task]
    to_time: Callable[[datetime], Any]
    from_time: Callable[[Any], datetime]

    def render(self, sql: str) -> str:
        """The text with the fragments in place of their names."""
        return sql.format_map(self.fragments)


SQLITE: Final = Dialect(
    {
        # One file is one account, so that the id alone is the key of `tasks`.
        "own": "true",
        "account": "",
        "account_value": "",
        "account_column": "",
        "in_ids": "IN (SELECT value FROM json_each(:ids))",
        "in_leads": "IN (SELECT value FROM json_each(:leads))",
        "leads": "json_each(:leads)",
        "id": "INTEGER",
        "number": "INTEGER",
        "time": "TEXT",
        "boolean": "INTEGER",
        "json": "TEXT",
        "columns_of_tasks": "SELECT name FROM pragma_table_info('tasks')",
    },
    columns_of(Task),
    utc_text,
    from_utc_text,
)

POSTGRES: Final = Dialect(
    {
        "own": "account = :account",
        "account": "account, ",
        "account_value": ":account, ",
        "account_column": "account text NOT NULL, ",
        "in_ids": "= ANY(CAST(:ids AS bigint[]))",
        "in_leads": "= ANY(CAST(:leads AS bigint[]))",
        "leads": "unnest(CAST(:leads AS bigint[])) AS given (value)",
        "id": "bigint",
        "number": "numeric",
        "time": "timestamptz",
        "boolean": "boolean",
        "json": "jsonb",
        "columns_of_tasks": (
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = 'tasks'"
        ),
    },
    columns_of(Task, postgres_column),
    in_utc,
    in_utc,
)
