"""The report of a sync, and the plan of one, as lines for people and as JSON for programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import click

from .database import DEFAULT_ACCOUNT, label_of
from .options import STDOUT

if TYPE_CHECKING:
    from lofty_async.mirror import StrategyPlan, SyncPlan, SyncReport


class Reporting(Protocol):
    """A run whose report can be read at any time."""

    @property
    def report(self) -> "SyncReport":
        """The run so far."""
        ...


class SyncOptions(NamedTuple):
    """The leads to read, and the places to write to; `jsonl` may be `STDOUT`."""

    db: Path | str | None
    jsonl: Path | None
    lead_ids: list[int] | None = None
    concurrency: int = 32
    strategy: str = "auto"
    fresh: bool = False
    allow_mass_delete: bool = False
    string_ids: bool = False
    as_json: bool = False
    account: str = DEFAULT_ACCOUNT


def print_report(report: "SyncReport", options: SyncOptions) -> None:
    """Prints the failed leads on stderr, and one line of JSON or a few of text.

    These go to stderr too if standard output receives the tasks.
    """
    from .output import print_note

    for failure in report.failed:
        print_note(f"lead {failure.lead_id}: {failure.error}")
    if options.as_json:
        text = json.dumps(report_object(report, string_ids=options.string_ids))
    else:
        text = "\n".join(report_lines(report, options))
    if options.jsonl == STDOUT:
        print_note(text)
    else:
        click.echo(text)


def report_object(report: "SyncReport", *, string_ids: bool) -> dict[str, Any]:
    """Returns the report for programs: `failed` is a count, `failures` names the leads."""
    from attrs import asdict

    plain = asdict(report)
    for name in ("total", "usable"):
        del plain[name]
    failures = [
        failure | {"lead_id": str(failure["lead_id"])} if string_ids else failure for failure in plain.pop("failed")
    ]
    oldest = None if report.oldest_proof is None else report.oldest_proof.isoformat()
    return plain | {"failed": len(report.failed), "failures": failures, "oldest_proof": oldest}


def report_lines(report: "SyncReport", options: SyncOptions) -> list[str]:
    """Returns the report for people: what was read, what was written, what is proven, what it took."""
    lines = [_read_line(report)]
    if options.db is not None:
        changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed"
        hint = "; the next sync goes on from here" if not report.complete and _has_read(report) else ""
        lines.append(f"{label_of(options.db)}: {changes}{hint}")
    if report.oldest_proof is not None:
        lines.append(
            f"{report.proven:,} of {count(report.proven + report.unproven, 'task')} confirmed by reading their lead,"
            f" the oldest at {report.oldest_proof:%Y-%m-%d %H:%M} UTC"
        )
    lines += [f"not in the lists: {line}" for line in report.hidden]
    if options.jsonl is not None:
        lines.append(_jsonl_line(report, options.jsonl))
    # Calls wait concurrently, so their waits add up to more than the run's time.
    waited = f", {report.waited_s:,.1f} s of them waiting for the rate limit" if report.waited_s else ""
    requests = f"{count(report.requests, 'request')}, {report.rate_limited:,} rate limited"
    return [*lines, f"{requests}, {report.seconds:,.1f} s{waited}"]


def plan_lines(plan: "SyncPlan") -> list[str]:
    """Returns the plan for people: the size of the account, each strategy, and what the lists do not show."""
    limit = "rate limit unknown" if plan.limit is None else f"{plan.limit:,} requests a minute"
    guess = " (a guess)" if plan.is_first else ""
    size = f"{count(plan.leads, 'lead')}, {count(plan.tasks, 'task')}{guess}, {count(plan.users, 'user')}; {limit}"
    return [
        size,
        *(_strategy_line(one, is_chosen=one.strategy == plan.chosen) for one in plan.plans),
        *(f"not in the lists: {line}" for line in plan.hidden),
    ]


def plan_object(plan: "SyncPlan") -> dict[str, Any]:
    """Returns the plan for programs."""
    from attrs import asdict

    return asdict(plan)


def _strategy_line(plan: "StrategyPlan", *, is_chosen: bool) -> str:
    steps: Sequence[tuple[str, int, float | None]] = (
        ("usable after", plan.usable_requests, plan.usable_minutes),
        ("proven after", plan.requests, plan.minutes),
    )
    told = ", ".join(f"{what} {count(number, 'request')}{_minutes(minutes)}" for what, number, minutes in steps)
    return f"{plan.strategy}: {told}{' (chosen)' if is_chosen else ''}"


def _minutes(minutes: float | None) -> str:
    return "" if minutes is None else f" or {minutes:,.0f} min"


def _read_line(report: "SyncReport") -> str:
    failed = f", {len(report.failed):,} failed" if report.failed else ""
    skipped = f", {report.skipped:,} skipped as done before" if report.skipped else ""
    head = "" if report.complete else "Cut short: "
    return f"{head}{count(report.leads, 'lead')}, {count(report.tasks, 'task')}{failed}{skipped}"


def _jsonl_line(report: "SyncReport", path: Path) -> str:
    from lofty_async.mirror import JsonLines

    if path == STDOUT:
        return f"standard output: {count(report.tasks, 'line')}"
    if not report.complete:
        return f"{JsonLines(path).partial}: {count(report.tasks, 'line')}"
    if report.failed and not _has_read(report):
        return f"{path}: left as it was"
    kept = ", besides those it had of the leads that failed" if report.failed else ""
    return f"{path}: {count(report.tasks, 'line')} written{kept}"


def _has_read(report: "SyncReport") -> bool:
    """Whether the run, or the one that it resumed, has read anything."""
    return report.leads + report.skipped > len(report.failed) or report.tasks > 0 or report.added > 0


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
