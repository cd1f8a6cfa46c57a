"""Logging in from the command line, and what the other commands make of it."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener, urlopen

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from lofty_async import AuthenticationError, RefreshToken
from lofty_async._session import token_post
from lofty_async.cli.app import app
from lofty_async.cli.login import Loopback, loopback
from lofty_async.cli.saved_login import credential, token_path
from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.faults import Answer, Latency, Reply

ELSEWHERE = "https://app.example/back"
AGENT = {"User-Agent": "Mozilla/5.0"}
BASIC_URL, FORM_URL = "/api/user-web/oauth/token", "/oauth/token"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(leads=2, tasks_per_lead=2) as running:
        yield running


@pytest.fixture
def here(sandbox: Sandbox) -> str:
    """A redirect URI on a free port of this machine, registered for the sandbox's application."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}/back"
    sandbox.oauth.redirect_uri = uri
    return uri


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, in an environment that holds a client but no credential."""
    for name in [name for name in os.environ if name.startswith("LOFTY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("LOFTY_BASE_URL", sandbox.url)
    monkeypatch.setenv("LOFTY_CLIENT_ID", sandbox.oauth.client_id)
    monkeypatch.setenv("LOFTY_CLIENT_SECRET", sandbox.oauth.client_secret)
    return tmp_path / "lofty-async"


@pytest.fixture
def start(sandbox: Sandbox, settings: Path) -> Iterator[Start]:
    """Starts `login` against the sandbox; what still runs after the test is killed."""
    assert not settings.exists()
    running: list[subprocess.Popen[str]] = []

    def run(redirect_uri: str, *options: object, token_path: str | None = BASIC_URL) -> subprocess.Popen[str]:
        arguments = [
            *(pages(sandbox, token_path) if token_path else ()),
            "--redirect-uri",
            redirect_uri,
            *map(str, options),
        ]
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "lofty_async.cli", "login", *arguments]
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return running[-1]

    yield run
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=30)


def pages(sandbox: Sandbox, token_path: str = BASIC_URL) -> list[str]:
    page = f"{sandbox.url}/page/vendor-auth.html"
    return ["--authorize-page", page, "--token-url", sandbox.url + token_path]


def invoke(*arguments: object, **options: Any) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


class Typing(io.RawIOBase):
    """A standard input where the user, once the browser shows a page, types one line."""

    def __init__(self, shown: "Queue[str]", answer: Callable[[str], str]) -> None:
        super().__init__()
        self.shown, self.answer, self.is_over = shown, answer, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.is_over or not len(buffer):
            return 0
        self.is_over = True
        line = f"{self.answer(self.shown.get(timeout=30))}\n".encode()
        buffer[: len(line)] = line
        return len(line)


@pytest.fixture
def log_in(sandbox: Sandbox, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `login` in this process; its user pastes what the function makes of the page."""
    assert not settings.exists()
    shown = Queue[str]()
    monkeypatch.setattr(webbrowser, "open", shown.put)

    def run(answer: Callable[[str], str]) -> Result:
        options = [*pages(sandbox), "--redirect-uri", ELSEWHERE]
        return invoke("login", *options, input=io.BufferedReader(Typing(shown, answer)))

    return run


def page_of(run: subprocess.Popen[str]) -> str:
    """The address that the command prints."""
    assert run.stdout is not None
    return run.stdout.readline().strip()


