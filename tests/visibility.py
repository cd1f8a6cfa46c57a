"""Which lists of a sandbox show a row, so that a test can tell the edits that only a proof can show."""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import field, frozen

from lofty_async.sandbox.entities import MEMBER_ID
from tests.account import FIELDS

Row = tuple[Any, ...]
"""The fields of a task that a mirror is compared by, in the order of `FIELDS`."""

TOLD_BY_CALENDAR = ("lead_id", "content", "start_at", "end_at", "finished")


def hides(name: str, *, mine: bool = True, calendar: bool = True) -> dict[str, Any]:
    """The options of a sandbox whose lists hide a class of tasks."""
    return {"my_tasks_hides": [name] if mine else [], "calendar_hides": [name] if calendar else []}


HIDDEN: dict[str, dict[str, Any]] = {
    "nothing hidden": {},
    "finished, in both": hides("finished"),
    "finished, in my-tasks": hides("finished", calendar=False),
    "undated, in both": hides("undated"),
    "appointments, in both": hides("appointments"),
    "appointments, in my-tasks": hides("appointments", calendar=False),
    "others' tasks, in both": hides("others"),
    "others' tasks, in my-tasks": hides("others", calendar=False),
    "others' tasks, in the calendar": hides("others", mine=False),
    "userId ignored": {"ignores_user_id": True},
}


def differing(held: Mapping[int, Row], truth: Mapping[int, Row]) -> list[tuple[Row | None, Row | None]]:
    """The rows that are wrong: each as it is held and as it should be, `None` where there is none."""
    pairs = [(held.get(id), truth.get(id)) for id in held.keys() | truth.keys()]
    return [(row, true) for row, true in pairs if row != true]


@frozen
class Visibility:
    """The lists that show a row."""

    my_tasks_hides: Collection[str] = ()
    calendar_hides: Collection[str] = ()
    ignores_user_id: bool = field(default=False, kw_only=True)

    def in_mine(self, row: Row) -> bool:
        """Whether my-tasks of the caller or of another user shows all of it."""
        classes = _classes(row)
        return not (self.ignores_user_id and "others" in classes) and classes.isdisjoint(self.my_tasks_hides)

    def in_calendar(self, row: Row) -> bool:
        """Whether the calendar shows some of its fields."""
        return _classes(row).isdisjoint({"undated", *self.calendar_hides})

    def shows_difference(self, held: Row | None, true: Row | None) -> bool:
        """Whether a list shows that the row held is wrong."""
        row = true or held
        assert row is not None
        if held is None or true is None or self.in_mine(row):
            return self.in_mine(row) or self.in_calendar(row)
        return self.in_calendar(row) and any(_of(held, name) != _of(true, name) for name in TOLD_BY_CALENDAR)


def _classes(row: Row) -> set[str]:
    is_in = {
        "finished": _of(row, "finished"),
        "appointments": _of(row, "type") == "Appointment",
        "undated": _of(row, "start_at") is None and _of(row, "end_at") is None,
        "others": _of(row, "assigned_user_id") != MEMBER_ID,
    }
    return {name for name, is_member in is_in.items() if is_member}


def _of(row: Row, name: str) -> Any:
    return row[FIELDS.index(name)]
