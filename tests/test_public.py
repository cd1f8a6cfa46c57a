import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import lofty_async
from lofty_async import errors

HOME = Path(lofty_async.__file__).parents[1]

PROMISED = {
    "LoftyClient",
    "RetryPolicy",
    "UNSET",
    *("ApiKey", "AccessToken", "ClientCredentials", "RefreshToken", "AuthorizationCode", "TokenStore"),
    *("Lane", "RateLimiter", "FileStore", "PostgresStore", "RedisStore"),
    *("Pager", "Page", "BulkRun", "LeadTasks"),
    *("Task", "CalendarEntry", "MeetingSlot", "Lead", "User", "TaskV1", "AppointmentV1", "WebhookSubscription"),
    *("TaskType", "AssignedRole", "EntryType", "WebhookEvent", "PermissionMode"),
    *("parse_webhook", "WebhookReceiver", "Sandbox", "converter"),
    *(
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.LoftyError) and kind.__module__ == errors.__name__
    ),
}

PUBLIC_PACKAGES = ("endpoints", "errors", "mirror", "models", "oauth", "ratelimit", "sandbox", "webhooks")

PROGRAM = """
import asyncio
from datetime import UTC, datetime

from lofty_async import (
    UNSET, ApiKey, APIError, AssignedRole, CalendarEntry, InvalidRequestError, Lane, Lead, LeadTasks, LoftyClient,
    LoftyError, MeetingSlot, Page, Pager, RateLimitedError, RetryPolicy, Task, TaskType, User, __version__, converter,
)
from lofty_async.ical import to_ical


async def main() -> None:
    jobs = LoftyClient.from_env({"LOFTY_API_KEY": "key"}, lane="bulk")
    await jobs.close()
    async with LoftyClient(ApiKey("key"), retry=RetryPolicy(retries=1), timeout=5, max_wait=None) as lofty:
        pager: Pager[Task] = lofty.tasks.mine(page_size=100)
        async for task in pager:
            content: str | None = task.content
            end_at: datetime | None = task.end_at
            kind: TaskType | None = task.type
            print(content, end_at, kind)
        async for page in pager.pages():
            pages: Page[Task] = page
            total: int | None = pages.total
            print(total, pages.cursor, len(pages.items))
        first: Task | None = await pager.first()
        everything: list[Task] = await pager.collect(limit=5)
        entries: Pager[CalendarEntry] = lofty.calendar.list(start=datetime.now(UTC))
        slots: Pager[MeetingSlot] = lofty.calendar.slots(start=datetime.now(UTC), end=datetime.now(UTC))
        leads: list[Lead] = await lofty.leads.list(stage="New").collect()
        print(first, everything, entries, slots, leads)
        again: list[Task] = [Task.from_dict(task.to_dict()) for task in everything]
        leads.append(Lead.from_json(leads[0].to_json(ids_as_strings=True)))
        again.append(converter.structure({"id": "5"}, Task))
        feed: bytes = to_ical([*again, *await entries.collect()], name="Jane", tasks="todo")
        print(again, feed)
        bulk = lofty.with_options(lane=Lane.BULK, retries=0, max_wait=9.5)
        async with bulk.tasks.for_leads((lead.id for lead in leads), concurrency=8) as run:
            async for result in run:
                one: LeadTasks = result
                error: LoftyError | None = one.error
                found: tuple[Task, ...] = one.tasks
                print(error, found)
        task_id: int = await lofty.tasks.create(
            type="Call", lead_id=1, content="c", assigned_role=AssignedRole.AGENT, end_at=datetime.now(UTC)
        )
        await lofty.tasks.update(task_id, content="d", start_at=UNSET)
        user: User = await lofty.me()
        print(user.id, __version__)
        try:
            await lofty.tasks.delete(task_id)
        except RateLimitedError as refused:
            wish: float | None = refused.retry_after
            print(wish)
        except InvalidRequestError as wrong:
            argument: str | None = wrong.argument
            print(argument)
        except APIError as answer:
            code: int | None = answer.code
            print(code, answer.with_cursor("1").status)


asyncio.run(main())
"""

MISTAKE = """
from lofty_async import ApiKey, LoftyClient, Nothing, Task

async def main() -> None:
    async with LoftyClient(ApiKey("key")) as lofty:
        task: str = await lofty.tasks.get(1)
        lofty.tasks.mine("100")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """This Python in a new process that knows the package, with warnings as errors."""
    environment = os.environ | {"PYTHONPATH": str(HOME), "PYTHONWARNINGS": "error", "MYPYPATH": str(HOME)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def loaded_by(program: str) -> set[str]:
    """The modules that a new Python has loaded once it has run the program."""
    done = run("-c", f"{program}\nimport sys\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


HEAVY = {
    *(
        "aiohttp.web",
        "aiohttp.web_app",
        "click",
        "icalendar",
        "psycopg",
        "pydantic",
        "pydantic_core",
        "redis",
        "rich",
        "pytest",
    ),
    *("lofty_async.cli", "lofty_async.mirror", "lofty_async.sandbox"),
}


@pytest.mark.parametrize(
    ("program", "unloaded"),
    [
        ("import lofty_async", HEAVY),
        ("from lofty_async import ApiKey, LoftyClient\nLoftyClient(ApiKey('key')).tasks", HEAVY),
        ("from lofty_async import Sandbox", {"click", "rich", "pytest", "lofty_async.cli"}),
    ],
)
def test_a_program_loads_no_more_than_it_uses(program: str, unloaded: set[str]) -> None:
    assert not loaded_by(program) & unloaded


FIRST_CALLS = """
import asyncio
import sys
from datetime import UTC, datetime

