"""Lists that change while they are read, over HTTP: against the sandbox in all the ways in which it may page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from lofty_async import LoftyClient, RetryPolicy
from lofty_async.errors import LoftyError
from lofty_async.pagination import Pager
from lofty_async.sandbox import Sandbox, faults
from tests.changing import ids

PLAIN: dict[str, Any] = {"limit": 100_000, "appointments_per_lead": 0}
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ANSWERS = pytest.mark.parametrize("unknown_cursor", ["continue", "restart", "empty", "error"])
LISTS: dict[str, Callable[[LoftyClient], Pager[Any]]] = {
    "my tasks": lambda lofty: lofty.tasks.mine(page_size=20),
    "calendar": lambda lofty: lofty.calendar.list(start=LONG_AGO, page_size=20),
    "calendar, newest first": lambda lofty: lofty.calendar.list(start=LONG_AGO, page_size=20, newest_first=True),
    "calendar, side by side": lambda lofty: lofty.calendar.list(start=LONG_AGO, page_size=20, prefetch=4),
    "leads": lambda lofty: lofty.leads.list(page_size=20),
}


def client(sandbox: Sandbox) -> LoftyClient:
    return LoftyClient(sandbox.auth, base_url=sandbox.url, retry=RetryPolicy(retries=0))


def number(record: Any) -> int:
    return int(str(record.id).partition("-")[0])


def ids_of(records: list[Any]) -> list[int]:
    return [number(record) for record in records]


def remaining(sandbox: Sandbox) -> set[int]:
    return set(sandbox.state.tasks)


class TestFinishing:
    @pytest.mark.parametrize("prefetch", [0, 1])
    @ANSWERS
    async def test_my_tasks_page_by_page(self, unknown_cursor: str, prefetch: int) -> None:
        async with Sandbox(20, 5, unknown_cursor=unknown_cursor, **PLAIN) as sandbox, client(sandbox) as lofty:
            async for page in lofty.tasks.mine(page_size=20, prefetch=prefetch).pages():
                for task in page.items:
                    await lofty.tasks.delete(task.id)
            assert remaining(sandbox) == set()

    @ANSWERS
    async def test_my_tasks_one_by_one(self, unknown_cursor: str) -> None:
        async with Sandbox(20, 5, unknown_cursor=unknown_cursor, **PLAIN) as sandbox, client(sandbox) as lofty:
            async for task in lofty.tasks.mine(page_size=20):
                await lofty.tasks.delete(task.id)
            assert remaining(sandbox) == set()

    @pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"prefetch": 4}, {"newest_first": True}])
    @pytest.mark.parametrize("totals", ["exact", "missing", "zero", "too_small", "too_large"])
    async def test_the_calendar(self, totals: str, options: dict[str, Any]) -> None:
        async with Sandbox(20, 5, list_totals=totals, **PLAIN) as sandbox, client(sandbox) as lofty:
            for made in sandbox.state.tasks.values():
                sandbox.state.change(made.id, smart_plan=False, finished_at=None)
            async for entry in lofty.calendar.list(start=LONG_AGO, page_size=20, **options):
                await lofty.calendar.finish(entry.id)
            assert not [task for task in sandbox.state.tasks.values() if not task.finished and task.start_at]


class TestDeleting:
    @pytest.mark.parametrize("name", LISTS)
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"list_totals": "missing", "unknown_cursor": "restart"},
            {"list_totals": "too_large", "unknown_cursor": "error"},
            {"cursor_inclusive": True, "unknown_cursor": "empty", "repeat_last_page": False},
            {"max_page_size": 25, "reports_page_size": False},
        ],
    )
    async def test_hides_no_record_that_stays(self, name: str, options: dict[str, Any]) -> None:
        async with Sandbox(120, 1, **PLAIN, **options) as sandbox, client(sandbox) as lofty:
            dice, state = Random(1), sandbox.state
            whole = ids_of(await LISTS[name](lofty).collect())
            taken: list[int] = []
            async for page in LISTS[name](lofty).pages():
                taken += ids_of(page.items)
                for _ in range(2):
                    if name == "leads":
                        state.remove_lead(dice.choice(state.leads.ids()))
                    else:
                        state.remove(dice.choice([*state.tasks]))
            stayed = set(whole) & (set(state.leads.ids()) if name == "leads" else remaining(sandbox))
            assert len(stayed) > 80
            assert stayed <= set(taken)
            assert len(taken) == len(set(taken))


class TestFailing:
    @pytest.mark.parametrize("name", LISTS)
    async def test_is_resumed_from_each_error_by_a_fresh_client(self, name: str) -> None:
        async with Sandbox(120, 1, **PLAIN) as sandbox:
            async with client(sandbox) as lofty:
                whole = ids_of(await LISTS[name](lofty).collect())
            sandbox.faults.add(kind=faults.DropBefore(), times=None, after=1, chance=0.5)
            taken, cursor, failures = list[int](), None, 0
            while True:
                async with client(sandbox) as lofty:
                    try:
                        async for page in LISTS[name](lofty).resume(cursor).pages():
                            taken += ids_of(page.items)
                        break
                    except LoftyError as error:
                        cursor, failures = error.cursor, failures + 1
            assert failures
            assert taken == whole


@pytest.mark.parametrize(("leads", "offset_limit", "requests"), [(1_200, 1_000, 14), (12_000, 10_000, 124)])
async def test_leads_beyond_the_deepest_offset_go_on_by_scroll_id(leads: int, offset_limit: int, requests: int) -> None:
    async with Sandbox(leads, 0, offset_limit=offset_limit, **PLAIN) as sandbox, client(sandbox) as lofty:
        assert ids(await lofty.leads.list().collect()) == sandbox.state.leads.ids()
        assert len(sandbox.requests) <= requests


@pytest.mark.parametrize("options", [{}, {"prefetch": 4}, {"newest_first": True}])
async def test_a_calendar_of_more_entries_than_a_page_has(options: dict[str, Any]) -> None:
    start = datetime.now(UTC)
    async with Sandbox(1, 0, offset_limit=600, **PLAIN) as sandbox, client(sandbox) as lofty:
        [lead_id] = sandbox.state.leads.ids()
        made = [
            sandbox.state.add_task(lead_id, start_at=start + timedelta(minutes=count)).id for count in range(1, 1301)
        ]
        entries = ids_of(await lofty.calendar.list(start=start, **options).collect())
        assert entries == (made[::-1] if "newest_first" in options else made)
        assert len(sandbox.requests) <= 5
