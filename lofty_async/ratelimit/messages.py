"""What a process and the store of a shared budget say to each other."""

from collections.abc import Iterable
from typing import Literal

from attrs import evolve, frozen

from .resets import WINDOW
from .spend import Spend

What = Literal["answered", "silent", "released"]


@frozen
class Ask:
    """What one process wants now, per lane, the rules that it follows, and how many of its permits are in flight."""

    member: str
    in_flight: int
    interactive: int
    bulk: int
    reserve: float
    floor: int = 0


@frozen
class Grant:
    """What it got, what its permits have to remember, and in how many seconds to ask again for the rest.

    `limit`, the seconds that are `left` and `counts_milliseconds`, how the header tells them, others may have learnt.
    `has_company` says whether requests that the ledger does not count were spent in this window and the one before.
    """

    interactive: int
    bulk: int
    spend: Spend
    epoch: str
    again_in: float
    limit: int | None = None
    left: float | None = None
    counts_milliseconds: bool = False
    has_company: bool = False


@frozen
class Outcome:
    """How one permit ended. `left` is the seconds to the window's end by the answer's figures, once below 0 no more."""

    member: str
    epoch: str
    spend: Spend
    what: What
    refused: bool = False
    limit: int = 0
    remaining: int = 0
    left: float | None = None
    hold: float | None = None
    counts_milliseconds: bool = False

    def aged(self, seconds: float) -> "Outcome":
        """The same, told this much later."""
        left = None if self.left is None else self.left - seconds
        hold = None if self.hold is None else max(0.0, self.hold - seconds)
        return evolve(self, left=left, hold=hold)


def aged(outcomes: Iterable[tuple[Outcome, float]], now: float) -> list[Outcome]:
    """Outcomes whose time left is counted from now; what is older than a window teaches nothing."""
    return [outcome.aged(now - at) for outcome, at in outcomes if now - at < WINDOW]
