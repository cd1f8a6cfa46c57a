"""The sandbox on the command line."""

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

from .paging import ListTotals, UnknownCursor
from .server import Sandbox
from .window import ResetStyle

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

Announce = Callable[[str], None]


class CannotListen(Exception):  # noqa: N818 - says what cannot be done
    """The address is taken, or none of this machine's."""


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
    parser.add_argument("--allow-http", action="store_true", help="let webhooks be posted to http:// addresses")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    _add_list_arguments(parser)


def _add_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cursor-inclusive", action="store_true", help="let a page of my-tasks begin with the task its cursor names"
    )
    parser.add_argument(
        "--unknown-cursor",
        choices=[answer.value for answer in UnknownCursor],
        default=UnknownCursor.CONTINUE.value,
        help="answer of my-tasks to a cursor that is not in the list any more",
    )
    parser.add_argument(
        "--list-totals",
        choices=[totals.value for totals in ListTotals],
        default=ListTotals.EXACT.value,
        help="total that the calendar and leads report",
    )
    parser.add_argument("--max-page-size", type=int, help="most records on a page, however many are asked for")
    parser.add_argument(
        "--hide-page-size",
        dest="reports_page_size",
        action="store_false",
        help="name the page size asked for where --max-page-size cuts it",
    )
    parser.add_argument(
        "--offset-limit",
        type=int,
        help="offset from which on lists answer OFFSET_EXCEED_LIMIT; scroll ids go beyond it",
    )


def from_arguments(arguments: argparse.Namespace) -> Sandbox:
    """Raises: ValueError naming an argument that is out of its range."""
    return Sandbox(**vars(arguments))


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - unlike sys.stdout, which may be None, it bears a closed output


async def serve(sandbox: Sandbox, announce: Announce = _announce) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP, or until cancelled; a second signal does not wait for the end.

    Raises: CannotListen where the port is taken; OSError where the address cannot be announced.
    """
    stopped = asyncio.Event()
    with _signals_handled(stopped.set):
        async with _listening(sandbox):
            announce(f"listening on {sandbox.url}")
            announce(f"API key: {sandbox.api_key}")
            await stopped.wait()


@contextmanager
def _signals_handled(stop: Callable[[], None]) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    # nohup has a process ignore SIGHUP, and means it.
    handled = [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]

    def leave() -> None:
        with suppress(NotImplementedError):  # Windows, as below
            for number in handled:
                loop.remove_signal_handler(number)

    def stop_once() -> None:
        leave()
        stop()

    with suppress(NotImplementedError):  # Windows: asyncio.run cancels on Ctrl-C there
        for number in handled:
            loop.add_signal_handler(number, stop_once)
    try:
        yield
    finally:
        leave()


@asynccontextmanager
async def _listening(sandbox: Sandbox) -> AsyncGenerator[None, None]:
    try:
        await sandbox.start()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be looked up
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"cannot listen on {sandbox.host}, port {sandbox.port}: {reason}") from error
    try:
        yield
    finally:
        await sandbox.close()


def main(arguments: Sequence[str] | None = None, program: str = "python -m lofty_async.sandbox") -> None:
    """Serves until it is stopped.

    Raises: SystemExit of 2 where it cannot, after one line that says why; OSError where nothing can be written.
    """
    parser = argparse.ArgumentParser(program, "%(prog)s [options]", description="A Lofty server to try out against.")
    add_arguments(parser)
    given = parser.parse_args(arguments)
    try:
        asyncio.run(serve(from_arguments(given)))
    except (ValueError, CannotListen) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
