"""The client: one credential, one session, one limiter, and the calls by resource."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import currentframe
from ssl import SSLContext
from types import FrameType, TracebackType
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypedDict, TypeVar, Unpack, cast, overload

import aiohttp
from attrs import evolve
from yarl import URL

from . import _call, _checks, _connectors, _network, _observe, _session, endpoints, oauth, ratelimit
from .__about__ import __version__
from ._auth import hidden, hidden_headers, hidden_url
from ._checks import UNSET, OnBadRecord, Unset
from ._wire import BASE_URL, Route
from .auth import BASE_URL as BASE_URL_VARIABLE
from .auth import Auth, environment_variables, from_environment
from .errors import ClientClosedError
from .events import OnEvent
from .models import User
from .ratelimit import Lane
from .retry import RetryPolicy

E = TypeVar("E")

ME: Final = Route("GET", "/v1.0/me")
USER_AGENT: Final = f"lofty-async/{__version__}"


class _HasCaller(Protocol):
    _caller: endpoints.Caller


class Endpoint(Generic[E]):
    """A resource's calls as an attribute: of a client its own, made at first use; of the class the calls' class.

    So a mock that is made from the client's class knows the calls and checks their arguments.
    """

    def __init__(self, kind: Callable[[endpoints.Caller], E]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> type[E]: ...

    @overload
    def __get__(self, client: _HasCaller, owner: type) -> E: ...

    def __get__(self, client: _HasCaller | None, owner: type) -> Any:
        if client is None:
            return self._kind
        calls = vars(client)[self._name] = self._kind(client._caller)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - this module's
        return calls


class V1:
    """The legacy calls, by resource."""

    tasks = Endpoint(endpoints.TasksV1)
    appointments = Endpoint(endpoints.AppointmentsV1)

    def __init__(self, caller: endpoints.Caller) -> None:
        self._caller = caller


class ClientOptions(TypedDict, total=False):
    """The options of `LoftyClient`: the parameters of its `__init__` but for the credential."""

    base_url: str
    limiter: ratelimit.RateLimiter | None
    retry: RetryPolicy | None
    timeout: float | None
    max_wait: float | None
    session: aiohttp.ClientSession | None
    user_agent: str
    lane: Lane | str
    on_bad_record: OnBadRecord
    max_response_size: int
    proxy: str | URL | Unset | None
    ssl: SSLContext | None
    trace_configs: Sequence[aiohttp.TraceConfig]
    headers: Mapping[str, str] | None
    on_event: OnEvent | None
    allow_http: bool


class LoftyClient:
    """A client of the API for one account.

    One running event loop at a time uses a client: each thread with a loop of its own makes its own client and
    limiter, and limiters share the rate limit through a store. `stats` and `rate_limit` may be read from any thread.

    `limiter` belongs to the application: clients for several accounts of it share one. `timeout` bounds each attempt
    in seconds, from the moment its request leaves, half of them at most for connecting; `max_wait` the seconds that a
    call waits for its turn; `None` is no bound. For a deadline over both, use `asyncio.timeout`. `retry` says how
    failed calls are repeated. `on_bad_record` says what lists do with a record that cannot be read: raise, skip, or
    call a function with the error. `max_response_size` bounds the unpacked body of a response, in bytes.

    Clients that share a limiter share their connections, at most `max_in_flight` of the limiter in each event loop. A
    create has a new connection, at the price of a handshake: over one that the server has closed meanwhile it would
    be lost, and nobody could say whether it was. Of a `session` handed in, the connector (pool, TLS, resolver) and the
    traces are used and nothing else, and it is never closed; calls wait for a place in its pool before their turn.
    There, a create may have a connection that the server has closed, and then raises AmbiguousWriteError; and aiohttp
    takes what a server sends unasked for the answer to the next request.

    `base_url` must be https://, but for loopback (localhost, 127.0.0.0/8, ::1); `allow_http=True` allows http://
    elsewhere too, as for a sandbox in a container, and webhooks to http:// addresses. `proxy` is the http:// or
    https:// URL of a proxy; without it, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the process's environment say
    which one to use. `None` is none, and loopback is never reached through one. `ssl` holds the TLS settings for
    the API and the token endpoints; without it, the system's certificates or those of `SSL_CERT_FILE` are trusted.
    `trace_configs` are aiohttp's, for the client's own requests. `headers` are sent with each request of a call, such
    as a correlation id; those that the client sets itself (Authorization, Content-Type, Host, …) are refused.

    `on_event` is called with each event of a call (see `lofty_async.events`), at once and within the call: it must not
    block. If it fails, that is logged, and costs the call nothing. The loggers `lofty_async.http` (DEBUG),
    `lofty_async.retry` and `lofty_async.ratelimit` (INFO) log the same.

    Raises: InvalidRequestError where an argument is out of its range.
    """

    tasks = Endpoint(endpoints.Tasks)
    calendar = Endpoint(endpoints.Calendar)
    leads = Endpoint(endpoints.Leads)
    webhooks = Endpoint(endpoints.Webhooks)
    v1 = Endpoint(V1)

    def __init__(
        self,
        auth: Auth,
        *,
        base_url: str = BASE_URL,
        limiter: ratelimit.RateLimiter | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = 30.0,
        max_wait: float | None = None,
        session: aiohttp.ClientSession | None = None,
        user_agent: str = USER_AGENT,
        lane: Lane | str = Lane.INTERACTIVE,
        on_bad_record: OnBadRecord = "raise",
        max_response_size: int = _session.MAX_RESPONSE_SIZE,
        proxy: str | URL | Unset | None = UNSET,
        ssl: SSLContext | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        headers: Mapping[str, str] | None = None,
        on_event: OnEvent | None = None,
        allow_http: bool = False,
    ) -> None:
        auth = hidden(auth)  # a key that was not wrapped would show in this frame, as would a password in an address
        base_url = hidden_url(str(base_url))
        proxy = hidden_url(str(proxy)) if isinstance(proxy, str | URL) else proxy
        headers = hidden_headers(headers)
        credential = _checks.credential("auth", auth)
        options = _call.CallOptions(
            timeout=_checks.seconds("timeout", timeout, above=True),
            max_wait=_checks.seconds("max_wait", max_wait),
            retry=_checks.optional_instance("retry", retry, RetryPolicy) or RetryPolicy(),
            lane=_checks.lane("lane", lane),
            headers=_checks.headers("headers", headers or {}),
        )
        limiter = _checks.optional_instance("limiter", limiter, ratelimit.RateLimiter) or ratelimit.RateLimiter()
        opened = _session.SessionManager(
            base_url,
            _checks.header("user_agent", user_agent),
            _checks.optional_instance("session", session, aiohttp.ClientSession),
            _session.SessionOptions(
                allow_http=_checks.flag("allow_http", allow_http),
                network=_network_of(proxy, ssl),
                max_response_size=_checks.within("max_response_size", max_response_size, 1),
                trace_configs=_checks.instances("trace_configs", trace_configs, aiohttp.TraceConfig),
            ),
            _connectors.Connectors.of(limiter, limiter.max_in_flight),
        )
        limiter = limiter.for_server(opened.base_url.rstrip("/"))
        listener = _observe.plain_listener("on_event", on_event)
        manager = _call.CallManager(credential, opened, limiter, on_event=listener)
        self._caller = endpoints.Caller(manager, options, _checks.bad_record_policy(on_bad_record), allow_http)
        self._guard = _Guard(opened, *_place_outside(currentframe()))

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        on_token: oauth.OnToken | None = None,
        store: oauth.TokenStore | None = None,
        token_url: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """A client with the credential and `LOFTY_BASE_URL` of the environment; `options` are the class's.

        `store` or `on_token` keep what succeeds `LOFTY_REFRESH_TOKEN` once it has been rotated. `LOFTY_BASE_URL` also
        moves the token endpoint, unless `token_url` names it.

        Raises: AuthenticationError where no credential is set.
        """
        # Under the same name: a frame shows what it holds.
        environ, token_url = environment_variables(environ), hidden_url(token_url)
        if BASE_URL_VARIABLE in environ:
            options.setdefault("base_url", environ[BASE_URL_VARIABLE])
        hidden_options = {name: hidden_headers(hidden_url(value)) for name, value in options.items()}
        options = cast("ClientOptions", hidden_options)
        allow_http = dict(options).get("allow_http") is True
        auth = from_environment(environ, on_token=on_token, store=store, token_url=token_url, allow_http=allow_http)
        return cls(auth, **options)

    def with_options(
        self,
        *,
        timeout: float | Unset | None = UNSET,
        retries: int | Unset = UNSET,
        max_wait: float | Unset | None = UNSET,
        lane: Lane | str | Unset = UNSET,
        on_bad_record: OnBadRecord | Unset = UNSET,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """A copy with other options that shares session, limiter and credential; closing either closes both.

        `headers` are sent besides this client's; one of the same name is replaced.
        """
        headers = hidden_headers(headers)
        merged = self._caller.with_headers(_checks.headers("headers", headers or {})).options.headers
        changes: dict[str, Any] = {"headers": merged}
        if not isinstance(timeout, Unset):
            changes["timeout"] = _checks.seconds("timeout", timeout, above=True)
        if not isinstance(max_wait, Unset):
            changes["max_wait"] = _checks.seconds("max_wait", max_wait)
        if not isinstance(retries, Unset):
            changes["retry"] = self._caller.options.retry.with_retries(_checks.within("retries", retries, 0))
        if not isinstance(lane, Unset):
            changes["lane"] = _checks.lane("lane", lane)
        policy = self._caller.on_bad_record if isinstance(on_bad_record, Unset) else on_bad_record
        copy = object.__new__(type(self))
        vars(copy).update(vars(self))  # with what a subclass adds
        for name, value in vars(LoftyClient).items():
            if isinstance(value, Endpoint):  # its calls have the options of this client
                vars(copy).pop(name, None)
        copy._caller = evolve(
            self._caller,
            options=evolve(self._caller.options, **changes),
            on_bad_record=_checks.bad_record_policy(policy),
        )
        return copy

    @property
    def base_url(self) -> str:
        """The address of the API's server, which holds no credential."""
        return self._caller.manager.session.base_url

    async def me(self) -> User:
        """The team member whose credential this is."""
        return await self._caller.read(User, (), ME)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> endpoints.Response:
        """Call any path of the API, with the client's credential, rate limit, retries and errors.

        `path` begins with `/` and follows `base_url`; what a URL cannot hold is percent-encoded. `params` are the
        query: strings, numbers, bools, aware datetimes, or lists of these; `None` is left out. `json` is the body,
        `None` for none. `headers` are sent besides the client's. `repeatable` says whether a request that may have
        arrived can be sent again: GET, HEAD, OPTIONS, PUT and DELETE are, POST and PATCH are not.

        A repeated DELETE may raise NotFoundError where its first answer was lost.

        Raises: InvalidRequestError if an argument is wrong; AmbiguousWriteError if the response to a request that is
            not repeatable is lost; every other CallError.
        """
        headers = hidden_headers(headers)
        caller = self._caller.with_headers(_checks.headers("headers", headers or {}))
        request = endpoints.raw_request(caller, method, path, params=params, json=json, repeatable=repeatable)
        del params, json, headers  # the frames of errors show what they hold
        return await endpoints.send_raw(caller, request)

    @property
    def rate_limit(self) -> ratelimit.RateLimit:
        """The application's budget now."""
        return self._caller.manager.limiter.snapshot

    @property
    def stats(self) -> _observe.Stats:
        """The requests, retries and waits of this client and its copies so far."""
        return self._caller.manager.counters.stats

    async def close(self) -> None:
        """End the calls under way, then close the session unless it was handed in.

        Those calls and all later ones raise ClientClosedError. A renewal of the credential that is under way goes to
        its end first, 35 seconds at most: its answer may be the only copy of a new refresh token. If closing is
        cancelled, a task of the event loop does the rest.
        """
        await self._caller.manager.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a LoftyClient is not copied or pickled: make one in each process; for a copy use with_options()"
        )

    def __enter__(self) -> NoReturn:
        raise TypeError("LoftyClient is an asynchronous context manager: write `async with LoftyClient(…) as lofty:`")

    def __exit__(self, *_: object) -> None:
        """Never reached: only there so that `with` gets to the message above."""

    async def __aenter__(self) -> Self:
        if self._caller.manager.session.closed:
            raise ClientClosedError("the client was closed: make another one")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        # A traceback may show a client whose arguments were refused.
        caller: endpoints.Caller | None = getattr(self, "_caller", None)
        return f"<LoftyClient {caller.manager.session.base_url}>" if caller else "<LoftyClient>"


class _Guard:
    """Warns when the last copy of a client that opened a session is dropped without being closed."""

    def __init__(self, session: _session.SessionManager, file: str, line: int) -> None:
        self._session, self._file, self._line = session, file, line

    def __del__(self) -> None:
        if self._session.needs_closing:
            text = f"LoftyClient made at {self._file}:{self._line} was never closed"
            # No `source`: a warning that is kept would keep this, and so the session, alive.
            warnings.warn_explicit(text, ResourceWarning, self._file, self._line)


def _place_outside(frame: FrameType | None) -> tuple[str, int]:
    """File and line from which this module was called."""
    while frame and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("<unknown>", 0)


def _network_of(proxy: str | URL | Unset | None, ssl: SSLContext | None) -> _network.Network:
    url = proxy if proxy is None or isinstance(proxy, Unset) else _network.proxy_url("proxy", proxy)
    return _network.Network(url, _checks.optional_instance("ssl", ssl, SSLContext))
