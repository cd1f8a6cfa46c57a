import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from attrs import Attribute, define, field, frozen

from lofty_async.errors import DecodeError, InvalidRequestError

from .asgi import AsgiApp
from .backlog import Backlog
from .intake import (
    ACCEPTED,
    FULL,
    NOT_A_POST,
    TOO_LARGE,
    TOO_SLOW,
    UNKNOWN_PATH,
    UNREADABLE,
    Answer,
    declares_more_than,
    ends_with_secret,
    read_at_most,
    unpacked,
)
from .parse import WebhookNotice, parse_webhook
from .readers import Readers
from .workers import OnBatch, Workers

if TYPE_CHECKING:
    from aiohttp.web import Application

    from .web import Handler
else:
    # Reading a webhook must not cost the import of aiohttp.web; the annotations can be evaluated all the same.
    Application = Handler = Any

logger = logging.getLogger(__name__)

UNGUESSABLE = 16  # characters: what is shorter can be found by trying


def _check_secret(_: object, attribute: "Attribute[str]", secret: object) -> None:
    if not isinstance(secret, str) or not secret or "/" in secret:
        wanted = "a text without a slash, such as secrets.token_urlsafe() makes"
        raise InvalidRequestError(f"the secret must be {wanted}", argument=attribute.name)
    if len(secret) < UNGUESSABLE:
        logger.warning("the webhook secret has fewer than %d characters and can be guessed", UNGUESSABLE)


def _check_positive(_: object, attribute: "Attribute[int]", number: int) -> None:
    if number < 1:
        raise InvalidRequestError(f"{attribute.name} must be at least 1, not {number}", argument=attribute.name)


def _check_seconds(_: object, attribute: "Attribute[float]", seconds: float) -> None:
    if not seconds >= 0:
        raise InvalidRequestError(f"{attribute.name} must be 0 or more, not {seconds}", argument=attribute.name)


@frozen(kw_only=True)
class ReceiverStats:
    """Counts since a receiver was made; a webhook is one posted body, with any number of notices.

    `accepted` webhooks were answered 200, `refused` ones 503 because the queue was full or closed. `failed` counts
    webhooks whose `on_batch` raised, `waiting` those that wait now, `unhandled` the notices that were left when the
    receiver was closed.
    """

    accepted: int
    refused: int
    failed: int
    waiting: int
    unhandled: int


