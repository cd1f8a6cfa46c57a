"""What a permit reports its end to."""

from typing import TYPE_CHECKING, Protocol

from lofty_async._wire import RateState

if TYPE_CHECKING:
    from .limiter import Permit


class Issuer(Protocol):
    """Where permits come from and end."""

    def settle(self, permit: "Permit", state: RateState | None, *, refused: bool) -> None: ...

    def release(self, permit: "Permit") -> None: ...
