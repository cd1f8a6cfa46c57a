"""The commands that list the calendar's entries and its free slots."""

import click

from .options import (
    LEAD_ID,
    OutputOptions,
    ServerOptions,
    TimeRange,
    given,
    limit_option,
    output_options,
    server_or_sandbox_options,
    time_range_options,
)


@click.command()
@time_range_options
@click.option("--lead", "lead_id", type=LEAD_ID, metavar="ID", help="Only entries of this lead.")
@click.option("--include-finished", is_flag=True, help="Include finished entries.")
@limit_option
@output_options
@server_or_sandbox_options
def calendar(
    *,
    times: TimeRange,
    lead_id: int | None,
    include_finished: bool,
    limit: int | None,
    output: OutputOptions,
    server: ServerOptions,
) -> None:
    """List tasks and appointments; pass --start, --end or both.

    Dates, and times without an offset, are read in --time-zone.
    """
    from .output import CALENDAR_ENTRIES, show_records
    from .run import collect

    filters = times.parsed() | given(lead_id=lead_id, include_finished=include_finished)
    show_records(collect(server, limit, lambda lofty: lofty.calendar.list(**filters)), CALENDAR_ENTRIES, output)


@click.command()
@time_range_options
@limit_option
@output_options
@server_or_sandbox_options
def slots(*, times: TimeRange, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """List free times for a meeting; pass --start and --end.

    Dates, and times without an offset, are read in --time-zone.
    """
    from .output import MEETING_SLOTS, show_records
    from .run import collect

    filters = times.parsed()
    if not {"start", "end"} <= filters.keys():
        raise click.UsageError("slots needs --start and --end")
    show_records(collect(server, limit, lambda lofty: lofty.calendar.slots(**filters)), MEETING_SLOTS, output)
