"""The runs of a mirror: which process holds the database, until when, and which run can be resumed."""

import json
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from .dialects import Dialect
from .errors import SyncRunningError
from .records import Phase, Run
from .statements import NOW, Row, Work, query

log = logging.getLogger("lofty_async.mirror")

LEASE_SECONDS: Final = 45.0
"""Seconds without a renewal after which a claim ends: other runs can begin within 60."""
RENEW_SECONDS: Final = 5.0
"""Seconds between two renewals; several may be late or lost, as while the event loop or the disk is busy."""
RESUME_WITHIN: Final = 6 * 3600.0
"""Seconds for which a lead that an interrupted run has read counts as read."""
ALL_LEADS: Final = "all"
"""The scope of a run that is about every lead."""

# ruff: noqa: S608 - all parts are constants, and all values are bound
SELECT: Final = (
    "SELECT number, cycle, scope, strategy, phase, started_at, ended_at, host, process, CAST(report AS text)"
    " FROM runs WHERE {own}"
)
LATEST: Final = f"{SELECT} ORDER BY number DESC LIMIT :limit"
OPEN: Final = (
    "SELECT number, scope, strategy, started_at, seen_at, host, process, machine, token FROM runs"
    " WHERE {own} AND ended_at IS NULL ORDER BY number DESC"
)
WHOLE: Final = f"FROM runs WHERE {{own}} AND scope = '{ALL_LEADS}' AND phase = '{Phase.DONE.value}'"
LAST_CYCLE: Final = f"SELECT coalesce(max(cycle), 0) {WHOLE}"
INSERT: Final = (
    "INSERT INTO runs ({account}number, cycle, scope, strategy, phase, started_at, seen_at, host, process, machine,"
    " token) VALUES ({account_value}:number, :cycle, '', :strategy, :phase, :now, :now, :host, :process, :machine,"
    " :token)"
)
TAKE_OVER: Final = (
    "UPDATE runs SET seen_at = :now, host = :host, process = :process, machine = :machine, token = :token"
    " WHERE {own} AND number = :number"
)
IS_HELD: Final = "SELECT 1 FROM runs WHERE {own} AND number = :run AND token = :token AND ended_at IS NULL"
OF_CLAIM: Final = " WHERE {own} AND number = :run AND token = :token"
BEGIN: Final = "UPDATE runs SET scope = :scope" + OF_CLAIM
OF_OTHERS: Final = " WHERE {own} AND ended_at IS NULL AND number <> :run"
REVOKE_OTHERS: Final = "UPDATE runs SET token = NULL" + OF_OTHERS
END_OTHERS: Final = "UPDATE runs SET ended_at = seen_at, token = NULL" + OF_OTHERS
END_OTHER_PARTS: Final = f"{END_OTHERS} AND scope <> '{ALL_LEADS}'"
RENEW: Final = "UPDATE runs SET seen_at = :now" + OF_CLAIM
SET_PHASE: Final = "UPDATE runs SET phase = :phase, strategy = :strategy" + OF_CLAIM
RELEASE: Final = "UPDATE runs SET token = NULL, seen_at = :now" + OF_CLAIM
FORGET: Final = "DELETE FROM runs" + OF_CLAIM
ABANDON: Final = "UPDATE runs SET token = NULL, ended_at = :now" + OF_CLAIM
END: Final = (
    "UPDATE runs SET token = NULL, ended_at = :now, phase = :phase, report = :report, was_swept = :was_swept" + OF_CLAIM
)


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
    """The right of a database object to write as a run; `scope` is that of a new run that has not begun."""

    run: int
    token: str
    scope: str | None = None


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


