"""Counts the calls of a client, and tells listeners and loggers of them. Nothing is built where nobody watches."""

import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, TypeVar, cast

from attrs import define, field, frozen

from . import errors, events
from ._checks import is_plain_function, refuse
from ._logging import log_event
from ._wire import Reply, Request, request_id
from .events import Event, OnEvent
from .ratelimit import Lane, RateLimiter, WaitEvent

T = TypeVar("T")

log = logging.getLogger("lofty_async.events")

LISTENERS: Final[list[Callable[[Event], object]]] = []
"""Listeners to the calls of all clients, such as a tracer's."""

_numbers = count(1)


@frozen
class Stats:
    """Counts of a client: requests sent, answers of HTTP 429, and seconds in which calls waited for the rate limit."""

    requests: int = 0
    rate_limited: int = 0
    waited: float = 0.0


@define(eq=False, repr=False)
class Counters:
    """The counts behind `Stats`."""

    requests: int = 0
    rate_limited: int = 0
    _waited: float = 0.0
    _waiting: int = 0  # calls
    _waiting_since: float = 0.0

    @property
    def stats(self) -> Stats:
        now = time.monotonic() - self._waiting_since if self._waiting else 0.0
        return Stats(self.requests, self.rate_limited, self._waited + now)

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Count the time as waiting for the rate limit, once for all calls that wait."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited += time.monotonic() - self._waiting_since


class Observer:
    """Tells the listener of one client, those of all clients, and the loggers.

    A listener that fails is logged, and costs the call nothing.
    """

    def __init__(self, on_event: OnEvent | None, limiter: RateLimiter, server: str) -> None:
        self._on_event, self._limiter, self._server = on_event, limiter, server
        self.has_listener = on_event is not None

    @property
    def remaining(self) -> int | None:
        return self._limiter.snapshot.remaining

    @property
    def wait_threshold(self) -> float:
        return self._limiter.wait_threshold

    async def watch(self, request: Request, lane: Lane, run: Callable[["CallRecord"], Awaitable[T]]) -> T:
        """Report a call from its start to its end; returns its result."""
        record = CallRecord(self, request.route.label, lane)
        self.tell(events.CallStarted(record.number, record.route, lane, self._server))
        try:
            result = await run(record)
        except BaseException as error:
            record.finished(error)
            raise
        record.finished(None)
        return result

    def tell(self, event: Event) -> None:
        own = () if self._on_event is None else (self._on_event,)
        for listener in (log_event, *LISTENERS, *own):
            try:
                listener(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a cancellation that a listener raises is no one's of this call
                log.exception("a listener failed")


def plain_listener(argument: str, value: object) -> OnEvent | None:
    """A listener that can be called within a call, or `None`."""
    if value is not None and not is_plain_function(value):
        raise refuse(argument, "must be a plain function of the event")
    return cast("OnEvent | None", value)


@define(eq=False, repr=False)
class CallRecord:
    """Tells of one call, step by step."""

    _observer: Observer
    route: str
    _lane: Lane
    number: int = field(factory=lambda: next(_numbers), init=False)
    _began: float = field(factory=time.monotonic, init=False)
    _sent_at: float | None = field(default=None, init=False)  # of the attempt under way
    _attempt: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)  # of all attempts
    _last_wait: float = field(default=0.0, init=False)
    _status: int | None = field(default=None, init=False)

    def sent(self, attempt: int, waited: float) -> None:
        """An attempt is sent; `waited` is what the call has waited so far."""
        self._last_wait, self._waited, self._attempt = waited - self._waited, waited, attempt
        if self._last_wait > self._observer.wait_threshold:
            self._observer.tell(WaitEvent(self.route, self._lane, self._last_wait))
        self._sent_at = time.monotonic()
        self._observer.tell(events.RequestSent(self.number, self.route, attempt, self._last_wait))

    def ended(self, outcome: Reply | BaseException) -> None:
        """The attempt under way is answered, or fails."""
        known: dict[str, Any] = {
            "call": self.number,
            "route": self.route,
            "attempt": self._attempt,
            "waited": self._last_wait,
            "seconds": time.monotonic() - (self._sent_at or 0.0),
        }
        self._sent_at = None
        if isinstance(outcome, Reply):
            self._status = outcome.status
            known |= {"remaining": self._observer.remaining, "request_id": request_id(outcome.headers)}
            self._observer.tell(events.ResponseReceived(status=outcome.status, **known))
        else:
            self._status = None
            self._observer.tell(events.RequestFailed(error=type(outcome).__name__, **known))

    def retrying(self, error: errors.CallError, attempt: int, delay: float) -> None:
        status = error.status if isinstance(error, errors.APIError) else None
        reason = f"HTTP {status}, {type(error).__name__}" if status else type(error).__name__
        self._observer.tell(events.RetryScheduled(self.number, self.route, attempt, delay, reason))

    def finished(self, error: BaseException | None) -> None:
        if self._sent_at is not None and error is not None:
            self.ended(error)
        waited = error.waited if isinstance(error, errors.CallError) else self._waited
        name = None if error is None else type(error).__name__
        seconds = time.monotonic() - self._began
        self._observer.tell(
            events.CallFinished(self.number, self.route, self._attempt, waited, seconds, self._status, name)
        )
