"""The commands on webhooks: subscriptions, and a listener to try them out."""

import asyncio
import json
import re
import secrets
from contextlib import aclosing
from operator import attrgetter
from typing import Any, Final
from urllib.parse import urlsplit

import click
from attrs import evolve

from lofty_async import _checks
from lofty_async._stdout import write_stdout
from lofty_async.errors import InvalidRequestError
from lofty_async.models import PermissionMode, WebhookEvent, WebhookSubscription
from lofty_async.webhooks import WebhookNotice, WebhookReceiver

from .options import (
    OutputOptions,
    RecordId,
    ServerOptions,
    Whole,
    examples,
    list_options,
    record_options,
    server_or_sandbox_options,
)
from .times import MAX_SHOWN
from .writes import Records, add_delete

PERMISSION_MODES: Final = ("assignment", "ownership")
MASK: Final = "***"
SECRET_SEGMENT: Final = re.compile(r"[^/]{16,}|[^/]+(?=/*$)")
"""A path segment that may be a receiver's secret: as long as one, or the last."""
CALLBACK_PREFIX: Final = "/lofty"
DRAIN_TIMEOUT: Final = 5.0
"""Seconds for notices that are not printed yet when the listener is stopped."""


@click.group(
    epilog=examples(
        "lofty-async webhooks list",
        "lofty-async webhooks ensure task https://app.example/lofty/a-long-secret",
        "lofty-async webhooks listen --port 8081",
    )
)
def webhooks() -> None:
    """Manage subscriptions, and print webhooks."""


