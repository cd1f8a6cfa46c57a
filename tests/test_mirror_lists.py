"""Syncs that sweep the lists, against an account that changes, whatever the lists hide."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lofty_async import APIError, LoftyClient
from lofty_async.mirror import Mirror, SqliteDatabase, SuspiciousDeletionError, SyncReport
from lofty_async.models import Task
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.entities import MEMBER_ID
from lofty_async.sandbox.faults import Answer, Reply
from tests.account import OTHERS, Account, fields_of, query, wrong
from tests.visibility import HIDDEN, Visibility, differing, hides

LEADS, TASKS_PER_LEAD = 60, 3
MINE, CALENDAR, LISTING = "GET /v2.0/tasks/my-tasks", "GET /v2.0/calendar", "GET /v1.0/leads"
TASKS_OF_LEAD, ONE = "GET /v2.0/tasks", "GET /v2.0/tasks/{taskId}"
DENIED = Reply(403, {"code": 20017, "message": "no"})
EMPTY: dict[str, Any] = {MINE: {"tasks": []}, CALENDAR: {"data": {"total": 0, "page": 0, "pageSize": 500, "items": []}}}


class Scene:
    """An account, a mirror of it, and the rows that the mirror holds."""

    def __init__(self, account: Account, lofty: LoftyClient, database: SqliteDatabase) -> None:
        self.account, self.lofty, self.database = account, lofty, database
        self.sandbox, self.state = account.sandbox, account.sandbox.state
        self.mirror = Mirror(lofty, database)

    async def sync(self, **options: Any) -> SyncReport:
        return await self.mirror.sync(strategy="lists", **options)

    async def wrong(self) -> int:
        return wrong(fields_of(await self.database.tasks()), self.account.truth())

    def sent(self, route: str) -> int:
        return sum(request.route == route for request in self.sandbox.requests)


OpenScene = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def open_scene(tmp_path: Path) -> OpenScene:
    @asynccontextmanager
    async def opened(leads: int = LEADS, users: int = 3, **options: Any) -> AsyncGenerator[Scene]:
        async with (
            Sandbox(leads, 0, appointments_per_lead=0, limit=100_000, **options) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
            SqliteDatabase(tmp_path / "tasks.sqlite") as database,
        ):
            account = Account(sandbox, (MEMBER_ID, *OTHERS[: users - 1]))
            account.populate(TASKS_PER_LEAD)
            yield Scene(account, lofty, database)

    return opened


async def test_the_first_run_is_usable_after_the_lists_and_proven_after_every_lead(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        usable: list[SyncReport] = []
        held: list[int] = []

        def look(report: SyncReport) -> None:
            if report.phase == "proving" and not usable:
                usable.append(report)
                held.append(query(scene.database.path, "SELECT count(*) FROM tasks")[0][0])

        report = await scene.sync(on_progress=look)
        tasks = len(scene.account.truth())
        assert (usable[0].usable, usable[0].leads, held) == (tasks, 0, [tasks])
        assert (report.leads, report.total, report.added, report.changed) == (LEADS, LEADS, tasks, 0)
        assert (report.proven, report.unproven, report.hidden, report.strategy) == (tasks, 0, (), "lists")
        assert await scene.wrong() == 0


async def test_a_run_over_an_unchanged_server_writes_no_task_and_no_change(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.sync()
        rows = query(scene.database.path, "SELECT * FROM tasks ORDER BY id")
        seq = query(scene.database.path, "SELECT max(seq) FROM changes")
        report = await scene.sync()
        assert (report.added, report.changed, report.removed, report.failed) == (0, 0, 0, ())
        assert report.requests < 15
        assert query(scene.database.path, "SELECT * FROM tasks ORDER BY id") == rows
        assert query(scene.database.path, "SELECT max(seq) FROM changes") == seq


HIDING: list[dict[str, Any]] = [
    {},
    {"calendar_hides": ["others"]},
    {"calendar_hides": ["appointments", "finished"]},
    {"cursor_inclusive": True, "unknown_cursor": "restart"},
    {"list_totals": "missing"},
    {"list_totals": "too_large"},
]
ALMOST_ALL: list[dict[str, Any]] = [
    {"my_tasks_hides": ["undated"]},
    {"my_tasks_hides": ["others"]},
    {"my_tasks_hides": ["finished"], "calendar_hides": ["finished"]},
    {"my_tasks_hides": ["appointments"]},
    {"ignores_user_id": True},
]


@pytest.mark.parametrize("hiding", HIDING)
async def test_changes_are_found_where_a_list_shows_them(open_scene: OpenScene, hiding: dict[str, Any]) -> None:
    async with open_scene(**hiding) as scene:
        await scene.sync()
        for _ in range(3):
            scene.account.change(0.06)
            report = await scene.sync()
            assert report.requests < LEADS
            assert report.failed == ()
            assert await scene.wrong() == 0


@pytest.mark.parametrize("hiding", ALMOST_ALL)
async def test_what_no_list_shows_is_right_after_thirty_runs(open_scene: OpenScene, hiding: dict[str, Any]) -> None:
    async with open_scene(**hiding) as scene:
        await scene.sync()
        scene.account.change(0.2)
        requests = [(await scene.sync()).requests for _ in range(30)]
        assert max(requests) < LEADS
        assert await scene.wrong() == 0


@pytest.mark.parametrize("hiding", HIDDEN.values(), ids=list(HIDDEN))
async def test_a_run_leaves_wrong_only_what_no_list_shows_to_be_wrong(
    open_scene: OpenScene, hiding: dict[str, Any]
) -> None:
    async with open_scene(**hiding) as scene:
        await scene.mirror.sync()
        for _ in range(3):
            scene.account.change(0.2)
            report = await scene.mirror.sync()
            wrong = differing(fields_of(await scene.database.tasks()), scene.account.truth())
            assert [rows for rows in wrong if Visibility(**hiding).shows_difference(*rows)] == []
            assert report.strategy == "lists" or not wrong


async def test_every_lead_is_read_once_in_thirty_runs(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.sync()
        before = scene.sent(TASKS_OF_LEAD)
        for _ in range(30):
            await scene.sync()
        assert query(scene.database.path, "SELECT min(proven_run) FROM leads")[0][0] > 1
        assert scene.sent(TASKS_OF_LEAD) - before <= LEADS + 2


async def test_a_finished_task_that_hides_is_read_and_one_that_is_reopened_shows(open_scene: OpenScene) -> None:
    hiding = {"my_tasks_hides": ["finished"], "calendar_hides": ["finished"]}
    async with open_scene(**hiding) as scene:
        entry = next(entry for entry in scene.state.entries.values() if not entry.finished)
        await scene.sync()
        for change in (scene.state.finish, scene.state.unfinish, scene.state.finish):
            change(entry.id)
            await scene.sync()
            assert await scene.wrong() == 0


APPOINTMENTS_HIDDEN = hides("appointments")


async def test_so_much_that_no_list_shows_takes_the_other_strategy(open_scene: OpenScene) -> None:
    async with open_scene(**APPOINTMENTS_HIDDEN) as scene:
        first = await scene.mirror.sync()
        assert first.strategy == "lists"
        assert any(line.startswith("open appointments") for line in first.hidden)
        scene.account.change(0.1)
        report = await scene.mirror.sync()
        assert (report.strategy, report.leads, scene.sent(CALENDAR)) == ("leads", LEADS, 1)
        assert await scene.wrong() == 0
        plan = await scene.mirror.plan()
        assert (plan.chosen, plan.is_first) == ("leads", False)
        assert any("read every run" in line for line in plan.hidden)


async def test_lists_that_are_looked_at_anew_and_hide_too_much_are_said_to(
    open_scene: OpenScene, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(leads=12, **APPOINTMENTS_HIDDEN) as scene:
        for _ in range(31):
            await scene.mirror.sync()
        report = await scene.mirror.sync()
        assert (report.strategy, report.leads) == ("leads", 12)
        assert "of 12 leads, so every lead is read" in caplog.text
        assert any(line.endswith("read every run") for line in report.hidden)


@pytest.mark.parametrize("hidden", ["appointments", "others"])
async def test_strategy_lists_reads_too_much_that_no_list_shows_in_turn(open_scene: OpenScene, hidden: str) -> None:
    async with open_scene(leads=100, **hides(hidden)) as scene:
        await scene.sync()
        for entry in list(scene.state.entries.values()):
            if not entry.finished:
                scene.state.change(entry.id, content=f"Edited {entry.id}")
        reports = [await scene.sync() for _ in range(7)]
        assert await scene.wrong() == 0
        assert max(report.leads for report in reports[1:]) < 40
        assert any(re.search(r"^open .* read every [2-7] runs$", line) for line in reports[-1].hidden)
        plan = next(plan for plan in (await scene.mirror.plan()).plans if plan.strategy == "lists")
        assert plan.requests < 60


async def test_tasks_leads_and_users_that_come_and_go_meanwhile_are_right_after_the_next_run(
    open_scene: OpenScene,
) -> None:
    async with open_scene() as scene:
        await scene.sync()
        state, turns = scene.state, iter(range(10**6))

        async def change(_: web.Request, answer: Answer) -> web.StreamResponse:
            read = await answer()
            if next(turns) % 4 == 0:
                scene.account.users = (*scene.account.users, OTHERS[next(turns) % len(OTHERS)])
                scene.account.change(0.01)
                scene.account.add(state.add_lead().id)
                state.remove_lead(next(iter(state.leads)))
            return read

        for route in (MINE, CALENDAR, LISTING, TASKS_OF_LEAD):
            scene.sandbox.faults.add(route, change, times=None)
        await scene.sync()
        scene.sandbox.faults.clear()
        await scene.sync()
        assert await scene.wrong() == 0
        await scene.sync()  # of users that no lead was known to be assigned to
        assert await scene.wrong() == 0


async def test_the_changes_replayed_onto_an_empty_table_give_the_rows(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        for _ in range(4):
            await scene.sync()
            scene.account.change(0.1)
        rows: dict[int, Task] = {}
        kinds: set[str] = set()
        async for change in scene.mirror.changes():
            kinds.add(change.kind)
            if change.before is not None:
                assert rows[change.before.id] == change.before
                del rows[change.before.id]
            if change.task is not None:
                rows[change.task.id] = change.task
        assert rows == {task.id: task for task in await scene.database.tasks()}
        assert kinds == {"created", "updated", "finished", "reopened", "moved", "deleted"}


@pytest.mark.parametrize("route", [MINE, CALENDAR])
async def test_a_list_that_is_suddenly_empty_deletes_nothing(open_scene: OpenScene, route: str) -> None:
    async with open_scene() as scene:
        await scene.sync()
        scene.sandbox.faults.add(route, Reply(200, EMPTY[route]), times=None)
        reads = scene.sent(TASKS_OF_LEAD)
        with pytest.raises(SuspiciousDeletionError, match=r"suddenly empty.*allow_mass_delete"):
            await scene.sync()
        assert (await scene.wrong(), scene.sent(TASKS_OF_LEAD)) == (0, reads)
        scene.sandbox.faults.clear()
        assert (await scene.sync()).complete
        assert await scene.wrong() == 0


@pytest.mark.parametrize("strategy", ["lists", "leads"])
async def test_many_tasks_gone_at_once_are_deleted_only_where_that_is_meant(
    open_scene: OpenScene, strategy: str
) -> None:
    async with open_scene() as scene:
        await scene.sync()
        gone = [entry.id for entry in list(scene.state.entries.values())[:51]]
        for id in gone:
            scene.state.remove(id)
        with pytest.raises(SuspiciousDeletionError) as raised:
            await scene.mirror.sync(strategy=strategy)
        assert (raised.value.gone, raised.value.tasks) == (51, LEADS * TASKS_PER_LEAD)
        assert await scene.wrong() == 51
        report = await scene.mirror.sync(strategy=strategy, allow_mass_delete=True)
        assert (report.removed, await scene.wrong()) == (51, 0)


@pytest.mark.parametrize("refusal", [Reply(403, {"code": 200100}), Reply(400, {"code": 20012}), Reply(404, "")])
async def test_lists_that_may_not_be_read_are_done_without(
    open_scene: OpenScene, caplog: pytest.LogCaptureFixture, refusal: Reply
) -> None:
    async with open_scene() as scene:
        scene.sandbox.faults.add(CALENDAR, refusal, times=None)
        assert (await scene.mirror.sync()).leads == LEADS
        assert "cannot be swept" in caplog.text
        assert await scene.wrong() == 0
        with pytest.raises(APIError):
            await scene.sync()


@pytest.mark.parametrize("strategy", ["auto", "lists"])
async def test_an_account_whose_leads_are_all_gone_is_empty_after_the_next_run(
    open_scene: OpenScene, strategy: str
) -> None:
    async with open_scene(leads=10, **hides("undated")) as scene:
        for entry in list(scene.state.entries.values()):
            scene.state.change(entry.id, start_at=None, end_at=None, finished_at=None)
        await scene.sync()
        for lead_id in list(scene.state.leads):
            scene.state.remove_lead(lead_id)
        report = await scene.mirror.sync(strategy=strategy, allow_mass_delete=True)
        assert (report.removed, await scene.database.tasks(), report.failed) == (30, [], ())
        assert (await scene.mirror.plan()).leads == 0


def rewrite(scene: Scene, route: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the bodies of all answers to a call."""

    async def rewritten(_: web.Request, answer: Answer) -> web.StreamResponse:
        read = await answer()
        assert isinstance(read, web.Response)
        assert isinstance(read.text, str)
        body = json.loads(read.text)
        change(body)
        return web.json_response(body, status=read.status)

    scene.sandbox.faults.add(route, rewritten, times=None)


