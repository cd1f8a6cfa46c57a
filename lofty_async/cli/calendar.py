"""The commands on the calendar's entries and its free slots; those that change one are declared in `writes`."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lofty_async.models import EntryType, TaskType

from .options import (
    LEAD_ID,
    STDOUT,
    OutputOptions,
    OutputPath,
    ServerOptions,
    TimeRange,
    address_option,
    choice_of,
    content_option,
    end_option,
    entry_id,
    examples,
    given,
    lead_option,
    list_options,
    record_options,
    role_option,
    server_or_sandbox_options,
    start_option,
    time_range_options,
    time_zone_option,
)
from .times import Zone, later, midnight, parse_day, parse_end, parse_start, zone_named
from .writes import Records, add_delete, add_finish, add_update, created

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WEEK: Final = timedelta(7)
LAST_SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
CALENDAR_NAME: Final = "Lofty"
ENTRY: Final = Records("entry", "entries", attrgetter("calendar"), entry_id, "731000000000001-task")
ADDRESS: Final = "Where it takes place; for appointments."


class ListByDefault(click.Group):
    """A group that is its command `list` too: `calendar --week` is `calendar list --week`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_help = bool(args) and args[0] in ctx.help_option_names
        if not is_help and not ctx.resilient_parsing and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            found += self.commands["list"].shell_complete(ctx, incomplete)
        return found


@click.group(
    cls=ListByDefault,
    epilog=examples(
        "lofty-async calendar --week",
        "lofty-async calendar --start today --end tomorrow",
        "lofty-async calendar create --lead 563000000000000 --content Viewing "
        "--start 'tomorrow 15:00' --end 'tomorrow 16:00'",
        "lofty-async calendar finish 731000000000001-task",
    ),
)
def calendar() -> None:
    """List and change tasks and appointments.

    Without a command, `list` is meant. The ID of an entry is as lists show it, such as 12345-task.
    """


@calendar.command(
    "list",
    epilog=examples(
        "lofty-async calendar list",
        "lofty-async calendar list --week",
        "lofty-async calendar list --week 2026-03-02 --time-zone America/Los_Angeles",
        "lofty-async calendar list --start 2026-03-01 --end 2026-03-31 --csv --output march.csv",
        "lofty-async calendar list --start today --end 2026-12-31 --ics lofty.ics",
    ),
)
@time_range_options
@click.option(
    "--week",
    is_flag=False,
    flag_value="today",
    metavar="[DATE]",
    help="The week of DATE, of today by default; on a terminal, a grid.",
)
@click.option("--lead", "lead_id", type=LEAD_ID, metavar="ID", help="Only entries of this lead.")
@click.option("--include-finished", is_flag=True, help="Include finished entries.")
@click.option("--ics", type=OutputPath(), metavar="FILE", help="Write an iCalendar file, - for standard output.")
@list_options
@server_or_sandbox_options
def list_(
    *,
    times: TimeRange,
    week: str | None,
    lead_id: int | None,
    include_finished: bool,
    ics: Path | None,
    limit: int | None,
    output: OutputOptions,
    server: ServerOptions,
) -> None:
    """List tasks and appointments in order of time.

    Those of the next seven days, unless told otherwise. Times are shown in the zone of --time-zone.
    """
    from .client import ask
    from .output import CALENDAR_ENTRIES, show_records
    from .week import draw_week

    zone = times.zone
    monday = None if week is None else _monday(week, times)
    if ics is not None and (output.as_json or output.as_csv or output.path):
        raise click.UsageError("--ics excludes --json, --csv and --output")
    if ics is not None:
        _check_extra()
    filters = _range(times, monday) | given(lead_id=lead_id, include_finished=include_finished)
    entries = ask(server, lambda lofty: lofty.calendar.list(**filters).collect(limit=limit))
    if ics is None:
        draw = None if monday is None else partial(draw_week, monday=monday)
        show_records(entries, CALENDAR_ENTRIES, output, zone, draw=draw)
    else:
        _write_ics(entries, ics)


def _monday(week: str, times: TimeRange) -> date:
    if times.start is not None or times.end is not None:
        raise click.UsageError("--week excludes --start and --end")
    day = parse_day(week, times.zone, "--week")
    later(day, WEEK, "--week")
    return day - timedelta(day.weekday())


def _range(times: TimeRange, monday: date | None) -> dict[str, Any]:
    """Returns the range that was given, else that week, else seven days from today on."""
    filters = times.parsed()
    if "start" in filters or "end" in filters:
        return filters
    zone = times.zone
    first = monday or zone.now().date()
    end = midnight(first + WEEK, zone) - LAST_SECOND
    return filters | {"start": midnight(first, zone), "end": end}


