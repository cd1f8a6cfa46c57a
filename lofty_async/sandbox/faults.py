"""Faults on demand: error responses, dropped connections, delays and wrong headers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from aiohttp import web
from attrs import define, field, frozen
from attrs.validators import and_, ge, le

from .errors import PROXY_PAGE, json_response, usual_body
from .options import LIMIT_OR_NONE, NOT_NEGATIVE, POSITIVE, SECONDS, STATUS
from .requests import RequestPattern, RequestRecord, check_call


@define
class Exchange:
    """The state of the current request."""

    rate_headers: Mapping[str, str] = field(factory=dict[str, str])
    """The rate headers of its response."""
    dropped: bool = False
    """Whether the connection is dropped without a response."""


EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")

Answer = Callable[[], Awaitable[web.StreamResponse]]
"""Makes the real response; the request takes effect when this is awaited."""
Fault = Callable[[web.Request, Answer], Awaitable[web.StreamResponse]]
"""Responds to a request, with or without the real response; a plain async function will do."""


@frozen
class Latency:
    """Delays the response; the request takes effect after the delay."""

    seconds: float = field(validator=SECONDS)

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:  # noqa: ARG002 - Fault's signature
        await asyncio.sleep(self.seconds)
        return await answer()


@frozen
class Reply:
    """Responds with any status and body, JSON unless it is a string; the request takes no effect.

    Without a body, the response has the usual one of its status.
    """

    status: int = field(default=500, validator=STATUS)
    body: Any = None
    headers: Mapping[str, str] = field(factory=dict[str, str])
    content_type: str = "text/html"

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:  # noqa: ARG002 - no real answer
        body = usual_body(self.status) if self.body is None else self.body
        if isinstance(body, str):
            reply = web.Response(status=self.status, text=body, content_type=self.content_type)
        else:
            reply = json_response(body, self.status)
        reply.headers.update(self.headers)
        return reply


@frozen
class TooManyRequests:
    """A 429 although requests remain, without rate headers."""

    headers: Mapping[str, str] = field(factory=dict[str, str])

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        EXCHANGE.get().rate_headers = self.headers
        return await Reply(429)(request, answer)


@frozen
class FilterTooManyRequests:
    """The rate limit of a filter in front of the API: status 400, plain text, no rate headers."""

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        EXCHANGE.get().rate_headers = {}
        return await Reply(400, "Too Many Requests", content_type="text/plain")(request, answer)


@frozen
class DropBefore:
    """Drops the connection; the request takes no effect."""

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:  # noqa: ARG002 - never answered
        return _drop(request)


@frozen
class DropAfter:
    """Drops the connection after the request took effect."""

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        await answer()
        return _drop(request)


@frozen
class TruncatedBody:
    """Sends the first half of the body, then drops the connection; the request took effect."""

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        stream, body = await _opened(request, await answer())
        await stream.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return stream


@frozen
class SlowBody:
    """Sends the headers at once and the body in `pieces`, with `seconds` before each."""

    seconds: float = field(validator=SECONDS)
    pieces: int = field(default=2, validator=POSITIVE)

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        stream, body = await _opened(request, await answer())
        size = len(body) // self.pieces + 1
        for start in range(0, len(body), size):
            await asyncio.sleep(self.seconds)
            await stream.write(body[start : start + size])
        return stream


@frozen
class NotJson:
    """A proxy's page with a good status; the request took effect unless `lost`."""

    body: str = PROXY_PAGE
    status: int = field(default=200, validator=STATUS)
    lost: bool = False

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if not self.lost:
            await answer()
        return await Reply(self.status, self.body)(request, answer)


@frozen
class RateHeaders:
    """The real response with these rate headers; none by default."""

    headers: Mapping[str, str] = field(factory=dict[str, str])

    async def __call__(self, request: web.Request, answer: Answer) -> web.StreamResponse:  # noqa: ARG002 - Fault's signature
        EXCHANGE.get().rate_headers = self.headers
        return await answer()


@define
class Rule:
    """A fault and the requests to which it happens."""

    pattern: RequestPattern
    fault: Fault
    times: int | None = field(validator=LIMIT_OR_NONE)
    after: int = field(validator=NOT_NEGATIVE)
    chance: float = field(validator=and_(ge(0), le(1)))
    seen: int = 0
    struck: int = 0

    def applies(self, record: RequestRecord, rng: random.Random) -> bool:
        if self.spent or not self.pattern.matches(record):
            return False
        self.seen += 1
        hit = self.seen > self.after and (self.chance >= 1 or rng.random() < self.chance)
        self.struck += hit
        return hit

    @property
    def spent(self) -> bool:
        return self.times is not None and self.struck >= self.times


@define
class Faults:
    """The faults to come."""

    _rng: random.Random
    rules: list[Rule] = field(factory=list[Rule], init=False)

    def add(
        self,
        match: str = "*",
        kind: Fault | None = None,
        *,
        query: Mapping[str, object] | None = None,
        times: int | None = 1,
        after: int = 0,
        chance: float = 1.0,
    ) -> Rule:
        """Adds a fault to requests that match.

        Args:
            match: A call such as `GET /v2.0/tasks/{taskId}`, a path such as `GET /v2.0/tasks/7`, or a pattern of
                either with `*`.
            kind: The fault; a response of status 500 by default. The first added is the outermost.
            query: Parameters that the request's query must have, such as `{"leadId": lead.id}`.
            times: How often it happens; `None` for no limit.
            after: How many matching requests pass first.
            chance: Its probability then, 0 to 1, drawn from the sandbox's seed.

        Raises: ValueError for a `match` that no call matches, and for a number out of its range.
        """
        check_call(match)
        rule = Rule(RequestPattern(match, query or {}), Reply() if kind is None else kind, times, after, chance)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        self.rules.clear()

    async def answer(self, record: RequestRecord, request: web.Request, answer: Answer) -> web.StreamResponse:
        """The response, after every fault that happens to the request."""
        for rule in reversed([rule for rule in self.rules if rule.applies(record, self._rng)]):
            answer = partial(rule.fault, request, answer)
        return await answer()


def _drop(request: web.Request) -> web.StreamResponse:
    EXCHANGE.get().dropped = True
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _opened(request: web.Request, response: web.StreamResponse) -> tuple[web.StreamResponse, bytes]:
    """A stream that has sent the response's headers, and the body that is to follow."""
    body = response.body if isinstance(response, web.Response) else b""
    content = body if isinstance(body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(content)
    await stream.prepare(request)
    return stream, content