from lofty_async import ApiKey, Lane, LoftyClient, RetryPolicy
from lofty_async.sandbox import Sandbox, faults


async def main(url, auth):
    before = set(sys.modules)
    async with LoftyClient(auth, base_url=url, retry=RetryPolicy(base_delay=0.01)) as lofty:
        lead = await lofty.leads.list().first()
        (task, *_) = await lofty.tasks.list(lead.id).collect()
        await lofty.tasks.update(task.id, content="c")
        await lofty.calendar.list(start=datetime.now(UTC)).first()
        await lofty.with_options(lane=Lane.BULK).me()
        await lofty.v1.tasks.get(task.id)
        await lofty.webhooks.list().collect()
        async with lofty.tasks.for_leads([lead.id]) as run:
            async for _ in run:
                pass
    libraries = ("lofty_async", "aiohttp", "attr", "attrs", "cattrs", "backoff", "orjson", "yarl", "multidict")
    print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] in libraries))


with Sandbox.in_thread(leads=2, tasks_per_lead=2) as box:
    asyncio.run(main(box.url, box.auth))
"""


def test_the_first_calls_import_nothing() -> None:
    done = run("-c", FIRST_CALLS)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_a_star_brings_the_promised_names_and_no_modules() -> None:
    names: dict[str, object] = {}
    exec("from lofty_async import *", names)  # noqa: S102 - a star is allowed at a module's top alone
    public = {name for name in names if not name.startswith("__")}
    assert public >= PROMISED
    assert public == set(written_names())
    assert not any(inspect.ismodule(value) for value in names.values())


def written_names() -> list[str]:
    """Each name that `__init__` imports for its users, as often as it stands there."""
    body = ast.parse(Path(lofty_async.__file__).read_text(encoding="utf-8")).body
    for_checkers = [node for block in body if isinstance(block, ast.If) for node in block.body]
    imports = [node for node in (*body, *for_checkers) if isinstance(node, ast.ImportFrom) and node.level]
    return [alias.asname for node in imports for alias in node.names if alias.asname and alias.asname[0] != "_"]


def test_every_public_name_is_written_once() -> None:
    written = written_names()
    assert len(written) == len(set(written))
    assert set(written) <= set(dir(lofty_async))
    assert "__version__" in dir(lofty_async)
    assert dir(lofty_async) == sorted(dir(lofty_async))
    for name in written:
        assert getattr(lofty_async, name) is not None


@pytest.mark.parametrize("name", ["Nothing", "list", "_nothing", "errors.LoftyError", "", "not a name"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    assert not hasattr(lofty_async, name)
    with pytest.raises(AttributeError, match="module 'lofty_async' has no attribute") as caught:
        getattr(lofty_async, name)
    assert caught.value.name == name


def test_an_unknown_name_cannot_be_imported() -> None:
    done = run("-c", "from lofty_async import Nothing")
    assert "ImportError: cannot import name 'Nothing' from 'lofty_async'" in done.stderr


def test_a_module_can_be_had_without_importing_it_first() -> None:
    done = run("-c", "import lofty_async\nprint(lofty_async.errors.LoftyError is lofty_async.LoftyError)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def public_callables() -> Iterator[tuple[str, Any]]:
    """Every public class and function with its methods, and the classes that their annotations lead to."""
    modules = map(import_module, ("lofty_async", *(f"lofty_async.{name}" for name in PUBLIC_PACKAGES)))
    pending = [getattr(module, name) for module in modules for name in dir(module) if not name.startswith("_")]
    known: set[int] = set()
    while pending:
        thing = pending.pop()
        if id(thing) in known or not str(getattr(thing, "__module__", "")).startswith("lofty_async"):
            continue
        known.add(id(thing))
        if inspect.isclass(thing):
            members = inspect.getmembers_static(thing)
            pending += [getattr(member, "fget", None) or getattr(member, "__func__", member) for _, member in members]
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"{thing.__module__}.{thing.__qualname__}", thing
            with suppress(NameError):
                hints = get_type_hints(thing).values()
                pending += [part for hint in hints for part in (hint, *get_args(hint))]


def test_the_annotations_of_every_public_callable_can_be_evaluated() -> None:
    unknown: list[str] = []
    names: set[str] = set()
    for name, thing in public_callables():
        names.add(name)
        try:
            get_type_hints(thing)
        except NameError as error:
            unknown.append(f"{name}: {error}")
    assert unknown == []
    for usual in (
        "client.LoftyClient.__init__",
        "endpoints.v1.TasksV1.update",
        "webhooks.receiver.WebhookReceiver.mount",
    ):
        assert f"lofty_async.{usual}" in names


def test_the_annotations_of_the_client_can_be_evaluated() -> None:
    hints = get_type_hints(lofty_async.LoftyClient.__init__)
    assert hints["limiter"] == lofty_async.RateLimiter | None
    assert get_type_hints(lofty_async.LoftyClient.me) == {"return": lofty_async.User}


def checked(program: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    source = folder / "program.py"
    source.write_text(program, encoding="utf-8")
    return run("-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", str(source))


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_a_program_s_types_check_and_its_mistakes_are_found(tmp_path: Path, mypy_cache: Path) -> None:
    good = checked(PROGRAM, tmp_path, mypy_cache)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = checked(MISTAKE, tmp_path, mypy_cache)
    assert 'expression has type "Task", variable has type "str"' in bad.stdout
    assert "Too many positional arguments" in bad.stdout
    assert 'Module "lofty_async" has no attribute "Nothing"' in bad.stdout
