"""The fixtures and helpers for tests of programs that use the package."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import aiohttp
import pytest
from attrs import fields

from lofty_async import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    LoftyClient,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
)
from lofty_async.sandbox import Entry, Lead, Sandbox, faults
from lofty_async.sandbox.entities import EntryFields, LeadFields
from tests.sandbox.conftest import Api

pytest_plugins = ["pytester"]

EXAMPLE = '''
import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from lofty_async import LoftyClient, ServerError
from lofty_async.sandbox import Sandbox, faults

FINISH = "POST /v2.0/tasks/{taskId}/finish"


async def finish_overdue(lofty: LoftyClient, lead_id: int) -> int:
    """The program under test."""
    overdue = [task async for task in lofty.tasks.list(lead_id) if task.overdue]
    for task in overdue:
        await lofty.tasks.finish(task.id)
    return len(overdue)


@pytest.fixture
def lead_id(lofty_sandbox: Sandbox) -> int:
    """A lead with one overdue task."""
    lead = lofty_sandbox.state.add_lead(first_name="Ann")
    lofty_sandbox.state.add_task(lead.id, content="Call back", end_at=datetime.now(UTC) - timedelta(days=1))
    return lead.id


def test_overdue_tasks_are_finished(lofty_sandbox: Sandbox, lofty_client: LoftyClient, lead_id: int) -> None:
    assert asyncio.run(finish_overdue(lofty_client, lead_id)) == 1
    lofty_sandbox.assert_requested("GET /v2.0/tasks", times=1, query={"leadId": lead_id})
    lofty_sandbox.assert_requested(FINISH, times=1, status=200)
    assert all(task.finished for task in lofty_sandbox.state.entries.of(lead_id))


def test_a_failure_ends_the_run(lofty_sandbox: Sandbox, lofty_client: LoftyClient, lead_id: int) -> None:
    lofty_sandbox.faults.add(FINISH, faults.Reply(503))
    with pytest.raises(ServerError):
        asyncio.run(finish_overdue(lofty_client, lead_id))


def test_a_retry_gets_over_it(lofty_sandbox: Sandbox, lofty_client: LoftyClient, lead_id: int) -> None:
    lofty_sandbox.faults.add(FINISH, faults.DropBefore())
    assert asyncio.run(finish_overdue(lofty_client.with_options(retries=1), lead_id)) == 1
    lofty_sandbox.assert_requested(FINISH, times=2)
'''

ASYNCHRONOUS = """
import pytest

from lofty_async import LoftyClient, ServerError
from lofty_async.sandbox import faults

{mark}

@pytest.fixture
def lofty_sandbox_options():
    return {{"leads": 2, "tasks_per_lead": 0, "appointments_per_lead": 0}}

{anyio}

async def test_one(lofty_sandbox, lofty_client):
    assert len(await lofty_client.leads.list().collect()) == 2
    lofty_sandbox.assert_requested("GET /v1.0/leads", times=1)

async def test_two(lofty_sandbox, lofty_client):
    lofty_sandbox.faults.add()
    with pytest.raises(ServerError):
        await lofty_client.me()

async def test_the_environment(lofty_env):
    async with LoftyClient.from_env() as lofty:
        await lofty.me()
    lofty_env.assert_requested("GET /v1.0/me", times=1)
