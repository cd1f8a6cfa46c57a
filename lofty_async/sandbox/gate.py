"""What stands before every call: firewall, window, credentials, content type; and the log behind them."""

import asyncio
from collections.abc import Callable, Container
from email.utils import formatdate

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from attrs import frozen

from . import parameters, refusals
from .credentials import Credentials
from .faults import EXCHANGE, Exchange, Faults
from .reading import label_of
from .refusals import Refusal
from .request_log import RequestLog, RequestRecord
from .window import ResetStyle, Throttle

BLOCKED_AGENTS = ("Python/", "Python-urllib/", "python-requests/", "Java/")
"""Defaults of libraries, which the firewall turns away."""
JSON_CHARSETS = ("utf-8", "utf8")
TYPED_GETS = frozenset({"GET /v2.0/calendar", "GET /v2.0/calendar/meetings/available"})
"""Calls of method GET that need a Content-Type and answer 415 without; the others were never seen to."""


@frozen
class Gate:
    """The middlewares of the sandbox; calls in `open_calls` need no credential and spend no budget."""

    clock: Callable[[], float]
    log: RequestLog
    throttle: Throttle
    reset_style: ResetStyle
    faults: Faults
    credentials: Credentials
    latency: float
    open_calls: Container[str]

    def middlewares(self) -> list[Middleware]:
        """From the outermost on; refusals become answers before the faults see them, and once more after."""
        return [
            self.record,
            self.answer_refusals,
            self.block,
            self.admit,
            self.fail,
            self.answer_refusals,
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
            response.force_close()  # what is left of the body would be taken for the next request
        if not exchange.dropped:
            self.log.answer(number, response.status)
        return response

    @web.middleware
    async def answer_refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.response(request.path)
        except web.HTTPNotFound:
            return refusals.not_found().response(request.path)
        except web.HTTPMethodNotAllowed as error:
            return web.Response(status=error.status, text=error.text)

    @web.middleware
    async def block(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        agent = request.headers.get(hdrs.USER_AGENT, "")
        if not agent or agent.startswith(BLOCKED_AGENTS):
            raise refusals.blocked()
        return await handler(request)

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if label_of(request) in self.open_calls:
            return await handler(request)
        now = self.clock()
        standing = self.throttle.spend(label_of(request), now)
        EXCHANGE.get().rate_headers = standing.headers(self.reset_style, now)
        if not standing.admitted:
            raise refusals.too_many_requests()
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
        """Writes the sandbox's own time and the rate headers; a signal, so that streams have them too."""
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


async def _read(request: web.Request) -> tuple[bytes, Refusal | None]:
    """The body, or the refusal of one that cannot be unpacked or is too large."""
    try:
        return await request.read(), None
    except web.HTTPRequestEntityTooLarge:
        return b"", refusals.body_too_large()
    except (web.RequestPayloadError, HttpProcessingError, ClientPayloadError):
        return b"", refusals.invalid("the body is not encoded as its headers say")


def _check_content_type(request: web.Request) -> None:
    sent = request.headers.get(hdrs.CONTENT_TYPE)
    if request.method == hdrs.METH_GET and label_of(request) not in TYPED_GETS:
        return
    if not sent and request.method != hdrs.METH_GET:
        raise refusals.content_type_missing()
    charset = (request.charset or "utf-8").lower()
    if not sent or request.content_type != "application/json" or charset not in JSON_CHARSETS:
        raise refusals.unsupported_media_type()
