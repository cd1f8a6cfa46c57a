"""Proxies, certificates and http:// addresses, as every command that connects takes them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lofty_async.cli.app import app
from tests.raw_server import ME, certificate, needs_openssl, raw_server_in_thread, server_tls

COMMANDS = [
    ["sync", "--db", "tasks.sqlite"],
    ["tasks", "mine"],
    ["tasks", "list", "5"],
    ["calendar", "--start", "2026-01-01", "--time-zone", "UTC"],
    ["slots", "--start", "2099-01-01", "--end", "2099-01-02", "--time-zone", "UTC"],
    ["whoami"],
    ["webhooks", "list"],
    ["webhooks", "ensure", "task", "https://app.example/hook"],
    ["webhooks", "delete", "5"],
    ["leads", "list"],
    ["tasks", "get", "5"],
    ["tasks", "create", "--lead", "5", "--content", "x", "--end", "tomorrow"],
    ["tasks", "finish", "5"],
    ["calendar", "delete", "5-task"],
    ["budget", "--once"],
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOFTY_API_KEY", "key")
    monkeypatch.setenv("LOFTY_BASE_URL", "https://lofty.test")
    return monkeypatch


@pytest.fixture
def tunnels() -> Iterator[tuple[str, list[str]]]:
    """A proxy that refuses every tunnel, and the first lines of what it was asked."""
    asked: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(65536).decode().splitlines()[0])
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestEveryCommand:
    def test_takes_a_proxy(self, tunnels: tuple[str, list[str]], command: list[str]) -> None:
        result = invoke(*command, "--proxy", tunnels[0])
        assert (result.exit_code, set(tunnels[1])) == (1, {"CONNECT lofty.test:443 HTTP/1.1"})
        assert "the proxy answers HTTP 403" in result.stderr

    def test_refuses_a_file_without_certificates(self, tmp_path: Path, command: list[str]) -> None:
        (tmp_path / "ca.pem").write_text("none here")
        for name in ("ca.pem", "missing.pem"):
            result = invoke(*command, "--ca-file", name)
            assert (result.exit_code, "--ca-file" in result.stderr) == (2, True)

    def test_refuses_an_http_address_off_this_machine(self, command: list[str]) -> None:
        result = invoke(*command, "--base-url", "http://lofty.test")
        assert (result.exit_code, "--base-url" in result.stderr) == (2, True)


def test_the_environments_proxy_is_used_and_an_empty_option_is_none(
    environment: pytest.MonkeyPatch, tunnels: tuple[str, list[str]]
) -> None:
    environment.setenv("HTTPS_PROXY", tunnels[0])
    assert "proxy" in invoke("whoami").stderr
    asked = len(tunnels[1])
    environment.setenv("LOFTY_BASE_URL", "https://127.0.0.1:9")
    assert invoke("whoami", "--proxy", "").exit_code == 1
    assert (asked, len(tunnels[1])) == (1, 1)


def test_a_proxy_that_is_none_is_refused_and_not_shown() -> None:
    result = invoke("whoami", "--proxy", "socks5://me:s3cret@proxy:1080")
    assert (result.exit_code, "s3cret" in result.output) == (2, False)
    assert "--proxy" in result.stderr


def test_an_http_address_may_be_allowed(tunnels: tuple[str, list[str]]) -> None:
    invoke("whoami", "--base-url", "http://lofty.test", "--allow-http", "--proxy", tunnels[0])
    assert set(tunnels[1]) == {"GET http://lofty.test/v1.0/me HTTP/1.1"}


def test_a_login_takes_a_proxy(environment: pytest.MonkeyPatch, tunnels: tuple[str, list[str]], tmp_path: Path) -> None:
    environment.setenv("LOFTY_CLIENT_SECRET", "secret")
    environment.delenv("LOFTY_BASE_URL")
    environment.setattr("lofty_async.cli.login.new_state", lambda: "state")
    options = ["--client-id", "id", "--redirect-uri", "https://app.example/back", "--no-browser"]
    arguments = ["login", *options, "--token-file", str(tmp_path / "token.json"), "--proxy", tunnels[0]]
    answer = "https://app.example/back?code=c0de&state=state\n"
    result = CliRunner().invoke(app, arguments, input=answer)
    assert result.exit_code == 1
    assert tunnels[1] == ["CONNECT crm.lofty.com:443 HTTP/1.1"]


@needs_openssl
def test_a_file_of_certificates_is_trusted(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with raw_server_in_thread(tls=server_tls(pem), reply=lambda _: ME) as server:
        assert invoke("whoami", "--json", "--base-url", server.url, "--ca-file", pem).exit_code == 0
        refused = invoke("whoami", "--base-url", server.url)
    assert (refused.exit_code, "certificate" in refused.stderr) == (1, True)
    assert len(server.heads) == 1
