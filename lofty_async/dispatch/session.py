"""Owns the aiohttp session and sends one request once."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from types import AsyncGeneratorType
from typing import Any, Final

import aiohttp
from attrs import define
from yarl import URL

from lofty_async.errors import CallError, ClientClosedError, ConnectionFailed, InvalidRequestError, RequestTimeout
from lofty_async.wire import Reply, Request

from .token_post import token_post

MOST_URLS: Final = 256  # kept for those who ask the same again
CONNECTING: Final = 0.5  # of the timeout, at most: what runs out then was never sent, and may be sent again


@define(eq=False)
class Departure:
    """Whether a request has begun to leave: its headers alone ask for nothing, so its body is what is watched."""

    is_past: bool = False

    async def of(self, body: bytes) -> AsyncGenerator[bytes, None]:
        self.is_past = True
        yield body


@define(eq=False)
class Own:
    """A session of the client's own: there from its opening until it closes, whoever closes it."""

    session: aiohttp.ClientSession | None = None


class Session:
    """Sends requests through an aiohttp session: its own, opened on first use, or one handed in, never closed here.

    Its own ends with its event loop at the latest; in another loop, another one is opened.
    """

    def __init__(self, base_url: str, user_agent: str, session: aiohttp.ClientSession | None) -> None:
        self._base = _base(base_url)
        self._user_agent = user_agent
        self._given = session
        self._own = Own()
        self._opened: AsyncGenerator[aiohttp.ClientSession, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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
        return self._opened is not None and not self.closed

    async def send(
        self,
        request: Request,
        authorization: str,
        timeout: float | None,  # noqa: ASYNC109 - handed on to aiohttp
        departure: Departure | None = None,
    ) -> Reply:
        """One request, one answer; `timeout` bounds only how long connecting may take; `departure` is kept up to date.

        Raises: ConnectionFailed or RequestTimeout, each saying whether the request may have reached the server;
        ClientClosedError where the session was closed under it.
        """
        session = self._ready() or await self._session()
        try:
            # No `async with`: a body that is read, or that breaks, lets go of its connection by itself.
            response = await session.request(
                request.route.method,
                self._url(request),
                data=request.body if departure is None else departure.of(request.body or b""),
                headers=self._added_headers(session, authorization, request.body if departure else None),
                timeout=self._timeouts.get(timeout) or self._timeout(timeout),
                allow_redirects=False,
                raise_for_status=False,
            )
            # A small body has come with its headers: to wait for it takes more than to look whether it is whole. In a
            # session handed in, others may have read it before; `read` alone knows what.
            arrived = response.content
            is_here = session is self._own.session and arrived.is_eof()
            body = arrived.read_nowait() if is_here else await response.read()
            return Reply(response.status, response.headers, body)
        except (aiohttp.ClientError, OSError, AttributeError) as error:
            # Some versions of aiohttp stumble over the missing connector of a session closed under them.
            if isinstance(error, AttributeError) and not session.closed:
                raise
            failure = _failure(error, request.label, timeout, departure)
        # Raised out here, without a cause: some of aiohttp's errors hold the request's headers, credentials included.
        try:
            raise ClientClosedError("the client was closed", request=request.label) if self.closed else failure
        finally:
            del failure  # its traceback holds this frame: a circle, and the client in it

    async def post_form(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        """Post to a token endpoint, outside the API's budget."""
        session = await self._session()
        async with AsyncExitStack() as stack:
            if session is self._own.session:
                # Its headers hold the credential of calls, which is none of a token endpoint's business.
                session = await stack.enter_async_context(_beside(session))
            return await token_post(session, timeout=30.0, user_agent=self._user_agent)(url, form, basic)

    async def close(self) -> None:
        self.closed = True
        opened, self._opened = self._opened, None
        await _end(opened, self._loop)

    def _ready(self) -> aiohttp.ClientSession | None:
        """Its own session, if it is open in this loop."""
        usable = self._loop is asyncio.get_running_loop() and not self.closed
        return self._own.session if usable else None

    async def _session(self) -> aiohttp.ClientSession:
        if self.closed:
            raise ClientClosedError("the client was closed")
        loop = asyncio.get_running_loop()
        if self._given:
            self._check_given(loop, self._given)
            return self._given
        own = self._own.session
        if own is None or self._loop is not loop:
            place, left = Own(), (self._opened, self._loop)
            opened = _opened(self._constant_headers, place)
            own = await anext(opened)
            self._loop, self._own, self._opened, self._authorization = loop, place, opened, ""
            await _end(*left)
        return own

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
        self._loop = loop

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
        return self._base.with_path(self._base.path.rstrip("/") + target, encoded=True)

    @property
    def _constant_headers(self) -> dict[str, str]:
        return {
            # On every call, body or not: without it some answer 400/20001, some 415 (contract, section 1).
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": self._user_agent,
        }

    def _added_headers(
        self, session: aiohttp.ClientSession, authorization: str, streamed: bytes | None
    ) -> dict[str, str]:
        """What a request adds to what its session sends anyway."""
        added: dict[str, str] = {} if streamed is None else {"Content-Length": str(len(streamed))}
        if session is not self._own.session:
            return {**self._constant_headers, "Authorization": authorization, **added}
        if authorization is not self._authorization:
            # A request takes its session's headers over before it first waits: others are none the wiser.
            session.headers["Authorization"] = self._authorization = authorization
        return added

    def _timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        # Not `total` or `connect`, which set a timer for each request: the dispatcher watches over the whole.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None if seconds is None else seconds * CONNECTING)
        self._timeouts[seconds] = timeout
        return timeout


async def _opened(headers: Mapping[str, str], own: Own) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """An open session, closed with the generator: event loops close those that are left to them."""
    # No bound on the pool: how many requests are in flight is the limiter's business, and a smaller pool would queue
    # a second time, unseen.
    connector = aiohttp.TCPConnector(limit=0)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar, headers=headers) as session:
        # aiohttp would send GET, PUT and DELETE a second time by itself, without a permit, and the answer to a DELETE
        # that had landed would be "not found". It has no public word for that.
        setattr(session, "_retry_connection", False)  # noqa: B010 - the attribute is private
        own.session = session
        try:
            yield session
        finally:
            own.session = None


def _beside(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A session with the same connections and none of the headers."""
    jar = aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(connector=session.connector, connector_owner=False, cookie_jar=jar)


async def _end(
    opened: AsyncGenerator[aiohttp.ClientSession, None] | None, loop: asyncio.AbstractEventLoop | None
) -> None:
    """Close a session of `loop`; if that still runs elsewhere, it closes the generator once nobody holds it."""
    if isinstance(opened, AsyncGeneratorType) and opened.ag_running:
        return  # the loop is closing it, as it ends
    if opened and loop and (loop is asyncio.get_running_loop() or loop.is_closed()):
        await opened.aclose()


def _base(base_url: str) -> URL:
    try:
        url = URL(base_url)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError("base_url is not a URL", argument="base_url") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidRequestError("base_url must begin with https:// or http:// and a host", argument="base_url")
    if url.user or url.password or url.query_string or url.fragment:
        raise InvalidRequestError("base_url must hold no credentials, query or fragment", argument="base_url")
    return url


def _failure(error: Exception, label: str, timeout: float | None, departure: Departure | None) -> CallError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestTimeout("no connection in time", request=label, timeout=timeout, sent=False)
    sent = departure.is_past if departure else not isinstance(error, aiohttp.ClientConnectorError)
    what = "the connection broke" if sent else "no connection"
    return ConnectionFailed(f"{what}: {str(error) or type(error).__name__}", request=label, sent=sent)
