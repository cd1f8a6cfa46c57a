"""The rows of tasks in PostgreSQL, and the changes that are written with them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from lofty_async.models import Task

from . import columns
from .database import Change, ChangeKind
from .postgres_schema import TASKS
from .postgres_session import Session
from .rows import LEAD, kind_of
from .sinks import Changes, Doubt, Merged, diff, merged

Row = tuple[Any, ...]
Held = tuple[Row, datetime | None]
"""A row, and since when it is proven."""

# ruff: noqa: S608 - column names come from the model, and all values are bound
NAMES: Final = ", ".join(TASKS.names)
SELECT: Final = f"SELECT {NAMES}, proven_at FROM tasks WHERE account = %(account)s"
UPSERT: Final = (
    f"INSERT INTO tasks (account, {NAMES}, proven_at) VALUES (%(account)s,"
    f" {', '.join(f'%({name})s' for name in TASKS.names)}, %(proven_at)s) ON CONFLICT (account, id)"
    f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in (*TASKS.names[1:], 'proven_at'))}"
)
PROVE_LEADS: Final = (
    "INSERT INTO leads (account, lead_id, proven_run, proven_at) SELECT %(account)s, unnest(%(leads)s::bigint[]),"
    " %(run)s, %(now)s ON CONFLICT (account, lead_id)"
    " DO UPDATE SET proven_run = excluded.proven_run, proven_at = excluded.proven_at"
)
LOG: Final = (
    "INSERT INTO changes (account, seq, at, kind, task_id, task, before)"
    " VALUES (%(account)s, %(seq)s, %(at)s, %(kind)s, %(task_id)s, %(task)s::jsonb, %(before)s::jsonb)"
)


@frozen
class Rows:
    """Reads and writes rows of tasks, within the caller's transaction."""

    session: Session

    async def tasks(self, lead_id: int | None) -> list[Task]:
        where = "" if lead_id is None else " AND lead_id = %(lead_id)s"
        rows = await self.session.all(f"{SELECT}{where} ORDER BY id", lead_id=lead_id)
        return [TASKS.record(row[:-1]) for row in rows]

    async def replace_all(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes the rows of each lead equal to its tasks."""
        parts: list[Changes[int]] = []
        for lead_id, tasks in leads.items():
            new = {task.id: TASKS.row(task) for task in tasks}
            parts.append(await self._apply(await self.held(new, [lead_id]), new, is_proof=True))
        return merged(parts)

    async def merge_all(self, leads: Mapping[int, Sequence[Task]]) -> Merged:
        """Adds and updates the rows of leads, but for those in doubt; removes none."""
        lists = {lead_id: {task.id: TASKS.row(task) for task in tasks} for lead_id, tasks in leads.items()}
        held = await self.held([id for rows in lists.values() for id in rows], lists)
        new: dict[int, Row] = {}
        doubts: list[Doubt] = []
        of_lead: dict[Any, set[int]] = {}
        for id, (row, _) in held.items():
            of_lead.setdefault(row[LEAD], set()).add(id)
        for lead_id, rows in lists.items():
            homes = {id: new[id][LEAD] if id in new else held[id][0][LEAD] for id in rows if id in new or id in held}
            elsewhere = {id for id, home in homes.items() if home not in {None, lead_id}}
            missing = of_lead.get(lead_id, set[int]()) - rows.keys()
            new |= {id: row for id, row in rows.items() if id not in elsewhere}
            doubts += [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]
        changes = await self._apply({id: held[id] for id in held if id in new}, new, is_proof=True)
        return Merged(changes, tuple(doubts))

    async def settle(self, moved: Sequence[Task], gone: Collection[int]) -> Changes[int]:
        new = {task.id: TASKS.row(task) for task in moved}
        return await self._apply(await self.held([*new, *gone]), new, is_proof=True)

    async def take_over(self, tasks: Sequence[Task]) -> tuple[Changes[int], dict[int, int]]:
        """Adds and updates unproven rows; also returns the lead that each moved task has left, by task."""
        new = {task.id: TASKS.row(task) for task in tasks}
        held = await self.held(new)
        left = {id: row[LEAD] for id, (row, _) in held.items() if row[LEAD] != new[id][LEAD]}
        changes = await self._apply(held, new, is_proof=False)
        return changes, {id: lead_id for id, lead_id in left.items() if lead_id is not None}

    async def held(self, ids: Iterable[int], leads: Iterable[int] = ()) -> dict[Any, Held]:
        """The rows of tasks, and those of leads."""
        # Two index scans, as PostgreSQL may read the whole table for an OR.
        by_id, by_lead = f"{SELECT} AND id = ANY(%(ids)s::bigint[])", f"{SELECT} AND lead_id = ANY(%(leads)s::bigint[])"
        rows = await self.session.all(f"{by_id} UNION ALL {by_lead}", ids=list(ids), leads=list(leads))
        return {row[0]: (row[:-1], row[-1]) for row in rows}

    async def prove_leads(self, leads: Iterable[int], run: int | None) -> None:
        if ids := list(leads):
            await self.session.run(PROVE_LEADS, leads=ids, run=run, now=await self.session.now())

    async def changes(self, since: int, limit: int) -> list[Change]:
        sql = (
            "SELECT seq, at, kind, task::text, before::text FROM changes"
            " WHERE account = %(account)s AND seq > %(since)s ORDER BY seq LIMIT %(limit)s"
        )
        return [_change(*row) for row in await self.session.all(sql, since=since, limit=limit)]

    async def _apply(self, held: Mapping[Any, Held], new: Mapping[int, Row], *, is_proof: bool) -> Changes[int]:
        """Turns the rows held into the new ones; what is the same is written only to become proven."""
        old = {id: row for id, (row, _) in held.items()}
        changes, session = diff(old, new), self.session
        written, now = (*changes.added, *changes.changed), await session.now()
        proven_at = now if is_proof else None
        await session.run_many(
            UPSERT, (dict(zip(TASKS.names, new[id], strict=True)) | {"proven_at": proven_at} for id in written)
        )
        if changes.removed:
            sql = "DELETE FROM tasks WHERE account = %(account)s AND id = ANY(%(ids)s::bigint[])"
            await session.run(sql, ids=list(changes.removed))
        unproven = [id for id, (_, proven) in held.items() if is_proof and proven is None and id in new]
        if unproven:
            sql = "UPDATE tasks SET proven_at = %(now)s WHERE account = %(account)s AND id = ANY(%(ids)s::bigint[])"
            await session.run(sql, now=now, ids=unproven)
        await self._log(now, [(old.get(id), new.get(id)) for id in (*written, *changes.removed)])
        return changes

    async def _log(self, now: datetime, pairs: Sequence[tuple[Row | None, Row | None]]) -> None:
        if not pairs:
            return
        # Writers of an account take turns, so numbers are committed in their order and none is skipped.
        sql = "SELECT coalesce(max(seq), 0) FROM changes WHERE account = %(account)s"
        ((last,),) = await self.session.all(sql)
        rows = ({"seq": last + place, "at": now, **_logged(*pair)} for place, pair in enumerate(pairs, 1))
        await self.session.run_many(LOG, rows)


def _logged(before: Row | None, after: Row | None) -> dict[str, Any]:
    known = before if after is None else after
    texts = {"task": after, "before": before}
    told = {name: None if row is None else _json(row) for name, row in texts.items()}
    return {"kind": kind_of(before, after).value, "task_id": known and known[0], **told}


def _json(row: Row) -> str:
    return columns.TASKS.to_json(columns.TASKS.row(TASKS.record(row)))


def _change(seq: int, at: datetime, kind: str, task: str | None, before: str | None) -> Change:
    return Change(
        seq=seq,
        at=at,
        kind=ChangeKind(kind),
        task=None if task is None else columns.TASKS.from_json(task),
        before=None if before is None else columns.TASKS.from_json(before),
    )
