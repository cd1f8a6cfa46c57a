"""The tables of a mirror, alike in every database; where many accounts share one, an account begins every key."""

from typing import Final

from .dialects import Dialect
from .statements import Work, query

VERSION: Final = 2

CREATE: Final = """
CREATE TABLE IF NOT EXISTS sources (
    account TEXT PRIMARY KEY, server TEXT, member_id {id}, team_id {id}, pruned_seq {id} NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS tasks (
    {account_column}{task_columns}, proven_at {time}, shown_in INTEGER NOT NULL DEFAULT 0, PRIMARY KEY ({account}id)
);
CREATE TABLE IF NOT EXISTS leads (
    {account_column}lead_id {id} NOT NULL, assigned_user_id {number}, listed_run INTEGER, due_run INTEGER, due_for TEXT,
    proven_run INTEGER, proven_at {time}, PRIMARY KEY ({account}lead_id)
);
CREATE TABLE IF NOT EXISTS changes (
    {account_column}seq {id} NOT NULL, at {time} NOT NULL, kind TEXT NOT NULL, task_id {id} NOT NULL,
    task {json}, before {json}, PRIMARY KEY ({account}seq)
);
CREATE TABLE IF NOT EXISTS runs (
    {account_column}number INTEGER NOT NULL, cycle INTEGER NOT NULL, scope TEXT NOT NULL, strategy TEXT,
    phase TEXT NOT NULL, started_at {time} NOT NULL, seen_at {time} NOT NULL, ended_at {time},
    was_swept {boolean} NOT NULL DEFAULT false, host TEXT, process INTEGER, machine TEXT, token TEXT, report {json},
    PRIMARY KEY ({account}number)
);
CREATE TABLE IF NOT EXISTS sweeps (
    {account_column}list TEXT NOT NULL, cursor TEXT, records INTEGER NOT NULL, is_done {boolean} NOT NULL,
    is_complete {boolean} NOT NULL, note {id}, PRIMARY KEY ({account}list)
);
CREATE TABLE IF NOT EXISTS sightings (
    {account_column}task_id {id} NOT NULL, lists INTEGER NOT NULL, differs INTEGER NOT NULL, lead_id {id},
    PRIMARY KEY ({account}task_id)
)
"""
INDICES: Final = (
    "CREATE INDEX IF NOT EXISTS tasks_lead_id ON tasks ({account}lead_id)",
    "CREATE INDEX IF NOT EXISTS leads_proven_run ON leads ({account}proven_run)",
)


def prepare(dialect: Dialect) -> Work[int]:
    """Makes the tables and columns that are missing, unless the tables have the form of another version.

    Returns the version of the form.
    """
    yield query("CREATE TABLE IF NOT EXISTS mirror (version INTEGER NOT NULL)")
    ((version,),) = yield query("SELECT max(version) FROM mirror")
    if version not in {None, VERSION}:
        return int(version)
    task_columns = {column.name: f"{column.name} {column.sql_type}" for column in dialect.tasks.all}
    for text in CREATE.split(";"):
        yield query(text.replace("{task_columns}", ", ".join(task_columns.values())))
    present = {name for (name,) in (yield query("{columns_of_tasks}"))}
    for name in task_columns.keys() - present:
        yield query(f"ALTER TABLE tasks ADD COLUMN {task_columns[name]}")
    if version is None:  # later, PostgreSQL would wait for all writers before it finds the indices there
        for text in INDICES:
            yield query(text)
        yield query("INSERT INTO mirror VALUES (:version)", version=VERSION)
    yield query("INSERT INTO sources (account) VALUES (:account) ON CONFLICT DO NOTHING")
    return VERSION


def refusal(version: int, place: str, remedy: str) -> str:
    """Why tables of another version cannot be used, and what to do."""
    if version > VERSION:
        return f"{place} was written by a later version (form {version}, this one knows {VERSION}): upgrade lofty-async"
    return f"{place} was written by an earlier version, whose tables have another form: {remedy}"
