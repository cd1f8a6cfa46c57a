"""What a run of `sync` did, in words and in JSON."""

import json
from pathlib import Path
from typing import Any

import click
from attrs import asdict

from lofty_async.mirror import JsonLines, SyncReport

from .options import OUTPUT, Places


def tell(report: SyncReport, places: Places, *, as_json: bool, string_ids: bool) -> None:
    """Names the leads that failed on stderr, and prints one line of JSON or a few of text.

    These go to stderr too where standard output takes the tasks.
    """
    for failure in report.failed:
        click.echo(f"lead {failure.lead_id}: {failure.error}", err=True)
    told = json.dumps(as_object(report, string_ids=string_ids)) if as_json else "\n".join(in_words(report, places))
    click.echo(told, err=places.jsonl == OUTPUT)


def as_object(report: SyncReport, *, string_ids: bool) -> dict[str, Any]:
    """The report for programs: `failed` counts, `failures` names."""
    plain = asdict(report)
    del plain["total"]
    failures = [
        failure | {"lead_id": str(failure["lead_id"])} if string_ids else failure for failure in plain.pop("failed")
    ]
    return plain | {"failed": len(report.failed), "failures": failures}


def in_words(report: SyncReport, places: Places) -> list[str]:
    """The report for people, a line per subject."""
    return [line for line in (_done(report), *_kept(report, places), _spent(report)) if line]


def _done(report: SyncReport) -> str:
    failed = f", {len(report.failed):,} failed" if report.failed else ""
    skipped = f", {report.skipped:,} skipped as done before" if report.skipped else ""
    head = "" if report.complete else "Cut short: "
    return f"{head}{_count(report.leads, 'lead')}, {_count(report.tasks, 'task')}{failed}{skipped}"


def _kept(report: SyncReport, places: Places) -> list[str]:
    lines: list[str] = []
    if places.db is not None:
        changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed"
        hint = "; go on with --resume" if not report.complete and _has_read(report) else ""
        lines.append(f"{places.db}: {changes}{hint}")
    if places.jsonl is not None:
        lines.append(_kept_lines(report, places.jsonl))
    return lines


def _kept_lines(report: SyncReport, place: Path) -> str:
    if place == OUTPUT:
        return f"standard output: {_count(report.tasks, 'line')}"
    if not report.complete:
        return f"{JsonLines(place).partial}: {_count(report.tasks, 'line')}"
    if report.failed and not _has_read(report):
        return f"{place}: left as it was"
    rest = ", besides those it had of the leads that failed" if report.failed else ""
    return f"{place}: {_count(report.tasks, 'line')} written{rest}"


def _has_read(report: SyncReport) -> bool:
    """Whether the run, or the one that it resumed, has anything to show."""
    return report.leads + report.skipped > len(report.failed) or report.tasks > 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _spent(report: SyncReport) -> str:
    # Calls wait side by side, so their waits add up to more than the run took.
    waited = f", {report.waited_s:,.1f} s of them waiting for the rate limit" if report.waited_s else ""
    return (
        f"{_count(report.requests, 'request')}, {report.rate_limited:,} rate limited, {report.seconds:,.1f} s{waited}"
    )
