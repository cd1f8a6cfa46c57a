"""What the command finds wrong between this machine and a server, and what it says to do."""

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from lofty_async._wire import RateState
from lofty_async.cli.doctor import reset_meaning
from lofty_async.sandbox import ResetStyle, Sandbox
from lofty_async.sandbox.faults import RateHeaders, Reply, TooManyRequests
from tests.commands import invoke, on_terminal, sandboxed
from tests.raw_server import ME, answer, certificate, needs_openssl, raw_server_in_thread, server_tls
from tests.redis_server import free_port


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with sandboxed(monkeypatch) as running:
        yield running


def examined(*arguments: object, code: int = 0) -> dict[str, dict[str, Any]]:
    result = invoke("doctor", "--json", *arguments)
    assert result.exit_code == code, result.output
    return {finding["check"]: finding for finding in json.loads(result.stdout)}


def test_all_is_well(sandbox: Sandbox) -> None:
    found = examined()
    assert {finding["status"] for finding in found.values()} == {"ok", "skipped"}
    assert found["credential"]["finding"] == "ApiKey of LOFTY_API_KEY, sent with the scheme token"
    assert found["server"]["finding"] == sandbox.url
    assert found["proxy"]["finding"] == "none"
    assert found["certificate"]["status"] == "skipped"
    assert found["rate limit"]["finding"].startswith("Limit 500, Remaining ")
    assert "epoch seconds, in " in found["rate limit"]["finding"]
    assert "ms with connecting, then " in found["round trip"]["finding"]
    assert {"leads", "tasks of a lead", "your tasks", "calendar", "free slots", "webhooks"} < found.keys()
    assert len(sandbox.requests) == 7
    assert {record.status for record in sandbox.requests} == {200}


def test_it_changes_nothing(sandbox: Sandbox) -> None:
    examined()
    assert {record.route.split()[0] for record in sandbox.requests} == {"GET"}


@pytest.mark.usefixtures("sandbox")
def test_a_pipe_gets_a_line_for_each_check_and_a_terminal_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.split("\t") for line in invoke("doctor").stdout.splitlines()]
    assert {len(line) for line in lines} == {4}
    for width in (80, 40):
        table = on_terminal(monkeypatch, width, "doctor")
        assert max(map(len, table.splitlines())) <= width
        assert all(line[0].split()[0] in table for line in lines)


def test_a_wrong_credential(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "secret-of-mine")
    result = invoke("doctor")
    assert (result.exit_code, "secret-of-mine" in result.output) == (1, False)
    found = examined(code=1)["credential"]
    assert (found["status"], "LOFTY_ACCESS_TOKEN" in found["remedy"]) == ("failed", True)
    assert len(sandbox.requests) == 2