def _check_extra() -> None:
    """Looks for the extra of iCalendar files, before anything is sent.

    Raises: StartupError if it is missing.
    """
    from lofty_async.ical import to_ical

    from .run import StartupError

    try:
        to_ical([])
    except ModuleNotFoundError as error:
        raise StartupError('--ics needs icalendar: pip install "lofty-async[ical]"') from error


def _write_ics(entries: Sequence[Any], path: Path) -> None:
    from lofty_async.ical import to_ical

    from .output import print_note, write

    write(to_ical(entries, name=CALENDAR_NAME), path)
    if path != STDOUT:
        print_note(f"{path}: {len(entries):,} entr{'y' if len(entries) == 1 else 'ies'}")


@calendar.command(
    epilog=examples(
        "lofty-async calendar create --lead 563000000000000 --content Viewing "
        "--start 'tomorrow 15:00' --end 'tomorrow 16:00'",
        "lofty-async calendar create --lead 563000000000000 --content 'Open house' --all-day 2026-03-07",
        "lofty-async calendar create --type task --way call --lead 563000000000000 --content 'Ring Ann' "
        "--start 'tomorrow 9:00' --end 'tomorrow 9:15'",
    )
)
@lead_option(required=True)
@content_option(required=True)
@start_option()
@end_option()
@click.option("--all-day", metavar="DATE", help="From midnight to midnight, in place of --start and --end.")
@click.option(
    "--type",
    type=choice_of(EntryType),
    default=EntryType.APPOINTMENT.value,
    show_default=True,
    help="Kind of entry.",
)
@click.option("--way", "task_way", type=choice_of(TaskType), help="What is to be done; needed for a task.")
@role_option(help="Role that it is assigned to. Default for a task: Agent.")
@address_option(help=ADDRESS)
@time_zone_option
@record_options
@server_or_sandbox_options
def create(
    *,
    start_at: str | None,
    end_at: str | None,
    all_day: str | None,
    time_zone: str | None,
    output: OutputOptions,
    server: ServerOptions,
    **fields: Any,
) -> None:
    """Create an appointment or a task and print its id.

    Both times must be later than now. The request is never sent twice. If its response is lost, the exit code is 3
    and the entry may exist: look before you create it again.
    """
    zone = zone_named(time_zone)
    if zone.name is None:
        raise click.UsageError("this machine's time zone has no IANA name: pass --time-zone")
    if fields["type"] == EntryType.TASK and fields["task_way"] is None:
        raise click.UsageError("--type task needs --way")
    first, last = _both_ends(start_at, end_at, all_day, zone)
    values: dict[str, Any] = given(**fields) | {"start_at": first, "end_at": last, "time_zone": zone.name}
    range_ = f"--start {first.date()} --end {last.date()} --time-zone {zone.name}"
    created(
        server,
        output,
        lambda lofty: lofty.calendar.create(**values),
        look=f"lofty-async calendar --lead {fields['lead_id']} {range_}",
    )


def _both_ends(start: str | None, end: str | None, all_day: str | None, zone: Zone) -> tuple[datetime, datetime]:
    if all_day is not None:
        if start is not None or end is not None:
            raise click.UsageError("--all-day excludes --start and --end")
        day = parse_day(all_day, zone, "--all-day")
        return midnight(day, zone), midnight(later(day, timedelta(1), "--all-day"), zone)
    first, last = parse_start(start, zone), parse_end(end, zone)
    if first is None or last is None:
        raise click.UsageError("pass --start and --end, or --all-day")
    return first, last


add_update(calendar, ENTRY, content_option(), start_option(), end_option(), lead_option(), address_option(help=ADDRESS))
add_finish(calendar, ENTRY, "finish", "finished")
add_finish(calendar, ENTRY, "unfinish", "open again")
add_delete(calendar, ENTRY)


@click.command(
    epilog=examples(
        "lofty-async slots",
        "lofty-async slots --start tomorrow --end tomorrow",
        "lofty-async slots --start 2026-03-02T09:00-08:00 --end 2026-03-06 --json",
    )
)
@time_range_options
@list_options
@server_or_sandbox_options
def slots(*, times: TimeRange, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """List free times for a meeting by day.

    From the next hour on and for seven days, unless told otherwise. --start must be later than now.
    """
    from .client import ask
    from .output import MEETING_SLOTS, show_records
    from .week import draw_slots

    zone, filters = times.zone, times.parsed()
    if "start" not in filters:
        filters["start"] = zone.now().replace(minute=0, second=0, microsecond=0) + HOUR
    if "end" not in filters:
        filters["end"] = later(filters["start"], WEEK, "--start")
    records = ask(server, lambda lofty: lofty.calendar.slots(**filters).collect(limit=limit))
    show_records(records, MEETING_SLOTS, output, zone, draw=draw_slots)
