"""The events that a client sends to its listener: typed and frozen, without bodies, queries or secrets.

`call` numbers the calls of a process. `route` is the method and the path's template, such as
`GET /v2.0/tasks/{taskId}`. Times are seconds.
"""

from collections.abc import Callable

from attrs import frozen

from .ratelimit import Lane, WaitEvent

__all__ = [
    "CallFinished",
    "CallStarted",
    "Event",
    "OnEvent",
    "RequestFailed",
    "RequestSent",
    "ResponseReceived",
    "RetryScheduled",
    "WaitEvent",
]


@frozen
class CallStarted:
    """A call begins; `server` is the base URL."""

    call: int
    route: str
    lane: Lane
    server: str


@frozen
class RequestSent:
    """An attempt is sent after it has `waited` for the rate limit; the first `attempt` of a call is 1."""

    call: int
    route: str
    attempt: int
    waited: float


@frozen
class ResponseReceived:
    """An attempt was answered, with any status, `seconds` after it was sent.

    `remaining` is what remains of the rate limit's window, `request_id` the server's id of the request; each is `None`
    if it is not known.
    """

    call: int
    route: str
    attempt: int
    waited: float
    seconds: float
    status: int
    remaining: int | None
    request_id: str | None


@frozen
class RequestFailed:
    """An attempt ended without an answer; `error` is the name of the exception's class."""

    call: int
    route: str
    attempt: int
    waited: float
    seconds: float
    error: str


@frozen
class RetryScheduled:
    """The call goes on after `attempt` failed, no earlier than in `delay` seconds.

    `reason` is the status of the answer, if there was one, and the name of the exception's class.
    """

    call: int
    route: str
    attempt: int
    delay: float
    reason: str


@frozen
class CallFinished:
    """A call ended: with a result, or with an `error`, the name of the exception's class.

    `attempts` were sent, `waited` is the time spent waiting for the rate limit, `seconds` all of the call's time, and
    `status` that of the last answer, if there was one.
    """

    call: int
    route: str
    attempts: int
    waited: float
    seconds: float
    status: int | None
    error: str | None


Event = CallStarted | RequestSent | ResponseReceived | RequestFailed | RetryScheduled | WaitEvent | CallFinished
OnEvent = Callable[[Event], object]
"""A plain function that is called with each event, within the call: it must not block."""
