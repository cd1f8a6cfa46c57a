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

from lofty_async.auth import Secret
from lofty_async.oauth import read_redirect

from .run import Refused
from .server import served

HERE: Final = frozenset({"127.0.0.1", "localhost"})
ANSWERS: Final = frozenset({"code", "error"})
WRAPPING: Final = " \t\r\n<>\"'`\u2018\u2019\u201c\u201d\u201e\xab\xbb"  # quotes and brackets that mail and chat add
ADDRESS: Final = re.compile(r"://|\?|\b(code|error|state)=")
WHAT_TO_PASTE: Final = "paste the whole address that the browser ended at (https://…?code=…&state=…), or the code alone"
THANKS: Final = "Thank you. The terminal says how the login went; this page can be closed.\n"
PRIVATE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Loopback(NamedTuple):
    """An address of this machine that a browser on it can be sent to."""

    host: str
    port: int

    async def redirected(self, state: str, ready: Callable[[], None]) -> str:
        """Path and query of the first request that answers the login of this `state`.

        `ready` is called when one can come. Anything else that asks, a browser for an icon or a page that guesses the
        port, is answered by 404.

        Raises: Refused where the port is taken.
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
    """Where the redirect arrives on this machine; `None` where it goes elsewhere.

    Raises: click.BadParameter where its port is none.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port
    except ValueError as error:
        raise click.BadParameter("is no address", param_hint="--redirect-uri") from error
    here = parts.scheme == "http" and parts.hostname in HERE
    return Loopback(parts.hostname, port) if here and parts.hostname and port else None


def pasted() -> str:
    """The line that the user pastes from the browser.

    Raises: Refused where there is none; click.exceptions.Exit where the user interrupts.
    """
    try:
        click.echo("Paste the address that the browser ends at:", err=True)
        line = Secret(sys.stdin.readline().strip())
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(130) from error
    if not line:
        raise Refused(f"nothing was pasted: {WHAT_TO_PASTE}")
    return line


def code_in(line: str, state: str) -> str:
    """The code in a line that was pasted: an address, its query, or the code alone, with what mail and chat add.

    Raises: Refused where there is none in it; AuthenticationError as `read_redirect` does.
    """
    state = Secret(state)
    line = Secret(line.strip(WRAPPING).replace("&amp;", "&"))
    if not line or re.search(r"\s", line):
        raise Refused(f"what was pasted holds no code: {WHAT_TO_PASTE}")
    if not ADDRESS.search(line):
        return Secret(unquote(line))
    query = Secret(line.partition("?")[2] or line)
    if not re.search(r"(^|&)(code|error)=", query):
        raise Refused(f"what was pasted holds no single code: {WHAT_TO_PASTE}")
    return read_redirect(Secret(f"?{query}"), state)
