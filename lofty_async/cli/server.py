from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from .run import Refused

LAST_ANSWERS: Final = 5.0
"""Seconds for answers under way when the server is told to end."""


@asynccontextmanager
async def served(app: web.Application, host: str, port: int) -> AsyncGenerator[int, None]:
    """Serves the application, and gives the port that it listens on.

    Raises: Refused where it cannot listen there.
    """
    # No access log: the paths and queries of these servers are secrets. Bodies are unpacked, within a bound, by who
    # asks for them: aiohttp would unpack those of anybody.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_ANSWERS, auto_decompress=False)
    await runner.setup()
    try:
        yield await _port(runner, host, port)
    finally:
        await runner.cleanup()


async def _port(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be looked up
        reason = getattr(error, "strerror", None) or error
        raise Refused(f"cannot listen on {host}, port {port}: {reason}") from error
    bound: int = runner.addresses[0][1]
    return bound
