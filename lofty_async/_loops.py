"""Event loop ownership: an object whose futures, timers and connections belong to one running loop at a time."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import RLock

from .errors import WrongEventLoopError


class LoopOwner:
    """The event loop that owns an object, and the one lock under which the owner changes.

    While the owner runs, no other loop may use the object. An owner that does not run is replaced by the next loop
    that uses the object. `name` names the object in errors.
    """

    def __init__(self, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lock = RLock()  # reentrant: an adopted or posted function may call user code, which may come back here
        self._name = name
        self._process = os.getpid()
        self._posted: deque[Callable[[], None]] = deque()

    @property
    def is_here(self) -> bool:
        """Whether the owner is the loop that runs in this thread."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def claim(self, on_adopt: Callable[[asyncio.AbstractEventLoop | None], None] = lambda _: None) -> None:
        """Make the running loop the owner; `on_adopt` gets the owner before it, which does not run.

        Raises: WrongEventLoopError while another loop owns the object and runs.
        """
        here = asyncio.get_running_loop()
        with self.lock:
            before = self.loop
            if before is here:
                return
            # The order matters: owners look without the lock whether they still are. One that starts to run right now
            # either finds that it was replaced, and waits for the lock, or is seen to run.
            self.loop = here
            if self._runs(before):
                self.loop = before
                raise WrongEventLoopError(
                    f"the {self._name} is used by another event loop that is running: make one client and one limiter "
                    "per event loop; limiters share one rate limit through a store, RateLimiter(store=…)"
                )
            self._process = os.getpid()
            on_adopt(before)
            self._run_posted()

    def post(self, act: Callable[[], None]) -> None:
        """Run `act` in the owner's thread: now if the owner does not run, else soon, in the owner."""
        with self.lock:
            if not self._runs(self.loop):
                act()
                return
            self._posted.append(act)
            if self.loop is not None:
                with suppress(RuntimeError):  # closed just now: the next owner runs it
                    self.loop.call_soon_threadsafe(self._run_posted_here)

    def _runs(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        # A forked process has its parent's running loop, which runs in the parent only.
        return loop is not None and loop.is_running() and self._process == os.getpid()

    def _run_posted_here(self) -> None:
        if self.is_here:
            self._run_posted()

    def _run_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()
