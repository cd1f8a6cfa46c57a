"""Subscribing to webhooks, and watching them arrive."""

import asyncio
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from lofty_async import LoftyClient
from lofty_async.cli.options import OutputOptions
from lofty_async.cli.webhooks import masked, notice_json, notice_line
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from lofty_async.webhooks import NoticeKind, WebhookNotice
from tests import commands

URL = "https://hooks.example/lofty/a-token-nobody-guesses"
OWN_SECRET = "a-token-of-ones-own"
BODY = {"listId": 10, "teamId": 1, "updatedTask": [{"taskId": 5, "leadId": 7, "updateTime": 1_780_315_200_000}]}
LINE = "2026-06-01 12:00+00:00 updatedTask task 5 lead 7\n"

Listen = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with commands.sandboxed(monkeypatch, leads=2, tasks_per_lead=2, allow_http=True) as running:
        yield running


invoke = partial(commands.invoke, "webhooks")
answer = partial(commands.answer, "webhooks")


class TestList:
    def test_callback_urls_are_masked_unless_asked_for(self, sandbox: Sandbox) -> None:
        sandbox.webhooks.subscriptions.add(10, URL)
        assert answer("list")[0]["callback_url"] == "https://hooks.example/lofty/***"
        assert answer("list", "--show-urls")[0]["callback_url"] == URL

    def test_a_table_names_events_and_modes(self, sandbox: Sandbox) -> None:
        one = sandbox.webhooks.subscriptions.add(10, URL, permission_mode=1)
        row = invoke("list").stdout
        assert row == f"{one.id}\ttask\thttps://hooks.example/lofty/***\t100\townership\n"

    def test_json_has_every_field(self, sandbox: Sandbox) -> None:
        one = sandbox.webhooks.subscriptions.add(11, URL)
        (shown,) = answer("list", "--string-ids")
        assert (shown["id"], shown["event"], shown["permission_mode"]) == (str(one.id), 11, 0)

    def test_what_a_subscription_lacks_is_left_empty(self, sandbox: Sandbox) -> None:
        sandbox.faults.add("GET /v1.0/webhooks", Reply(200, [{"subscribeId": 9}]))
        assert "9" in invoke("list").stdout

    def test_a_limit_limits(self, sandbox: Sandbox) -> None:
        for _ in range(3):
            sandbox.webhooks.subscriptions.add(10, URL)
        assert len(answer("list", "--limit", 2)) == 2

    def test_a_sandbox_can_be_had_for_the_asking(self) -> None:
        assert answer("list", "--sandbox") == []

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            (URL + "/", "https://hooks.example/lofty/***/"),
            ("https://hooks.example/a-token-nobody-guesses/tasks", "https://hooks.example/***/***"),
            ("https://me:password@hooks.example:8443/in?key=secret#part", "https://hooks.example:8443/***?***"),
            ("https://hooks.example", "https://hooks.example"),
            ("https://[broken/secret", "***"),
        ],
    )
    def test_whatever_may_be_secret_in_a_url_is_masked(self, url: str, shown: str) -> None:
        assert masked(url) == shown


