"""The command that looks for what is wrong between this machine and Lofty."""

import platform
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import aiohttp
import click
from yarl import URL

from lofty_async import _wire
from lofty_async.__about__ import __version__
from lofty_async._network import Network
from lofty_async.auth import KINDS, ApiKey, Auth, environment_variables
from lofty_async.errors import (
    AuthenticationError,
    CallError,
    InvalidRequestError,
    LoftyError,
    PermissionDeniedError,
    RateLimitedError,
    RateLimitWaitError,
    TransportError,
)
from lofty_async.models import Lead
from lofty_async.pagination import Pager

from .options import ServerOptions, examples, server_or_sandbox_options

if TYPE_CHECKING:
    from lofty_async.client import ClientOptions, LoftyClient

TIMEOUT: Final = 15.0
"""Seconds for each request."""
MAX_WAIT: Final = 5.0
"""Seconds for the turn of each request."""
CLOCK_TOLERANCE: Final = 5.0
"""Seconds; the server tells its time in whole ones, and its answer travels."""
CERTIFICATE_DAYS: Final = 14
"""Days before a certificate's end in which it is worth a warning."""
DAY: Final = 86_400.0
HEADERS: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
LACKS_SCOPE: Final = (
    "the application lacks the permission: add it in the application's settings at Lofty, and log in again"
)
WRONG_CREDENTIAL: Final = (
    "use a valid credential: an API key in LOFTY_API_KEY, an OAuth access token in LOFTY_ACCESS_TOKEN, which is sent "
    "in another way; or log in again"
)

Status = Literal["ok", "warning", "failed", "skipped"]


class Finding(NamedTuple):
    """The result of one check, and what to do about it."""

    check: str
    status: Status
    finding: str
    remedy: str = ""


@click.command(
    epilog=examples(
        "lofty-async doctor", "lofty-async doctor --json", "lofty-async doctor --base-url http://127.0.0.1:8080"
    )
)
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@server_or_sandbox_options
def doctor(*, as_json: bool, server: ServerOptions) -> None:
    """Find out what is wrong, and what to do.

    Checks the credential, the connection, the clock, the rate limit and the permissions. Reads with about seven
    requests and changes nothing. The exit code is 1 if a check failed. No secret is shown.
    """
    from .output import print_json
    from .run import run

    findings = run(lambda: _examine(server))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        _show(findings)
    if any(finding.status == "failed" for finding in findings):
        raise click.exceptions.Exit(1)


def _show(findings: list[Finding]) -> None:
    from .output import cell, is_terminal, tabbed
    from .tables import Layout, print_table

    rows = [{name: cell(value) for name, value in finding._asdict().items()} for finding in findings]
    if is_terminal():
        used = [name for name in Finding._fields if any(row[name] for row in rows)]
        print_table(Layout(used, folding={"finding", "remedy"}), rows)
    else:
        click.echo(tabbed(row.values() for row in rows))


