"""How the command line ends and what it says then, whatever happens to its output and whoever interrupts it."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from attrs import fields
from click import Choice
from click.testing import CliRunner

from lofty_async.cli.app import app
from lofty_async.cli.sandbox import sandbox as sandbox_command
from lofty_async.sandbox import EntryClass, ListTotals, ResetStyle, Sandbox, UnknownCursor
from lofty_async.sandbox.faults import Latency, Reply

COMMAND = (sys.executable, "-m", "lofty_async")
SANDBOX = (sys.executable, "-m", "lofty_async.sandbox")
FULL = Path("/dev/full")
NO_ROOM = "Error: [Errno 28] No space left on device\n"
SECRET = "a-token-of-ones-own"

needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="a disk that is always full is Linux's")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.in_thread(leads=4, tasks_per_lead=5) as running:
        for name in [name for name in os.environ if name.startswith("LOFTY_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("LOFTY_API_KEY", running.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", running.url)
        yield running


def run(*command: str) -> tuple[int, str, str]:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def shell(redirection: str, *arguments: str) -> tuple[int, str, str]:
    """The command with its streams as a shell redirects them."""
    return run("sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments)


@needs_a_full_disk
class TestAFullDisk:
    @pytest.mark.usefixtures("sandbox")
    @pytest.mark.parametrize("arguments", [("tasks", "mine"), ("tasks", "mine", "--json"), ("whoami",), ("--help",)])
    def test_is_one_line(self, arguments: tuple[str, ...]) -> None:
        assert shell("> /dev/full", *arguments) == (1, "", NO_ROOM)

    @pytest.mark.usefixtures("sandbox")
    def test_takes_no_report_of_a_sync(self, tmp_path: Path) -> None:
        assert shell("> /dev/full", "sync", "--json", "--db", str(tmp_path / "tasks.sqlite")) == (1, "", NO_ROOM)

    def test_takes_no_address_of_a_sandbox(self) -> None:
        assert shell("> /dev/full", "sandbox", "--port", "0") == (1, "", NO_ROOM)

    @pytest.mark.usefixtures("sandbox")
    def test_behind_both_streams_leaves_the_exit_code(self) -> None:
        assert shell("> /dev/full 2>&1", "tasks", "mine") == (1, "", "")

    def test_ends_a_listener(self) -> None:
        with FULL.open("w") as full:
            listening = subprocess.Popen(
                [*COMMAND, "webhooks", "listen", "--port", "0", "--secret", SECRET],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert listening.stderr is not None
        port = listening.stderr.readline().split()[3]
        with urlopen(f"http://127.0.0.1:{port}/lofty/{SECRET}", b'{"listId":10,"updatedTask":[{"taskId":6}]}'):
            _, err = listening.communicate(timeout=30)
        assert (listening.returncode, err) == (1, NO_ROOM)


@pytest.mark.usefixtures("sandbox")
class TestAClosedStream:
    @pytest.mark.parametrize("arguments", [("tasks", "mine"), ("tasks", "mine", "--json"), ("whoami",)])
    def test_is_no_terminal_and_takes_nothing(self, arguments: tuple[str, ...]) -> None:
        assert shell(">&-", *arguments) == (0, "", "")

    def test_takes_no_errors_either(self) -> None:
        assert shell("2>&-", "nonsense") == (2, "", "")

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("sync", "--jsonl", "{folder}/tasks.jsonl", "--json"), 0),
            (("sync", "--jsonl", "-"), 0),
            (("sync", "--lead", "7", "--db", "{folder}/tasks.sqlite"), 1),
            (("webhooks", "list"), 0),
            (("login", "--client-id", "a", "--redirect-uri", "https://a.test/", "--no-browser"), 2),
        ],
    )
    def test_changes_no_exit_code(self, arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
        filled = [argument.format(folder=tmp_path) for argument in arguments]
        assert shell("<&- >&- 2>&-", *filled) == (code, "", "")

    def test_takes_no_progress_of_a_sync(self, tmp_path: Path) -> None:
        code, out, err = shell("2>&-", "sync", "--db", str(tmp_path / "tasks.sqlite"))
        assert (code, out.splitlines()[0].split(",")[0], err) == (0, "4 leads", "")

    def test_gives_its_number_to_no_file(self, tmp_path: Path) -> None:
        """What is written to standard error by its number must not end up in the copy."""
        noisy = (
            "import os; from lofty_async.cli import main; main.__globals__['open_closed_streams'](); os.write(2, b'x')"
        )
        place = tmp_path / "file"
        probe = f"{noisy}; file = open({str(place)!r}, 'w'); os.write(2, b'x'); print(file.fileno() > 2)"
        assert run("sh", "-c", '"$@" 2>&- <&-', "sh", sys.executable, "-c", probe) == (0, "True\n", "")
        assert place.read_bytes() == b""

    @pytest.mark.parametrize(
        ("closed", "told", "command"),
        [(">&-", "stderr", ("webhooks", "listen")), ("2>&-", "stdout", ("sandbox",))],
    )
    def test_ends_no_server(self, closed: str, told: str, command: tuple[str, ...]) -> None:
        shell = ["/bin/sh", "-c", f'exec "$@" <&- {closed}', "sh", *COMMAND, *command, "--port", "0"]
        serving = subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert getattr(serving, told).readline()
        serving.send_signal(signal.SIGTERM)
        out, err = serving.communicate(timeout=30)
        assert "Traceback" not in out + err

    def test_a_pipe_that_nobody_reads_ends_it_without_a_word(self) -> None:
        ours, theirs = os.pipe()
        os.close(ours)
        ended = subprocess.run([*COMMAND, "tasks", "mine"], stdout=theirs, stderr=subprocess.PIPE, check=False)
        os.close(theirs)
        assert (ended.returncode, ended.stderr) == (1, b"")


class TestATerminalThatIsGone:
    """Its process ignores SIGHUP, as under nohup, so standard error fails from then on."""

    def synced(self, folder: Path) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "sync", "--db", str(folder / "tasks.sqlite")]
        syncing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
        os.close(theirs)
        assert os.read(ours, 1)  # the progress bar
        os.close(ours)
        out, _ = syncing.communicate(timeout=60)
        return syncing.returncode, out

    def test_takes_no_progress_and_ends_no_sync(self, sandbox: Sandbox, tmp_path: Path) -> None:
        sandbox.faults.add("GET /v2.0/tasks", Latency(0.5), times=None)
        code, out = self.synced(tmp_path)
        assert (code, out.splitlines()[0]) == (0, "4 leads, 24 tasks")

    def test_takes_no_names_of_failed_leads(self, sandbox: Sandbox, tmp_path: Path) -> None:
        sandbox.faults.add("GET /v2.0/tasks", Reply(400, {"code": 20012, "message": "no"}), times=1)
        sandbox.faults.add("GET /v2.0/tasks", Latency(0.5), times=None)
        code, out = self.synced(tmp_path)
        assert (code, out.splitlines()[0].split(", ")[-1]) == (1, "1 failed")


ODD = "\U0001f3e1 caf\u00e9 \u674e"


class TestAnEncodingThatLacksCharacters:
    @pytest.fixture
    def odd(self, sandbox: Sandbox) -> Sandbox:
        for entry in sandbox.state.entries.values():
            sandbox.state.change(entry.id, content=ODD)
        return sandbox

    @pytest.mark.parametrize(
        ("encoding", "shown"),
        [("cp1252", "? caf\u00e9 ?"), ("cp1252:xmlcharrefreplace", "&#127969; caf\u00e9 &#26446;")],
    )
    def test_shows_a_question_mark_for_each(
        self, odd: Sandbox, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
    ) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
        ended = subprocess.run([*COMMAND, "tasks", "mine"], capture_output=True, check=False, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, b"")
        lines = ended.stdout.decode("cp1252").splitlines()
        assert [line.split("\t")[3] for line in lines] == [shown] * len(odd.state.entries)

    @pytest.mark.usefixtures("odd")
    def test_is_no_end_of_a_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        lines = seen_on_a_terminal(120, "tasks", "mine")
        assert "? caf? ?" in lines[3]
        assert all(line.isascii() for line in lines)

    def test_is_no_end_of_listening(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        listening = subprocess.Popen(
            [*COMMAND, "webhooks", "listen", "--port", "0", "--secret", SECRET],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert listening.stderr is not None
        assert listening.stdout is not None
        port = listening.stderr.readline().split()[3]
        with urlopen(f"http://127.0.0.1:{port}/lofty/{SECRET}", json.dumps({ODD: [{"taskId": 6}]}).encode()):
            assert listening.stdout.readline() == "- ? caf? ? task 6\n"
        listening.send_signal(signal.SIGINT)
        _, err = listening.communicate(timeout=30)
        assert (listening.returncode, err) == (0, "")


INTERRUPTED = """
import runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

