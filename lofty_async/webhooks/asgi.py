"""The ASGI 3 side of a receiver (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lofty_async.errors import InvalidRequestError

from .intake import Answer

if TYPE_CHECKING:
    from .receiver import WebhookReceiver
else:
    WebhookReceiver = Any  # so that annotations can be evaluated: the receiver imports this module

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _DisconnectedError(Exception):
    """The other side left in the middle of its body: nobody waits for an answer."""


@frozen
class AsgiApp:
    """A receiver as an application; an object, since servers look for a coroutine function in `__call__`."""

    receiver: "WebhookReceiver"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one scope.

        Raises:
            InvalidRequestError: The scope is neither `http` nor `lifespan`; ASGI asks for an exception then.
        """
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)
            case other:
                raise InvalidRequestError(f"webhooks do not come by {other!r}", argument="scope")

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
