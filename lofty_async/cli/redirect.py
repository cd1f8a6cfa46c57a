"""Receiving the redirect that ends a login."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import click
from aiohttp import web

from .run import Refused
from .server import served

HERE: Final = frozenset({"127.0.0.1", "localhost"})
ANSWERS: Final = frozenset({"code", "error", "state"})
THANKS: Final = "Thank you. The terminal says how the login went; this page can be closed.\n"
PRIVATE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Loopback(NamedTuple):
    """An address of this machine that a browser on it can be sent to."""

    host: str
    port: int

    async def redirected(self, ready: Callable[[], None]) -> str:
        """Path and query of the first request that looks like an answer; `ready` is called when one can come.

        Raises: Refused where the port is taken.
        """
        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def receive(request: web.Request) -> web.Response:
            if not ANSWERS & request.query.keys():  # browsers ask for icons too
                raise web.HTTPNotFound
            arrived.put_nowait(str(request.rel_url))
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
    """The address that the user copies from the browser.

    Raises: Refused where there is none; click.exceptions.Exit where the user interrupts.
    """
    try:
        click.echo("Paste the address that the browser ends at:", err=True)
        line = sys.stdin.readline().strip()
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(130) from error
    if not line:
        raise Refused("no address was pasted")
    return line
