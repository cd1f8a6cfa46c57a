"""The sandbox on the command line."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from .server import Sandbox
from .window import ResetStyle

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Announce = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=8080, help="where to listen; 0 for any free port")
    parser.add_argument("--leads", type=int, default=200, help="how many leads to make up")
    parser.add_argument("--tasks-per-lead", type=int, default=5, help="how many tasks each lead has")
    parser.add_argument("--seed", type=int, default=0, help="what the data is made up from")
    parser.add_argument("--limit", type=int, default=500, help="requests per window")
    parser.add_argument("--window", type=float, default=60.0, help="the window's length in seconds")
    parser.add_argument(
        "--reset-style",
        choices=[style.value for style in ResetStyle],
        default=ResetStyle.EPOCH_SECONDS.value,
        help="how X-RateLimit-Reset is written",
    )
    parser.add_argument(
        "--allow-http-callbacks", action="store_true", help="let webhooks be posted to http:// addresses"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")


def from_arguments(arguments: argparse.Namespace) -> Sandbox:
    """Raises: ValueError for a reset style that does not exist."""
    return Sandbox(**vars(arguments))


def _announce(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve(sandbox: Sandbox, announce: Announce = _announce) -> None:
    """Serves until SIGINT or SIGTERM, or until cancelled.

    Raises: OSError where the port is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: asyncio.run cancels on Ctrl-C there
        for number in SIGNALS:
            loop.add_signal_handler(number, stopped.set)
    try:
        async with sandbox:
            announce(f"listening on {sandbox.url}")
            announce(f"API key: {sandbox.api_key}")
            await stopped.wait()
    finally:
        with suppress(NotImplementedError):  # Windows, as above
            for number in SIGNALS:
                loop.remove_signal_handler(number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m lofty_async.sandbox", description="A Lofty server to try out against.")
    add_arguments(parser)
    asyncio.run(serve(from_arguments(parser.parse_args(arguments))))
    return 0
