"""Webhook subscriptions (`/v1.0/webhook`, `/v1.0/webhooks`)."""

from collections.abc import Hashable
from enum import IntEnum
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async._checks import OnBadRecord
from lofty_async._convert import structure
from lofty_async._strategies import SinglePage
from lofty_async._wire import NO_PARAMS, Route
from lofty_async.complaints import RecordKind
from lofty_async.errors import DecodeError
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription
from lofty_async.pagination import Pager

from .caller import Caller
from .creation import create_and_read, create_or_find, shared

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
        event: WebhookEvent | int | str,
        callback_url: str,
        *,
        limit: int = 100,
        permission_mode: PermissionMode | int | str = PermissionMode.ASSIGNMENT,
    ) -> WebhookSubscription:
        """Subscribe; doing it twice doubles every delivery, so it is never sent twice. Prefer `ensure`.

        `event` and `permission_mode` may be given by name, as in `"TASK"`. `callback_url` is an HTTPS address, `limit`
        the most records in one delivery, 1 to 5000.

        Raises: InvalidRequestError; AmbiguousWriteError where the answer was lost.
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
        """The subscription of this event to this address: the one that exists, else a new one.

        An existing one is returned as it is, also with another `limit` or `permission_mode`. It is never created twice:
        where the answer is lost, the subscriptions are read three times within 2.5 s. In one event loop, those who ask
        for the same at once get the same.

        Raises: InvalidRequestError; AmbiguousWriteError where the answer was lost, or does not name what was created,
        and the subscription was not seen: it may still appear, so wait a minute before calling again.
        """
        callback_url = hidden(callback_url)
        wire = self._wanted(event, callback_url, limit, permission_mode)
        # Of one credential: another account has subscriptions of its own.
        marks = self._credential, wire["listId"], wire["callbackUrl"]
        return await shared(lambda: self._find_or_create(wire), self._caller, *marks)

    @property
    def _credential(self) -> object:
        auth = self._caller.dispatcher.auth
        # A credential of the user's own may be one that cannot be hashed.
        return auth if isinstance(auth, Hashable) else id(auth)

    async def _find_or_create(self, wire: dict[str, Any]) -> WebhookSubscription:
        if existing := await self._find(wire):
            return existing
        return await create_or_find(partial(self._create, wire), partial(self._find, wire))

    async def _create(self, wire: dict[str, Any]) -> WebhookSubscription:
        return await create_and_read(self._caller, CREATE, wire, _subscription)

    async def delete(self, id: int) -> None:
        """End a subscription."""
        await self._caller.send(DELETE, _checks.number_id("id", id))

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
            "listId": int(_checks.within("event", _member("event", event, WebhookEvent), 1, 12)),
            "callbackUrl": _checks.https_url("callback_url", callback_url, plain=self._caller.allow_http),
            "limit": _checks.within("limit", limit, 1, 5000),
            "permissionMode": int(
                _checks.within("permission_mode", _member("permission_mode", permission_mode, PermissionMode), 0, 1)
            ),
        }


def _member(argument: str, value: object, kind: type[IntEnum]) -> object:
    """The member of this name, in any case, or of these digits, as the commands take them; else the value itself."""
    if not isinstance(value, str):
        return value
    words = {word: member for member in kind for word in (member.name, str(int(member)))}
    member = words.get(value.upper().replace("-", "_"))
    if member is None:
        raise _checks.refuse(argument, f"must be one of {', '.join(kind.__members__)} or its number, not {value!r}")
    return member


def _subscription(body: Any) -> WebhookSubscription:
    try:
        return structure(WebhookSubscription, body, path="", request=CREATE.label)
    except DecodeError as error:
        raise evolve(error, body="") from None  # it holds the subscription's address, which is a secret
