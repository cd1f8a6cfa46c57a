"""The commands that list tasks."""

import click

from .options import (
    LEAD_ID,
    OutputOptions,
    ServerOptions,
    given,
    limit_option,
    output_options,
    parse_time_zone,
    server_or_sandbox_options,
    time_zone_option,
)


@click.group()
def tasks() -> None:
    """List tasks."""


@tasks.command()
@time_zone_option
@limit_option
@output_options
@server_or_sandbox_options
def mine(*, time_zone: str | None, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """Your own tasks, newest start first."""
    from .output import MY_TASKS, show_records
    from .run import collect

    parse_time_zone(time_zone)
    records = collect(server, limit, lambda lofty: lofty.tasks.mine(**given(time_zone=time_zone)))
    show_records(records, MY_TASKS, output)


@tasks.command("list")
@click.argument("lead_id", type=LEAD_ID, metavar="LEAD")
@limit_option
@output_options
@server_or_sandbox_options
def list_(*, lead_id: int, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """All tasks of the lead with the id LEAD."""
    from .output import LEAD_TASKS, show_records
    from .run import collect

    show_records(collect(server, limit, lambda lofty: lofty.tasks.list(lead_id)), LEAD_TASKS, output)
