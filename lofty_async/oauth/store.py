"""Where a token outlives the process."""

import asyncio
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Protocol, cast

from attrs import asdict, field, frozen

from lofty_async.errors import AuthenticationError, DecodeError, InvalidRequestError

from .tokens import Token

POSIX = os.name == "posix"


def _path(value: str | os.PathLike[str]) -> Path:
    try:
        return Path(value)
    except TypeError:
        raise InvalidRequestError("path must be a string or a path", argument="path") from None


class TokenStore(Protocol):
    """Keeps one login's newest token; `save` suits as `on_token`."""

    async def load(self) -> Token | None:
        """The token kept, `None` where there is none."""
        ...

    async def save(self, token: Token) -> None:
        """Returns when the token is safe."""
        ...


@frozen
class FileTokenStore:
    """One login's token in a JSON file that nobody else can read (mode 0600).

    A save writes beside the file and puts the new one in its place in one step, so that a crash leaves the
    old or the new token, never half of one. One file belongs to one credential in one process.

    Raises: InvalidRequestError where `path` is no path.
    """

    path: Path = field(converter=_path)

    async def load(self) -> Token | None:
        """The token kept, `None` where there is no file.

        Raises: AuthenticationError where others may read the file; DecodeError where it holds no token;
            OSError.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, token: Token) -> None:
        """Returns when the token is on disk.

        Raises: OSError; the file is then as it was.
        """
        await asyncio.to_thread(self._write, token)

    def _read(self) -> Token | None:
        try:
            with self.path.open("rb") as file:
                self._refuse_if_shared(os.fstat(file.fileno()).st_mode)
                content = file.read()
        except FileNotFoundError:
            return None
        return self._token(content)

    def _refuse_if_shared(self, mode: int) -> None:
        """Windows has no such bits: there the folder's own rights have to do."""
        if POSIX and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise AuthenticationError(f"{self.path} can be read by others: chmod 600 it, or log in again")

    def _token(self, content: bytes) -> Token:
        try:
            return Token(**cast("dict[str, Any]", json.loads(content)))
        except InvalidRequestError as error:
            path = error.argument
        except (ValueError, TypeError, RecursionError):
            path = None
        # Raised out here: a parser's error holds the file's text, secrets included.
        raise DecodeError(f"{self.path} is not a token file: delete it and log in again", path=path)

    def _write(self, token: Token) -> None:
        handle, beside = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a handle, made with mode 0600
                json.dump(asdict(token), file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(self.path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        """The new name is on disk only when the folder is; Windows has no way to say so."""
        if POSIX:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
