"""The API's lists as a run of a mirror has seen them: pages read, sightings of tasks, and leads due."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from attrs import fields, frozen

from lofty_async._checks import LARGEST_ID
from lofty_async.models import CalendarEntry, Task

from .decide import BOTH, CALENDAR, MINE, MOVED, UNREAD, ClassCount, Reason, TaskFacts
from .records import ListPage, Summary
from .rows import LAST_SEQ, PRUNED, Rows, as_task
from .sinks import Changes
from .statements import NOW, Work, each, query, upsert

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
OF_TASKS: Final = "FROM tasks WHERE {own} AND lead_id IS NOT NULL"
SEEN: Final = "(SELECT task_id, lists, differs, lead_id FROM sightings WHERE {own}) AS seen"
SIGHTED: Final = "SELECT task_id FROM sightings WHERE {own} AND task_id {in_ids}"
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
UNLISTED: Final = (
    f"SELECT DISTINCT lead_id {OF_TASKS}"
    " AND lead_id NOT IN (SELECT lead_id FROM leads WHERE {own} AND listed_run = :run)"
)
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
OF_ROWS: Final = f"SELECT DISTINCT lead_id {OF_TASKS}"
KNOWN: Final = f"SELECT lead_id FROM leads WHERE {{own}} UNION SELECT lead_id {OF_TASKS}"
TAKE_OVER_SIGHTINGS: Final = (
    "UPDATE tasks SET shown_in = shown_now FROM (SELECT id AS task, coalesce(lists, 0) AS shown_now"
    f" FROM (SELECT id, lead_id, shown_in FROM tasks WHERE {{own}}) AS held LEFT JOIN {SEEN} ON task_id = id"
    " WHERE shown_in <> coalesce(lists, 0) AND NOT EXISTS (SELECT 1 FROM leads WHERE {own}"
    " AND leads.lead_id = held.lead_id AND due_run = :run AND coalesce(proven_run, 0) <> :run)) AS other"
    " WHERE {own} AND id = task"
)
CLASSES: Final = (
    "SELECT coalesce(type = 'Appointment', false) AS is_appointment, coalesce(finished, false) AS is_finished,"
    " start_at IS NOT NULL OR end_at IS NOT NULL AS is_dated, coalesce(assigned_user_id ="
    " (SELECT note FROM sweeps WHERE {own} AND list = 'mine'), true) AS is_own, count(*),"
    " count(*) FILTER (WHERE shown_in & 1 <> 0), count(*) FILTER (WHERE shown_in & 2 <> 0),"
    " count(*) FILTER (WHERE shown_in = 0), count(DISTINCT lead_id) FILTER (WHERE shown_in = 0)"
    " FROM tasks WHERE {own} GROUP BY 1, 2, 3, 4"
)
EVERY_RUN: Final = f"SELECT count(DISTINCT lead_id) {OF_TASKS} AND shown_in = 0 AND NOT coalesce(finished, false)"
LISTED: Final = "listed_run = (SELECT max(listed_run) FROM leads WHERE {own})"
SUMMARY: Final = (
    "SELECT (SELECT count(*) FROM tasks WHERE {own}), (SELECT count(proven_at) FROM tasks WHERE {own}),"
    f" (SELECT count(*) FROM leads WHERE {{own}} AND ({LISTED} OR listed_run IS NULL)),"
    " (SELECT count(DISTINCT assigned_user_id) FROM leads WHERE {own}),"
    f" (SELECT min(proven_at) FROM leads WHERE {{own}} AND {LISTED}), {LAST_SEQ}, {PRUNED}"
)


@frozen
class Lists:
    """Work on what a run has seen of the API's lists; `run` is the number of the run."""

    rows: Rows

    def pages(self) -> Work[dict[str, ListPage]]:
        rows = yield query(PAGES)
        return {
            name: ListPage(name, cursor, records, bool(is_done), bool(is_complete), note)
            for name, cursor, records, is_done, is_complete, note in rows
        }

    def note_leads(self, leads: Mapping[int, int | None], page: ListPage, run: int | None) -> Work[None]:
        listed = ({"lead_id": lead, "assigned_user_id": user, "listed_run": run} for lead, user in leads.items())
        yield each(NOTE_LEAD, listed)
        yield _note_page(page)

    def note_tasks(
        self, tasks: Sequence[Task], unread: Collection[int], page: ListPage, run: int | None, now: Any
    ) -> Work[Changes[int]]:
        changes, left = yield from self.rows.take_over(tasks, now)
        sightings = [(task.id, MINE, MOVED if task.id in left else 0, task.lead_id) for task in tasks]
        yield from _sight([*sightings, *((id, MINE, UNREAD, None) for id in unread)])
        yield from self.request_reads(dict.fromkeys(left.values(), Reason.MOVED), run)
        yield _note_page(page)
        return changes

    def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool, now: Any
    ) -> Work[Changes[int]]:
        held = yield from self.rows.held(entries)
        differs = {id: self.rows.differing(held[id][0], entry) for id, entry in entries.items() if id in held}
        sightings = [(id, CALENDAR, differs.get(id, 0), entry.lead_id) for id, entry in entries.items()]
        yield from _sight([*sightings, *((id, CALENDAR, UNREAD, None) for id in unread)])
        yield _note_page(page)
        new = [as_task(id, entry) for id, entry in entries.items() if id not in held] if keep_new else []
        changes, _ = yield from self.rows.take_over(new, now)
        return changes

    def sighted(self, ids: Collection[int]) -> Work[tuple[int, ...]]:
        return tuple(id for (id,) in (yield query(SIGHTED, ids=list(ids))))

    def shown(self) -> Work[dict[int, tuple[int, int]]]:
        shown: dict[int, tuple[int, int]] = {}
        for bit in (MINE, CALENDAR):
            ((before, now),) = yield query(SHOWN, bit=bit)
            shown[bit] = before, now
        return shown

    def facts(self) -> Work[list[TaskFacts]]:
        return [
            TaskFacts(lead_id, before, now, differs, bool(is_finished), bool(is_held), count)
            for lead_id, before, now, differs, is_finished, is_held, count in (yield query(FACTS))
        ]

    def users(self) -> Work[frozenset[int]]:
        ids = yield from _ids(USERS)
        return frozenset(id for id in ids if 0 < id <= LARGEST_ID)  # SQLite's digits of larger ones are blobs

    def ages(self, run: int | None) -> Work[dict[int, int]]:
        return {int(age): count for age, count in (yield query(AGES, run=run))}

    def unlisted(self, run: int | None) -> Work[frozenset[int]]:
        return _ids(UNLISTED, run=run)

    def strangers(self, run: int | None) -> Work[frozenset[int]]:
        return _ids(STRANGERS, run=run)

    def request_reads(self, reads: Mapping[int, Reason], run: int | None) -> Work[None]:
        if reads:
            due = ({"lead_id": lead, "due_run": run, "due_for": reason.value} for lead, reason in reads.items())
            yield each(REQUEST, due)

    def request_oldest(self, count: int, run: int | None) -> Work[None]:
        yield query(REQUEST_OLDEST, run=run, reason=Reason.ROTATION.value, count=count)

    def request_all(self, run: int | None) -> Work[None]:
        yield query(REQUEST_ALL, run=run, reason=Reason.FIRST.value)

    def due(self, run: int | None, within: float) -> Work[tuple[list[int], int]]:
        rows = yield query(DUE, run=run, oldest=(yield from self._oldest(within)))
        due = [lead_id for lead_id, is_done in rows if not is_done]
        return due, len(rows) - len(due)

    def done(self, run: int | None, within: float) -> Work[frozenset[int]]:
        return (yield from _ids(DONE, run=run, oldest=(yield from self._oldest(within))))

    def leads(self) -> Work[frozenset[int]]:
        return _ids(OF_ROWS)

    def known_leads(self) -> Work[frozenset[int]]:
        return _ids(KNOWN)

    def take_over_sightings(self, run: int | None) -> Work[None]:
        yield query(TAKE_OVER_SIGHTINGS, run=run)

    def classes(self) -> Work[list[ClassCount]]:
        names = [one.name for one in fields(ClassCount)]
        return [
            ClassCount(**dict(zip(names, (*map(bool, row[:4]), *row[4:]), strict=True)))
            for row in (yield query(CLASSES))
        ]

    def every_run(self) -> Work[int]:
        ((count,),) = yield query(EVERY_RUN)
        return int(count)

    def summary(self) -> Work[Summary]:
        ((tasks, proven, leads, users, oldest, last, pruned),) = yield query(SUMMARY)
        return Summary(
            tasks=tasks,
            proven=proven,
            leads=leads,
            users=users,
            oldest_proof=None if oldest is None else self.rows.dialect.from_time(oldest),
            last_change=last,
            pruned_changes=pruned,
        )

    def _oldest(self, within: float) -> Work[Any]:
        """The earliest time that lies at most so many seconds back."""
        ((now,),) = yield NOW
        dialect = self.rows.dialect
        return dialect.to_time(dialect.from_time(now) - timedelta(seconds=min(within, MOST_SECONDS)))


def _ids(sql: str, **values: Any) -> Work[frozenset[int]]:
    return frozenset(int(id) for (id,) in (yield query(sql, **values)))


def _sight(sightings: Iterable[tuple[int, int, int, int | None]]) -> Work[None]:
    rows = [
        {"task_id": id, "lists": lists, "differs": differs, "lead_id": lead_id}
        for id, lists, differs, lead_id in sightings
    ]
    if rows:
        yield each(SIGHT, rows)


def _note_page(page: ListPage) -> Any:
    return query(
        NOTE_PAGE,
        list=page.list,
        cursor=page.cursor,
        records=page.records,
        is_done=page.is_done,
        is_complete=page.is_complete,
        note=page.note,
    )
