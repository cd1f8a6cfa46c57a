"""The aiohttp session of a client: opens and closes it, sends one request once, and posts to token endpoints."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import AsyncGeneratorType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from attrs import define, field, frozen
from yarl import URL

from ._bodies import ACCEPT_ENCODING, CONTENT_ENCODING, BodyCorruptError, BodyTooLargeError, read_body
from ._connectors import ConnectionSlots, Connectors, LoopConnectors, PooledLimiter
from ._deadlines import lenient_timeout
from ._network import Hop, Network, base_url, explain, is_temporary, is_unsent
from ._wire import Reply, Request, read_rate
from .auth import TokenPost, TokenReply
from .errors import (
    CallError,
    ClientClosedError,
    ConnectionFailedError,
    InvalidRequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
    TransportError,
)
from .ratelimit import RateLimiter

MAX_URLS: Final = 256  # in the cache of URLs
CONNECT_SHARE: Final = 0.5  # of the timeout, at most: a request that runs out of it was never sent
MAX_RESPONSE_SIZE: Final = 64 * 1024 * 1024  # bytes
MAX_TOKEN_BODY: Final = 65_536  # bytes of a decompressed answer of a token endpoint; a token needs a fraction of it
CLOSE_NOTICE_TURNS: Final = 2  # turns of the loop, after which it has noticed connections that servers closed before


@define(eq=False, repr=False)
class SendState:
    """Whether the body of a request has started to be sent; until then a retry is safe."""

    body_started: bool = False

    async def stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        self.body_started = True
        yield body


@frozen(kw_only=True, eq=False, repr=False)
class SessionOptions:
    """A client's options for its session.

    `max_response_size` bounds a decompressed body, in bytes; `trace_configs` are aiohttp's.
    """

    allow_http: bool = False
    network: Network = field(factory=Network)
    max_response_size: int = MAX_RESPONSE_SIZE
    trace_configs: Sequence[aiohttp.TraceConfig] = ()


@define(eq=False, repr=False)
class OpenSession:
    """A client's own aiohttp session, `None` once it is closed, whoever closed it.

    `connectors` is `None` over the connector of a session handed in.
    """

    headers: Mapping[str, str] = field(factory=dict[str, str])
    traces: Sequence[aiohttp.TraceConfig] = ()
    session: aiohttp.ClientSession | None = None
    connectors: LoopConnectors | None = None
    _fresh: aiohttp.ClientSession | None = None

    def fresh(self, connectors: LoopConnectors) -> aiohttp.ClientSession:
        """A session that opens a new connection for each request."""
        if self._fresh is None:
            self._fresh = _over(connectors.fresh, self.headers, self.traces)
        return self._fresh

    async def end(self) -> None:
        self.session, fresh = None, self._fresh
        if fresh is not None:
            await fresh.close()


class SessionManager:
    """Owns the aiohttp session of a client, opened on first use.

    It shares its connections with the clients of the same limiter. Of a session handed in, it uses the connector and
    the traces, and never closes it. Its own session ends with its event loop at the latest; in another loop, another
    one is opened.
    """

    def __init__(
        self,
        url: str,
        user_agent: str,
        given: aiohttp.ClientSession | None,
        options: SessionOptions | None = None,
        connectors: Connectors | None = None,
    ) -> None:
        self._options = options or SessionOptions()
        self._base = base_url(url, allow_http=self._options.allow_http)
        self._user_agent = user_agent
        self._given = given
        self._connectors = connectors or Connectors(limit=100)
        self._max_size = self._options.max_response_size
        self._traces = [*(given.trace_configs if given else ()), *self._options.trace_configs]
        self._is_traced = bool(self._traces)
        self._own = OpenSession()
        self._opened: AsyncGenerator[aiohttp.ClientSession, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hop = Hop()
        self._authorization = ""
        self._urls: dict[tuple[object, ...], URL] = {}
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self.closed = False

    @property
    def base_url(self) -> str:
        return str(self._base)

    @property
    def needs_closing(self) -> bool:
        """Whether a session of its own was opened and `close` was not called."""
        return self._opened is not None and self._given is None and not self.closed

    def pooled(self, limiter: RateLimiter) -> RateLimiter | PooledLimiter:
        """The limiter, whose permits come with a connection slot if a session with a bounded pool was handed in."""
        slots = ConnectionSlots.of(self._given.connector) if self._given else None
        return PooledLimiter(limiter, slots, str(self._base.origin())) if slots else limiter

    async def send(
        self,
        request: Request,
        authorization: str,
        timeout: float | None,  # noqa: ASYNC109 - handed on to aiohttp
        state: SendState | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request once; `timeout` in seconds bounds connecting alone; `state` is kept up to date.

        `headers` are sent besides the client's own. A request with a `state` gets a connection that no request has used
        before; in a session handed in, one that is open as far as is known.

        Raises: ConnectionFailedError or RequestTimeoutError, each saying whether the request may have reached the
        server; ResponseTooLargeError; ClientClosedError if the session is closed meanwhile.
        """
        session = self._ready() or await self._session()
        if state is not None:
            session = await self._for_create(session)
        hop, streamed = self._hop, None if state is None else request.body or b""
        try:
            # No `async with`: a body that is read, or that breaks, lets go of its connection by itself.
            response = await session.request(
                request.route.method,
                self._url(request),
                data=request.body if state is None else state.stream(streamed or b""),
                headers=self._added_headers(session, authorization, streamed, headers),
                timeout=self._timeouts.get(timeout) or self._timeout(timeout),
                allow_redirects=False,
                proxy=hop.proxy,
                proxy_headers=hop.proxy_headers,
                ssl=hop.ssl,
            )
            headers = response.headers
            # Most bodies arrive with their headers: looking for one is cheaper than waiting for it.
            content = response.content
            is_plain = content.is_eof() and CONTENT_ENCODING not in headers and not self._is_traced
            body = content.read_nowait() if is_plain else await read_body(response, self._max_size)
            if len(body) > self._max_size:
                raise BodyTooLargeError  # noqa: TRY301 - a function for it would be called by every request
            return Reply(response.status, headers, body)
        except (Exception, asyncio.CancelledError) as error:
            sent = state.body_started if state else not is_unsent(error)
            failure = self._failure(error, session, request.label, timeout, sent=sent)
            if failure is None:
                raise
        # Raised here, without a cause: aiohttp's errors hold the request's headers, credentials included.
        try:
            raise ClientClosedError("the client was closed", request=request.label) if self.closed else failure
        finally:
            del failure  # its traceback holds this frame: a reference cycle that includes the client

    async def post_form(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        """Post to a token endpoint, outside the rate limit; a `TokenPost`."""
        session = await self._session()
        # In a session of its own: the headers of the client's hold the credential of its calls.
        async with _over(session.connector, {}) as beside:
            post = token_post(beside, timeout=30.0, user_agent=self._user_agent, network=self._options.network)
            return await post(url, form, basic)

    def begin_close(self) -> None:
        """Refuse further requests; those under way go on until `close`."""
        self.closed = True

    async def close(self) -> None:
        self.closed = True
        opened, self._opened = self._opened, None
        await _end(opened, self._loop)

    def _ready(self) -> aiohttp.ClientSession | None:
        """The session, if it is open in this loop."""
        usable = self._loop is asyncio.get_running_loop() and not self.closed
        if not usable or (self._given is not None and self._given.closed):
            return None
        return self._own.session

    async def _session(self) -> aiohttp.ClientSession:
        if self.closed:
            raise ClientClosedError("the client was closed")
        loop = asyncio.get_running_loop()
        if self._given:
            self._check_given(loop, self._given)
        session = self._own.session
        if session is None or self._loop is not loop:
            hop = self._options.network.hop(self._base)
            # aiohttp sends a session's headers to the proxy as well, the credential among them.
            own = OpenSession({} if hop.proxy else self._constant_headers, self._traces)
            opened, left = _opened(own, self._given or self._connectors), (self._opened, self._loop)
            session = await anext(opened)
            self._loop, self._own, self._opened, self._hop, self._authorization = loop, own, opened, hop, ""
            await _end(*left)
        return session

    def _check_given(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        # aiohttp's public name for a session's loop warns.
        if (self._loop or getattr(session, "_loop", loop)) is not loop:
            raise InvalidRequestError(
                "session belongs to another event loop: open the client and its session in one loop, "
                "or leave the session to the client",
                argument="session",
            )
        if session.closed:
            raise InvalidRequestError("session was closed by its owner", argument="session")

    async def _for_create(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        if self._own.connectors is not None:
            return self._own.fresh(self._own.connectors)
        for _ in range(CLOSE_NOTICE_TURNS):
            await asyncio.sleep(0)
        return session

    def _failure(
        self,
        error: BaseException,
        session: aiohttp.ClientSession,
        label: str,
        timeout: float | None,
        *,
        sent: bool,
    ) -> CallError | None:
        """The public error; `None` for one that is not a failure of the connection."""
        if isinstance(error, BodyTooLargeError):
            limit = self._options.max_response_size
            text = f"the body of the response has more than max_response_size={limit} bytes"
            return ResponseTooLargeError(text, request=label, limit=limit)
        return _transport_error(error, label, timeout, sent=sent) if self._is_of_connection(error, session) else None

    def _is_of_connection(self, error: BaseException, session: aiohttp.ClientSession) -> bool:
        """Whether the error is a failure of the connection, rather than of a trace."""
        if isinstance(error, asyncio.CancelledError):
            # A connector that is closed cancels the requests that wait in it.
            task = asyncio.current_task()
            return self._given is not None and self._given.closed and task is not None and not task.cancelling()
        known = isinstance(error, aiohttp.ClientError | OSError | BodyCorruptError)
        # aiohttp raises RuntimeError, and some versions AttributeError, if a session is closed during a request.
        return known or (isinstance(error, AttributeError | RuntimeError) and session.closed)

    def _url(self, request: Request) -> URL:
        key = (request.target, *request.params.items())
        url = self._urls.get(key)
        if url is None:
            bare = self._urls.get((request.target,)) or self._bare_url(request.target)
            url = bare.with_query(request.params)
            if len(self._urls) + 2 > MAX_URLS:
                self._urls.clear()
            self._urls[(request.target,)], self._urls[key] = bare, url
        return url

    def _bare_url(self, target: str) -> URL:
        return self._base.with_path(self._base.raw_path.rstrip("/") + target, encoded=True)

    @property
    def _constant_headers(self) -> dict[str, str]:
        return {
            # On every call, body or not: without it some answer 400/20001, some 415 (contract, section 1).
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": ACCEPT_ENCODING,
            "User-Agent": self._user_agent,
        }

    def _added_headers(
        self,
        session: aiohttp.ClientSession,
        authorization: str,
        streamed: bytes | None,
        given: Mapping[str, str] | None,
    ) -> dict[str, str]:
        """The headers of a request besides those of its session: the caller's among them."""
        added: dict[str, str] = {} if streamed is None else {"Content-Length": str(len(streamed))}
        if given:
            added |= given
        if self._hop.proxy is not None:
            return {**self._constant_headers, **self._hop.headers, "Authorization": authorization, **added}
        if session is not self._own.session:
            return {"Authorization": authorization, **added}
        if authorization is not self._authorization:
            # A request copies its session's headers before it first waits: this changes no other request.
            session.headers["Authorization"] = self._authorization = authorization
        return added

    def _timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        # Not `total` or `connect`, which set a timer for each request: the call has a deadline for the whole.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None if seconds is None else seconds * CONNECT_SHARE)
        self._timeouts[seconds] = timeout
        return timeout


async def _opened(
    own: OpenSession, source: Connectors | aiohttp.ClientSession
) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """The open session, closed with the generator: event loops close the generators that are left to them."""
    async with AsyncExitStack() as stack:
        connector: aiohttp.BaseConnector | None
        if isinstance(source, Connectors):
            own.connectors = source.join()
            stack.push_async_callback(source.leave, own.connectors)
            connector = own.connectors.kept
        else:
            connector = source.connector
        own.session = await stack.enter_async_context(_over(connector, own.headers, own.traces))
        stack.push_async_callback(own.end)
        yield own.session


def _over(
    connector: aiohttp.BaseConnector | None,
    headers: Mapping[str, str],
    traces: Sequence[aiohttp.TraceConfig] = (),
) -> aiohttp.ClientSession:
    """A session that sends these headers over the connector, and leaves the connector open."""
    session = aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        trace_configs=list(traces),
        auto_decompress=False,
    )
    # aiohttp would send GET, PUT and DELETE a second time by itself, without a permit, and the second answer to a
    # DELETE would be "not found". It has no public name for that.
    setattr(session, "_retry_connection", False)  # noqa: B010 - the attribute is private
    return session


async def _end(
    opened: AsyncGenerator[aiohttp.ClientSession, None] | None, loop: asyncio.AbstractEventLoop | None
) -> None:
    """Close a session of `loop`; a loop that still runs elsewhere closes the generator itself."""
    if isinstance(opened, AsyncGeneratorType) and opened.ag_running:
        return  # the loop is closing it, as it ends
    if opened and loop and (loop is asyncio.get_running_loop() or loop.is_closed()):
        await opened.aclose()


def token_post(
    session: aiohttp.ClientSession, *, timeout: float, user_agent: str, network: Network | None = None
) -> TokenPost:
    """Posts forms to token endpoints through `session`, once each, outside the rate limit.

    `timeout` in seconds bounds connecting, sending and the answer. Redirects are not followed: the form holds secrets.

    The function returned raises: RequestTimeoutError or ConnectionFailedError if no answer arrives, `sent` saying
    whether the form may have arrived; ClientClosedError if the session is closed.
    """
    unbounded = aiohttp.ClientTimeout(total=None)  # aiohttp's own timer would drop a token that has arrived
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": ACCEPT_ENCODING,
        "Content-Type": "application/x-www-form-urlencoded",  # whatever the session's own is
        "User-Agent": user_agent,
    }

    async def send(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> TokenReply:
        hop = (network or Network()).hop(URL(url))
        added = {"Authorization": _basic_header(*basic)} if basic else {}
        response = await session.post(
            url,
            data=dict(form),
            headers=headers | added | hop.headers,
            timeout=unbounded,
            allow_redirects=False,
            auto_decompress=False,
            proxy=hop.proxy,
            proxy_headers=hop.proxy_headers,
            ssl=hop.ssl,
        )
        retry_after = read_rate(response.headers).retry_after or 0.0
        try:
            return TokenReply(response.status, _json_or_none(await read_body(response, MAX_TOKEN_BODY)), retry_after)
        except BodyTooLargeError:
            return TokenReply(response.status, None, retry_after)

    async def post(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> TokenReply:
        request = f"POST {urlsplit(url).path}"
        if session.closed:
            raise ClientClosedError("the session is closed", request=request)
        try:
            async with lenient_timeout(timeout):
                return await send(url, form, basic)
        except (aiohttp.ClientError, OSError, BodyCorruptError) as error:
            sent = not is_unsent(error)
            # The text of an error after sending may quote the answer.
            failure = _transport_error(error, request, timeout, sent=sent, reason=type(error).__name__ if sent else "")
        # Raised here, without a cause: aiohttp's errors hold the request's headers, credentials included.
        raise failure

    return post


def _transport_error(
    error: BaseException, request: str, timeout: float | None, *, sent: bool, reason: str = ""
) -> TransportError:
    """The public error for a failed connection, with `reason` in place of the error's own text."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestTimeoutError("no connection in time", request=request, attempts=1, timeout=timeout, sent=False)
    if isinstance(error, TimeoutError):
        text = "no answer in time" if timeout is None else f"no answer within {timeout:g} s"
        return RequestTimeoutError(text, request=request, attempts=1, timeout=timeout, sent=sent)
    text = f"{'the connection broke' if sent else 'no connection'}: {reason or explain(error)}"
    return ConnectionFailedError(text, request=request, attempts=1, sent=sent, temporary=is_temporary(error))


def _basic_header(name: str, password: str) -> str:
    # aiohttp's own helper for it changes with its version 4.
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
