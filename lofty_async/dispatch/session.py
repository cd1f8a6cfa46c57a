"""Owns the aiohttp session and sends one request once."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import AsyncGeneratorType
from typing import Any, Final

import aiohttp
from attrs import define, field, frozen
from yarl import URL

from lofty_async._wire import Reply, Request
from lofty_async.errors import (
    CallError,
    ClientClosedError,
    ConnectionFailedError,
    InvalidRequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
)
from lofty_async.ratelimit import RateLimiter

from .bodies import ACCEPT_ENCODING, CONTENT_ENCODING, BodyBroken, BodyTooLarge, read_body
from .connections import Connectors, Gate, Places, Pool
from .network import Hop, Network, base_url, explained, is_temporary, is_unsent
from .token_post import token_post

MOST_URLS: Final = 256  # kept for those who ask the same again
CONNECTING: Final = 0.5  # of the timeout, at most: what runs out then was never sent, and may be sent again
MAX_RESPONSE_SIZE: Final = 64 * 1024 * 1024  # bytes
LOOKING: Final = 2  # turns of the loop, after which it knows of connections that servers have closed before


@define(eq=False)
class Departure:
    """Whether a request has begun to leave: its headers alone ask for nothing, so its body is what is watched."""

    is_past: bool = False

    async def of(self, body: bytes) -> AsyncGenerator[bytes, None]:
        self.is_past = True
        yield body


@frozen(kw_only=True)
class SessionOptions:
    """What a client says of its session.

    `max_response_size` is the most bytes of an unpacked body; `trace_configs` are those of aiohttp.
    """

    allow_http: bool = False
    network: Network = field(factory=Network)
    max_response_size: int = MAX_RESPONSE_SIZE
    trace_configs: Sequence[aiohttp.TraceConfig] = ()


@define(eq=False)
class Own:
    """The open aiohttp session of a client: there from its opening until it closes, whoever closes it.

    `pool` is `None` over the connector of a session handed in.
    """

    headers: Mapping[str, str] = field(factory=dict[str, str])
    traces: Sequence[aiohttp.TraceConfig] = ()
    session: aiohttp.ClientSession | None = None
    pool: Pool | None = None
    _fresh: aiohttp.ClientSession | None = None

    def fresh(self, pool: Pool) -> aiohttp.ClientSession:
        """A session whose requests have a new connection each."""
        if self._fresh is None:
            self._fresh = _over(pool.fresh, self.headers, self.traces)
        return self._fresh

    async def end(self) -> None:
        self.session, fresh = None, self._fresh
        if fresh is not None:
            await fresh.close()


class Session:
    """Sends requests through an aiohttp session of its own, opened on first use.

    It shares its connections with the clients of the same limiter. Of a session handed in, it uses the connector and
    the traces; that session is never closed here. Its own ends with its event loop at the latest; in another loop,
    another one is opened.
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
        self._own = Own()
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
        """Whether a session of its own was ever opened, and `close` is still to come."""
        return self._opened is not None and self._given is None and not self.closed

    def admission(self, limiter: RateLimiter) -> RateLimiter | Gate:
        """Where calls get their permits: with a place in the pool of a session handed in, if that is bounded."""
        places = Places.of(self._given.connector) if self._given else None
        return Gate(limiter, places, str(self._base.origin())) if places else limiter

    async def send(
        self,
        request: Request,
        authorization: str,
        timeout: float | None,  # noqa: ASYNC109 - handed on to aiohttp
        departure: Departure | None = None,
    ) -> Reply:
        """One request, one answer; `timeout` bounds only how long connecting may take; `departure` is kept up to date.

        A request with a `departure` has a connection that no request has used before; in a session handed in, one
        that is open as far as is known.

        Raises: ConnectionFailedError or RequestTimeoutError, each saying whether the request may have reached the
        server; ResponseTooLargeError; ClientClosedError where the session was closed under it.
        """
        session = self._ready() or await self._session()
        if departure is not None:
            session = await self._for_create(session)
        hop = self._hop
        try:
            # No `async with`: a body that is read, or that breaks, lets go of its connection by itself.
            response = await session.request(
                request.route.method,
                self._url(request),
                data=request.body if departure is None else departure.of(request.body or b""),
                headers=self._added_headers(session, authorization, request.body if departure else None),
                timeout=self._timeouts.get(timeout) or self._timeout(timeout),
                allow_redirects=False,
                proxy=hop.proxy,
                proxy_headers=hop.proxy_headers,
                ssl=hop.ssl,
            )
            headers = response.headers
            # Most bodies have come with their headers: to look for one takes less than to wait for it.
            content = response.content
            is_plain = content.is_eof() and CONTENT_ENCODING not in headers and not self._is_traced
            body = content.read_nowait() if is_plain else await read_body(response, self._max_size)
            if len(body) > self._max_size:
                raise BodyTooLarge  # noqa: TRY301 - a function for it would be called by every request
            return Reply(response.status, headers, body)
        except (Exception, asyncio.CancelledError) as error:
            failure = self._failure(error, session, request.label, timeout, departure)
            if failure is None:
                raise
        # Raised out here, without a cause: some of aiohttp's errors hold the request's headers, credentials included.
        try:
            raise ClientClosedError("the client was closed", request=request.label) if self.closed else failure
        finally:
            del failure  # its traceback holds this frame: a circle, and the client in it

    async def post_form(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        """Post to a token endpoint, outside the API's budget."""
        session = await self._session()
        # Beside the session, whose headers hold the credential of calls: none of a token endpoint's business.
        async with _over(session.connector, {}) as beside:
            post = token_post(beside, timeout=30.0, user_agent=self._user_agent, network=self._options.network)
            return await post(url, form, basic)

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
            own = Own({} if hop.proxy else self._constant_headers, self._traces)
            opened, left = _opened(own, self._given or self._connectors), (self._opened, self._loop)
            session = await anext(opened)
            self._loop, self._own, self._opened, self._hop, self._authorization = loop, own, opened, hop, ""
            await _end(*left)
        return session

    def _check_given(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        # aiohttp has no public word for a session's loop that does not warn.
        if (self._loop or getattr(session, "_loop", loop)) is not loop:
            raise InvalidRequestError(
                "session belongs to another event loop: open the client and its session in one loop, "
                "or leave the session to the client",
                argument="session",
            )
        if session.closed:
            raise InvalidRequestError("session was closed by its owner", argument="session")

    async def _for_create(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        if self._own.pool is not None:
            return self._own.fresh(self._own.pool)
        for _ in range(LOOKING):
            await asyncio.sleep(0)
        return session

    def _failure(
        self,
        error: BaseException,
        session: aiohttp.ClientSession,
        label: str,
        timeout: float | None,
        departure: Departure | None,
    ) -> CallError | None:
        """The public error; `None` for what is no failure of the connection."""
        sent = departure.is_past if departure else not is_unsent(error)
        if isinstance(error, BodyTooLarge):
            limit = self._options.max_response_size
            text = f"the body of the response has more than max_response_size={limit} bytes"
            return ResponseTooLargeError(text, request=label, limit=limit)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return RequestTimeoutError("no connection in time", request=label, timeout=timeout, sent=False)
        if not self._is_of_connection(error, session):
            return None
        text = f"{'the connection broke' if sent else 'no connection'}: {explained(error)}"
        return ConnectionFailedError(text, request=label, sent=sent, temporary=is_temporary(error))

    def _is_of_connection(self, error: BaseException, session: aiohttp.ClientSession) -> bool:
        """Whether the error is of a connection, rather than a mistake in a trace."""
        if isinstance(error, asyncio.CancelledError):
            # A connector that is closed cancels what waits in it.
            task = asyncio.current_task()
            return self._given is not None and self._given.closed and task is not None and not task.cancelling()
        known = isinstance(error, aiohttp.ClientError | OSError | BodyBroken)
        # aiohttp raises RuntimeError, and some versions AttributeError, where a session is closed under a request.
        return known or (isinstance(error, AttributeError | RuntimeError) and session.closed)

    def _url(self, request: Request) -> URL:
        key = (request.target, *request.params.items())
        url = self._urls.get(key)
        if url is None:
            bare = self._urls.get((request.target,)) or self._bare_url(request.target)
            url = bare.with_query(request.params)
            if len(self._urls) + 2 > MOST_URLS:
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
        self, session: aiohttp.ClientSession, authorization: str, streamed: bytes | None
    ) -> dict[str, str]:
        """What a request adds to what its session sends anyway."""
        added: dict[str, str] = {} if streamed is None else {"Content-Length": str(len(streamed))}
        if self._hop.proxy is not None:
            return {**self._constant_headers, **self._hop.headers, "Authorization": authorization, **added}
        if session is not self._own.session:
            return {"Authorization": authorization, **added}
        if authorization is not self._authorization:
            # A request takes its session's headers over before it first waits: others are none the wiser.
            session.headers["Authorization"] = self._authorization = authorization
        return added

    def _timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        # Not `total` or `connect`, which set a timer for each request: the dispatcher watches over the whole.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None if seconds is None else seconds * CONNECTING)
        self._timeouts[seconds] = timeout
        return timeout


async def _opened(own: Own, source: Connectors | aiohttp.ClientSession) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """The open session, closed with the generator: event loops close those that are left to them."""
    async with AsyncExitStack() as stack:
        connector: aiohttp.BaseConnector | None
        if isinstance(source, Connectors):
            own.pool = source.join()
            stack.push_async_callback(source.leave, own.pool)
            connector = own.pool.kept
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
    # aiohttp would send GET, PUT and DELETE a second time by itself, without a permit, and the answer to a DELETE
    # that had landed would be "not found". It has no public word for that.
    setattr(session, "_retry_connection", False)  # noqa: B010 - the attribute is private
    return session


async def _end(
    opened: AsyncGenerator[aiohttp.ClientSession, None] | None, loop: asyncio.AbstractEventLoop | None
) -> None:
    """Close a session of `loop`; if that still runs elsewhere, it closes the generator once nobody holds it."""
    if isinstance(opened, AsyncGeneratorType) and opened.ag_running:
        return  # the loop is closing it, as it ends
    if opened and loop and (loop is asyncio.get_running_loop() or loop.is_closed()):
        await opened.aclose()
