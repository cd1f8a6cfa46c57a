"""Whether a call is sent again, and when: pure, and the only judge of it."""

from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Final

import backoff
from attrs import Attribute, define, evolve, field, frozen

from lofty_async.errors import InvalidRequestError

BUDGET: Final = 100.0  # retries a client may make before its calls succeed again
EARNED: Final = 0.2  # of a retry, by each call that succeeded
MAX_SERVER_WAIT: Final = (
    3600.0  # seconds that a call waits because a server asks for it; a call ends rather than wait longer
)
DOUBLINGS: Final = 64  # of the first wait, at most: far beyond any wait, and well before floats overflow


@frozen
class Failure:
    """How one attempt went wrong.

    `arrived` says that the request may have reached the server; `passing` that the same request may do better later;
    `retry_after` is the least wait in seconds that the server asked for.
    """

    arrived: bool
    passing: bool
    retry_after: float = 0.0


def _count(_: object, attribute: "Attribute[int]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        message = f"{attribute.name} must be an integer of at least 0, not {value!r}"
        raise InvalidRequestError(message, argument=attribute.name)


def _seconds(_: object, attribute: "Attribute[float]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        message = f"{attribute.name} must be at least 0 seconds, not {value!r}"
        raise InvalidRequestError(message, argument=attribute.name)


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently a call is sent again.

    `retries` follow the first attempt. The n-th waits a random time up to `base_delay` * 2**n seconds, at most
    `max_delay`, and never less than the server asks for: a call ends where that is more than its `max_wait` or an
    hour. None begins later than `deadline` seconds after the
    call's first attempt, time spent waiting for its turn not counted. `refusals` bounds how often one call is turned
    away for want of budget before it gives up; those cost no retry.

    Raises: InvalidRequestError where a number is negative, or a count not whole.
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
    """Seconds to wait before attempt `attempt + 1`, or `None` to stop here.

    What never arrived may always be sent again; what may have arrived only where repeating it does no harm. A server
    that asks for a wait of more than `max_wait` seconds is not asked again.
    """
    if not failure.passing or attempt > policy.retries or (failure.arrived and not repeatable):
        return None
    if failure.retry_after > min(max_wait, MAX_SERVER_WAIT):
        return None
    wait = max(failure.retry_after, jitter(_ceiling(policy, attempt)))
    return wait if elapsed + wait <= policy.deadline else None


def _ceiling(policy: RetryPolicy, attempt: int) -> float:
    waits = backoff.expo(base=2, factor=policy.base_delay, max_value=policy.max_delay)
    # The generator's first value is None, made for `send`, so that the first wait has the index 1.
    return float(next(islice(waits, min(attempt, DOUBLINGS), None)))


@define
class RetryBudget:
    """Retries left to a client: in an outage they run out, and calls fail at their first attempt."""

    left: float = BUDGET

    def spend(self) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def earn(self) -> None:
        if self.left < BUDGET:
            self.left = min(BUDGET, self.left + EARNED)
