"""The receiver of webhooks: answers requests, queues their batches, drains the queue when it is closed."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from attrs import Attribute, define, field, frozen

from lofty_async import _checks
from lofty_async._deadlines import lenient_timeout
from lofty_async.errors import DecodeError, InvalidRequestError

from .adapters import AsgiApp, Handler, aiohttp_handler, mount_on_aiohttp
from .answers import (
    ACCEPTED,
    FULL,
    NOT_A_POST,
    TOO_LARGE,
    TOO_SLOW,
    UNKNOWN_PATH,
    UNREADABLE,
    Answer,
    declares_more_than,
    decompressed,
    ends_with_secret,
    read_at_most,
)
from .consumers import BatchQueue, BatchWorkers, NoticeReaders, OnBatch
from .parse import WebhookNotice, parse_webhook

if TYPE_CHECKING:
    from aiohttp.web import Application
else:
    Application = Any  # see adapters.py

logger = logging.getLogger(__name__)

MIN_SECRET_LENGTH = 16
"""Characters; a shorter secret can be guessed."""


def _check_secret(_: object, attribute: "Attribute[str]", secret: object) -> None:
    if not isinstance(secret, str) or not secret or "/" in secret:
        wanted = "a non-empty str without a slash, e.g. secrets.token_urlsafe()"
        raise InvalidRequestError(f"secret must be {wanted}", argument=attribute.name)
    if len(secret) < MIN_SECRET_LENGTH:
        logger.warning("The webhook secret has fewer than %d characters and can be guessed", MIN_SECRET_LENGTH)


def _check_positive(_: object, attribute: "Attribute[int]", number: object) -> None:
    _checks.within(attribute.name, number, 1)


def _check_seconds(_: object, attribute: "Attribute[float]", seconds: object) -> None:
    _checks.duration(attribute.name, seconds)


@frozen(kw_only=True)
class ReceiverStats:
    """Counts since the receiver was created; a webhook is one posted body, with any number of notices.

    `accepted` webhooks were answered 200, `refused` ones 503 because the queue was full or closed. `failed` counts
    webhooks whose `on_batch` raised, `waiting` those in the queue now, `unhandled` the notices that were left when
    the receiver was closed.
    """

    accepted: int
    refused: int
    failed: int
    waiting: int
    unhandled: int


@define(eq=False)
class WebhookReceiver:
    """Receives webhooks under aiohttp.web or any ASGI server, for `on_batch` or for `notices()`.

    Lofty signs nothing, so the last segment of the callback's path is the `secret`: no slash in it. Secrets under 16
    characters log a warning. Servers write paths to their access logs; turn that off, or exclude this path.

    A webhook is answered before it is handled. Up to `queue_size` batches wait for one of `workers` tasks that await
    `on_batch`, whose exceptions are logged and end nothing, or for `notices()`. While the queue is full every webhook
    is answered 503, and one warning is logged. A body is refused if it is not complete within `read_timeout` seconds,
    or has over `max_body` bytes, compressed (gzip, deflate) or decompressed. Closing waits at most `drain_timeout`
    seconds for the queue; a warning counts what is left then.

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
    _queue: BatchQueue = field(init=False, repr=False)
    _consumers: BatchWorkers | NoticeReaders = field(init=False, repr=False)
    _accepted: int = field(init=False, repr=False, default=0)
    _refused: int = field(init=False, repr=False, default=0)
    _refused_when_full: int = field(init=False, repr=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._queue = BatchQueue(self.queue_size)
        if self.on_batch is None:
            self._consumers = NoticeReaders(self._queue)
        else:
            self._consumers = BatchWorkers(self._queue, self.on_batch, self.workers)

    @staticmethod
    def route(prefix: str = "/lofty") -> str:
        """The callback's path, for aiohttp.web and other frameworks that put parameters in braces."""
        return f"{prefix.rstrip('/')}/{{secret}}"

    @property
    def aiohttp_handler(self) -> Handler:
        """A handler for aiohttp.web, to be routed at `route()` for every method.

        aiohttp.web itself decompresses bodies before a handler sees the path, without a bound in its early releases;
        `web.AppRunner(app, auto_decompress=False)` leaves that to this handler.
        """
        return aiohttp_handler(self)

    def mount(self, app: Application, prefix: str = "/lofty") -> None:
        """Routes the handler in an aiohttp.web application, and closes the receiver when that shuts down.

        Applications clean up in reverse order: mount after the client and the tasks that the notices need. For
        compressed bodies see `aiohttp_handler`.
        """
        mount_on_aiohttp(app, self, self.route(prefix))

    @property
    def asgi_app(self) -> AsgiApp:
        """An ASGI 3 application, which closes the receiver when its server shuts down.

        An application that mounts it usually does not pass on the shutdown: write `async with receiver` there.
        """
        return AsgiApp(self)

    @property
    def stats(self) -> ReceiverStats:
        """Counts of webhooks and notices up to now."""
        return ReceiverStats(
            accepted=self._accepted,
            refused=self._refused,
            failed=self._consumers.failed,
            waiting=len(self._queue),
            unhandled=self._consumers.unhandled,
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
        """Takes in one request and returns the answer to send, for servers without an adapter here.

        Args:
            method: The HTTP method.
            path: The decoded path, whose last segment is compared with the secret.
            content_length: The header's value, if there is one.
            chunks: The body; not read if the headers suffice to refuse it, read no further than `max_body` bytes.
            content_encoding: The header's value, if there is one and the body is still compressed.
        """
        refusal = self._refusal(method, path, content_length)
        if refusal is not None:
            return refusal
        try:
            async with lenient_timeout(self.read_timeout):
                received = await read_at_most(self.max_body, chunks)
        except TimeoutError:
            return TOO_SLOW
        body = TOO_LARGE if received is None else decompressed(received, content_encoding, self.max_body)
        return body if isinstance(body, Answer) else self._accept(body)

    def notices(self) -> AsyncGenerator[WebhookNotice, None]:
        """Yields every notice, in order of arrival, until the receiver is closed and all are read.

        Concurrent iterations share the notices; a new one continues after the last. A notice counts as handled when
        the next one is asked for; with `follow_tasks`, when the next change is.

        Raises:
            InvalidRequestError: The receiver has an `on_batch`.
        """
        if isinstance(self._consumers, BatchWorkers):
            raise InvalidRequestError("notices() and on_batch exclude each other: omit on_batch", argument="on_batch")
        return self._consumers.notices()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline for the work
        """Answers 503 from now on, and waits until every accepted webhook is handled.

        After `timeout` seconds (default: `drain_timeout`) workers are cancelled; notices can still be read. A warning
        counts what is left. Can be called again.
        """
        self._queue.close()
        self._end_refusals()
        await self._consumers.finish(self.drain_timeout if timeout is None else timeout)

    async def __aenter__(self) -> Self:
        self._consumers.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        await self.close()

    def _refusal(self, method: str, path: str, content_length: str | None) -> Answer | None:
        # The path comes first: without the secret, an answer reveals nothing.
        if not ends_with_secret(path, self.secret):
            return UNKNOWN_PATH
        if method != "POST":
            return NOT_A_POST
        if declares_more_than(self.max_body, content_length):
            return TOO_LARGE
        return self._refuse() if self._queue.is_closed or self._queue.is_full else None

    def _accept(self, body: bytes) -> Answer:
        try:
            batch = parse_webhook(body)
        except DecodeError as error:
            logger.warning("Refused a webhook: %s", error.message)
            return UNREADABLE
        # Half empty, so that a queue that alternates between full and almost full is warned of once.
        has_room = len(self._queue) <= self.queue_size // 2
        if not self._queue.offer(batch):
            return self._refuse()
        if has_room:
            self._end_refusals()
        self._accepted += 1
        self._consumers.start()
        return ACCEPTED

    def _refuse(self) -> Answer:
        self._refused += 1
        if not self._queue.is_closed:
            self._refused_when_full += 1
            if self._refused_when_full == 1:
                logger.warning(
                    "The webhook queue is full (%d batches): answering 503 until there is room", self.queue_size
                )
        return FULL

    def _end_refusals(self) -> None:
        refused, self._refused_when_full = self._refused_when_full, 0
        if refused:
            logger.warning("%d webhooks were answered 503 while the queue was full", refused)
