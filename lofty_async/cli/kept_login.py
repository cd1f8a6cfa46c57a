"""The login that `login` leaves behind and the other commands go on with."""

import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import click
from attrs import asdict, define, field, frozen
from attrs.validators import instance_of

from lofty_async.auth import TokenPost
from lofty_async.errors import AuthenticationError
from lofty_async.oauth import FileTokenStore, RefreshToken, Token

SECRET: Final = "LOFTY_CLIENT_SECRET"  # noqa: S105 - a variable's name
TOKEN_FILE: Final = "LOFTY_TOKEN_FILE"  # noqa: S105 - a variable's name


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
    """A login's token file, and beside it the file that names its client.

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
        """Sees to a folder that can be written to, before a login is asked for that could not be kept."""
        with self._told():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whether a file can be made there is known by making one.
            tempfile.TemporaryFile(dir=self.path.parent).close()

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
    """A login in files that other processes use too: each renewal starts from the newest refresh token there."""

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

    async def _obtain(self, post: TokenPost) -> Token:
        newest = await self.files.load()
        if newest is not None and newest.refresh_token is not None:
            self.refresh_token = newest.refresh_token
        return await super()._obtain(post)
