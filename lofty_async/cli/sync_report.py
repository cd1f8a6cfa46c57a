"""A sync as people see it on a terminal while it runs; its report and its plan, also as JSON for programs."""

import asyncio
import json
import math
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import asdict
from rich.progress import BarColumn, Progress, TextColumn

from lofty_async.client import LoftyClient
from lofty_async.mirror import JsonLines, Mirror, Phase, Strategy, StrategyPlan, SyncPlan, SyncReport, TaskExport
from lofty_async.ratelimit import RateLimit

from .mirror import changed_rows, count, label_of
from .options import STDOUT
from .output import mute_stderr, print_note
from .tables import SteadyConsole

if TYPE_CHECKING:
    from .sync import SyncOptions

WINDOW: Final = 60.0
"""Seconds of a rate-limit window."""
REFRESH_INTERVAL: Final = 0.2
"""Seconds between two updates: while the run waits for a window, only the time changes."""


def print_report(report: SyncReport, options: "SyncOptions") -> None:
    """Prints the failed leads on stderr, and one line of JSON or a few of text.

    These go to stderr too if standard output receives the tasks.
    """
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


def report_object(report: SyncReport, *, string_ids: bool) -> dict[str, Any]:
    """Returns the report for programs: `failed` is a count, `failures` names the leads."""
    plain = asdict(report)
    for name in ("total", "usable"):
        del plain[name]
    failures = [
        failure | {"lead_id": str(failure["lead_id"])} if string_ids else failure for failure in plain.pop("failed")
    ]
    oldest = None if report.oldest_proof is None else report.oldest_proof.isoformat()
    return plain | {"failed": len(report.failed), "failures": failures, "oldest_proof": oldest}


def report_lines(report: SyncReport, options: "SyncOptions") -> list[str]:
    """Returns the report for people: what was read, what was written, what is proven, what it took."""
    lines = [_read_line(report)]
    if options.db is not None:
        rows = changed_rows(report.added, report.changed, report.removed, is_complete=report.complete)
        held = f"{count(report.usable, 'task')}, " if _has_only_looked(report) else ""
        hint = "; the next sync goes on from here" if not report.complete and _has_read(report) else ""
        lines.append(f"{label_of(options.db, options.account)}: {held}{rows}{hint}")
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


def plan_lines(plan: SyncPlan) -> list[str]:
    """Returns the plan for people: the size of the account, each strategy, and what the lists do not show."""
    limit = "rate limit unknown" if plan.limit is None else f"{plan.limit:,} requests a minute"
    guess = " (a guess)" if plan.is_first else ""
    size = f"{count(plan.leads, 'lead')}, {count(plan.tasks, 'task')}{guess}, {count(plan.users, 'user')}; {limit}"
    return [
        size,
        *(_strategy_line(one, is_chosen=one.strategy == plan.chosen) for one in plan.plans),
        *(f"not in the lists: {line}" for line in plan.hidden),
    ]


def _strategy_line(plan: StrategyPlan, *, is_chosen: bool) -> str:
    steps: Sequence[tuple[str, int, float | None]] = (
        ("usable after", plan.usable_requests, plan.usable_minutes),
        ("proven after", plan.requests, plan.minutes),
    )
    told = ", ".join(f"{what} {count(number, 'request')}{_minutes(minutes)}" for what, number, minutes in steps)
    return f"{plan.strategy}: {told}{' (chosen)' if is_chosen else ''}"


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return ""
    return f" ({minutes:,.0f} min)" if minutes >= 1 else " (under 1 min)"


def _read_line(report: SyncReport) -> str:
    if _has_only_looked(report):
        return "Lists checked, no lead had to be read"
    failed = f", {len(report.failed):,} failed" if report.failed else ""
    skipped = f", {report.skipped:,} skipped as done before" if report.skipped else ""
    head = "" if report.complete else "Cut short: "
    return f"{head}{count(report.leads, 'lead')}, {count(report.tasks, 'task')}{failed}{skipped}"


