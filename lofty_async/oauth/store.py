"""Token stores: where a login's newest token outlives the process, and how several processes share it."""

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast, runtime_checkable

from attrs import Attribute, asdict, field, frozen
from attrs.validators import instance_of, optional

from lofty_async.errors import AuthenticationError, DecodeError, InvalidRequestError

from .tokens import Token

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]  # the module or nothing

POSIX: Final = os.name == "posix"
BLOCK: Final = 4096  # bytes: a file that is written in place is filled up to a multiple, so that a longer token fits
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
MAX_READS: Final = 10
LOCK_POLL_INTERVAL: Final = 0.05  # seconds
MAX_LOCK_POLLS: Final = 1200  # a minute: longer than a request for a token may take, so that the holder has stopped


def _path(value: str | os.PathLike[str]) -> Path:
    try:
        return Path(value)
    except TypeError:
        raise InvalidRequestError("path must be a string or a path", argument="path") from None


class TokenStore(Protocol):
    """Keeps one login's newest token, `origin` included; `save` suits as `on_token`."""

    async def load(self) -> Token | None:
        """The stored token, `None` if there is none."""
        ...

    async def save(self, token: Token) -> None:
        """Returns when the token is stored durably."""
        ...


@runtime_checkable
class SharedTokenStore(TokenStore, Protocol):
    """A store that several processes renew from, one after the other."""

    def renewal(self) -> AbstractAsyncContextManager[None]:
        """Entered before a token is spent, left when its successor is saved: excludes other processes meanwhile.

        Raises: AuthenticationError on entering, if a new token could not be saved.
        """
        ...


