"""The client of a command: its server, its credential, its network, and the store that shares its rate limit."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLError, create_default_context
from typing import Final, Self, TypeVar, Unpack
from urllib.parse import urlsplit

from lofty_async import _network
from lofty_async._auth import hidden
from lofty_async._checks import UNSET, is_loopback, refuse
from lofty_async._wire import BASE_URL
from lofty_async.auth import Auth
from lofty_async.client import ClientOptions, LoftyClient
from lofty_async.errors import InvalidRequestError
from lofty_async.ratelimit import FileStore, PostgresStore, RateLimiter, RedisStore, Store

from .options import POSTGRES, ServerOptions
from .run import run
from .saved_login import credential

T = TypeVar("T")

SANDBOX_LEADS: Final = 200
REDIS: Final = ("redis://", "rediss://", "unix://")
USABLE: Final = "use redis://HOST/0, postgresql://HOST/DATABASE, a folder or a file"
LEDGER: Final = b'{"written_at":'
"""The first bytes of a file that holds a rate limit."""


def ask(server: ServerOptions, call: Callable[[LoftyClient], Awaitable[T]], *, look: str = "") -> T:
    """Returns the result of a call; `look` is for `run`.

    Raises: as `run` does.
    """

    async def work() -> T:
        async with connected(server) as lofty:
            return await call(lofty)

    return run(work, look=look)


@asynccontextmanager
async def connected(server: ServerOptions, **more: Unpack[ClientOptions]) -> AsyncGenerator[LoftyClient, None]:
    """Yields a client for the server that was chosen.

    Raises: LoftyError if neither the environment nor `login` provides a usable credential; as `options_for` does.
    """
    async with _sandbox() if server.sandbox else _user(server) as (auth, chosen):
        options: ClientOptions = {**chosen, **more}
        async with LoftyClient(auth, **options) as client:
            yield client


@asynccontextmanager
async def _user(server: ServerOptions) -> AsyncGenerator[tuple[Auth, ClientOptions], None]:
    async with options_for(server) as options:
        yield await credential(), options


@asynccontextmanager
async def _sandbox() -> AsyncGenerator[tuple[Auth, ClientOptions], None]:
    from lofty_async.sandbox import Sandbox

    async with Sandbox(leads=SANDBOX_LEADS, allow_http=True) as sandbox:
        yield sandbox.auth, {"base_url": sandbox.url, "allow_http": True}


def allows_http(server: ServerOptions) -> bool:
    """Whether http:// addresses are allowed: by an option, or because the server runs on this machine."""
    try:
        is_local = server.sandbox or is_loopback(urlsplit(_address(server)).hostname)
    except ValueError:
        return False  # the client rejects such an address
    return is_local or server.allow_http


def base_url_of(server: ServerOptions) -> str:
    """Returns the address of the server as limiters name it.

    Raises: InvalidRequestError if it is none.
    """
    return str(_network.base_url(_address(server), allow_http=allows_http(server))).rstrip("/")


def _address(server: ServerOptions) -> str:
    return BASE_URL if server.base_url is None else server.base_url


def network_of(proxy: str | None, ca_file: Path | None) -> _network.Network:
    """Returns the proxy and TLS settings of the options.

    Raises: InvalidRequestError if the proxy is not a URL, or the file holds no certificates.
    """
    address = UNSET if proxy is None else _network.proxy_url("proxy", proxy) if proxy else None
    if ca_file is None:
        return _network.Network(address)
    context = create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (SSLError, OSError) as error:
        raise refuse("ca_file", f"{ca_file}: no certificates in PEM form ({error})") from error
    return _network.Network(address, context)


@asynccontextmanager
async def options_for(server: ServerOptions) -> AsyncGenerator[ClientOptions, None]:
    """Yields the options of clients of the server that was chosen; they share a limiter.

    Raises: InvalidRequestError if the store is none that can be used; as `network_of` does.
    """
    network = network_of(server.proxy, server.ca_file)
    async with RateLimiter(store=open_store(server)) as limiter:
        yield {
            "base_url": _address(server),
            "limiter": limiter,
            "proxy": network.proxy,
            "ssl": network.ssl,
            "allow_http": allows_http(server),
        }


@asynccontextmanager
async def shared_store(server: ServerOptions) -> AsyncGenerator[Store | None, None]:
    """Yields the store of the options as limiters of that server use it, `None` if they name none.

    Raises: InvalidRequestError if it is none that can be used, or the server's address is none.
    """
    store = open_store(server)
    if store is None:
        yield None
        return
    shared = store.for_server(base_url_of(server))
    try:
        yield shared
    finally:
        await shared.close()


def open_store(server: ServerOptions) -> Store | None:
    """Returns the store of the options, `None` if they name none.

    Raises: InvalidRequestError if it is none that can be used.
    """
    address = hidden(server.store)
    if address is None:
        return None
    if not address:
        raise _refused(f"must not be empty; {USABLE}")
    scheme = address.partition("://")[0].lower() + "://"
    if scheme in REDIS:
        return _connecting(RedisStore.from_url, address, _app_id(server))
    if scheme in POSTGRES:
        return _connecting(lambda dsn, app_id: PostgresStore(app_id, dsn), address, _app_id(server))
    if "://" in address:
        raise _refused(f"{scheme} is no store; {USABLE}")
    path = Path(address)
    return FileStore(_app_id(server), directory=path) if path.is_dir() else SingleFileStore(path)


class SingleFileStore(FileStore):
    """A store in exactly this file, whatever the application and the server: a ledger of one's own choosing.

    Raises: InvalidRequestError if the file holds something else, which it would overwrite.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("shared", directory=path.parent)
        self.path = path
        _check_file(path)

    def for_server(self, base_url: str) -> Self:  # noqa: ARG002 - one file for all
        return self


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(len(LEDGER))
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _refused(f"{path}: there is no folder {path.parent}; make it first") from None
        return
    except OSError as error:
        raise _refused(f"{path}: {error.strerror or error}; name a file that you may write") from None
    if begin not in (b"", LEDGER):
        raise _refused(f"{path} holds something else than a rate limit; name another file")


def _connecting(store: Callable[[str, str], Store], address: str, app_id: str) -> Store:
    address = hidden(address)
    try:
        return store(address, app_id)
    except (ModuleNotFoundError, InvalidRequestError) as error:
        if isinstance(error, InvalidRequestError) and error.argument == "app_id":
            raise
        raise _refused(str(error)) from None


def _app_id(server: ServerOptions) -> str:
    if not server.app_id:
        known = "pass --app-id or set LOFTY_APP_ID, as the other processes do"
        raise _refused(f"a database or a folder holds many applications: {known}")
    return server.app_id


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"store: {message}", argument="store")
