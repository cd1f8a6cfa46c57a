"""The commands on tasks."""

from typing import Any

import click

from lofty_async.models import AssignedRole, TaskType

from .options import (
    LEAD_ID,
    OutputOptions,
    RecordId,
    ServerOptions,
    choice_of,
    examples,
    given,
    list_options,
    record_options,
    server_or_sandbox_options,
    time_zone_option,
)
from .times import parse_end, parse_start, zone_named

TASK_ID = RecordId("task")


@click.group(
    epilog=examples(
        "lofty-async tasks mine",
        "lofty-async tasks create --lead 563000000000000 --type call --content 'Ring Ann' --end 'tomorrow 15:00'",
        "lofty-async tasks finish 731000000000001 731000000000002",
    )
)
def tasks() -> None:
    """List and change tasks."""


@tasks.command(
    epilog=examples(
        "lofty-async tasks mine --limit 20",
        "lofty-async tasks mine --csv --output tasks.csv",
        "lofty-async tasks mine --json | jq -r '.[] | select(.overdue) | .content'",
    )
)
@time_zone_option
@list_options
@server_or_sandbox_options
def mine(*, time_zone: str | None, limit: int | None, output: OutputOptions, server: ServerOptions) -> None:
    """List your own tasks, newest start first."""
    from .output import MY_TASKS, show_records
    from .run import collect

    zone = zone_named(time_zone)
    records = collect(server, limit, lambda lofty: lofty.tasks.mine(**given(time_zone=time_zone)))
    show_records(records, MY_TASKS, output, zone)


@tasks.command(
    "list",
    epilog=examples(
        "lofty-async tasks list 563000000000000",
        "lofty-async tasks list 563000000000000 --json --string-ids",
    ),
)
@click.argument("lead_id", type=LEAD_ID, metavar="LEAD")
@time_zone_option
@list_options
@server_or_sandbox_options
def list_(
    *, lead_id: int, time_zone: str | None, limit: int | None, output: OutputOptions, server: ServerOptions
) -> None:
    """List all tasks and appointments of the lead with the id LEAD."""
    from .output import LEAD_TASKS, show_records
    from .run import collect

    zone = zone_named(time_zone)
    show_records(collect(server, limit, lambda lofty: lofty.tasks.list(lead_id)), LEAD_TASKS, output, zone)


@tasks.command(epilog=examples("lofty-async tasks get 731000000000001", "lofty-async tasks get 731000000000001 --json"))
@click.argument("id", type=TASK_ID, metavar="ID")
@time_zone_option
@record_options
@server_or_sandbox_options
def get(*, id: int, time_zone: str | None, output: OutputOptions, server: ServerOptions) -> None:
    """Show all fields of a task or appointment."""
    from .output import show_record
    from .run import ask

    zone = zone_named(time_zone)
    show_record(ask(server, lambda lofty: lofty.tasks.get(id)), output, zone)