module, program = sys.argv[1:3]
del sys.argv[1:3]
sys.meta_path.insert(0, Interrupting())
runpy.run_module(program, run_name="__main__")
"""


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("module", "program", "arguments"),
    [
        ("lofty_async.cli.app", "lofty_async", ("tasks", "mine")),
        ("lofty_async.cli.run", "lofty_async", ("tasks", "mine")),
        ("rich", "lofty_async", ("tasks", "mine")),
        ("aiohttp.web", "lofty_async", ("sandbox", "--port", "0")),
    ],
)
def test_an_interrupt_while_it_still_loads_counts_as_one(module: str, program: str, arguments: tuple[str, ...]) -> None:
    code, out, err = run(sys.executable, "-c", INTERRUPTED, module, program, *arguments)
    assert (code, out, err.strip()) == (130, "", "")


class TestSandbox:
    @pytest.mark.parametrize(
        ("command", "name"),
        [((*COMMAND, "sandbox"), "lofty-async sandbox"), (SANDBOX, "python -m lofty_async.sandbox")],
    )
    def test_it_goes_by_the_name_it_was_called_by(self, command: tuple[str, ...], name: str) -> None:
        assert run(*command, "--help")[1].startswith(f"Usage: {name} [OPTIONS]\n")
        code, out, err = run(*command, "--port", "many")
        assert (code, out, err.splitlines()[0]) == (2, "", f"Usage: {name} [OPTIONS]")
        assert err.endswith("Error: --port must be an integer from 0 to 65535, not 'many'\n")

    @pytest.mark.parametrize("command", [(*COMMAND, "sandbox"), SANDBOX])
    def test_a_port_that_is_taken_is_one_line(self, command: tuple[str, ...]) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            code, out, err = run(*command, "--port", str(port))
        assert (code, out) == (2, "")
        assert re.fullmatch(rf"Error: cannot listen on 127\.0\.0\.1, port {port}: .+\n", err)

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--host", "nosuch.invalid", "cannot listen on nosuch.invalid"),
            ("--host", "no..such", "cannot listen on no..such"),
            ("--port", "99999", "--port must be an integer from 0 to 65535, not '99999'"),
            ("--port", "-1", "--port must be an integer from 0 to 65535, not '-1'"),
            ("--leads", "-1", "--leads must be an integer of 0 or more, not '-1'"),
            ("--tasks-per-lead", "-1", "--tasks-per-lead must be an integer of 0 or more, not '-1'"),
            ("--limit", "0", "--limit must be an integer of 1 or more, not '0'"),
            ("--window", "0", "--window must be a number above 0, not '0'"),
            ("--window", "nan", "--window must be a number above 0, not 'nan'"),
            ("--latency", "-1", "--latency must be a number of 0 or more, not '-1'"),
        ],
    )
    def test_an_invalid_option_is_named(self, option: str, value: str, message: str) -> None:
        result = CliRunner().invoke(app, ["sandbox", option, value])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines()[-1].startswith(f"Error: {message}")

    def test_its_choices_are_those_of_the_sandbox(self) -> None:
        types = {option.name: option.type for option in sandbox_command.params}
        for name, choices in (
            ("reset_style", ResetStyle),
            ("unknown_cursor", UnknownCursor),
            ("list_totals", ListTotals),
            ("my_tasks_hides", EntryClass),
            ("calendar_hides", EntryClass),
        ):
            kind = types[name]
            assert isinstance(kind, Choice)
            assert list(kind.choices) == [choice.value for choice in choices]

    def test_its_defaults_are_those_of_the_sandbox(self) -> None:
        defaults = {field.name: field.default for field in fields(Sandbox)}
        options = sandbox_command.make_context("sandbox", []).params
        assert options.pop("port") == 8080
        assert options == {name: defaults[name] for name in options}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_it_in_order(self, number: signal.Signals) -> None:
        serving = subprocess.Popen(
            [*COMMAND, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith("listening on ")
        assert serving.stdout.readline().startswith("API key: ")
        serving.send_signal(number)
        _, err = serving.communicate(timeout=30)
        assert (serving.returncode, err) == (0, "")

    def test_it_serves_without_an_output(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as chosen:
            port = chosen.getsockname()[1]
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "sandbox", "--port", str(port)]
        serving = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while serving.poll() is None:
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port))):
                break
        serving.send_signal(signal.SIGINT)
        _, err = serving.communicate(timeout=30)
        assert (serving.returncode, err) == (0, "")


def seen_on_a_terminal(width: int, *arguments: str) -> list[str]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {"LANG": "en_US.UTF-8"} | plain | {"TERM": "xterm", "NO_COLOR": "1"}
    shown = subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    seen = b""
    with suppress(OSError), closing(os.fdopen(ours, "rb", buffering=0)) as terminal:  # EIO is a terminal's end
        while chunk := terminal.read(4096):
            seen += chunk
    _, err = shown.communicate(timeout=30)
    assert (shown.returncode, err) == (0, b"")
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()


@pytest.mark.parametrize("width", [200, 80, 40, 10])
def test_no_terminal_is_too_narrow_for_an_id(sandbox: Sandbox, width: int) -> None:
    ids = {str(task) for task in sandbox.state.entries}
    lines = seen_on_a_terminal(width, "tasks", "mine")
    assert {found[1] for line in lines if (found := re.match(r"(?:│ )?(\d{15})", line))} == ids
    assert max(map(len, lines)) <= max(width, 15)


@pytest.mark.usefixtures("sandbox")
def test_80_columns_show_what_matters_most() -> None:
    lines = seen_on_a_terminal(80, "tasks", "mine", "--limit", "3")
    assert lines[1].strip("┃").replace("┃", " ").split()[:3] == ["id", "lead", "content"]
    assert "when" in lines[1]
    assert re.fullmatch(r"│ \d{15} │ .+ │ .+ │ [\d-]{10} .*│", lines[3])


class TestTheShortestCommand:
    def test_runs_the_command_line(self) -> None:
        assert run(*COMMAND, "--version")[1].startswith("lofty-async, version ")

    def test_says_how_to_get_the_extra(self) -> None:
        probe = "import runpy, sys; sys.modules['click'] = None; runpy.run_module('lofty_async', run_name='__main__')"
        code, out, err = run(sys.executable, "-c", probe)
        assert (code, out) == (2, "")
        assert err == 'lofty-async: the command line needs its extra: pip install "lofty-async[cli]"\n'
