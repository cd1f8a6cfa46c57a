"""The commands that show what the API has."""

import click

from .options import LEAD_ID, Form, Period, Target, formed, limited, ranged, targeted, zoned


@click.group()
def tasks() -> None:
    """Show tasks."""


@tasks.command()
@zoned
@limited
@formed
@targeted
def mine(*, time_zone: str | None, limit: int | None, form: Form, target: Target) -> None:
    """Your own tasks, newest start first."""
    from .show import my_tasks  # noqa: PLC0415 - keeps `--help` fast

    my_tasks(target, form, limit, time_zone)


@tasks.command("list")
@click.argument("lead_id", type=LEAD_ID, metavar="LEAD")
@limited
@formed
@targeted
def list_(*, lead_id: int, limit: int | None, form: Form, target: Target) -> None:
    """All tasks of the lead with the id LEAD."""
    from .show import tasks_of  # noqa: PLC0415 - keeps `--help` fast

    tasks_of(lead_id, target, form, limit)


@click.command()
@ranged
@click.option("--lead", "lead_id", type=LEAD_ID, metavar="ID", help="Of this lead alone.")
@click.option("--include-finished", is_flag=True, help="Finished ones too.")
@limited
@formed
@targeted
def calendar(
    *,
    period: Period,
    lead_id: int | None,
    include_finished: bool,
    limit: int | None,
    form: Form,
    target: Target,
) -> None:
    """Show tasks and appointments; give --start, --end or both.

    Dates, and times without an offset, are read in --time-zone.
    """
    from .show import entries  # noqa: PLC0415 - keeps `--help` fast

    entries(period, target, form, limit, lead_id=lead_id, include_finished=include_finished)


@click.command()
@ranged
@limited
@formed
@targeted
def slots(*, period: Period, limit: int | None, form: Form, target: Target) -> None:
    """Show when a meeting can be held; give --start and --end.

    Dates, and times without an offset, are read in --time-zone.
    """
    from .show import free_slots  # noqa: PLC0415 - keeps `--help` fast

    free_slots(period, target, form, limit)


@click.command()
@formed
@targeted
def whoami(*, form: Form, target: Target) -> None:
    """Show whose credential is in use."""
    from .show import user  # noqa: PLC0415 - keeps `--help` fast

    user(target, form)
