"""Credentials that get their own access tokens: when, how often, and how a new one is handed over."""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from inspect import isawaitable
from random import random
from typing import Final

from attrs import define, field

from lofty_async.auth import Auth, TokenPost
from lofty_async.errors import (
    AuthenticationError,
    CallError,
    ClientClosedError,
    DecodeError,
    RateLimitedError,
    ServerError,
    TransportError,
)

from .checks import function, of_type, time_span
from .flight import SingleFlight
from .schedule import Pause, Schedule
from .tokens import Grant, Token

logger = logging.getLogger(__name__)

OnToken = Callable[[Token], Awaitable[object] | None]
"""Called with every new token before it is used; may be a coroutine function."""

PASSING = (ServerError, RateLimitedError, TransportError, DecodeError)
"""Failures that say nothing about the grant: it may be tried again after a pause."""

FUTILE: Final = 60.0  # seconds until a token is asked for again where the API refused a new one, or nobody said why


@define(eq=False, kw_only=True)
class RenewableAuth(Auth):
    """A credential whose access token is renewed shortly before its end, once for any number of callers.

    `token` is one from before, to start with. `early` is how many seconds before its end a token is renewed;
    up to twice that by chance. `clock` gives epoch seconds, `random` numbers from 0 to 1.

    `on_token` is called with every new token and finished before that token is used. Where it fails, its
    exception reaches the callers that wait for the token; the token is kept, nothing is sent with it, and the
    next call hands it over again. It must not make calls with this credential.

    A token endpoint that fails is asked once for all callers, then left alone for a pause that doubles from half a
    second to 30 s, or for as long as it says. What it refused for good is not sent again.

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
    _flight: SingleFlight[str] = field(factory=SingleFlight[str], init=False, repr=False)
    _pause: Pause = field(factory=Pause, init=False, repr=False)
    _failure: CallError | None = field(default=None, init=False, repr=False)
    _refused: tuple[Grant, AuthenticationError] | None = field(default=None, init=False, repr=False)
    _futile: Pause = field(factory=Pause, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._token is not None:
            self._adopt(self._token)

    @property
    def token(self) -> Token | None:
        """The newest token, which `on_token` may not have accepted yet."""
        return self._unsaved or self._token

    def ready(self) -> str | None:
        return self._header if self._schedule.fresh(self.clock()) else None

    async def fetch(self, post: TokenPost) -> str:
        """The header's value, renewed if it is time.

        Raises: AuthenticationError where the server refuses to renew, saying what to do; ServerError,
            RateLimitedError, TransportError, DecodeError where it cannot and no valid token is left; whatever
            `on_token` raises.
        """
        return self.ready() or await self._renewed_or_usable(post)

    async def renew(self, refused: str, post: TokenPost) -> str | None:
        """Another header's value after the server refused `refused`: the newer one there is, or a new one.

        `None` for a minute after `rejected`.

        Raises: what `fetch` raises.
        """
        if self._header == refused:
            if self._futile.left(self.clock()):
                return None
            self._schedule = Schedule()
        header = await self.fetch(post)
        return None if header == refused else header

    def pause(self) -> float:
        return self._pause.left(self.clock())

    def rejected(self, header: str) -> None:
        if self._header == header and not self._futile.left(self.clock()):
            self._futile = Pause(self.clock(), FUTILE)

    async def settle(self) -> None:
        await self._flight.settle()

    async def accept(self, token: Token) -> None:
        """Takes a token that came another way: like a renewed one, it is not used before `on_token` has it.

        Raises: what `on_token` raises; the next call then hands the token over again.
        """
        self._unsaved, self._schedule = token, Schedule()
        await self._hand_over(token)

    @abstractmethod
    def _grant(self) -> Grant:
        """What is sent to get the next token."""

    async def _renewed_or_usable(self, post: TokenPost) -> str:
        try:
            return await self._flight.join(partial(self._renewal, post))
        except (*PASSING, ClientClosedError):
            if self._header is None or not self._schedule.usable(self.clock()):
                raise
            return self._header

    async def _renewal(self, post: TokenPost) -> str:
        if self._unsaved is not None:
            await self._hand_over(self._unsaved)
        return self.ready() or await self._renewed(post)

    async def _renewed(self, post: TokenPost) -> str:
        grant = self._grant()
        self._raise_known_failure(grant)
        token = self._unsaved = await self._obtain(grant, post)
        await self._hand_over(token)
        return token.header

    def _raise_known_failure(self, grant: Grant) -> None:
        """What would fail again is not sent: a refused grant never, another one not before the pause is over."""
        if self._refused is not None and self._refused[0] == grant:
            raise copy(self._refused[1])
        if self._failure is not None and self.pause():
            raise copy(self._failure)

    async def _obtain(self, grant: Grant, post: TokenPost) -> Token:
        asked_at, wanted = self.clock(), 0.0
        try:
            reply = await grant.send(post)
            wanted = reply.retry_after
            return grant.read(reply, asked_at)
        except PASSING as error:
            logger.warning("The token could not be renewed: %s", type(error).__name__)
            self._postpone(error, wanted)
            raise
        except AuthenticationError as error:
            if error.name is None:  # a gateway may have said it
                self._postpone(error, FUTILE)
            else:
                self._refused = grant, copy(error)
            raise

    def _postpone(self, error: CallError, at_least: float) -> None:
        now, chance = self.clock(), self.random()
        self._failure = copy(error)
        self._pause = self._pause.after_failure(now=now, chance=chance, at_least=at_least)
        self._schedule = self._schedule.postponed(now + self._pause.seconds)

    async def _hand_over(self, token: Token) -> None:
        await self._keep(token)
        self._adopt(token)
        self._unsaved = None

    async def _keep(self, token: Token) -> None:
        """Calls `on_token`, and returns when it is done."""
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
        self._schedule = Schedule.of(token, now=self.clock(), early=self.early, chance=self.random())
        self._pause, self._failure, self._refused = Pause(), None, None
