"""Renewal: when an access token is replaced, and how any number of callers share one renewal.

An access token is *fresh* until shortly before its end, and *usable* until its end. The first call that finds it no
longer fresh starts a renewal; all others wait for the same one (single flight). A new token is handed over (saved,
given to `on_token`) before it is used. If the token endpoint fails, a token that is still usable serves on, and the
endpoint is left alone for a backoff that doubles from 0.5 to 30 seconds. A request that the endpoint refused for good
is never sent again.
"""

import asyncio
import logging
import os
import threading
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from copy import copy
from functools import partial
from inspect import isawaitable
from math import inf
from random import random
from typing import Any, Final, Generic, Self, TypeVar

from attrs import define, evolve, field, frozen

from lofty_async._auth import Auth, TokenPost
from lofty_async.errors import (
    AuthenticationError,
    CallError,
    ClientClosedError,
    DecodeError,
    RateLimitedError,
    ServerError,
    TransportError,
)

from .tokens import Token, TokenRequest, function, of_type, time_span

T = TypeVar("T")

logger = logging.getLogger(__name__)

OnToken = Callable[[Token], Awaitable[object] | None]
"""Called with every new token before it is used; may be a coroutine function."""

TEMPORARY: Final = (ServerError, RateLimitedError, TransportError, DecodeError)
"""Failures that say nothing about the grant: the request may be sent again after a backoff."""

MAX_EARLY_SHARE: Final = 0.1  # of a token's lifetime, as the upper bound of `early`; the jitter may double it
BASE_BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds, without the jitter
MAX_RETRY_AFTER: Final = 3600.0  # seconds
REFUSED_BACKOFF: Final = 60.0  # seconds, if the API refuses a new token or the endpoint refuses without a reason
POLL_INTERVAL: Final = 0.05  # seconds, while a loop of another thread renews
MAX_RUNS: Final = 2  # that one caller waits for: the first may be cancelled from outside, such as by an ending loop


@frozen(repr=False)
class Schedule:
    """When a token is renewed and until when it may be used, in seconds of the credential's clock."""

    renew_at: float = -inf
    good_until: float = -inf

    @classmethod
    def of(cls, token: Token, *, now: float, early: float, jitter: float) -> Self:
        """Renew `early` seconds before the end, up to twice that as `jitter` goes from 0 to 1.

        The jitter keeps many processes from renewing in the same second. A token of unknown lifetime is used
        until the server refuses it.
        """
        if token.expires_at is None:
            return cls(inf, inf)
        ahead = min(early, max(0.0, token.expires_at - now) * MAX_EARLY_SHARE)
        return cls(token.expires_at - ahead * (1 + jitter), token.expires_at)

    def is_fresh(self, now: float) -> bool:
        return now < self.renew_at

    def is_usable(self, now: float) -> bool:
        return now < self.good_until

    def postponed(self, until: float) -> Self:
        """The same token, renewed later; never after its end."""
        return evolve(self, renew_at=min(self.good_until, until))


@frozen(repr=False)
class Backoff:
    """How long the token endpoint is left alone after `failures` failures in a row, in seconds."""

    began: float = 0.0
    seconds: float = 0.0
    failures: int = 0

    def left(self, now: float) -> float:
        """Seconds still to wait; 0 if the clock was set back, which says nothing about the time passed."""
        return max(0.0, self.began + self.seconds - now) if now >= self.began else 0.0

    def after_failure(self, *, now: float, jitter: float, at_least: float) -> Self:
        """The backoff after one more failure; `jitter` goes from 0 to 1 and keeps many processes apart."""
        doubled = min(MAX_BACKOFF, BASE_BACKOFF * 2.0 ** min(self.failures, 16))
        seconds = max(doubled * (1 + jitter), min(at_least, MAX_RETRY_AFTER))
        return type(self)(now, seconds, self.failures + 1)