def test_a_credential_under_the_wrong_name(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOFTY_API_KEY")
    monkeypatch.setenv("LOFTY_ACCESS_TOKEN", sandbox.api_key)
    result = invoke("doctor")
    assert (result.exit_code, sandbox.api_key in result.output) == (1, False)
    assert "AccessToken of LOFTY_ACCESS_TOKEN, sent with the scheme Bearer" in result.stdout
    assert "200058" in result.stdout


def test_no_credential(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOFTY_API_KEY")
    monkeypatch.setenv("LOFTY_TOKEN_FILE", str(tmp_path / "token.json"))
    found = examined(code=1)["credential"]
    assert (found["status"], "lofty-async login" in found["remedy"]) == ("failed", True)
    assert not sandbox.requests


def test_a_permission_that_is_missing(sandbox: Sandbox) -> None:
    sandbox.faults.add("GET /v1.0/webhooks", Reply(403, {"code": 200100, "message": "no scope"}))
    found = examined(code=1)
    assert (found["webhooks"]["status"], "permission" in found["webhooks"]["remedy"]) == ("failed", True)
    assert found["calendar"]["status"] == "ok"


def test_a_server_that_fails(sandbox: Sandbox) -> None:
    sandbox.faults.add("GET /v2.0/calendar", Reply(500), times=None)
    found = examined(code=1)
    assert (found["calendar"]["status"], found["webhooks"]["status"]) == ("failed", "ok")


@pytest.mark.usefixtures("sandbox")
def test_nobody_listens() -> None:
    found = examined("--base-url", f"http://127.0.0.1:{free_port()}", code=1)
    assert (found["connection"]["status"], "firewall" in found["connection"]["remedy"]) == ("failed", True)
    assert "calendar" not in found


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("arguments", "check"),
    [
        (("--base-url", "http://lofty.test"), "server"),
        (("--proxy", "socks5://me:s3cret@proxy"), "network"),
        (("--store", "postgresql://me:s3cret@db"), "store"),
        (("--store", "redis://me:s3cret@127.0.0.1:1/0", "--app-id", "a"), "store"),
    ],
)
def test_an_option_that_cannot_be_used(arguments: tuple[str, ...], check: str) -> None:
    found = examined(*arguments, code=1)
    assert found[check]["status"] == "failed"
    assert found[check]["remedy"]
    assert "s3cret" not in json.dumps(found)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("store", ["redis://127.0.0.1:1/0", "ftp://store", "/no/such/folder/file"])
def test_a_store_that_cannot_be_used_hides_nothing_else(store: str) -> None:
    found = examined("--store", store, "--app-id", "a", code=1)
    assert [check for check, finding in found.items() if finding["status"] == "failed"] == ["store"]
    assert found["webhooks"]["status"] == "ok"


def test_a_proxy_is_named_without_its_password(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@127.0.0.1:{free_port()}")
    result = invoke("doctor", "--json", "--base-url", "https://lofty.test")
    named, refused = (finding for finding in json.loads(result.stdout) if finding["check"] == "proxy")
    assert "of HTTPS_PROXY" in named["finding"]
    assert (result.exit_code, refused["status"]) == (1, "failed"), "the connection to the proxy, not to the server"
    assert "s3cret" not in result.output
    assert not sandbox.requests


def test_a_proxy_of_the_environment_that_is_none(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:s3cret@proxy:1080")
    result = invoke("doctor", "--json", "--base-url", "https://lofty.test")
    found = {finding["check"]: finding for finding in reversed(json.loads(result.stdout))}["proxy"]
    assert (result.exit_code, found["status"], "s3cret" in result.output) == (1, "failed", False)
    assert "HTTPS_PROXY" in found["finding"]
    assert not sandbox.requests


def test_a_proxy_that_refuses(sandbox: Sandbox) -> None:
    with raw_server_in_thread(reply=lambda _: answer(b"", status=403)) as proxy:
        result = invoke("doctor", "--json", "--base-url", "https://lofty.test", "--proxy", proxy.url)
    found = json.loads(result.stdout)[-1]
    assert (result.exit_code, found["check"], found["status"]) == (1, "proxy", "failed")
    assert "--proxy" in found["remedy"]
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("reply", "check"),
    [
        (Reply(403, {"code": 200100, "message": "no scope"}), "profile"),
        (TooManyRequests({"Retry-After": "30"}), "rate limit"),
        (Reply(200, "<html>"), "connection"),
    ],
)
def test_what_the_first_call_fails_at(sandbox: Sandbox, reply: Any, check: str) -> None:
    sandbox.faults.add("GET /v1.0/me", reply, times=None)
    result = invoke("doctor", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, [one["check"] for one in found if one["status"] == "failed"]) == (1, [check])
    assert len(sandbox.requests) == 1


def test_a_limit_that_is_soon_spent_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with sandboxed(monkeypatch, limit=3) as sandbox:
        found = examined()
        assert len(sandbox.requests) == 3
    assert found["webhooks"]["status"] == "skipped"
    assert "minute" in found["webhooks"]["remedy"]


@pytest.mark.usefixtures("sandbox")
def test_a_store_is_looked_at(tmp_path: Path) -> None:
    shared = ("--store", tmp_path, "--app-id", "my-app")
    assert examined(*shared)["store"]["finding"] == "FileStore; left of the limit: unknown"
    assert examined(*shared)["store"]["finding"] == "FileStore; left of the limit: 493"


def test_headers_that_are_missing(sandbox: Sandbox) -> None:
    sandbox.faults.add("*", RateHeaders({"X-RateLimit-Limit": "500"}), times=None)
    found = examined()["rate limit"]
    assert found["status"] == "warning"
    assert found["finding"] == "Limit 500; missing: X-RateLimit-Remaining, X-RateLimit-Reset"
    assert found["remedy"]


@pytest.mark.parametrize(
    ("style", "form"),
    [
        (ResetStyle.EPOCH_SECONDS, "epoch seconds"),
        (ResetStyle.EPOCH_MILLISECONDS, "epoch milliseconds"),
        (ResetStyle.MILLISECONDS_LEFT, "milliseconds left"),
        (ResetStyle.SECONDS_LEFT, "seconds left"),
    ],
)
def test_how_reset_reads(monkeypatch: pytest.MonkeyPatch, style: ResetStyle, form: str) -> None:
    with sandboxed(monkeypatch, reset_style=style):
        assert f"({form}, in " in examined()["rate limit"]["finding"]


@pytest.mark.parametrize(
    ("reset", "text"),
    [
        (1_772_377_230.0, "epoch seconds, in 30 s"),
        (1_772_377_230_000.0, "epoch milliseconds, in 30 s"),
        (21_000.0, "milliseconds left, in 21 s"),
        (42.0, "seconds left, in 42 s"),
        (0.0, "seconds left, in 0 s"),
    ],
)
def test_the_form_of_reset_is_read_by_its_magnitude(reset: float, text: str) -> None:
    assert reset_meaning(RateState(reset=reset, server_time=1_772_377_200.0), 0.0) == text


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("seconds", "status", "word"), [(-3600, "warning", "ahead"), (3600, "warning", "behind"), (0, "ok", "")]
)
def test_a_clock_that_is_off(seconds: int, status: str, word: str) -> None:
    def reply(_: str) -> bytes:
        return answer(b'{"id": 7}', f"Date: {formatdate(time.time() + seconds, usegmt=True)}")

    with raw_server_in_thread(reply=reply) as server:
        result = invoke("doctor", "--json", "--base-url", server.url)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}["clock"]
    assert (found["status"], word in found["finding"]) == (status, True)
    assert bool(found["remedy"]) is (status == "warning")
    assert ("3,600" in found["finding"] or "3,599" in found["finding"]) is bool(seconds)


