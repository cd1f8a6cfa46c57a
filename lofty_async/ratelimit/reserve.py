"""What of a window is not to be spent: a floor, and what bulk work leaves for interactive calls to come."""

from typing import Final

from .window import Window

TICK: Final = 1e-3  # past a threshold, so that rounding does not leave a timer short of it


def reserved(window: Window, share: float, now: float) -> int:
    """What bulk work leaves: `share` of the limit, less as the window ages, nothing at its end."""
    if window.limit is None or not share:
        return 0
    length = window.length_or_default
    left = length if window.ends_at is None else window.ends_at - now
    return int(share * window.limit * min(1.0, max(0.0, left) / length))


def floor_of(window: Window, floor: int) -> int:
    """The requests that are never spent; a window lets at least one go."""
    return 0 if window.limit is None else min(floor, window.limit - 1)


def kept(window: Window, share: float, floor: int, now: float) -> int:
    """What is not to be spent now; a window of which nothing is spent lets one go."""
    return floor_of(window, floor + reserved(window, share, now))


def next_look(window: Window, share: float, floor: int, now: float) -> float:
    """When time alone may allow more than now; `inf` where only an answer can."""
    look = window.next_look(now)
    spare = window.spare - floor_of(window, floor)
    if not share or spare <= 0 or not window.limit or window.ends_at is None:
        return look
    falls_below = window.ends_at - spare * window.length_or_default / (share * window.limit) + TICK
    return min(look, falls_below) if falls_below > now else look
