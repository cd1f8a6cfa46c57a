"""The claim of a run to its database: who holds it, whether that process is alive, and whether its run can go on."""

import logging
from datetime import datetime

from attrs import frozen

from .database import LEASE_SECONDS, Holder
from .errors import SyncRunningError

log = logging.getLogger("lofty_async.mirror")


@frozen
class Claim:
    """The right of a database object to write as a run."""

    run: int
    token: str


@frozen
class OpenRun:
    """A run that has not ended: it is under way, was interrupted, or its process is dead."""

    number: int
    scope: str
    strategy: str | None
    started_at: datetime
    seen_at: datetime
    holder: Holder
    token: str | None

    def is_alive(self, now: datetime) -> bool:
        # The clock may have been set back since.
        is_recent = abs((now - self.seen_at).total_seconds()) < LEASE_SECONDS
        return self.token is not None and is_recent and not self.holder.is_dead

    def refusal(self) -> SyncRunningError:
        host, process = self.holder.host, self.holder.process
        text = f"another sync is under way: on {host}, process {process}, since {self.started_at:%Y-%m-%d %H:%M:%S} UTC"
        return SyncRunningError(text, host=host, process=process, since=self.started_at)

    def is_resumable(self, now: datetime, scope: str, strategy: str | None, within: float) -> bool:
        """Whether a run over these leads by this strategy, or by any, may go on with this one."""
        age = (now - self.seen_at).total_seconds()
        is_same = bool(scope) and self.scope == scope and (strategy is None or self.strategy in {None, strategy})
        if is_same and not 0 <= age <= within:
            log.warning("starting anew: the interrupted run is older than %.3g h", within / 3600)
        return is_same and 0 <= age <= within