class Recorder:
    """The findings from answers: their headers and durations, and the certificates of TLS connections by host."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.seconds: list[float] = []
        self.local_times: list[float] = []
        self.certificates: dict[str | None, Any] = {}

    def trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._begin)
        trace.on_request_end.append(self._end)
        return trace

    async def _begin(self, _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceRequestStartParams) -> None:
        context.began = time.monotonic()

    async def _end(self, _: aiohttp.ClientSession, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        self.seconds.append(time.monotonic() - context.began)
        self.local_times.append(time.time())
        self.headers.append(params.response.headers)

    def watch(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Returns the context, which notes from now on the certificates that it has accepted."""
        certificates = self.certificates

        class Noting(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                certificates[self.server_hostname] = self.getpeercert()

        context.sslobject_class = Noting
        return context


async def _examine(server: ServerOptions) -> list[Finding]:
    from .client import base_url_of, network_of
    from .run import explained
    from .saved_login import credential

    libraries = f"lofty-async {__version__}, aiohttp {aiohttp.__version__}, Python {platform.python_version()}"
    findings = [Finding("version", "ok", libraries)]
    try:
        auth = None if server.sandbox else await credential()
    except LoftyError as error:
        remedy = "set LOFTY_API_KEY, or log in: lofty-async login --help"
        return [*findings, Finding("credential", "failed", str(error), remedy)]
    try:
        url = URL("http://127.0.0.1" if server.sandbox else base_url_of(server))
        network = network_of(server.proxy, server.ca_file)
    except InvalidRequestError as error:
        is_address = error.argument == "base_url"
        check, remedy = ("server", "correct this address") if is_address else ("network", "correct this option")
        return [*findings, Finding(check, "failed", explained(error), remedy)]
    proxy, store = _proxy(server, network, url), await _store(server)
    findings += [_credential(auth), Finding("server", "ok", "a sandbox" if auth is None else str(url)), proxy, *store]
    if proxy.status == "failed":
        return findings
    if any(finding.status == "failed" for finding in store):
        server = server._replace(store=None)  # the rest can be found out without it
    recorder = Recorder()
    options: ClientOptions = {"trace_configs": [recorder.trace()]}
    if url.scheme == "https":
        options["ssl"] = recorder.watch(network.ssl or ssl.create_default_context())
    return findings + await _ask(server, url, recorder, options)


def _credential(auth: Auth | None) -> Finding:
    from .saved_login import token_path

    if auth is None:
        return Finding("credential", "ok", "the sandbox's own")
    kind = next((names for names in KINDS if environment_variables().keys() >= set(names)), None)
    source = f"the login in {token_path()}" if kind is None else ", ".join(kind)
    scheme = "token" if isinstance(auth, ApiKey) else "Bearer"
    return Finding("credential", "ok", f"{type(auth).__name__} of {source}, sent with the scheme {scheme}")


def _proxy(server: ServerOptions, network: Network, url: URL) -> Finding:
    try:
        proxy = network.hop(url).proxy
    except LoftyError as error:
        return Finding("proxy", "failed", str(error), "correct the variable, or pass --proxy")
    source = "--proxy" if server.proxy else f"{url.scheme.upper()}_PROXY"
    return Finding("proxy", "ok", "none" if proxy is None else f"{proxy} of {source}")


async def _store(server: ServerOptions) -> list[Finding]:
    from .budget import stored_budget
    from .client import shared_store
    from .run import explained

    try:
        async with shared_store(server) as store:
            if store is None:
                return []
            left = (await stored_budget(store)).remaining
    except (LoftyError, click.ClickException) as error:
        text = explained(error) if isinstance(error, LoftyError) else str(error)
        return [Finding("store", "failed", text, "correct this address, and look whether the store runs")]
    return [Finding("store", "ok", f"{type(store).__name__}; left of the limit: {'unknown' if left is None else left}")]


async def _ask(server: ServerOptions, url: URL, recorder: Recorder, options: "ClientOptions") -> list[Finding]:
    from .client import connected

    try:
        async with connected(server, **options) as client:
            lofty = client.with_options(timeout=TIMEOUT, retries=0, max_wait=MAX_WAIT)
            user = await lofty.me()
            scopes = [Finding("profile", "ok", f"you are user {user.id} of team {user.team_id}")]
            scopes += [one async for one in _scopes(lofty, _server_time(recorder))]
    except LoftyError as error:
        return [_failure(error), *(_answers(server, url, recorder) if recorder.headers else ())]
    return [*_answers(server, url, recorder), *scopes]


def _failure(error: LoftyError) -> Finding:
    """Returns what the first call failed at."""
    text = str(error)
    match error:
        case AuthenticationError():
            check, remedy = "credential", WRONG_CREDENTIAL
        case PermissionDeniedError():
            check, remedy = "profile", LACKS_SCOPE
        case RateLimitedError() | RateLimitWaitError():
            check, remedy = "rate limit", "wait a minute; share the limit between processes: --store"
        case TransportError() if "certificate" in text:
            check, remedy = "certificate", "trust its authority: --ca-file FILE or SSL_CERT_FILE"
        case TransportError() if "proxy" in text:
            check, remedy = "proxy", "correct --proxy or HTTPS_PROXY; --proxy '' uses none"
        case TransportError():
            check, remedy = "connection", "look whether this machine reaches it: name, firewall, proxy (--proxy)"
        case _:
            check, remedy = "connection", "look whether --base-url is Lofty's address, and try again"
    return Finding(check, "failed", text, remedy)


def _answers(server: ServerOptions, url: URL, recorder: Recorder) -> Iterator[Finding]:
    yield _certificate(server, url, recorder)
    yield _round_trip(recorder)
    yield _clock(recorder)
    yield _rate_limit(recorder)


def _certificate(server: ServerOptions, url: URL, recorder: Recorder) -> Finding:
    if url.scheme != "https":
        return Finding("certificate", "skipped", "none: this server is reached by http://")
    found = recorder.certificates.get(url.host)
    if not found:
        return Finding("certificate", "skipped", "not seen")
    issuer = {name: value for part in found.get("issuer", ()) for name, value in part}
    ends = ssl.cert_time_to_seconds(found["notAfter"])
    days = int((ends - time.time()) / DAY)
    text = f"from {issuer.get('organizationName') or issuer.get('commonName')}, valid for {days} days; trusted by "
    text += str(server.ca_file or ssl.get_default_verify_paths().cafile or "this machine's certificates")
    if days < CERTIFICATE_DAYS:
        return Finding("certificate", "warning", text, "the server's operator has to renew it")
    return Finding("certificate", "ok", text)


def _round_trip(recorder: Recorder) -> Finding:
    first, *others = recorder.seconds
    text = f"{first * 1000:,.0f} ms with connecting"
    return Finding("round trip", "ok", f"{text}, then {min(others) * 1000:,.0f} ms at best" if others else text)


def _clock(recorder: Recorder) -> Finding:
    told = _wire.read_rate(recorder.headers[0]).server_time
    if told is None:
        return Finding("clock", "warning", "the server sends no Date", "look whether a proxy in between removes it")
    # Date is cut to the second, and the answer took half of a round trip.
    ahead = recorder.local_times[0] - recorder.seconds[0] / 2 - (told + 0.5)
    text = f"this machine is {abs(ahead):,.1f} s {'ahead of' if ahead > 0 else 'behind'} the server"
    if abs(ahead) <= CLOCK_TOLERANCE:
        return Finding("clock", "ok", text)
    return Finding(
        "clock", "warning", text, "set this machine's clock, such as by NTP: tokens and certificates end by it"
    )


def _rate_limit(recorder: Recorder) -> Finding:
    headers = recorder.headers[-1]
    state = _wire.read_rate(headers)
    missing = [name for name in HEADERS if name not in headers]
    text = ", ".join(f"{name.removeprefix('X-RateLimit-')} {headers[name]}" for name in HEADERS if name in headers)
    if state.reset is not None:
        text += f" ({reset_meaning(state, time.time())})"
    if not missing:
        return Finding("rate limit", "ok", text)
    remedy = (
        "nothing: the limiter learns the limit from refusals; RateLimiter(max_in_flight=…) bounds what goes at once"
    )
    return Finding("rate limit", "warning", f"{text or 'no headers'}; missing: {', '.join(missing)}", remedy)


def reset_meaning(state: "_wire.RateState", wall: float) -> str:
    """Returns how X-RateLimit-Reset reads, `epoch seconds, in 34 s`; `wall` is this machine's time."""
    from lofty_async.ratelimit.resets import ResetReader

    raw = state.reset or 0.0
    left = ResetReader().end_of_window(state, 0.0, wall)
    forms = ((1e12, "epoch milliseconds"), (1e9, "epoch seconds"), (120, "milliseconds left"), (-1, "seconds left"))
    form = next(name for least, name in forms if raw > least)
    return f"{form}, in {left:.0f} s"


def _server_time(recorder: Recorder) -> datetime:
    told = _wire.read_rate(recorder.headers[-1]).server_time
    return datetime.now(UTC) if told is None else datetime.fromtimestamp(told, UTC)


async def _scopes(lofty: "LoftyClient", now: datetime) -> AsyncIterator[Finding]:
    """Yields a finding for each kind of record, by reading one."""
    hour = timedelta(hours=1)
    leads: list[Lead] = []

    async def read_lead() -> None:
        leads.extend(await lofty.leads.list(page_size=1, prefetch=0).collect(limit=1))

    yield await _scope("leads", read_lead)
    if leads:
        yield await _scope("tasks of a lead", lofty.tasks.list(leads[0].id).first)
    else:
        yield Finding("tasks of a lead", "skipped", "no lead to read them of")
    lists: dict[str, Pager[Any]] = {
        "your tasks": lofty.tasks.mine(page_size=1),
        "calendar": lofty.calendar.list(start=now, end=now + hour, page_size=1),
        "free slots": lofty.calendar.slots(start=now + hour, end=now + 2 * hour, limit=1),
        "webhooks": lofty.webhooks.list(),
    }
    for name, records in lists.items():
        yield await _scope(name, records.first)


async def _scope(name: str, read: Callable[[], Awaitable[object]]) -> Finding:
    try:
        await read()
    except PermissionDeniedError as error:
        return Finding(name, "failed", str(error), LACKS_SCOPE)
    except RateLimitWaitError as error:
        return Finding(name, "skipped", str(error), "try again in a minute")
    except CallError as error:
        return Finding(name, "failed", str(error), "try again later; if it stays so, ask Lofty's support")
    return Finding(name, "ok", "can be read")