def visit(page: str) -> None:
    urlopen(Request(page, headers=AGENT)).close()  # noqa: S310 - http


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Never follows."""


def ends_at(page: str) -> str:
    """Where the page, once the user has decided, sends the browser."""
    with pytest.raises(HTTPError) as redirect:
        build_opener(Stay).open(Request(page, headers=AGENT))  # noqa: S310 - http
    location = redirect.value.headers["Location"]
    redirect.value.close()
    return str(location)


def ended(run: subprocess.Popen[str], pasted: str | None = None) -> tuple[int, str]:
    """Exit code, and what was said on stderr."""
    _, err = run.communicate(pasted, timeout=30)
    return run.returncode, err


def state_in(page: str) -> str:
    return parse_qs(urlsplit(page).query)["state"][0]


def issued(sandbox: Sandbox) -> list[str]:
    """Every secret that the login has to do with."""
    return [sandbox.oauth.client_secret, *sandbox.credentials.tokens, *sandbox.oauth.refresh_tokens]


class TestLogin:
    def test_a_browser_on_this_machine_is_opened_and_brings_the_answer(
        self, sandbox: Sandbox, start: Start, here: str, settings: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = settings.parent / "browser.py"
        browser.write_text(
            f"import sys, urllib.request as web\nweb.urlopen(web.Request(sys.argv[1], headers={AGENT})).close()\n"
        )
        monkeypatch.setenv("BROWSER", f"{sys.executable} {browser} %s")
        run = start(here)
        out, err = run.communicate(timeout=30)
        kept = settings / "token.json"
        assert (run.returncode, kept.stat().st_mode & 0o777) == (0, 0o600)
        assert str(kept) in err
        assert not [secret for secret in issued(sandbox) if secret in out + err]
        assert sandbox.oauth.client_secret not in kept.read_text()
        assert sorted(path.name for path in settings.iterdir()) == ["token.json", "token.json.lock"]
        assert invoke("whoami").exit_code == 0

    def test_without_a_secret_pkce_takes_its_place(
        self, sandbox: Sandbox, start: Start, here: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("LOFTY_CLIENT_SECRET")
        run = start(here, "--no-browser", token_path=FORM_URL)
        page = page_of(run)
        assert "code_challenge=" in page
        visit(page)
        assert ended(run)[0] == 0
        assert sandbox.oauth.issued == 1
        assert invoke("whoami").exit_code == 0

    def test_a_login_without_a_secret_is_renewed_where_it_was_granted(
        self, sandbox: Sandbox, start: Start, here: str, settings: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("LOFTY_CLIENT_SECRET")
        sandbox.oauth.token_lifetime = 1.0
        run = start(here, "--no-browser", token_path=FORM_URL)
        visit(page_of(run))
        assert ended(run)[0] == 0
        sandbox.oauth.token_lifetime = 3600.0
        write_token(settings / "token.json", refresh_token=token_in(settings / "token.json")["refresh_token"])
        assert invoke("whoami").exit_code == 0
        posts = [request.path for request in sandbox.requests if request.method == "POST"]
        assert posts == [FORM_URL, FORM_URL]

    @pytest.mark.parametrize("secret", [True, False])
    def test_the_base_url_of_the_environment_is_where_it_happens(
        self, sandbox: Sandbox, start: Start, here: str, monkeypatch: pytest.MonkeyPatch, secret: bool
    ) -> None:
        if not secret:
            monkeypatch.delenv("LOFTY_CLIENT_SECRET")
        run = start(here, "--no-browser", token_path=None)
        page = page_of(run)
        assert page.startswith(f"{sandbox.url}/page/vendor-auth.html?")
        visit(page)
        assert ended(run)[0] == 0
        assert [request.path for request in sandbox.requests if request.method == "POST"] == [
            BASIC_URL if secret else FORM_URL
        ]

    def test_an_answer_that_arrives_elsewhere_is_pasted(self, sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
        sandbox.oauth.redirect_uri = ELSEWHERE
        run = start(ELSEWHERE, "--no-browser", "--token-file", tmp_path / "mine")
        page = page_of(run)
        assert "code_challenge" not in page
        assert ended(run, ends_at(page) + "\n")[0] == 0
        assert json.loads((tmp_path / "mine").read_text())["access_token"] in sandbox.credentials.tokens

    def test_what_is_no_answer_to_this_login_is_waited_past(self, start: Start, here: str) -> None:
        run = start(here, "--no-browser")
        page = page_of(run)
        for stray in (
            "/favicon.ico",
            "/back?code=stolen",
            "/back?code=stolen&state=",
            "/back?code=stolen&state=guessed",
            "/back?code=stolen&state=%ff%F0%9F%98%80",
            "/back?error=access_denied",
            "/back?error=access_denied&state=guessed",
            "/back?code=stolen&state={state}&state={state}",
            "/back?state={state}",
        ):
            with pytest.raises(HTTPError, match="404") as refusal:
                visit(here.replace("/back", stray.format(state=state_in(page))))
            refusal.value.close()
        visit(page)
        assert ended(run)[0] == 0

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ({"code": "c", "state": "another"}, "state"),
            ({"code": "c"}, "state"),
            ({}, "single code"),
            ({"code": "never-issued"}, "invalid_grant"),
        ],
    )
    def test_an_answer_to_another_login_is_refused(
        self, log_in: Callable[..., Result], settings: Path, answer: Mapping[str, str], told: str
    ) -> None:
        def paste(page: str) -> str:
            query = answer if told == "state" else {"state": state_in(page), **answer}
            return f"{ELSEWHERE}?{urlencode(query)}"

        result = log_in(paste)
        assert (result.exit_code, (settings / "token.json").exists()) == (2, False)
        assert told in result.stderr

    @pytest.mark.parametrize(
        "form",
        [
            "{code}",
            "'{code}'",
            '"{url}"',
            "<{url}>",
            "{escaped}",
            " <{escaped}> ",
            "\u201c{url}\u201d",
            "?code={code}&state={state}",
            "code={code}&amp;state={state}",
        ],
    )
    def test_an_answer_may_be_pasted_as_mail_and_chat_show_it(
        self, sandbox: Sandbox, log_in: Callable[..., Result], form: str
    ) -> None:
        def paste(page: str) -> str:
            url = ends_at(page)
            query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
            return form.format(url=url, escaped=url.replace("&", "&amp;"), **query)

        sandbox.oauth.redirect_uri = ELSEWHERE
        result = log_in(paste)
        assert (result.exit_code, sandbox.oauth.issued) == (0, 1), result.stderr

    @pytest.mark.parametrize("line", [ELSEWHERE, f"{ELSEWHERE}?lang=en", "no idea what", "<>", '""', ""])
    def test_what_holds_no_answer_says_what_to_paste(self, log_in: Callable[..., Result], line: str) -> None:
        result = log_in(lambda _: line)
        assert result.exit_code == 2
        assert "paste the whole address" in result.stderr

    def test_a_user_can_refuse(self, sandbox: Sandbox, start: Start, here: str, settings: Path) -> None:
        sandbox.oauth.deny = True
        run = start(here, "--no-browser")
        visit(page_of(run))
        code, err = ended(run)
        assert (code, (settings / "token.json").exists()) == (2, False)
        assert "refused access" in err

    def test_a_token_endpoint_that_fails_is_an_error_of_the_server(
        self, sandbox: Sandbox, start: Start, here: str
    ) -> None:
        sandbox.faults.add(f"POST {BASIC_URL}", Reply(500, {}))
        run = start(here, "--no-browser")
        visit(page_of(run))
        assert ended(run)[0] == 1

    def test_a_wrong_secret_is_refused_and_never_shown(
        self, start: Start, here: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOFTY_CLIENT_SECRET", "secret-of-mine")
        run = start(here, "--no-browser")
        visit(page_of(run))
        code, err = ended(run)
        assert (code, "secret-of-mine" in err) == (2, False)

    @pytest.mark.parametrize("redirects_here", [True, False])
    def test_it_can_be_interrupted(self, start: Start, here: str, redirects_here: bool) -> None:
        run = start(here if redirects_here else ELSEWHERE, "--no-browser")
        assert page_of(run)
        if not redirects_here:
            assert run.stderr is not None
            while "Paste" not in run.stderr.readline():
                assert run.poll() is None
        run.send_signal(signal.SIGINT)
        assert ended(run)[0] == 130

    def test_nothing_pasted_is_no_answer(self, start: Start) -> None:
        code, err = ended(start(ELSEWHERE, "--no-browser"), "")
        assert code == 2
        assert "pasted" in err

    @pytest.mark.usefixtures("settings")
    def test_a_port_that_is_taken_is_refused(self, sandbox: Sandbox) -> None:
        taken = f"http://127.0.0.1:{sandbox.port}/back"
        result = invoke("login", "--no-browser", "--redirect-uri", taken)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "cannot listen" in result.stderr

    @pytest.mark.usefixtures("settings")
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ((), "--redirect-uri"),
            (("--redirect-uri", "http://127.0.0.1:99999/back"), "--redirect-uri"),
            (("--redirect-uri", "back"), "--redirect-uri"),
            (("--redirect-uri", ELSEWHERE, "--client-id", "a:b"), "--client-id"),
            (("--redirect-uri", ELSEWHERE, "--token-url", "http://lofty.example/token"), "--token-url"),
            (("--redirect-uri", ELSEWHERE, "--token-file", "/dev/null/token.json"), "/dev/null"),
        ],
    )
    def test_what_cannot_be_begun_is_refused_in_one_line(self, options: tuple[str, ...], told: str) -> None:
        result = invoke("login", "--no-browser", *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert told in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://127.0.0.1:8400/back", Loopback("127.0.0.1", 8400)),
        ("http://localhost:8400", Loopback("localhost", 8400)),
        ("https://localhost:8400/back", None),
        ("http://localhost/back", None),
        ("http://127.0.0.1:0/back", None),
        ("http://127.0.0.1.example:8400/back", None),
        ("app.example:/back", None),
    ],
)
def test_an_answer_is_received_only_by_plain_http_on_this_machine(uri: str, address: Loopback | None) -> None:
    assert loopback(uri) == address


@pytest.fixture
def file(sandbox: Sandbox, settings: Path) -> Path:
    """A login that has been kept since before its access token ended."""
    settings.mkdir()
    kept = settings / "token.json"
    client = {"client_id": sandbox.oauth.client_id, "token_url": sandbox.url + BASIC_URL, "has_secret": True}
    kept.write_text(json.dumps({"client": client}))
    write_token(kept)
    return kept


def write_token(file: Path, **changes: object) -> None:
    """Writes another token beside the client."""
    token = {"access_token": "ended", "refresh_token": "sandbox-refresh-0", "expires_at": time.time() - 9}
    file.write_text(json.dumps(token | {"client": token_in(file)["client"]} | changes))
    file.chmod(0o600)


def token_in(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


async def kept() -> RefreshToken:
    """The credential that commands find."""
    login = await credential()
    assert isinstance(login, RefreshToken)
    return login


class TestKeptLogin:
    def test_it_is_renewed_and_what_came_is_kept(self, sandbox: Sandbox, file: Path) -> None:
        sandbox.oauth.rotate = True
        assert invoke("whoami").exit_code == 0
        kept = token_in(file)
        assert kept["access_token"] in sandbox.credentials.tokens
        assert set(sandbox.oauth.refresh_tokens) == {kept["refresh_token"]}
        assert invoke("whoami").exit_code == 0
        assert (token_in(file), sandbox.oauth.issued) == (kept, 1)

    def test_the_environment_comes_first(self, sandbox: Sandbox, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOFTY_API_KEY", sandbox.api_key)
        assert invoke("whoami").exit_code == 0
        assert token_in(file)["access_token"] == "ended"

    @pytest.mark.usefixtures("settings")
    def test_without_either_the_command_is_named(self) -> None:
        result = invoke("whoami")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert "LOFTY_API_KEY" in result.stderr
        assert "lofty-async login" in result.stderr
        assert "--sandbox" in result.stderr

    def test_another_file_can_be_named(self, file: Path, tmp_path: Path) -> None:
        environment = {"LOFTY_TOKEN_FILE": str(tmp_path / "none.json")}
        assert file.exists()
        assert invoke("whoami", env=environment).exit_code == 2
        assert token_path(environment) == tmp_path / "none.json"

    def test_a_login_by_a_secret_needs_it_again(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LOFTY_CLIENT_SECRET")
        result = invoke("whoami")
        assert (result.exit_code, token_in(file)["access_token"]) == (2, "ended")
        assert "LOFTY_CLIENT_SECRET" in result.stderr

    @pytest.mark.parametrize("client", [None, "i", {}, {"client_id": "i", "token_url": 7, "has_secret": True}])
    def test_a_file_that_names_no_client_asks_for_a_new_login(self, file: Path, client: object) -> None:
        write_token(file, client=client)
        result = invoke("whoami")
        assert (result.exit_code, "log in again" in result.stderr) == (2, True)

    def test_files_that_cannot_be_used_are_told_in_one_line(self, file: Path) -> None:
        file.chmod(0o640)
        assert "chmod 600" in invoke("whoami").stderr
        file.unlink()
        file.mkdir()
        result = invoke("whoami")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)

    def test_a_refused_refresh_token_asks_for_a_new_login(self, file: Path) -> None:
        write_token(file, refresh_token="revoked-by-user")
        result = invoke("whoami")
        assert (result.exit_code, "revoked-by-user" in result.output) == (2, False)
        assert "log in again" in result.stderr

    def test_an_address_that_is_none_is_refused(self, file: Path) -> None:
        assert file.exists()
        assert invoke("whoami", "--base-url", "").exit_code == 2


async def test_logins_side_by_side_renew_one_after_the_other(sandbox: Sandbox, file: Path) -> None:
    sandbox.oauth.rotate = True
    one, other = await kept(), await kept()
    async with aiohttp.ClientSession() as session:
        post = token_post(session, timeout=10, user_agent="test")
        first, second = await asyncio.gather(one.fetch(post), other.fetch(post))
        assert (first == second, sandbox.oauth.issued) == (True, 1)
        newer = await one.renew(first, post)
        assert newer != first
        assert await other.renew(first, post) == newer
    assert (sandbox.oauth.issued, set(sandbox.oauth.refresh_tokens)) == (2, {token_in(file)["refresh_token"]})


def test_commands_side_by_side_share_one_renewal(sandbox: Sandbox, file: Path) -> None:
    sandbox.oauth.rotate = True
    sandbox.faults.add(f"POST {BASIC_URL}", Latency(0.5), times=None)
    command, pipe = [sys.executable, "-m", "lofty_async.cli", "whoami"], subprocess.PIPE
    runs = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    assert [ended(run) for run in runs] == [(0, ""), (0, "")]
    assert sandbox.oauth.issued == 1
    assert set(sandbox.oauth.refresh_tokens) == {token_in(file)["refresh_token"]}


@pytest.mark.parametrize("life", [3600, -9])
async def test_one_that_another_was_quicker_than_goes_on_with_what_that_one_kept(
    sandbox: Sandbox, file: Path, life: int
) -> None:
    login = await kept()
    async with aiohttp.ClientSession() as session:
        post = token_post(session, timeout=10, user_agent="test")

        async def overtaken(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
            if sandbox.oauth.refresh_tokens.pop("sandbox-refresh-0", None):
                sandbox.oauth.allow_refresh("rotated")
                write_token(file, access_token="another", refresh_token="rotated", expires_at=time.time() + life)
            return await post(url, form, basic)

        header = await login.fetch(overtaken)
    assert (header == "Bearer another", sandbox.oauth.issued) == ((True, 0) if life > 0 else (False, 1))


async def test_a_refusal_is_forgotten_once_there_is_another_login(sandbox: Sandbox, file: Path) -> None:
    write_token(file, refresh_token="revoked")
    login = await kept()
    async with aiohttp.ClientSession() as session:
        post = token_post(session, timeout=10, user_agent="test")
        for _ in range(2):
            with pytest.raises(AuthenticationError, match="log in again"):
                await login.fetch(post)
        assert [request.path for request in sandbox.requests] == [BASIC_URL], "a dead refresh token is sent once"
        write_token(file)
        assert await login.fetch(post) == f"Bearer {token_in(file)['access_token']}"


async def test_nothing_is_spent_where_it_could_not_be_kept(
    sandbox: Sandbox, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.oauth.rotate = True
    login = await kept()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async with aiohttp.ClientSession() as session:
        post = token_post(session, timeout=10, user_agent="test")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(AuthenticationError, match="No space left"):
                await login.fetch(post)
        assert (sandbox.oauth.issued, list(sandbox.oauth.refresh_tokens)) == (0, ["sandbox-refresh-0"])
        assert await login.fetch(post) == f"Bearer {token_in(file)['access_token']}"


@pytest.mark.parametrize("left", ["nothing", "no refresh token"])
async def test_a_login_whose_file_is_gone_goes_on_with_what_it_has(file: Path, left: str) -> None:
    login = await kept()
    if left == "nothing":
        file.unlink()
    else:
        write_token(file, refresh_token=None)
    async with aiohttp.ClientSession() as session:
        assert await login.fetch(token_post(session, timeout=10, user_agent="test")) != "Bearer ended"
    assert token_in(file)["refresh_token"] == "sandbox-refresh-0"
    assert token_in(file)["client"]["has_secret"] is True


async def test_a_token_that_cannot_be_kept_is_not_used(file: Path) -> None:
    login = await kept()
    folder = file.parent
    folder.rename(folder.with_name("moved"))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AuthenticationError, match=r"cannot be kept in .*token\.json"):
            await login.fetch(token_post(session, timeout=10, user_agent="test"))
    assert login.ready() is None


class Held:
    """A fault that says when a request is there, and lets it through when told to."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()

    async def __call__(self, _: web.Request, answer: Answer) -> web.StreamResponse:
        self.reached.set()
        await asyncio.to_thread(self.released.wait, 30)
        return await answer()


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGHUP)],
)
def test_signals_during_a_renewal_wait_until_the_token_is_kept(
    sandbox: Sandbox, file: Path, first: signal.Signals, second: signal.Signals
) -> None:
    sandbox.oauth.rotate, held = True, Held()
    sandbox.faults.add(f"POST {BASIC_URL}", held)
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "lofty_async.cli", "whoami"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as run:
        assert held.reached.wait(30)
        run.send_signal(first)
        assert run.stderr is not None
        assert "as soon as" in run.stderr.readline()
        run.send_signal(second)
        held.released.set()
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) in {(-second, ""), (128 + first, "")}
    assert set(sandbox.oauth.refresh_tokens) == {token_in(file)["refresh_token"]} != {"sandbox-refresh-0"}
    assert invoke("whoami").exit_code == 0


