"""The commands on tasks; those that change one, but for `create`, are declared in `writes`."""

from operator import attrgetter
from typing import Any, Final

import click

from lofty_async.models import AssignedRole, TaskType

from .options import (
    LEAD_ID,
    OutputOptions,
    RecordId,
    ServerOptions,
    address_option,
    choice_of,
    content_option,
    end_option,
    examples,
    given,
    lead_option,
    list_options,
    record_options,
    role_option,
    server_or_sandbox_options,
    start_option,
    time_zone_option,
)
from .times import parse_end, parse_start, zone_named
from .writes import Records, add_delete, add_finish, add_update, created

TASK: Final = Records("task", "tasks", attrgetter("tasks"), RecordId("task"), "731000000000001")
CONTENT: Final = "What is to be done."
DEADLINE: Final = "The deadline; a date means the end of that day."


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
    from .client import ask
    from .output import MY_TASKS, show_records

    zone, options = zone_named(time_zone), given(time_zone=time_zone)
    records = ask(server, lambda lofty: lofty.tasks.mine(**options).collect(limit=limit))
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
    from .client import ask
    from .output import LEAD_TASKS, show_records

    zone = zone_named(time_zone)
    records = ask(server, lambda lofty: lofty.tasks.list(lead_id).collect(limit=limit))
    show_records(records, LEAD_TASKS, output, zone)


@tasks.command(epilog=examples("lofty-async tasks get 731000000000001", "lofty-async tasks get 731000000000001 --json"))
@click.argument("id", type=TASK.id_type, metavar="ID")
@time_zone_option
@record_options
@server_or_sandbox_options
def get(*, id: int, time_zone: str | None, output: OutputOptions, server: ServerOptions) -> None:
    """Show all fields of a task or appointment."""
    from .client import ask
    from .output import show_record

    zone = zone_named(time_zone)
    show_record(ask(server, lambda lofty: lofty.tasks.get(id)), output, zone)


@tasks.command(
    epilog=examples(
        "lofty-async tasks create --lead 563000000000000 --type call --content 'Ring Ann' --end 'tomorrow 15:00'",
        "lofty-async tasks create --lead 563000000000000 --content 'Send plans' --end 2026-03-02 --verify",
    )
)
@lead_option(required=True)
@content_option(required=True, help=CONTENT)
@end_option(required=True, help=DEADLINE)
@start_option()
@click.option("--type", type=choice_of(TaskType), default=TaskType.OTHER.value, show_default=True, help="Kind of task.")
@role_option(default=AssignedRole.AGENT.value)
@address_option()
@click.option("--verify", is_flag=True, help="If the response is lost, look whether the task exists.")
@time_zone_option
@record_options
@server_or_sandbox_options
def create(
    *,
    start_at: str | None,
    end_at: str,
    time_zone: str | None,
    output: OutputOptions,
    server: ServerOptions,
    **fields: Any,
) -> None:
    """Create a task and print its id.

    The request is never sent twice. If its response is lost, the exit code is 3 and the task may exist: look before
    you create it again.
    """
    zone = zone_named(time_zone)
    times = given(start_at=parse_start(start_at, zone), end_at=parse_end(end_at, zone), time_zone=zone.name)
    created(
        server,
        output,
        lambda lofty: lofty.tasks.create(**given(**fields), **times),
        look=f"lofty-async tasks list {fields['lead_id']}",
    )


add_update(tasks, TASK, content_option(help=CONTENT), start_option(), end_option(help=DEADLINE), address_option())
add_finish(tasks, TASK, "finish", "finished")
add_finish(tasks, TASK, "unfinish", "open again")
add_delete(tasks, TASK)