@tasks.command(
    epilog=examples(
        "lofty-async tasks create --lead 563000000000000 --type call --content 'Ring Ann' --end 'tomorrow 15:00'",
        "lofty-async tasks create --lead 563000000000000 --content 'Send plans' --end 2026-03-02 --verify",
    )
)
@click.option("--lead", "lead_id", type=LEAD_ID, required=True, metavar="ID", help="The lead that it is about.")
@click.option("--content", required=True, metavar="TEXT", help="What is to be done.")
@click.option("--end", required=True, metavar="TIME", help="The deadline; a date means the end of that day.")
@click.option("--start", metavar="TIME", help="When it begins.")
@click.option(
    "--type", "kind", type=choice_of(TaskType), default=TaskType.OTHER.value, show_default=True, help="Kind of task."
)
@click.option(
    "--role",
    type=choice_of(AssignedRole),
    default=AssignedRole.AGENT.value,
    show_default=True,
    help="Role that it is assigned to.",
)
@click.option("--address", metavar="TEXT", help="Where it takes place.")
@click.option("--verify", is_flag=True, help="If the response is lost, look whether the task exists.")
@time_zone_option
@record_options
@server_or_sandbox_options
def create(
    *,
    lead_id: int,
    content: str,
    end: str,
    start: str | None,
    kind: str,
    role: str,
    address: str | None,
    verify: bool,
    time_zone: str | None,
    output: OutputOptions,
    server: ServerOptions,
) -> None:
    """Create a task and print its id.

    The request is never sent twice. If its response is lost, the exit code is 3 and the task may exist: look before
    you create it again.
    """
    from .writes import created

    zone = zone_named(time_zone)
    values = given(start_at=parse_start(start, zone), end_at=parse_end(end, zone), time_zone=zone.name, address=address)
    created(
        server,
        output,
        lambda lofty: lofty.tasks.create(
            lead_id=lead_id, content=content, type=kind, assigned_role=role, verify=verify, **values
        ),
        f"lofty-async tasks list {lead_id}",
    )


@tasks.command(
    epilog=examples(
        "lofty-async tasks update 731000000000001 --end 'tomorrow 17:00'",
        "lofty-async tasks update 731000000000001 --content 'Ring Ann about the viewing'",
    )
)
@click.argument("id", type=TASK_ID, metavar="ID")
@click.option("--content", metavar="TEXT", help="What is to be done.")
@click.option("--start", metavar="TIME", help="When it begins.")
@click.option("--end", metavar="TIME", help="The deadline; a date means the end of that day.")
@click.option("--address", metavar="TEXT", help="Where it takes place.")
@time_zone_option
@server_or_sandbox_options
def update(
    *,
    id: int,
    content: str | None,
    start: str | None,
    end: str | None,
    address: str | None,
    time_zone: str | None,
    server: ServerOptions,
) -> None:
    """Change the given fields of a task and leave the others alone."""
    from .writes import change_each

    zone = zone_named(time_zone)
    times = given(start_at=parse_start(start, zone), end_at=parse_end(end, zone))
    values: dict[str, Any] = given(content=content, address=address) | times
    if not values:
        raise click.UsageError("nothing to update: pass --content, --start, --end or --address")
    values |= given(time_zone=zone.name if times else None)
    change_each(server, [id], lambda lofty, one: lofty.tasks.update(one, **values), "updated")


@tasks.command(epilog=examples("lofty-async tasks finish 731000000000001 731000000000002"))
@click.argument("ids", type=TASK_ID, metavar="ID...", nargs=-1, required=True)
@server_or_sandbox_options
def finish(*, ids: tuple[int, ...], server: ServerOptions) -> None:
    """Mark tasks as finished."""
    from .writes import change_each

    change_each(server, ids, lambda lofty, one: lofty.tasks.finish(one), "finished")


@tasks.command(epilog=examples("lofty-async tasks unfinish 731000000000001"))
@click.argument("ids", type=TASK_ID, metavar="ID...", nargs=-1, required=True)
@server_or_sandbox_options
def unfinish(*, ids: tuple[int, ...], server: ServerOptions) -> None:
    """Mark tasks as open again."""
    from .writes import change_each

    change_each(server, ids, lambda lofty, one: lofty.tasks.unfinish(one), "open again")


@tasks.command(
    epilog=examples("lofty-async tasks delete 731000000000001", "lofty-async tasks delete --yes 731000000000001")
)
@click.argument("ids", type=TASK_ID, metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; without a terminal nothing is asked.")
@server_or_sandbox_options
def delete(*, ids: tuple[int, ...], yes: bool, server: ServerOptions) -> None:
    """Delete tasks; on a terminal, asks first."""
    from .writes import change_each, confirm_deletion

    confirm_deletion(ids, "task", is_confirmed=yes)
    change_each(server, ids, lambda lofty, one: lofty.tasks.delete(one), "deleted")
