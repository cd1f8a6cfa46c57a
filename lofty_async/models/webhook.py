from attrs import frozen

from .enums import PermissionMode, WebhookEvent


@frozen(kw_only=True)
class WebhookSubscription:
    """A standing order to post events of one kind to one address."""

    id: int
    team_id: int | None = None
    event: WebhookEvent | None = None
    callback_url: str | None = None
    vendor_id: int | None = None
    limit: int | None = None
    permission_mode: PermissionMode | None = None
