"""What only a process of its own shows: signals, terminals, what is imported."""

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from aiohttp import web

from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Answer
from tests.mirrored import held, read_lines, truth

LEADS = 20
READ_BEFORE = 10
COMMAND = [sys.executable, "-m", "lofty_async.cli"]


class Hold:
    """Lets no request through until told to, and says when the first came."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:  # noqa: ARG002 - a Fault
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        await self._released.wait()
        return web.Response()

    def release(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._released.set)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(leads=LEADS, tasks_per_lead=3) as running:
        yield running


@pytest.fixture
def hold(sandbox: Sandbox) -> Iterator[Hold]:
    fault = Hold()
    sandbox.faults.add("GET /v2.0/tasks", fault, times=None, after=READ_BEFORE)
    yield fault
    fault.release()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite"


def environment(sandbox: Sandbox) -> dict[str, str]:
    ours = {"LOFTY_API_KEY": sandbox.api_key, "LOFTY_BASE_URL": sandbox.url}
    return {name: value for name, value in os.environ.items() if not name.startswith("LOFTY_")} | ours


def started(sandbox: Sandbox, *arguments: object, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment(sandbox), **pipes)  # type: ignore[call-overload, no-any-return]


def done(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM leads WHERE proven_at IS NOT NULL").fetchone()
        return int(count)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_keeps_what_it_fetched(
    sandbox: Sandbox, hold: Hold, db: Path, number: signal.Signals, code: int
) -> None:
    run = started(sandbox, "sync", "--json", "--db", db, "--concurrency", 1)
    assert hold.reached.wait(30)
    run.send_signal(number)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (code, "")
    report = json.loads(out)
    assert (report["leads"], report["complete"]) == (READ_BEFORE, False)
    assert done(db) == READ_BEFORE
    assert held(db) == truth(sandbox), "all that the lists show is usable before it is proven"


def test_an_interrupted_run_can_be_resumed(sandbox: Sandbox, hold: Hold, db: Path) -> None:
    run = started(sandbox, "sync", "--db", db, "--concurrency", 1)
    assert hold.reached.wait(30)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert "the next sync goes on from here" in out
    sandbox.faults.clear()
    report, _ = started(sandbox, "sync", "--json", "--db", db).communicate(timeout=30)
    assert (json.loads(report)["skipped"], json.loads(report)["leads"]) == (READ_BEFORE, LEADS - READ_BEFORE)
    assert held(db) == truth(sandbox)


def test_an_interrupted_text_file_keeps_what_was_fetched(sandbox: Sandbox, hold: Hold, tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    run = started(sandbox, "sync", "--jsonl", text, "--concurrency", 1)
    assert hold.reached.wait(30)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    lines = text.with_name("tasks.jsonl.partial").read_text(encoding="ascii").splitlines()
    assert len({json.loads(line)["lead_id"] for line in lines}) == READ_BEFORE
    assert "tasks.jsonl.partial" in out
    assert not text.exists()


def test_a_text_file_is_written_by_one_run_at_a_time(sandbox: Sandbox, hold: Hold, tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    first = started(sandbox, "sync", "--jsonl", text, "--concurrency", 1)
    assert hold.reached.wait(30)
    requests = len(sandbox.requests)
    second = started(sandbox, "sync", "--jsonl", text)
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out, len(err.splitlines())) == (2, "", 1)
    assert "another sync" in err
    assert len(sandbox.requests) == requests
    sandbox.faults.clear()
    hold.release()
    first.communicate(timeout=30)
    assert read_lines(text).items() <= truth(sandbox).items()
    assert len(set(read_lines(text).values())) >= LEADS - 1  # the answer that was held is none
    assert list(tmp_path.iterdir()) == [text]


def test_a_killed_run_keeps_no_other_from_writing_its_text_file(sandbox: Sandbox, hold: Hold, tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    killed = started(sandbox, "sync", "--jsonl", text, "--concurrency", 1)
    assert hold.reached.wait(30)
    killed.kill()
    killed.communicate(timeout=30)
    sandbox.faults.clear()
    again = started(sandbox, "sync", "--jsonl", text)
    again.communicate(timeout=30)
    assert again.returncode == 0
    assert read_lines(text) == truth(sandbox)


@pytest.mark.parametrize("option", ["--db", "--jsonl"])
@pytest.mark.parametrize("room", [0, 30_000])
def test_a_disk_that_is_full_ends_a_run_in_one_line(sandbox: Sandbox, tmp_path: Path, option: str, room: int) -> None:
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));"
        "from lofty_async.cli import main; main()"
    )
    # What measures this run could not write its own file either.
    unmeasured = {name: value for name, value in environment(sandbox).items() if not name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", limited, "sync", option, str(tmp_path / "tasks")],
        env=unmeasured,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in {1, 2}
    assert run.stderr.startswith("Error: ")
    assert len(run.stderr.splitlines()) == 1


def test_a_killed_run_leaves_a_sound_file_that_the_next_run_completes(sandbox: Sandbox, hold: Hold, db: Path) -> None:
    run = started(sandbox, "sync", "--db", db, "--concurrency", 4)
    assert hold.reached.wait(30)
    while not done(db):
        assert run.poll() is None
    run.kill()
    run.communicate(timeout=30)
    read = done(db)
    assert set(held(db).items()) <= set(truth(sandbox).items())
    sandbox.faults.clear()
    again = started(sandbox, "sync", "--json", "--db", db)
    report, _ = again.communicate(timeout=30)
    assert again.returncode == 0
    assert json.loads(report)["skipped"] == read
    assert held(db) == truth(sandbox)


def test_a_terminal_sees_progress(sandbox: Sandbox, db: Path) -> None:
    ours, theirs = pty.openpty()
    run = started(sandbox, "sync", "--json", "--db", db, stderr=theirs)
    os.close(theirs)
    seen = b""
    with (
        suppress(OSError),
        closing(os.fdopen(ours, "rb", buffering=0)) as terminal,
    ):  # EIO is a terminal's end
        while chunk := terminal.read(4096):
            seen += chunk
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 0
    assert f"{LEADS}/{LEADS} leads".encode() in seen
    assert b"\x1b[?25l" not in seen, "a process that is killed leaves the terminal without a cursor"
    assert json.loads(out)["leads"] == LEADS


def test_a_table_fits_the_terminal(sandbox: Sandbox) -> None:
    ours, theirs = pty.openpty()
    run = started(sandbox, "whoami", stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    seen = b""
    with suppress(OSError), closing(os.fdopen(ours, "rb", buffering=0)) as terminal:  # same
        while chunk := terminal.read(4096):
            seen += chunk
    run.communicate(timeout=30)
    assert run.returncode == 0
    assert b"email" in seen


def test_help_imports_neither_tables_nor_a_server_nor_the_mirror() -> None:
    commands = [(), ("webhooks",), ("webhooks", "ensure"), ("webhooks", "listen"), ("login",)]
    probe = (
        "import sys\nfrom lofty_async.cli.app import app\n"
        f"for command in {commands}: app([*command, '--help'], standalone_mode=False)\n"
        "print(sorted({'rich', 'aiohttp.web', 'lofty_async.sandbox', 'lofty_async.mirror'} & sys.modules.keys()))"
    )
    finished = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_how_to_get_it(missing: str, sandbox: Sandbox) -> None:
    probe = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['whoami'];"
        "from lofty_async.cli import main; main()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=environment(sandbox), check=False
    )
    assert finished.returncode == 2
    assert finished.stderr == 'lofty-async: the command line needs its extra: pip install "lofty-async[cli]"\n'


def test_another_missing_module_is_not_taken_for_the_extra() -> None:
    probe = "import sys; sys.modules['lofty_async.cli.app'] = None; from lofty_async.cli import main; main()"
    finished = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "ModuleNotFoundError" in finished.stderr
