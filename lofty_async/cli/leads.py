"""The command that lists leads."""

from typing import Any, Final, get_type_hints

import click

from lofty_async.endpoints import LeadFilters

from .options import (
    OutputOptions,
    RecordId,
    ServerOptions,
    examples,
    given,
    list_options,
    server_or_sandbox_options,
)
from .times import MAX_SHOWN

MAX_PAGE: Final = 100
FLAGS: Final = {"true": True, "false": False}


@click.group(epilog=examples("lofty-async leads list --stage Hot", "lofty-async leads list --search ann --csv"))
def leads() -> None:
    """List leads."""


def lead_filter(text: str) -> tuple[str, Any]:
    """Returns the filter that `NAME=VALUE` names, and its value, of the filter's type.

    Raises: click.UsageError that names the filter, or those that there are.
    """
    name, equals, value = text.partition("=")
    kinds = get_type_hints(LeadFilters)
    name = name.strip().replace("-", "_")
    if not equals or name not in kinds:
        known = ", ".join(sorted(kinds))
        raise click.UsageError(f"--filter must be NAME=VALUE with one of {known}, not {text[:MAX_SHOWN]!r}")
    if kinds[name] is bool:
        if value.lower() not in FLAGS:
            raise click.UsageError(f"--filter {name} must be true or false, not {value[:MAX_SHOWN]!r}")
        return name, FLAGS[value.lower()]
    if kinds[name] is int:
        if not (value.isascii() and value.isdigit()):
            raise click.UsageError(f"--filter {name} must be a number, not {value[:MAX_SHOWN]!r}")
        return name, int(value[:MAX_SHOWN])
    return name, value


@leads.command(
    "list",
    epilog=examples(
        "lofty-async leads list --stage Hot --limit 20",
        "lofty-async leads list --search ann --json",
        "lofty-async leads list --filter contacted=false --csv --output leads.csv",
        "lofty-async leads list | cut -f 1 | lofty-async sync --leads-file -",
    ),
)
@click.option("--search", "key", metavar="TEXT", help="Only leads with this text in name, phone or e-mail address.")
@click.option("--stage", metavar="NAME", help="Only leads of this stage.")
@click.option("--source", metavar="NAME", help="Only leads from this source.")
@click.option("--tag", "any_tags", metavar="NAME", help="Only leads with this tag.")
@click.option(
    "--assigned-user", "assigned_user_id", type=RecordId("user"), metavar="ID", help="Only leads of this user."
)
@click.option("--sort", metavar="ORDER", help="Order, such as CreateTime, LastContact, LastActivity or Score.")
@click.option("--desc", is_flag=True, help="Reverse the order.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    type=lead_filter,
    metavar="NAME=VALUE",
    help="Any other filter of the API, such as contacted=false; repeatable.",
)
@list_options
@server_or_sandbox_options
def list_(
    *,
    filters: tuple[tuple[str, Any], ...],
    desc: bool,
    limit: int | None,
    output: OutputOptions,
    server: ServerOptions,
    **named: Any,
) -> None:
    """List the leads that you may see. Several filters are combined with "and"."""
    from .client import ask
    from .output import LEADS, show_records

    wanted: Any = dict(filters) | given(**named, desc=desc or None)
    # A short list takes a short page.
    page_size = min(limit or MAX_PAGE, MAX_PAGE)
    records = ask(server, lambda lofty: lofty.leads.list(page_size=page_size, **wanted).collect(limit=limit))
    show_records(records, LEADS, output)
