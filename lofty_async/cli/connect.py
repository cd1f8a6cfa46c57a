import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from lofty_async.auth import Auth
from lofty_async.checks import is_loopback
from lofty_async.client import LoftyClient
from lofty_async.errors import AuthenticationError, LoftyError
from lofty_async.oauth import from_environment
from lofty_async.wire import BASE_URL

from .kept_login import KeptLogin, LoginFiles, token_file
from .options import Target
from .run import Refused

SANDBOX_LEADS: Final = 200


@asynccontextmanager
async def connected(target: Target) -> AsyncGenerator[LoftyClient, None]:
    """A client for the server that was asked for.

    Raises: Refused where neither the environment nor `login` left a usable credential.
    """
    async with _sandboxed() if target.sandbox else _of_user(target) as client:
        yield client


def takes_plain_callbacks(target: Target) -> bool:
    """Whether the server is on this machine: a sandbox, the only kind that posts to http:// addresses."""
    try:
        return target.sandbox or is_loopback(urlsplit(_address(target) or BASE_URL).hostname)
    except ValueError:
        return False  # the client refuses such an address


def _address(target: Target) -> str | None:
    return (os.environ.get("LOFTY_BASE_URL") or None) if target.base_url is None else target.base_url


@asynccontextmanager
async def _of_user(target: Target) -> AsyncGenerator[LoftyClient, None]:
    address, plain = _address(target), takes_plain_callbacks(target)
    try:
        auth = await _credential()
        client = LoftyClient(auth, base_url=BASE_URL if address is None else address, allow_http=plain)
    except LoftyError as error:
        raise Refused(str(error)) from error
    async with client:
        yield client


async def _credential() -> Auth:
    try:
        return from_environment()
    except AuthenticationError as error:
        login = await KeptLogin.load(LoginFiles(token_file()), os.environ)
        if login is None:
            raise AuthenticationError(f"{error}; or log in with `lofty-async login`") from error
        return login


@asynccontextmanager
async def _sandboxed() -> AsyncGenerator[LoftyClient, None]:
    from lofty_async.sandbox import Sandbox  # noqa: PLC0415 - the server is for those who ask for it

    async with (
        Sandbox(leads=SANDBOX_LEADS, allow_http_callbacks=True) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, allow_http=True) as client,
    ):
        yield client