class TestEnsure:
    def test_the_second_time_it_exists(self, sandbox: Sandbox) -> None:
        first, second = invoke("ensure", "TASK", URL), invoke("ensure", 10, URL)
        (one,) = sandbox.webhooks.subscriptions.own()
        assert (first.stdout, second.stdout) == (f"{one.id} created\n", f"{one.id} existed\n")
        assert (first.stderr, second.stderr) == ("", "")

    def test_for_programs(self, sandbox: Sandbox) -> None:
        assert answer("ensure", "lead-activity", URL) == {"id": 7001, "existed": False}
        assert answer("ensure", "3", URL, "--string-ids") == {"id": "7001", "existed": True}
        assert [one.event for one in sandbox.webhooks.subscriptions.own()] == [3]

    def test_limit_and_permission_mode(self, sandbox: Sandbox) -> None:
        invoke("ensure", "appointment", URL, "--limit", 7, "--permission-mode", "ownership")
        (one,) = sandbox.webhooks.subscriptions.own()
        assert (one.event, one.limit, one.permission_mode) == (11, 7, 1)

    def test_an_existing_one_with_other_settings_is_left_and_told(self, sandbox: Sandbox) -> None:
        sandbox.webhooks.subscriptions.add(10, URL, limit=50)
        result = invoke("ensure", "task", URL)
        assert (result.exit_code, result.stdout) == (0, "7001 existed\n")
        assert "another limit" in result.stderr

    @pytest.mark.parametrize("event", ["0", "13", "tasks", "", "1.0"])
    def test_an_unknown_event_is_refused_with_those_there_are(self, sandbox: Sandbox, event: str) -> None:
        result = invoke("ensure", event, URL)
        assert result.exit_code == 2
        assert "listing-alert" in result.stderr
        assert not sandbox.requests

    @pytest.mark.parametrize("server", ["https://lofty.example", "http://[broken"])
    def test_plain_http_is_for_servers_on_this_machine(self, sandbox: Sandbox, server: str) -> None:
        assert invoke("ensure", "task", "http://hooks.example/a-token", "--base-url", sandbox.url).exit_code == 0
        assert invoke("ensure", "task", "http://hooks.example/a-token", "--sandbox").exit_code == 0
        result = invoke("ensure", "task", "http://hooks.example/a-token", "--base-url", server)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "a-token" not in result.output

    def test_what_the_server_refuses_is_one_line_without_the_url(self, sandbox: Sandbox) -> None:
        sandbox.webhooks.subscriptions.most = 0
        result = invoke("ensure", "task", URL)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert "WEBHOOK_EXCEED_LIMIT" in result.stderr
        assert "nobody-guesses" not in result.output


class TestDelete:
    def test_it_ends_the_subscription(self, sandbox: Sandbox) -> None:
        one = sandbox.webhooks.subscriptions.add(10, URL)
        assert invoke("delete", one.id).stdout == f"{one.id} deleted\n"
        assert not sandbox.webhooks.subscriptions.own()

    def test_several_are_ended_and_one_that_is_not_there_is_named(self, sandbox: Sandbox) -> None:
        ids = [sandbox.webhooks.subscriptions.add(event, URL).id for event in (10, 11)]
        result = invoke("delete", ids[0], 999_999, ids[1])
        assert (result.exit_code, result.stdout) == (1, f"{ids[0]} deleted\n{ids[1]} deleted\n")
        assert result.stderr.startswith("Error: 999999: ")
        assert not sandbox.webhooks.subscriptions.own()

    @pytest.mark.usefixtures("sandbox")
    @pytest.mark.parametrize(("id", "code"), [(1, 1), (0, 2), (2**63, 2)])
    def test_one_that_is_not_there(self, id: int, code: int) -> None:
        assert invoke("delete", id).exit_code == code


@pytest.fixture
def listen(sandbox: Sandbox) -> Iterator[Listen]:
    """Starts `webhooks listen` on a free port; what still runs after the test is killed."""
    assert sandbox.url
    running: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lofty_async.cli", "webhooks", "listen", "--port", "0", *options]
        pipe = subprocess.PIPE
        run = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment)
        running.append(run)
        return run

    yield start
    for run in running:
        with suppress(ProcessLookupError):
            run.kill()
        run.communicate(timeout=30)


