"""What a request remembers of the window that it is counted in."""

from typing import Protocol

from attrs import define


class Spent(Protocol):
    """The window's serial, the lowest Remaining it had told by then, and how many had landed untold."""

    serial: int
    lowest: int | None
    untold: int


@define
class Spend:
    """The same as a value of its own."""

    serial: int = -1
    lowest: int | None = None
    untold: int = 0
