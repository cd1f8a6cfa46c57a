"""The commands on the calendar's entries and its free slots."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lofty_async.models import AssignedRole, EntryType, TaskType

from .options import (
    LEAD_ID,
    STDOUT,
    STDOUT_NAMES,
    FilePath,
    OutputOptions,
    ServerOptions,
    TimeRange,
    choice_of,
    entry_id,
    examples,
    given,
    list_options,
    record_options,
    server_or_sandbox_options,
    time_range_options,
    time_zone_option,
)
from .times import Zone, later, midnight, parse_day, parse_end, parse_start, zone_named

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WEEK: Final = timedelta(7)
LAST_SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
CALENDAR_NAME: Final = "Lofty"


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
    help="The week of DATE, of today by default, as a grid.",
)
@click.option("--lead", "lead_id", type=LEAD_ID, metavar="ID", help="Only entries of this lead.")
@click.option("--include-finished", is_flag=True, help="Include finished entries.")
@click.option("--ics", type=FilePath(), metavar="FILE", help="Write an iCalendar file, - for standard output.")
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
    from .output import CALENDAR_ENTRIES, show_records
    from .run import collect
    from .week import draw_week

    zone = times.zone
    monday = None if week is None else _monday(week, times)
    if ics is not None and (output.as_json or output.as_csv or output.path):
        raise click.UsageError("--ics excludes --json, --csv and --output")
    if ics is not None:
        _check_extra()
    filters = _range(times, monday) | given(lead_id=lead_id, include_finished=include_finished)
    entries = collect(server, limit, lambda lofty: lofty.calendar.list(**filters))
    if ics is not None:
        _write_ics(entries, ics)
        return

    def draw(entries: Sequence[Any], zone: Zone) -> None:
        draw_week(entries, zone, monday or zone.now().date())

    show_records(entries, CALENDAR_ENTRIES, output, zone, draw=None if monday is None else draw)


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

    target = STDOUT if str(path) in STDOUT_NAMES else path
    write(to_ical(entries, name=CALENDAR_NAME), OutputOptions(path=target))
    if target != STDOUT:
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
@click.option("--lead", "lead_id", type=LEAD_ID, required=True, metavar="ID", help="The lead that it is about.")
@click.option("--content", required=True, metavar="TEXT", help="What it is about.")
@click.option("--start", metavar="TIME", help="When it begins.")
@click.option("--end", metavar="TIME", help="When it ends.")
@click.option("--all-day", metavar="DATE", help="From midnight to midnight, in place of --start and --end.")
@click.option(
    "--type",
    "kind",
    type=choice_of(EntryType),
    default=EntryType.APPOINTMENT.value,
    show_default=True,
    help="Kind of entry.",
)
@click.option("--way", type=choice_of(TaskType), help="What is to be done; needed for a task.")
@click.option("--role", type=choice_of(AssignedRole), help="Role that it is assigned to. Default for a task: Agent.")
@click.option("--address", metavar="TEXT", help="Where it takes place; for appointments.")
@time_zone_option
@record_options
@server_or_sandbox_options
def create(
    *,
    lead_id: int,
    content: str,
    start: str | None,
    end: str | None,
    all_day: str | None,
    kind: str,
    way: str | None,
    role: str | None,
    address: str | None,
    time_zone: str | None,
    output: OutputOptions,
    server: ServerOptions,
) -> None:
    """Create an appointment or a task and print its id; both times must be later than now.

    The request is never sent twice. If its response is lost, the exit code is 3 and the entry may exist: look before
    you create it again.
    """
    from .writes import created

    zone = zone_named(time_zone)
    if zone.name is None:
        raise click.UsageError("this machine's time zone has no IANA name: pass --time-zone")
    if kind == EntryType.TASK and way is None:
        raise click.UsageError("--type task needs --way")
    first, last = _both_ends(start, end, all_day, zone)
    values = given(task_way=way, assigned_role=role, address=address)
    created(
        server,
        output,
        lambda lofty: lofty.calendar.create(
            type=kind,
            lead_id=lead_id,
            content=content,
            time_zone=zone.name or "",
            start_at=first,
            end_at=last,
            **values,
        ),
        f"lofty-async calendar --lead {lead_id} --start {first.date()} --end {last.date()} --time-zone {zone.name}",
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


@calendar.command(
    epilog=examples(
        "lofty-async calendar update 731000000000001-appointment --start 'tomorrow 16:00' --end 'tomorrow 17:00'",
        "lofty-async calendar update 731000000000001-task --content 'Ring Ann about the viewing'",
    )
)
@click.argument("id", type=entry_id, metavar="ID")
@click.option("--content", metavar="TEXT", help="What it is about.")
@click.option("--start", metavar="TIME", help="When it begins.")
@click.option("--end", metavar="TIME", help="When it ends.")
@click.option("--lead", "lead_id", type=LEAD_ID, metavar="ID", help="The lead that it is about.")
@click.option("--address", metavar="TEXT", help="Where it takes place; for appointments.")
@time_zone_option
@server_or_sandbox_options
def update(
    *,
    id: str,
    content: str | None,
    start: str | None,
    end: str | None,
    lead_id: int | None,
    address: str | None,
    time_zone: str | None,
    server: ServerOptions,
) -> None:
    """Change the given fields of an entry and leave the others alone."""
    from .writes import change_each

    zone = zone_named(time_zone)
    times = given(start_at=parse_start(start, zone), end_at=parse_end(end, zone))
    values: dict[str, Any] = given(content=content, lead_id=lead_id, address=address) | times
    if not values:
        raise click.UsageError("nothing to update: pass --content, --start, --end, --lead or --address")
    values |= given(time_zone=zone.name if times else None)
    change_each(server, [id], lambda lofty, one: lofty.calendar.update(one, **values), "updated")


@calendar.command(epilog=examples("lofty-async calendar finish 731000000000001-task 731000000000002-appointment"))
@click.argument("ids", type=entry_id, metavar="ID...", nargs=-1, required=True)
@server_or_sandbox_options
def finish(*, ids: tuple[str, ...], server: ServerOptions) -> None:
    """Mark entries as finished."""
    from .writes import change_each

    change_each(server, ids, lambda lofty, one: lofty.calendar.finish(one), "finished")


@calendar.command(epilog=examples("lofty-async calendar unfinish 731000000000001-task"))
@click.argument("ids", type=entry_id, metavar="ID...", nargs=-1, required=True)
@server_or_sandbox_options
def unfinish(*, ids: tuple[str, ...], server: ServerOptions) -> None:
    """Mark entries as open again."""
    from .writes import change_each

    change_each(server, ids, lambda lofty, one: lofty.calendar.unfinish(one), "open again")


@calendar.command(epilog=examples("lofty-async calendar delete --yes 731000000000001-appointment"))
@click.argument("ids", type=entry_id, metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; without a terminal nothing is asked.")
@server_or_sandbox_options
def delete(*, ids: tuple[str, ...], yes: bool, server: ServerOptions) -> None:
    """Delete entries; on a terminal, asks first."""
    from .writes import change_each, confirm_deletion

    confirm_deletion(ids, "entry", is_confirmed=yes)
    change_each(server, ids, lambda lofty, one: lofty.calendar.delete(one), "deleted")


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
    from .output import MEETING_SLOTS, is_terminal, show_records
    from .run import collect
    from .week import draw_slots

    zone, filters = times.zone, times.parsed()
    if "start" not in filters:
        filters["start"] = zone.now().replace(minute=0, second=0, microsecond=0) + HOUR
    if "end" not in filters:
        filters["end"] = later(filters["start"], WEEK, "--start")
    records = collect(server, limit, lambda lofty: lofty.calendar.slots(**filters))
    show_records(records, MEETING_SLOTS, output, zone, draw=draw_slots if is_terminal() else None)
