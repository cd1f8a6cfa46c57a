"""The login that `login` leaves behind and the other commands go on with."""

import os
import signal
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import click
from attrs import evolve, frozen

from lofty_async.auth import Auth, hidden
from lofty_async.errors import AuthenticationError
from lofty_async.oauth import FileTokenStore, RefreshToken, Token, from_environment
from lofty_async.oauth.store import Client

SECRET: Final = "LOFTY_CLIENT_SECRET"  # noqa: S105 - a variable's name
TOKEN_FILE: Final = "LOFTY_TOKEN_FILE"  # noqa: S105 - a variable's name
ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is none of Windows's


def token_file(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get(TOKEN_FILE) or Path(click.get_app_dir("lofty-async")) / "token.json")


async def credential() -> Auth:
    """The credential of the environment, else the login that was kept.

    A refresh token of the environment has its successors kept in the login's file.

    Raises: AuthenticationError, DecodeError, InvalidRequestError where neither is there or can be used.
    """
    file = LoginFile(token_file())
    try:
        auth = from_environment(store=file)
    except AuthenticationError as error:
        missing = str(error)
    else:
        is_kept = not isinstance(auth, RefreshToken) or await file.takes(auth)
        return auth if is_kept else from_environment()  # which says that it works but once
    login = await _kept(file)
    if login is None:
        raise AuthenticationError(f"{missing}; or log in with `lofty-async login`")
    return login


async def _kept(file: "LoginFile") -> RefreshToken | None:
    token = await file.load()
    if token is None:
        return None
    client = await file.load_client()
    if client is None:
        raise AuthenticationError(f"{file.path} does not name a client: log in again")
    secret = hidden(os.environ.get(SECRET)) if client.has_secret else None
    if client.has_secret and not secret:
        raise AuthenticationError(f"the login was made with a client secret: set {SECRET}")
    return await RefreshToken.from_store(
        evolve(file, client=client), client.client_id, secret, token_url=client.token_url
    )


@frozen
class LoginFile(FileTokenStore):
    """A login's file, which commands renew one after the other, and never half.

    Raises: AuthenticationError, also where the file cannot be read or written; DecodeError where it holds no token.
    """

    async def load(self) -> Token | None:
        with self._told():
            return await super().load()

    async def load_client(self) -> Client | None:
        with self._told():
            return await super().load_client()

    async def save(self, token: Token) -> None:
        with self._told():
            await super().save(token)

    async def prepare(self) -> None:
        """Sees to a folder and a file that can be written to, before a token is asked for that could not be kept."""
        with self._told():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with super().renewal():
            pass

    async def takes(self, auth: RefreshToken) -> bool:
        """Whether what succeeds a refresh token of the environment can be kept here.

        Raises: AuthenticationError where `login` keeps another login here.
        """
        try:
            await self.prepare()
        except AuthenticationError:
            return False
        kept, client = await self.load(), await self.load_client()
        if kept and client and not kept.succeeds(auth.refresh_token or ""):
            raise AuthenticationError(
                f"{self.path} keeps another login: set {TOKEN_FILE} to a file for what succeeds LOFTY_REFRESH_TOKEN"
            )
        return True

    @asynccontextmanager
    async def renewal(self) -> AsyncGenerator[None, None]:
        async with super().renewal():
            with signals_held():
                yield

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise AuthenticationError(f"the login cannot be kept in {self.path}: {error}") from error


@contextmanager
def signals_held() -> Generator[None, None, None]:
    """Puts off the signals that end a command: between a refresh token that is spent and its successor on disk.

    They take effect at the end, in their order. A request for a token takes 30 seconds at most.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    received: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            with suppress(OSError):  # the terminal may be gone; a stream's own buffer may be in use
                os.write(2, b"Ending as soon as the login is saved.\n")

    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    # The loop hears of signals by this descriptor, whatever their handler.
    descriptor = signal.set_wakeup_fd(-1)
    before = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(descriptor)
        for number in received:
            signal.raise_signal(number)
