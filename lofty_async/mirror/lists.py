"""The API's lists as a run of a mirror has seen them: pages read, sightings of tasks, and leads due."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from attrs import asdict, fields, frozen

from lofty_async._checks import LARGEST_ID
from lofty_async.models import CalendarEntry, Task

from .columns import stored_id
from .database import Database
from .decide import (
    BOTH,
    CALENDAR,
    MINE,
    MOVED,
    PROOF_CYCLES,
    TASKS_A_LEAD,
    UNREAD,
    ClassCount,
    Reason,
    Size,
    TaskFacts,
    hidden_classes,
)
from .records import ListPage
from .rows import LEADS_HELD, OF_TASKS, SEEN, Rows, lead_of
from .runs import LAST_CYCLE, WHOLE
from .sinks import Changes
from .statements import NOW, Row, Statement, Work, each, query, upsert

MOST_SECONDS: Final = 1e9

# ruff: noqa: S608 - all parts are constants, and all values are bound
PAGES: Final = "SELECT list, cursor, records, is_done, is_complete, note FROM sweeps WHERE {own}"
NOTE_PAGE: Final = upsert(
    *("sweeps", "list", "cursor", "records", "is_done", "is_complete", "note"),
    records="sweeps.records + excluded.records",
    note="coalesce(excluded.note, sweeps.note)",
)
NOTE_LEAD: Final = upsert("leads", "lead_id", "assigned_user_id", "listed_run")
SIGHT: Final = upsert(
    *("sightings", "task_id", "lists", "differs", "lead_id"),
    lists="sightings.lists | excluded.lists",
    differs="sightings.differs | excluded.differs",
    lead_id="coalesce(excluded.lead_id, sightings.lead_id)",
)
REQUEST: Final = upsert("leads", "lead_id", "due_run", "due_for")
SIGHTED: Final = "SELECT task_id FROM sightings WHERE {own} AND task_id {in_ids}"
SIGHTED_IN_MINE: Final = f"{SIGHTED} AND lists & {MINE} <> 0"
AMONG_LISTED: Final = "SELECT lead_id FROM leads WHERE {own} AND listed_run = :run AND lead_id {in_leads}"
LOST_WITHOUT_LEAD: Final = (
    "SELECT id FROM tasks WHERE {own} AND lead_id IS NULL AND id NOT IN (SELECT task_id FROM sightings WHERE {own})"
)
SHOWN: Final = (
    "SELECT (SELECT count(*) FROM tasks WHERE {own} AND shown_in & :bit <> 0),"
    " (SELECT count(*) FROM sightings WHERE {own} AND lists & :bit <> 0)"
)
FACTS: Final = (
    "SELECT held.lead_id, shown_in, coalesce(lists, 0), coalesce(differs, 0), coalesce(finished, false), true, count(*)"
    f" FROM (SELECT id, lead_id, shown_in, finished {OF_TASKS}) AS held LEFT JOIN {SEEN} ON task_id = id"
    f" WHERE lists IS NULL OR differs <> 0 OR shown_in & {BOTH} & ~lists <> 0 GROUP BY 1, 2, 3, 4, 5"
    f" UNION ALL SELECT lead_id, 0, lists, differs, false, false, count(*) FROM {SEEN} WHERE lead_id IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM tasks WHERE {own} AND id = task_id) GROUP BY 1, 3, 4"
)
USERS: Final = (
    "SELECT assigned_user_id FROM leads WHERE {own} AND assigned_user_id > 0"
    " UNION SELECT assigned_user_id FROM tasks WHERE {own} AND assigned_user_id > 0"
)
NOT_DUE: Final = "FROM leads WHERE {own} AND listed_run = :run AND coalesce(due_run, 0) <> :run"
AGES: Final = (
    "SELECT coalesce((SELECT max(cycle) FROM runs WHERE {own}) - cycle, 1000000), count(*)"
    f" FROM (SELECT proven_run {NOT_DUE}) AS waiting LEFT JOIN (SELECT number, cycle FROM runs WHERE {{own}}) AS done"
    " ON number = proven_run GROUP BY 1"
)
UNLISTED: Final = f"{LEADS_HELD} AND lead_id NOT IN (SELECT lead_id FROM leads WHERE {{own}} AND listed_run = :run)"
STRANGERS: Final = "SELECT lead_id FROM leads WHERE {own} AND coalesce(listed_run, 0) <> :run AND proven_at IS NOT NULL"
REQUEST_OLDEST: Final = (
    "UPDATE leads SET due_run = :run, due_for = :reason WHERE {own} AND lead_id IN"
    f" (SELECT lead_id {NOT_DUE} ORDER BY proven_run NULLS FIRST, lead_id LIMIT :count)"
)
REQUEST_ALL: Final = (
    "INSERT INTO leads ({account}lead_id, due_run, due_for) SELECT {account_value}lead_id, CAST(:run AS integer),"
    " :reason FROM (SELECT lead_id FROM leads WHERE {own} AND listed_run = :run"
    f" UNION SELECT lead_id {OF_TASKS}) AS known WHERE true ON CONFLICT ({{account}}lead_id)"
    " DO UPDATE SET due_run = excluded.due_run, due_for = excluded.due_for"
)
DUE: Final = (
    "SELECT lead_id, coalesce(proven_run = :run AND proven_at >= :oldest, false) FROM leads"
    " WHERE {own} AND due_run = :run ORDER BY lead_id"
)
DONE: Final = "SELECT lead_id FROM leads WHERE {own} AND proven_run = :run AND proven_at >= :oldest"
KNOWN: Final = f"SELECT lead_id FROM leads WHERE {{own}} UNION SELECT lead_id {OF_TASKS}"
CLASSES: Final = (
    "SELECT coalesce(type = 'Appointment', false) AS is_appointment, coalesce(finished, false) AS is_finished,"
    " start_at IS NOT NULL OR end_at IS NOT NULL AS is_dated, coalesce(assigned_user_id ="
    " (SELECT note FROM sweeps WHERE {own} AND list = 'mine'), true) AS is_own, count(*),"
    " count(*) FILTER (WHERE shown_in = 0), count(DISTINCT lead_id) FILTER (WHERE shown_in = 0)"
    " FROM tasks WHERE {own} GROUP BY 1, 2, 3, 4"
)
EVERY_RUN: Final = f"SELECT count(DISTINCT lead_id) {OF_TASKS} AND shown_in = 0 AND NOT coalesce(finished, false)"
CYCLES_SINCE_SWEEP: Final = f"SELECT ({LAST_CYCLE}) - max(cycle) FROM runs WHERE {{own}} AND was_swept"
ANY_WHOLE: Final = f"SELECT 1 {WHOLE} LIMIT 1"


@frozen
class Lists:
    """The tables in which the run numbered `run` keeps what it has seen of the API's lists, and which leads are due.

    Each method is one transaction. Those that write raise SyncRunningError if another process has taken over the claim.
    """

    database: Database
    run: int | None = None

    async def pages(self) -> dict[str, ListPage]:
        """The last page of each list that this run has read."""
        return {
            name: ListPage(name, cursor, records, bool(is_done), bool(is_complete), note)
            for name, cursor, records, is_done, is_complete, note in await self._fetch(PAGES)
        }

    async def note_leads(self, leads: Mapping[int, int | None], page: ListPage) -> None:
        """Notes leads that the API lists, each with the user it is assigned to."""
        listed = [{"lead_id": lead, "assigned_user_id": user, "listed_run": self.run} for lead, user in leads.items()]
        await self._write(each(NOTE_LEAD, listed), _note_page(page))

    async def note_tasks(self, tasks: Sequence[Task], unread: Collection[int], page: ListPage) -> Changes[int]:
        """Notes tasks that my-tasks shows, and takes over those that differ, as unproven rows."""

        def work(now: Any) -> Work[Changes[int]]:
            changes, left = yield from self._rows.take_over(tasks, now)
            sightings = [(task.id, MINE, MOVED if task.id in left else 0, stored_id(task.lead_id)) for task in tasks]
            yield _sight([*sightings, *((id, MINE, UNREAD, None) for id in unread)])
            yield self._request(dict.fromkeys(left.values(), Reason.MOVED))
            yield _note_page(page)
            return changes

        return await self.database.transact_claimed(work)

    async def note_entries(
        self,
        entries: Mapping[int, CalendarEntry],
        unread: Collection[int],
        page: ListPage,
        *,
        keep_new: bool,
        has_all_leads: bool,
    ) -> Changes[int]:
        """Notes tasks that the calendar shows, and where they differ from rows; with `keep_new`, adds new ones.

        If the list of leads `has_all_leads`, the caller may not be able to read those that it lacks: of their tasks,
        those that only the calendar shows are taken over.
        """

        def work(now: Any) -> Work[Changes[int]]:
            held = yield from self._rows.held(entries)
            differs = {id: self._rows.differing(held[id][0], entry) for id, entry in entries.items() if id in held}
            leads_of = {id: stored_id(entry.lead_id) or lead_of(held.get(id)) for id, entry in entries.items()}
            others = (yield from self._of_others(leads_of)) if has_all_leads else {}
            new = [id for id in entries if id not in held and (keep_new or id in others)]
            edited = [id for id in others if differs.get(id)]
            sightings = [
                (id, CALENDAR, 0 if id in others else differs.get(id, 0), stored_id(entry.lead_id))
                for id, entry in entries.items()
            ]
            yield _sight([*sightings, *((id, CALENDAR, UNREAD, None) for id in unread)])
            # A lead that the list of leads lacks may be one that was added since.
            leads = {others.get(id) for id in new} | {leads_of[id] for id in held if lead_of(held[id]) is None}
            yield self._request({lead_id: Reason.NEW for lead_id in leads if lead_id is not None})
            yield _note_page(page)
            taken = [self._rows.with_entry(id, entries[id], held.get(id)) for id in (*new, *edited)]
            changes, _ = yield from self._rows.take_over(taken, now)
            return changes

        return await self.database.transact_claimed(work)

    async def users(self) -> frozenset[int]:
        """The users to whom leads or tasks are assigned."""
        ids = await self._ids(USERS)
        return frozenset(id for id in ids if 0 < id <= LARGEST_ID)  # SQLite's digits of larger ones are blobs

    async def sighted(self, ids: Collection[int]) -> frozenset[int]:
        """Those of the tasks that a list has shown in this run."""
        return await self._ids(SIGHTED, ids=list(ids))

    async def shown(self) -> dict[int, tuple[int, int]]:
        """For each list's bit, the number of rows that it showed before this run, and of tasks in this run."""
        shown: dict[int, tuple[int, int]] = {}
        for bit in (MINE, CALENDAR):
            ((before, now),) = await self._fetch(SHOWN, bit=bit)
            shown[bit] = before, now
        return shown

    async def facts(self) -> list[TaskFacts]:
        """The tasks that need a decision: lost, new or differing ones, and those that no list shows; grouped."""
        return [
            TaskFacts(lead_id, before, now, differs, bool(is_finished), bool(is_held), count)
            for lead_id, before, now, differs, is_finished, is_held, count in await self._fetch(FACTS)
        ]

    async def ages(self) -> dict[int, int]:
        """The number of listed leads that are not due, by the number of cycles since they were read."""
        return {int(age): count for age, count in await self._fetch(AGES, run=self.run)}

    async def unlisted(self) -> frozenset[int]:
        """The leads of rows that this run's list of leads lacks."""
        return await self._ids(UNLISTED, run=self.run)

    async def strangers(self) -> frozenset[int]:
        """The leads that were read before and that this run's list of leads lacks."""
        return await self._ids(STRANGERS, run=self.run)

    async def known_leads(self) -> frozenset[int]:
        """The leads of the rows, and those that a list of leads has shown."""
        return await self._ids(KNOWN)

    async def lost_without_lead(self) -> list[int]:
        """The rows of no lead that no list has shown in this run."""
        return sorted(await self._ids(LOST_WITHOUT_LEAD))

    async def request_reads(self, reads: Mapping[int, Reason]) -> None:
        """Makes leads due."""
        await self._write(self._request(reads))

    async def request_oldest(self, count: int) -> None:
        """Makes due the leads whose last proof is oldest."""
        await self._write(query(REQUEST_OLDEST, run=self.run, reason=Reason.ROTATION.value, count=count))

    async def request_all(self) -> None:
        """Makes every lead due: those listed, and those of rows."""
        await self._write(query(REQUEST_ALL, run=self.run, reason=Reason.FIRST.value))

    async def due(self, *, resume_within: float) -> tuple[list[int], int]:
        """The leads that are due and not read in the last seconds of this run, and the number of those that are."""
        rows = await self._since(resume_within, DUE)
        due = [lead_id for lead_id, is_done in rows if not is_done]
        return due, len(rows) - len(due)

    async def done(self, *, resume_within: float) -> frozenset[int]:
        """The leads that this run has read in the last seconds."""
        return frozenset(lead_id for (lead_id,) in await self._since(resume_within, DONE))

    async def size(self, leads: int) -> Size:
        """The size of an account of so many leads, as far as known."""
        summary, cycles = await self.database.summary(), await self._cycles_since_sweep()
        # What the lists do not show is looked at anew after some runs without them.
        is_known = cycles is not None and cycles < PROOF_CYCLES
        return Size(
            leads=leads,
            tasks=summary.tasks or TASKS_A_LEAD * leads,
            users=max(1, summary.users),
            every_run=await self.every_run() if is_known else 0,
            is_first=await self.is_first(),
        )

    async def hidden(self, turns: int = 1) -> tuple[str, ...]:
        """The classes of tasks that the lists did not show in the last sweep, in words; empty before the first.

        Open ones are read once in `turns` runs.
        """
        if await self._cycles_since_sweep() is None:
            return ()
        names = [one.name for one in fields(ClassCount)]
        rows = [(*map(bool, row[:4]), *row[4:]) for row in await self._fetch(CLASSES)]
        return tuple(hidden_classes([ClassCount(**dict(zip(names, row, strict=True))) for row in rows], turns))

    async def every_run(self) -> int:
        """The number of leads with open tasks that no list showed in the last sweep."""
        ((count,),) = await self._fetch(EVERY_RUN)
        return int(count)

    async def is_first(self) -> bool:
        """Whether no run over all leads has ended yet."""
        return not await self._fetch(ANY_WHOLE)

    def _of_others(self, leads_of: Mapping[int, int | None]) -> Work[dict[int, int | None]]:
        """Those of the tasks that my-tasks has not shown and whose lead the list of leads lacks, with their leads."""
        leads = [lead_id for lead_id in set(leads_of.values()) if lead_id is not None]
        listed = {id for (id,) in (yield query(AMONG_LISTED, leads=leads, run=self.run))}
        mine = {id for (id,) in (yield query(SIGHTED_IN_MINE, ids=list(leads_of)))}
        return {id: lead_id for id, lead_id in leads_of.items() if lead_id not in listed and id not in mine}

    @property
    def _rows(self) -> Rows:
        return self.database.rows

    async def _cycles_since_sweep(self) -> int | None:
        """The number of runs over all leads since the last that swept the lists; `None` if none did."""
        ((cycles,),) = await self._fetch(CYCLES_SINCE_SWEEP)
        return None if cycles is None else int(cycles)

    async def _fetch(self, sql: str, **values: Any) -> list[Row]:
        return await self.database.read(_results(query(sql, **values)))

    async def _ids(self, sql: str, **values: Any) -> frozenset[int]:
        return frozenset(int(id) for (id,) in await self._fetch(sql, **values))

    async def _since(self, seconds: float, sql: str) -> list[Row]:
        """The rows of a query about this run since the time that lies so many seconds back."""

        def work() -> Work[list[Row]]:
            ((now,),) = yield NOW
            dialect = self.database.dialect
            oldest = dialect.from_time(now) - timedelta(seconds=min(seconds, MOST_SECONDS))
            return (yield query(sql, run=self.run, oldest=dialect.to_time(oldest)))

        return await self.database.read(work())

    async def _write(self, *statements: Statement) -> None:
        await self.database.transact_claimed(lambda _: _in_order(statements))

    def _request(self, reads: Mapping[int, Reason]) -> Statement:
        """Makes leads due."""
        due = [{"lead_id": lead, "due_run": self.run, "due_for": reason.value} for lead, reason in reads.items()]
        return each(REQUEST, due)


def _results(statement: Statement) -> Work[list[Row]]:
    return (yield statement)


def _in_order(statements: Iterable[Statement]) -> Work[None]:
    for statement in statements:  # noqa: UP028 - `yield from` would send them the results
        yield statement


def _sight(sightings: Iterable[tuple[int, int, int, int | None]]) -> Statement:
    names = ("task_id", "lists", "differs", "lead_id")
    return each(SIGHT, (dict(zip(names, sighting, strict=True)) for sighting in sightings))


def _note_page(page: ListPage) -> Statement:
    return query(NOTE_PAGE, **asdict(page))
