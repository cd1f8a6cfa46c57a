"""The claim of a run to its database: who holds it, whether that process is alive, and whether its run can go on."""

import logging
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import field, frozen

from .errors import SyncRunningError

log = logging.getLogger("lofty_async.mirror")

LEASE_SECONDS: Final = 45.0
"""Seconds after which a run that gives no sign of life is taken for dead: those who wait have it within 60."""
RENEW_SECONDS: Final = 5.0
"""Seconds between two signs of life; several may be late or lost, as while the event loop or the disk is busy."""
RESUME_WITHIN: Final = 6 * 3600.0
"""Seconds for which a lead that an interrupted run has read counts as read."""


def _machine() -> str:
    """The boot and the process namespace: within one of these, a process id names one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@frozen
class Holder:
    """The process that holds a claim; `machine` tells the sets of process ids apart, `""` if that is not known."""

    host: str = field(factory=socket.gethostname)
    process: int = field(factory=os.getpid)
    machine: str = field(factory=_machine)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended: only of a process of this machine."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
            state = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return state.split()[0] == "Z"  # a killed process that its parent has not waited for keeps its id


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
