"""One call on its way: what it may take, and what has become of it so far."""

from typing import TypeVar

from attrs import evolve, field, frozen

from lofty_async import errors
from lofty_async.ratelimit import Lane, Permit
from lofty_async.wire import Request

from .retry import RetryPolicy
from .watch import Watched

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
    may_have_arrived: bool = False
    renewed: bool = False
    refused: Permit | None = None
    last: errors.CallError | None = None

    def wait_left(self) -> float | None:
        most = self.options.max_wait
        return None if most is None else max(0.0, most - self.waited)

    def told(self, error: CallErrorT) -> CallErrorT:
        """The error with what is known of the call."""
        known = evolve(error, request=self.request.label, attempts=self.attempts, waited=round(self.waited, 3))
        known.__cause__ = error.__cause__
        return known
