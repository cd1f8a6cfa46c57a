"""What the reading commands do: ask, collect, print."""

from collections.abc import Callable
from typing import Any, Final

import click

from lofty_async.client import LoftyClient
from lofty_async.models import User
from lofty_async.pagination import Pager

from .connect import connected
from .moments import end_of, start_of, zone_called
from .options import Form, Period, Target
from .output import show_record, show_records
from .run import run
from .tables import Layout

MY_TASKS: Final = Layout(
    ("id", "lead_id", "type", "content", "start_at", "end_at", "finished", "assigned_user"),
    folding="content",
    spare=("assigned_user", "start_at", "finished", "type", "lead_id", "end_at", "content"),
)
TASKS_OF_LEAD: Final = MY_TASKS._replace(
    spare=("lead_id", "start_at", "assigned_user", "finished", "type", "end_at", "content")
)
ENTRIES: Final = Layout(
    ("id", "lead_id", "type", "content", "start_at", "end_at", "finished"),
    folding="content",
    spare=("finished", "end_at", "type", "lead_id", "start_at", "content"),
)
SLOTS: Final = Layout(("start_at", "end_at"), spare=("end_at",))


def my_tasks(target: Target, form: Form, limit: int | None, time_zone: str | None) -> None:
    zone_called(time_zone)
    tasks = _collected(target, limit, lambda lofty: lofty.tasks.mine(**_given(time_zone=time_zone)))
    show_records(tasks, MY_TASKS, form)


def tasks_of(lead_id: int, target: Target, form: Form, limit: int | None) -> None:
    tasks = _collected(target, limit, lambda lofty: lofty.tasks.list(lead_id))
    show_records(tasks, TASKS_OF_LEAD, form)


def entries(period: Period, target: Target, form: Form, limit: int | None, **filters: Any) -> None:
    asked = _times(period) | _given(**filters)
    show_records(_collected(target, limit, lambda lofty: lofty.calendar.list(**asked)), ENTRIES, form)


def free_slots(period: Period, target: Target, form: Form, limit: int | None) -> None:
    asked = _times(period)
    if not {"start", "end"} <= asked.keys():
        raise click.UsageError("slots needs --start and --end")
    show_records(_collected(target, limit, lambda lofty: lofty.calendar.slots(**asked)), SLOTS, form)


def user(target: Target, form: Form) -> None:
    async def ask() -> User:
        async with connected(target) as lofty:
            return await lofty.me()

    show_record(run(ask), form)


def _collected(target: Target, limit: int | None, ask: Callable[[LoftyClient], Pager[Any]]) -> list[Any]:
    async def collect() -> list[Any]:
        async with connected(target) as lofty:
            return await ask(lofty).collect(limit=limit)

    return run(collect)


def _times(period: Period) -> dict[str, Any]:
    zone = zone_called(period.time_zone)
    return _given(start=start_of(period.start, zone), end=end_of(period.end, zone), time_zone=period.time_zone)


def _given(**arguments: Any) -> dict[str, Any]:
    """Those that were given: what was left out is left to the client's defaults."""
    return {name: value for name, value in arguments.items() if value is not None}