@define(eq=False, repr=False)
class SingleFlight(Generic[T]):
    """Runs a coroutine once for all who ask while it runs.

    A run has its own task: any caller may be cancelled, the first and the last included, and the run still goes to
    its end. A request that was sent may have rotated the refresh token, and its response is then the only copy.
    Each event loop has its own run; the runs of loops in several threads follow one another.
    """

    _tasks: "dict[asyncio.AbstractEventLoop, asyncio.Task[T]]" = field(
        factory=dict["asyncio.AbstractEventLoop", "asyncio.Task[T]"], init=False, repr=False
    )
    _holder: "tuple[asyncio.AbstractEventLoop, int] | None" = field(default=None, init=False, repr=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __reduce__(self) -> "tuple[type[SingleFlight[T]], tuple[()]]":
        """Copies start empty: a run cannot be copied."""
        return SingleFlight, ()

    async def join(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the current run, or of one started now.

        Raises: RuntimeError if the run itself waits for its own result, or ends in a cancellation that no caller
            asked for.
        """
        for _ in range(MAX_RUNS):
            task = self._current() or self._launch(start)
            if task is asyncio.current_task():
                raise RuntimeError("on_token must not make calls with the credential whose token it is given")
            # Not shield(): that would pass a run's own cancellation on to those who wait for it.
            await asyncio.wait({task})
            if not task.cancelled():
                return task.result()
            if not task.cancelling():
                break
        raise RuntimeError("the token renewal was cancelled from within")

    async def settle(self) -> None:
        task = self._current()
        if task is not None:
            await asyncio.wait({task})

    def _current(self) -> "asyncio.Task[T] | None":
        task = self._tasks.get(asyncio.get_running_loop())
        return None if task is None or task.done() else task

    def _launch(self, start: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        self._forget_closed_loops()
        loop = asyncio.get_running_loop()
        task = self._tasks[loop] = loop.create_task(self._after_others(start), name="lofty_async token renewal")
        task.add_done_callback(self._finish)
        return task

    async def _after_others(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it when no other loop that runs is in the middle of a run."""
        here = asyncio.get_running_loop(), os.getpid()
        while not self._hold(here):  # noqa: ASYNC110 - an event belongs to one loop
            await asyncio.sleep(POLL_INTERVAL)
        try:
            return await start()
        finally:
            if self._holder == here:
                self._holder = None

    def _hold(self, here: "tuple[asyncio.AbstractEventLoop, int]") -> bool:
        with self._guard:
            loop, process = self._holder or here
            # A forked process has its parent's running loop, which runs in the parent only.
            if loop is not here[0] and loop.is_running() and process == here[1]:
                return False
            self._holder = here
            return True

    def _finish(self, task: "asyncio.Task[T]") -> None:
        loop = task.get_loop()
        if self._tasks.get(loop) is task:
            del self._tasks[loop]
        if not task.cancelled():
            # Retrieved, so that a failure nobody waited for is not reported as forgotten.
            task.exception()

    def _forget_closed_loops(self) -> None:
        for loop in tuple(self._tasks):
            if loop.is_closed():
                self._tasks.pop(loop, None)


@define(eq=False, kw_only=True)
class RenewableAuth(Auth):
    """A credential whose access token is renewed shortly before its end, once for any number of callers.

    `token` is an earlier one to start with. `early` is how many seconds before its end a token is renewed, up to
    twice that by jitter. `clock` gives epoch seconds, `random` numbers from 0 to 1.

    `on_token` is called with every new token and finished before that token is used. If it fails, its exception
    reaches the callers that wait for the token; the token is kept, nothing is sent with it, and the next call hands
    it over again. It must not make calls with this credential.

    A token endpoint that fails is asked once for all callers, then left alone for a backoff that doubles from half a
    second to 30 s, or for as long as it says. A request that it refused for good is not sent again.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    _token: Token | None = field(default=None, alias="token", repr=False, validator=of_type(Token))
    on_token: OnToken | None = field(default=None, repr=False, validator=function)
    early: float = field(default=60.0, repr=False, validator=time_span)
    clock: Callable[[], float] = field(default=time.time, repr=False, validator=function)
    random: Callable[[], float] = field(default=random, repr=False, validator=function)
    _header: str | None = field(default=None, init=False, repr=False)
    _schedule: Schedule = field(factory=Schedule, init=False, repr=False)
    _unsaved: Token | None = field(default=None, init=False, repr=False)
    _single_flight: SingleFlight[str] = field(factory=SingleFlight[str], init=False, repr=False)
    _backoff: Backoff = field(factory=Backoff, init=False, repr=False)
    _failure: CallError | None = field(default=None, init=False, repr=False)
    _refused: tuple[TokenRequest, AuthenticationError] | None = field(default=None, init=False, repr=False)
    _rejected_backoff: Backoff = field(factory=Backoff, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._token is not None:
            self._adopt(self._token)

    @property
    def token(self) -> Token | None:
        """The newest token, which `on_token` may not have accepted yet."""
        return self._unsaved or self._token

    def ready(self) -> str | None:
        return self._header if self._schedule.is_fresh(self.clock()) else None

    async def fetch(self, post: TokenPost) -> str:
        """The header's value, renewed if it is time.

        Raises: AuthenticationError if the server refuses to renew, saying what to do; ServerError,
            RateLimitedError, TransportError, DecodeError if it cannot and no valid token is left; anything that
            `on_token` raises.
        """
        return self.ready() or await self._renewed_or_usable(post)

    async def renew(self, refused: str, post: TokenPost) -> str | None:
        """Another header's value after the server refused `refused`: the newer one there is, or a new one.

        `None` for a minute after `rejected`.

        Raises: as `fetch`.
        """
        if self._header == refused:
            if self._rejected_backoff.left(self.clock()):
                return None
            self._schedule = Schedule()
        header = await self.fetch(post)
        return None if header == refused else header

    def pause(self) -> float:
        return self._backoff.left(self.clock())

    def rejected(self, header: str) -> None:
        if self._header == header and not self._rejected_backoff.left(self.clock()):
            self._rejected_backoff = Backoff(self.clock(), REFUSED_BACKOFF)

    async def settle(self) -> None:
        await self._single_flight.settle()

    async def accept(self, token: Token) -> None:
        """Take a token that came another way: like a renewed one, it is not used before `on_token` has it.

        Raises: anything that `on_token` raises; the next call then hands the token over again.
        """
        self._unsaved, self._schedule = token, Schedule()
        await self._hand_over(token)

    @abstractmethod
    def _token_request(self) -> TokenRequest:
        """The request for the next token."""

    async def _renewed_or_usable(self, post: TokenPost) -> str:
        try:
            return await self._single_flight.join(partial(self._renewal, post))
        except (*TEMPORARY, ClientClosedError):
            if self._header is None or not self._schedule.is_usable(self.clock()):
                raise
            return self._header

    async def _renewal(self, post: TokenPost) -> str:
        if self._unsaved is not None:
            await self._hand_over(self._unsaved)
        return self.ready() or await self._renewed(post)

    async def _renewed(self, post: TokenPost) -> str:
        request = self._token_request()
        self._raise_known_failure(request)
        token = self._unsaved = await self._obtain(request, post)
        await self._hand_over(token)
        return token.header

    def _raise_known_failure(self, request: TokenRequest) -> None:
        """Raise what would fail again: a refused request for good, any other until the backoff is over."""
        if self._refused is not None and self._refused[0] == request:
            raise copy(self._refused[1])
        if self._failure is not None and self.pause():
            raise copy(self._failure)

    async def _obtain(self, request: TokenRequest, post: TokenPost) -> Token:
        asked_at, wanted = self.clock(), 0.0
        try:
            reply = await request.send(post)
            wanted = reply.retry_after
            return request.read(reply, asked_at)
        except TEMPORARY as error:
            logger.warning("The token could not be renewed: %s", type(error).__name__)
            self._back_off(error, wanted)
            raise
        except AuthenticationError as error:
            if error.name is None:  # possibly from a gateway
                self._back_off(error, REFUSED_BACKOFF)
            else:
                self._refused = request, copy(error)
            raise

    def _back_off(self, error: CallError, at_least: float) -> None:
        now, jitter = self.clock(), self.random()
        self._failure = copy(error)
        self._backoff = self._backoff.after_failure(now=now, jitter=jitter, at_least=at_least)
        self._schedule = self._schedule.postponed(now + self._backoff.seconds)

    async def _hand_over(self, token: Token) -> None:
        await self._keep(token)
        self._adopt(token)
        self._unsaved = None

    async def _keep(self, token: Token) -> None:
        """Call `on_token`, and return when it is done."""
        if self.on_token is None:
            return
        task = asyncio.current_task()
        requests = task.cancelling() if task else 0
        try:
            outcome = self.on_token(token)
            if isawaitable(outcome):
                await outcome
        except asyncio.CancelledError as error:
            if task and task.cancelling() > requests:
                raise
            # Nobody cancelled this task: to pass it on would cancel callers who were not.
            raise RuntimeError("on_token raised CancelledError") from error

    def _adopt(self, token: Token) -> None:
        self._token, self._header = token, token.header
        self._schedule = Schedule.of(token, now=self.clock(), early=self.early, jitter=self.random())
        self._backoff, self._failure, self._refused = Backoff(), None, None
