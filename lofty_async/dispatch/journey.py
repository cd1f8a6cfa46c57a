"""One call on its way: what it may take, and what has become of it so far."""

from math import inf
from typing import Final, TypeVar

from attrs import evolve, field, frozen

from lofty_async import errors
from lofty_async._wire import Request
from lofty_async.ratelimit import Lane, Permit

from .retry import RetryPolicy
from .watch import Watched

CLOCK_TOLERANCE: Final = 0.001  # seconds by which a timer may be early

CallErrorT = TypeVar("CallErrorT", bound=errors.CallError)


@frozen(kw_only=True)
class Options:
    """What a call may take: seconds once sent, seconds of waiting for its turn, retries, and its lane."""

    timeout: float | None = 30.0
    max_wait: float | None = None
    retry: RetryPolicy = field(factory=RetryPolicy)
    lane: Lane = Lane.INTERACTIVE


class Journey(Watched):
    """What has become of one call so far."""

    # No `__init__`, for the reason that permits have none.
    request: Request
    options: Options

    # As in Watched: most calls end well at once.
    attempts: int = 0
    failures: int = 0
    refusals: int = 0
    waited: float = 0.0
    spent: float = 0.0
    held: float = 0.0
    not_before: float = 0.0
    may_have_arrived: bool = False
    renewed: bool = False
    refused: Permit | None = None
    last: errors.CallError | None = None

    def wait_left(self) -> float:
        """Seconds that it may still wait: for its turn, and because the server asks for it (`held` so far)."""
        most = self.options.max_wait
        return inf if most is None else max(0.0, most - self.waited - self.held)

    def wait_at_least(self, seconds: float) -> None:
        self.not_before = self.task.get_loop().time() + seconds

    def must_wait(self) -> float:
        """Seconds that are left of what the last refusal asked for."""
        left = self.not_before - self.task.get_loop().time()
        return left if left > CLOCK_TOLERANCE else 0.0

    def told(self, error: CallErrorT) -> CallErrorT:
        """The error with what is known of the call."""
        known = evolve(error, request=self.request.label, attempts=self.attempts, waited=round(self.waited, 3))
        known.__cause__ = error.__cause__
        return known