def is_store(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not all(callable(getattr(value, name, None)) for name in ("load", "save")):
        message = f"{attribute.name} must be a token store, such as FileTokenStore(path)"
        raise InvalidRequestError(message, argument=attribute.name)


@frozen
class LoginClient:
    """The application that a login belongs to, and the token endpoint that renews it."""

    client_id: str = field(validator=instance_of(str))
    token_url: str = field(validator=instance_of(str))
    has_secret: bool = field(validator=instance_of(bool))


@frozen
class FileTokenStore:
    """One login's token in a JSON file that nobody else can read (mode 0600), for any number of processes.

    A crash leaves the old or the new token, never half of one. A file of up to 4096 bytes is written in place, so that
    containers and processes that have the file itself mounted, or linked, see the new token; a longer one is replaced
    in one step, unless it is mounted or its folder is not writable. Links are followed. Before a token is spent, the
    file is written once as it is: a token that could not be saved is never requested. `client` is kept beside the
    token; `None` keeps the one that is there.

    Raises: InvalidRequestError if `path` is not a path.
    """

    path: Path = field(converter=_path)
    client: LoginClient | None = field(default=None, kw_only=True, validator=optional(instance_of(LoginClient)))

    async def load(self) -> Token | None:
        """The stored token, `None` if there is no file, or an empty one, as it is made to be mounted.

        Raises: AuthenticationError if other users can read the file or own it, or it is no regular file;
            DecodeError if it holds no token; OSError.
        """
        kept = await asyncio.to_thread(self._read)
        if isinstance(kept, DecodeError):
            raise kept  # out here: the frames above hold the file's text, secrets included
        return kept and kept[0]

    async def load_client(self) -> LoginClient | None:
        """The application named in the file, `None` if there is none.

        Raises: as `load`.
        """
        kept = await asyncio.to_thread(self._read)
        if isinstance(kept, DecodeError):
            raise kept
        return kept and kept[1]

    async def save(self, token: Token) -> None:
        """Returns when the token is on disk.

        Raises: AuthenticationError if the file belongs to another user, or is no regular file; OSError. The file is
            then unchanged.
        """
        await _in_thread(self._save, token)

    @asynccontextmanager
    async def renewal(self) -> AsyncGenerator[None, None]:
        """Excludes other processes from renewing; entered before a token is spent, left when its successor is saved.

        Raises: AuthenticationError if a new token could not be saved.
        """
        async with AsyncExitStack() as stack:
            target = self._target
            for path in (target.with_name(f"{target.name}.lock"), *([target] if POSIX else [])):
                # The file's own lock excludes containers that have it mounted. Windows does not let an open file be
                # replaced.
                with suppress(OSError):
                    await stack.enter_async_context(_locked(path, create=path != target))
            try:
                await _in_thread(self._rehearse)
            except OSError as error:
                failure = AuthenticationError(f"the login cannot be kept in {self.path}: {error}")
            else:
                yield
                return
        raise failure

    @property
    def _target(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _read(self) -> tuple[Token, LoginClient | None] | DecodeError | None:
        self._check_kind()
        try:
            with self.path.open("rb", buffering=0) as file:
                content = _settled(cast("BinaryIO", file))
                if not content.strip():  # `touch` makes one that others can read
                    return None
                self._check_owner(cast("BinaryIO", file))
                return self._parsed(content)
        except FileNotFoundError:
            return None

    def _check_kind(self) -> None:
        """To open a named pipe would wait for its other end."""
        if self.path.exists() and not self.path.is_file():
            raise AuthenticationError(f"{self.path} is not a regular file: give the path of one, or of none yet")

    def _check_owner(self, file: BinaryIO) -> None:
        """Windows has no such bits: there the rights of the folder protect the file."""
        if not POSIX:
            return
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():
            raise AuthenticationError(f"{self.path} belongs to another user: chown it, or log in to another file")
        if found.st_mode & OTHERS:
            raise AuthenticationError(f"{self.path} can be read by others: chmod 600 it, or log in again")

    def _parsed(self, content: bytes) -> tuple[Token, LoginClient | None] | DecodeError:
        try:
            values = cast("dict[str, Any]", json.loads(content))
            client = values.pop("client", None)
            return Token(**values), None if client is None else LoginClient(**client)
        except InvalidRequestError as error:
            path = error.argument
        except (ValueError, TypeError, AttributeError, RecursionError):
            path = None
        # Made out here: a parser's error holds the file's text, secrets included.
        return DecodeError(f"{self.path} is not a token file: delete it and log in again", path=path)

    def _save(self, token: Token) -> None:
        client = self.client or self._client_there()
        told = asdict(token) | ({} if client is None else {"client": asdict(client)})
        # A view, whose repr shows nothing: an error's frames hold it.
        self._put(memoryview(json.dumps(told, indent=2).encode()))

    def _client_there(self) -> LoginClient | None:
        try:
            kept = self._read()
        except AuthenticationError:  # the file of another user is not trusted
            return None
        return kept[1] if isinstance(kept, tuple) else None

    def _rehearse(self) -> None:
        """Save the current content: nothing less proves that the next save will work."""
        self._check_kind()
        try:
            content = memoryview(self.path.read_bytes())
        except FileNotFoundError:
            Path(_written_beside(self._target, memoryview(bytes(BLOCK)))).unlink()
        else:
            self._put(content or memoryview(b" " * BLOCK), was=content)

    def _put(self, content: memoryview, *, was: memoryview | None = None) -> None:
        self._check_kind()
        target = self._target
        try:
            if not _is_kept_in_place(target, len(content)):
                _replace(target, content, was)
                return
        except OSError:
            if not target.exists():
                raise
        with target.open("r+b", buffering=0) as file:
            self._check_owner(cast("BinaryIO", file))
            _overwrite(cast("BinaryIO", file), content if was is None else None)


def _is_kept_in_place(target: Path, size: int) -> bool:
    """Whether the file is written rather than replaced: other names of it, and mounts, would keep the old token."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return False
    is_private = not POSIX or (found.st_uid == os.geteuid() and not found.st_mode & OTHERS)
    # A block is written at once: no crash leaves half of it.
    return found.st_nlink > 1 or (is_private and max(found.st_size, size) <= BLOCK)


def _settled(file: BinaryIO) -> bytes:
    """The content, read until two reads agree: another process may be writing it."""
    content = file.read()
    for _ in range(MAX_READS):
        file.seek(0)
        before, content = content, file.read()
        if before == content:
            break
    return content


async def _in_thread(write: Callable[..., None], *args: Any) -> None:
    """Call it in a thread, and return when it is done, also if cancelled: a lock must outlast what it protects."""
    writing = asyncio.get_running_loop().run_in_executor(None, write, *args)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        writing.exception()  # retrieved, so that it is not reported as forgotten
        raise


@asynccontextmanager
async def _locked(path: Path, *, create: bool) -> AsyncGenerator[None, None]:
    """Holds an exclusive lock on a file; the end of a process releases its lock.

    After a minute, and if the platform or the file system has no locks, it goes on without.

    Raises: OSError if the file cannot be opened for writing, or created if `create` is set.
    """
    file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        for _ in range(MAX_LOCK_POLLS):
            if _try_lock(file):
                break
            await asyncio.sleep(LOCK_POLL_INTERVAL)
        yield
    finally:
        # Closing releases the lock. The file stays: a removed one would exclude nobody.
        os.close(file)


def _try_lock(file: int) -> bool:
    """Lock the file, unless another process has; without locks nobody is excluded."""
    try:
        if fcntl is None:
            raise OSError("this platform has no file locks")  # noqa: TRY301 - as a file system without them does
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _written_beside(target: Path, content: memoryview) -> str:
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a handle, made with mode 0600
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return beside


def _replace(target: Path, content: memoryview, was: memoryview | None) -> None:
    """Replace the file, unless its content is no longer `was`: without locks, another process may have saved one."""
    beside = _written_beside(target, content)
    try:
        if was is None or memoryview(target.read_bytes()) == was:
            Path(beside).replace(target)
        else:
            Path(beside).unlink()
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    """Flush the folder, which holds the new name; Windows has no such call."""
    if POSIX:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _overwrite(file: BinaryIO, content: memoryview | None) -> None:
    """Write the content, `None` for the current one.

    The file never gets shorter: it is never empty, and content of the same length fits on a full disk.
    """
    old = memoryview(file.read())
    content = old if content is None else content
    size = max(len(old), BLOCK, -(-len(content) // BLOCK) * BLOCK)
    try:
        _fill(file, content, size)
    except OSError:
        with suppress(OSError):
            _fill(file, old, size)
        raise


def _fill(file: BinaryIO, content: memoryview, size: int) -> None:
    content = memoryview(bytes(content).ljust(size))
    file.seek(0)
    while content:
        content = content[file.write(content) :]
    os.fsync(file.fileno())
