import logging
from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import Attribute, define, field

from lofty_async.errors import DecodeError, InvalidRequestError

from .asgi import AsgiApp
from .backlog import Backlog
from .intake import (
    ACCEPTED,
    FULL,
    NOT_A_POST,
    TOO_LARGE,
    UNKNOWN_PATH,
    UNREADABLE,
    Answer,
    declares_more_than,
    ends_with_secret,
    read_at_most,
)
from .parse import WebhookNotice, parse_webhook
from .readers import Readers
from .workers import OnBatch, Workers

if TYPE_CHECKING:
    from aiohttp.web import Application

    from .web import Handler

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


@define(eq=False)
class WebhookReceiver:
    """Takes in webhooks for aiohttp.web or any ASGI server, and hands them to `on_batch` or to `notices()`.

    Lofty signs nothing, so the last segment of the callback's path is the `secret`: no slash in it, and 16
    characters or more, lest a warning is logged. Servers write paths to their access logs; turn that off, or leave
    this path out of it.

    A webhook is answered before the work on it begins. Up to `queue_size` batches wait for one of `workers`
    tasks that await `on_batch`, whose exceptions are logged and end nothing. Bodies over `max_body` bytes
    are refused, as is everything while the queue is full. Closing works off the queue for at most
    `drain_timeout` seconds.

    Raises:
        InvalidRequestError: An argument is out of its range.
    """

    secret: str = field(repr=False, validator=_check_secret)
    on_batch: OnBatch | None = None
    max_body: int = field(default=1024 * 1024, kw_only=True, validator=_check_positive)
    queue_size: int = field(default=1000, kw_only=True, validator=_check_positive)
    workers: int = field(default=1, kw_only=True, validator=_check_positive)
    drain_timeout: float = field(default=10.0, kw_only=True, validator=_check_seconds)
    _backlog: Backlog = field(init=False, repr=False)
    _takers: Workers | Readers = field(init=False, repr=False)

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
        """A handler for aiohttp.web, to be routed at `route()` for every method."""
        from .web import handler_for  # noqa: PLC0415 - reading a webhook must not cost the import of aiohttp

        return handler_for(self)

    def mount(self, app: "Application", prefix: str = "/lofty") -> None:
        """Routes the handler in an aiohttp.web application, and drains the receiver when that shuts down."""
        from .web import mount  # noqa: PLC0415 - as for the handler

        mount(app, self, self.route(prefix))

    @property
    def asgi_app(self) -> AsgiApp:
        """An ASGI 3 application, which closes the receiver when its server shuts down.

        Mounted in another application, which keeps the shutdown to itself, it needs `async with receiver`
        there.
        """
        return AsgiApp(self)

    async def answer(self, method: str, path: str, content_length: str | None, chunks: AsyncIterable[bytes]) -> Answer:
        """Takes in one request, for servers without a handler here.

        Args:
            method: The HTTP method.
            path: The decoded path, whose last segment is compared with the secret.
            content_length: The header's value, if there is one.
            chunks: The body; untouched if the head is reason to refuse, left as soon as it is too long.
        """
        refusal = self._refusal(method, path, content_length)
        if refusal is not None:
            return refusal
        body = await read_at_most(self.max_body, chunks)
        return TOO_LARGE if body is None else self._accept(body)

    def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        """Every notice, in order of arrival, until the receiver is closed and all are read.

        Iterations side by side share the notices; a new one goes on where another was left.

        Raises:
            InvalidRequestError: The receiver has an `on_batch`, which gets them.
        """
        if isinstance(self._takers, Workers):
            raise InvalidRequestError("the notices go to on_batch; leave it out to iterate", argument="on_batch")
        return self._takers.notices()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline for the work
        """Refuses what comes from now on (503) and waits until all that was taken in is worked off.

        After `timeout` seconds (`drain_timeout` unless given) workers are cancelled; notices can still be
        read. Can be called again.
        """
        self._backlog.close()
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
        return None if self._backlog.is_open else FULL

    def _accept(self, body: bytes) -> Answer:
        try:
            batch = parse_webhook(body)
        except DecodeError as error:
            logger.warning("Refused a webhook: %s", error.message)
            return UNREADABLE
        if not self._backlog.offer(batch):
            return FULL
        self._takers.start()
        return ACCEPTED
