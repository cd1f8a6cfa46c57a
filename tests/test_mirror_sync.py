import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web

from lofty_async.bulk import LeadIds
from lofty_async.client import LoftyClient
from lofty_async.errors import AuthenticationError, ClientClosedError, InvalidRequestError, PermissionDeniedError
from lofty_async.mirror import JsonLines, Mirror, SqliteDatabase, SyncReport, export_tasks
from lofty_async.models import Task
from lofty_async.ratelimit import Lane
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Answer, Reply
from tests.conftest import Hold
from tests.mirrored import truth

LISTING = "GET /v1.0/leads"
TASKS_OF_LEAD = "GET /v2.0/tasks"
TASK = "GET /v2.0/tasks/{taskId}"
REFUSAL = Reply(403, {"code": 20017, "message": "no"})


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(leads=10, tasks_per_lead=2) as running:
        yield running


@pytest.fixture
async def lofty(sandbox: Sandbox) -> AsyncIterator[LoftyClient]:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url) as client:
        yield client


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(tmp_path / "tasks.sqlite") as opened:
        yield opened


async def sync(
    lofty: LoftyClient, store: SqliteDatabase, lead_ids: LeadIds | None = None, **options: Any
) -> SyncReport:
    return await Mirror(lofty, store).sync(lead_ids, strategy="leads", **options)


def done(store: SqliteDatabase) -> set[int]:
    """The leads that the last run has read."""
    with closing(sqlite3.connect(store.path)) as connection:
        query = "SELECT lead_id FROM leads WHERE proven_run = (SELECT max(number) FROM runs)"
        return {lead_id for (lead_id,) in connection.execute(query)}


async def interrupt(lofty: LoftyClient, store: SqliteDatabase, after: int, **options: Any) -> None:
    """Cancels a run that has read so many leads, one at a time."""
    running: asyncio.Task[SyncReport]

    def stop(report: SyncReport) -> None:
        if report.leads == after:
            running.cancel()

    running = asyncio.create_task(sync(lofty, store, concurrency=1, on_progress=stop, **options))
    with pytest.raises(asyncio.CancelledError):
        await running


async def homes(store: SqliteDatabase) -> dict[int, int | None]:
    return {task.id: task.lead_id for task in await store.tasks()}


def listing_of(*leads: Mapping[str, Any]) -> Reply:
    about = {"collection": "leads", "limit": 100, "offset": 0, "total": len(leads)}
    return Reply(200, {"_metadata": about, "leads": list(leads)})


async def test_a_run_on_the_client_of_a_web_app_waits_as_long_as_it_has_to(store: SqliteDatabase) -> None:
    async with (
        Sandbox(leads=250, tasks_per_lead=0, limit=100, window=0.5) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, max_wait=0) as lofty,
    ):
        report = await sync(lofty, store)
        assert (report.leads, report.failed, report.rate_limited) == (250, (), 0)


