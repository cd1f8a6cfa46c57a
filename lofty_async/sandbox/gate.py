"""The gate before every call: firewall, rate limit, credentials and content type."""

import asyncio
import math
from collections.abc import Callable, Mapping
from email.utils import formatdate
from enum import StrEnum
from functools import partial
from threading import Lock

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from attrs import define, evolve, field, frozen

from . import errors
from .errors import ResponseError
from .faults import EXCHANGE, Answer, Exchange, Faults
from .parameters import CALLS, Call, label_of
from .requests import RequestLog, RequestRecord

BLOCKED_AGENTS = ("Python/", "Python-urllib/", "python-requests/", "Java/")
"""Defaults of libraries, which the firewall blocks."""
JSON_CHARSETS = ("utf-8", "utf8")


class ResetStyle(StrEnum):
    """How `X-RateLimit-Reset` is written; documentation, example and field reports disagree."""

    EPOCH_SECONDS = "epoch_s"
    EPOCH_MILLISECONDS = "epoch_ms"
    MILLISECONDS_LEFT = "ms_left"
    SECONDS_LEFT = "s_left"
    ABSENT = "absent"
    """No rate header at all."""


@frozen
class WindowState:
    """A window after one request; times in seconds since the epoch."""

    limit: int
    remaining: int
    resets_at: float
    allowed: bool

    def headers(self, style: ResetStyle, now: float) -> Mapping[str, str]:
        if style is ResetStyle.ABSENT:
            return {}
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self._reset(style, now)),
        }

    def _reset(self, style: ResetStyle, now: float) -> int:
        left = max(0.0, self.resets_at - now)
        match style:
            case ResetStyle.EPOCH_SECONDS:
                return math.ceil(self.resets_at)
            case ResetStyle.EPOCH_MILLISECONDS:
                return math.ceil(self.resets_at * 1000)
            case ResetStyle.MILLISECONDS_LEFT:
                return math.ceil(left * 1000)
            case _:
                return math.ceil(left)


@define
class FixedWindow:
    """Allows `limit` requests in every `seconds`.

    With an `anchor` the windows follow each other on a grid through that moment; without one, a window opens
    with the first request after the last has ended.
    """

    limit: int
    seconds: float
    anchor: float | None = None
    _opened_at: float = field(default=-math.inf, init=False)
    _used: int = field(default=0, init=False)

    @property
    def resets_at(self) -> float:
        return self._opened_at + self.seconds

    def peek(self, now: float) -> WindowState:
        """The window without another request."""
        self._roll(now)
        return self._state(allowed=self._used < self.limit)

    def count(self, now: float) -> WindowState:
        """The window after a request, which counts if it is allowed."""
        self._roll(now)
        allowed = self._used < self.limit
        self._used += allowed
        return self._state(allowed=allowed)

    def _roll(self, now: float) -> None:
        if not self._opened_at <= now < self.resets_at:
            self._opened_at, self._used = self._opening(now), 0

    def _opening(self, now: float) -> float:
        if self.anchor is None:
            return now
        opened_at = self.anchor + (now - self.anchor) // self.seconds * self.seconds
        # Rounding may put the grid's line on the wrong side of now; such a window would turn at every request.
        return opened_at + self.seconds if now >= opened_at + self.seconds else min(opened_at, now)

    def _state(self, *, allowed: bool) -> WindowState:
        return WindowState(self.limit, max(0, self.limit - self._used), self.resets_at, allowed)


@define
class Throttle:
    """The application's window, the windows of endpoints that have their own, and a limit on bursts.

    A rate-limited request counts in no window. A request to an endpoint with a limit of its own counts in both
    windows and reports the endpoint's.
    """

    application: FixedWindow
    endpoints: Mapping[str, FixedWindow] = field(factory=dict[str, FixedWindow])
    burst: FixedWindow | None = None
    _lock: Lock = field(factory=Lock, init=False)  # sandboxes on several threads may share one

    def count(self, label: str, now: float) -> WindowState:
        """The window that a request counts in and reports, after it."""
        with self._lock:
            own = self.endpoints.get(label)
            if self.burst is not None and not self.burst.peek(now).allowed:
                return evolve(self.application.peek(now), allowed=False)
            if own is not None and not own.peek(now).allowed:
                return own.peek(now)
            state = self.application.count(now)
            if state.allowed and self.burst is not None:
                self.burst.count(now)
            return own.count(now) if state.allowed and own is not None else state


