"""The gate before every call: firewall, rate limit, credentials and content type."""

import asyncio
from email.utils import formatdate
from functools import partial

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from attrs import define, field, frozen

from . import errors
from .errors import ResponseError
from .faults import EXCHANGE, Answer, Exchange, Faults
from .options import Options
from .parameters import CALLS, Call, label_of
from .rate_limit import Throttle
from .requests import RequestLog, RequestRecord

BLOCKED_AGENTS = ("Python/", "Python-urllib/", "python-requests/", "Java/")
"""Defaults of libraries, which the firewall blocks."""
JSON_CHARSETS = ("utf-8", "utf8")


@define
class Credentials:
    """API keys and access tokens, each kind with its own word before it."""

    keys: set[str] = field(factory=set[str])
    tokens: dict[str, float] = field(factory=dict[str, float])
    """Access tokens, with the time (epoch seconds) at which they expire."""
    revoked: set[str] = field(factory=set[str])
    out_of_scope: set[str] = field(factory=set[str])
    """Calls, such as `GET /v2.0/calendar`, for which the application lacks the scope."""

    def check(self, header: str, label: str, now: float) -> None:
        """Checks the Authorization of a call.

        Raises: ResponseError 401 for an unknown or expired credential, 400/200058 for the wrong word or a
            revoked one, 403/200100 for a call outside the scope.
        """
        word, _, credential = header.partition(" ")
        if credential in self.revoked:
            raise errors.wrong_scheme()
        if credential not in self.keys and self.tokens.get(credential, 0.0) <= now:
            raise errors.bad_credentials()
        if word != ("token" if credential in self.keys else "Bearer"):
            raise errors.wrong_scheme()
        if label in self.out_of_scope:
            raise errors.missing_scope()

    def revoke(self, credential: str) -> None:
        self.revoked.add(credential)


@frozen
class Gate:
    """Passes requests on to their calls."""

    options: Options
    throttle: Throttle
    credentials: Credentials
    faults: Faults
    log: RequestLog

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The response to any request, which is recorded."""
        exchange = Exchange()
        EXCHANGE.set(exchange)
        body, unreadable = await _read(request)
        record = self._record(request, body)
        self.log.records.append(record)
        if self.options.latency:
            await asyncio.sleep(self.options.latency)
        if unreadable is None:
            response = await _answer(request, partial(self._admit, record, request, handler))
        else:
            response = unreadable.response(request.path)
            response.force_close()  # the rest of the body would be read as the next request
        if not exchange.dropped:
            self.log.answer(record, response.status)
        return response

    async def _admit(self, record: RequestRecord, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Firewall, rate limit and faults; an error of the call is a response before the faults see it."""
        _check_agent(request)
        call = CALLS.get(record.route) or Call(record.route)  # one that does not exist
        if not call.is_open:
            self._count(call)
        answer = partial(_answer, request, partial(self._call, call, request, handler))
        return await self.faults.answer(record, request, answer)

    def _count(self, call: Call) -> None:
        now = self.options.clock()
        window = self.throttle.count(call.label, now)
        EXCHANGE.get().rate_headers = window.headers(self.options.reset_style, now)
        if not window.allowed:
            raise errors.too_many_requests()

    async def _call(self, call: Call, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Credentials and content type, then the call."""
        if not call.is_open:
            header = request.headers.get(hdrs.AUTHORIZATION, "")
            self.credentials.check(header, call.label, self.options.clock())
            if request.method != hdrs.METH_GET or call.is_typed:
                _check_content_type(request)
        return await handler(request)

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Writes the Date and rate headers; a signal, so that streams have them too."""
        response.headers[hdrs.DATE] = formatdate(self.options.clock(), usegmt=True)
        response.headers.update(EXCHANGE.get(Exchange()).rate_headers)

    def _record(self, request: web.Request, body: bytes) -> RequestRecord:
        return RequestRecord(
            at=self.options.clock(),
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
