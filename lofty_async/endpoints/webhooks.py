"""Webhook subscriptions (`/v1.0/webhook`, `/v1.0/webhooks`)."""

from collections.abc import Hashable
from typing import Any, Final

from attrs import frozen

from lofty_async import checks
from lofty_async._strategies import SinglePage
from lofty_async.checks import OnBadRecord
from lofty_async.complaints import RecordKind
from lofty_async.convert import structure
from lofty_async.errors import AmbiguousWriteError
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription
from lofty_async.pagination import Pager
from lofty_async.wire import NO_PARAMS, Route

from .caller import Caller
from .creation import alike, create_and_read, landed, was_answered

LIST: Final = Route("GET", "/v1.0/webhooks")
CREATE: Final = Route("POST", "/v1.0/webhook", repeatable=False)
DELETE: Final = Route("DELETE", "/v1.0/webhook/{subscribeId}", deletes=RecordKind.WEBHOOK)

SUBSCRIPTIONS: Final = SinglePage(model=WebhookSubscription, request=LIST.label, at=())


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
        return await self._create(self._wanted(event, callback_url, limit, permission_mode))

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
        creating it is lost, the subscriptions are read again before it is created again, once. In one event loop,
        those who ask for the same at once get the same.

        Raises: as `create`, also where an answer does not name what was created, and it cannot be found.
        """
        wire = self._wanted(event, callback_url, limit, permission_mode)
        # Of one credential: another account has subscriptions of its own.
        async with alike(self._caller, self._credential, wire["listId"], wire["callbackUrl"]) as others:
            if not others.made:
                others.made.append(await self._find(wire) or await self._create_once(wire))
            subscription: WebhookSubscription = others.made[0]
            return subscription

    @property
    def _credential(self) -> object:
        auth = self._caller.dispatcher.auth
        # A credential of the user's own may be one that cannot be hashed.
        return auth if isinstance(auth, Hashable) else id(auth)

    async def _create_once(self, wire: dict[str, Any]) -> WebhookSubscription:
        try:
            return await self._create(wire)
        except AmbiguousWriteError as doubt:
            found = await landed(lambda: self._find(wire), doubt, self._caller)
            if found is None and was_answered(doubt):
                raise
        return found or await self._create(wire)

    async def _create(self, wire: dict[str, Any]) -> WebhookSubscription:
        return await create_and_read(self._caller, CREATE, wire, _subscription)

    async def delete(self, id: int) -> None:
        """End a subscription."""
        await self._caller.send(DELETE, checks.number_id("id", id))

    async def _find(self, wire: dict[str, Any]) -> WebhookSubscription | None:
        subscriptions = await self.list().collect()
        wanted = (wire["listId"], wire["callbackUrl"])
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
