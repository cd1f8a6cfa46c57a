import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from attrs import evolve

from lofty_async.bulk import LeadTasks
from lofty_async.client import LoftyClient
from lofty_async.errors import AuthenticationError
from lofty_async.models import Task
from lofty_async.ratelimit import Lane

from .behind import Batch, WriteBehind
from .diff import Changes
from .leads import GivenLeads, LeadIds, LeadSource, ListedLeads, WantedLeads
from .report import LeadFailure, SyncReport
from .sinks import TaskSink

CONCURRENCY: Final = 32
"""Leads that are read at the same time, unless told otherwise."""

Listener = Callable[[SyncReport], object]


class TaskSync:
    """One run: reads the tasks of leads, many at a time, and makes a store equal to them.

    Without `lead_ids` it reads all leads and in the end lets go of those that no longer exist, though never
    when their listing failed. A lead that cannot be read is reported and keeps what the store has of it.
    With `resume`, leads that the last, unfinished run has done are skipped. `on_progress` is called with
    the report after every lead; `report` can be read at any time.

    Raises: AuthenticationError as soon as the credential is refused; whatever the listing of the leads and
    the store raise. All that was fetched before that, or before a cancellation, is kept.
    """

    def __init__(
        self,
        client: LoftyClient,
        store: TaskSink,
        lead_ids: LeadIds | None = None,
        *,
        concurrency: int = CONCURRENCY,
        resume: bool = False,
        on_progress: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Nobody waits for a single answer: a lead's turn may come as late as it has to.
        self._client = client.with_options(lane=Lane.BULK, max_wait=None)
        self._store = store
        self._concurrency = concurrency
        self._resume = resume
        self._on_progress = on_progress
        self._clock = clock
        self._began = clock()
        self._stats_before = client.stats
        self._source = self._source_of(lead_ids)
        self._wanted = WantedLeads(self._source)
        self._counts = SyncReport()

    async def run(self) -> SyncReport:
        self._wanted = WantedLeads(self._source, await self._store.start(resume=self._resume))
        behind = WriteBehind(self._write)
        try:
            await self._read(behind)
        finally:
            await behind.flush()
        await self._finish()
        return self.report

    @property
    def report(self) -> SyncReport:
        now, before = self._client.stats, self._stats_before
        return evolve(
            self._counts,
            skipped=self._wanted.skipped,
            total=self._source.total,
            requests=now.requests - before.requests,
            rejected=now.rejected - before.rejected,
            waited_s=round(now.waited - before.waited, 3),
            seconds=round(self._clock() - self._began, 3),
        )

    def _source_of(self, lead_ids: LeadIds | None) -> LeadSource:
        if lead_ids is not None:
            return GivenLeads(lead_ids)
        return ListedLeads(self._client.leads.list())

    async def _read(self, behind: WriteBehind) -> None:
        async with (
            aclosing(self._wanted.ids()) as ids,
            self._client.tasks.for_leads(ids, concurrency=self._concurrency, ordered=False) as leads,
        ):
            async for lead in leads:
                await self._take(lead, behind)

    async def _take(self, lead: LeadTasks, behind: WriteBehind) -> None:
        if isinstance(lead.error, AuthenticationError):
            raise lead.error
        self._counts = _counted(self._counts, lead)
        if lead.error is None:
            # The store replaces by lead, so the lead that was asked for counts, whatever the record says.
            await behind.add(lead.lead_id, [_of_lead(task, lead.lead_id) for task in lead.tasks])
        if self._on_progress is not None:
            self._on_progress(self.report)

    async def _write(self, leads: Batch) -> None:
        self._count_changes(await self._store.write(leads))

    async def _finish(self) -> None:
        if self._source.has_all:
            self._count_changes(await self._store.keep_only(self._wanted.seen))
        await self._store.finish(all_done=not self._counts.failed)
        self._counts = evolve(self._counts, complete=True)

    def _count_changes(self, changes: Changes[int]) -> None:
        before = self._counts
        self._counts = evolve(
            before,
            added=before.added + len(changes.added),
            changed=before.changed + len(changes.changed),
            removed=before.removed + len(changes.removed),
        )


def _of_lead(task: Task, lead_id: int) -> Task:
    return task if task.lead_id == lead_id else evolve(task, lead_id=lead_id)


def _counted(before: SyncReport, lead: LeadTasks) -> SyncReport:
    if lead.error is None:
        return evolve(before, leads=before.leads + 1, tasks=before.tasks + len(lead.tasks))
    failure = LeadFailure(lead.lead_id, str(lead.error))
    return evolve(before, leads=before.leads + 1, failed=(*before.failed, failure))


async def sync_tasks(
    client: LoftyClient,
    store: TaskSink,
    lead_ids: LeadIds | None = None,
    *,
    concurrency: int = CONCURRENCY,
    resume: bool = False,
    on_progress: Listener | None = None,
) -> SyncReport:
    """Makes a store equal to what the API has: `TaskSync(…).run()`, which see for what happens to failures.

    `concurrency` is the number of leads read at the same time; the rate limit is kept whatever it is.
    """
    sync = TaskSync(client, store, lead_ids, concurrency=concurrency, resume=resume, on_progress=on_progress)
    return await sync.run()
