"""The README's programs are real: they type-check, and they run against the sandbox."""

import os
import re
import sys
from asyncio import create_subprocess_exec, subprocess
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lofty_async.sandbox import Sandbox

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
SCRIPT, WEB, BULK, WORKER, TEST_DOUBLE = PROGRAMS


async def run(program: str, sandbox: Sandbox, *arguments: str, **environment: str) -> str:
    """Run it as a user would, and return what it printed."""
    process = await create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        *arguments,
        env={**os.environ, "LOFTY_API_KEY": sandbox.auth.key, "LOFTY_BASE_URL": sandbox.url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_script_reads_a_lead_and_creates_a_task() -> None:
    async with Sandbox(leads=1, tasks_per_lead=3) as sandbox:
        (lead_id,) = sandbox.state.leads
        output = await run(SCRIPT, sandbox, str(lead_id))
        created = int(output.rpartition("created ")[2])
        assert sandbox.state.entries[created].content == "Ask for the inspection report"


async def test_the_bulk_program_prints_every_task() -> None:
    async with Sandbox(leads=12, tasks_per_lead=3, appointments_per_lead=0) as sandbox:
        output = await run(BULK, sandbox)
    # Contents may hold line breaks of their own.
    assert len(re.findall(r"^\d{15} \d{15} ", output, re.MULTILINE)) == 36


async def test_the_worker_program_finishes_what_is_overdue(tmp_path: Path) -> None:
    async with Sandbox(leads=1, tasks_per_lead=30) as sandbox:
        (lead_id,) = sandbox.state.leads
        output = await run(WORKER, sandbox, LEAD_ID=str(lead_id), XDG_RUNTIME_DIR=str(tmp_path))
        finished = [request for request in sandbox.requests if request.path.endswith("/finish")]
    assert int(output) == len(finished) > 0


async def test_the_test_double_needs_no_account() -> None:
    async with Sandbox(leads=0) as unused:
        output = await run(TEST_DOUBLE, unused)
        assert not unused.requests
    assert len(output.splitlines()) >= 6


async def test_the_web_app_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(leads=1, tasks_per_lead=4) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        module: dict[str, object] = {"__name__": "web_app"}
        exec(compile(WEB, "web_app.py", "exec"), module)  # noqa: S102 - our own README
        (lead_id,) = sandbox.state.leads
        application = module["app"]
        assert isinstance(application, web.Application)
        async with TestClient(TestServer(application)) as browser:
            response = await browser.get(f"/leads/{lead_id}/tasks")
            tasks = await response.json()
            unknown = await browser.get("/leads/99/tasks")
    assert (response.status, unknown.status) == (200, 404)
    assert all(isinstance(task["id"], str) for task in tasks)


async def test_the_programs_type_check(tmp_path: Path, mypy_cache: Path) -> None:
    pytest.importorskip("mypy")
    for number, program in enumerate(PROGRAMS):
        (tmp_path / f"program_{number}.py").write_text(program, encoding="utf-8")
    process = await create_subprocess_exec(
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(mypy_cache),
        *(str(path) for path in sorted(tmp_path.glob("*.py"))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