async def test_the_store_becomes_equal_to_what_the_api_has(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    report = await sync(lofty, store)
    assert await homes(store) == truth(sandbox)
    assert (report.leads, report.tasks, report.added, report.failed) == (
        10,
        len(truth(sandbox)),
        len(truth(sandbox)),
        (),
    )
    assert (report.requests, report.rate_limited, report.total) == (len(sandbox.requests), 0, 10)
    assert report.complete


async def test_the_report_counts_this_run_alone(lofty: LoftyClient, store: SqliteDatabase) -> None:
    first = await sync(lofty, store)
    second = await sync(lofty, store)
    assert first.requests == second.requests
    assert (second.added, second.changed, second.removed) == (0, 0, 0)


async def test_everything_travels_in_the_bulk_lane(lofty: LoftyClient, store: SqliteDatabase) -> None:
    queued: list[Mapping[Lane, int]] = []
    await sync(lofty, store, on_progress=lambda _: queued.append(lofty.rate_limit.queued))
    assert queued
    assert not any(lanes.get(Lane.INTERACTIVE) for lanes in queued)


async def test_progress_is_told_after_every_lead(lofty: LoftyClient, store: SqliteDatabase) -> None:
    told: list[SyncReport] = []
    await sync(lofty, store, on_progress=told.append)
    assert [report.leads for report in told if report.leads] == list(range(1, 11))
    assert {report.total for report in told if report.leads} == {10}
    assert not any(report.complete for report in told)


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_leads_can_be_given_in_any_way(
    kind: str, sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    chosen = [*list(sandbox.state.leads)[:3], next(iter(sandbox.state.leads))]

    async def asynchronous() -> AsyncIterator[int]:
        for lead_id in chosen:
            yield lead_id

    ways: dict[str, LeadIds] = {"list": chosen, "generator": iter(chosen), "async generator": asynchronous()}
    report = await sync(lofty, store, ways[kind])
    assert (report.leads, report.total) == (3, 4 if kind == "list" else None)
    assert set((await homes(store)).values()) == set(chosen)
    assert not [request for request in sandbox.requests if request.route == LISTING]


class OtherInteger:
    """An integer of another library, such as numpy's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


async def test_lead_ids_may_be_of_any_integer_type(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, tmp_path: Path
) -> None:
    leads: list[Any] = [OtherInteger(lead_id) for lead_id in (*sandbox.state.leads, *sandbox.state.leads)]
    async with JsonLines(tmp_path / "tasks.jsonl") as lines:
        report = await sync(lofty, store, leads, export=lines)
    assert (report.leads, report.failed) == (10, ())
    assert await homes(store) == homes_of_lines(tmp_path / "tasks.jsonl") == truth(sandbox)


@pytest.mark.parametrize("kind", [list, set, dict.fromkeys])
async def test_leads_given_are_those_of_the_beginning_whatever_becomes_of_the_list(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, kind: Callable[[Iterable[int]], Collection[int]]
) -> None:
    given: Any = kind(sandbox.state.leads)
    report = await sync(lofty, store, given, concurrency=1, on_progress=lambda _: given.clear())
    assert (report.leads, report.total) == (10, 10)


@pytest.mark.parametrize(
    "options", [{"lead_ids": 7}, {"lead_ids": "7"}, {"lead_ids": b"7"}, {"concurrency": 0}, {"concurrency": 1.5}]
)
async def test_arguments_that_are_wrong_are_refused_before_a_run_begins(
    lofty: LoftyClient, store: SqliteDatabase, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(options))):
        await sync(lofty, store, **options)
    assert await store.runs() == []


async def test_no_leads_given_leave_a_text_file_as_it_is(sandbox: Sandbox, lofty: LoftyClient, tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    for leads in (None, [], list(sandbox.state.leads)[:1]):
        async with JsonLines(text) as lines:
            await export_tasks(lofty, lines, leads)
        assert homes_of_lines(text) == truth(sandbox)


async def test_no_leads_given_are_no_leads_read(lofty: LoftyClient, store: SqliteDatabase) -> None:
    await sync(lofty, store)
    report = await sync(lofty, store, [])
    assert (report.leads, report.requests, report.removed, report.complete) == (0, 1, 0, True)


async def test_tasks_without_a_lead_belong_to_the_lead_they_were_read_under(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    lead_id = next(iter(sandbox.state.leads))
    task = sandbox.state.add_task(lead_id, quirks={"leadId": None})
    await sync(lofty, store, [lead_id])
    assert (await homes(store))[task.id] == lead_id


async def test_leads_that_no_longer_exist_go(sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase) -> None:
    await sync(lofty, store)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    assert (await sync(lofty, store)).removed > 0
    assert await homes(store) == truth(sandbox)


async def test_a_listing_that_shifts_while_it_is_read_loses_no_lead(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    for _ in range(100):
        sandbox.state.add_task(sandbox.state.add_lead().id)
    await sync(lofty, store)
    deleted = list(sandbox.state.leads)[5]

    async def shift(_: web.Request, answer: Answer) -> web.StreamResponse:
        first_page = await answer()
        sandbox.state.remove_lead(deleted)
        sandbox.state.add_task(sandbox.state.add_lead().id)
        return first_page

    sandbox.faults.add(LISTING, shift)
    await sync(lofty, store)
    assert set(sandbox.state.leads) <= set((await homes(store)).values())


@pytest.mark.parametrize("answer", [listing_of(), Reply(200, {})])
async def test_leads_that_the_listing_lacks_are_kept_as_they_are_read(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, answer: Reply
) -> None:
    await sync(lofty, store)
    first, second, third, *_ = sandbox.state.leads
    sandbox.state.remove_lead(first)
    for entry in list(sandbox.state.entries.of(second)):
        sandbox.state.remove(entry.id)
    sandbox.state.add_task(third)
    sandbox.faults.add(LISTING, answer, times=None)
    report = await sync(lofty, store)
    assert (report.leads, report.added, report.failed) == (8, 1, ())
    assert report.removed > 0
    assert await homes(store) == truth(sandbox)


async def test_leads_that_the_listing_lacks_and_that_cannot_be_read_stay(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    sandbox.faults.add(LISTING, listing_of(), times=None)
    sandbox.faults.add(TASKS_OF_LEAD, REFUSAL, times=None)
    report = await sync(lofty, store)
    assert (len(report.failed), report.removed) == (10, 0)
    assert await homes(store) == before


async def test_rows_that_a_worker_writes_meanwhile_stay(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)

    async def work(_: web.Request, answer: Answer) -> web.StreamResponse:
        await store.write({99: [Task(id=990, lead_id=99)]})
        return await answer()

    sandbox.faults.add(TASK, work)  # the run's last request, for the task that is gone
    assert (await sync(lofty, store)).removed == 1
    assert await homes(store) == truth(sandbox) | {990: 99}


GATEWAY = [Reply(404, "<html>404 page not found</html>"), Reply(404, ""), Reply(410, {"message": "Gone"})]


@pytest.mark.parametrize("page", GATEWAY)
async def test_a_404_of_a_gateway_lets_no_lead_go(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, page: Reply
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    sandbox.faults.add(TASKS_OF_LEAD, page, times=None)
    report = await sync(lofty, store)
    assert (len(report.failed), report.removed) == (10, 0)
    assert await homes(store) == before


@pytest.mark.parametrize(
    "body",
    [
        {"code": 20006, "message": "Lead not exist"},
        {"code": "LEAD_NOT_EXIST"},
        {"message": "BaseApplicationException:errorCode=20006,errorMsg=Lead not exist"},
    ],
)
async def test_a_lead_goes_where_loftys_code_and_a_complete_list_agree(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, body: Mapping[str, Any]
) -> None:
    await sync(lofty, store)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    sandbox.faults.add(TASKS_OF_LEAD, Reply(404, body), after=9, times=None)
    report = await sync(lofty, store)
    assert (report.leads, report.failed) == (9, ())
    assert await homes(store) == truth(sandbox)


async def test_a_lead_that_is_listed_keeps_its_rows_whatever_its_code_says(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    sandbox.faults.add(TASKS_OF_LEAD, Reply(404, {"code": 20006}), times=None)
    report = await sync(lofty, store)
    assert (len(report.failed), report.removed) == (10, 0)
    assert await homes(store) == before


async def test_a_list_that_is_shorter_than_it_says_lets_no_lead_go(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    gone, *others = sandbox.state.leads
    sandbox.state.remove_lead(gone)
    short = {"_metadata": {"total": 10}, "leads": [{"leadId": id} for id in others]}
    sandbox.faults.add(LISTING, Reply(200, short))
    sandbox.faults.add(LISTING, Reply(200, {"_metadata": {"total": 10}, "leads": []}), after=1, times=None)
    report = await sync(lofty, store)
    assert ([failure.lead_id for failure in report.failed], report.removed) == ([gone], 0)
    assert await homes(store) == before


def moving(sandbox: Sandbox, first: int, second: int) -> int:
    """A task that moves from the second lead to the first as soon as the first has been read."""
    moved = sandbox.state.entries.of(second)[0].id

    async def move(request: web.Request, answer: Answer) -> web.StreamResponse:
        read = await answer()
        if request.query["leadId"] == str(first):
            sandbox.state.change(moved, lead_id=first)
        return read

    sandbox.faults.add(TASKS_OF_LEAD, move, times=None)
    return moved


async def test_a_task_that_moves_to_a_lead_read_before_is_there(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, tmp_path: Path
) -> None:
    text = tmp_path / "tasks.jsonl"
    first, second, *_ = sandbox.state.leads
    async with JsonLines(text) as lines:
        await sync(lofty, store, export=lines)
    moved = moving(sandbox, first, second)
    async with JsonLines(text) as lines:
        report = await sync(lofty, store, export=lines, concurrency=1)
    assert (report.added, report.changed, report.removed) == (0, 1, 0)
    assert (await homes(store))[moved] == first
    assert await homes(store) == homes_of_lines(text) == truth(sandbox)


async def test_a_task_that_moves_to_a_lead_read_after_stands_once(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, tmp_path: Path
) -> None:
    text = tmp_path / "tasks.jsonl"
    first, second, *_ = sandbox.state.leads
    moved = sandbox.state.entries.of(first)[0].id

    async def move(_: web.Request, answer: Answer) -> web.StreamResponse:
        read = await answer()
        sandbox.state.change(moved, lead_id=second)
        return read

    sandbox.faults.add(TASKS_OF_LEAD, move)
    async with JsonLines(text) as lines:
        await sync(lofty, store, export=lines, concurrency=1)
    assert (await homes(store))[moved] == second
    assert await homes(store) == homes_of_lines(text) == truth(sandbox)
    assert len(text.read_text(encoding="ascii").splitlines()) == len(truth(sandbox))


def homes_of_lines(text: Path) -> dict[int, int]:
    records = map(json.loads, text.read_text(encoding="ascii").splitlines())
    return {record["id"]: record["lead_id"] for record in records}


@pytest.mark.parametrize("says_own", [True, False])
@pytest.mark.parametrize("finds", [True, False])
@pytest.mark.parametrize("turned", [True, False])
async def test_a_task_under_two_leads_is_no_change(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, *, says_own: bool, finds: bool, turned: bool
) -> None:
    first, second, *_ = sandbox.state.leads
    task = sandbox.state.entries.of(first)[0].id

    async def share(request: web.Request, answer: Answer) -> web.StreamResponse:
        read = await answer()
        if request.query["leadId"] == str(second) and isinstance(read, web.Response):
            body = json.loads(read.body)  # type: ignore[arg-type]  # bytes
            body["tasks"].append({"id": task, "leadId": second if says_own else first})
            return web.json_response(body)
        return read

    sandbox.faults.add(TASKS_OF_LEAD, share, times=None)
    if not finds:
        sandbox.faults.add(TASK, GATEWAY[0], times=None)
    await sync(lofty, store, [first, second], concurrency=1)
    before = await homes(store)
    again = [second, first] if turned else [first, second]
    for _ in range(2):
        report = await sync(lofty, store, again, concurrency=1)
        assert (report.added, report.changed, report.removed, report.failed) == (0, 0, 0, ())
    assert await homes(store) == before


async def test_a_task_that_went_to_nobodys_lead_goes(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    task = next(iter(sandbox.state.entries.values()))
    lead_id = sandbox.state.add_lead().id
    sandbox.state.change(task.id, lead_id=lead_id)
    report = await sync(lofty, store, [task.lead_id])
    assert (report.removed, report.failed) == (1, ())
    assert task.id not in await homes(store)


@pytest.mark.parametrize(
    "answer",
    [
        *GATEWAY,
        Reply(404, {"code": 404, "message": "Not Found"}),
        Reply(403, "<html>Request blocked</html>"),
        Reply(403, {"code": 200100, "message": "no scope"}),
        Reply(400, {"code": 20012}),
        Reply(200, {"task": {"id": 7}}),
    ],
)
async def test_only_loftys_word_lets_a_task_go_that_its_lead_lacks(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, answer: Reply
) -> None:
    first, second, *_ = sandbox.state.leads
    await sync(lofty, store)
    moved = moving(sandbox, first, second)  # so that no lead that is read lists it
    sandbox.faults.add(TASK, answer, times=None)
    report = await sync(lofty, store, concurrency=1)
    assert ([failure.lead_id for failure in report.failed], report.removed) == ([second], 0)
    assert moved in await homes(store)
    sandbox.faults.clear()
    assert (await sync(lofty, store)).failed == ()
    assert await homes(store) == truth(sandbox)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(404, {"code": "TASK_NOT_EXIST"}),
        Reply(404, {"code": 20007}),
        Reply(404, {"code": 20006}),
        Reply(403, {"code": 20017}),
        Reply(400, {"code": "PERMISSION_DENIED"}),
    ],
)
async def test_a_task_that_its_lead_lacks_goes_where_lofty_has_it_not_or_not_for_the_caller(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, answer: Reply
) -> None:
    await sync(lofty, store)
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
    sandbox.faults.add(TASK, answer, times=None)
    report = await sync(lofty, store)
    assert (report.removed, report.failed) == (1, ())
    assert await homes(store) == truth(sandbox)


async def test_a_task_that_its_lead_lacks_and_that_cannot_be_asked_for_stays(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    task = next(iter(sandbox.state.entries.values()))
    sandbox.state.remove(task.id)
    sandbox.faults.add(TASK, Reply(500, {"code": 20005}), times=None)
    report = await sync(lofty.with_options(retries=0), store)
    assert ([failure.lead_id for failure in report.failed], report.removed) == ([task.lead_id], 0)
    assert task.id in await homes(store)
    assert task.lead_id not in done(store)


async def test_a_credential_refused_in_the_end_ends_the_run(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
    sandbox.faults.add(TASK, Reply(401, {"code": "BAD_CREDENTIALS"}), times=None)
    with pytest.raises(AuthenticationError):
        await sync(lofty, store)


async def test_a_run_cancelled_while_it_looks_for_tasks_removes_none_and_can_be_resumed(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, hold: Hold
) -> None:
    await sync(lofty, store)
    task = next(iter(sandbox.state.entries.values()))
    sandbox.state.remove(task.id)
    sandbox.faults.add(TASK, hold)
    running = asyncio.create_task(sync(lofty, store))
    await hold.reached()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert task.id in await homes(store)
    resumed = await sync(lofty, store)
    assert (resumed.leads, resumed.skipped, resumed.removed) == (1, 9, 1)
    assert await homes(store) == truth(sandbox)


@pytest.mark.parametrize("policy", ["raise", "skip"])
async def test_a_task_that_cannot_be_read_keeps_its_row_and_no_other_from_changing(
    sandbox: Sandbox, store: SqliteDatabase, policy: Literal["raise", "skip"]
) -> None:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url, on_bad_record=policy) as lofty:
        await sync(lofty, store)
        lead_id = next(iter(sandbox.state.leads))
        bad, changed, gone, *_ = (entry.id for entry in sandbox.state.entries.of(lead_id))
        sandbox.state.change(bad, quirks={"createTime": "rubbish"})
        sandbox.state.change(changed, content="Changed")
        sandbox.state.remove(gone)
        report = await sync(lofty, store)
    (failure,) = report.failed
    assert (failure.lead_id, report.changed, report.removed) == (lead_id, 1, 1)
    assert str(bad) in failure.error
    assert await homes(store) == truth(sandbox)
    assert lead_id not in done(store)


@pytest.mark.parametrize("id", [None, "?", "\u00b2", "1.5"])
async def test_an_unread_task_without_an_id_keeps_all_rows_of_its_lead(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, id: str | None
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    bad, gone, *_ = sandbox.state.entries.of(next(iter(sandbox.state.leads)))
    sandbox.state.change(bad.id, quirks={"id": id})
    sandbox.state.remove(gone.id)
    assert (await sync(lofty, store)).removed == 0
    assert await homes(store) == before


async def test_of_several_tasks_that_cannot_be_read_the_first_is_told(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    bad, other, gone, *_ = (entry.id for entry in sandbox.state.entries.of(next(iter(sandbox.state.leads))))
    sandbox.state.change(bad, quirks={"createTime": "rubbish"})
    sandbox.state.change(other, quirks={"id": str(other), "createTime": "rubbish"})
    sandbox.state.remove(gone)
    report = await sync(lofty, store)
    assert report.removed == 1
    assert f"(record {bad}), and 1 more" in report.failed[0].error
    assert await homes(store) == truth(sandbox)


@pytest.mark.parametrize("leads", [None, [7]])
async def test_a_closed_client_ends_the_run(lofty: LoftyClient, store: SqliteDatabase, leads: list[int] | None) -> None:
    await lofty.close()
    with pytest.raises(ClientClosedError):
        await sync(lofty, store, leads)


async def test_a_number_beyond_64_bits_ends_no_run(sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase) -> None:
    first, second, *_ = (entry.id for entry in sandbox.state.entries.values())
    sandbox.state.change(first, quirks={"queryId": 2**63})
    sandbox.state.change(second, quirks={"id": 2**63})
    report = await sync(lofty, store)
    assert len(report.failed) == 1
    assert "63 bits" in report.failed[0].error
    assert await homes(store) == {id: lead for id, lead in truth(sandbox).items() if id != second}
    assert {task.id: task.query_id for task in await store.tasks()}[first] == 2**63


async def test_a_task_with_an_id_that_is_none_keeps_no_lead_from_recovering(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, tmp_path: Path
) -> None:
    task = next(iter(sandbox.state.entries.values()))
    sandbox.state.change(task.id, quirks={"id": -5})
    async with JsonLines(tmp_path / "tasks.jsonl") as lines:
        report = await sync(lofty, store, export=lines)
    assert [failure.lead_id for failure in report.failed] == [task.lead_id]
    assert "63 bits" in report.failed[0].error
    sandbox.state.change(task.id, quirks={})
    async with JsonLines(tmp_path / "tasks.jsonl") as lines:
        assert (await sync(lofty, store, export=lines)).failed == ()
    assert await homes(store) == homes_of_lines(tmp_path / "tasks.jsonl") == truth(sandbox)


async def test_lead_ids_that_are_none_are_leads_that_fail(lofty: LoftyClient, store: SqliteDatabase) -> None:
    assert [failure.lead_id for failure in (await sync(lofty, store, [2**63, -1])).failed] == [2**63, -1]


async def test_a_lead_that_fails_is_reported_and_keeps_its_tasks(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    sandbox.faults.add(TASKS_OF_LEAD, REFUSAL, times=2)
    report = await sync(lofty, store)
    assert (report.leads, len(report.failed), report.removed) == (10, 2, 0)
    assert report.tasks < len(before)
    assert all("20017" in failure.error for failure in report.failed)
    assert await homes(store) == before
    assert done(store) == set(before.values()) - {failure.lead_id for failure in report.failed}


async def test_a_listing_that_fails_in_the_middle_removes_nothing_and_goes_on_where_it_was(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    for _ in range(100):
        sandbox.state.add_task(sandbox.state.add_lead().id)
    await sync(lofty, store)
    before = await homes(store)
    sandbox.state.remove_lead(next(iter(sandbox.state.leads)))
    sandbox.faults.add(LISTING, REFUSAL, after=1, times=None)
    with pytest.raises(PermissionDeniedError):
        await sync(lofty, store)
    assert await homes(store) == before
    sandbox.faults.clear()
    sent = len(sandbox.requests)
    await sync(lofty, store)
    listings = [request for request in sandbox.requests[sent:] if request.route == LISTING]
    assert [request.query["offset"] for request in listings] == ["99"]
    assert await homes(store) == truth(sandbox)


async def test_of_a_lead_record_that_cannot_be_read_the_id_will_do(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    first, second, *_ = sandbox.state.leads
    sandbox.faults.add(LISTING, listing_of({"leadId": first, "createTime": "tomorrow"}, {"leadId": second}), times=None)
    report = await sync(lofty, store)
    assert (report.leads, report.failed) == (2, ())
    assert set((await homes(store)).values()) == {first, second}


async def test_a_lead_record_without_an_id_keeps_leads_from_being_removed(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    await sync(lofty, store)
    before = await homes(store)
    sandbox.faults.add(LISTING, listing_of({"leadId": next(iter(sandbox.state.leads))}, {"leadId": "?"}), times=None)
    assert (await sync(lofty, store)).removed == 0
    assert await homes(store) == before
    assert "a lead cannot be read" in caplog.text


async def test_a_refused_credential_ends_the_run_at_once(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    leads = list(sandbox.state.leads)
    sandbox.credentials.revoke(sandbox.api_key)
    with pytest.raises(AuthenticationError):
        await sync(lofty, store, leads, concurrency=1)
    assert len(sandbox.requests) == 1


async def test_an_interrupted_run_goes_on_by_itself(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await interrupt(lofty, store, 7)
    sent = len(sandbox.requests)
    report = await sync(lofty, store)
    assert (report.leads, report.skipped, report.total, report.requests) == (3, 7, 10, 4)
    assert len(sandbox.requests) - sent == 4
    assert await homes(store) == truth(sandbox)
    assert (await sync(lofty, store)).skipped == 0


async def test_a_fresh_run_skips_nothing(lofty: LoftyClient, store: SqliteDatabase) -> None:
    await interrupt(lofty, store, 7)
    report = await sync(lofty, store, fresh=True)
    assert (report.leads, report.skipped) == (10, 0)


async def test_a_run_over_some_leads_goes_on_where_the_same_leads_were_interrupted(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    leads = list(sandbox.state.leads)[:5]
    await interrupt(lofty, store, 3, lead_ids=leads)
    assert (await sync(lofty, store, leads[:4])).skipped == 0
    await interrupt(lofty, store, 3, lead_ids=leads)
    report = await sync(lofty, store, set(leads))
    assert (report.leads, report.skipped) == (2, 3)


async def test_a_run_over_some_leads_keeps_what_an_interrupted_run_over_all_has_read(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await interrupt(lofty, store, 7)
    some = list(sandbox.state.leads)[-2:]
    assert (await sync(lofty, store, some)).leads == 2
    report = await sync(lofty, store)
    assert (report.leads, report.skipped) == (3, 7)
    assert await homes(store) == truth(sandbox)


async def age(store: SqliteDatabase, hours: float) -> None:
    with closing(sqlite3.connect(store.path)) as connection, connection:
        past = (f"{-hours} hours",)
        connection.execute("UPDATE leads SET proven_at = datetime(proven_at, ?)", past)
        connection.execute("UPDATE runs SET seen_at = datetime(seen_at, ?)", past)


@pytest.mark.parametrize(("hours", "skipped"), [(5.9, 9), (6.1, 0), (24 * 330, 0), (-1, 0)])
async def test_an_old_run_starts_anew_and_says_so(
    lofty: LoftyClient, store: SqliteDatabase, caplog: pytest.LogCaptureFixture, *, hours: float, skipped: int
) -> None:
    await interrupt(lofty, store, 9)
    await age(store, hours)
    assert (await sync(lofty, store)).skipped == skipped
    assert ("starting anew" in caplog.text) == (not skipped)


async def test_a_lead_read_too_long_ago_is_read_again_in_a_run_that_goes_on(
    lofty: LoftyClient, store: SqliteDatabase
) -> None:
    await interrupt(lofty, store, 9)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(
            "UPDATE leads SET proven_at = datetime(proven_at, '-7 hours')"
            " WHERE lead_id = (SELECT min(lead_id) FROM leads)"
        )
    assert (await sync(lofty, store)).skipped == 8


async def test_how_long_an_interrupted_run_can_go_on_can_be_said(lofty: LoftyClient, store: SqliteDatabase) -> None:
    await interrupt(lofty, store, 9)
    await age(store, 24)
    assert (await sync(lofty, store, resume_within=2 * 86400)).skipped == 9


async def test_a_lead_that_always_fails_keeps_no_other_from_being_read_again(
    sandbox: Sandbox, lofty: LoftyClient, store: SqliteDatabase
) -> None:
    third = list(sandbox.state.leads)[2]
    sandbox.state.forbidden_leads.add(third)
    for day in range(3):
        for lead_id in sandbox.state.leads:
            sandbox.state.add_task(lead_id, content=f"Day {day}")
        report = await sync(lofty, store)
        assert ([failure.lead_id for failure in report.failed], report.skipped) == ([third], 0)
        true = {id: lead for id, lead in truth(sandbox).items() if lead != third}
        assert await homes(store) == true


async def test_a_sync_waits_as_long_as_it_has_to_whatever_the_client_says(store: SqliteDatabase) -> None:
    async with (
        Sandbox(leads=6, tasks_per_lead=1, limit=4, window=0.5, reset_style="ms_left") as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, max_wait=0) as lofty,
    ):
        report = await sync(lofty, store)
    assert (report.leads, report.failed, report.complete) == (6, (), True)


@pytest.mark.parametrize("after", [0, 1, 5, 9])
async def test_a_cancelled_run_keeps_what_was_fetched(after: int, lofty: LoftyClient, store: SqliteDatabase) -> None:
    running: asyncio.Task[SyncReport]

    def stop(report: SyncReport) -> None:
        if report.leads > after:
            running.cancel()

    mirror = Mirror(lofty, store)
    running = asyncio.create_task(mirror.sync(strategy="leads", concurrency=2, on_progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not mirror.report.complete
    assert len(await homes(store)) == mirror.report.tasks == mirror.report.added > 0
    assert len(done(store)) == mirror.report.leads


async def test_more_leads_than_the_offset_limit_end_equal(store: SqliteDatabase) -> None:
    leads = 500
    async with (
        Sandbox(leads, 1, appointments_per_lead=0, limit=100_000, offset_limit=200) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
    ):
        report = await sync(lofty, store)
        assert (report.leads, report.total, report.failed, report.complete) == (leads, leads, (), True)
        assert await homes(store) == truth(sandbox)


async def test_two_and_a_half_windows_of_leads_take_three_windows_and_no_refusal(store: SqliteDatabase) -> None:
    window = 4.0  # for the minute of the real one
    async with (
        Sandbox(leads=250, tasks_per_lead=1, limit=100, window=window, reset_style="ms_left") as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
    ):
        report = await sync(lofty, store)
        moments = [request.at for request in sandbox.requests]
    assert (report.leads, report.requests, report.rate_limited, report.failed) == (250, 254, 0, ())
    # Two windows' ends lie between the first request and the last, and no third.
    assert 2 * window - 1 < moments[-1] - moments[0] < 3 * window
