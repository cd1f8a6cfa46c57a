"""The requests and the time that a run takes."""

import time
from collections.abc import Callable

from attrs import define, evolve, field

from lofty_async.client import LoftyClient

from .report import SyncReport


@define
class Meter:
    """Counts from now on what a client and its copies send."""

    client: LoftyClient
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _requests: int = field(init=False)
    _rate_limited: int = field(init=False)
    _waited: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        stats, self._began = self.client.stats, self.clock()
        self._requests, self._rate_limited, self._waited = stats.requests, stats.rate_limited, stats.waited

    def read(self, report: SyncReport) -> SyncReport:
        """The report with what was counted so far."""
        stats = self.client.stats
        return evolve(
            report,
            requests=stats.requests - self._requests,
            rate_limited=stats.rate_limited - self._rate_limited,
            waited_s=round(stats.waited - self._waited, 3),
            seconds=round(self.clock() - self._began, 3),
        )
