"""Credentials that get their own access tokens: when, how often, and what becomes of a new one."""

import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from random import random

from attrs import define, field

from lofty_async.auth import Auth, TokenPost
from lofty_async.errors import ClientClosedError, DecodeError, RateLimitedError, ServerError, TransportError

from .checks import function, of_type, time_span
from .flight import SingleFlight
from .schedule import Schedule
from .tokens import Grant, Token

logger = logging.getLogger(__name__)

OnToken = Callable[[Token], Awaitable[object] | None]
"""Told about every new token before it is used; may be a coroutine function."""

MAY_PASS = (ServerError, RateLimitedError, TransportError, DecodeError, ClientClosedError)
"""Failures that say nothing about the grant: a token that is still valid is used on."""


@define(eq=False, kw_only=True)
class RenewableAuth(Auth):
    """A credential whose access token is renewed shortly before its end, once for any number of callers.

    `token` is one from before, to start with. `early` is how many seconds before its end a token is renewed;
    up to twice that by chance. `clock` gives epoch seconds, `random` numbers from 0 to 1.

    `on_token` is called with every new token and finished before that token is used. Where it fails, its
    exception reaches the callers that wait for the token; the token is kept, nothing is sent with it, and the
    next call hands it over again. It must not make calls with this credential.

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

        Raises: what `fetch` raises.
        """
        if self._header == refused:
            self._schedule = Schedule()
        header = await self.fetch(post)
        return None if header == refused else header

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
        except MAY_PASS:
            if self._header is None or not self._schedule.usable(self.clock()):
                raise
            return self._header

    async def _renewal(self, post: TokenPost) -> str:
        if self._unsaved is not None:
            await self._hand_over(self._unsaved)
        return self.ready() or await self._renewed(post)

    async def _renewed(self, post: TokenPost) -> str:
        try:
            token = self._unsaved = await self._obtain(post)
        except MAY_PASS as error:
            logger.warning("The token could not be renewed: %s", type(error).__name__)
            self._schedule = self._schedule.postponed(now=self.clock(), chance=self.random())
            raise
        await self._hand_over(token)
        return token.header

    async def _obtain(self, post: TokenPost) -> Token:
        return await self._grant().redeem(post, self.clock)

    async def _hand_over(self, token: Token) -> None:
        if self.on_token is not None:
            outcome = self.on_token(token)
            if isawaitable(outcome):
                await outcome
        self._adopt(token)
        self._unsaved = None

    def _adopt(self, token: Token) -> None:
        self._token, self._header = token, token.header
        self._schedule = Schedule.of(token, now=self.clock(), early=self.early, chance=self.random())
