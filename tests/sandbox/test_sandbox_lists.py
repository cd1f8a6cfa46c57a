from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lofty_async.cli.sandbox import sandbox as command
from lofty_async.sandbox import EntryClass, ListTotals, Sandbox, UnknownCursor
from lofty_async.sandbox.entities import MEMBER_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.conftest import Answer, Api, Clock

MINE, CALENDAR, LEADS = "/v2.0/tasks/my-tasks", "/v2.0/calendar", "/v1.0/leads"
NEVER = 999_999_999_999_999
ALWAYS = {"startTime": "2000-01-01T00:00:00Z", "includeFinished": "true"}


def ids(answer: "Answer") -> list[int]:
    return [task["id"] for task in answer.body["tasks"]]


async def page(api: "Api", cursor: int = 0, limit: int = 100) -> "Answer":
    return await api.get(MINE, currentId=cursor, limit=limit)


def removed(api: "Api", entry_id: int) -> int:
    return api.sandbox.state.remove(entry_id).id


def not_managed(api: "Api", entry_id: int) -> int:
    api.sandbox.state.forbidden_leads.add(api.sandbox.state.entries[entry_id].lead_id)
    return entry_id


def never_there(_api: "Api", _entry_id: int) -> int:
    return NEVER


GONE = [removed, not_managed, never_there]


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize("answer", [UnknownCursor.RESTART, "restart", "empty"])
async def test_a_list_from_an_unknown_cursor(
    clock: "Clock", api_of: Any, gone: "Callable[[Api, int], int]", answer: str
) -> None:
    async with api_of(Sandbox(3, 4, clock=clock, unknown_cursor=answer)) as api:
        cursor = gone(api, ids(await page(api, limit=3))[-1])
        assert ids(await page(api, cursor)) == (ids(await page(api)) if answer == "restart" else [])


@pytest.mark.parametrize("gone", GONE)
async def test_an_unknown_cursor_as_an_error(clock: "Clock", api_of: Any, gone: "Callable[[Api, int], int]") -> None:
    async with api_of(Sandbox(3, 4, clock=clock, unknown_cursor="error")) as api:
        first = ids(await page(api, limit=3))
        assert (await page(api, first[-1])).status == 200
        refused = await page(api, gone(api, first[-1]))
        assert (refused.status, refused.body["code"]) == (400, 20012)
        assert "INVALID_PARAMETER" in refused.body["message"]


async def test_a_list_goes_on_after_the_place_of_a_task_that_is_gone(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(3, 4, clock=clock)) as api:
        every = ids(await page(api))
        assert ids(await page(api, removed(api, every[4]))) == every[5:]
        assert ids(await page(api, NEVER)) == []


@pytest.mark.parametrize(
    ("totals", "reported"),
    [("exact", 5), ("missing", None), ("zero", 0), ("too_small", 2), (ListTotals.TOO_LARGE, 11)],
)
async def test_totals(clock: "Clock", api_of: Any, totals: str, reported: int | None) -> None:
    async with api_of(Sandbox(5, 1, appointments_per_lead=0, clock=clock, list_totals=totals)) as api:
        leads = (await api.get(LEADS)).body["_metadata"]
        entries = (await api.get(CALENDAR, **ALWAYS)).body["data"]
    assert (len(entries["items"]), leads.get("total"), entries.get("total")) == (5, reported, reported)
    assert ("total" in leads) == ("total" in entries) == (reported is not None)


async def test_options_change_while_the_sandbox_runs(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(5, 1, appointments_per_lead=0, clock=clock)) as api:
        assert len(ids(await page(api))) == 5
        api.sandbox.list_totals, api.sandbox.max_page_size = ListTotals.ZERO, 2
        assert len(ids(await page(api))) == 2
        assert (await api.get(LEADS)).body["_metadata"]["total"] == 0
        with pytest.raises(ValueError, match="'max_page_size'"):
            api.sandbox.max_page_size = 0


@pytest.mark.parametrize(("reports", "size"), [(True, 4), (False, 10)])
async def test_pages_below_the_size_asked_for(clock: "Clock", api_of: Any, reports: bool, size: int) -> None:
    sandbox = Sandbox(9, 1, appointments_per_lead=0, clock=clock, max_page_size=4, reports_page_size=reports)
    async with api_of(sandbox) as api:
        assert len(ids(await page(api, limit=10))) == 4
        assert len(ids(await page(api, limit=3))) == 3
        leads = (await api.get(LEADS, limit=10)).body
        assert (len(leads["leads"]), leads["_metadata"]["limit"]) == (4, size)
        pages = [(await api.get(CALENDAR, **ALWAYS, page=number, pageSize=10)).body["data"] for number in range(4)]
        assert [len(one["items"]) for one in pages] == [4, 4, 1, 0]
        assert {one["pageSize"] for one in pages} == {size}
        assert len({item["id"] for one in pages for item in one["items"]}) == 9


async def test_no_offset_from_the_limit_on(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(12, 1, appointments_per_lead=0, clock=clock, offset_limit=6)) as api:
        assert (await api.get(LEADS, offset=5, limit=5)).status == 200
        for offset in (6, 7, 100):
            refused = await api.get(LEADS, offset=offset)
            assert (refused.status, refused.body["errorCode"]) == (400, "OFFSET_EXCEED_LIMIT")
        assert (await api.get(CALENDAR, **ALWAYS, page=1, pageSize=5)).status == 200
        for number, size in ((1, 6), (2, 3), (6, 1)):
            refused = await api.get(CALENDAR, **ALWAYS, page=number, pageSize=size)
            assert (refused.status, refused.body["status"]["code"]) == (400, "OFFSET_EXCEED_LIMIT")


