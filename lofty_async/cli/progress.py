"""How far a sync has come, on a terminal's standard error."""

import asyncio
import math
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from lofty_async.client import LoftyClient
from lofty_async.mirror import SyncReport, TaskSync
from lofty_async.ratelimit import RateLimit

WINDOW: Final = 60.0
TICK: Final = 0.2
"""Seconds between two looks at the run: while it waits for a window, only time passes."""


def seconds_left(report: SyncReport, limit: RateLimit) -> float | None:
    """How long the rest takes: by the pace so far or by the windows that it needs, the longer of the two.

    `None` before anything is known.
    """
    if report.total is None or not report.leads:
        return None
    rest = report.total - report.skipped - report.leads
    return max(report.seconds / report.leads * rest, _windows_left(rest, limit))


def _windows_left(rest: int, limit: RateLimit) -> float:
    """Seconds until the window opens in which the last of the rest can be sent."""
    if not limit.limit or limit.remaining is None or limit.resets_in is None:
        return 0.0
    beyond = rest - max(0, limit.remaining - limit.in_flight)
    return limit.resets_in + (math.ceil(beyond / limit.limit) - 1) * WINDOW if beyond > 0 else 0.0


def in_words(report: SyncReport, limit: RateLimit) -> str:
    """`57/250 leads · 98/min · 1:58 left`, as far as known."""
    done = report.leads + report.skipped
    left = seconds_left(report, limit)
    parts = (
        f"{done:,} leads" if report.total is None else f"{done:,}/{report.total:,} leads",
        f"{report.leads / report.seconds * 60:,.0f}/min" if report.leads and report.seconds else "",
        "" if left is None else f"{_clock(left)} left",
        f"{len(report.failed):,} failed" if report.failed else "",
    )
    return " · ".join(part for part in parts if part)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02}"


@asynccontextmanager
async def drawn(sync: TaskSync, client: LoftyClient) -> AsyncGenerator[None, None]:
    """Draws the run while it lasts, where standard error is a terminal."""
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
    """One line of progress."""

    def __init__(self, sync: TaskSync, client: LoftyClient) -> None:
        self._sync = sync
        self._client = client
        # Rich would refresh from a thread, where the client must not be looked at.
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._line = self._progress.add_task("", total=None)

    async def keep_drawing(self) -> None:
        self._progress.start()
        while True:
            self._draw()
            await asyncio.sleep(TICK)

    def stop(self) -> None:
        self._draw()
        self._progress.stop()

    def _draw(self) -> None:
        report = self._sync.report
        self._progress.update(
            self._line,
            total=report.total,
            completed=report.leads + report.skipped,
            description=in_words(report, self._client.rate_limit),
            refresh=True,
        )
