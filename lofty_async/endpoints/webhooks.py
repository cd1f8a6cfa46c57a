"""Webhook subscriptions (`/v1.0/webhook`, `/v1.0/webhooks`)."""

from functools import partial
from typing import Any, Final

from attrs import frozen

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async._checks import OnBadRecord
from lofty_async._codec import structure
from lofty_async._strategies import SinglePage
from lofty_async._wire import RecordKind, Route
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription
from lofty_async.pagination import Pager

from ._base import Caller
from ._create import create_and_read, find_or_create

LIST: Final = Route("GET", "/v1.0/webhooks")
CREATE: Final = Route("POST", "/v1.0/webhook", repeatable=False)
DELETE: Final = Route("DELETE", "/v1.0/webhook/{subscribeId}", deletes=RecordKind.WEBHOOK)

SUBSCRIPTIONS: Final = SinglePage(model=WebhookSubscription, request=LIST.label, at=())


@frozen(eq=False, repr=False)
class Webhooks:
    """The calls on webhook subscriptions."""

    _caller: Caller

    def list(self, *, on_bad_record: OnBadRecord | None = None) -> Pager[WebhookSubscription]:
        """The subscriptions of this application."""
        return self._caller.pager(LIST, SUBSCRIPTIONS, on_bad_record=on_bad_record)

    async def create(
        self,
        event: WebhookEvent | int | str,
        callback_url: str,
        *,
        limit: int = 100,
        permission_mode: PermissionMode | int | str = PermissionMode.ASSIGNMENT,
    ) -> WebhookSubscription:
        """Subscribe; the request is never sent twice, as a second subscription doubles every delivery. Prefer `ensure`.

        `event` and `permission_mode` may be given by name, as in `"TASK"`. `callback_url` is an HTTPS address, `limit`
        the most records in one delivery, 1 to 5000.

        Raises: InvalidRequestError; AmbiguousWriteError if the response is lost.
        """
        callback_url = hidden(callback_url)
        return await self._create(self._wanted(event, callback_url, limit, permission_mode))

    async def ensure(
        self,
        event: WebhookEvent | int | str,
        callback_url: str,
        *,
        limit: int = 100,
        permission_mode: PermissionMode | int | str = PermissionMode.ASSIGNMENT,
    ) -> WebhookSubscription:
        """The subscription of this event to this address: the existing one, else a new one.

        An existing one is returned as it is, also with another `limit` or `permission_mode`. The create is never sent
        twice: if its response is lost, the subscriptions are read three times within 2.5 s. In one event loop,
        concurrent calls for the same subscription get the same one.

        Raises: InvalidRequestError; AmbiguousWriteError if the response is lost or does not identify the subscription,
        and the subscription was not seen: it may still appear, so wait a minute before calling again.
        """
        callback_url = hidden(callback_url)
        wire = self._wanted(event, callback_url, limit, permission_mode)
        # Another account has subscriptions of its own.
        key = self._caller.account, wire["listId"], wire["callbackUrl"]
        return await find_or_create(self._caller, partial(self._find, wire), partial(self._create, wire), *key)

    async def delete(self, id: int) -> None:
        """End a subscription."""
        await self._caller.send(DELETE, _checks.number_id("id", id))

    async def _create(self, wire: dict[str, Any]) -> WebhookSubscription:
        return await create_and_read(self._caller, CREATE, wire, _subscription)

    async def _find(self, wire: dict[str, Any]) -> WebhookSubscription | None:
        subscriptions = await self.list().collect()
        wanted = (wire["listId"], wire["callbackUrl"])
        return next((one for one in subscriptions if (one.event, one.callback_url) == wanted), None)

    def _wanted(
        self,
        event: WebhookEvent | int | str,
        callback_url: str,
        limit: int,
        permission_mode: PermissionMode | int | str,
    ) -> dict[str, Any]:
        return {
            "listId": _checks.number_member("event", event, WebhookEvent, 1, 12),
            "callbackUrl": _checks.https_url("callback_url", callback_url, plain=self._caller.allow_http),
            "limit": _checks.within("limit", limit, 1, 5000),
            "permissionMode": _checks.number_member("permission_mode", permission_mode, PermissionMode, 0, 1),
        }


def _subscription(body: Any) -> WebhookSubscription:
    return structure(WebhookSubscription, body, path="", request=CREATE.label)
