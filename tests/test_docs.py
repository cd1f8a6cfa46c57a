"""The documentation is real: its snippets run against the sandbox and type-check, and its table has every call."""

import ast
import asyncio
import importlib
import inspect
import logging
import re
import shlex
import sys
from asyncio import create_subprocess_exec, subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import click
import pytest

from lofty_async import LoftyClient, RetryPolicy
from lofty_async.cli.app import app as command_line
from lofty_async.sandbox import RequestRecord, Sandbox

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts)

SNIPPET = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""Runs with `lofty`, `sandbox`, `lead_id`, `folder` and `tomorrow`, and what the snippets before it have defined."""
PROGRAM = re.compile(r"^```\{code-block\} python\n:class: program\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTEST = re.compile(r"^```\{code-block\} python\n:class: pytest\n(.*?)^```", re.DOTALL | re.MULTILINE)

GIVEN = "lofty: LoftyClient, sandbox: Sandbox, lead_id: int, folder: Path, tomorrow: datetime"
HEADER = f"""from datetime import datetime
from pathlib import Path

from lofty_async import LoftyClient
from lofty_async.sandbox import Sandbox


async def page({GIVEN}) -> None:
"""


def snippets(page: str, pattern: re.Pattern[str] = SNIPPET) -> list[str]:
    return pattern.findall((DOCS / page).read_text(encoding="utf-8"))


@pytest.fixture
def own_log_levels() -> Iterator[None]:
    """Put the levels of the package's loggers back, which a page may set."""
    loggers = [logging.getLogger(".".join(["lofty_async", *part])) for part in ([], ["http"], ["retry"], ["ratelimit"])]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("own_log_levels")
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)])
async def test_the_snippets_of_a_page_run_in_order(page: str, tmp_path: Path) -> None:
    async with (
        Sandbox(leads=4, tasks_per_lead=4, allow_http=True) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, retry=RetryPolicy(base_delay=0.01)) as lofty,
    ):
        given = {
            "lofty": lofty,
            "sandbox": sandbox,
            "lead_id": next(iter(sandbox.state.leads)),
            "folder": tmp_path,
            "tomorrow": datetime.now(UTC) + timedelta(days=1),
        }
        for number, snippet in enumerate(snippets(page), 1):
            code = compile(snippet, f"{page}#{number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            async with asyncio.timeout(60):
                result: Any = eval(code, given)  # noqa: S307 - our own pages
                if inspect.isawaitable(result):
                    await result


COMMAND = re.compile(r"^\$ (?:[A-Z_]+=\S+ )*lofty-async (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_the_commands_of_a_page_exist(page: str) -> None:
    """They are parsed, and not run: some ask Lofty."""
    for line in snippets(page, COMMAND):
        context = command_line.make_context("lofty-async", shlex.split(line))
        while isinstance(context.command, click.Group):
            words = [*context._protected_args, *context.args]
            name, command, rest = context.command.resolve_command(context, words)
            assert command
            context = command.make_context(name, rest, parent=context)


async def test_the_programs_of_the_tutorial_run(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = snippets("tutorial.md", PROGRAM)
    async with Sandbox(leads=5, tasks_per_lead=2) as sandbox:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.auth.key)
        monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
        outputs = [await run("-W", "error", "-c", program) for program in programs]
    listed, finished, bulk = outputs
    assert len(listed.splitlines()) >= 10
    assert finished == "Ask for the inspection report True\n"
    assert len(re.findall(r"^lead \d+: \d tasks$", bulk, re.MULTILINE)) == 5


async def test_the_test_of_the_guide_passes(tmp_path: Path) -> None:
    (test,) = snippets("guides/testing.md", PYTEST)
    (tmp_path / "test_copied.py").write_text(test, encoding="utf-8")
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    (tmp_path / "pytest.ini").write_text(settings, encoding="utf-8")
    output = await run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(tmp_path), "-c", str(tmp_path / "pytest.ini")
    )
    assert "2 passed" in output


async def test_the_snippets_type_check(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    for number, page in enumerate(PAGES):
        for index, program in enumerate(snippets(page, PROGRAM) + snippets(page, PYTEST)):
            (tmp_path / f"program_{number}_{index}.py").write_text(program, encoding="utf-8")
        body = "\n".join(snippets(page))
        if body:
            lines = (f"    {line}".rstrip() for line in body.splitlines())
            (tmp_path / f"page_{number}.py").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    # With the settings and the cache of the whole project: what `make check` has read is not read again.
    await run("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *map(str, sorted(tmp_path.glob("*.py"))))


async def run(*command: str) -> str:
    process = await create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def table_of_calls() -> dict[str, str]:
    """The table of the reference: request and method. Read, not imported: its module needs Sphinx."""
    tree = ast.parse((DOCS / "_ext" / "lofty_reference.py").read_text(encoding="utf-8"))
    (found,) = [one for one in tree.body if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == "CALLS"]
    assert found.value
    table: dict[str, str] = ast.literal_eval(found.value)
    return table


async def test_each_method_of_the_table_sends_the_request_beside_it() -> None:
    async with Sandbox(leads=2) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        lead_id = next(iter(sandbox.state.leads))
        task, other, third = [sandbox.state.add_task(lead_id).id for _ in range(3)]
        start = datetime.now(UTC) + timedelta(days=1)
        end = start + timedelta(hours=1)
        entry = f"{other}-task"
        fresh: dict[str, Any] = {"lead_id": lead_id, "content": "Ring", "end_at": end}
        hook = await lofty.webhooks.create("TASK", "https://example.com/hook")
        sent = {
            "Tasks.list": lofty.tasks.list(lead_id).collect(),
            "Tasks.create": lofty.tasks.create(type="CALL", assigned_role="AGENT", **fresh),
            "Tasks.get": lofty.tasks.get(task),
            "Tasks.update": lofty.tasks.update(task, content="Ring again"),
            "Tasks.finish": lofty.tasks.finish(task),
            "Tasks.unfinish": lofty.tasks.unfinish(task),
            "Tasks.delete": lofty.tasks.delete(task),
            "Tasks.mine": lofty.tasks.mine().first(),
            "Calendar.list": lofty.calendar.list(start=start).first(),
            "Calendar.create": lofty.calendar.create(
                type="TASK", task_way="CALL", time_zone="UTC", start_at=start, **fresh
            ),
            "Calendar.update": lofty.calendar.update(entry, content="Ring again"),
            "Calendar.finish": lofty.calendar.finish(entry),
            "Calendar.unfinish": lofty.calendar.unfinish(entry),
            "Calendar.delete": lofty.calendar.delete(entry),
            "Calendar.slots": lofty.calendar.slots(start=start, end=start + timedelta(days=2)).first(),
            "Leads.list": lofty.leads.list().first(),
            "LoftyClient.me": lofty.me(),
            "Webhooks.list": lofty.webhooks.list().collect(),
            "Webhooks.create": lofty.webhooks.create("LEAD", "https://example.com/hook"),
            "Webhooks.delete": lofty.webhooks.delete(hook.id),
            "TasksV1.list": lofty.v1.tasks.list(lead_id).collect(),
            "TasksV1.create": lofty.v1.tasks.create(type="CALL", assigned_role="AGENT", **fresh),
            "TasksV1.get": lofty.v1.tasks.get(third),
            "TasksV1.update": lofty.v1.tasks.update(third, content="Ring again"),
            "TasksV1.delete": lofty.v1.tasks.delete(third),
            "AppointmentsV1.list": lofty.v1.appointments.list(lead_id).collect(),
        }
        found = {}
        for method, call in sent.items():
            await call
            found[sandbox.requests[-1].route] = method
    assert found == table_of_calls()
    assert len(found) == 26


async def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    sphinx = ("-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "-d", str(tmp_path / "doctrees"))
    site = tmp_path / "site"
    await run(*sphinx, "-b", "html", str(DOCS), str(site))
    await run(*sphinx, "-b", "doctest", str(DOCS), str(tmp_path / "doctest"))
    table, reference = ((site / "reference" / f"{page}.html").read_text() for page in ("calls", "endpoints"))
    for request, method in table_of_calls().items():
        place = method if method.startswith("LoftyClient") else f"endpoints.{method}"
        assert request in re.sub("<[^>]+>", "", table)
        assert f"lofty_async.{place}" in table
        if place != method:
            assert request in re.sub("<[^>]+>", "", reference)
            assert f'id="lofty_async.{place}"' in reference
    described = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    assert undescribed("lofty_async", described) == []
    for package, internal in PACKAGES.items():
        assert undescribed(f"lofty_async.{package}", described) == internal
    for field in attrs.fields(RequestRecord):
        assert f'id="lofty_async.sandbox.RequestRecord.{field.name}"' in described


PACKAGES: dict[str, list[str]] = {
    "endpoints": ["Caller", "raw_request", "send_raw"],
    "events": [],
    "ical": [],
    "mirror": [],
    "models": [],
    "oauth": ["LoginClient", "at_base_url", "check_url"],
    "otel": [],
    "ratelimit": [],
    "sandbox": [],
    "webhooks": ["AsgiApp"],
    "workers": [],
}
"""Packages that users import from, and the names that only other packages of this project use."""


def undescribed(package: str, pages: str) -> list[str]:
    """The names that a package exports and that the reference lacks: these are not public."""
    names: list[str] = importlib.import_module(package).__all__
    return sorted(name for name in names if not re.search(rf'id="lofty_async\.(\w+\.)*{name}"', pages))
