"""The login that the command `login` saves and the other commands use and renew."""

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

from lofty_async._auth import hidden
from lofty_async.auth import Auth, from_environment
from lofty_async.errors import AuthenticationError, DecodeError
from lofty_async.oauth import FileTokenStore, LoginClient, RefreshToken, Token

from .run import STOP_SIGNALS, restore_handlers

CLIENT_SECRET: Final = "LOFTY_CLIENT_SECRET"  # noqa: S105 - a variable's name
TOKEN_FILE: Final = "LOFTY_TOKEN_FILE"  # noqa: S105 - a variable's name


def token_path(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get(TOKEN_FILE) or Path(click.get_app_dir("lofty-async")) / "token.json")


def client_secret() -> str | None:
    """Returns the application's client secret, hidden in reports of exceptions."""
    return hidden(os.environ.get(CLIENT_SECRET) or None)


async def credential() -> Auth:
    """Returns the credential of the environment, else the saved login.

    The successors of a refresh token of the environment are saved in the login's file.

    Raises: AuthenticationError, InvalidRequestError if there is neither, or it cannot be used.
    """
    file = LoginFile(token_path())
    try:
        auth = from_environment(store=file)
    except AuthenticationError as error:
        missing = str(error)
    else:
        is_saved = not isinstance(auth, RefreshToken) or await file.can_save(auth)
        return auth if is_saved else from_environment()  # logs that the refresh token works only once
    login = await _saved(file)
    if login is None:
        raise AuthenticationError(f"{missing}; or log in with `lofty-async login`; or try it out with --sandbox")
    return login


async def _saved(file: "LoginFile") -> RefreshToken | None:
    token = await file.load()
    if token is None:
        return None
    client = await file.load_client()
    if client is None:
        raise AuthenticationError(f"{file.path} does not name a client: log in again")
    secret = client_secret() if client.has_secret else None
    if client.has_secret and not secret:
        raise AuthenticationError(f"the login was made with a client secret: set {CLIENT_SECRET}")
    return await RefreshToken.from_store(
        evolve(file, client=client), client.client_id, secret, token_url=client.token_url
    )


@frozen
class LoginFile(FileTokenStore):
    """The file of a login; renewals by several commands take turns, and a signal does not interrupt one.

    Raises: AuthenticationError, also if the file cannot be read or written, or holds no token.
    """

    async def load(self) -> Token | None:
        with self._file_errors():
            return await super().load()

    async def load_client(self) -> LoginClient | None:
        with self._file_errors():
            return await super().load_client()

    async def save(self, token: Token) -> None:
        with self._file_errors():
            await super().save(token)

    async def prepare(self) -> None:
        """Creates the folder and checks that the file can be written, before a token is requested."""
        with self._file_errors():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with super().renewal():
            pass

    async def can_save(self, auth: RefreshToken) -> bool:
        """Returns whether the successors of a refresh token of the environment can be saved here.

        Raises: AuthenticationError if the file holds another login.
        """
        try:
            await self.prepare()
        except AuthenticationError:
            return False
        kept, client = await self.load(), await self.load_client()
        if kept and client and not kept.succeeds(auth.refresh_token or ""):
            raise AuthenticationError(
                f"{self.path} holds another login: set {TOKEN_FILE} to a file for the successors of LOFTY_REFRESH_TOKEN"
            )
        return True

    @asynccontextmanager
    async def renewal(self) -> AsyncGenerator[None, None]:
        async with super().renewal():
            with deferred_signals():
                yield

    @contextmanager
    def _file_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise AuthenticationError(f"the login cannot be kept in {self.path}: {error}") from error
        except DecodeError as error:
            raise AuthenticationError(str(error)) from error


@contextmanager
def deferred_signals() -> Generator[None, None, None]:
    """Defers the signals that end a command until the successor of a used refresh token is saved.

    They are raised at the end, in their order. A token request takes at most 30 seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    received: list[int] = []

    def defer(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            with suppress(OSError):  # the terminal may be gone; a stream's own buffer may be in use
                os.write(2, b"Ending as soon as the login is saved.\n")

    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, defer) for number in numbers}
    try:
        yield
    finally:
        restore_handlers(before)
        for number in received:
            signal.raise_signal(number)
