"""Where the window's state lives when it is shared: in memory, or in a file for the processes of one host."""

import asyncio
import json
import os
import re
import stat
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any, Final, Self, TypeVar

from lofty_async._locks import try_lock, unlock
from lofty_async._wire import BASE_URL
from lofty_async.errors import InvalidRequestError, StoreUnavailableError

from .ledger import AcquireRequest, Grant, Ledger, PermitReport
from .limits import RateLimit

R = TypeVar("R")

STALE: Final = 600.0  # seconds after which a ledger nobody changed tells nothing of the server any more
BACKWARDS: Final = 60.0  # seconds by which a clock may be set back; one further back was started anew
BLOCK: Final = 4096  # a page is written whole or not at all, and nearly every ledger fits in one
LOCK_TIMEOUT: Final = 0.2
PATH_OR_ADDRESS: Final = re.compile(r"[/~]|\.{1,2}[/\\]|[A-Za-z]:\\|[a-z]+://")
LOCK_INTERVAL: Final = 0.002


class Store(ABC):
    """Holds one application's ledger and changes it atomically.

    `change_timeout` is the seconds after which a change counts as failed, `None` if it always ends by itself.
    `remedy` says how to have all processes use the same store. Limiters of several threads may share one store.

    Each method raises `StoreUnavailableError` if the store cannot be reached.
    """

    change_timeout: float | None = 0.5
    remedy: str = "give all processes of the application the same store"

    def for_server(self, base_url: str) -> "Store":  # noqa: ARG002 - for stores that outlive a process
        """The store of the application's ledger at one server: the budget of a sandbox is not that of production."""
        return self

    async def take(self, request: AcquireRequest, reports: Sequence[PermitReport] = ()) -> Grant:
        """Return the leases that the request may have now, after taking in how other permits ended."""
        learn = _learning(reports)

        def step(ledger: Ledger, now: float) -> Grant:
            learn(ledger, now)
            return ledger.take(request, now)

        return await self.change(step)

    async def observe(self, reports: Iterable[PermitReport]) -> None:
        """Take in how permits ended."""
        await self.change(_learning(list(reports)))

    async def snapshot(self) -> RateLimit:
        """Return the budget of all processes now; nothing is spent or changed.

        The calls that wait are counted as of when their process last asked the store.

        Raises: StoreUnavailableError if the store cannot be reached.
        """
        return await self.read(Ledger.snapshot)

    async def read(self, step: Callable[[Ledger, float], R]) -> R:
        """Apply a step that changes nothing; a store that can read without writing does that."""
        return await self.change(step)

    @abstractmethod
    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        """Apply a step, given the ledger and the store's time, so that no other comes between."""

    async def close(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Close what the store holds open."""


def _learning(reports: Sequence[PermitReport]) -> Callable[[Ledger, float], None]:
    """A step that takes in how permits ended; a change that is tried again later learns older news."""
    first: list[float] = []

    def step(ledger: Ledger, now: float) -> None:
        first.append(now)
        for report in reports:
            ledger.learn(report.aged(now - first[0]), now)

    return step


class MemoryStore(Store):
    """A ledger in memory, for the limiters of one process and its threads. `clock` counts monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ledger = new_ledger()
        self._lock = Lock()
        self._servers: dict[str, MemoryStore] = {}

    def for_server(self, base_url: str) -> "MemoryStore":
        """Itself for the first server, one beside it for each other."""
        with self._lock:
            if base_url not in self._servers:
                self._servers[base_url] = self._beside() if self._servers else self
            return self._servers[base_url]

    def _beside(self) -> "MemoryStore":
        other = copy(self)
        other._ledger = new_ledger()  # noqa: SLF001 - a store of this class
        return other

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        with self._lock:
            return step(self._ledger, self._clock())


class FileStore(Store):
    """A ledger in one small file, for the processes of one host.

    The file's name comes from a hash of `app_id` and the client's base URL, never from a secret; it lies in
    `directory`, by default the user's runtime directory. The processes must run as one user and see the same
    directory: name one where they have a /tmp or an environment of their own. Removing the file at any time is safe,
    and so is killing a process that uses it. It is read and written in a thread.

    Raises: InvalidRequestError where `app_id` is empty.
    """

    def __init__(
        self,
        app_id: str,
        *,
        directory: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        place = Path(directory) if directory else runtime_directory()
        self._app_id = app_id
        self.path = place / f"{application_key(app_id, BASE_URL)}.json"
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._file: int | None = None
        self._process = os.getpid()
        self._lock = Lock()  # a lock on the file keeps out other processes, not other threads
        self._thread = _one_thread()

    def for_server(self, base_url: str) -> Self:
        path = self.path.with_name(f"{application_key(self._app_id, base_url)}.json")
        if path == self.path:
            return self
        other = copy(self)
        other.path = path
        other._begin()  # noqa: SLF001 - a store of this class
        return other

    @property
    def remedy(self) -> str:  # type: ignore[override]  # read only
        place = self.path.parent
        return f"run all processes as one user with the same FileStore(directory=…), not each with its own {place}"

    async def change(self, step: Callable[[Ledger, float], R]) -> R:
        return await self._in_thread(lambda: self._apply(step, writes=True))

    async def read(self, step: Callable[[Ledger, float], R]) -> R:
        return await self._in_thread(lambda: self._apply(step, writes=False))

    async def _in_thread(self, act: Callable[[], R]) -> R:
        if self._process != os.getpid():
            # A forked process has the same open file, and with it the same lock, which would keep neither out.
            file = self._file
            self._begin()
            _close(file)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act)
        except OSError as error:
            raise StoreUnavailableError(f"{self.path}: {error.strerror or error}") from error

    async def close(self) -> None:
        thread, self._thread = self._thread, _one_thread()
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._close_file)
        finally:
            thread.shutdown(wait=False)

    def _close_file(self) -> None:
        with self._lock:
            self._close()

    def _apply(self, step: Callable[[Ledger, float], R], *, writes: bool) -> R:
        with self._lock:
            if not writes and not self.path.exists():
                return step(new_ledger(), self._clock())  # to open the file would make it
            try:
                with self._locked():
                    return self._apply_locked(step, writes=writes)
            except OSError:
                self._close()
                raise

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Lock the file that the path names now, which may be another than the one that is open."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise StoreUnavailableError(f"{self.path} is locked by another process")
            time.sleep(LOCK_INTERVAL)  # in the store's own thread; a blocking flock could not be given up
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
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise OSError(f"{self.path} is not a regular file of this user's")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        _close(file)

    def _apply_locked(self, step: Callable[[Ledger, float], R], *, writes: bool) -> R:
        now, file = self._clock(), self._open()
        ledger = read_ledger(os.pread(file, 1 << 20, 0), now)
        result = step(ledger, now)
        if writes:
            text = write_ledger(ledger, now)
            os.pwrite(file, text.ljust(-(-len(text) // BLOCK) * BLOCK), 0)
        return result


def _one_thread() -> ThreadPoolExecutor:
    # Not the loop's own threads: where a program keeps those busy, the store would seem to be unavailable.
    return ThreadPoolExecutor(1, thread_name_prefix="lofty_async file store")


def _close(file: int | None) -> None:
    if file is not None:
        os.close(file)


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
    """Names an application's ledger without telling its id.

    Raises: InvalidRequestError if the id is empty, or is the path or the address of a store.
    """
    if not isinstance(app_id, str) or not app_id:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequestError("app_id must be a non-empty string", argument="app_id")
    if PATH_OR_ADDRESS.match(app_id):
        message = "app_id must be the application's id, such as my-app, not a path or an address (FileStore: directory)"
        raise InvalidRequestError(message, argument="app_id")
    return "lofty-" + sha256(f"{app_id}\0{base_url}".encode()).hexdigest()[:32]


def runtime_directory() -> Path:
    """The user's own directory for files that need not outlive the boot."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if Path(given).is_absolute() and _is_own_directory(Path(given)):
        return Path(given) / "lofty-async"
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    return Path(tempfile.gettempdir()) / f"lofty-async-{user}"


def _is_own_directory(path: Path) -> bool:
    """Whether it is this user's and can be written: `su`, `sudo` and containers pass on another user's variable."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return False
    is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return is_own and stat.S_ISDIR(found.st_mode) and os.access(path, os.W_OK | os.X_OK)
