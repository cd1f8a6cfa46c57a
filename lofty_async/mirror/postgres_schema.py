"""The tables of mirrors in PostgreSQL, an account column in every key, and how a task's fields are kept there."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from lofty_async._enums import as_code
from lofty_async.models import Task

from .columns import Column, columns_of, kinds_of, storable, utc_moment

VERSION: Final = 1


def _text(value: object) -> str:
    """PostgreSQL's text holds no NUL."""
    return storable(str(value)).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def postgres_column(name: str, annotation: Any) -> Column:
    """The column of one field: times as `timestamptz`, ids as `bigint`, other integers of any size as `numeric`.

    Raises: TypeError if the field's type has no column type.
    """
    kinds = kinds_of(annotation)
    if kinds == {int, str}:
        return Column(name, "text", _text, as_code)
    (kind,) = kinds
    if kind is datetime:
        return Column(name, "timestamptz", utc_moment, _utc)
    if kind is bool:
        return Column(name, "boolean", bool, bool)
    if issubclass(kind, int):
        return Column(name, "bigint" if name in {"id", "lead_id"} else "numeric", int, lambda value: kind(int(value)))
    if issubclass(kind, Enum) or kind is str:
        return Column(name, "text", _text, kind)
    raise TypeError(f"no column type for field {name!r}: {annotation!r}")


TASKS: Final = columns_of(Task, postgres_column)

CREATE: Final = f"""
CREATE TABLE IF NOT EXISTS mirror (version integer NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (account text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS tasks (
    account text NOT NULL, {", ".join(f"{column.name} {column.sql_type}" for column in TASKS.all)},
    proven_at timestamptz, shown_in integer NOT NULL DEFAULT 0, PRIMARY KEY (account, id)
);
CREATE INDEX IF NOT EXISTS tasks_lead_id ON tasks (account, lead_id);
CREATE TABLE IF NOT EXISTS leads (
    account text NOT NULL, lead_id bigint NOT NULL, assigned_user_id numeric, listed_run integer,
    due_run integer, due_for text, proven_run integer, proven_at timestamptz, PRIMARY KEY (account, lead_id)
);
CREATE TABLE IF NOT EXISTS changes (
    account text NOT NULL, seq bigint NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, task_id bigint NOT NULL,
    task jsonb, before jsonb, PRIMARY KEY (account, seq)
);
CREATE TABLE IF NOT EXISTS runs (
    account text NOT NULL, number integer NOT NULL, cycle integer NOT NULL, scope text NOT NULL, strategy text,
    phase text NOT NULL, started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL, ended_at timestamptz,
    was_swept boolean NOT NULL DEFAULT false, host text, process integer, machine text, token text, report jsonb,
    PRIMARY KEY (account, number)
);
CREATE TABLE IF NOT EXISTS sweeps (
    account text NOT NULL, list text NOT NULL, cursor text, records integer NOT NULL, is_done boolean NOT NULL,
    is_complete boolean NOT NULL, note bigint, PRIMARY KEY (account, list)
);
CREATE TABLE IF NOT EXISTS sightings (
    account text NOT NULL, task_id bigint NOT NULL, lists integer NOT NULL, differs integer NOT NULL, lead_id bigint,
    PRIMARY KEY (account, task_id)
);
"""
ADD_COLUMNS: Final = ", ".join(f"ADD COLUMN IF NOT EXISTS {column.name} {column.sql_type}" for column in TASKS.all)