def _jsonl_line(report: SyncReport, path: Path) -> str:
    if path == STDOUT:
        return f"standard output: {count(report.tasks, 'line')}"
    if not report.complete:
        return f"{JsonLines(path).partial}: {count(report.tasks, 'line')}"
    if report.failed and not _has_read(report):
        return f"{path}: left as it was"
    kept = ", besides those it had of the leads that failed" if report.failed else ""
    return f"{path}: {count(report.tasks, 'line')} written{kept}"


def _has_read(report: SyncReport) -> bool:
    """Whether the run, or the one that it resumed, has read anything."""
    return report.leads + report.skipped > len(report.failed) or report.tasks > 0 or report.added > 0


def _has_only_looked(report: SyncReport) -> bool:
    """Whether the lists have shown that there is no lead to read."""
    return report.complete and report.strategy == Strategy.LISTS and not (report.leads or report.skipped)


def seconds_left(report: SyncReport, limit: RateLimit) -> float | None:
    """Returns the time for the remaining leads, by the pace so far or by the windows they need, whichever is longer.

    `None` until both the total and a first result are known.
    """
    if report.total is None or not report.leads:
        return None
    rest = report.total - report.skipped - report.leads
    return max(report.seconds / report.leads * rest, _windows_left(rest, limit))


def _windows_left(rest: int, limit: RateLimit) -> float:
    """Returns the seconds until the window opens in which the last request can be sent."""
    if not limit.limit or limit.remaining is None or limit.resets_in is None:
        return 0.0
    beyond = rest - max(0, limit.remaining - limit.in_flight)
    return limit.resets_in + (math.ceil(beyond / limit.limit) - 1) * WINDOW if beyond > 0 else 0.0


def progress_text(report: SyncReport, limit: RateLimit) -> str:
    """Returns `57/250 leads · 98/min · 1:58 left`, as far as it is known.

    Before it come the phases of a sync by lists: `usable: 10,012 tasks · proving`.
    """
    if report.phase is Phase.LISTING:
        return "listing the leads"
    if report.phase is Phase.SWEEPING:
        return f"sweeping the lists · {report.usable:,} tasks"
    done = report.leads + report.skipped
    left = seconds_left(report, limit)
    leads = f"{done:,} leads" if report.total is None else f"{done:,}/{report.total:,} leads"
    is_by_lists = report.strategy == Strategy.LISTS
    parts = (
        f"usable: {report.usable:,} tasks · proving {leads}" if is_by_lists else leads,
        f"{report.leads / report.seconds * 60:,.0f}/min" if report.leads and report.seconds else "",
        "" if left is None else f"{_clock(left)} left",
        f"{len(report.failed):,} failed" if report.failed else "",
    )
    return " · ".join(part for part in parts if part)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02}"


@asynccontextmanager
async def progress_bar(sync: Mirror | TaskExport, client: LoftyClient) -> AsyncGenerator[None, None]:
    """Shows the progress inside the context, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    bar = Bar(sync, client)
    drawing = asyncio.create_task(bar.keep_drawing())
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])
        bar.stop()


class Bar:
    """One line of progress; drawn no more once the terminal is gone."""

    def __init__(self, sync: Mirror | TaskExport, client: LoftyClient) -> None:
        self._sync = sync
        self._client = client
        # Rich would refresh from a thread, and the client belongs to the loop.
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            console=SteadyConsole(stderr=True),
            auto_refresh=False,
        )
        self._line = self._progress.add_task("", total=None)

    async def keep_drawing(self) -> None:
        try:
            self._progress.start()
            while True:
                self._draw()
                await asyncio.sleep(REFRESH_INTERVAL)
        except OSError:
            mute_stderr()

    def stop(self) -> None:
        try:
            self._draw()
            self._progress.stop()
        except OSError:
            mute_stderr()

    def _draw(self) -> None:
        report = self._sync.report
        self._progress.update(
            self._line,
            total=report.total,
            completed=report.leads + report.skipped,
            description=progress_text(report, self._client.rate_limit),
            refresh=True,
        )
