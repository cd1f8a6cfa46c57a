"""The options of a sandbox: their types, their ranges, and the rules of lists that they set."""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypedDict

from attrs import frozen
from attrs.validators import and_, deep_mapping, ge, gt, instance_of, lt, optional

from . import errors, times
from .rate_limit import ResetStyle

Rule = Callable[[Any, Any, Any], None]
"""An attrs validator, whose error names the argument."""


def integer(least: int, most: float = math.inf) -> Rule:
    def check(_sandbox: object, argument: Any, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"'{argument.name}' must be an integer, not {value!r}")
        if not least <= value <= most:
            bound = f">= {least}" if value < least else f"<= {most}"
            raise ValueError(f"'{argument.name}' must be {bound}, not {value}")

    return check


def zone(_sandbox: object, argument: Any, value: Any) -> None:
    if not isinstance(value, str) or times.zone(value) is None:
        raise ValueError(f"'{argument.name}' must be an IANA time zone, not {value!r}")


NOT_NEGATIVE: Final = integer(0)
POSITIVE: Final = integer(1)
SECONDS: Final[Rule] = and_(ge(0), lt(math.inf))
LENGTH: Final[Rule] = and_(gt(0), lt(math.inf))
PORT: Final = integer(0, 65535)
LIMIT_OR_NONE: Final[Rule] = optional(POSITIVE)
LIMITS: Final[Rule] = deep_mapping(instance_of(str), POSITIVE)


class UnknownCursor(StrEnum):
    """The response of my-tasks to a `currentId` that is no longer in the caller's list."""

    CONTINUE = "continue"
    """The entries after the last position of the task; an empty list for a task that never existed."""
    RESTART = "restart"
    """The list from its top."""
    EMPTY = "empty"
    """An empty list."""
    ERROR = "error"
    """400 INVALID_PARAMETER (20012)."""


class ListTotals(StrEnum):
    """The `total` that the calendar and leads report."""

    EXACT = "exact"
    MISSING = "missing"
    ZERO = "zero"
    TOO_SMALL = "too_small"
    """Half of it."""
    TOO_LARGE = "too_large"
    """One more than twice of it."""


@frozen(kw_only=True)
class ListOptions:
    """The behaviour of lists that the contract leaves open; the arguments are those of `Sandbox`."""

    cursor_inclusive: bool = False
    unknown_cursor: UnknownCursor = UnknownCursor.CONTINUE
    repeat_last_page: bool = True
    totals: ListTotals = ListTotals.EXACT
    max_page_size: int | None = None
    reports_page_size: bool = True
    offset_limit: int | None = None

    def page_size(self, asked: int) -> int:
        """The number of records on a page."""
        return asked if self.max_page_size is None else min(asked, self.max_page_size)

    def reported_size(self, asked: int) -> int:
        """The page size in the response."""
        return self.page_size(asked) if self.reports_page_size else asked

    def total(self, count: int) -> Mapping[str, Any]:
        """The member of the response with the total."""
        match self.totals:
            case ListTotals.EXACT:
                return {"total": count}
            case ListTotals.MISSING:
                return {}
            case ListTotals.ZERO:
                return {"total": 0}
            case ListTotals.TOO_SMALL:
                return {"total": count // 2}
            case ListTotals.TOO_LARGE:
                return {"total": 2 * count + 1}

    def check_offset(self, offset: int) -> None:
        """Raises: ResponseError at or beyond the limit."""
        if self.offset_limit is not None and offset >= self.offset_limit:
            raise errors.offset_exceeds_limit()


class SandboxOptions(TypedDict, total=False):
    """The arguments of `Sandbox`, by name."""

    leads: int
    tasks_per_lead: int
    seed: int
    limit: int
    window: float
    reset_style: ResetStyle | str
    aligned: bool
    appointments_per_lead: int
    cursor_inclusive: bool
    unknown_cursor: UnknownCursor | str
    repeat_last_page: bool
    list_totals: ListTotals | str
    max_page_size: int | None
    reports_page_size: bool
    offset_limit: int | None
    endpoint_limits: Mapping[str, int]
    per_second_limit: int | None
    latency: float
    read_lag: float
    time_zone: str
    clock: Callable[[], float]
    allow_http: bool
    most_webhooks: int
    token_lifetime: float
    rotate_refresh_tokens: bool
    host: str
    port: int
    keep_requests: int
