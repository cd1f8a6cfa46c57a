"""The permit that a limiter hands out, its snapshot, and its events."""

from collections.abc import Mapping
from copy import copy
from typing import Literal, Protocol

from attrs import define, frozen

from lofty_async._wire import RateState

from .lanes import Lane
from .window import Window

Answer = Literal["accepted", "refused", "none", "not sent"]  # to a permit's request; "refused" is HTTP 429


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

    @classmethod
    def of(cls, window: Window, queued: Mapping[Lane, int], now: float) -> "RateLimit":
        """Return what a window tells now; the window may be over."""
        window = copy(window)
        window.roll(now)
        return cls(
            limit=window.limit,
            remaining=None if window.limit is None else window.remaining,
            resets_in=None if window.ends_at is None else max(0.0, window.ends_at - now),
            queued=queued,
            in_flight=window.in_flight,
        )


@frozen
class WaitEvent:
    """A call got its permit after waiting longer than the threshold; `seconds` from asking to getting."""

    route: str
    lane: Lane
    seconds: float


@frozen
class Lease:
    """The right to send one request, granted by a store's ledger.

    `serial` is the window it is counted in, `lowest` the lowest Remaining known then, `epoch` the ledger.
    """

    serial: int
    lowest: int | None
    epoch: str


class OnEnd(Protocol):
    """Takes a permit that ended, the kind of the answer to its request, and the answer's figures."""

    def __call__(self, permit: "Permit", answer: Answer, state: RateState | None, /) -> None: ...


@define(eq=False, repr=False)
class Permit:
    """The right to send one request now. It ends in `settle` or `release`, once; ending it again does nothing.

    `serial` and `lowest` are the application's
    window and its lowest Remaining when the permit was granted, `own` the window of a route that has a limit of its
    own and the serial there, `lease` what a store granted.
    """

    on_end: OnEnd
    number: int
    lane: Lane
    route: str
    granted_at: float
    waited: float
    serial: int
    lowest: int | None
    own: tuple[Window, int] | None
    lease: Lease | None
    is_open: bool = True

    def __repr__(self) -> str:
        end = "" if self.is_open else ", ended"
        return f"<Permit {self.number} of the {self.lane} lane for {self.route or 'any route'}{end}>"

    def settle(self, state: RateState | None = None, *, refused: bool = False) -> None:
        """End it after sending; `state` is what the answer tells, `refused` whether it is a 429.

        Without a `state` no answer came: the server may have counted the request or not.
        """
        self._end("none" if state is None else "refused" if refused else "accepted", state)

    def release(self) -> None:
        """End it without sending."""
        self._end("not sent", None)

    def _end(self, answer: Answer, state: RateState | None) -> None:
        if self.is_open:
            self.is_open = False
            self.on_end(self, answer, state)
