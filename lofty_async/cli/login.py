"""The commands on credentials: log in, and show whose credential is in use."""

import asyncio
import hmac
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import aiohttp
import click

from lofty_async._auth import Secret
from lofty_async._network import Network
from lofty_async._session import token_post
from lofty_async.auth import environment_base_url
from lofty_async.client import USER_AGENT
from lofty_async.errors import LoftyError
from lofty_async.oauth import (
    API_TOKEN_URL,
    AUTHORIZE_PAGE,
    CRM_TOKEN_URL,
    AuthorizationCode,
    LoginClient,
    Pkce,
    Token,
    at_base_url,
    new_state,
    read_redirect,
)

from .options import (
    FilePath,
    OutputOptions,
    ServerOptions,
    examples,
    given,
    network_options,
    record_options,
    server_or_sandbox_options,
)

if TYPE_CHECKING:
    from aiohttp import web

TIMEOUT: Final = 30.0
"""Seconds for the exchange of the code."""
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
ANSWERS: Final = frozenset({"code", "error"})
WRAPPING: Final = " \t\r\n<>\"'`\u2018\u2019\u201c\u201d\u201e\xab\xbb"  # quotes and brackets that mail and chat add
ADDRESS: Final = re.compile(r"://|\?|\b(code|error|state)=")
PASTE_HINT: Final = "paste the whole address that the browser ended at (https://…?code=…&state=…), or the code alone"
THANKS: Final = "Thank you. The terminal says how the login went; this page can be closed.\n"
PRIVATE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@click.command(epilog=examples("lofty-async whoami", "lofty-async whoami --json"))
@record_options
@server_or_sandbox_options
def whoami(*, output: OutputOptions, server: ServerOptions) -> None:
    """Show whose credential is in use."""
    from .client import ask
    from .output import show_record

    show_record(ask(server, lambda lofty: lofty.me()), output)


@click.command(
    epilog=examples(
        "lofty-async login --client-id ID --redirect-uri http://127.0.0.1:8400/back",
        "lofty-async login --client-id ID --redirect-uri https://app.example/back --no-browser",
    )
)
@click.option("--client-id", envvar="LOFTY_CLIENT_ID", required=True, metavar="ID", help="Default: LOFTY_CLIENT_ID.")
@click.option("--redirect-uri", required=True, metavar="URI", help="As registered for the application.")
@click.option(
    "--token-file",
    type=FilePath(),
    metavar="FILE",
    help="File for the login. Default: LOFTY_TOKEN_FILE, which the other commands use too, else "
    "lofty-async/token.json among the user's settings ($XDG_CONFIG_HOME or ~/.config on Linux).",
)
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@network_options
@click.option("--authorize-page", hidden=True)
@click.option("--token-url", hidden=True)
def login(
    *,
    client_id: str,
    redirect_uri: str,
    token_file: Path | None,
    no_browser: bool,
    proxy: str | None,
    ca_file: Path | None,
    authorize_page: str | None,
    token_url: str | None,
) -> None:
    """Log in as a user of Lofty.

    Saves the login for the other commands. Prints the page where the user consents, and opens it. If the redirect URI
    is http://127.0.0.1:PORT/… or http://localhost:PORT/…, this command receives the answer; otherwise paste the address
    that the browser ends at.

    An application with a client secret passes it as LOFTY_CLIENT_SECRET, never as an argument; without one, PKCE
    secures the login.

    FILE holds the tokens and the client id, readable by its owner alone; the client secret is never written. Commands
    without a complete credential in their environment use this login, renew it when its access token expires, and
    save the new tokens. If it was made with a client secret, they need LOFTY_CLIENT_SECRET too. Several commands may
    run at once. Delete FILE to log out here.

    If LOFTY_BASE_URL is set, the login is made and renewed at that server. The successor of a LOFTY_REFRESH_TOKEN of
    the environment is saved in FILE as well.
    """
    from .client import network_of
    from .run import StartupError, explained, run
    from .saved_login import LoginFile, client_secret, deferred_signals, token_path

    secret, listener = client_secret(), loopback(redirect_uri)
    try:
        flow = AuthorizationCode(client_id, secret, redirect_uri, **_addresses(secret, authorize_page, token_url))
        client = LoginClient(flow.client_id, flow.refresh_url, has_secret=flow.client_secret is not None)
        file = LoginFile(token_file or token_path(), client=client)
        network = network_of(proxy, ca_file)
    except LoftyError as error:
        raise StartupError(explained(error)) from error
    pkce = None if secret else Pkce.new()

    async def save(read_code: Callable[[], str]) -> None:
        code = read_code()
        with deferred_signals():
            await file.save(await _exchanged(flow, pkce, code, network))

    run(file.prepare)
    state = new_state()
    page = flow.authorize_url(state, pkce=pkce)
    if listener is None:
        _show(page, browse=not no_browser)
        line = pasted()
        run(lambda: save(lambda: code_in(line, state)))
    else:
        answer = run(lambda: listener.redirected(state, lambda: _show(page, browse=not no_browser)))
        run(lambda: save(lambda: read_redirect(answer, state)))
    click.echo(f"Logged in; saved in {file.path}", err=True)