@define
class Credentials:
    """API keys and access tokens, each kind with its own word before it."""

    keys: set[str] = field(factory=set[str])
    tokens: dict[str, float] = field(factory=dict[str, float])
    """Access tokens, with the time (epoch seconds) at which they expire."""
    revoked: set[str] = field(factory=set[str])

    out_of_scope: set[str] = field(factory=set[str])
    """Calls, such as `GET /v2.0/calendar`, for which the application lacks the scope."""

    def check(self, header: str | None, now: float) -> None:
        """Raises: ResponseError 401 for an unknown or expired one, 400/200058 for the wrong word or a revoked one."""
        word, _, credential = (header or "").partition(" ")
        if credential in self.revoked:
            raise errors.wrong_scheme()
        if credential not in self.keys and self.tokens.get(credential, 0.0) <= now:
            raise errors.bad_credentials()
        if word != ("token" if credential in self.keys else "Bearer"):
            raise errors.wrong_scheme()

    def check_scope(self, label: str) -> None:
        """Raises: ResponseError 403/200100 for a call outside the scope."""
        if label in self.out_of_scope:
            raise errors.missing_scope()

    def revoke(self, credential: str) -> None:
        self.revoked.add(credential)


@frozen
class Gate:
    """Passes requests on to their calls."""

    clock: Callable[[], float]
    log: RequestLog
    throttle: Throttle
    reset_style: ResetStyle
    faults: Faults
    credentials: Credentials
    latency: float

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The response to any request, which is recorded."""
        exchange = Exchange()
        EXCHANGE.set(exchange)
        body, unreadable = await _read(request)
        number = self.log.arrive(self._record(request, body))
        if self.latency:
            await asyncio.sleep(self.latency)
        if unreadable is None:
            response = await _answer(request, partial(self._admit, request, handler))
        else:
            response = unreadable.response(request.path)
            response.force_close()  # the rest of the body would be read as the next request
        if not exchange.dropped:
            self.log.answer(number, response.status)
        return response

    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Firewall, rate limit and faults; an error of the call is a response before the faults see it."""
        _check_agent(request)
        label = label_of(request)
        call = CALLS.get(label)
        if call is None or not call.is_open:
            self._count(label)
        answer = partial(_answer, request, partial(self._call, request, handler, call))
        return await self.faults.answer(label, request, answer)

    def _count(self, label: str) -> None:
        now = self.clock()
        window = self.throttle.count(label, now)
        EXCHANGE.get().rate_headers = window.headers(self.reset_style, now)
        if not window.allowed:
            raise errors.too_many_requests()

    async def _call(self, request: web.Request, handler: Handler, call: Call | None) -> web.StreamResponse:
        """Credentials, content type and parameters, then the call."""
        if call is not None and call.is_open:
            return await handler(request)
        self.credentials.check(request.headers.get(hdrs.AUTHORIZATION), self.clock())
        if call is not None:
            self.credentials.check_scope(call.label)
        if request.method != hdrs.METH_GET or (call is not None and call.is_typed):
            _check_content_type(request)
        if call is not None:
            call.check_query(request.query)
            call.check_body(await request.read())
        return await handler(request)

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Writes the Date and rate headers; a signal, so that streams have them too."""
        response.headers[hdrs.DATE] = formatdate(self.clock(), usegmt=True)
        response.headers.update(EXCHANGE.get(Exchange()).rate_headers)

    def _record(self, request: web.Request, body: bytes) -> RequestRecord:
        return RequestRecord(
            at=self.clock(),
            method=request.method,
            path=request.path,
            route=label_of(request),
            query=request.query,
            headers=request.headers,
            body=body,
        )


async def _answer(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The response, also to an error."""
    try:
        return await answer()
    except ResponseError as error:
        return error.response(request.path)
    except web.HTTPNotFound:
        return errors.not_found().response(request.path)
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=error.status, text=error.text)


async def _read(request: web.Request) -> tuple[bytes, ResponseError | None]:
    """The body, or the error of one that cannot be decoded or is too large."""
    try:
        return await request.read(), None
    except web.HTTPRequestEntityTooLarge:
        return b"", errors.body_too_large()
    except (web.RequestPayloadError, HttpProcessingError, ClientPayloadError):
        return b"", errors.invalid("the body is not encoded as its headers say")


def _check_agent(request: web.Request) -> None:
    agent = request.headers.get(hdrs.USER_AGENT, "")
    if not agent or agent.startswith(BLOCKED_AGENTS):
        raise errors.blocked()


def _check_content_type(request: web.Request) -> None:
    sent = request.headers.get(hdrs.CONTENT_TYPE)
    if not sent and request.method != hdrs.METH_GET:
        raise errors.content_type_missing()
    charset = (request.charset or "utf-8").lower()
    if not sent or request.content_type != "application/json" or charset not in JSON_CHARSETS:
        raise errors.unsupported_media_type()
