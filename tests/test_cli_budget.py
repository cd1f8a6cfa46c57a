"""What is left of the rate limit, and the store that commands share it in."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from lofty_async import FileStore, Lane, LoftyClient, RateLimit, RateLimiter
from lofty_async.cli.budget import asking, budget_fields, stored_budget
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import RateHeaders
from tests.commands import answer, invoke, sandboxed
from tests.postgres_server import needs_postgres
from tests.redis_server import free_port, needs_redis, running_redis


@asynccontextmanager
async def closed(store: FileStore) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await store.close()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch, limit=50) as running:
        yield running


def test_without_a_store_the_server_is_asked_once(sandbox: Sandbox) -> None:
    found = answer("budget")
    assert (found["limit"], found["remaining"], found["waiting"]) == (50, 49, None)
    assert 0 < found["resets_in"] <= 61
    assert [record.route for record in sandbox.requests] == ["GET /v1.0/me"]


def test_a_budget_that_is_spent_is_shown_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with sandboxed(monkeypatch, limit=1) as sandbox:
        assert invoke("whoami").exit_code == 0
        found = answer("budget")
        assert (found["limit"], found["remaining"]) == (1, 0)
        assert [record.status for record in sandbox.requests] == [200, 429]


@pytest.mark.usefixtures("sandbox")
def test_without_a_terminal_it_is_one_line_for_each_figure() -> None:
    lines = dict(line.split("\t") for line in invoke("budget").stdout.splitlines())
    assert lines["left"] == "49 of 50"
    assert "--store" in lines["waiting"]


class TestAStore:
    def test_tells_what_others_have_spent_and_costs_no_request(self, sandbox: Sandbox, tmp_path: Path) -> None:
        shared = ("--store", tmp_path, "--app-id", "my-app")
        assert invoke("tasks", "mine", "--limit", 1, *shared).exit_code == 0
        spent = len(sandbox.requests)
        found = answer("budget", *shared)
        assert (found["limit"], found["remaining"], found["in_flight"]) == (50, 50 - spent, 0)
        assert len(sandbox.requests) == spent

    def test_is_that_of_the_sdk(self, sandbox: Sandbox, tmp_path: Path) -> None:
        async def spend() -> None:
            limiter = RateLimiter(store=FileStore("my-app", directory=tmp_path))
            async with limiter, LoftyClient(sandbox.auth, base_url=sandbox.url, limiter=limiter) as lofty:
                await lofty.me()
                await lofty.me()

        asyncio.run(spend())
        assert answer("budget", "--store", tmp_path, "--app-id", "my-app")["remaining"] == 48

    def test_may_be_named_by_the_environment(
        self, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOFTY_STORE", str(tmp_path))
        monkeypatch.setenv("LOFTY_APP_ID", "my-app")
        assert invoke("whoami").exit_code == 0
        assert answer("budget")["remaining"] == 49
        assert len(sandbox.requests) == 1

    def test_may_be_one_file(self, sandbox: Sandbox, tmp_path: Path) -> None:
        file = tmp_path / "budget.json"
        for left in (49, 48):
            assert invoke("whoami", "--store", file).exit_code == 0
            assert answer("budget", "--store", file)["remaining"] == left
        assert [path.name for path in tmp_path.iterdir()] == ["budget.json"]
        assert len(sandbox.requests) == 2

    async def test_tells_who_waits(self, tmp_path: Path) -> None:
        store = FileStore("my-app", directory=tmp_path)
        async with RateLimiter(store=FileStore("my-app", directory=tmp_path)) as limiter, closed(store):
            lanes = [Lane.INTERACTIVE] * 4 + [Lane.BULK] * 4  # one of them goes first, to learn the limit
            calls = [asyncio.create_task(limiter.acquire(lane=lane)) for lane in lanes]
            async with asyncio.timeout(10):
                while not all((await stored_budget(store)).queued.values()):
                    await asyncio.sleep(0)
            texts = budget_fields(await stored_budget(store), is_shared=True)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert re.fullmatch(r"[1-9]\d* interactive, [1-9]\d* bulk", texts["waiting"])

    @pytest.mark.usefixtures("sandbox")
    def test_that_nobody_uses_knows_nothing(self, tmp_path: Path) -> None:
        lines = dict(line.split("\t") for line in invoke("budget", "--store", tmp_path / "new").stdout.splitlines())
        assert lines["left"] == "unknown; no process has used this store recently"
        assert lines["waiting"] == "0 interactive, 0 bulk"

    def test_needs_no_credential(self, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LOFTY_API_KEY")
        assert invoke("budget", "--store", tmp_path / "new").exit_code == 0
        assert not sandbox.requests

    @needs_redis
    def test_may_be_a_redis(self, sandbox: Sandbox) -> None:
        async def compare() -> None:
            async with running_redis() as redis:
                shared = ("--store", redis.url, "--app-id", "my-app")
                assert (await asyncio.to_thread(invoke, "whoami", *shared)).exit_code == 0
                found = await asyncio.to_thread(answer, "budget", *shared)
                assert found["remaining"] == 49

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lofty_async.cli.run.STOP_SIGNALS", [])  # they are the main thread's
            asyncio.run(compare())
        assert len(sandbox.requests) == 1

    @needs_postgres
    def test_may_be_a_postgresql(self, sandbox: Sandbox, postgres: str) -> None:
        shared = ("--store", postgres, "--app-id", "my-app")
        unknown = dict(line.split("\t") for line in invoke("budget", *shared).stdout.splitlines())["left"]
        assert unknown == "unknown; no process has used this store recently"
        assert invoke("whoami", *shared).exit_code == 0
        assert answer("budget", *shared)["remaining"] == 49
        assert len(sandbox.requests) == 1

    @pytest.mark.parametrize(
        ("scheme", "name"),
        [("redis", "Redis"), pytest.param("postgresql", "PostgreSQL: cannot connect", marks=needs_postgres)],
    )
    def test_that_does_not_answer_is_told(self, sandbox: Sandbox, scheme: str, name: str) -> None:
        address = f"{scheme}://me:s3cret@127.0.0.1:{free_port()}/0"
        result = invoke("budget", "--store", address, "--app-id", "my-app")
        assert (result.exit_code, result.stdout, "s3cret" in result.stderr) == (1, "", False)
        assert result.stderr.startswith(f"Error: --store: {name}")
        assert not sandbox.requests

    def test_is_not_that_of_a_sandbox(self, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result = invoke("whoami", "--sandbox", "--store", tmp_path / "new")
        assert (result.exit_code, "--store and --sandbox exclude each other" in result.stderr) == (2, True)
        monkeypatch.setenv("LOFTY_STORE", str(tmp_path / "new"))
        assert invoke("whoami", "--sandbox").exit_code == 0
        assert not sandbox.requests
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("postgresql://me:s3cret@db/lofty", "pass --app-id or set LOFTY_APP_ID"),
        pytest.param("postgres://me:s3cret@db:port/lofty", "dsn must look like postgresql://", marks=needs_postgres),
        ("memcached://me:s3cret@db", "memcached:// is no store; use redis://HOST/0, postgresql://HOST/DATABASE"),
        ("redis://me:s3cret@db:port/0", "url must look like redis://host:6379/0"),
        ("redis://me:s3cret@db/0", "pass --app-id or set LOFTY_APP_ID"),
        ("", "must not be empty"),
        (".", "pass --app-id or set LOFTY_APP_ID"),
        ("tasks.sqlite", "tasks.sqlite holds something else than a rate limit; name another file"),
        ("missing/store.json", "there is no folder missing; make it first"),
    ],
)
def test_what_is_no_store_is_refused_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tasks.sqlite").write_bytes(b"SQLite format 3\0")
    options = ("--app-id", "my-app") if "port" in store else ()
    for command in ("whoami", "budget"):
        result = invoke(command, "--store", store, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
        assert "--store" in result.stderr
        assert "s3cret" not in result.output
    assert Path("tasks.sqlite").read_bytes() == b"SQLite format 3\0"
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [("redis.asyncio", "redis://localhost/0", "redis"), ("psycopg", "postgresql://localhost/lofty", "postgres")],
)
def test_a_missing_extra_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, module: str, address: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = invoke("whoami", "--store", address, "--app-id", "my-app")
    assert (result.exit_code, f'pip install "lofty-async[{extra}]"' in result.stderr) == (2, True)
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("remaining", "bar"), [(50, "#" * 20), (25, "#" * 10 + "-" * 10), (0, "-" * 20), (-1, "-" * 20), (70, "#" * 20)]
)
def test_the_bar_shows_what_is_left(monkeypatch: pytest.MonkeyPatch, remaining: int, bar: str) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    texts = budget_fields(RateLimit(50, remaining, 12.2, {}, 3), is_shared=False, draw=True)
    assert texts["left"].split()[0] == bar
    assert (texts["resets in"], texts["in flight"]) == ("13 s", "3")


def test_a_server_that_tells_nothing_is_said_to() -> None:
    assert "sends no rate limit" in budget_fields(RateLimit(None, None, None, {}, 0), is_shared=False)["left"]


@pytest.mark.parametrize(
    "headers", [None, {}, {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "0"}]
)
def test_pictures_cost_no_request_each(sandbox: Sandbox, headers: dict[str, str] | None) -> None:
    if headers is not None:
        sandbox.faults.add("*", RateHeaders(headers), times=None)

    async def look() -> None:
        async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            read = asking(lofty, 15.0)
            for _ in range(5):
                await read()

    asyncio.run(look())
    assert len(sandbox.requests) == 1


def test_on_a_terminal_it_is_redrawn_until_it_is_interrupted(sandbox: Sandbox, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lofty_async", "budget", "--store", str(tmp_path), "--app-id", "my-app"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    watching = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        seen = b""
        while b"unknown" not in seen:
            seen += terminal.read(4096)
        assert invoke("whoami", "--store", tmp_path, "--app-id", "my-app").exit_code == 0
        while b"49 of 50" not in seen:
            seen += terminal.read(4096)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, b"")
    assert b"\x1b[?25l" not in seen
    assert len(sandbox.requests) == 1