def _addresses(secret: str | None, authorize_page: str | None, token_url: str | None) -> dict[str, Any]:
    """Returns the page and the endpoint of a login: those given, else those of the environment's server."""
    base_url = environment_base_url()
    if base_url is not None:
        authorize_page = authorize_page or at_base_url(AUTHORIZE_PAGE, base_url)
        token_url = token_url or at_base_url(CRM_TOKEN_URL if secret else API_TOKEN_URL, base_url)
    return given(authorize_page=authorize_page, token_url=token_url)


async def _exchanged(flow: AuthorizationCode, pkce: Pkce | None, code: str, network: Network) -> Token:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        post = token_post(session, timeout=TIMEOUT, user_agent=USER_AGENT, network=network)
        credentials = await flow.exchange(code, post, pkce=pkce)
    return cast("Token", credentials.token)  # an exchange that returns has a token


def _show(page: str, *, browse: bool) -> None:
    import threading
    import webbrowser

    click.echo("Agree on this page, as the user to log in:", err=True)
    click.echo(page)
    if browse:
        # Some browsers return only when they are closed; neither the answer nor the end may wait for that.
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()


class Loopback(NamedTuple):
    """A loopback address that receives the redirect of a login."""

    host: str
    port: int

    async def redirected(self, state: str, ready: Callable[[], None]) -> str:
        """Returns path and query of the first request that has this `state`.

        `ready` is called when the port is open. Any other request, such as a browser's for an icon, is answered 404.

        Raises: StartupError if it cannot listen there.
        """
        from aiohttp import web

        from .run import served

        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def receive(request: "web.Request") -> "web.Response":
            received = "".join(request.query.getall("state", ())).encode(errors="replace")
            if not (ANSWERS & request.query.keys() and hmac.compare_digest(received, state.encode())):
                raise web.HTTPNotFound
            arrived.put_nowait(Secret(request.rel_url))
            return web.Response(text=THANKS, headers=PRIVATE)

        app = web.Application()
        app.router.add_get("/{path:.*}", receive, allow_head=False)
        async with served(app, self.host, self.port):
            ready()
            return await arrived.get()


def loopback(redirect_uri: str) -> Loopback | None:
    """Returns the address on this machine that the URI redirects to, or `None` if it is elsewhere.

    Raises: click.UsageError if the URI is not valid.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port
    except ValueError as error:
        raise click.UsageError("--redirect-uri must be a URL") from error
    is_local = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    return Loopback(parts.hostname, port) if is_local and parts.hostname and port else None


def pasted() -> str:
    """Returns the line that the user pastes from the browser.

    Raises: StartupError if it is empty.
    """
    from .run import StartupError

    click.echo("Paste the address that the browser ends at:", err=True)
    line = Secret(sys.stdin.readline().strip())
    if not line:
        raise StartupError(f"nothing was pasted: {PASTE_HINT}")
    return line


def code_in(line: str, state: str) -> str:
    """Returns the code in a pasted line: an address, its query, or the code alone, also in quotes or brackets.

    Raises: StartupError if it has none; AuthenticationError as `read_redirect` does.
    """
    from .run import StartupError

    state = Secret(state)
    line = Secret(line.strip(WRAPPING).replace("&amp;", "&"))
    if not line or re.search(r"\s", line):
        raise StartupError(f"the pasted text has no code: {PASTE_HINT}")
    if not ADDRESS.search(line):
        return Secret(unquote(line))
    query = Secret(line.partition("?")[2] or line)
    if not re.search(r"(^|&)(code|error)=", query):
        raise StartupError(f"the pasted text has no single code: {PASTE_HINT}")
    return read_redirect(Secret(f"?{query}"), state)
