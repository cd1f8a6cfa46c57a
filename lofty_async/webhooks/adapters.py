"""A receiver behind aiohttp.web, and behind any ASGI 3 server (https://asgi.readthedocs.io/en/latest/specs/)."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from lofty_async.errors import InvalidRequestError

from .answers import UNREADABLE, Answer

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, StreamResponse
else:
    # A receiver behind an ASGI server must not cost the import of aiohttp.web; annotations can still be evaluated.
    Application = Request = StreamResponse = Any

Handler = Callable[[Request], Awaitable[StreamResponse]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Receiver(AbstractAsyncContextManager["Receiver"], Protocol):
    """The part of a `WebhookReceiver` that servers need; closed when the context ends."""

    async def answer(
        self,
        method: str,
        path: str,
        content_length: str | None,
        chunks: AsyncIterable[bytes],
        *,
        content_encoding: str | None = None,
    ) -> Answer:
        """Takes in one request and returns the answer to send."""
        ...


def aiohttp_handler(receiver: Receiver) -> Handler:
    """Returns a handler for aiohttp.web."""
    from aiohttp import web  # noqa: PLC0415 - see above
    from aiohttp.http_exceptions import HttpProcessingError  # noqa: PLC0415 - see above

    async def receive(request: Request) -> StreamResponse:
        # Read by chunks: `request.read()` has a limit of its own, and buffers the whole body first.
        length, encoding = (request.headers.get(name) for name in ("Content-Length", "Content-Encoding"))
        chunks = request.content.iter_any()
        try:
            answer = await receiver.answer(request.method, request.path, length, chunks, content_encoding=encoding)
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError):
            answer = UNREADABLE  # the body was cut off, or is not in the encoding that its header names
        return web.Response(status=answer.status, headers=answer.headers)

    return receive


def mount_on_aiohttp(app: Application, receiver: Receiver, route: str) -> None:
    """Routes the handler for every method, and closes the receiver when the application shuts down."""

    async def receiving(_: Application) -> AsyncGenerator[None, None]:
        async with receiver:
            yield

    app.router.add_route("*", route, aiohttp_handler(receiver))
    app.cleanup_ctx.append(receiving)


class _DisconnectedError(Exception):
    """The client disconnected before the end of its body; an answer cannot be sent."""


@frozen
class AsgiApp:
    """A receiver as an ASGI 3 application; an object, since servers look for a coroutine function in `__call__`."""

    receiver: Receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one scope.

        Raises:
            InvalidRequestError: The scope is neither `http` nor `lifespan`; ASGI requires an exception then.
        """
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)
            case other:
                raise InvalidRequestError(f"ASGI scope {other!r} is not supported", argument="scope")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(_chunks(receive)) as chunks:
            try:
                answer = await self.receiver.answer(
                    scope["method"],
                    scope["path"],
                    _header(scope["headers"], b"content-length"),
                    chunks,
                    content_encoding=_header(scope["headers"], b"content-encoding"),
                )
            except _DisconnectedError:
                return
        await _send_answer(answer, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.receiver:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _chunks(receive: Receive) -> AsyncGenerator[bytes, None]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    values = (value.decode("latin-1") for name, value in headers if name.lower() == wanted)
    return next(values, None)


async def _send_answer(answer: Answer, send: Send) -> None:
    headers = {"content-length": "0", **answer.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": pairs})
    await send({"type": "http.response.body", "body": b""})
