"""Webhook subscriptions."""

from aiohttp import web
from attrs import frozen

from .reading import Fields, path_id
from .refusals import json_answer
from .subscriptions import Subscriptions


@frozen
class WebhookHandlers:
    """`/v1.0/webhook` to make and delete, `/v1.0/webhooks` to list."""

    subscriptions: Subscriptions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1.0/webhook", self.create),
            web.get("/v1.0/webhooks", self.list_own, allow_head=False),
            web.delete("/v1.0/webhook/{subscribeId}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        return json_answer(self.subscriptions.create(await Fields.of_body(request)).shown())

    async def list_own(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        return json_answer([one.shown() for one in self.subscriptions.own()])

    async def delete(self, request: web.Request) -> web.Response:
        self.subscriptions.delete(path_id(request, "subscribeId"))
        return web.Response()