@pytest.mark.parametrize("options", [{}, {"max_page_size": 3}, {"repeat_last_page": False}])
async def test_scroll_ids_go_on_beyond_the_limit(clock: "Clock", api_of: Any, options: dict[str, Any]) -> None:
    async with api_of(Sandbox(12, 1, clock=clock, offset_limit=6, **options)) as api:
        shown = (await api.get(LEADS, offset=5, limit=5)).body
        found = new = [lead["leadId"] for lead in shown["leads"]]
        while new:
            shown = (await api.get(LEADS, scrollId=shown["_metadata"]["scrollId"], limit=5)).body
            new = [lead["leadId"] for lead in shown["leads"] if lead["leadId"] not in found]
            found = found + new
        assert found == api.sandbox.state.leads.ids()[5:]


CLASSES = ("finished", "appointments", "undated", "others", "unmanaged")
OTHER_USER = 7


async def shown_by(api: "Api", name: str) -> set[int]:
    """The entries that a list shows of the caller and of another user."""
    if name == "calendar":
        return {item["taskId"] for item in (await api.get(CALENDAR, **ALWAYS)).body["data"]["items"]}
    return {entry for user in (MEMBER_ID, OTHER_USER) for entry in ids(await api.get(MINE, limit=100, userId=user))}


def one_of_each(sandbox: Sandbox) -> dict[str, int]:
    """A plain task and one entry of each class, by the name of its class."""
    state, at = sandbox.state, datetime(2026, 7, 1, tzinfo=UTC)
    managed, unmanaged = state.add_lead().id, state.add_lead().id
    state.forbidden_leads.add(unmanaged)
    made = {
        "plain": state.add_task(managed, end_at=at),
        "finished": state.add_task(managed, end_at=at, finished_at=at),
        "appointments": state.add_appointment(managed, start_at=at, end_at=at),
        "undated": state.add_task(managed),
        "others": state.add_task(managed, end_at=at, assigned_user_id=OTHER_USER),
        "unmanaged": state.add_task(unmanaged, end_at=at),
    }
    return {name: entry.id for name, entry in made.items()}


@pytest.mark.parametrize("hidden", [(), *((one,) for one in CLASSES), CLASSES, [EntryClass.UNDATED], "finished"])
@pytest.mark.parametrize("name", ["my_tasks", "calendar"])
async def test_a_list_leaves_out_what_it_hides(clock: "Clock", api_of: Any, name: str, hidden: Any) -> None:
    async with api_of(Sandbox(0, clock=clock, **{f"{name}_hides": hidden})) as api:
        made = one_of_each(api.sandbox)
        left_out = {hidden} if isinstance(hidden, str) else {*hidden}
        shown = {made[one] for one in made.keys() - left_out}
        assert await shown_by(api, name) == (shown - {made["undated"]} if name == "calendar" else shown)
        other = "calendar" if name == "my_tasks" else "my_tasks"
        assert await shown_by(api, other) >= {made[one] for one in ("plain", "finished", "appointments", "others")}


async def test_by_default_lists_leave_out_what_the_caller_does_not_manage(api: "Api") -> None:
    made = one_of_each(api.sandbox)
    for name in ("my_tasks", "calendar"):
        assert made["unmanaged"] not in await shown_by(api, name)


async def test_a_list_of_another_user_may_be_the_caller_s_own(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(2, 3, clock=clock, ignores_user_id=True)) as api:
        assert ids(await api.get(MINE, userId=OTHER_USER, limit=100)) == ids(await page(api))
        assert ids(await page(api))


async def test_accounts_may_share_a_budget(clock: "Clock", api_of: Any) -> None:
    account = Sandbox(1, limit=3, clock=clock)
    async with api_of(account) as one, api_of(Sandbox(2, budget=account.budget, clock=clock)) as other:
        lefts = [(await account.get("/v1.0/me")).headers["X-RateLimit-Remaining"] for account in (one, other, one)]
        assert lefts == ["2", "1", "0"]
        assert [(await account.get("/v1.0/me")).status for account in (one, other)] == [429, 429]
        assert (one.sandbox.served, other.sandbox.served) == (2, 1)


def made_by(line: str) -> Sandbox:
    """What the command makes of its arguments."""
    return Sandbox(**command.make_context("sandbox", line.split()).params)


def test_the_command_takes_every_option_of_lists() -> None:
    sizes = "--max-page-size 7 --hide-page-size --offset-limit 9"
    hides = "--my-tasks-hides finished --my-tasks-hides others --calendar-hides undated --ignores-user-id"
    made = made_by(f"{hides} --cursor-inclusive --unknown-cursor error --list-totals zero {sizes}")
    assert (made.cursor_inclusive, made.unknown_cursor, made.list_totals) == (True, "error", "zero")
    assert (made.max_page_size, made.reports_page_size, made.offset_limit) == (7, False, 9)
    assert made.my_tasks_hides == {EntryClass.FINISHED, EntryClass.OTHERS}
    assert made.calendar_hides == {EntryClass.UNDATED}
    assert made.ignores_user_id
    plain, default = made_by(""), Sandbox()
    assert (plain.unknown_cursor, plain.list_totals) == (default.unknown_cursor, default.list_totals)
    assert (plain.max_page_size, plain.reports_page_size, plain.offset_limit) == (None, True, None)


@pytest.mark.parametrize(
    "options",
    [
        {"my_tasks_hides": ["some"]},
        {"unknown_cursor": "panic"},
        {"list_totals": "some"},
        {"max_page_size": 0},
        {"offset_limit": 0},
    ],
)
def test_unknown_options_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"panic|some|'max_page_size'|'offset_limit'"):
        Sandbox(**options)
