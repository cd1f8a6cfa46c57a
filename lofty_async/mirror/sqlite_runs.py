"""The runs of a mirror in SQLite: which process holds the database, until when, and which run can be resumed."""

import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import define, field

from .claims import Claim, OpenRun
from .columns import from_utc_text, utc_text
from .database import ALL_LEADS, Holder, Phase, Run
from .errors import SyncRunningError

COLUMNS: Final = "number, cycle, scope, strategy, phase, started_at, ended_at, host, process, report"
# ruff: noqa: S608 - the columns are constants, and all values are bound
LATEST: Final = f"SELECT {COLUMNS} FROM runs ORDER BY number DESC LIMIT ?"
OPEN: Final = (
    "SELECT number, scope, strategy, started_at, seen_at, host, process, machine, token FROM runs"
    " WHERE ended_at IS NULL ORDER BY number DESC LIMIT 1"
)
BEGIN: Final = (
    "INSERT INTO runs (cycle, scope, strategy, phase, started_at, seen_at, host, process, machine, token)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
TAKE_OVER: Final = "UPDATE runs SET seen_at = ?, host = ?, process = ?, machine = ?, token = ? WHERE number = ?"


@define
class Runs:
    """Reads and writes the table `runs`, within the caller's transaction."""

    connection: sqlite3.Connection
    now: Callable[[], datetime]
    claim: Claim | None = field(default=None, init=False)

    @property
    def number(self) -> int | None:
        """The run that is claimed."""
        return None if self.claim is None else self.claim.run

    def begin(self, scope: str, strategy: str | None, resume_within: float) -> Run:
        """Raises: SyncRunningError if a run is under way."""
        now, holder, token = self.now(), Holder(), secrets.token_hex(8)
        before = self._open_run()
        if before is not None and before.is_alive(now):
            raise before.refusal()
        number = before.number if before and before.is_resumable(now, scope, strategy, resume_within) else None
        if number is None:
            number = self._insert(scope, strategy, holder, token)
        else:
            values = (self._text(now), holder.host, holder.process, holder.machine, token, number)
            self.connection.execute(TAKE_OVER, values)
        self.claim = Claim(number, token)
        return self._run(number, is_resumed=before is not None and before.number == number)

    def check(self) -> None:
        """Raises: SyncRunningError if another process has taken over the claim."""
        if self.claim is None:
            return
        query = "SELECT 1 FROM runs WHERE number = ? AND token = ? AND ended_at IS NULL"
        if not self.connection.execute(query, (self.claim.run, self.claim.token)).fetchone():
            before = self._open_run()
            raise before.refusal() if before else SyncRunningError("another sync has taken over")

    def renew(self) -> None:
        self.check()
        self._update("seen_at = ?", self._text(self.now()))

    def set_phase(self, phase: Phase, strategy: str) -> None:
        self.check()
        self._update("phase = ?, strategy = ?", phase.value, strategy)

    def release(self) -> None:
        """Gives the claim up; only of the claim's own run."""
        if self.claim is not None:
            query = "UPDATE runs SET token = NULL, seen_at = ? WHERE number = ? AND token = ?"
            self.connection.execute(query, (self._text(self.now()), self.claim.run, self.claim.token))
        self.claim = None

    def abandon(self) -> None:
        self.check()
        self._update("ended_at = ?, token = NULL", self._text(self.now()))
        self.claim = None

    def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        self.check()
        changes = "ended_at = ?, token = NULL, phase = ?, report = ?, was_swept = ?"
        self._update(changes, self._text(self.now()), Phase.DONE.value, json.dumps(report), int(was_swept))
        self.claim = None

    def latest(self, limit: int) -> list[Run]:
        return [_run(row) for row in self.connection.execute(LATEST, (limit,))]

    def cycles_since_sweep(self) -> int | None:
        query = (
            "SELECT (SELECT max(cycle) FROM runs WHERE scope = ? AND phase = 'done') - max(cycle)"
            " FROM runs WHERE was_swept"
        )
        cycles: int | None = self.connection.execute(query, (ALL_LEADS,)).fetchone()[0]
        return cycles

    def is_first(self) -> bool:
        query = "SELECT 1 FROM runs WHERE scope = ? AND phase = 'done' LIMIT 1"
        return self.connection.execute(query, (ALL_LEADS,)).fetchone() is None

    def _insert(self, scope: str, strategy: str | None, holder: Holder, token: str) -> int:
        self.connection.execute("UPDATE runs SET ended_at = seen_at, token = NULL WHERE ended_at IS NULL")
        for table in ("sweeps", "sightings"):
            self.connection.execute(f"DELETE FROM {table}")
        now = self._text(self.now())
        values = (self._cycle(scope), scope, strategy, Phase.LISTING.value, now, now)
        cursor = self.connection.execute(BEGIN, (*values, holder.host, holder.process, holder.machine, token))
        return cursor.lastrowid or 0

    def _cycle(self, scope: str) -> int:
        """Runs over all leads are counted; the others belong to the last of them."""
        (last,) = self.connection.execute(
            "SELECT coalesce(max(cycle), 0) FROM runs WHERE scope = ? AND phase = 'done'", (ALL_LEADS,)
        ).fetchone()
        return int(last) + (scope == ALL_LEADS)

    def _open_run(self) -> OpenRun | None:
        row = self.connection.execute(OPEN).fetchone()
        if row is None:
            return None
        number, scope, strategy, started_at, seen_at, host, process, machine, token = row
        times = from_utc_text(started_at), from_utc_text(seen_at)
        return OpenRun(number, scope, strategy, *times, Holder(host, process, machine), token)

    def _run(self, number: int, *, is_resumed: bool) -> Run:
        row = self.connection.execute(f"SELECT {COLUMNS} FROM runs WHERE number = ?", (number,)).fetchone()
        return _run(row, is_resumed=is_resumed)

    def _update(self, changes: str, *values: object) -> None:
        if self.claim is not None:
            self.connection.execute(f"UPDATE runs SET {changes} WHERE number = ?", (*values, self.claim.run))

    def _text(self, moment: datetime) -> str:
        return utc_text(moment.replace(microsecond=0))


def _run(row: tuple[Any, ...], *, is_resumed: bool = False) -> Run:
    number, cycle, scope, strategy, phase, started_at, ended_at, host, process, report = row
    return Run(
        number=number,
        cycle=cycle,
        scope=scope,
        strategy=strategy,
        phase=Phase(phase),
        started_at=from_utc_text(started_at),
        ended_at=None if ended_at is None else from_utc_text(ended_at),
        host=host,
        process=process,
        report=None if report is None else json.loads(report),
        is_resumed=is_resumed,
    )