@define(eq=False)
class WebhookReceiver:
    """Takes in webhooks for aiohttp.web or any ASGI server, and hands them to `on_batch` or to `notices()`.

    Lofty signs nothing, so the last segment of the callback's path is the `secret`: no slash in it, and 16
    characters or more, lest a warning is logged. Servers write paths to their access logs; turn that off, or leave
    this path out of it.

    A webhook is answered before the work on it begins. Up to `queue_size` batches wait for one of `workers`
    tasks that await `on_batch`, whose exceptions are logged and end nothing, or for `notices()`. While the queue is
    full everything is answered 503, and a warning says so once. A body is refused if it is not complete within
    `read_timeout` seconds, or has over `max_body` bytes, packed (gzip, deflate) or unpacked. Closing works off the
    queue for at most `drain_timeout` seconds; a warning counts what is left then.

    Raises:
        InvalidRequestError: An argument is out of its range.
    """

    secret: str = field(repr=False, validator=_check_secret)
    on_batch: OnBatch | None = None
    max_body: int = field(default=1024 * 1024, kw_only=True, validator=_check_positive)
    queue_size: int = field(default=1000, kw_only=True, validator=_check_positive)
    workers: int = field(default=1, kw_only=True, validator=_check_positive)
    drain_timeout: float = field(default=10.0, kw_only=True, validator=_check_seconds)
    read_timeout: float = field(default=10.0, kw_only=True, validator=_check_seconds)
    _backlog: Backlog = field(init=False, repr=False)
    _takers: Workers | Readers = field(init=False, repr=False)
    _accepted: int = field(init=False, repr=False, default=0)
    _refused: int = field(init=False, repr=False, default=0)
    _refused_when_full: int = field(init=False, repr=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._backlog = Backlog(self.queue_size)
        if self.on_batch is None:
            self._takers = Readers(self._backlog)
        else:
            self._takers = Workers(self._backlog, self.on_batch, self.workers)

    @staticmethod
    def route(prefix: str = "/lofty") -> str:
        """The callback's path, for aiohttp.web and other frameworks that put parameters in braces."""
        return f"{prefix.rstrip('/')}/{{secret}}"

    @property
    def aiohttp_handler(self) -> "Handler":
        """A handler for aiohttp.web, to be routed at `route()` for every method.

        aiohttp.web itself unpacks bodies before any handler has seen the path, without a bound in its early
        releases; `web.AppRunner(app, auto_decompress=False)` leaves that to this handler.
        """
        from .web import handler_for  # noqa: PLC0415 - reading a webhook must not cost the import of aiohttp

        return handler_for(self)

    def mount(self, app: "Application", prefix: str = "/lofty") -> None:
        """Routes the handler in an aiohttp.web application, and drains the receiver when that shuts down.

        Applications clean up in reverse order: mount after the client and the tasks that the notices need. For
        compressed bodies see `aiohttp_handler`.
        """
        from .web import mount  # noqa: PLC0415 - as for the handler

        mount(app, self, self.route(prefix))

    @property
    def asgi_app(self) -> AsgiApp:
        """An ASGI 3 application, which closes the receiver when its server shuts down.

        Mounted in another application, which keeps the shutdown to itself, it needs `async with receiver`
        there.
        """
        return AsgiApp(self)

    @property
    def stats(self) -> ReceiverStats:
        """Counts of webhooks and notices up to now."""
        return ReceiverStats(
            accepted=self._accepted,
            refused=self._refused,
            failed=self._takers.failed,
            waiting=len(self._backlog),
            unhandled=self._takers.unhandled,
        )

    async def answer(
        self,
        method: str,
        path: str,
        content_length: str | None,
        chunks: AsyncIterable[bytes],
        *,
        content_encoding: str | None = None,
    ) -> Answer:
        """Takes in one request, for servers without a handler here.

        Args:
            method: The HTTP method.
            path: The decoded path, whose last segment is compared with the secret.
            content_length: The header's value, if there is one.
            chunks: The body; untouched if the head is reason to refuse, left as soon as it is too long.
            content_encoding: The header's value, if there is one and the body has not been unpacked.
        """
        refusal = self._refusal(method, path, content_length)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(self.read_timeout):
                packed = await read_at_most(self.max_body, chunks)
        except TimeoutError:
            return TOO_SLOW
        body = TOO_LARGE if packed is None else unpacked(packed, content_encoding, self.max_body)
        return body if isinstance(body, Answer) else self._accept(body)

    def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        """Every notice, in order of arrival, until the receiver is closed and all are read.

        Iterations side by side share the notices; a new one goes on where another was left. A notice counts as
        handled when the next one is asked for, with `follow_tasks` when its change was.

        Raises:
            InvalidRequestError: The receiver has an `on_batch`, which gets them.
        """
        if isinstance(self._takers, Workers):
            raise InvalidRequestError("the notices go to on_batch; leave it out to iterate", argument="on_batch")
        return self._takers.notices()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline for the work
        """Refuses what comes from now on (503) and waits until all that was taken in is worked off.

        After `timeout` seconds (`drain_timeout` unless given) workers are cancelled; notices can still be
        read. A warning counts what is left. Can be called again.
        """
        self._backlog.close()
        self._end_refusals()
        await self._takers.finish(self.drain_timeout if timeout is None else timeout)

    async def __aenter__(self) -> Self:
        self._takers.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        await self.close()

    def _refusal(self, method: str, path: str, content_length: str | None) -> Answer | None:
        # The path comes first: without the secret, nothing else is to be learnt.
        if not ends_with_secret(path, self.secret):
            return UNKNOWN_PATH
        if method != "POST":
            return NOT_A_POST
        if declares_more_than(self.max_body, content_length):
            return TOO_LARGE
        return self._refuse() if self._backlog.is_closed or self._backlog.is_full else None

    def _accept(self, body: bytes) -> Answer:
        try:
            batch = parse_webhook(body)
        except DecodeError as error:
            logger.warning("Refused a webhook: %s", error.message)
            return UNREADABLE
        # Half empty, so that a queue that is full every other moment is warned of once.
        has_room = len(self._backlog) <= self.queue_size // 2
        if not self._backlog.offer(batch):
            return self._refuse()
        if has_room:
            self._end_refusals()
        self._accepted += 1
        self._takers.start()
        return ACCEPTED

    def _refuse(self) -> Answer:
        self._refused += 1
        if not self._backlog.is_closed:
            self._refused_when_full += 1
            if self._refused_when_full == 1:
                logger.warning(
                    "The webhook queue is full (%d wait): answering 503 until there is room", self.queue_size
                )
        return FULL

    def _end_refusals(self) -> None:
        refused, self._refused_when_full = self._refused_when_full, 0
        if refused:
            logger.warning("%d webhooks were refused while there was no room", refused)
