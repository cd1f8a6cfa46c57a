import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ssl import SSLContext, SSLError, create_default_context
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from lofty_async import dispatch
from lofty_async._checks import UNSET, Unset, is_loopback
from lofty_async._wire import BASE_URL
from lofty_async.client import LoftyClient
from lofty_async.errors import LoftyError

from .kept_login import credential
from .options import Network, Target
from .run import Refused

SANDBOX_LEADS: Final = 200


@asynccontextmanager
async def connected(target: Target) -> AsyncGenerator[LoftyClient, None]:
    """A client for the server that was asked for.

    Raises: Refused where neither the environment nor `login` left a usable credential.
    """
    async with _sandboxed() if target.sandbox else _of_user(target) as client:
        yield client


def allows_http(target: Target) -> bool:
    """Whether http:// addresses are accepted: asked for, or the server is on this machine, as a sandbox is."""
    try:
        is_here = target.sandbox or is_loopback(urlsplit(_address(target) or BASE_URL).hostname)
    except ValueError:
        return False  # the client refuses such an address
    return is_here or target.allow_http


def network_of(network: Network) -> dispatch.Network:
    """How the command's connections are made.

    Raises: Refused where the proxy is no URL or the file holds no certificates.
    """
    try:
        return dispatch.Network(_proxy(network), _tls(network))
    except LoftyError as error:
        raise Refused(f"--{error}") from error
    except (SSLError, OSError) as error:
        raise Refused(f"--ca-file {network.ca_file}: no certificates in PEM form ({error})") from error


def _proxy(network: Network) -> URL | Unset | None:
    if network.proxy is None:
        return UNSET
    return dispatch.proxy_url("proxy", network.proxy) if network.proxy else None


def _tls(network: Network) -> SSLContext | None:
    if network.ca_file is None:
        return None
    context = create_default_context()
    context.load_verify_locations(network.ca_file)
    return context


def _address(target: Target) -> str | None:
    return (os.environ.get("LOFTY_BASE_URL") or None) if target.base_url is None else target.base_url


@asynccontextmanager
async def _of_user(target: Target) -> AsyncGenerator[LoftyClient, None]:
    address, network = _address(target), network_of(target.network)
    try:
        client = LoftyClient(
            await credential(),
            base_url=BASE_URL if address is None else address,
            proxy=network.proxy,
            ssl=network.ssl,
            allow_http=allows_http(target),
        )
    except LoftyError as error:
        raise Refused(str(error)) from error
    async with client:
        yield client


@asynccontextmanager
async def _sandboxed() -> AsyncGenerator[LoftyClient, None]:
    from lofty_async.sandbox import Sandbox  # noqa: PLC0415 - the server is for those who ask for it

    async with (
        Sandbox(leads=SANDBOX_LEADS, allow_http=True) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, allow_http=True) as client,
    ):
        yield client
