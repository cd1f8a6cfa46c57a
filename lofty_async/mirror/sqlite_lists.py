"""The API's lists as a run of a mirror has seen them, in SQLite: pages read, sightings of tasks, and leads due."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen

from lofty_async.models import CalendarEntry, Task

from .columns import TASKS, from_utc_text, utc_text
from .database import ListPage, Summary
from .decide import CALENDAR, MINE, MOVED, UNREAD, ClassCount, Reason, TaskFacts
from .rows import as_task, differing
from .sinks import Changes
from .sqlite_rows import Rows

NOTE_PAGE: Final = (
    "INSERT INTO sweeps (list, cursor, records, is_done, is_complete, note) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (list) DO UPDATE SET cursor = excluded.cursor, records = records + excluded.records,"
    " is_done = excluded.is_done, is_complete = excluded.is_complete, note = coalesce(excluded.note, note)"
)
NOTE_LEAD: Final = (
    "INSERT INTO leads (lead_id, assigned_user_id, listed_run) VALUES (?, ?, ?) ON CONFLICT (lead_id)"
    " DO UPDATE SET assigned_user_id = excluded.assigned_user_id, listed_run = excluded.listed_run"
)
SIGHT: Final = (
    "INSERT INTO sightings (task_id, lists, differs, lead_id) VALUES (?, ?, ?, ?) ON CONFLICT (task_id)"
    " DO UPDATE SET lists = lists | excluded.lists, differs = differs | excluded.differs,"
    " lead_id = coalesce(excluded.lead_id, lead_id)"
)
REQUEST: Final = (
    "INSERT INTO leads (lead_id, due_run, due_for) VALUES (?, ?, ?) ON CONFLICT (lead_id)"
    " DO UPDATE SET due_run = excluded.due_run, due_for = excluded.due_for"
)
FACTS: Final = (
    "SELECT tasks.lead_id, shown_in, coalesce(lists, 0), coalesce(differs, 0), coalesce(finished, 0), 1, count(*)"
    " FROM tasks LEFT JOIN sightings ON task_id = id WHERE tasks.lead_id IS NOT NULL"
    " AND (lists IS NULL OR differs OR shown_in & ~lists) GROUP BY 1, 2, 3, 4, 5"
    " UNION ALL SELECT lead_id, 0, lists, differs, 0, 0, count(*) FROM sightings"
    " WHERE lead_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tasks WHERE id = task_id) GROUP BY 1, 3, 4"
)
AGES: Final = (
    "SELECT coalesce((SELECT max(cycle) FROM runs) - cycle, 1000000), count(*) FROM leads"
    " LEFT JOIN runs ON number = proven_run WHERE due_run IS NOT :run AND listed_run = :run GROUP BY 1"
)
OLDEST: Final = (
    "UPDATE leads SET due_run = :run, due_for = :reason WHERE lead_id IN (SELECT lead_id FROM leads"
    " WHERE due_run IS NOT :run AND listed_run = :run ORDER BY proven_run, lead_id LIMIT :count)"
)
ALL: Final = (
    "INSERT INTO leads (lead_id, due_run, due_for) SELECT DISTINCT lead_id, :run, :reason FROM"
    " (SELECT lead_id FROM leads WHERE listed_run = :run UNION SELECT lead_id FROM tasks WHERE lead_id IS NOT NULL)"
    " WHERE true ON CONFLICT (lead_id) DO UPDATE SET due_run = excluded.due_run, due_for = excluded.due_for"
)
TAKE_OVER_SIGHTINGS: Final = (
    "UPDATE tasks SET shown_in = coalesce((SELECT lists FROM sightings WHERE task_id = id), 0)"
    " WHERE shown_in IS NOT coalesce((SELECT lists FROM sightings WHERE task_id = id), 0) AND NOT EXISTS"
    " (SELECT 1 FROM leads WHERE leads.lead_id = tasks.lead_id AND due_run = :run AND proven_run IS NOT :run)"
)
CLASSES: Final = (
    "SELECT coalesce(type = 'Appointment', 0), coalesce(finished, 0), start_at IS NOT NULL OR end_at IS NOT NULL,"
    " coalesce(assigned_user_id = (SELECT note FROM sweeps WHERE list = 'mine'), 1), count(*),"
    " sum(shown_in & 1), sum(shown_in >> 1 & 1), sum(shown_in = 0), count(DISTINCT iif(shown_in = 0, lead_id, NULL))"
    " FROM tasks GROUP BY 1, 2, 3, 4"
)
SUMMARY: Final = (
    "SELECT (SELECT count(*) FROM tasks), (SELECT count(proven_at) FROM tasks), (SELECT count(*) FROM leads"
    " WHERE listed_run = (SELECT max(listed_run) FROM leads) OR listed_run IS NULL),"
    " (SELECT count(DISTINCT assigned_user_id) FROM leads),"
    " (SELECT min(proven_at) FROM leads WHERE listed_run = (SELECT max(listed_run) FROM leads))"
)


@frozen
class Lists:
    """Reads and writes what a run has seen of the API's lists, within the caller's transaction."""

    connection: sqlite3.Connection
    rows: Rows

    def pages(self) -> dict[str, ListPage]:
        query = "SELECT list, cursor, records, is_done, is_complete, note FROM sweeps"
        return {
            name: ListPage(name, cursor, records, bool(is_done), bool(is_complete), note)
            for name, cursor, records, is_done, is_complete, note in self.connection.execute(query)
        }

    def note_leads(self, leads: Mapping[int, int | None], page: ListPage, run: int | None) -> None:
        self.connection.executemany(NOTE_LEAD, [(lead_id, user_id, run) for lead_id, user_id in leads.items()])
        self._note_page(page)

    def note_tasks(
        self, tasks: Sequence[Task], unread: Collection[int], page: ListPage, run: int | None
    ) -> Changes[int]:
        changes, left = self.rows.take_over(tasks)
        self.connection.executemany(
            SIGHT, [(task.id, MINE, MOVED if task.id in left else 0, task.lead_id) for task in tasks]
        )
        self.connection.executemany(SIGHT, [(id, MINE, UNREAD, None) for id in unread])
        self.request_reads(dict.fromkeys(left.values(), Reason.MOVED), run)
        self._note_page(page)
        return changes

    def note_entries(
        self, entries: Mapping[int, CalendarEntry], unread: Collection[int], page: ListPage, *, keep_new: bool
    ) -> Changes[int]:
        held = self.rows.held(entries)
        differs = {id: differing(held[id][0], entry, TASKS) for id, entry in entries.items() if id in held}
        sightings = [(id, CALENDAR, differs.get(id, 0), entry.lead_id) for id, entry in entries.items()]
        self.connection.executemany(SIGHT, sightings)
        self.connection.executemany(SIGHT, [(id, CALENDAR, UNREAD, None) for id in unread])
        self._note_page(page)
        new = [as_task(id, entry) for id, entry in entries.items() if id not in held] if keep_new else []
        return self.rows.take_over(new)[0]

    def sighted(self, ids: Collection[int]) -> tuple[int, ...]:
        query = "SELECT task_id FROM sightings WHERE task_id IN (SELECT value FROM json_each(?))"
        return tuple(id for (id,) in self.connection.execute(query, (json.dumps(list(ids)),)))

    def shown(self) -> dict[int, tuple[int, int]]:
        query = (
            "SELECT (SELECT count(*) FROM tasks WHERE shown_in & :bit),"
            " (SELECT count(*) FROM sightings WHERE lists & :bit)"
        )
        return {bit: self.connection.execute(query, {"bit": bit}).fetchone() for bit in (MINE, CALENDAR)}

    def facts(self) -> list[TaskFacts]:
        return [
            TaskFacts(lead_id, before, now, differs, bool(is_finished), bool(is_held), count)
            for lead_id, before, now, differs, is_finished, is_held, count in self.connection.execute(FACTS)
        ]

    def users(self) -> frozenset[int]:
        query = "SELECT assigned_user_id FROM leads UNION SELECT assigned_user_id FROM tasks"
        return frozenset(id for (id,) in self.connection.execute(query) if isinstance(id, int) and id > 0)

    def ages(self, run: int | None) -> dict[int, int]:
        return dict(self.connection.execute(AGES, {"run": run}))

    def unlisted(self, run: int | None) -> frozenset[int]:
        query = (
            "SELECT DISTINCT lead_id FROM tasks WHERE lead_id IS NOT NULL"
            " AND lead_id NOT IN (SELECT lead_id FROM leads WHERE listed_run = ?)"
        )
        return frozenset(lead_id for (lead_id,) in self.connection.execute(query, (run,)))

    def strangers(self, run: int | None) -> frozenset[int]:
        query = "SELECT lead_id FROM leads WHERE listed_run IS NOT ? AND proven_at IS NOT NULL"
        return frozenset(lead_id for (lead_id,) in self.connection.execute(query, (run,)))

    def request_reads(self, reads: Mapping[int, Reason], run: int | None) -> None:
        self.connection.executemany(REQUEST, [(lead_id, run, reason.value) for lead_id, reason in reads.items()])

    def request_oldest(self, count: int, run: int | None) -> None:
        self.connection.execute(OLDEST, {"run": run, "reason": Reason.ROTATION.value, "count": count})

    def request_all(self, run: int | None) -> None:
        self.connection.execute(ALL, {"run": run, "reason": Reason.FIRST.value})

    def due(self, run: int | None, oldest: datetime) -> tuple[list[int], int]:
        query = "SELECT lead_id, proven_run IS ? AND proven_at >= ? FROM leads WHERE due_run = ? ORDER BY lead_id"
        due, done = list[int](), 0
        for lead_id, is_done in self.connection.execute(query, (run, utc_text(oldest), run)):
            done += is_done
            if not is_done:
                due.append(lead_id)
        return due, done

    def done(self, run: int | None, oldest: datetime) -> frozenset[int]:
        query = "SELECT lead_id FROM leads WHERE proven_run = ? AND proven_at >= ?"
        return frozenset(lead_id for (lead_id,) in self.connection.execute(query, (run, utc_text(oldest))))

    def known_leads(self) -> frozenset[int]:
        query = "SELECT lead_id FROM leads UNION SELECT lead_id FROM tasks WHERE lead_id IS NOT NULL"
        return frozenset(lead_id for (lead_id,) in self.connection.execute(query))

    def take_over_sightings(self, run: int | None) -> None:
        self.connection.execute(TAKE_OVER_SIGHTINGS, {"run": run})

    def classes(self) -> list[ClassCount]:
        return [
            ClassCount(
                is_appointment=bool(is_appointment),
                is_finished=bool(is_finished),
                is_dated=bool(is_dated),
                is_own=bool(is_own),
                tasks=tasks,
                in_mine=in_mine,
                in_calendar=in_calendar,
                hidden=hidden,
                leads=leads,
            )
            for is_appointment, is_finished, is_dated, is_own, tasks, in_mine, in_calendar, hidden, leads in (
                self.connection.execute(CLASSES)
            )
        ]

    def every_run(self) -> int:
        query = "SELECT count(DISTINCT lead_id) FROM tasks WHERE shown_in = 0 AND NOT coalesce(finished, 0)"
        return int(self.connection.execute(query).fetchone()[0])

    def summary(self) -> Summary:
        tasks, proven, leads, users, oldest = self.connection.execute(SUMMARY).fetchone()
        return Summary(
            tasks=tasks,
            proven=proven,
            leads=leads,
            users=users,
            oldest_proof=None if oldest is None else from_utc_text(oldest),
        )

    def _note_page(self, page: ListPage) -> None:
        values: Iterable[Any] = (page.list, page.cursor, page.records, page.is_done, page.is_complete, page.note)
        self.connection.execute(NOTE_PAGE, tuple(values))


def oldest_of(now: datetime, within: float) -> datetime:
    """The earliest time that lies at most so many seconds back."""
    return now - timedelta(seconds=min(within, 1e9))
