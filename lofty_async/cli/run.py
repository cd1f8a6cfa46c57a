"""Runs a command's work: its client, its server, its signals, and the exception that becomes its exit code."""

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from ssl import SSLContext, SSLError, create_default_context
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack
from urllib.parse import urlsplit

import click
from yarl import URL

from lofty_async import _network
from lofty_async._checks import UNSET, Unset, is_loopback
from lofty_async._wire import BASE_URL
from lofty_async.auth import BASE_URL as BASE_URL_VARIABLE
from lofty_async.auth import environment_variables
from lofty_async.client import ClientOptions, LoftyClient
from lofty_async.errors import AmbiguousWriteError, AuthenticationError, InvalidRequestError, LoftyError
from lofty_async.pagination import Pager
from lofty_async.ratelimit import RateLimiter

from .options import NetworkOptions, ServerOptions
from .saved_login import credential
from .stores import open_store

if TYPE_CHECKING:
    from aiohttp.web import Application, AppRunner

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

TYPED_AS: Final = {
    "start_at": "start",
    "end_at": "end",
    "type": "kind",
    "task_way": "way",
    "assigned_role": "role",
}
"""Parameters of commands by the arguments of calls that they become, where the names differ."""
STOP_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
SANDBOX_LEADS: Final = 200
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
        text = as_typed(error)
        raise (StartupError if is_startup_error(error) else click.ClickException)(text) from error
    except (asyncio.CancelledError, KeyboardInterrupt) as error:
        raise click.exceptions.Exit(128 + next(iter(received), signal.SIGINT)) from error


def as_typed(error: LoftyError) -> str:
    """Returns the error's text; an argument that was never sent has the name of the option that it was typed as."""
    text, context = str(error), click.get_current_context(silent=True)
    if context is None or not isinstance(error, InvalidRequestError) or error.status is not None:
        return text
    options = {str(each.name): each.opts[0] for each in context.command.params if isinstance(each, click.Option)}
    options |= {name: options[typed] for name, typed in TYPED_AS.items() if typed in options}
    first, space, rest = text.partition(" ")
    # Other words may be names too, but only those with an underscore are surely no words of a sentence.
    rest = re.sub(r"\w+_\w+", lambda found: options.get(found[0], found[0]), rest)
    return f"{options.get(first, first)}{space}{rest}"


def is_startup_error(error: LoftyError) -> bool:
    """Whether it is about the credential or an argument that was never sent."""
    is_unsent = isinstance(error, InvalidRequestError) and error.status is None
    return is_unsent or isinstance(error, AuthenticationError)


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

    def stop(number: int) -> None:
        received.append(number)
        for each in handled:
            loop.remove_signal_handler(each)
            # Not Python's own handler, which would wait while this thread is blocked.
            signal.signal(each, signal.SIG_DFL)
        working.cancel()

    # A process started by nohup ignores SIGHUP and must go on ignoring it.
    handled = [each for each in STOP_SIGNALS if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN]
    for number in handled:
        with suppress(NotImplementedError):  # on Windows, where asyncio.run itself handles SIGINT
            loop.add_signal_handler(number, stop, number)
    return await working


def collect(server: ServerOptions, limit: int | None, ask: Callable[[LoftyClient], Pager[Any]]) -> list[Any]:
    """Returns the records of a list, at most `limit` of them.

    Raises: as `run` and `connected` do.
    """

    async def work() -> list[Any]:
        async with connected(server) as lofty:
            return await ask(lofty).collect(limit=limit)

    return run(work)


def ask(server: ServerOptions, call: Callable[[LoftyClient], Awaitable[T]]) -> T:
    """Returns the result of one call.

    Raises: as `run` and `connected` do.
    """

    async def work() -> T:
        async with connected(server) as lofty:
            return await call(lofty)

    return run(work)


@asynccontextmanager
async def connected(server: ServerOptions, **options: Unpack[ClientOptions]) -> AsyncGenerator[LoftyClient, None]:
    """Yields a client for the server that was chosen; `options` are more of the client's.

    Raises: StartupError if neither the environment nor `login` provides a usable credential, or the store is none.
    """
    async with _sandbox_client(**options) if server.sandbox else _user_client(server, **options) as client:
        yield client


def allows_http(server: ServerOptions) -> bool:
    """Whether http:// addresses are allowed: by an option, or because the server runs on this machine."""
    try:
        is_local = server.sandbox or is_loopback(urlsplit(_base_url(server) or BASE_URL).hostname)
    except ValueError:
        return False  # the client rejects such an address
    return is_local or server.allow_http


def base_url_of(server: ServerOptions) -> str:
    """Returns the address of the server as limiters name it.

    Raises: InvalidRequestError if it is none.
    """
    address = _base_url(server)
    return str(_network.base_url(BASE_URL if address is None else address, allow_http=allows_http(server))).rstrip("/")


def network_from(options: NetworkOptions) -> _network.Network:
    """Returns the proxy and TLS settings of the options.

    Raises: StartupError if the proxy is not a URL or the file holds no certificates.
    """
    try:
        return _network.Network(_proxy(options), _tls(options))
    except LoftyError as error:
        raise StartupError(f"--{error}") from error
    except (SSLError, OSError) as error:
        raise StartupError(f"--ca-file {options.ca_file}: no certificates in PEM form ({error})") from error


def _proxy(options: NetworkOptions) -> URL | Unset | None:
    if options.proxy is None:
        return UNSET
    return _network.proxy_url("proxy", options.proxy) if options.proxy else None


def _tls(options: NetworkOptions) -> SSLContext | None:
    if options.ca_file is None:
        return None
    context = create_default_context()
    context.load_verify_locations(options.ca_file)
    return context


def _base_url(server: ServerOptions) -> str | None:
    return environment_variables().get(BASE_URL_VARIABLE) if server.base_url is None else server.base_url


@asynccontextmanager
async def options_for(server: ServerOptions) -> AsyncGenerator[ClientOptions, None]:
    """Yields the options of clients of the server that was chosen; they share a limiter.

    Raises: LoftyError if the store is none that can be used; StartupError as `network_from` does.
    """
    base_url, network = _base_url(server), network_from(server.network)
    async with RateLimiter(store=open_store(server.store)) as limiter:
        yield {
            "base_url": BASE_URL if base_url is None else base_url,
            "limiter": limiter,
            "proxy": network.proxy,
            "ssl": network.ssl,
            "allow_http": allows_http(server),
        }


@asynccontextmanager
async def _user_client(server: ServerOptions, **options: Unpack[ClientOptions]) -> AsyncGenerator[LoftyClient, None]:
    async with AsyncExitStack() as stack:
        try:
            more: ClientOptions = {**await stack.enter_async_context(options_for(server)), **options}
            client = LoftyClient(await credential(), **more)
        except LoftyError as error:
            raise StartupError(str(error)) from error
        yield await stack.enter_async_context(client)


@asynccontextmanager
async def _sandbox_client(**options: Unpack[ClientOptions]) -> AsyncGenerator[LoftyClient, None]:
    from lofty_async.sandbox import Sandbox

    async with Sandbox(leads=SANDBOX_LEADS, allow_http=True) as sandbox:
        more: ClientOptions = {**options, "base_url": sandbox.url, "allow_http": True}
        async with LoftyClient(sandbox.auth, **more) as client:
            yield client


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
