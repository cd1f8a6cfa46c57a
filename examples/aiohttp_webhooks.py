"""An aiohttp.web application that receives Lofty's webhooks and keeps the open tasks in memory.

    pip install lofty-async
    LOFTY_API_KEY=… WEBHOOK_SECRET=… PUBLIC_URL=https://example.com python aiohttp_webhooks.py

Make the secret once, with `python -c "import secrets; print(secrets.token_urlsafe())"`, and keep it.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

from aiohttp import web

from lofty_async import LoftyClient, Task, WebhookReceiver, follow_tasks

LOFTY = web.AppKey("LOFTY", LoftyClient)
RECEIVER = web.AppKey("RECEIVER", WebhookReceiver)
OPEN_TASKS: web.AppKey[dict[int, Task]] = web.AppKey("OPEN_TASKS", dict)

NEVER = datetime.max.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


async def client(app: web.Application) -> AsyncIterator[None]:
    async with LoftyClient.from_env() as app[LOFTY]:
        yield


async def follow(app: web.Application) -> AsyncIterator[None]:
    """Read the tasks that webhooks name, for as long as the application runs."""
    following = asyncio.create_task(keep_open_tasks(app))
    yield
    # The receiver was closed before, which ends the notices.
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await following


async def keep_open_tasks(app: web.Application) -> None:
    tasks = app[OPEN_TASKS]
    async for change in follow_tasks(app[RECEIVER].notices(), app[LOFTY]):
        if change.error:
            log.warning("could not read task %s: %s", change.task_id, change.error)
        elif change.task and not change.task.finished:
            tasks[change.task.id] = change.task
        elif change.task_id is not None:
            tasks.pop(change.task_id, None)


async def subscribe(app: web.Application) -> AsyncIterator[None]:
    """Subscribe to tasks and appointments, unless that was done before."""
    if base := os.environ.get("PUBLIC_URL"):
        for event in ("TASK", "APPOINTMENT"):
            await app[LOFTY].webhooks.ensure(event, f"{base}/lofty/{app[RECEIVER].secret}")
    yield


async def show(request: web.Request) -> web.Response:
    tasks = sorted(request.app[OPEN_TASKS].values(), key=lambda task: task.end_at or NEVER)
    return web.json_response([{"id": str(task.id), "content": task.content} for task in tasks])


def make_app(secret: str) -> web.Application:
    app = web.Application()
    app[OPEN_TASKS] = {}
    app[RECEIVER] = receiver = WebhookReceiver(secret)
    # They are cleaned up in reverse order: the receiver first, the client last.
    app.cleanup_ctx.extend([client, follow])
    receiver.mount(app)
    app.cleanup_ctx.append(subscribe)
    app.router.add_get("/tasks", show)
    return app


if __name__ == "__main__":
    # The path of the webhook holds the secret: no access log.
    web.run_app(make_app(os.environ["WEBHOOK_SECRET"]), access_log=None)