@webhooks.command("list", epilog=examples("lofty-async webhooks list", "lofty-async webhooks list --csv"))
@click.option("--show-urls", is_flag=True, help="Show callback URLs in full; whoever knows one can post to it.")
@list_options
@server_or_sandbox_options
def list_(*, show_urls: bool, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """List the application's subscriptions. The secret parts of callback URLs are masked."""
    from .client import ask
    from .output import SUBSCRIPTIONS, show_records

    records = ask(server, lambda lofty: lofty.webhooks.list().collect(limit=limit))
    if not show_urls:
        records = [
            one if one.callback_url is None else evolve(one, callback_url=masked(one.callback_url)) for one in records
        ]
    show_records(records, SUBSCRIPTIONS, output)


def masked(url: str) -> str:
    """Returns the URL with its secret parts masked: long segments, the last one, and all that follows the path."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    query = f"?{MASK}" if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{host}{SECRET_SEGMENT.sub(MASK, parts.path)}{query}"


@webhooks.command(epilog=examples("lofty-async webhooks ensure task https://app.example/lofty/a-long-secret"))
@click.argument("event", metavar="EVENT")
@click.argument("callback_url", metavar="URL")
@click.option("--limit", type=Whole(1, 5000), default=100, show_default=True, help="Records per webhook.")
@click.option(
    "--permission-mode",
    type=click.Choice(PERMISSION_MODES),
    default=PERMISSION_MODES[0],
    show_default=True,
    help="Leads by their assignee, or by their owner.",
)
@record_options
@server_or_sandbox_options
def ensure(
    *, event: str, callback_url: str, limit: int, permission_mode: str, output: OutputOptions, server: ServerOptions
) -> None:
    """Subscribe the callback URL to EVENT, unless it is already.

    EVENT is a number from 1 to 12 or a name: agent, lead, lead-activity, listing-alert, transaction, call,
    email, text, note, task, appointment, pipeline. URL is an HTTPS address; `lofty-async sandbox --allow-http` also
    accepts http://. Prints the subscription's id, and whether it existed or was created; a subscription that existed
    is not changed.
    """
    from .client import allows_http, connected
    from .output import print_json
    from .run import run

    wanted, mode = event_named(event), PermissionMode[permission_mode.upper()]

    async def subscribe() -> tuple[WebhookSubscription, bool]:
        # Checked before anything is sent: the list is read before the client checks the URL.
        _checks.https_url("callback_url", callback_url, plain=allows_http(server))
        async with connected(server) as lofty:
            before = {one.id for one in await lofty.webhooks.list().collect()}
            one = await lofty.webhooks.ensure(wanted, callback_url, limit=limit, permission_mode=mode)
            return one, one.id in before

    subscription, existed = run(subscribe, look="lofty-async webhooks list")
    if existed and (subscription.limit, subscription.permission_mode) != (limit, mode):
        click.echo("It exists with another limit or permission mode; delete it first to change them.", err=True)
    if output.as_json:
        print_json({"id": str(subscription.id) if output.string_ids else subscription.id, "existed": existed})
    else:
        click.echo(f"{subscription.id} {'existed' if existed else 'created'}")


def event_named(text: str) -> WebhookEvent:
    """Returns the event with that name, in any case, or with that number.

    Raises: click.UsageError if there is none.
    """
    events = {word: event for event in WebhookEvent for word in (event.name, str(int(event)))}
    event = events.get(text.upper().replace("-", "_"))
    if event is None:
        names = ", ".join(one.name.lower().replace("_", "-") for one in WebhookEvent)
        raise click.UsageError(f"EVENT must be 1 to 12 or one of {names}, not {text[:MAX_SHOWN]!r}")
    return event


add_delete(webhooks, Records("subscription", "subscriptions", attrgetter("webhooks"), RecordId("webhook"), "7"))


@webhooks.command(
    epilog=examples("lofty-async webhooks listen --port 8081", "lofty-async webhooks listen --port 8081 --json | jq .")
)
@click.option("--port", type=Whole(0, 65535), required=True, help="Port to listen on; 0 for any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--secret",
    envvar="LOFTY_WEBHOOK_SECRET",
    metavar="TEXT",
    help="The path's last segment, which should have 16 characters or more. Prefer LOFTY_WEBHOOK_SECRET, since "
    "other users can see arguments. Default: a generated one, which is printed.",
)
@record_options
def listen(*, port: int, host: str, secret: str | None, output: OutputOptions) -> None:
    """Print webhooks as they arrive, to try them out.

    Prints one line per notice; with --json, one JSON object. Serves plain HTTP: Lofty posts to HTTPS addresses only,
    so put a tunnel or a proxy in front. The path to subscribe is printed on stderr. SIGINT, SIGTERM and SIGHUP end it
    after every accepted notice is printed; the exit code is then 0. Notices that are not printed within five seconds
    are counted on stderr, and the exit code is 1. A second signal ends it at once.
    """
    from .run import StartupError, run

    try:
        receiver = WebhookReceiver(secrets.token_urlsafe() if secret is None else secret, drain_timeout=DRAIN_TIMEOUT)
    except InvalidRequestError as error:
        raise StartupError(str(error)) from error
    path = f"{CALLBACK_PREFIX}/{receiver.secret if secret is None else '<your secret>'}"
    run(lambda: _serve(receiver, host, port, path, output))


async def _serve(receiver: WebhookReceiver, host: str, port: int, shown_path: str, output: OutputOptions) -> None:
    from aiohttp import web

    from .run import ended_by_signal, served

    app = web.Application()
    receiver.mount(app, CALLBACK_PREFIX)
    async with served(app, host, port) as bound:
        click.echo(f"Listening on port {bound} of {host}; subscribe the path {shown_path}", err=True)
        printing = asyncio.create_task(_print_notices(receiver, output))
        with ended_by_signal():
            await asyncio.wait({printing})
    if not printing.done():  # nobody reads standard output; the receiver has counted the notices that are left
        printing.cancel()
        raise click.exceptions.Exit(1)
    await printing


async def _print_notices(receiver: WebhookReceiver, output: OutputOptions) -> None:
    async with aclosing(receiver.notices()) as notices:
        async for notice in notices:
            line = notice_json(notice, output) if output.as_json else notice_line(notice)
            await write_stdout(f"{line}\n")


def notice_line(notice: WebhookNotice) -> str:
    """Returns the time, the bucket and the ids: `2026-03-01 15:00+00:00 updatedTask task 123 lead 456`."""
    from .output import cell

    noun = notice.kind if notice.kind in ("task", "appointment") else "entry"
    numbers = ((noun, notice.task_id), ("lead", notice.lead_id))
    ids = [f"{kind} {number}" for kind, number in numbers if number is not None]
    return " ".join([cell(notice.at) or "-", cell(notice.bucket), *(ids or [str(notice.kind)])])


def notice_json(notice: WebhookNotice, output: OutputOptions) -> str:
    """Returns one line with all fields; `raw` is null if JSON cannot represent it, such as NaN."""

    def shown(number: int | None) -> int | str | None:
        return str(number) if output.string_ids and number is not None else number

    plain: dict[str, Any] = {
        "bucket": notice.bucket,
        "kind": notice.kind,
        "task_id": shown(notice.task_id),
        "lead_id": shown(notice.lead_id),
        "at": notice.at and notice.at.isoformat(),
        "raw": notice.raw,
    }
    try:
        return json.dumps(plain, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(plain | {"raw": None}, allow_nan=False)
