"""Whether a call is retried, and when: one pure function decides."""

from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Final

import backoff
from attrs import Attribute, define, evolve, field, frozen

from . import errors
from ._checks import duration, within

RETRY_BUDGET: Final = 100.0  # retries of a client before its calls succeed again
EARNED_RETRIES: Final = 0.2  # added to the budget by each successful call
MAX_SERVER_WAIT: Final = (
    3600.0  # seconds that a call waits because a server asks for it; it ends rather than wait longer
)
MAX_DOUBLINGS: Final = 64  # of the first delay: far beyond any delay, and well before floats overflow


@frozen
class Failure:
    """The failure of one attempt.

    `arrived` says that the request may have reached the server, `temporary` that the same request may succeed later;
    `retry_after` is the shortest wait in seconds that the server asked for.
    """

    arrived: bool
    temporary: bool
    retry_after: float = 0.0

    @classmethod
    def of(cls, error: errors.CallError, retry_after: float = 0.0) -> "Failure":
        """The failure that a call's error means."""
        if isinstance(error, errors.TransportError):
            return cls(error.sent, error.temporary, retry_after)
        if isinstance(error, errors.APIError):
            return cls(_may_have_succeeded(error), isinstance(error, errors.ServerError), retry_after)
        # A proxy's page, half an answer or an empty one: the next one may be complete.
        return cls(arrived=True, temporary=True, retry_after=retry_after)


def _may_have_succeeded(error: errors.APIError) -> bool:
    """Whether the server may have carried out, or may yet carry out, a request that it answers with this error.

    A server may finish a request after its own 504. A request refused by a 4xx, or by a code of Lofty's below 500, is
    not carried out.
    """
    status = error.status or 0
    return isinstance(error, errors.ServerError) or not (200 <= status < 300 or 400 <= status < 500)


def _count(_: object, attribute: "Attribute[int]", value: object) -> None:
    within(attribute.name, value, 0)


def _seconds(_: object, attribute: "Attribute[float]", value: object) -> None:
    duration(attribute.name, value)


@frozen(kw_only=True)
class RetryPolicy:
    """How often a call is retried, and after which delays.

    `retries` is the number of attempts after the first. The first retry waits a random time of up to `base_delay`
    seconds, each later one up to twice as long, at most `max_delay`, and never less than the server asks for: a call
    ends if that is more than its `max_wait` or an hour. No attempt begins later than `deadline` seconds after the
    first; time spent waiting for the rate limit is not counted. `refusals` is how many answers of HTTP 429 one call
    accepts before it fails; these use no retries.

    Raises: InvalidRequestError if a number is negative, or a count is not an integer.
    """

    retries: int = field(default=3, validator=_count)
    base_delay: float = field(default=0.5, validator=_seconds)
    max_delay: float = field(default=20.0, validator=_seconds)
    deadline: float = field(default=120.0, validator=_seconds)
    refusals: int = field(default=12, validator=_count)

    def with_retries(self, retries: int) -> "RetryPolicy":
        return evolve(self, retries=retries)


def decide(
    policy: RetryPolicy,
    failure: Failure,
    *,
    repeatable: bool,
    attempt: int,
    elapsed: float,
    max_wait: float = inf,
    jitter: Callable[[float], float] = backoff.full_jitter,
) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or `None` to stop.

    A request that never arrived may always be sent again, one that may have arrived only if it is `repeatable`. If the
    server asks for a wait of more than `max_wait` seconds, the call stops.
    """
    if not failure.temporary or attempt > policy.retries or (failure.arrived and not repeatable):
        return None
    if failure.retry_after > min(max_wait, MAX_SERVER_WAIT):
        return None
    wait = max(failure.retry_after, jitter(_ceiling(policy, attempt)))
    return wait if elapsed + wait <= policy.deadline else None


def _ceiling(policy: RetryPolicy, attempt: int) -> float:
    waits = backoff.expo(base=2, factor=policy.base_delay, max_value=policy.max_delay)
    # The generator's first value is None, made for `send`, so that the first wait has the index 1.
    return float(next(islice(waits, min(attempt, MAX_DOUBLINGS), None)))


@define(repr=False)
class RetryBudget:
    """The retries left to a client: in an outage they run out, and calls fail at their first attempt."""

    left: float = RETRY_BUDGET

    def spend(self) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def earn(self) -> None:
        if self.left < RETRY_BUDGET:
            self.left = min(RETRY_BUDGET, self.left + EARNED_RETRIES)