class TestRefreshTokenOfTheEnvironment:
    @pytest.fixture(autouse=True)
    def seed(self, sandbox: Sandbox, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A refresh token that works once; where its successor is to be kept."""
        sandbox.oauth.rotate = True
        sandbox.oauth.allow_refresh("seed")
        monkeypatch.setenv("LOFTY_REFRESH_TOKEN", "seed")
        return settings / "token.json"

    def test_its_successors_are_kept(self, sandbox: Sandbox, seed: Path) -> None:
        for number in range(1, 4):
            assert invoke("whoami").exit_code == 0
            assert (sandbox.oauth.issued, seed.stat().st_mode & 0o777) == (number, 0o600)
            kept = json.loads(seed.read_text())
            seed.write_text(json.dumps(kept | {"expires_at": time.time() - 1}))
        assert "seed" not in sandbox.oauth.refresh_tokens

    def test_a_new_one_takes_the_place_of_the_old(
        self, sandbox: Sandbox, seed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert invoke("whoami").exit_code == 0
        sandbox.oauth.allow_refresh("another")
        monkeypatch.setenv("LOFTY_REFRESH_TOKEN", "another")
        assert invoke("whoami").exit_code == 0
        assert "another" not in sandbox.oauth.refresh_tokens
        assert json.loads(seed.read_text())["refresh_token"] in sandbox.oauth.refresh_tokens

    def test_another_login_in_that_file_is_not_overwritten(self, sandbox: Sandbox, file: Path) -> None:
        before = token_in(file)
        result = invoke("whoami")
        assert (result.exit_code, token_in(file), sandbox.oauth.issued) == (2, before, 0)
        assert "LOFTY_TOKEN_FILE" in result.stderr

    def test_the_same_login_in_that_file_goes_on(
        self, sandbox: Sandbox, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOFTY_REFRESH_TOKEN", "sandbox-refresh-0")
        for number in (1, 2):
            assert invoke("whoami").exit_code == 0
            write_token(file, **{**token_in(file), "expires_at": 0})
            assert sandbox.oauth.issued == number

    def test_where_nothing_can_be_kept_that_is_said_beforehand(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("LOFTY_TOKEN_FILE", "/dev/null/token.json")
        assert invoke("whoami").exit_code == 0
        assert "works only once" in caplog.text


def test_a_linked_login_stays_linked(sandbox: Sandbox, file: Path, tmp_path: Path) -> None:
    sandbox.oauth.rotate = True
    real = tmp_path / "shared" / "login.json"
    real.parent.mkdir()
    file.rename(real)
    file.symlink_to(real)
    assert invoke("whoami").exit_code == 0
    assert file.is_symlink()
    assert token_in(real)["refresh_token"] in sandbox.oauth.refresh_tokens


def test_a_planted_login_gets_no_secret(file: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    result = invoke("whoami")
    assert (result.exit_code, token_in(file)["access_token"], len(sandbox.requests)) == (2, "ended", 0)
    assert "another user" in result.stderr
