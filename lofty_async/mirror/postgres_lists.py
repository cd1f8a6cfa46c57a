"""The API's lists as a run of an account's mirror has seen them, in PostgreSQL: pages, sightings, and leads due."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from attrs import fields, frozen

from lofty_async.models import CalendarEntry, Task

from .database import ListPage, Summary
from .decide import CALENDAR, MINE, MOVED, UNREAD, ClassCount, Reason, TaskFacts
from .postgres_rows import Rows
from .postgres_schema import TASKS
from .postgres_session import Session
from .rows import as_task, differing
from .sinks import Changes

# ruff: noqa: S608 - all parts are constants, and all values are bound
OWN: Final = "account = %(account)s"
MOST_SECONDS: Final = 1e9

NOTE_PAGE: Final = (
    "INSERT INTO sweeps (account, list, cursor, records, is_done, is_complete, note) VALUES (%(account)s, %(list)s,"
    " %(cursor)s, %(records)s, %(is_done)s, %(is_complete)s, %(note)s) ON CONFLICT (account, list) DO UPDATE SET"
    " cursor = excluded.cursor, records = sweeps.records + excluded.records, is_done = excluded.is_done,"
    " is_complete = excluded.is_complete, note = coalesce(excluded.note, sweeps.note)"
)
NOTE_LEAD: Final = (
    "INSERT INTO leads (account, lead_id, assigned_user_id, listed_run) VALUES (%(account)s, %(lead_id)s, %(user_id)s,"
    " %(run)s) ON CONFLICT (account, lead_id)"
    " DO UPDATE SET assigned_user_id = excluded.assigned_user_id, listed_run = excluded.listed_run"
)
SIGHT: Final = (
    "INSERT INTO sightings (account, task_id, lists, differs, lead_id) VALUES (%(account)s, %(task_id)s, %(lists)s,"
    " %(differs)s, %(lead_id)s) ON CONFLICT (account, task_id) DO UPDATE SET lists = sightings.lists | excluded.lists,"
    " differs = sightings.differs | excluded.differs, lead_id = coalesce(excluded.lead_id, sightings.lead_id)"
)
REQUEST: Final = (
    "INSERT INTO leads (account, lead_id, due_run, due_for) VALUES (%(account)s, %(lead_id)s, %(run)s, %(reason)s)"
    " ON CONFLICT (account, lead_id) DO UPDATE SET due_run = excluded.due_run, due_for = excluded.due_for"
)
SEEN: Final = f"(SELECT task_id, lists, differs, lead_id FROM sightings WHERE {OWN}) AS seen"
FACTS: Final = (
    "SELECT tasks.lead_id, shown_in, coalesce(lists, 0), coalesce(differs, 0), coalesce(finished, false), true,"
    f" count(*) FROM tasks LEFT JOIN {SEEN} ON task_id = id WHERE {OWN} AND tasks.lead_id IS NOT NULL"
    " AND (lists IS NULL OR differs <> 0 OR shown_in & ~lists <> 0) GROUP BY 1, 2, 3, 4, 5"
    f" UNION ALL SELECT lead_id, 0, lists, differs, false, false, count(*) FROM {SEEN} WHERE lead_id IS NOT NULL"
    f" AND NOT EXISTS (SELECT 1 FROM tasks WHERE {OWN} AND id = task_id) GROUP BY 1, 3, 4"
)
AGES: Final = (
    f"SELECT coalesce((SELECT max(cycle) FROM runs WHERE {OWN}) - cycle, 1000000), count(*) FROM leads LEFT JOIN"
    f" (SELECT number, cycle FROM runs WHERE {OWN}) AS done ON number = proven_run"
    f" WHERE {OWN} AND due_run IS DISTINCT FROM %(run)s AND listed_run = %(run)s GROUP BY 1"
)
OLDEST: Final = (
    f"UPDATE leads SET due_run = %(run)s, due_for = %(reason)s WHERE {OWN} AND lead_id IN (SELECT lead_id FROM leads"
    f" WHERE {OWN} AND due_run IS DISTINCT FROM %(run)s AND listed_run = %(run)s"
    " ORDER BY proven_run NULLS FIRST, lead_id LIMIT %(count)s)"
)
ALL: Final = (
    "INSERT INTO leads (account, lead_id, due_run, due_for) SELECT %(account)s, lead_id, %(run)s, %(reason)s FROM"
    f" (SELECT lead_id FROM leads WHERE {OWN} AND listed_run = %(run)s UNION"
    f" SELECT lead_id FROM tasks WHERE {OWN} AND lead_id IS NOT NULL) AS every"
    " ON CONFLICT (account, lead_id) DO UPDATE SET due_run = excluded.due_run, due_for = excluded.due_for"
)
TAKE_OVER_SIGHTINGS: Final = (
    f"UPDATE tasks SET shown_in = coalesce(lists, 0) FROM tasks AS own LEFT JOIN {SEEN} ON task_id = own.id"
    " WHERE tasks.account = %(account)s AND own.account = tasks.account AND own.id = tasks.id"
    " AND tasks.shown_in <> coalesce(lists, 0) AND NOT EXISTS (SELECT 1 FROM leads WHERE leads.account = tasks.account"
    " AND leads.lead_id = tasks.lead_id AND due_run = %(run)s AND proven_run IS DISTINCT FROM %(run)s)"
)
CLASSES: Final = (
    "SELECT coalesce(type = 'Appointment', false), coalesce(finished, false),"
    " start_at IS NOT NULL OR end_at IS NOT NULL,"
    f" coalesce(assigned_user_id = (SELECT note FROM sweeps WHERE {OWN} AND list = 'mine'), true), count(*),"
    " count(*) FILTER (WHERE shown_in & 1 <> 0), count(*) FILTER (WHERE shown_in & 2 <> 0),"
    " count(*) FILTER (WHERE shown_in = 0), count(DISTINCT lead_id) FILTER (WHERE shown_in = 0)"
    f" FROM tasks WHERE {OWN} GROUP BY 1, 2, 3, 4"
)
LISTED: Final = f"listed_run = (SELECT max(listed_run) FROM leads WHERE {OWN})"
SUMMARY: Final = (
    f"SELECT (SELECT count(*) FROM tasks WHERE {OWN}), (SELECT count(proven_at) FROM tasks WHERE {OWN}),"
    f" (SELECT count(*) FROM leads WHERE {OWN} AND ({LISTED} OR listed_run IS NULL)),"
    f" (SELECT count(DISTINCT assigned_user_id) FROM leads WHERE {OWN}),"
    f" (SELECT min(proven_at) FROM leads WHERE {OWN} AND {LISTED})"
)


@frozen
class Lists:
    """Reads and writes what a run has seen of the API's lists, within the caller's transaction."""

    session: Session
    rows: Rows

    async def pages(self) -> dict[str, ListPage]:
        sql = f"SELECT list, cursor, records, is_done, is_complete, note FROM sweeps WHERE {OWN}"
        return {row[0]: ListPage(*row) for row in await self.session.all(sql)}

    async def note_leads(self, leads: Mapping[int, int | None], page: ListPage, run: int | None) -> None:
        rows = ({"lead_id": lead_id, "user_id": user_id, "run": run} for lead_id, user_id in leads.items())
        await self.session.run_many(NOTE_LEAD, rows)
        await self._note_page(page)

    async def note_tasks(
        self, tasks: Sequence[Task], unread: Collection[int], page: ListPage, run: int | None
    ) -> Changes[int]:
        changes, left = await self.rows.take_over(tasks)
        await self._sight((task.id, MINE, MOVED if task.id in left else 0, task.lead_id) for task in tasks)
        await self._sight((id, MINE, UNREAD, None) for id in unread)
        await self.request_reads(dict.fromkeys(left.values(), Reason.MOVED), run)
        await self._note_page(page)
        return changes

    async def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        held = await self.rows.held(entries)
        differs = {id: differing(held[id][0], entry, TASKS) for id, entry in entries.items() if id in held}
        await self._sight((id, CALENDAR, differs.get(id, 0), entry.lead_id) for id, entry in entries.items())
        await self._sight((id, CALENDAR, UNREAD, None) for id in unread)
        await self._note_page(page)
        new = [as_task(id, entry) for id, entry in entries.items() if id not in held] if keep_new else []
        return (await self.rows.take_over(new))[0]

    async def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        sql = f"SELECT task_id FROM sightings WHERE {OWN} AND task_id = ANY(%(ids)s::bigint[])"
        return tuple(await self._ids(sql, ids=list(ids)))

    async def shown(self) -> dict[int, tuple[int, int]]:
        sql = (
            f"SELECT (SELECT count(*) FROM tasks WHERE {OWN} AND shown_in & %(bit)s <> 0),"
            f" (SELECT count(*) FROM sightings WHERE {OWN} AND lists & %(bit)s <> 0)"
        )
        return {bit: (row[0], row[1]) for bit in (MINE, CALENDAR) for row in await self.session.all(sql, bit=bit)}

    async def facts(self) -> list[TaskFacts]:
        return [TaskFacts(*row) for row in await self.session.all(FACTS)]

    async def users(self) -> frozenset[int]:
        sql = (
            f"SELECT assigned_user_id FROM leads WHERE {OWN} AND assigned_user_id > 0"
            f" UNION SELECT assigned_user_id FROM tasks WHERE {OWN} AND assigned_user_id > 0"
        )
        return await self._ids(sql)

    async def ages(self, run: int | None) -> dict[int, int]:
        return dict(await self.session.all(AGES, run=run))

    async def unlisted(self, run: int | None) -> frozenset[int]:
        sql = (
            f"SELECT DISTINCT lead_id FROM tasks WHERE {OWN} AND lead_id IS NOT NULL AND lead_id NOT IN"
            f" (SELECT lead_id FROM leads WHERE {OWN} AND listed_run = %(run)s)"
        )
        return await self._ids(sql, run=run)

    async def strangers(self, run: int | None) -> frozenset[int]:
        sql = f"SELECT lead_id FROM leads WHERE {OWN} AND listed_run IS DISTINCT FROM %(run)s AND proven_at IS NOT NULL"
        return await self._ids(sql, run=run)

    async def request_reads(self, reads: Mapping[int, Reason], run: int | None) -> None:
        rows = ({"lead_id": lead_id, "run": run, "reason": reason.value} for lead_id, reason in reads.items())
        await self.session.run_many(REQUEST, rows)

    async def request_oldest(self, count: int, run: int | None) -> None:
        await self.session.run(OLDEST, run=run, reason=Reason.ROTATION.value, count=count)

    async def request_all(self, run: int | None) -> None:
        await self.session.run(ALL, run=run, reason=Reason.FIRST.value)

    async def due(self, run: int | None, within: float) -> tuple[list[int], int]:
        sql = (
            "SELECT lead_id, coalesce(proven_run = %(run)s AND proven_at >= %(oldest)s, false) FROM leads"
            f" WHERE {OWN} AND due_run = %(run)s ORDER BY lead_id"
        )
        rows = await self.session.all(sql, run=run, oldest=await self._oldest(within))
        due = [lead_id for lead_id, is_done in rows if not is_done]
        return due, len(rows) - len(due)

    async def done(self, run: int | None, within: float) -> frozenset[int]:
        sql = f"SELECT lead_id FROM leads WHERE {OWN} AND proven_run = %(run)s AND proven_at >= %(oldest)s"
        return await self._ids(sql, run=run, oldest=await self._oldest(within))

    async def leads(self) -> frozenset[int]:
        return await self._ids(f"SELECT DISTINCT lead_id FROM tasks WHERE {OWN} AND lead_id IS NOT NULL")

    async def known_leads(self) -> frozenset[int]:
        sql = (
            f"SELECT lead_id FROM leads WHERE {OWN} UNION SELECT lead_id FROM tasks WHERE {OWN} AND lead_id IS NOT NULL"
        )
        return await self._ids(sql)

    async def take_over_sightings(self, run: int | None) -> None:
        await self.session.run(TAKE_OVER_SIGHTINGS, run=run)

    async def classes(self) -> list[ClassCount]:
        names = [one.name for one in fields(ClassCount)]
        return [ClassCount(**dict(zip(names, row, strict=True))) for row in await self.session.all(CLASSES)]

    async def every_run(self) -> int:
        sql = (
            f"SELECT count(DISTINCT lead_id) FROM tasks WHERE {OWN} AND shown_in = 0 AND NOT coalesce(finished, false)"
        )
        ((count,),) = await self.session.all(sql)
        return int(count)

    async def summary(self) -> Summary:
        ((tasks, proven, leads, users, oldest),) = await self.session.all(SUMMARY)
        return Summary(tasks=tasks, proven=proven, leads=leads, users=users, oldest_proof=oldest)

    async def _sight(self, rows: Iterable[tuple[int, int, int, int | None]]) -> None:
        names = ("task_id", "lists", "differs", "lead_id")
        await self.session.run_many(SIGHT, (dict(zip(names, row, strict=True)) for row in rows))

    async def _note_page(self, page: ListPage) -> None:
        await self.session.run(
            NOTE_PAGE,
            list=page.list,
            cursor=page.cursor,
            records=page.records,
            is_done=page.is_done,
            is_complete=page.is_complete,
            note=page.note,
        )

    async def _oldest(self, within: float) -> Any:
        return await self.session.now() - timedelta(seconds=min(within, MOST_SECONDS))

    async def _ids(self, sql: str, **values: Any) -> frozenset[int]:
        return frozenset(int(id) for (id,) in await self.session.all(sql, **values))
