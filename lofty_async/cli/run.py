"""Runs a command's work: its signals, the exception that becomes its exit code, and a server of its own."""

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from lofty_async.errors import (
    AmbiguousWriteError,
    APIError,
    AuthenticationError,
    InvalidRequestError,
    LoftyError,
    NotFoundError,
    PermissionDeniedError,
    TransportError,
)

from .options import typed_name

if TYPE_CHECKING:
    from aiohttp.web import Application, AppRunner

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

HINTS: Final[dict[type[LoftyError], str]] = {
    AuthenticationError: "to find out why: lofty-async doctor",
    PermissionDeniedError: "the record or its lead may not be yours (lofty-async leads list), or the application "
    "lacks the permission (lofty-async doctor)",
    NotFoundError: "it may be deleted, or not yours to see",
    TransportError: "to find out why: lofty-async doctor",
}
"""The next step after a server's answer of each kind, or after none."""
STOP_SIGNALS: Final[list[signal.Signals]] = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds for answers in progress when a server is stopped."""


class StartupError(click.ClickException):
    """The command cannot start: one line, exit code 2."""

    exit_code = 2


class AmbiguousError(click.ClickException):
    """A create was sent and its response lost, so the record may exist: exit code 3."""

    exit_code = 3


def run(work: Work[T], *, look: str = "") -> T:
    """Returns the coroutine's result; SIGINT, SIGTERM and SIGHUP cancel it, so that it can save what it has.

    A second signal of any of these ends the process at once. `look` is the command that shows whether a create whose
    response was lost has succeeded.

    Raises: StartupError for credentials and for arguments that were never sent; AmbiguousError for such a create;
    click.ClickException for any other error; click.exceptions.Exit with 128 and the signal's number if a signal
    stopped it.
    """
    received: list[int] = []
    try:
        return asyncio.run(_stoppable(work, received))
    except AmbiguousWriteError as error:
        hint = f"; before creating it again, look with: {look}" if look else ""
        raise AmbiguousError(f"{error}{hint}") from error
    except LoftyError as error:
        raise (StartupError if is_startup_error(error) else click.ClickException)(explained(error)) from error
    except (asyncio.CancelledError, KeyboardInterrupt) as error:
        raise click.exceptions.Exit(128 + next(iter(received), signal.SIGINT)) from error


def explained(error: LoftyError) -> str:
    """Returns the error's text, its argument by the name that was typed, and the next step, if there is one to say."""
    if _is_unsent(error):
        return as_typed(str(error))
    has_answer = isinstance(error, TransportError) or (isinstance(error, APIError) and error.status is not None)
    hint = next((text for kind, text in HINTS.items() if has_answer and isinstance(error, kind)), "")
    return f"{error}; {hint}" if hint else str(error)


def as_typed(text: str) -> str:
    """Returns the text of an error; arguments that it names have the names by which they were typed or set."""
    context = click.get_current_context(silent=True)
    if context is None:
        return text
    names = {one.name: _name(one, context) for one in context.command.params}
    # The first word is what the error is about. Others may be names too, but those without an underscore may be
    # words of a sentence, and those beside a slash, a hyphen or an extension are of a path.
    return re.sub(r"^\w+|(?<![\w/.-])\w+_\w+(?![\w/-]|\.\w)", lambda found: names.get(found[0], found[0]), text)


def _name(param: click.Parameter, context: click.Context) -> str:
    is_variable = context.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT
    return str(param.envvar) if is_variable else typed_name(param)


def is_startup_error(error: LoftyError) -> bool:
    """Whether it is about the credential or an argument that was never sent."""
    return _is_unsent(error) or isinstance(error, AuthenticationError)


def _is_unsent(error: LoftyError) -> bool:
    return isinstance(error, InvalidRequestError) and error.status is None


@contextmanager
def ended_by_signal() -> Generator[None, None, None]:
    """Ends the block, and nothing else, when a signal cancels the task."""
    try:
        yield
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()  # early releases of Python 3.11 take it for the end of each timeout that follows


async def _stoppable(work: Work[T], received: list[int]) -> T:
    loop, working = asyncio.get_running_loop(), asyncio.create_task(work())

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(working.cancel)

    # A process started by nohup ignores SIGHUP and must go on ignoring it.
    handled = [each for each in STOP_SIGNALS if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN]
    # Not the loop's handlers: the loop calls none while a full pipe blocks it, and the second signal would end nothing.
    before = {each: signal.signal(each, stop) for each in handled}
    try:
        return await working
    finally:
        if not received:
            restore_handlers(before)


def restore_handlers(handlers: Mapping[signal.Signals, Any]) -> None:
    """Makes these the handlers of signals again; `None` is one that was not set from Python."""
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave_signals() -> None:
    """Leaves SIGINT and SIGTERM to work that has handlers of its own."""
    restore_handlers({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL})


@contextmanager
def listen_errors(host: str, port: int) -> Generator[None, None, None]:
    """Raises: StartupError in place of an error that says why a server cannot listen."""
    try:
        yield
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be encoded
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {host}, port {port}: {reason}") from error


@asynccontextmanager
async def served(app: "Application", host: str, port: int) -> AsyncGenerator[int, None]:
    """Serves the application, and yields the port that it listens on.

    Raises: StartupError if it cannot listen there.
    """
    from aiohttp.web import AppRunner

    # No access log: paths and queries of these servers hold secrets. No decompression: aiohttp would decompress the
    # body of any sender; the handlers do it themselves, with a limit.
    runner = AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT, auto_decompress=False)
    await runner.setup()
    try:
        with listen_errors(host, port):
            bound = await _listen(runner, host, port)
        yield bound
    finally:
        await runner.cleanup()


async def _listen(runner: "AppRunner", host: str, port: int) -> int:
    from aiohttp.web import TCPSite

    site = TCPSite(runner, host, port)
    await site.start()
    ports = {int(address[1]) for address in runner.addresses}
    if len(ports) == 1:
        return ports.pop()
    # Port 0 gives each address of the host a port of its own; callers are told one for all.
    await site.stop()
    return await _listen(runner, host, ports.pop())
