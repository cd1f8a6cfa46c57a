"""Receiving the redirect that ends a login."""

import asyncio
import hmac
import re
import sys
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import click
from aiohttp import web

from lofty_async._auth import Secret
from lofty_async.oauth import read_redirect

from .run import StartupError, served

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
ANSWERS: Final = frozenset({"code", "error"})
WRAPPING: Final = " \t\r\n<>\"'`\u2018\u2019\u201c\u201d\u201e\xab\xbb"  # quotes and brackets that mail and chat add
ADDRESS: Final = re.compile(r"://|\?|\b(code|error|state)=")
PASTE_HINT: Final = "paste the whole address that the browser ended at (https://…?code=…&state=…), or the code alone"
THANKS: Final = "Thank you. The terminal says how the login went; this page can be closed.\n"
PRIVATE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Loopback(NamedTuple):
    """A loopback address that receives the redirect of a login."""

    host: str
    port: int

    async def redirected(self, state: str, ready: Callable[[], None]) -> str:
        """Returns path and query of the first request that has this `state`.

        `ready` is called when the port is open. Any other request, such as a browser's for an icon, is answered 404.

        Raises: StartupError if it cannot listen there.
        """
        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def receive(request: web.Request) -> web.Response:
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

    Raises: click.BadParameter if the URI is not valid.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port
    except ValueError as error:
        raise click.BadParameter("must be a URL", param_hint="--redirect-uri") from error
    is_local = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    return Loopback(parts.hostname, port) if is_local and parts.hostname and port else None


def pasted() -> str:
    """Returns the line that the user pastes from the browser.

    Raises: StartupError if it is empty; click.exceptions.Exit if the user interrupts.
    """
    try:
        click.echo("Paste the address that the browser ends at:", err=True)
        line = Secret(sys.stdin.readline().strip())
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(130) from error
    if not line:
        raise StartupError(f"nothing was pasted: {PASTE_HINT}")
    return line


def code_in(line: str, state: str) -> str:
    """Returns the code in a pasted line: an address, its query, or the code alone, also in quotes or brackets.

    Raises: StartupError if it has none; AuthenticationError as `read_redirect` does.
    """
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
