"""The commands on webhooks."""

import click

from .options import Form, Target, addressed, formed, limited, targeted

PERMISSION_MODES = ("assignment", "ownership")


@click.group()
def webhooks() -> None:
    """Subscribe to what happens in Lofty, and watch it arrive."""


@webhooks.command("list")
@click.option("--show-urls", is_flag=True, help="Show callback URLs in full; whoever knows one can post to it.")
@limited
@formed
@targeted
def list_(*, show_urls: bool, limit: int | None, form: Form, target: Target) -> None:
    """The application's subscriptions; the secret parts of callback URLs are masked."""
    from .subscriptions import show  # noqa: PLC0415 - keeps `--help` fast

    show(target, form, limit, show_urls=show_urls)


@webhooks.command()
@click.argument("event", metavar="EVENT")
@click.argument("callback_url", metavar="URL")
@click.option("--limit", type=click.IntRange(1, 5000), default=100, show_default=True, help="Records a delivery.")
@click.option(
    "--permission-mode",
    type=click.Choice(PERMISSION_MODES),
    default=PERMISSION_MODES[0],
    show_default=True,
    help="Leads by who is assigned to them, or by who owns them.",
)
@formed
@targeted
def ensure(*, event: str, callback_url: str, limit: int, permission_mode: str, form: Form, target: Target) -> None:
    """Subscribe the callback URL to EVENT, unless it is already.

    EVENT is a number from 1 to 12 or a name: agent, lead, lead-activity, listing-alert, transaction, call,
    email, text, note, task, appointment, pipeline. URL is an HTTPS address; a server on this machine, as a
    sandbox is, may take http:// too. Prints the subscription's id, and whether it existed or was created; one
    that existed is left as it is.
    """
    from .subscriptions import ensure as subscribe  # noqa: PLC0415 - keeps `--help` fast

    subscribe(event, callback_url, target, form, limit=limit, permission_mode=permission_mode)


@webhooks.command()
@click.argument("id", type=click.IntRange(min=1), metavar="ID")
@addressed
def delete(*, id: int, target: Target) -> None:
    """End the subscription with this id."""
    from .subscriptions import delete as unsubscribe  # noqa: PLC0415 - keeps `--help` fast

    unsubscribe(id, target)


@webhooks.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where to listen; 0 for any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--secret",
    envvar="LOFTY_WEBHOOK_SECRET",
    metavar="TEXT",
    help="The path's last segment, which should have 16 characters or more; better given as LOFTY_WEBHOOK_SECRET, "
    "since others can see arguments. Without it one is made up and printed.",
)
@formed
def listen(*, port: int, host: str, secret: str | None, form: Form) -> None:
    """Print webhooks as they arrive, a line each, to try them out.

    Serves plain HTTP: Lofty posts to HTTPS addresses only, so a tunnel or a proxy has to stand in front. The path
    to subscribe is said on stderr. With --json each line is one JSON object. SIGINT, SIGTERM and SIGHUP end it once
    all that was accepted is printed; the exit code is then 0. What nobody has read after five seconds is counted on
    stderr, and the exit code is 1. A second signal ends it at once.
    """
    from .listen import listen as serve  # noqa: PLC0415 - keeps `--help` fast

    serve(host, port, secret, form)
