"""Where the window's state lives when it is shared: in memory, or in a file for the processes of one host."""

import asyncio
import json
import os
import stat
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

from lofty_async._locks import try_lock, unlock
from lofty_async.errors import InvalidRequestError
from lofty_async.wire import BASE_URL

from .ledger import Ledger
from .messages import Ask, Grant, Outcome

R = TypeVar("R")

STALE: Final = 600.0  # seconds after which a ledger nobody changed tells nothing of the server any more
BACKWARDS: Final = 60.0  # seconds by which a clock may be set back; one further back was started anew
BLOCK: Final = 4096  # a page is written whole or not at all, and nearly every ledger fits in one
LOCK_PATIENCE: Final = 0.2
LOCK_PAUSE: Final = 0.002


class StoreFailed(Exception):  # noqa: N818 - it says what happened
    """The store cannot be used now; the limiter goes on without it and comes back."""


class Store(ABC):
    """Holds one application's ledger and changes it atomically: take, observe, release.

    Each raises `StoreFailed` where the store cannot be reached in a fraction of a second.
    """

    async def take(self, ask: Ask, ended: Sequence[Outcome] = ()) -> Grant:
        """What `ask` may have now, after taking in how other permits `ended`."""

        def step(ledger: Ledger, now: float) -> Grant:
            for outcome in ended:
                ledger.learn(outcome, now)
            return ledger.take(ask, now)

        return await self.change(step)

    async def observe(self, outcomes: Iterable[Outcome]) -> None:
        """How permits ended, answers and releases alike."""
        ended = list(outcomes)

        def step(ledger: Ledger, now: float) -> None:
            for outcome in ended:
                ledger.learn(outcome, now)

        await self.change(step)

    async def release(self, outcomes: Iterable[Outcome]) -> None:
        """Permits whose requests never left."""
        await self.observe(outcomes)

    @abstractmethod
    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        """Apply a step, given the ledger and the store's time, so that no other comes between."""

    async def aclose(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Let go of what the store holds open."""


class MemoryStore(Store):
    """A ledger in memory, for the limiters of one process. `clock` counts monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ledger = new_ledger()

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        return step(self._ledger, self._clock())


class FileStore(Store):
    """A ledger in one small file, for the processes of one host.

    The file's name comes from a hash of `app_id` and `base_url`, never from a secret; it lies in `directory`, by
    default the user's runtime directory. Removing it at any time is safe, and so is killing a process that uses it.

    Raises: InvalidRequestError where `app_id` is empty.
    """

    def __init__(
        self,
        app_id: str,
        *,
        base_url: str = BASE_URL,
        directory: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        place = Path(directory) if directory else runtime_directory()
        self.path = place / f"{application_key(app_id, base_url)}.json"
        self._clock = clock
        self._file: int | None = None
        self._process = os.getpid()

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        try:
            async with self._locked():
                return self._apply(step)
        except OSError as error:
            self._close()
            raise StoreFailed(f"{self.path}: {error.strerror or error}") from error

    async def aclose(self) -> None:
        self._close()

    @asynccontextmanager
    async def _locked(self) -> AsyncGenerator[None, None]:
        """Lock the file that the path names now, which may be another than the one that is open."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise StoreFailed(f"{self.path} is locked by another process")
            await asyncio.sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            unlock(self._open())

    def _try_lock(self) -> bool:
        if not try_lock(self._open()):
            return False
        if not self._is_in_place():
            self._close()
        return self._file is not None

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._open()), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        if self._process != os.getpid():
            # A forked process has the same open file, and with it the same lock, which would keep neither out.
            self._close()
            self._process = os.getpid()
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise OSError(f"{self.path} is not a regular file of this user's")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _apply(self, step: Callable[[Ledger, float], R]) -> R:
        now, file = self._clock(), self._open()
        ledger = read_ledger(os.pread(file, 1 << 20, 0), now)
        result = step(ledger, now)
        text = write_ledger(ledger, now)
        os.pwrite(file, text.ljust(-(-len(text) // BLOCK) * BLOCK), 0)
        return result


def new_ledger() -> Ledger:
    return Ledger(token_hex(8))


def read_ledger(text: bytes, now: float) -> Ledger:
    """The ledger in a store's text; a new one where it is missing, stale, no ledger, or one that cannot be."""
    try:
        # Behind it may stand the end of a longer one, written before.
        values: dict[str, Any] = json.JSONDecoder().raw_decode(text.decode())[0]
        if -BACKWARDS <= now - values["written_at"] <= STALE:
            ledger = Ledger.from_json(values["ledger"])
            return ledger if ledger.is_possible(values["written_at"]) else new_ledger()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        pass
    return new_ledger()


def write_ledger(ledger: Ledger, now: float) -> bytes:
    return json.dumps({"written_at": now, "ledger": ledger.as_json()}, separators=(",", ":")).encode()


def application_key(app_id: str, base_url: str) -> str:
    """Names an application's ledger without telling its id."""
    if not app_id:
        raise InvalidRequestError("app_id must be a non-empty string", argument="app_id")
    return "lofty-" + sha256(f"{app_id}\0{base_url}".encode()).hexdigest()[:32]


def runtime_directory() -> Path:
    """The user's own directory for files that need not outlive the boot."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():
        return Path(given) / "lofty-async"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"lofty-async-{user}"
