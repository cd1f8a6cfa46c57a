"""The runs of a mirror: which process holds the database, until when, and which run can be resumed."""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from .claims import Claim, Holder, OpenRun
from .dialects import Dialect
from .errors import SyncRunningError
from .records import Phase, Run
from .statements import NOW, Row, Work, query

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
    " WHERE {own} AND ended_at IS NULL ORDER BY number DESC LIMIT 1"
)
WHOLE: Final = f"FROM runs WHERE {{own}} AND scope = '{ALL_LEADS}' AND phase = '{Phase.DONE.value}'"
LAST_CYCLE: Final = f"SELECT coalesce(max(cycle), 0) {WHOLE}"
END_OTHERS: Final = "UPDATE runs SET ended_at = seen_at, token = NULL WHERE {own} AND ended_at IS NULL"
BEGIN: Final = (
    "INSERT INTO runs ({account}number, cycle, scope, strategy, phase, started_at, seen_at, host, process, machine,"
    " token) VALUES ({account_value}:number, :cycle, :scope, :strategy, :phase, :now, :now, :host, :process, :machine,"
    " :token)"
)
TAKE_OVER: Final = (
    "UPDATE runs SET seen_at = :now, host = :host, process = :process, machine = :machine, token = :token"
    " WHERE {own} AND number = :number"
)
IS_HELD: Final = "SELECT 1 FROM runs WHERE {own} AND number = :run AND token = :token AND ended_at IS NULL"
OF_CLAIM: Final = " WHERE {own} AND number = :run AND token = :token"
RENEW: Final = "UPDATE runs SET seen_at = :now" + OF_CLAIM
SET_PHASE: Final = "UPDATE runs SET phase = :phase, strategy = :strategy" + OF_CLAIM
RELEASE: Final = "UPDATE runs SET token = NULL, seen_at = :now" + OF_CLAIM
ABANDON: Final = "UPDATE runs SET token = NULL, ended_at = :now" + OF_CLAIM
END: Final = (
    "UPDATE runs SET token = NULL, ended_at = :now, phase = :phase, report = :report, was_swept = :was_swept" + OF_CLAIM
)


@frozen
class Runs:
    """Work on the table `runs`."""

    dialect: Dialect

    def check_none_is_alive(self, now: Any) -> Work[OpenRun | None]:
        """Returns the run that was interrupted.

        Raises: SyncRunningError if a run is under way.
        """
        run = yield from self._open_run()
        if run is not None and run.is_alive(self.dialect.from_time(now)):
            raise run.refusal()
        return run

    def begin(self, scope: str, strategy: str | None, resume_within: float, now: Any) -> Work[tuple[Run, Claim]]:
        """Begins a run, or goes on with the one that was interrupted.

        Raises: SyncRunningError if a run is under way.
        """
        before, holder = (yield from self.check_none_is_alive(now)), Holder()
        moment = self.dialect.from_time(now)
        is_resumed = before is not None and before.is_resumable(moment, scope, strategy, resume_within)
        values = {"now": now, "host": holder.host, "process": holder.process, "machine": holder.machine}
        values["token"] = token = secrets.token_hex(8)
        if before is not None and is_resumed:
            number = before.number
            yield query(TAKE_OVER, number=number, **values)
        else:
            number = yield from _insert(scope, strategy, values)
        (row,) = yield query(f"{SELECT} AND number = :number", number=number)
        return self._run(row, is_resumed=is_resumed), Claim(number, token)

    def enter(self, claim: Claim | None) -> Work[Any]:
        """Begins a write, by a run if there is a claim; returns the time.

        Raises: SyncRunningError if another process has taken over the claim.
        """
        ((now,),) = yield NOW
        if claim is not None and not (yield query(IS_HELD, run=claim.run, token=claim.token)):
            other = yield from self._open_run()
            raise other.refusal() if other else SyncRunningError("another sync has taken over")
        return now

    def latest(self, limit: int) -> Work[list[Run]]:
        return [self._run(row) for row in (yield query(LATEST, limit=limit))]

    def cycles_since_sweep(self) -> Work[int | None]:
        ((cycles,),) = yield query(f"SELECT ({LAST_CYCLE}) - max(cycle) FROM runs WHERE {{own}} AND was_swept")
        return None if cycles is None else int(cycles)

    def is_first(self) -> Work[bool]:
        return not (yield query(f"SELECT 1 {WHOLE} LIMIT 1"))

    def _open_run(self) -> Work[OpenRun | None]:
        rows = yield query(OPEN)
        if not rows:
            return None
        number, scope, strategy, started_at, seen_at, host, process, machine, token = rows[0]
        times = self.dialect.from_time(started_at), self.dialect.from_time(seen_at)
        return OpenRun(number, scope, strategy, *times, Holder(host, process, machine), token)

    def _run(self, row: Row, *, is_resumed: bool = False) -> Run:
        number, cycle, scope, strategy, phase, started_at, ended_at, host, process, report = row
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
            report=None if report is None else json.loads(report),
            is_resumed=is_resumed,
        )


def update(claim: Claim | None, sql: str, **values: Any) -> Work[None]:
    """Runs a statement about the run that is claimed, if one is."""
    if claim is not None:
        yield query(sql, run=claim.run, token=claim.token, **values)


def end_values(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"phase": Phase.DONE.value, "report": json.dumps(report)}


def _insert(scope: str, strategy: str | None, values: Mapping[str, Any]) -> Work[int]:
    yield query(END_OTHERS)
    yield query("DELETE FROM sweeps WHERE {own}")
    yield query("DELETE FROM sightings WHERE {own}")
    ((last,),) = yield query(LAST_CYCLE)
    ((latest,),) = yield query("SELECT coalesce(max(number), 0) FROM runs WHERE {own}")
    # Runs over all leads are counted; the others belong to the last of them.
    cycle, number = last + (scope == ALL_LEADS), latest + 1
    of_run = {"number": number, "cycle": cycle, "scope": scope, "strategy": strategy, "phase": Phase.LISTING.value}
    yield query(BEGIN, **of_run, **values)
    return int(number)
