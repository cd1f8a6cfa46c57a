"""The progress of a sync, on standard error if that is a terminal."""

import asyncio
import math
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from rich.progress import BarColumn, Progress, TextColumn

from lofty_async.client import LoftyClient
from lofty_async.mirror import Phase, Strategy, SyncReport
from lofty_async.ratelimit import RateLimit

from .output import mute_stderr
from .sync_report import Reporting
from .tables import SteadyConsole

WINDOW: Final = 60.0
"""Seconds of a rate-limit window."""
REFRESH_INTERVAL: Final = 0.2
"""Seconds between two updates: while the run waits for a window, only the time changes."""


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
async def progress_bar(sync: Reporting, client: LoftyClient) -> AsyncGenerator[None, None]:
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

    def __init__(self, sync: Reporting, client: LoftyClient) -> None:
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