"""

STRICT = ("-q", "-W", "error", "-p", "no:cacheprovider")
ANYIO = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'"


def test_the_example_needs_nothing_but_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(EXAMPLE)
    pytester.runpytest_inprocess(*STRICT, "-p", "no:asyncio", "-p", "no:anyio").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("options", "mark", "anyio"),
    [
        (("-p", "no:anyio"), "pytestmark = pytest.mark.asyncio", ""),
        (("-p", "no:asyncio"), "pytestmark = pytest.mark.anyio", ANYIO),
    ],
    ids=["pytest-asyncio", "anyio"],
)
def test_the_fixtures_serve_asynchronous_tests(
    pytester: pytest.Pytester, options: tuple[str, ...], mark: str, anyio: str
) -> None:
    pytester.makepyfile(ASYNCHRONOUS.format(mark=mark, anyio=anyio))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    unused = ("-W", "ignore::pytest.PytestConfigWarning")  # the plugin that reads the option is off
    pytester.runpytest_inprocess(*STRICT, *unused, *options).assert_outcomes(passed=3)


def test_options_are_overridden_in_one_place(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from lofty_async import RetryPolicy

        @pytest.fixture
        def lofty_client_options():
            return {"retry": RetryPolicy(retries=1, base_delay=0), "user_agent": "mine/1"}
        """
    )
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        def test_the_client(lofty_sandbox, lofty_client):
            lofty_sandbox.faults.add()
            asyncio.run(lofty_client.me())
            assert lofty_sandbox.assert_requested(times=2).headers["User-Agent"] == "mine/1"

        @pytest.mark.parametrize("lofty_sandbox_options", [{"limit": 7}])
        def test_the_sandbox(lofty_sandbox):
            assert lofty_sandbox.limit == 7

        def test_many(lofty_sandbox, lofty_sandbox_factory):
            other = lofty_sandbox_factory(2, limit=3)
            assert lofty_sandbox.url != other.url
            assert (len(other.state.leads), other.limit) == (2, 3)
        """
    )
    pytester.runpytest_inprocess(*STRICT, "-p", "no:asyncio", "-p", "no:anyio").assert_outcomes(passed=3)


class TestRequests:
    @pytest.fixture
    async def api(self, api: Api, lead_id: int) -> Api:
        """A sandbox that was asked for a task and a list, and to create a task."""
        api.sandbox.state.add_task(lead_id, id=7)
        await api.get("/v2.0/tasks/7")
        await api.get("/v2.0/tasks", leadId=lead_id)
        await api.post("/v2.0/tasks", leadId=lead_id, content="Ring")
        return api

    @pytest.mark.parametrize(
        ("call", "wanted", "found"),
        [
            ("*", {}, ["GET", "GET", "POST"]),
            ("GET /v2.0/tasks/{taskId}", {}, ["GET"]),
            ("GET /v2.0/tasks/7", {}, ["GET"]),
            ("GET /v2.0/tasks/8", {}, []),
            ("* /v2.0/tasks", {}, ["GET", "POST"]),
            ("* /v2.0/tasks*", {}, ["GET", "GET", "POST"]),
            ("GET *", {"query": {"leadId": "LEAD"}}, ["GET"]),
            ("GET *", {"query": {"leadId": 8}}, []),
            ("*", {"json": {"content": "Ring"}}, ["POST"]),
            ("*", {"json": {"content": "Ring", "leadId": "LEAD"}}, ["POST"]),
            ("*", {"json": {"content": "Write"}}, []),
            ("*", {"json": {"address": None}}, []),
            ("*", {"status": 400}, ["POST"]),
            ("*", {"status": 200}, ["GET", "GET"]),
        ],
    )
    async def test_are_found_by_what_was_sent(
        self, api: Api, lead_id: int, call: str, wanted: dict[str, Any], found: list[str]
    ) -> None:
        for part in wanted.values():
            if isinstance(part, dict):
                part.update({name: lead_id for name, value in part.items() if value == "LEAD"})
        assert [request.method for request in api.sandbox.find_requests(call, **wanted)] == found
        if found:
            last = api.sandbox.assert_requested(call, **wanted)
            assert last is api.sandbox.assert_requested(call, times=len(found), **wanted)
            assert last.method == found[-1]
        else:
            api.sandbox.assert_not_requested(call, **wanted)

    async def test_a_failed_assertion_says_what_was_requested(self, api: Api, lead_id: int) -> None:
        with pytest.raises(AssertionError) as caught:
            api.sandbox.assert_requested("GET /v2.0/tasks", times=2, query={"leadId": lead_id}, json={"a": 1}, status=9)
        assert str(caught.value).splitlines() == [
            f'expected GET /v2.0/tasks?leadId={lead_id} {{"a": 1}} -> 9 2 times, not 0 times; all requests:',
            "  GET /v2.0/tasks/7 -> 200",
            f"  GET /v2.0/tasks?leadId={lead_id} -> 200",
            f'  POST /v2.0/tasks {{"leadId": {lead_id}, "content": "Ring"}} -> 400',
        ]
        with pytest.raises(AssertionError, match=r"expected POST \* 0 times, not 1 times"):
            api.sandbox.assert_not_requested("POST *")

    async def test_that_were_cleared_are_not_found(self, api: Api) -> None:
        api.sandbox.clear_requests()
        api.sandbox.assert_not_requested()
        with pytest.raises(AssertionError, match="at least once, not 0 times; all requests:\n  none"):
            api.sandbox.assert_requested()
        assert api.sandbox.served == 3

    async def test_of_many_the_last_are_listed(self, api: Api) -> None:
        for _ in range(30):
            await api.get("/v1.0/me")
        with pytest.raises(AssertionError, match="… and 13 before"):
            api.sandbox.assert_requested("DELETE *")

    @pytest.mark.parametrize("call", ["GET /v2.0/taks", "DELETE /v2.0/calendar", "get *", "GET /v2.0/tasks/7/start"])
    async def test_a_call_that_does_not_exist_is_no_silent_miss(self, sandbox: Sandbox, call: str) -> None:
        for act in (sandbox.find_requests, sandbox.assert_requested, sandbox.assert_not_requested, sandbox.faults.add):
            with pytest.raises(ValueError, match=r"no call matches .*(did you mean|write a call such as)"):
                act(call)

    async def test_a_number_of_times_is_at_least_one(self, sandbox: Sandbox) -> None:
        with pytest.raises(ValueError, match="assert_not_requested"):
            sandbox.assert_requested(times=0)

    async def test_one_without_an_answer_says_so(self, api: Api) -> None:
        api.sandbox.faults.add("POST *", faults.DropBefore())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await api.post("/v2.0/tasks/7/finish")
        assert str(api.sandbox.assert_requested("POST *")) == "POST /v2.0/tasks/7/finish -> no answer"


async def test_a_fault_happens_to_one_path_or_query(api: Api, lead_id: int) -> None:
    other = api.sandbox.state.leads.ids()[1]
    for number in (7, 8):
        api.sandbox.state.add_task(lead_id, id=number)
    api.sandbox.faults.add("GET /v2.0/tasks/7", times=None)
    api.sandbox.faults.add("GET /v2.0/tasks", query={"leadId": other}, times=None)
    assert [(await api.get(f"/v2.0/tasks/{number}")).status for number in (8, 7, 8)] == [200, 500, 200]
    assert [(await api.get("/v2.0/tasks", leadId=lead)).status for lead in (lead_id, other)] == [200, 500]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, APIError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_a_reply_without_a_body_means_what_its_status_says(status: int, kind: type[Exception]) -> None:
    never = RetryPolicy(retries=0, refusals=0)
    async with Sandbox(1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url, retry=never) as lofty:
        sandbox.faults.add("GET /v1.0/me", faults.Reply(status))
        with pytest.raises(kind):
            await lofty.me()


class TestSeeding:
    def test_every_field_can_be_given(self) -> None:
        assert get_type_hints(LeadFields) == {one.name: one.type for one in fields(Lead)}
        given = {one.name: one.type for one in fields(Entry) if one.name != "lead_id"}
        assert get_type_hints(EntryFields) == given

    def test_a_slip_is_named(self, sandbox: Sandbox, lead_id: int) -> None:
        naive = datetime(2026, 6, 1)  # noqa: DTZ001 - the slip
        with pytest.raises(ValueError, match=r"there is no lead 5: add_lead\(\)"):
            sandbox.state.add_task(5)
        with pytest.raises(ValueError, match=r"end_at must be timezone-aware, e\.g\. datetime\.now\(UTC\)"):
            sandbox.state.add_task(lead_id, end_at=naive)
        with pytest.raises(ValueError, match="last_touch must be timezone-aware"):
            sandbox.state.add_lead(last_touch=naive)
        task = sandbox.state.add_task(lead_id, end_at=datetime.now(UTC) + timedelta(days=1))
        with pytest.raises(ValueError, match="start_at must be timezone-aware"):
            sandbox.state.change(task.id, start_at=naive)
        with pytest.raises(ValueError, match=r"there is no lead 5: add_lead\(\)"):
            sandbox.state.change(task.id, lead_id=5)
        with pytest.raises(TypeError, match="title"):
            sandbox.state.add_task(lead_id, title="Ring")  # type: ignore[call-arg] # the slip


async def test_the_plugin_loads_no_server_until_it_is_used() -> None:
    script = (
        "import sys, lofty_async.sandbox.pytest_plugin\n"
        "assert 'aiohttp.web' not in sys.modules\n"
        "assert lofty_async.sandbox.faults.Reply().status == 500\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == 0
