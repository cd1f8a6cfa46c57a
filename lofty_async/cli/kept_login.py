"""The login that `login` leaves behind and the other commands go on with."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Self

import click
from attrs import asdict, define, evolve, field, frozen
from attrs.validators import instance_of

from lofty_async.auth import TokenPost
from lofty_async.errors import AuthenticationError
from lofty_async.oauth import FileTokenStore, RefreshToken, Token
from lofty_async.oauth.lock import turn
from lofty_async.oauth.schedule import Schedule

SECRET: Final = "LOFTY_CLIENT_SECRET"  # noqa: S105 - a variable's name
TOKEN_FILE: Final = "LOFTY_TOKEN_FILE"  # noqa: S105 - a variable's name
ROOM: Final = 16_384  # bytes: more than a token file takes


def token_file(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get(TOKEN_FILE) or Path(click.get_app_dir("lofty-async")) / "token.json")


@frozen
class Client:
    """The application that a login belongs to, and where it is renewed."""

    client_id: str = field(validator=instance_of(str))
    token_url: str = field(validator=instance_of(str))
    has_secret: bool = field(validator=instance_of(bool))

    def secret(self, environ: Mapping[str, str]) -> str | None:
        """Raises: AuthenticationError where the login was made with a secret and there is none."""
        if not self.has_secret:
            return None
        if not environ.get(SECRET):
            raise AuthenticationError(f"the login was made with a client secret: set {SECRET}")
        return environ[SECRET]


@frozen
class LoginFiles:
    """A login's token file, and beside it the files that name its client and tell whose turn it is to renew it.

    Raises: AuthenticationError, also where a file cannot be read or written; DecodeError where the token file
        holds no token.
    """

    path: Path

    async def load(self) -> Token | None:
        with self._told():
            return await FileTokenStore(self.path).load()

    async def save(self, token: Token) -> None:
        with self._told():
            await FileTokenStore(self.path).save(token)

    def prepare(self) -> None:
        """Sees to a folder that can be written to, before a token is asked for that could not be kept."""
        with self._told():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whether a file can be made there, and has room, is known by making one.
            with tempfile.TemporaryFile(dir=self.path.parent) as file:
                file.write(bytes(ROOM))
                file.flush()
                os.fsync(file.fileno())

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Keeps other processes from renewing this login meanwhile."""
        async with AsyncExitStack() as stack:
            with self._told():
                await stack.enter_async_context(turn(self.path.with_name(f"{self.path.name}.lock")))
            yield

    def save_client(self, client: Client) -> None:
        with self._told():
            self._client_path.write_text(json.dumps(asdict(client), indent=2), encoding="utf-8")

    def load_client(self) -> Client:
        try:
            return Client(**json.loads(self._client_path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise AuthenticationError(f"{self._client_path} does not name a client: log in again") from error

    @property
    def _client_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.client")

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise AuthenticationError(f"the login cannot be kept in {self.path}: {error}") from error


@define(eq=False)
class KeptLogin(RefreshToken):
    """A login in files that other processes use too, which renew it one after the other.

    A refresh token may work but once: who comes second goes on with what the first has kept.
    """

    files: LoginFiles = field(kw_only=True, repr=False)

    @classmethod
    async def load(cls, files: LoginFiles, environ: Mapping[str, str]) -> Self | None:
        """The login in these files, `None` where there is none.

        Raises: AuthenticationError, DecodeError, InvalidRequestError where it cannot be used.
        """
        token = await files.load()
        return None if token is None else cls._of(token, files, environ)

    @classmethod
    def _of(cls, token: Token, files: LoginFiles, environ: Mapping[str, str]) -> Self:
        client = files.load_client()
        return cls(
            token.refresh_token,
            client.client_id,
            client.secret(environ),
            token=token,
            token_url=client.token_url,
            on_token=files.save,
            files=files,
        )

    async def _renewed(self, post: TokenPost) -> str:
        async with self.files.turn():
            await self._catch_up()
            try:
                return self.ready() or await super()._renewed(post)
            except AuthenticationError as error:
                # Turns are not kept everywhere: another process may have been quicker.
                if error.name != "invalid_grant" or not await self._catch_up():
                    raise
            return self.ready() or await super()._renewed(post)

    async def _obtain(self, post: TokenPost) -> Token:
        """Nothing is spent before it is sure that what comes can be kept."""
        await asyncio.to_thread(self.files.prepare)
        return await super()._obtain(post)

    async def _catch_up(self) -> bool:
        """Takes up what another process has kept; whether there is another refresh token."""
        kept = await self.files.load()
        if kept is None:
            return False
        newest = evolve(kept, refresh_token=kept.refresh_token or self.refresh_token)
        is_another = newest.refresh_token != self.refresh_token
        if is_another:
            self.refresh_token, self._refusal = newest.refresh_token, None
        if self._is_better(newest):
            self._adopt(newest)
        return is_another

    def _is_better(self, kept: Token) -> bool:
        if self._token is not None and self._token.access_token == kept.access_token:
            return False
        now = self.clock()
        return Schedule.of(kept, now=now, early=self.early, chance=1.0).fresh(now)
