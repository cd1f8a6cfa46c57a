"""What `webhooks list`, `ensure` and `delete` do."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import click
from attrs import evolve

from lofty_async import _checks
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription

from .connect import allows_http, connected
from .options import Form, Target
from .output import print_json, show_records
from .run import run
from .tables import Layout

EVENTS: Final = {word: event for event in WebhookEvent for word in (event.name, str(int(event)))}
MASK: Final = "***"
SEGMENT: Final = re.compile(r"[^/]{16,}|[^/]+(?=/*$)")
"""What may be a receiver's secret: anything as long as one, and whatever comes last."""


class Row(NamedTuple):
    """A subscription as a table shows it."""

    id: int
    event: str | None
    callback_url: str | None
    limit: int | None
    permission_mode: str | None


ROWS: Final = Layout(Row._fields, folding="callback_url", spare=("limit", "permission_mode", "event"))


def show(target: Target, form: Form, limit: int | None, *, show_urls: bool) -> None:
    async def collect() -> list[WebhookSubscription]:
        async with connected(target) as lofty:
            return await lofty.webhooks.list().collect(limit=limit)

    subscriptions = run(collect)
    shown = subscriptions if show_urls else [_masked(one) for one in subscriptions]
    show_records(shown if form.as_json else [_row(one) for one in shown], ROWS, form)


def ensure(event: str, callback_url: str, target: Target, form: Form, *, limit: int, permission_mode: str) -> None:
    wanted, mode = event_called(event), PermissionMode[permission_mode.upper()]

    async def subscribe() -> tuple[WebhookSubscription, bool]:
        # Before anything is sent: looking at what existed comes before the client's own check.
        _checks.https_url("callback_url", callback_url, plain=allows_http(target))
        async with connected(target) as lofty:
            before = {one.id for one in await lofty.webhooks.list().collect()}
            one = await lofty.webhooks.ensure(wanted, callback_url, limit=limit, permission_mode=mode)
            return one, one.id in before

    subscription, existed = run(subscribe)
    if existed and (subscription.limit, subscription.permission_mode) != (limit, mode):
        click.echo("It exists with another limit or permission mode; delete it first to change them.", err=True)
    _tell(subscription.id, form, existed=existed)


def delete(id: int, target: Target) -> None:
    async def unsubscribe() -> None:
        async with connected(target) as lofty:
            await lofty.webhooks.delete(id)

    run(unsubscribe)
    click.echo(f"{id} deleted")


def event_called(text: str) -> WebhookEvent:
    """The event of that name, in any case, or of that number.

    Raises: click.BadParameter where there is none.
    """
    event = EVENTS.get(text.upper().replace("-", "_"))
    if event is None:
        names = ", ".join(one.name.lower().replace("_", "-") for one in WebhookEvent)
        raise click.BadParameter(f"{text!r} is none of 1 to 12, {names}", param_hint="EVENT")
    return event


def masked(url: str) -> str:
    """The address without what may be secret in it: long and last segments of its path, and all but the path."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    beyond = f"?{MASK}" if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{host}{SEGMENT.sub(MASK, parts.path)}{beyond}"


def _masked(subscription: WebhookSubscription) -> WebhookSubscription:
    url = subscription.callback_url
    return subscription if url is None else evolve(subscription, callback_url=masked(url))


def _row(one: WebhookSubscription) -> Row:
    event, mode = (None if value is None else value.name.lower() for value in (one.event, one.permission_mode))
    return Row(one.id, event, one.callback_url, one.limit, mode)


def _tell(id: int, form: Form, *, existed: bool) -> None:
    if form.as_json:
        print_json({"id": str(id) if form.string_ids else id, "existed": existed})
    else:
        click.echo(f"{id} {'existed' if existed else 'created'}")
