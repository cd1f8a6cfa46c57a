"""The calendar as a feed that Google Calendar, Outlook and others subscribe to, behind a secret path.

    pip install "lofty-async[ical]"
    LOFTY_API_KEY=… FEED_SECRET=… python calendar_feed.py

Subscribe to https://…/calendar/<secret>.ics. Those programs ask every few hours; the feed asks Lofty once in five
minutes at most.
"""

import asyncio
import hmac
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from lofty_async import LoftyClient, LoftyError
from lofty_async.ical import to_ical

KEEP_SECONDS = 300.0


class Feed:
    """The calendar of the next weeks and the last ones, read again when it is old."""

    def __init__(self, lofty: LoftyClient) -> None:
        self._lofty = lofty
        self._body = b""
        self._read_at = -KEEP_SECONDS
        self._lock = asyncio.Lock()

    async def body(self) -> bytes:
        async with self._lock:  # one request to Lofty, however many wait for it
            if time.monotonic() - self._read_at >= KEEP_SECONDS or not self._body:
                now = datetime.now(UTC)
                entries = await self._lofty.calendar.list(
                    start=now - timedelta(days=30), end=now + timedelta(days=180), include_finished=True
                ).collect()
                self._body, self._read_at = to_ical(entries, name="Lofty"), time.monotonic()
            return self._body


FEED = web.AppKey("FEED", Feed)
SECRET = web.AppKey("SECRET", str)


async def feed(app: web.Application) -> AsyncIterator[None]:
    async with LoftyClient.from_env(max_wait=10) as lofty:
        app[FEED] = Feed(lofty)
        yield


async def serve(request: web.Request) -> web.Response:
    if not hmac.compare_digest(request.match_info["secret"].encode(), request.app[SECRET].encode()):
        raise web.HTTPNotFound
    try:
        body = await request.app[FEED].body()
    except LoftyError as error:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "60"}) from error
    return web.Response(body=body, content_type="text/calendar", charset="utf-8")


def make_app(secret: str) -> web.Application:
    app = web.Application()
    app[SECRET] = secret
    app.cleanup_ctx.append(feed)
    app.router.add_get("/calendar/{secret}.ics", serve)
    return app


if __name__ == "__main__":
    # The path holds the secret: no access log.
    web.run_app(make_app(os.environ["FEED_SECRET"]), access_log=None)
