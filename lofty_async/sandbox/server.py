"""The sandbox as a running server."""

import asyncio
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from aiohttp import web
from attrs import define, field, setters

from lofty_async.auth import ApiKey

from . import times
from .calendar import CalendarHandlers
from .faults import Faults
from .gate import Credentials, Gate
from .leads import LeadHandlers
from .oauth import Grants
from .options import Options, changeable
from .parameters import routes
from .rate_limit import FixedWindow, Throttle
from .requests import RequestChecks, RequestLog
from .seed import Seed
from .state import State
from .tasks import TaskHandlers, V1TaskHandlers
from .webhooks import Subscriptions, WebhookSender

P = ParamSpec("P")
S = TypeVar("S")


@define(eq=False, slots=False, on_setattr=[setters.convert, setters.validate, changeable])
class Sandbox(Options, RequestChecks):
    """A Lofty server on this machine: an asynchronous context manager, or `start()` and `close()`.

    ```python
    async with Sandbox(leads=20) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        ...
    ```

    Every fault and every change of `state`, of an option of lists, of `latency` or of `reset_style` takes effect with
    the next request; a change of an option that is read only once, such as `limit`, raises an AttributeError. The same
    seed gives the same data, with times relative to the day on which the sandbox is created.

    A parameter, field or sort order that is not documented, or that the sandbox does not implement, is
    an error, 400 INVALID_PARAMETER (20012), and never ignored.

    Args:
        leads: The number of leads; each is generated on first access.
        tasks_per_lead: The number of tasks of each lead.
        seed: The seed of the generated data.
        limit: Requests that the application may send in each window.
        window: The window's length in seconds.
        reset_style: How `X-RateLimit-Reset` is written; a `ResetStyle` or its value.
        aligned: Whether windows follow each other on a grid from the sandbox's start; otherwise one opens
            with the first request after the last has ended.
        appointments_per_lead: The number of appointments of each lead besides its tasks.
        budget: The `budget` of another sandbox with the same clock, to share its rate limit as accounts of one
            application do; `limit`, `window` and the other limits are then those of that sandbox.
        my_tasks_hides: The classes of entries that my-tasks leaves out, each an `EntryClass` or its value:
            `finished`, `appointments`, `undated`, `others` (of other users, whatever `userId` asks for) and
            `unmanaged` (of leads that the caller does not manage), the default.
        calendar_hides: The classes of entries that the calendar leaves out.
        ignores_user_id: Whether my-tasks shows the caller's own tasks whatever `userId` asks for.
        cursor_inclusive: Whether a page of my-tasks begins with the entry that its cursor names.
        unknown_cursor: The response of my-tasks to a `currentId` that is no longer in the caller's list, an
            `UnknownCursor` or its value: `continue` after the task's last position, `restart` from the top, an
            `empty` list, or an `error` (400, 20012).
        repeat_last_page: Whether the last full page of leads is served again past the end.
        list_totals: The `total` that the calendar and leads report, a `ListTotals` or its value: `exact`,
            `missing`, `zero`, `too_small` or `too_large`.
        max_page_size: The most records on a page of my-tasks, of the calendar and of leads, however many are
            asked for; `None` for as many as are asked for.
        reports_page_size: Whether a page that `max_page_size` cuts names the size used instead of the size
            asked for: `pageSize` of the calendar, `limit` of leads.
        offset_limit: The offset from which on leads and the calendar (`page` times page size) answer 400
            OFFSET_EXCEED_LIMIT; a `scrollId` of leads goes on beyond it. `None` for no limit.
        endpoint_limits: Limits of single calls, by label: `{"GET /v2.0/calendar": 20}`.
        per_second_limit: Requests that may come within one second.
        latency: Seconds before every response.
        read_lag: Seconds for which a new entry is missing from lists.
        time_zone: The caller's own, an IANA name.
        clock: The server's clock, in epoch seconds; it sets Date headers, windows and overdue tasks.
        allow_http: Whether callback URLs may be `http://`, an error at Lofty.
        most_webhooks: The most webhook subscriptions.
        token_lifetime: Seconds for which an OAuth access token is accepted.
        rotate_refresh_tokens: Whether a refresh gives a new refresh token and ends the old one.
        host: The address to listen on.
        port: The port to listen on; 0 for any free port.
        keep_requests: The number of last requests that `requests` keeps.

    Raises: ValueError naming an argument out of its range; also for an unknown `reset_style`,
        `unknown_cursor`, `list_totals`, `time_zone` or call in `endpoint_limits`. TypeError naming an argument
        that is not an int.
    """

    state: State = field(init=False, repr=False)
    """The data; may be changed at any time."""
    faults: Faults = field(init=False, repr=False)
    """The faults to come; `faults.add(…)` adds one."""
    credentials: Credentials = field(init=False, repr=False)
    """The accepted keys and tokens, which all share one application and its window."""
    oauth: Grants = field(init=False, repr=False)
    """The OAuth client, and the codes and tokens issued to it."""
    webhooks: WebhookSender = field(init=False, repr=False)
    """The sender of webhooks, with `delay`, `repeats`, `shuffle`, `deliveries` and `await settled()`."""
    app: web.Application = field(init=False, repr=False)
    log: RequestLog = field(init=False, repr=False)
    _runner: web.AppRunner | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.state = State(self._seeded(), now=self._now, read_lag=lambda: self.read_lag)
        self.faults = Faults(random.Random(self.seed))
        self.credentials = Credentials({self.api_key}, {self.access_token: math.inf})
        self.log = RequestLog(deque(maxlen=self.keep_requests))
        self.oauth = self._grants()
        self.webhooks = self._sender()
        throttle = self.budget = self.budget or self._throttle()
        self.app = self._application(throttle)

    @property
    def api_key(self) -> str:
        """The accepted API key, derived from the seed; no secret."""
        return f"sandbox-key-{self.seed}"

    @property
    def access_token(self) -> str:
        """An access token that never expires; no secret."""
        return f"sandbox-token-{self.seed}"

    @property
    def refresh_token(self) -> str:
        """A refresh token, valid until it is rotated; no secret."""
        return f"sandbox-refresh-{self.seed}"

    @property
    def auth(self) -> ApiKey:
        return ApiKey(self.api_key)

    @property
    def url(self) -> str:
        """The base URL of the running sandbox.

        Raises: RuntimeError before `start()`.
        """
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the sandbox has not been started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> Self:
        """Starts to listen; a chosen port is kept for the next start.

        Raises: OSError if the address is in use or not of this machine.
        """
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, reuse_address=True).start()
        except BaseException:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        self._runner = runner
        self.webhooks.start()
        return self

    async def close(self) -> None:
        """Stops listening and closes open connections; the data stays. May be called again."""
        runner, self._runner = self._runner, None
        try:
            await self.webhooks.close()
        finally:
            if runner is not None:
                await runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @classmethod
    @contextmanager
    def in_thread(cls: Callable[P, S], *args: P.args, **options: P.kwargs) -> Generator[S]:
        """A started sandbox on a thread and event loop of its own, for callers without a loop or with many.

        Change its `state` and `faults` only between requests: they are not locked.
        """
        sandbox: Any = cls(*args, **options)  # a callable to type checkers, which check its arguments so
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="lofty-sandbox", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
            yield sandbox
        finally:
            asyncio.run_coroutine_threadsafe(sandbox.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _now(self) -> datetime:
        return times.EPOCH + timedelta(seconds=self._time())

    def _time(self) -> float:
        return self.clock()  # the one at present: a running sandbox may get another

    def _seeded(self) -> Seed:
        origin = self._now().replace(hour=0, minute=0, second=0, microsecond=0)
        return Seed(self.leads, self.tasks_per_lead, self.appointments_per_lead, self.seed, origin)

    def _window(self, limit: int, seconds: float) -> FixedWindow:
        return FixedWindow(limit, seconds, anchor=self.clock() if self.aligned else None)

    def _throttle(self) -> Throttle:
        own = {label: self._window(limit, self.window) for label, limit in self.endpoint_limits.items()}
        burst = FixedWindow(self.per_second_limit, 1.0) if self.per_second_limit is not None else None
        return Throttle(self._window(self.limit, self.window), own, burst)

    def _grants(self) -> Grants:
        client = f"sandbox-client-{self.seed}", f"sandbox-secret-{self.seed}"
        grants = Grants(self.credentials, self._time, *client, self.token_lifetime, self.rotate_refresh_tokens)
        grants.allow_refresh(self.refresh_token)
        return grants

    def _sender(self) -> WebhookSender:
        subscriptions = Subscriptions(self.allow_http, self.most_webhooks)
        sender = WebhookSender(subscriptions, self._now, self.state.permission_modes, random.Random(self.seed))
        self.state.watchers.append(sender.notify)
        return sender

    def _application(self, throttle: Throttle) -> web.Application:
        gate = Gate(self, throttle, self.credentials, self.faults, self.log)
        app = web.Application(middlewares=[gate.handle])
        app.on_response_prepare.append(gate.stamp)
        for handlers in (
            TaskHandlers(self.state, self),
            V1TaskHandlers(self.state),
            CalendarHandlers(self.state, self),
            LeadHandlers(self.state, self),
            self.webhooks.subscriptions,
            self.oauth,
        ):
            app.add_routes(routes(handlers))
        return app
