"""The rows of tasks, and the changes that are written with them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from lofty_async._checks import refuse
from lofty_async.models import CalendarEntry, EntryType, Task, TaskType

from .columns import Columns, columns_of, stored_id
from .decide import COMPARED, UNSWEPT
from .dialects import Dialect
from .errors import ChangesPrunedError
from .records import Change, ChangeKind, Summary
from .sinks import Changes, Doubt, Merged, diff, merged
from .statements import Row, Work, each, query, upsert

Held = tuple[Row, bool]
"""A row, and whether reading its lead has confirmed it."""

AS_JSON: Final = columns_of(Task)
"""The form of a task in the table of changes."""
LEAD: Final = AS_JSON.names.index("lead_id")
FINISHED: Final = AS_JSON.names.index("finished")
PLACES: Final = [AS_JSON.names.index(name) for name in COMPARED]

# ruff: noqa: S608 - column names come from the model, and all values are bound
NAMES: Final = ", ".join(AS_JSON.names)
ALL: Final = f"SELECT {NAMES} FROM tasks WHERE {{own}} ORDER BY id"
OF_LEAD: Final = f"SELECT {NAMES} FROM tasks WHERE {{own}} AND lead_id = :lead_id ORDER BY id"
BY_ID: Final = f"SELECT {NAMES}, proven_at IS NOT NULL FROM tasks WHERE {{own}} AND id {{in_ids}}"
# Two look-ups by index, as a database may read the whole table for an OR.
BY_ID_OR_LEAD: Final = (
    f"{BY_ID} UNION ALL SELECT {NAMES}, proven_at IS NOT NULL FROM tasks WHERE {{own}} AND lead_id {{in_leads}}"
)
UPSERT: Final = upsert("tasks", *AS_JSON.names, "proven_at", "shown_in", shown_in="tasks.shown_in")
PROVE: Final = "UPDATE tasks SET proven_at = :now WHERE {own} AND id {in_ids}"
DELETE: Final = "DELETE FROM tasks WHERE {own} AND id {in_ids}"
PROVE_LEADS: Final = (
    "INSERT INTO leads ({account}lead_id, proven_run, proven_at)"
    " SELECT {account_value}value, CAST(:run AS integer), :now FROM {leads} WHERE true ON CONFLICT ({account}lead_id)"
    " DO UPDATE SET proven_run = excluded.proven_run, proven_at = excluded.proven_at"
)
LOG: Final = (
    "INSERT INTO changes ({account}seq, at, kind, task_id, task, before)"
    " VALUES ({account_value}:seq, :at, :kind, :task_id, :task, :before)"
)
PRUNED: Final = "(SELECT pruned_seq FROM sources WHERE account = :account)"
LAST_SEQ: Final = f"coalesce((SELECT max(seq) FROM changes WHERE {{own}}), {PRUNED})"
CHANGES: Final = (
    "SELECT seq, at, kind, CAST(task AS text), CAST(before AS text) FROM changes"
    " WHERE {own} AND seq > :since ORDER BY seq LIMIT :limit"
)
FIRST_KEPT: Final = "SELECT seq FROM changes WHERE {own} AND at >= :before ORDER BY seq LIMIT 1"
OF_TASKS: Final = "FROM tasks WHERE {own} AND lead_id IS NOT NULL"
SEEN: Final = "(SELECT task_id, lists, differs, lead_id FROM sightings WHERE {own}) AS seen"
LEADS_HELD: Final = f"SELECT DISTINCT lead_id {OF_TASKS}"
OF_HELD: Final = "(SELECT 1 FROM leads WHERE {own} AND leads.lead_id = held.lead_id"
TAKE_OVER_SIGHTINGS: Final = (
    "UPDATE tasks SET shown_in = shown_now FROM (SELECT id AS task, coalesce(lists, 0) AS shown_now"
    f" FROM (SELECT id, lead_id, shown_in FROM tasks WHERE {{own}}) AS held LEFT JOIN {SEEN} ON task_id = id"
    " WHERE shown_in <> coalesce(lists, 0)"
    f" AND NOT EXISTS {OF_HELD} AND due_run = :run AND coalesce(proven_run, 0) <> :run)"
    # Others may have written rows since the sweep: notices, and runs over some leads while this one was interrupted.
    f" AND (shown_in <> {UNSWEPT} OR lists IS NOT NULL OR EXISTS {OF_HELD} AND proven_run = :run))) AS other"
    " WHERE {own} AND id = task"
)
LISTED: Final = "listed_run = (SELECT max(listed_run) FROM leads WHERE {own})"
SUMMARY: Final = (
    "SELECT (SELECT count(*) FROM tasks WHERE {own}), (SELECT count(proven_at) FROM tasks WHERE {own}),"
    f" (SELECT count(*) FROM leads WHERE {{own}} AND ({LISTED} OR listed_run IS NULL)),"
    " (SELECT count(DISTINCT assigned_user_id) FROM leads WHERE {own}),"
    f" (SELECT min(proven_at) FROM leads WHERE {{own}} AND {LISTED}), {LAST_SEQ}, {PRUNED}"
)


@frozen
class Rows:
    """Work on the rows of tasks."""

    dialect: Dialect

    @property
    def columns(self) -> Columns[Task]:
        return self.dialect.tasks

    def tasks(self, lead_id: int | None) -> Work[list[Task]]:
        rows = yield query(ALL) if lead_id is None else query(OF_LEAD, lead_id=lead_id)
        return [self.columns.record(row) for row in rows]

    def leads(self) -> Work[frozenset[int]]:
        return frozenset(int(lead_id) for (lead_id,) in (yield query(LEADS_HELD)))

    def summary(self) -> Work[Summary]:
        ((tasks, proven, leads, users, oldest, last, pruned),) = yield query(SUMMARY)
        return Summary(
            tasks=tasks,
            proven=proven,
            leads=leads,
            users=users,
            oldest_proof=None if oldest is None else self.dialect.from_time(oldest),
            last_change=last,
            pruned_changes=pruned,
        )

    def replace(self, leads: Mapping[int, Sequence[Task]], now: Any) -> Work[Changes[int]]:
        """Makes the rows of each lead equal to its tasks."""
        parts: list[Changes[int]] = []
        for lead_id, tasks in leads.items():
            new = self._encode(tasks)
            held = yield from self.held(new, [lead_id])
            parts.append((yield from self._apply(held, new, now, is_proof=True)))
        return merged(parts)

    def merge(self, leads: Mapping[int, Sequence[Task]], now: Any) -> Work[Merged]:
        """Adds and updates the rows of leads, but for those in doubt; removes none."""
        lists = {lead_id: self._encode(tasks) for lead_id, tasks in leads.items()}
        held = yield from self.held([id for rows in lists.values() for id in rows], lists)
        new, doubts = _without_doubts(lists, {id: row[LEAD] for id, (row, _) in held.items()})
        before = {id: held[id] for id in held if id in new}
        return Merged((yield from self._apply(before, new, now, is_proof=True)), tuple(doubts))

    def settle(self, moved: Sequence[Task], gone: Collection[int], now: Any) -> Work[Changes[int]]:
        held = yield from self.held([*(task.id for task in moved), *gone])
        return (yield from self._apply(held, self._placed(moved, held), now, is_proof=True))

    def take_over(self, tasks: Sequence[Task], now: Any) -> Work[tuple[Changes[int], dict[int, int]]]:
        """Adds and updates unproven rows; also returns the lead that each moved task has left, by task."""
        held = yield from self.held([task.id for task in tasks])
        new = self._placed(tasks, held)
        left = {id: row[LEAD] for id, (row, _) in held.items() if row[LEAD] != new[id][LEAD]}
        changes = yield from self._apply(held, new, now, is_proof=False)
        return changes, {id: lead_id for id, lead_id in left.items() if lead_id is not None}

    def held(self, ids: Iterable[int], leads: Iterable[int] = ()) -> Work[dict[int, Held]]:
        """The rows of tasks, and those of leads."""
        known, of_leads = list(ids), list(leads)
        rows = yield query(BY_ID_OR_LEAD, ids=known, leads=of_leads) if of_leads else query(BY_ID, ids=known)
        return {row[0]: (row[:-1], bool(row[-1])) for row in rows}

    def prove_leads(self, leads: Iterable[int], run: int | None, now: Any) -> Work[None]:
        if ids := list(leads):
            yield query(PROVE_LEADS, leads=ids, run=run, now=now)

    def take_over_sightings(self, run: int | None) -> Work[None]:
        """Notes which lists have shown each row, as far as the run knows."""
        yield query(TAKE_OVER_SIGHTINGS, run=run)

    def changes(self, since: int, limit: int) -> Work[list[Change]]:
        """Raises: ChangesPrunedError if some of them were removed; InvalidRequestError beyond the last change."""
        rows = yield query(CHANGES, since=since, limit=limit)
        # In this order: whoever removes changes in between says so here.
        ((last, pruned),) = yield query(f"SELECT {LAST_SEQ}, {PRUNED}")
        if since > last:
            raise refuse("since", f"must be at most {last}, the last change: the number is another database's")
        if since < pruned:
            raise ChangesPrunedError(
                f"the changes up to {pruned:,} were removed, and those after {since:,} would leave a gap:"
                f" copy the tasks again, and then read the changes since {pruned}",
                oldest=pruned,
            )
        return [self._change(*row) for row in rows]

    def prune(self, before: Any) -> Work[int]:
        """Removes the changes before the first that was written at this time or later; returns their number."""
        first = yield query(FIRST_KEPT, before=before)
        ((last, pruned),) = yield query(f"SELECT {LAST_SEQ}, {PRUNED}")
        through = first[0][0] - 1 if first else last
        yield query("DELETE FROM changes WHERE {own} AND seq <= :through", through=through)
        yield query("UPDATE sources SET pruned_seq = :through WHERE account = :account", through=through)
        return int(through - pruned)

    def differing(self, row: Row, entry: CalendarEntry) -> int:
        """The bits of the fields in which a calendar entry differs from the row of its task."""
        bits = 0
        for bit, (name, place) in enumerate(zip(COMPARED, PLACES, strict=True)):
            value = getattr(entry, name) if place != LEAD else stored_id(entry.lead_id)
            shown = None if value is None else self.columns.all[place].encode(value)
            if shown is not None or place != LEAD:  # an entry without a lead does not contradict the row's
                bits |= (row[place] != shown) << bit
        return bits

    def with_entry(self, id: int, entry: CalendarEntry, held: Held | None) -> Task:
        """The task of a row, as far as it is known, with the fields of its calendar entry."""
        shown: dict[str, Any] = {name: getattr(entry, name) for name in COMPARED}
        if held is not None:
            return evolve(self.columns.record(held[0]), **shown)
        return Task(id=id, type=TaskType.APPOINTMENT if entry.type == EntryType.APPOINTMENT else None, **shown)

    def _placed(self, tasks: Iterable[Task], held: Mapping[int, Held]) -> dict[int, Row]:
        """The new rows; a record that names no lead leaves its row under the lead that it has."""
        return self._encode(
            task if stored_id(task.lead_id) else evolve(task, lead_id=lead_of(held.get(task.id))) for task in tasks
        )

    def _encode(self, tasks: Iterable[Task]) -> dict[int, Row]:
        return {task.id: self.columns.row(task) for task in tasks}

    def _apply(
        self, held: Mapping[int, Held], new: Mapping[int, Row], now: Any, *, is_proof: bool
    ) -> Work[Changes[int]]:
        """Turns the rows held into the new ones; what is the same is written only to become proven."""
        old = {id: row for id, (row, _) in held.items()}
        changes = diff(old, new)
        written = (*changes.added, *changes.changed)
        proof = {"proven_at": now if is_proof else None, "shown_in": UNSWEPT}
        if written:
            yield each(UPSERT, (dict(zip(AS_JSON.names, new[id], strict=True)) | proof for id in written))
        if changes.removed:
            yield query(DELETE, ids=list(changes.removed))
        unproven = [id for id, (_, is_proven) in held.items() if is_proof and not is_proven and id in new]
        if unproven:
            yield query(PROVE, now=now, ids=unproven)
        if written or changes.removed:
            yield from self._log(now, [(old.get(id), new.get(id)) for id in (*written, *changes.removed)])
        return changes

    def _log(self, now: Any, pairs: Sequence[tuple[Row | None, Row | None]]) -> Work[None]:
        # Writers of an account take turns, so numbers are committed in their order and none is skipped.
        ((last,),) = yield query(f"SELECT {LAST_SEQ}")
        numbered = enumerate(pairs, last + 1)
        yield each(LOG, ({"seq": seq, "at": now, **self._logged(*pair)} for seq, pair in numbered))

    def _logged(self, before: Row | None, after: Row | None) -> dict[str, Any]:
        known = before if after is None else after
        texts = {"task": after, "before": before}
        told = {name: None if row is None else self.columns.to_json(row) for name, row in texts.items()}
        return {"kind": kind_of(before, after).value, "task_id": known and known[0], **told}

    def _change(self, seq: int, at: Any, kind: str, task: str | None, before: str | None) -> Change:
        return Change(
            seq=seq,
            at=self.dialect.from_time(at),
            kind=ChangeKind(kind),
            task=None if task is None else AS_JSON.from_json(task),
            before=None if before is None else AS_JSON.from_json(before),
        )


def kind_of(before: Row | None, after: Row | None) -> ChangeKind:
    """How a task changed, given its rows before and after."""
    if before is None:
        return ChangeKind.CREATED
    if after is None:
        return ChangeKind.DELETED
    if before[LEAD] != after[LEAD]:
        return ChangeKind.MOVED
    if bool(before[FINISHED]) != bool(after[FINISHED]):
        return ChangeKind.FINISHED if after[FINISHED] else ChangeKind.REOPENED
    return ChangeKind.UPDATED


def lead_of(held: Held | None) -> int | None:
    return None if held is None else held[0][LEAD]


def _without_doubts(
    lists: Mapping[int, Mapping[int, Row]], held: Mapping[int, int | None]
) -> tuple[dict[int, Row], list[Doubt]]:
    """The rows of the leads' lists that no other lead has or lists; `held` is the lead of each row held."""
    new: dict[int, Row] = {}
    doubts: list[Doubt] = []
    of_lead: dict[int | None, set[int]] = {}
    for id, lead_id in held.items():
        of_lead.setdefault(lead_id, set()).add(id)
    for lead_id, rows in lists.items():
        homes = {id: new[id][LEAD] if id in new else held.get(id) for id in rows}
        elsewhere = dict.fromkeys(id for id, home in homes.items() if home not in {None, lead_id})
        missing = [id for id in of_lead.get(lead_id, ()) if id not in rows]
        new |= {id: row for id, row in rows.items() if id not in elsewhere}
        doubts += [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]
    return new, doubts