def told(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Port and path that the command names."""
    assert run.stderr is not None
    match = re.fullmatch(r"Listening on port (\d+) of 127\.0\.0\.1; subscribe the path (.+)\n", run.stderr.readline())
    assert match is not None
    return int(match[1]), match[2]


def post(port: int, path: str, body: object = BODY) -> None:
    with urlopen(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode()) as response:
        assert response.status == 200


def fill(port: int, path: str) -> int:
    """Posts more than the pipe and the command's printing take; how many."""
    size = 40
    for number in range(1, size + 1):
        post(port, path, {"listId": 10, "updatedTask": [{"taskId": number, "pad": "x" * 9_000}]})
    return size


def refuses(port: int) -> bool:
    """Whether nobody listens on the port.

    It is bound, not connected to: CPython 3.13.0 prints an error for a connection accepted while its server closes.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that remain do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            time.sleep(0.01)  # between two looks: a closed port is no event of another process
            return False
    return True


def memory(process: int) -> int:
    """The most that the process has had, in MiB."""
    (line,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def line(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    return run.stdout.readline()


def stopped(run: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    run.send_signal(number)
    out, err = run.communicate(timeout=30)
    return run.returncode, out, err


class TestListen:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_notices_are_printed_as_they_come_until_it_is_stopped(self, listen: Listen, number: signal.Signals) -> None:
        run = listen()
        post(*told(run))
        assert line(run) == LINE
        assert stopped(run, number) == (0, "", "")

    def test_what_was_accepted_is_printed_before_it_ends(self, listen: Listen) -> None:
        run = listen()
        port, path = told(run)
        for _ in range(50):
            post(port, path)
        assert stopped(run) == (0, LINE * 50, "")

    def test_one_json_object_a_line(self, listen: Listen) -> None:
        run = listen("--json", "--string-ids")
        post(*told(run))
        assert json.loads(line(run)) == {
            "bucket": "updatedTask",
            "kind": "task",
            "task_id": "5",
            "lead_id": "7",
            "at": "2026-06-01T12:00:00+00:00",
            "raw": BODY["updatedTask"][0],  # type: ignore[index] # a list
        }

    def test_what_happens_in_a_sandbox_arrives(self, sandbox: Sandbox, listen: Listen) -> None:
        run = listen()
        port, path = told(run)
        invoke("ensure", "task", f"http://127.0.0.1:{port}{path}")
        task = next(entry for entry in sandbox.state.entries.values() if not entry.finished and entry.kind == "TASK")

        async def finish() -> None:
            async with LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
                await lofty.tasks.finish(task.id)

        asyncio.run(finish())
        assert line(run).split()[2:] == ["finishedTask", "task", str(task.id), "lead", str(task.lead_id)]

    def test_a_made_up_secret_is_unguessable(self, listen: Listen) -> None:
        paths = {told(listen())[1] for _ in range(2)}
        assert len(paths) == 2
        assert all(re.fullmatch(r"/lofty/[\w-]{43}", path) for path in paths)

    @pytest.mark.parametrize(
        ("options", "environment"),
        [(("--secret", OWN_SECRET), {}), ((), {"LOFTY_WEBHOOK_SECRET": OWN_SECRET})],
    )
    def test_a_secret_that_was_given_is_not_printed(
        self, listen: Listen, options: tuple[str, ...], environment: dict[str, str]
    ) -> None:
        run = listen(*options, **environment)
        port, path = told(run)
        assert path == "/lofty/<your secret>"
        post(port, f"/lofty/{OWN_SECRET}")
        assert line(run) == LINE
        code, out, err = stopped(run)
        assert (code, OWN_SECRET in out + err) == (0, False)

    def test_it_ends_when_nobody_reads(self, listen: Listen) -> None:
        run = listen()
        port, path = told(run)
        assert run.stdout is not None
        run.stdout.close()
        run.stdout = None
        post(port, path)
        _, err = run.communicate(timeout=30)
        assert (run.returncode, err) == (1, "")

    @pytest.mark.parametrize(
        ("first", "second"),
        [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)],
    )
    def test_a_second_signal_ends_it_at_once_though_nobody_reads(
        self, listen: Listen, first: signal.Signals, second: signal.Signals
    ) -> None:
        run = listen("--json")
        port, path = told(run)
        fill(port, path)
        run.send_signal(first)
        while not refuses(port):
            assert run.poll() is None
        run.send_signal(second)
        assert run.wait(timeout=3) == -second

    def test_what_nobody_reads_is_counted_at_the_end(self, listen: Listen) -> None:
        run = listen("--json")
        port, path = told(run)
        accepted = fill(port, path)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=30) == 1
        assert run.stdout is not None
        assert run.stderr is not None
        whole = run.stdout.read().count("\n")
        match = re.fullmatch(r"Closed with (\d+) notices unhandled\n", run.stderr.read())
        assert match is not None
        assert whole + int(match[1]) == accepted

    def test_a_reader_that_wakes_up_in_time_gets_all(self, listen: Listen) -> None:
        run = listen("--json")
        port, path = told(run)
        accepted = fill(port, path)
        run.send_signal(signal.SIGTERM)
        while not refuses(port):
            assert run.poll() is None
        out, err = run.communicate(timeout=30)
        assert (run.returncode, out.count("\n"), err) == (0, accepted, "")

    def test_it_outlives_its_terminal_under_nohup(self, sandbox: Sandbox) -> None:
        assert sandbox.url
        command = [sys.executable, "-m", "lofty_async.cli", "webhooks", "listen", "--port", "0"]
        pipe = subprocess.PIPE
        run = subprocess.Popen(
            ["/usr/bin/env", "nohup", *command], stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True
        )
        try:
            port, path = told(run)
            run.send_signal(signal.SIGHUP)
            post(port, path)
            assert line(run) == LINE
        finally:
            assert stopped(run)[0] == 0

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells how much memory was used")
    @pytest.mark.parametrize(("secret", "status"), [("somebody-elses-token", 404), (OWN_SECRET, 413)])
    def test_a_small_body_that_unpacks_to_gigabytes_does_not(self, listen: Listen, secret: str, status: int) -> None:
        run = listen(LOFTY_WEBHOOK_SECRET=OWN_SECRET)
        port, _ = told(run)
        before, large = memory(run.pid), bytes(1 << 26)
        for encoding, body in (("gzip", gzip.compress(large)), ("deflate", zlib.compress(large))):
            head = f"POST /lofty/{secret} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
                connection.sendall(f"{head}Content-Encoding: {encoding}\r\n\r\n".encode() + body)
                assert connection.recv(12) == f"HTTP/1.1 {status}".encode()
        assert memory(run.pid) - before < 30

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
    def test_a_free_port_is_one_for_all_addresses_of_the_host(self, listen: Listen) -> None:
        run = listen("--host", "")
        assert run.stderr is not None
        port = int(run.stderr.readline().split()[3])
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()
        assert stopped(run)[0] == 0

    def test_a_secret_of_two_segments_is_refused(self) -> None:
        result = invoke("listen", "--port", 0, "--secret", "one/two")
        assert result.exit_code == 2
        assert "without a slash" in result.stderr

    def test_help_asks_for_a_long_secret_and_does_not_claim_to_enforce_it(self) -> None:
        assert "should have 16 characters or more" in " ".join(invoke("listen", "--help").stdout.split())

    @pytest.mark.parametrize("host", ["nosuch.invalid", "no..such"])
    def test_a_host_that_is_none_is_refused(self, host: str) -> None:
        result = invoke("listen", "--port", 0, "--host", host)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert f"cannot listen on {host}" in result.stderr

    def test_a_port_that_is_taken_is_refused(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            result = invoke("listen", "--port", taken.getsockname()[1])
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert "cannot listen on 127.0.0.1" in result.stderr


@pytest.mark.parametrize(
    ("notice", "shown"),
    [
        (WebhookNotice(bucket="created"), "- created other"),
        (WebhookNotice(bucket="b", kind=NoticeKind.LEAD, lead_id=7), "- b lead 7"),
        (WebhookNotice(bucket="b", kind=NoticeKind.APPOINTMENT, task_id=5), "- b appointment 5"),
        (WebhookNotice(bucket="b", kind=NoticeKind.TASK), "- b task"),
        (WebhookNotice(bucket="b", kind=NoticeKind.LEAD, task_id=5, lead_id=7), "- b entry 5 lead 7"),
        (WebhookNotice(bucket="\x1b[2J\n", at=datetime(2026, 6, 1, tzinfo=UTC)), "2026-06-01 00:00+00:00  [2J  other"),
    ],
)
def test_a_notice_is_one_line_that_cannot_move_the_cursor(notice: WebhookNotice, shown: str) -> None:
    assert notice_line(notice) == shown


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("raw", "shown"),
    [({"a": [1, "é\n"]}, {"a": [1, "é\n"]}), (float("nan"), None), (nested(100_000), None)],
    ids=["anything", "no number", "too deep"],
)
def test_a_json_line_is_json_whatever_was_posted(raw: Any, shown: Any) -> None:
    text = notice_json(WebhookNotice(bucket="b", raw=raw), OutputOptions(as_json=True, string_ids=False))
    assert "\n" not in text
    assert json.loads(text, parse_constant=pytest.fail) == {
        "bucket": "b",
        "kind": "other",
        "task_id": None,
        "lead_id": None,
        "at": None,
        "raw": shown,
    }
