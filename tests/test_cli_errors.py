"""Error lines name what was typed or set, and the next step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Reply
from tests.commands import invoke, sandboxed

NOT_THERE = 999_999_999_999
LOGIN = ("login", "--client-id", "a", "--redirect-uri", "https://a.test/", "--no-browser")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch) as running:
        yield running


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("LOFTY_API_KEY", "s3cr\u2026et", "LOFTY_API_KEY has characters that no header can carry"),
        ("LOFTY_BASE_URL", "api.lofty.com", "LOFTY_BASE_URL must begin with https:// or http:// and a host"),
        ("LOFTY_BASE_URL", "http://s3cret@127.0.0.1:1", "LOFTY_BASE_URL must hold no credentials"),
        ("LOFTY_STORE", "ftp://s3cret", "LOFTY_STORE: ftp:// is no store"),
        ("LOFTY_STORE", "/no/s3ch/place", "LOFTY_STORE: /no/s3ch/place: there is no folder /no/s3ch; make it first"),
        ("LOFTY_STORE", "/no/app_id/x", "LOFTY_STORE: /no/app_id/x: there is no folder /no/app_id; make it first"),
        ("HTTPS_PROXY", "socks5://s3cret", "HTTPS_PROXY must be the http:// or https:// URL of a proxy"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, text: str
) -> None:
    monkeypatch.setenv(variable, value)
    if variable == "HTTPS_PROXY":
        monkeypatch.setenv("LOFTY_BASE_URL", "https://lofty.test")
    result = invoke("whoami")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {text}")
    assert "s3cr" not in result.stderr


@pytest.mark.usefixtures("sandbox")
def test_an_app_id_that_is_a_path_goes_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOFTY_APP_ID", str(tmp_path / "budget.json"))
    result = invoke("budget", "--once", "--store", tmp_path)
    assert (result.exit_code, result.stderr.partition("'")[0]) == (2, "Error: LOFTY_APP_ID must be the application")
    assert "--app-id must be" in invoke("budget", "--once", "--store", tmp_path, "--app-id", "./x").stderr


def test_a_variable_of_blanks_is_not_set(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_BASE_URL", " ")
    result = invoke("whoami", "--proxy", "http://127.0.0.1:9")
    assert (result.exit_code, "HTTP" in result.stderr) == (1, False)
    assert sandbox.requests == []
    assert invoke("whoami", "--base-url", "").stderr.startswith("Error: --base-url ")


@pytest.mark.usefixtures("sandbox")
def test_a_credential_that_is_refused_leads_to_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "another")
    result = invoke("tasks", "mine")
    assert (result.exit_code, "HTTP 401" in result.stderr) == (2, True)
    assert result.stderr.endswith("; to find out why: lofty-async doctor\n")


@pytest.mark.usefixtures("sandbox")
def test_a_server_that_is_not_there_leads_to_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_BASE_URL", "http://127.0.0.1:9")
    result = invoke("tasks", "delete", "7")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.endswith("; to find out why: lofty-async doctor\n")


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("tasks", "create", "--lead", 1, "--content", "x", "--end", "tomorrow"), "(lofty-async leads list)"),
        (("tasks", "list", 1), "it may be deleted, or not yours to see"),
        (("tasks", "get", NOT_THERE), "it may be deleted, or not yours to see"),
        (("tasks", "finish", NOT_THERE), "it may be deleted, or not yours to see"),
    ],
)
def test_a_record_of_somebody_else_may_be_the_reason(arguments: tuple[object, ...], hint: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, hint in result.stderr, result.stderr.count("\n")) == (1, True, 1)


def test_an_error_of_the_server_is_left_as_it_is(sandbox: Sandbox) -> None:
    sandbox.faults.add("GET /v1.0/me", Reply(400, {"code": 99, "message": "no such thing"}), times=None)
    result = invoke("whoami")
    assert (result.exit_code, result.stderr.endswith("no such thing\n")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("tasks", "list", "x"), "LEAD must be a lead id, not 'x'"),
        (("tasks", "finish", "7-task"), "ID must be a task id, not '7-task': use 7"),
        (("tasks", "create", "--lead", 7, "--content", "x", "--end", "soon"), "--end must be an ISO 8601 time or date"),
        (("tasks", "mine", "--output", ""), "--output must be a file name, not ''"),
        (("tasks", "mine", "--time-zone", "Mars"), "--time-zone must be an IANA time zone such as"),
        (("calendar", "--week", "x"), "--week must be a date such as 2026-03-02, not 'x'"),
        (("leads", "list", "--filter", "contacted=maybe"), "--filter contacted must be true or false, not 'maybe'"),
        (("login", "--client-id", "a", "--redirect-uri", "http://[x"), "--redirect-uri must be a URL"),
        ((*LOGIN, "--proxy", "socks5://x"), "--proxy must be the http:// or https:// URL of a proxy"),
        ((*LOGIN, "--ca-file", "{file}"), "--ca-file /"),
        (("sync", "--leads-file", "{file}"), "--leads-file, line 1 must be a lead id, not 'x'"),
        (("webhooks", "ensure", "task", "ftp://x.test/"), "URL must be an https:// "),
        (("webhooks", "ensure", "x", "https://x.test/"), "EVENT must be 1 to 12 or one of agent, "),
    ],
)
def test_a_wrong_argument_is_named_as_it_is_typed(
    sandbox: Sandbox, tmp_path: Path, arguments: tuple[object, ...], text: str
) -> None:
    (tmp_path / "file").write_text("x")
    result = invoke(*(str(one).format(file=tmp_path / "file") for one in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith(f"Error: {text}")
    assert not sandbox.requests
