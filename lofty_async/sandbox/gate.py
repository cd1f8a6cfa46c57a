"""The gate before every call: firewall, rate limit, credentials and content type; and the log of all requests."""

import asyncio
import itertools
import json
from collections.abc import Callable, Container, Iterator
from email.utils import formatdate
from typing import Any

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from attrs import define, evolve, field, frozen
from multidict import CIMultiDictProxy, MultiMapping

from . import errors, parameters
from .errors import ResponseError
from .faults import EXCHANGE, Exchange, Faults
from .parameters import label_of
from .rate_limit import ResetStyle, Throttle

BLOCKED_AGENTS = ("Python/", "Python-urllib/", "python-requests/", "Java/")
"""Defaults of libraries, which the firewall blocks."""
JSON_CHARSETS = ("utf-8", "utf8")
TYPED_GETS = frozenset({"GET /v2.0/calendar", "GET /v2.0/calendar/meetings/available"})
"""GET calls that answer 415 without a Content-Type; no other was seen to."""


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
class RequestRecord:
    """One request; `status` is `None` until it is answered, for ever if its connection is dropped."""

    at: float
    """The sandbox's clock, in epoch seconds."""
    method: str
    path: str
    route: str
    """Such as `GET /v2.0/tasks/{taskId}`."""
    query: MultiMapping[str]
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None

    def json(self) -> Any:
        return json.loads(self.body)


@define
class RequestLog:
    """The last `keep` requests, and counts of all."""

    keep: int
    arrived: int = 0
    served: int = 0
    """Requests answered with another status than 429."""
    rejected: int = 0
    """Requests answered with 429."""
    _records: dict[int, RequestRecord] = field(factory=dict[int, RequestRecord], init=False)
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    @property
    def records(self) -> list[RequestRecord]:
        return list(self._records.values())

    def arrive(self, record: RequestRecord) -> int:
        """Records a request and returns its number for `answer`."""
        number = next(self._numbers)
        self.arrived += 1
        self._records[number] = record
        if len(self._records) > self.keep:
            del self._records[next(iter(self._records))]
        return number

    def answer(self, number: int, status: int) -> None:
        rejected = status == web.HTTPTooManyRequests.status_code
        self.rejected += rejected
        self.served += not rejected
        if number in self._records:
            self._records[number] = evolve(self._records[number], status=status)


@frozen
class Gate:
    """The middlewares; calls in `open_calls` need no credential and have no rate limit."""

    clock: Callable[[], float]
    log: RequestLog
    throttle: Throttle
    reset_style: ResetStyle
    faults: Faults
    credentials: Credentials
    latency: float
    open_calls: Container[str]

    def middlewares(self) -> list[Middleware]:
        """Outermost first; errors become responses before the faults see them, and once more after."""
        return [
            self.record,
            self.answer_errors,
            self.block,
            self.admit,
            self.fail,
            self.answer_errors,
            self.authorise,
        ]

    @web.middleware
    async def record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = Exchange()
        EXCHANGE.set(exchange)
        body, unreadable = await _read(request)
        number = self.log.arrive(self._record_of(request, body))
        if self.latency:
            await asyncio.sleep(self.latency)
        if unreadable is None:
            response = await handler(request)
        else:
            response = unreadable.response(request.path)
            response.force_close()  # the rest of the body would be read as the next request
        if not exchange.dropped:
            self.log.answer(number, response.status)
        return response

    @web.middleware
    async def answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ResponseError as error:
            return error.response(request.path)
        except web.HTTPNotFound:
            return errors.not_found().response(request.path)
        except web.HTTPMethodNotAllowed as error:
            return web.Response(status=error.status, text=error.text)

    @web.middleware
    async def block(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        agent = request.headers.get(hdrs.USER_AGENT, "")
        if not agent or agent.startswith(BLOCKED_AGENTS):
            raise errors.blocked()
        return await handler(request)

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if label_of(request) in self.open_calls:
            return await handler(request)
        now = self.clock()
        window = self.throttle.count(label_of(request), now)
        EXCHANGE.get().rate_headers = window.headers(self.reset_style, now)
        if not window.allowed:
            raise errors.too_many_requests()
        return await handler(request)

    @web.middleware
    async def fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self.faults.answer(label_of(request), request, lambda: handler(request))

    @web.middleware
    async def authorise(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        label = label_of(request)
        if label not in self.open_calls:
            self.credentials.check(request.headers.get(hdrs.AUTHORIZATION), self.clock())
            self.credentials.check_scope(label)
            _check_content_type(request)
        if label not in self.open_calls and request.match_info.http_exception is None:
            parameters.check_query(label, request.query)
            parameters.check_no_body(label, await request.read())
        return await handler(request)

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Writes the Date and rate headers; a signal, so that streams have them too."""
        response.headers[hdrs.DATE] = formatdate(self.clock(), usegmt=True)
        response.headers.update(EXCHANGE.get(Exchange()).rate_headers)

    def _record_of(self, request: web.Request, body: bytes) -> RequestRecord:
        return RequestRecord(
            at=self.clock(),
            method=request.method,
            path=request.path,
            route=label_of(request),
            query=request.query,
            headers=request.headers,
            body=body,
        )


async def _read(request: web.Request) -> tuple[bytes, ResponseError | None]:
    """The body, or the error of one that cannot be decoded or is too large."""
    try:
        return await request.read(), None
    except web.HTTPRequestEntityTooLarge:
        return b"", errors.body_too_large()
    except (web.RequestPayloadError, HttpProcessingError, ClientPayloadError):
        return b"", errors.invalid("the body is not encoded as its headers say")


def _check_content_type(request: web.Request) -> None:
    sent = request.headers.get(hdrs.CONTENT_TYPE)
    if request.method == hdrs.METH_GET and label_of(request) not in TYPED_GETS:
        return
    if not sent and request.method != hdrs.METH_GET:
        raise errors.content_type_missing()
    charset = (request.charset or "utf-8").lower()
    if not sent or request.content_type != "application/json" or charset not in JSON_CHARSETS:
        raise errors.unsupported_media_type()
