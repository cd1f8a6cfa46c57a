"""One resource for each event loop, for a connection works in no other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar

from attrs import define, field


class Closable(Protocol):
    """A resource that is closed in the loop that it was made in."""

    def aclose(self) -> Awaitable[object]: ...


C = TypeVar("C", bound=Closable)


@define(eq=False)
class PerLoop(Generic[C]):
    """Makes a resource in each event loop that it is used in; it is closed by `aclose` or with its loop."""

    make: Callable[[], C]
    _kept: dict[asyncio.AbstractEventLoop, tuple[C, AsyncGenerator[None, None]]] = field(
        init=False, factory=dict[asyncio.AbstractEventLoop, "tuple[C, AsyncGenerator[None, None]]"]
    )
    _lock: Lock = field(init=False, factory=Lock)  # loops may run in several threads

    async def here(self) -> C:
        """Returns the running loop's."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None:
            made = self.make()
            kept = made, _lifetime(made)
            with self._lock:
                self._kept = {other: one for other, one in self._kept.items() if not other.is_closed()}
                self._kept[loop] = kept
            await anext(kept[1])  # runs up to its first `yield` without a pause
        return kept[0]

    async def aclose(self) -> None:
        """Closes the running loop's; the others are closed with their loops."""
        _, lifetime = self._kept.pop(asyncio.get_running_loop(), (None, None))
        if lifetime:
            await lifetime.aclose()


async def _lifetime(made: Closable) -> AsyncGenerator[None, None]:
    """Closes the resource when it is closed itself, as loops do with generators that are left when they shut down."""
    try:
        yield
    finally:
        await made.aclose()