@frozen
class Runs:
    """Work on the table `runs`."""

    dialect: Dialect

    def interrupted(self, now: Any, own: Claim | None) -> Work[list[OpenRun]]:
        """Returns the runs that were interrupted, newest first.

        Raises: SyncRunningError if a run is under way, such as that of our `own` claim, even after the clock was set.
        """
        runs = yield from self._open_runs()
        for run in runs:
            is_own = own is not None and run.token == own.token
            if is_own or run.is_alive(self.dialect.from_time(now)):
                raise run.refusal()
        return runs

    def claim(
        self, scope: str, strategy: str | None, resume_within: float, now: Any, own: Claim | None
    ) -> Work[tuple[Run, Claim]]:
        """Claims the database for a run that is to begin, or for one that was interrupted and goes on.

        Until the new run begins, it has no scope, and what an interrupted one has left is kept.

        Raises: SyncRunningError if a run is under way.
        """
        runs, holder, moment = (yield from self.interrupted(now, own)), Holder(), self.dialect.from_time(now)
        before = next((run for run in runs if run.is_resumable(moment, scope, strategy, resume_within)), None)
        values = {"now": now, "host": holder.host, "process": holder.process, "machine": holder.machine}
        values["token"] = token = secrets.token_hex(8)
        if before is not None:
            number = before.number
            yield query(TAKE_OVER, number=number, **values)
        else:
            number = yield from _insert(scope, strategy, values)
        # A process that was suspended may go on after its claim has ended: its next write fails.
        yield query(REVOKE_OTHERS, run=number)
        (row,) = yield query(f"{SELECT} AND number = :number", number=number)
        return evolve(self._run(row, is_resumed=before is not None), scope=scope), Claim(
            number, token, scope if before is None else None
        )

    def begin(self, claim: Claim) -> Work[Claim]:
        """Begins the new run that is claimed, and drops what an interrupted one has left.

        A run over some leads keeps that of a run over all leads, which can still go on.
        """
        if claim.scope == ALL_LEADS:
            yield query(END_OTHERS, run=claim.run)
            yield query("DELETE FROM sweeps WHERE {own}")
            yield query("DELETE FROM sightings WHERE {own}")
        else:
            yield query(END_OTHER_PARTS, run=claim.run)
        yield from update(claim, BEGIN, scope=claim.scope)
        return evolve(claim, scope=None)

    def enter(self, claim: Claim | None) -> Work[Any]:
        """Begins a write, by a run if there is a claim; returns the time.

        Raises: SyncRunningError if another process has taken over the claim.
        """
        ((now,),) = yield NOW
        if claim is not None and not (yield query(IS_HELD, run=claim.run, token=claim.token)):
            holders = [run for run in (yield from self._open_runs()) if run.token is not None]
            raise holders[0].refusal() if holders else SyncRunningError("another sync has taken over")
        return now

    def latest(self, limit: int) -> Work[list[Run]]:
        return [self._run(row) for row in (yield query(LATEST, limit=limit))]

    def _open_runs(self) -> Work[list[OpenRun]]:
        runs: list[OpenRun] = []
        for number, scope, strategy, started_at, seen_at, host, process, machine, token in (yield query(OPEN)):
            times = self.dialect.from_time(started_at), self.dialect.from_time(seen_at)
            runs.append(OpenRun(number, scope, strategy, *times, Holder(host, process, machine), token))
        return runs

    def _run(self, row: Row, *, is_resumed: bool = False) -> Run:
        number, cycle, scope, strategy, phase, started_at, ended_at, host, process, text = row
        report = None if text is None else json.loads(text)
        return Run(
            number=number,
            cycle=cycle,
            scope=scope,
            strategy=strategy,
            phase=Phase(phase),
            started_at=self.dialect.from_time(started_at),
            ended_at=None if ended_at is None else self.dialect.from_time(ended_at),
            host=host,
            process=process,
            report=report,
            is_resumed=is_resumed or bool(report and report.get("is_resumed")),
        )


def update(claim: Claim | None, sql: str, **values: Any) -> Work[None]:
    """Runs a statement about the run that is claimed, if one is."""
    if claim is not None:
        yield query(sql, run=claim.run, token=claim.token, **values)


def end_values(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"phase": Phase.DONE.value, "report": json.dumps(report)}


def _insert(scope: str, strategy: str | None, values: Mapping[str, Any]) -> Work[int]:
    ((last,),) = yield query(LAST_CYCLE)
    ((latest,),) = yield query("SELECT coalesce(max(number), 0) FROM runs WHERE {own}")
    # Runs over all leads are counted; the others belong to the last of them.
    cycle, number = last + (scope == ALL_LEADS), latest + 1
    of_run = {"number": number, "cycle": cycle, "strategy": strategy, "phase": Phase.LISTING.value}
    yield query(INSERT, **of_run, **values)
    return int(number)
