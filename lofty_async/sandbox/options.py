"""The options of a sandbox, with their defaults and ranges; `Sandbox` documents each."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from attrs import define, field
from attrs.validators import and_, deep_mapping, ge, gt, lt, optional

from . import errors, times
from .entities import EntryClass
from .parameters import CALLS
from .rate_limit import ResetStyle, Throttle

T = TypeVar("T")
Validator = Callable[[Any, Any, Any], None]


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


def integer(least: float, most: float = math.inf) -> Validator:
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


def limited_call(_sandbox: object, argument: Any, label: str) -> None:
    if label not in CALLS or CALLS[label].is_open:
        raise ValueError(f"'{argument.name}' must be of calls such as 'GET /v2.0/calendar', not {label!r}")


def changeable(_sandbox: object, argument: Any, value: T) -> T:
    """Refuses a change that would have no effect.

    Raises: AttributeError for an option that is read when the sandbox is made, and not again.
    """
    if argument.name in FIXED:
        raise AttributeError(f"'{argument.name}' cannot be changed later: pass it to Sandbox({argument.name}=…)")
    return value


def classes(names: Iterable[EntryClass | str]) -> frozenset[EntryClass]:
    return frozenset(map(EntryClass, [names] if isinstance(names, str) else names))


INTEGER: Final = integer(-math.inf)
NOT_NEGATIVE: Final = integer(0)
POSITIVE: Final = integer(1)
PORT: Final = integer(0, 65535)
STATUS: Final = integer(200, 999)
LIMIT_OR_NONE: Final[Validator] = optional(POSITIVE)
LIMITS: Final[Validator] = deep_mapping(limited_call, POSITIVE)
SECONDS: Final[Validator] = and_(ge(0), lt(math.inf))
LENGTH: Final[Validator] = and_(gt(0), lt(math.inf))
FIXED: Final = frozenset(
    {
        *("leads", "tasks_per_lead", "appointments_per_lead", "seed", "keep_requests"),
        *("limit", "window", "aligned", "endpoint_limits", "per_second_limit"),
        *("allow_http", "most_webhooks", "token_lifetime", "rotate_refresh_tokens"),
    }
)
"""Options that are read when the sandbox is made, and not again."""
HIDDEN: Final = (EntryClass.UNMANAGED,)


@define(eq=False, slots=False)
class Options:
    """The arguments of `Sandbox`, by name."""

    leads: int = field(default=200, validator=NOT_NEGATIVE)
    tasks_per_lead: int = field(default=5, validator=NOT_NEGATIVE)
    seed: int = field(default=0, validator=INTEGER)
    limit: int = field(default=500, validator=POSITIVE)
    window: float = field(default=60.0, validator=LENGTH)
    reset_style: ResetStyle = field(default=ResetStyle.EPOCH_SECONDS, kw_only=True, converter=ResetStyle)
    aligned: bool = field(default=True, kw_only=True)
    appointments_per_lead: int = field(default=1, kw_only=True, validator=NOT_NEGATIVE)
    budget: Throttle | None = field(default=None, kw_only=True, repr=False)
    my_tasks_hides: Collection[EntryClass] = field(default=HIDDEN, kw_only=True, converter=classes)
    calendar_hides: Collection[EntryClass] = field(default=HIDDEN, kw_only=True, converter=classes)
    ignores_user_id: bool = field(default=False, kw_only=True)
    cursor_inclusive: bool = field(default=False, kw_only=True)
    unknown_cursor: UnknownCursor = field(default=UnknownCursor.CONTINUE, kw_only=True, converter=UnknownCursor)
    repeat_last_page: bool = field(default=True, kw_only=True)
    list_totals: ListTotals = field(default=ListTotals.EXACT, kw_only=True, converter=ListTotals)
    max_page_size: int | None = field(default=None, kw_only=True, validator=LIMIT_OR_NONE)
    reports_page_size: bool = field(default=True, kw_only=True)
    offset_limit: int | None = field(default=None, kw_only=True, validator=LIMIT_OR_NONE)
    endpoint_limits: Mapping[str, int] = field(factory=dict[str, int], kw_only=True, validator=LIMITS)
    per_second_limit: int | None = field(default=None, kw_only=True, validator=LIMIT_OR_NONE)
    latency: float = field(default=0.0, kw_only=True, validator=SECONDS)
    read_lag: float = field(default=0.0, kw_only=True, validator=SECONDS)
    time_zone: str = field(default="America/Los_Angeles", kw_only=True, validator=zone)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)
    allow_http: bool = field(default=False, kw_only=True)
    most_webhooks: int = field(default=50, kw_only=True, validator=NOT_NEGATIVE)
    token_lifetime: float = field(default=3600.0, kw_only=True, validator=SECONDS)
    rotate_refresh_tokens: bool = field(default=False, kw_only=True)
    host: str = field(default="127.0.0.1", kw_only=True)
    port: int = field(default=0, kw_only=True, validator=PORT)
    keep_requests: int = field(default=100_000, kw_only=True, validator=NOT_NEGATIVE)


def page_size(options: Options, asked: int) -> int:
    """The number of records on a page of a list."""
    return asked if options.max_page_size is None else min(asked, options.max_page_size)


def reported_size(options: Options, asked: int) -> int:
    """The page size in the response."""
    return page_size(options, asked) if options.reports_page_size else asked


def total(options: Options, count: int) -> Mapping[str, int]:
    """The member of the response with the total."""
    reported = {
        ListTotals.EXACT: count,
        ListTotals.ZERO: 0,
        ListTotals.TOO_SMALL: count // 2,
        ListTotals.TOO_LARGE: 2 * count + 1,
    }
    return {} if options.list_totals is ListTotals.MISSING else {"total": reported[options.list_totals]}


def check_offset(options: Options, offset: int) -> None:
    """Raises: ResponseError at or beyond the limit."""
    if options.offset_limit is not None and offset >= options.offset_limit:
        raise errors.offset_exceeds_limit()