def without_leads(body: dict[str, Any]) -> None:
    for record in body.get("tasks") or body.get("data", {}).get("items") or [body.get("task", {})]:
        record.pop("leadId", None)


async def test_records_of_my_tasks_that_name_no_lead_leave_their_rows_where_they_are(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        rewrite(scene, MINE, without_leads)
        await scene.sync()
        assert await scene.wrong() == 0
        last = (await scene.database.summary()).last_change
        report = await scene.sync()
        assert (report.leads, report.changed, await scene.wrong()) == (2, 0, 0)
        assert (await scene.database.summary()).last_change == last
        lead_id = next(iter(scene.state.leads))
        scene.account.add(lead_id, start_at=scene.account.now, end_at=scene.account.now)
        await scene.sync()  # the calendar tells the lead
        assert await scene.wrong() == 0


async def test_a_calendar_that_names_no_leads_says_nothing_about_them(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        rewrite(scene, CALENDAR, without_leads)
        await scene.sync()
        report = await scene.sync()
        assert (report.leads, report.changed, await scene.wrong()) == (2, 0, 0)


async def test_a_task_of_no_lead_goes_once_no_list_shows_it_and_the_api_does_not_know_it(open_scene: OpenScene) -> None:
    async with open_scene(my_tasks_hides=[]) as scene:
        task = scene.state.entries.of(next(iter(scene.state.leads)))[0]

        def without_lead(body: dict[str, Any]) -> None:
            for record in body.get("tasks") or body.get("data", {}).get("items") or [body.get("task", {})]:
                if task.id in {record.get("id"), record.get("taskId")}:
                    del record["leadId"]

        for route in (MINE, CALENDAR, ONE):
            rewrite(scene, route, without_lead)
        rewrite(
            scene, TASKS_OF_LEAD, lambda body: body.update(tasks=[one for one in body["tasks"] if one["id"] != task.id])
        )
        await scene.sync()
        report = await scene.sync()
        assert {one.id: one.lead_id for one in await scene.database.tasks()}[task.id] is None
        assert (report.added, report.changed, report.removed) == (0, 0, 0)
        assert (await scene.mirror.sync(strategy="leads")).removed == 0
        scene.state.remove(task.id)
        assert (await scene.sync()).removed == 1
        assert await scene.wrong() == 0


async def test_tasks_of_no_lead_that_go_at_once_are_removed_only_if_that_is_meant(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        for route in (MINE, CALENDAR, ONE):
            rewrite(scene, route, without_leads)
        rewrite(scene, TASKS_OF_LEAD, lambda body: body.update(tasks=[]))
        await scene.sync()
        report = await scene.mirror.sync(strategy="leads")
        assert (report.changed, report.removed, report.usable) == (0, 0, LEADS * TASKS_PER_LEAD)
        for entry in list(scene.state.entries.values())[: LEADS * TASKS_PER_LEAD // 2]:
            scene.state.remove(entry.id)
        with pytest.raises(SuspiciousDeletionError):
            await scene.sync()
        assert len(await scene.database.tasks()) == LEADS * TASKS_PER_LEAD
        assert (await scene.sync(allow_mass_delete=True)).removed == LEADS * TASKS_PER_LEAD // 2


async def test_what_the_calendar_alone_shows_of_leads_of_others_is_taken_over(open_scene: OpenScene) -> None:
    async with open_scene(my_tasks_hides=["unmanaged"], calendar_hides=[]) as scene:
        lead_id, now = next(iter(scene.state.leads)), scene.account.now
        scene.state.forbidden_leads.add(lead_id)
        rewrite(scene, LISTING, lambda body: body.update(leads=body["leads"][1:], _metadata={"total": LEADS - 1}))
        entry = scene.account.add(lead_id, start_at=now, end_at=now)
        await scene.sync()
        scene.state.change(entry.id, content="Changed")
        new = scene.account.add(lead_id, start_at=now, end_at=now)
        for changes in (1, 0):
            report = await scene.sync()
            assert (report.failed, report.added, report.changed) == ((), changes, changes)
            contents = {task.id: task.content for task in await scene.database.tasks(lead_id)}
            assert (contents[entry.id], contents[new.id]) == ("Changed", new.content)


async def test_a_lead_that_was_added_after_the_list_of_leads_was_read_is_read(open_scene: OpenScene) -> None:
    async with open_scene(my_tasks_hides=["appointments"]) as scene:
        await scene.sync()

        async def add(_: web.Request, answer: Answer) -> web.StreamResponse:
            now = scene.account.now
            scene.account.add(scene.state.add_lead().id, type="Appointment", start_at=now, end_at=now)
            return await answer()

        scene.sandbox.faults.add(CALENDAR, add)
        await scene.sync()
        assert await scene.wrong() == 0


async def test_a_record_that_a_list_cannot_give_is_read_by_its_lead(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.sync()
        entry = next(entry for entry in scene.state.entries.values() if entry.assigned_user_id == MEMBER_ID)
        changed = scene.state.change(entry.id, content="Changed", quirks={"createTime": "rubbish"})
        report = await scene.sync()
        assert [failure.lead_id for failure in report.failed] == [entry.lead_id]
        scene.state.change(changed.id, quirks={})
        await scene.sync()
        assert await scene.wrong() == 0


async def test_a_lead_that_fails_is_read_in_the_next_run(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.sync()
        entry = next(iter(scene.state.entries.values()))
        scene.state.remove(entry.id)
        scene.sandbox.faults.add(TASKS_OF_LEAD, DENIED, times=None)
        report = await scene.sync()
        assert entry.lead_id in {failure.lead_id for failure in report.failed}
        scene.sandbox.faults.clear()
        await scene.sync()
        assert await scene.wrong() == 0


async def test_tasks_that_lists_show_of_leads_of_others_stay_and_are_no_failure(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.sync()
        lead_id = next(iter(scene.state.leads))
        others = [lead for lead in scene.state.leads if lead != lead_id]
        listed = {"_metadata": {"total": len(others)}, "leads": [{"leadId": id} for id in others]}
        scene.sandbox.faults.add(LISTING, Reply(200, listed), times=None)

        async def deny(request: web.Request, answer: Answer) -> web.StreamResponse:
            is_denied = request.query["leadId"] == str(lead_id)
            return await (DENIED(request, answer) if is_denied else answer())

        scene.sandbox.faults.add(TASKS_OF_LEAD, deny, times=None)
        scene.account.add(lead_id, start_at=scene.account.now, end_at=scene.account.now)
        for _ in range(2):
            assert (await scene.sync()).failed == ()
            assert await scene.wrong() == 0
        gone = scene.state.entries.of(lead_id)[0]
        scene.state.remove(gone.id)
        scene.sandbox.faults.add("GET /v2.0/tasks/{taskId}", DENIED, times=None)
        report = await scene.sync()
        assert (report.failed, report.removed, await scene.wrong()) == ((), 1, 0)


async def test_what_goes_between_its_first_row_and_the_first_sweep_after_it_is_missed(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.mirror.sync(strategy="leads")
        for _ in range(3):  # nobody knows yet which lists would have shown them
            scene.account.change(0.1)
            for entry in [entry for entry in scene.state.entries.values() if entry.finished][:2]:
                scene.state.remove(entry.id)
            assert (await scene.sync()).removed > 0
            assert await scene.wrong() == 0
            lead_id = next(iter(scene.state.leads))
            added = scene.account.add(lead_id, finished_at=scene.account.now)
            await scene.mirror.sync([lead_id])
            scene.state.remove(added.id)
        await scene.sync()
        assert await scene.wrong() == 0
        assert (await scene.sync()).requests < 15


async def test_what_a_sync_of_some_leads_found_while_another_was_interrupted_goes_as_others_do(
    open_scene: OpenScene,
) -> None:
    async with open_scene() as scene:
        await scene.sync()
        scene.account.change(0.1)
        running: asyncio.Task[SyncReport]

        def stop(report: SyncReport) -> None:
            if report.leads == 1:
                running.cancel()

        running = asyncio.create_task(scene.sync(concurrency=1, on_progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await running
        lead_id = scene.state.add_lead().id
        added = scene.account.add(lead_id, finished_at=scene.account.now)
        await scene.mirror.sync([lead_id])
        assert (await scene.sync()).skipped == 1
        assert await scene.wrong() == 0
        scene.state.remove(added.id)
        await scene.sync()
        assert await scene.wrong() == 0


async def test_a_user_who_has_left_has_no_list(open_scene: OpenScene, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        await scene.sync()
        gone = scene.account.users[-1]

        async def refuse(request: web.Request, answer: Answer) -> web.StreamResponse:
            is_gone = request.query.get("userId") == str(gone)
            return await (Reply(400, {"code": 20003, "message": "no user"})(request, answer) if is_gone else answer())

        scene.sandbox.faults.add(MINE, refuse, times=None)
        for entry in list(scene.state.entries.values()):
            if entry.assigned_user_id == gone:
                scene.state.change(entry.id, assigned_user_id=MEMBER_ID)
        await scene.sync()
        assert await scene.wrong() == 0
        assert f"the tasks of user {gone} cannot be listed" in caplog.text


async def test_a_user_whose_id_is_ignored_is_asked_for_once(open_scene: OpenScene) -> None:
    async with open_scene(users=9, ignores_user_id=True) as scene:
        await scene.sync()
        asked = {request.query.get("userId") for request in scene.sandbox.requests if request.route == MINE}
        assert len(asked) == 2
        assert await scene.wrong() == 0


async def test_of_users_named_no_others_are_swept(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        mirror = Mirror(scene.lofty, scene.database, users=[OTHERS[0]])
        await mirror.sync(strategy="lists")
        asked = {request.query.get("userId") for request in scene.sandbox.requests if request.route == MINE}
        assert asked == {None, str(OTHERS[0])}
        assert await scene.wrong() == 0


async def test_a_plan_tells_what_the_runs_take(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        before = await scene.mirror.plan()
        assert (before.leads, before.tasks, before.limit, before.is_first) == (LEADS, 2 * LEADS, 100_000, True)
        assert (await scene.sync()).requests <= before.plans[0].requests + 5
        after = await scene.mirror.plan()
        assert (after.tasks, after.users, after.is_first, after.chosen) == (LEADS * TASKS_PER_LEAD, 3, False, "lists")
        assert (await scene.sync()).requests <= after.plans[0].requests


async def test_a_small_account_is_read_lead_by_lead(open_scene: OpenScene) -> None:
    async with open_scene(leads=3) as scene:
        report = await scene.mirror.sync()
        assert (report.strategy, report.requests, await scene.wrong()) == ("leads", 5, 0)


async def test_a_run_interrupted_anywhere_goes_on_where_it_was(open_scene: OpenScene) -> None:
    async with open_scene(leads=250, users=5) as scene:
        for stop_after in (1, 2, 3, 2, 3, 2, 30, 40, 50):
            running = asyncio.create_task(scene.sync())
            sent = len(scene.sandbox.requests)
            async with asyncio.timeout(30):
                while len(scene.sandbox.requests) < sent + stop_after:
                    await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        report = await scene.sync()
        whole = 3 + 5 * 2 + 2 + 250  # leads, my-tasks, calendar, every lead
        assert report.complete
        assert report.skipped > 0
        assert len(scene.sandbox.requests) <= whole + 9 * 40
        assert await scene.wrong() == 0
