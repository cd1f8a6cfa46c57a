"""The examples are real: each runs against the sandbox as its docstring says, and type-checks with the package."""

import asyncio
import importlib.util
import json
import os
import signal
import sys
from asyncio import create_subprocess_exec, subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from lofty_async import LoftyClient, Task
from lofty_async.sandbox import Sandbox, faults
from tests.redis_server import needs_redis, running_redis

EXAMPLES = Path(__file__).parents[1] / "examples"

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def load(name: str) -> ModuleType:
    """The program as a module, as a server imports it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks the annotations up there
    spec.loader.exec_module(module)
    return module


def environment(sandbox: Sandbox, **more: object) -> dict[str, str]:
    own = {"LOFTY_API_KEY": sandbox.auth.key, "LOFTY_BASE_URL": sandbox.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    return {**os.environ, **own, **{name: str(value) for name, value in more.items()}}


async def run(*command: str, **options: Any) -> str:
    process = await create_subprocess_exec(
        sys.executable, *command, cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def until(is_so: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await is_so():
            await asyncio.sleep(0.05)


async def test_the_export_keeps_ids_and_times(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    async with Sandbox(leads=5, tasks_per_lead=4) as sandbox:
        output = await run("export_parquet.py", str(tmp_path / "tasks.parquet"), env=environment(sandbox))
        async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            task = await lofty.tasks.mine().first()
    table = pandas.read_parquet(tmp_path / "tasks.parquet")
    assert output.startswith(f"{len(table)} tasks in ")
    assert task
    (row,) = table[table["id"] == task.id].to_dict("records")
    assert (row["lead_id"], row["content"], row["finished"]) == (task.lead_id, task.content, task.finished)
    assert row["end_at"] == task.end_at
    assert str(table["id"].dtype) == "Int64"


async def test_the_webhook_application_follows_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    program = load("aiohttp_webhooks")
    async with Sandbox(leads=1, tasks_per_lead=2, appointments_per_lead=0, allow_http=True) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        task, other = [entry.id for lead in sandbox.state.leads for entry in sandbox.state.entries.of(lead)]
        async with TestClient(TestServer(program.make_app("a-secret-of-tests"))) as browser:

            async def post(bucket: str, task_id: int) -> int:
                body = {"listId": 10, "teamId": 7, bucket: [{"taskId": task_id}]}
                return (await browser.post("/lofty/a-secret-of-tests", json=body)).status

            async def shown() -> list[str]:
                return [one["id"] for one in await (await browser.get("/tasks")).json()]

            sandbox.state.unfinish(task)
            sandbox.state.finish(other)
            assert [await post("updatedTask", one) for one in (task, other)] == [200, 200]
            assert (await browser.post("/lofty/another", json={})).status == 404

            async def is_shown() -> bool:
                return await shown() == [str(task)]

            await until(is_shown)


async def test_the_webhook_application_sorts_tasks_by_their_instants(monkeypatch: pytest.MonkeyPatch) -> None:
    program = load("aiohttp_webhooks")
    async with Sandbox(leads=0) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        app = program.make_app("a-secret-of-tests")
        ends = {1: None, 2: "2026-03-01T09:00:00-08:00", 3: "2026-03-01T12:00:00+00:00"}
        for number, end in ends.items():
            app[program.OPEN_TASKS][number] = Task(id=number, end_at=datetime.fromisoformat(end) if end else None)
        async with TestClient(TestServer(app)) as browser:
            assert [one["id"] for one in await (await browser.get("/tasks")).json()] == ["3", "2", "1"]


async def test_the_webhook_application_subscribes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program = load("aiohttp_webhooks")
    async with Sandbox(leads=0) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        monkeypatch.setenv("PUBLIC_URL", "https://example.com")
        for _ in range(2):
            async with TestClient(TestServer(program.make_app("a-secret-of-tests"))):
                pass
        async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            assert len(await lofty.webhooks.list().collect()) == 2


def test_the_fastapi_application(
    lofty_sandbox_factory: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx2", reason="the test client of FastAPI needs it")
    testclient = pytest.importorskip("fastapi.testclient")
    sandbox = lofty_sandbox_factory(leads=3, tasks_per_lead=4)
    for name, value in environment(sandbox, TASKS_DB=tmp_path / "tasks.sqlite").items():
        monkeypatch.setenv(name, value)
    lead_id = next(iter(sandbox.state.leads))
    with testclient.TestClient(load("fastapi_app").app) as browser:
        tasks = browser.get(f"/leads/{lead_id}/tasks").json()
        assert {task["lead_id"] for task in tasks} == {lead_id}
        assert "Task" in browser.get("/openapi.json").json()["components"]["schemas"]

        new = {"content": "Ask for the report", "end_at": TOMORROW}
        created = browser.post(f"/leads/{lead_id}/tasks", json=new)
        assert (created.status_code, int(created.json()["id"]) in sandbox.state.entries) == (201, True)
        refused = browser.post(f"/leads/{lead_id}/tasks", json=new | {"content": ""})
        assert (refused.status_code, refused.json()["argument"]) == (422, "content")
        assert browser.get("/leads/99/tasks").status_code == 404
        path = f"/leads/{lead_id}/tasks"
        due = [browser.get(path, params={"due_before": time}).status_code for time in (TOMORROW, TOMORROW[:19])]
        assert due == [200, 422], "a time without an offset is refused"

        assert browser.post("/sync").status_code == 202
        progress = browser.get("/sync").json()
        while progress["running"]:
            progress = browser.get("/sync").json()
        assert (progress["leads"], progress["complete"]) == (3, True)


def test_the_fastapi_application_says_when_to_come_again(
    lofty_sandbox_factory: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx2", reason="the test client of FastAPI needs it")
    testclient = pytest.importorskip("fastapi.testclient")
    sandbox = lofty_sandbox_factory(leads=1, limit=3)
    for name, value in environment(sandbox).items():
        monkeypatch.setenv(name, value)
    (lead_id,) = sandbox.state.leads
    with testclient.TestClient(load("fastapi_app").app) as browser:
        answers = [browser.get(f"/leads/{lead_id}/tasks") for _ in range(4)]
        sandbox.faults.add("*", faults.Reply(500), times=None)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503]
    assert 2 < int(answers[-1].headers["Retry-After"]) <= 61


async def test_the_mcp_server_serves_an_assistant() -> None:
    pytest.importorskip("mcp")
    from mcp import Client, StdioServerParameters  # noqa: PLC0415 - of the group `examples`
    from mcp.client.stdio import stdio_client  # noqa: PLC0415

    async with Sandbox(leads=2, tasks_per_lead=3) as sandbox:
        lead_id = next(iter(sandbox.state.leads))
        server = StdioServerParameters(
            command=sys.executable, args=[str(EXAMPLES / "mcp_server.py")], env=environment(sandbox)
        )
        async with Client(stdio_client(server)) as assistant:
            names = {tool.name for tool in (await assistant.list_tools()).tools}
            assert names == {"my_tasks", "tasks_of_lead", "create_task", "finish_task"}

            async def call(name: str, **arguments: object) -> Any:
                answer = await assistant.call_tool(name, arguments)
                text = getattr(answer.content[0], "text", "") if answer.content else ""
                return text if answer.is_error else (answer.structured_content or {}).get("result", text)

            created = await call("create_task", lead_id=str(lead_id), content="Ring", due=TOMORROW)
            task_id = created["id"] if isinstance(created, dict) else json.loads(created)["id"]
            assert await call("finish_task", task_id=task_id) == "finished"
            tasks = await call("tasks_of_lead", lead_id=str(lead_id))
            assert [task["finished"] for task in tasks if task["id"] == task_id] == [True]
            assert len(await call("my_tasks", limit=2)) == 2
            assert "HTTP 404" in await call("finish_task", task_id="99")


async def test_the_calendar_feed_is_behind_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    icalendar = pytest.importorskip("icalendar")
    async with Sandbox(leads=3, tasks_per_lead=2) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        program = load("calendar_feed")
        async with TestClient(TestServer(program.make_app("a-secret-of-tests"))) as reader:
            answers = [await reader.get("/calendar/a-secret-of-tests.ics") for _ in range(2)]
            calendar = icalendar.Calendar.from_ical(await answers[0].text())
            assert (await reader.get("/calendar/another.ics")).status == 404
    assert answers[0].content_type == "text/calendar"
    assert [part.name for part in calendar.walk()].count("VEVENT") > 3
    assert len([request for request in sandbox.requests if request.route == "GET /v2.0/calendar"]) == 1


@asynccontextmanager
async def worker(*command: str, env: dict[str, str]) -> AsyncIterator[subprocess.Process]:
    """A process of workers with a group of its own, so that it can be killed whole."""
    process = await create_subprocess_exec(
        sys.executable, *command, cwd=EXAMPLES, env=env, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


QUEUES = {
    "taskiq_worker": ("-m", "taskiq", "worker", "--workers", "1", "--max-async-tasks", "4", "taskiq_worker:broker"),
    "streaq_worker": ("-m", "streaq", "run", "streaq_worker:worker"),
}


@needs_redis
@pytest.mark.parametrize("name", QUEUES)
async def test_the_jobs_of_a_killed_worker_are_done_by_another(name: str) -> None:
    pytest.importorskip(name.removesuffix("_worker"))
    async with running_redis() as redis, Sandbox(leads=30, tasks_per_lead=4) as sandbox:
        env = environment(sandbox, REDIS_URL=redis.url, JOB_SECONDS=3, IDLE_SECONDS=3)
        await run(f"{name}.py", env=env)
        sent = len(sandbox.requests)
        hold = sandbox.faults.add("GET /v2.0/tasks", faults.Latency(600), times=None)
        async with worker(*QUEUES[name], env=env) as killed:

            async def is_busy() -> bool:
                return len(sandbox.requests) > sent

            await until(is_busy)
            os.killpg(killed.pid, signal.SIGKILL)
            await killed.wait()
        sandbox.faults.rules.remove(hold)
        async with worker(*QUEUES[name], env=env):

            async def is_done() -> bool:
                entries = (entry for lead in list(sandbox.state.leads) for entry in sandbox.state.entries.of(lead))
                return not any(entry.overdue(datetime.now(UTC)) for entry in entries)

            await until(is_done)
    assert not any(request.status == 429 for request in sandbox.requests)
