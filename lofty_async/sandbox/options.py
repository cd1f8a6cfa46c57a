"""What a sandbox can be made with, as types and as rules."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict

from attrs.validators import and_, deep_mapping, ge, gt, instance_of, le, lt, optional

from .paging import ListTotals, UnknownCursor
from .window import ResetStyle

Rule = Callable[[Any, Any, Any], None]
"""An attrs validator; what it raises names the argument."""

NOT_NEGATIVE: Final[Rule] = ge(0)
POSITIVE: Final[Rule] = ge(1)
SECONDS: Final[Rule] = and_(ge(0), lt(math.inf))
LENGTH: Final[Rule] = and_(gt(0), lt(math.inf))
PORT: Final[Rule] = and_(ge(0), le(65535))
LIMIT_OR_NONE: Final[Rule] = optional(POSITIVE)
LIMITS: Final[Rule] = deep_mapping(instance_of(str), POSITIVE)


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
