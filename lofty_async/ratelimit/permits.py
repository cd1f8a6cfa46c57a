"""What a limiter hands out, and what it tells of itself."""

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from lofty_async._wire import RateState

from .lanes import Lane
from .routes import OwnSpend


@frozen
class RateLimit:
    """The budget at one moment.

    `remaining` is the lowest that the server has told in this window, before what is in flight; `resets_in` seconds.
    Each is `None` while it is unknown. `queued` counts the calls that wait, per lane.
    """

    limit: int | None
    remaining: int | None
    resets_in: float | None
    queued: Mapping[Lane, int]
    in_flight: int


@frozen
class WaitEvent:
    """A call got its turn after waiting for longer than the threshold; `seconds` from asking to getting."""

    route: str
    lane: Lane
    seconds: float


class Issuer(Protocol):
    """Where permits come from and end."""

    def settle(self, permit: "Permit", state: RateState | None, *, refused: bool) -> None: ...

    def release(self, permit: "Permit") -> None: ...


class Permit:
    """The right to send one request now. It ends in `settle` or `release`, once; ending it again does nothing.

    It is what the request spends: of the application's window, and of its route's, where that has a limit of its own.
    """

    # The limiter fills it in: on Python 3.11, to call an `__init__` takes as long as to set twenty attributes.
    number: int
    lane: Lane
    route: str
    granted_at: float
    waited: float
    limiter: Issuer

    serial: int = -1
    lowest: int | None = None
    untold: int = 0
    own: OwnSpend | None = None
    is_open: bool = True

    def __repr__(self) -> str:
        end = "" if self.is_open else ", ended"
        return f"<Permit {self.number} of the {self.lane} lane for {self.route or 'any route'}{end}>"

    def settle(self, state: RateState | None = None, *, refused: bool = False) -> None:
        """The request left; `state` is what its answer said, `refused` whether it said that nothing is left.

        Without a `state` no answer came: the server may have counted the request or not.
        """
        if self.is_open:
            self.is_open = False
            self.limiter.settle(self, state, refused=refused)

    def release(self) -> None:
        """The request never left."""
        if self.is_open:
            self.is_open = False
            self.limiter.release(self)
