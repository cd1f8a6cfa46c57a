"""The aiohttp.web side of a receiver: the only module here that needs aiohttp."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_LENGTH, METH_ANY
from aiohttp.http_exceptions import HttpProcessingError

from .intake import UNREADABLE

if TYPE_CHECKING:
    from .receiver import WebhookReceiver

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def handler_for(receiver: "WebhookReceiver") -> Handler:
    async def receive(request: web.Request) -> web.StreamResponse:
        # Read by chunks: `request.read()` has a limit of its own, and reads all of it first.
        length, chunks = request.headers.get(CONTENT_LENGTH), request.content.iter_any()
        encoding = request.headers.get(CONTENT_ENCODING)
        try:
            answer = await receiver.answer(request.method, request.path, length, chunks, content_encoding=encoding)
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError):
            # Cut off in the middle, or not in the encoding that the head promised.
            answer = UNREADABLE
        return web.Response(status=answer.status, headers=answer.headers)

    return receive


def mount(app: web.Application, receiver: "WebhookReceiver", route: str) -> None:
    async def receiving(_: web.Application) -> AsyncGenerator[None, None]:
        async with receiver:
            yield

    app.router.add_route(METH_ANY, route, handler_for(receiver))
    app.cleanup_ctx.append(receiving)