@pytest.mark.usefixtures("sandbox")
def test_a_server_without_a_clock() -> None:
    with raw_server_in_thread(reply=lambda _: ME) as server:
        result = invoke("doctor", "--json", "--base-url", server.url)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert found["clock"]["finding"] == "the server sends no Date"
    assert result.exit_code == 1  # it does not speak as Lofty does


@needs_openssl
@pytest.mark.usefixtures("sandbox")
def test_the_certificate_in_use(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with raw_server_in_thread(tls=server_tls(pem), reply=lambda _: ME) as server:
        trusted = invoke("doctor", "--json", "--base-url", server.url, "--ca-file", pem)
        refused = invoke("doctor", "--json", "--base-url", server.url)
    found = {finding["check"]: finding for finding in json.loads(trusted.stdout)}["certificate"]
    assert found["status"] == "warning"  # it ends in two days
    assert found["finding"] == f"from localhost, valid for 1 days; trusted by {pem}"
    failed = {finding["check"]: finding for finding in json.loads(refused.stdout)}["certificate"]
    assert (failed["status"], "--ca-file" in failed["remedy"]) == ("failed", True)


@pytest.mark.usefixtures("sandbox")
def test_a_sandbox_is_well() -> None:
    assert examined("--sandbox")["credential"]["finding"] == "the sandbox's own"


@pytest.mark.parametrize("key", ["two words\n", "schl\xfcssel"])
def test_a_key_that_no_header_can_carry_is_the_credential(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", f"{key}x")
    found = examined(code=1)["credential"]
    assert found["status"] == "failed"
    assert "LOFTY_API_KEY" in found["remedy"]
    assert not sandbox.requests
