"""The runs of an account's mirror in PostgreSQL: which process holds it, until when, and which run can be resumed."""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import define, field

from .claims import Claim, OpenRun
from .database import ALL_LEADS, Holder, Phase, Run
from .errors import SyncRunningError
from .postgres_session import Session

# ruff: noqa: S608 - the columns are constants, and all values are bound
COLUMNS: Final = "number, cycle, scope, strategy, phase, started_at, ended_at, host, process, report"
MINE: Final = "account = %(account)s"
OPEN: Final = (
    "SELECT number, scope, strategy, started_at, seen_at, host, process, machine, token FROM runs"
    f" WHERE {MINE} AND ended_at IS NULL ORDER BY number DESC LIMIT 1"
)
LAST_CYCLE: Final = f"SELECT coalesce(max(cycle), 0) FROM runs WHERE {MINE} AND scope = 'all' AND phase = 'done'"
BEGIN: Final = (
    "INSERT INTO runs (account, number, cycle, scope, strategy, phase, started_at, seen_at, host, process, machine,"
    f" token) SELECT %(account)s, (SELECT coalesce(max(number), 0) + 1 FROM runs WHERE {MINE}), %(cycle)s, %(scope)s,"
    " %(strategy)s, %(phase)s, %(now)s, %(now)s, %(host)s, %(process)s, %(machine)s, %(token)s RETURNING number"
)
TAKE_OVER: Final = (
    "UPDATE runs SET seen_at = %(now)s, host = %(host)s, process = %(process)s, machine = %(machine)s,"
    f" token = %(token)s WHERE {MINE} AND number = %(number)s"
)


RELEASE: Final = (
    f"UPDATE runs SET token = NULL, seen_at = %(now)s WHERE {MINE} AND number = %(run)s AND token = %(token)s"
)


@define
class Runs:
    """Reads and writes the table `runs`, within the caller's transaction."""

    session: Session
    claim: Claim | None = field(default=None, init=False)

    @property
    def number(self) -> int | None:
        """The run that is claimed."""
        return None if self.claim is None else self.claim.run

    async def begin(self, scope: str, strategy: str | None, resume_within: float) -> Run:
        """Raises: SyncRunningError if a run is under way."""
        now, holder, before = await self.session.now(), Holder(), await self._open_run()
        if before is not None and before.is_alive(now):
            raise before.refusal()
        number = before.number if before and before.is_resumable(now, scope, strategy, resume_within) else None
        values = {"now": now, "host": holder.host, "process": holder.process, "machine": holder.machine}
        values["token"] = token = secrets.token_hex(8)
        if number is None:
            number = await self._insert(scope, strategy, values)
        else:
            await self.session.run(TAKE_OVER, number=number, **values)
        self.claim = Claim(number, token)
        return await self._run(number, is_resumed=before is not None and before.number == number)

    async def check(self) -> None:
        """Raises: SyncRunningError if another process has taken over the claim."""
        if self.claim is None:
            return
        sql = f"SELECT 1 FROM runs WHERE {MINE} AND number = %(run)s AND token = %(token)s AND ended_at IS NULL"
        if not await self.session.one(sql, run=self.claim.run, token=self.claim.token):
            before = await self._open_run()
            raise before.refusal() if before else SyncRunningError("another sync has taken over")

    async def renew(self) -> None:
        await self.check()
        await self._update("seen_at = %(now)s", now=await self.session.now())

    async def set_phase(self, phase: Phase, strategy: str) -> None:
        await self.check()
        await self._update("phase = %(phase)s, strategy = %(strategy)s", phase=phase.value, strategy=strategy)

    async def release(self) -> None:
        """Gives the claim up; only of the claim's own run."""
        if self.claim is not None:
            await self.session.run(RELEASE, now=await self.session.now(), run=self.claim.run, token=self.claim.token)
        self.claim = None

    async def abandon(self) -> None:
        await self.check()
        await self._update("ended_at = %(now)s, token = NULL", now=await self.session.now())
        self.claim = None

    async def end(self, report: Mapping[str, Any], *, was_swept: bool) -> None:
        await self.check()
        changes = "ended_at = %(now)s, token = NULL, phase = 'done', report = %(report)s::jsonb, was_swept = %(swept)s"
        await self._update(changes, now=await self.session.now(), report=json.dumps(report), swept=was_swept)
        self.claim = None

    async def latest(self, limit: int) -> list[Run]:
        sql = f"SELECT {COLUMNS} FROM runs WHERE {MINE} ORDER BY number DESC LIMIT %(limit)s"
        return [_run(row) for row in await self.session.all(sql, limit=limit)]

    async def cycles_since_sweep(self) -> int | None:
        sql = f"SELECT ({LAST_CYCLE}) - max(cycle) FROM runs WHERE {MINE} AND was_swept"
        ((cycles,),) = await self.session.all(sql)
        return None if cycles is None else int(cycles)

    async def is_first(self) -> bool:
        sql = f"SELECT 1 FROM runs WHERE {MINE} AND scope = 'all' AND phase = 'done' LIMIT 1"
        return await self.session.one(sql) is None

    async def _insert(self, scope: str, strategy: str | None, values: Mapping[str, Any]) -> int:
        sql = f"UPDATE runs SET ended_at = seen_at, token = NULL WHERE {MINE} AND ended_at IS NULL"
        await self.session.run(sql)
        for table in ("sweeps", "sightings"):
            await self.session.run(f"DELETE FROM {table} WHERE {MINE}")
        ((last,),) = await self.session.all(LAST_CYCLE)
        of_run = {"cycle": last + (scope == ALL_LEADS), "scope": scope, "strategy": strategy}
        ((number,),) = await self.session.all(BEGIN, phase=Phase.LISTING.value, **of_run, **values)
        return int(number)

    async def _open_run(self) -> OpenRun | None:
        row = await self.session.one(OPEN)
        if row is None:
            return None
        number, scope, strategy, started_at, seen_at, host, process, machine, token = row
        return OpenRun(number, scope, strategy, started_at, seen_at, Holder(host, process, machine), token)

    async def _run(self, number: int, *, is_resumed: bool) -> Run:
        ((*row,),) = await self.session.all(
            f"SELECT {COLUMNS} FROM runs WHERE {MINE} AND number = %(number)s", number=number
        )
        return _run(tuple(row), is_resumed=is_resumed)

    async def _update(self, changes: str, **values: Any) -> None:
        if self.claim is not None:
            sql = f"UPDATE runs SET {changes} WHERE {MINE} AND number = %(run)s"
            await self.session.run(sql, run=self.claim.run, **values)


def _run(row: tuple[Any, ...], *, is_resumed: bool = False) -> Run:
    number, cycle, scope, strategy, phase, started_at, ended_at, host, process, report = row
    times: tuple[datetime, datetime | None] = (started_at, ended_at)
    return Run(
        number=number,
        cycle=cycle,
        scope=scope,
        strategy=strategy,
        phase=Phase(phase),
        started_at=times[0],
        ended_at=times[1],
        host=host,
        process=process,
        report=report,
        is_resumed=is_resumed,
    )
