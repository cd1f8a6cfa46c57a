"""Webhook subscriptions (`/v1.0/webhook`, `/v1.0/webhooks`)."""

from typing import Any, Final

from attrs import frozen

from lofty_async import checks
from lofty_async.checks import OnBadRecord
from lofty_async.convert import structure
from lofty_async.errors import AmbiguousWriteError
from lofty_async.listings import SingleListing
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription
from lofty_async.paging import Pager
from lofty_async.wire import NO_PARAMS, Route

from .caller import Caller
from .creation import create_and_read, landed

LIST: Final = Route("GET", "/v1.0/webhooks")
CREATE: Final = Route("POST", "/v1.0/webhook", repeatable=False)
DELETE: Final = Route("DELETE", "/v1.0/webhook/{subscribeId}", gone_is_done=True)

SUBSCRIPTIONS: Final = SingleListing(kind=WebhookSubscription, request=LIST.label, at=())


@frozen(eq=False)
class Webhooks:
    """The calls on webhook subscriptions."""

    _caller: Caller

    def list(self, *, on_bad_record: OnBadRecord | None = None) -> Pager[WebhookSubscription]:
        """The subscriptions of this application."""
        return self._caller.pager(LIST, SUBSCRIPTIONS, NO_PARAMS, on_bad_record)

    async def create(
        self,
        event: WebhookEvent | int,
        callback_url: str,
        *,
        limit: int = 100,
        permission_mode: PermissionMode | int = PermissionMode.ASSIGNMENT,
    ) -> WebhookSubscription:
        """Subscribe; doing it twice doubles every delivery, so it is never sent twice. Prefer `ensure`.

        `callback_url` is an HTTPS address, `limit` the most records in one delivery, 1 to 5000.

        Raises: InvalidRequestError; AmbiguousWriteError where the answer was lost.
        """
        wire = self._wanted(event, callback_url, limit, permission_mode)
        return await create_and_read(self._caller, CREATE, wire, _subscription)

    async def ensure(
        self,
        event: WebhookEvent | int,
        callback_url: str,
        *,
        limit: int = 100,
        permission_mode: PermissionMode | int = PermissionMode.ASSIGNMENT,
    ) -> WebhookSubscription:
        """The subscription of this event to this address: the one that exists, else a new one.

        An existing one is returned as it is, also with another `limit` or `permission_mode`. Where the answer to
        creating it is lost, the subscriptions are read again before it is created again, once.

        Raises: as `create`.
        """
        self._wanted(event, callback_url, limit, permission_mode)
        existing = await self._find(event, callback_url)
        if existing:
            return existing
        try:
            return await self.create(event, callback_url, limit=limit, permission_mode=permission_mode)
        except AmbiguousWriteError as doubt:
            found = await landed(lambda: self._find(event, callback_url), doubt, self._caller)
        return found or await self.create(event, callback_url, limit=limit, permission_mode=permission_mode)

    async def delete(self, id: int) -> None:
        """End a subscription."""
        await self._caller.send(DELETE, checks.number_id("id", id))

    async def _find(self, event: WebhookEvent | int, callback_url: str) -> WebhookSubscription | None:
        subscriptions = await self.list().collect()
        wanted = (int(event), callback_url)
        return next((one for one in subscriptions if (one.event, one.callback_url) == wanted), None)

    def _wanted(
        self, event: WebhookEvent | int, callback_url: str, limit: int, permission_mode: PermissionMode | int
    ) -> dict[str, Any]:
        return {
            "listId": int(checks.within("event", event, 1, 12)),
            "callbackUrl": checks.https_url("callback_url", callback_url, plain=self._caller.plain_callbacks),
            "limit": checks.within("limit", limit, 1, 5000),
            "permissionMode": int(checks.within("permission_mode", permission_mode, 0, 1)),
        }


def _subscription(body: Any) -> WebhookSubscription:
    return structure(WebhookSubscription, body, path="", request=CREATE.label)
