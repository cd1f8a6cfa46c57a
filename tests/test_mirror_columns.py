import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, cast

import pytest
from attrs import evolve, fields, frozen
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.mirror.columns import columns_of
from lofty_async.models import AssignedRole, PermissionMode, Task, TaskType, WebhookEvent, WebhookSubscription

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
    reminder_type=st.none() | st.integers(-(2**63), 2**64) | st.sampled_from(["POPUP", "007", "-", "1.5", "9" * 30]),
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
