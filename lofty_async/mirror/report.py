"""The report of a sync, and the counter of the requests and the time that it takes."""

import time
from collections.abc import Callable
from datetime import datetime

from attrs import define, evolve, field, frozen

from lofty_async.bulk import LeadTasks
from lofty_async.client import LoftyClient

from .records import Phase
from .sinks import Changes


@frozen
class LeadFailure:
    """A lead whose tasks could not all be read, and the reason."""

    lead_id: int
    error: str


@frozen(kw_only=True)
class SyncReport:
    """The result of a run, or its progress so far.

    `leads` counts the leads that were read, but for those that proved to be gone; `failed` names those of them that
    could not be read, or not wholly. `tasks` counts the tasks read with their leads. `skipped` counts the leads that
    the run resumed had read already. `added`, `changed` and `removed` count rows. `total` leads are to be read, as far
    as known. `rate_limited` counts the requests that were answered 429, `waited_s` is the seconds in which calls waited
    for their turns; `seconds` what the run took. `complete` unless cut short.

    `usable` counts the rows; `proven` and `unproven` count them by whether reading their lead has confirmed them, and
    `oldest_proof` is when the lead was read that was read longest ago. `hidden` says in words which tasks the lists do
    not show. `strategy` is `leads` or `lists`, `run` the number of the run. These are empty where no database is
    written.
    """

    leads: int = 0
    tasks: int = 0
    failed: tuple[LeadFailure, ...] = ()
    skipped: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    requests: int = 0
    rate_limited: int = 0
    waited_s: float = 0.0
    seconds: float = 0.0
    complete: bool = False
    total: int | None = None
    run: int | None = None
    strategy: str | None = None
    phase: Phase = Phase.PROVING
    usable: int = 0
    proven: int = 0
    unproven: int = 0
    oldest_proof: datetime | None = None
    hidden: tuple[str, ...] = ()

    def with_lead(self, lead: LeadTasks) -> "SyncReport":
        counted = evolve(self, leads=self.leads + 1, tasks=self.tasks + len(lead.tasks))
        if lead.error is None:
            return counted
        return evolve(counted, failed=(*self.failed, LeadFailure(lead.lead_id, str(lead.error))))

    def with_changes(self, changes: Changes[int]) -> "SyncReport":
        return evolve(
            self,
            added=self.added + len(changes.added),
            changed=self.changed + len(changes.changed),
            removed=self.removed + len(changes.removed),
        )


OnProgress = Callable[[SyncReport], object]


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
