import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from attrs import evolve

from lofty_async.bulk import BulkRun, LeadTasks
from lofty_async.client import LoftyClient
from lofty_async.errors import AuthenticationError, LoftyError, NotFoundError
from lofty_async.ratelimit import Lane

from .behind import WriteBehind
from .diff import Changes
from .leads import GivenLeads, LeadIds, LeadSource, ListedLeads, WantedLeads
from .reading import LeadReader, UnreadTasksError
from .report import LeadFailure, SyncReport
from .sinks import LeadPart, TaskSink

CONCURRENCY: Final = 32
"""Leads that are read at the same time, unless told otherwise."""

Listener = Callable[[SyncReport], object]
Take = Callable[[LeadTasks, WriteBehind[LeadTasks]], Awaitable[None]]


class TaskSync:
    """One run: reads the tasks of leads, many at a time, and makes a store equal to them.

    Without `lead_ids` it reads all leads and in the end lets go of those that no longer exist, though never
    when their listing failed. Each lead that the store has and the listing lacks is asked for once before, which
    takes a request each; it goes where the API knows no such lead or no tasks of it.

    A lead that cannot be read is reported and keeps what the store has of it. Where single tasks cannot be read,
    the others are kept and the lead is reported, whatever the client does with bad records.

    With `resume`, leads that the last, unfinished run has done are skipped. `on_progress` is called with the report
    after every lead; `report` can be read at any time.

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
        self._reader = LeadReader(self._client)
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
        async with aclosing(self._wanted.ids()) as ids:
            await self._read(ids, self._take)
        if self._source.has_all:
            await self._drop_vanished()
        await self._store.finish(all_done=not self._counts.failed)
        self._counts = evolve(self._counts, complete=True)
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

    async def _read(self, lead_ids: LeadIds, take: Take) -> None:
        behind = WriteBehind(self._write)
        try:
            async with BulkRun(lead_ids, self._reader.read, concurrency=self._concurrency, ordered=False) as leads:
                async for lead in leads:
                    await take(lead, behind)
        finally:
            await behind.flush()

    async def _take(self, lead: LeadTasks, behind: WriteBehind[LeadTasks]) -> None:
        if isinstance(lead.error, AuthenticationError):
            raise lead.error
        self._counts = _counted(self._counts, lead)
        await behind.add(lead)
        if self._on_progress is not None:
            self._on_progress(self.report)

    async def _take_vanished(self, lead: LeadTasks, behind: WriteBehind[LeadTasks]) -> None:
        if not _is_gone(lead):
            self._wanted.seen.add(lead.lead_id)
            await self._take(lead, behind)

    async def _write(self, leads: Sequence[LeadTasks]) -> None:
        whole = {lead.lead_id: lead.tasks for lead in leads if lead.error is None}
        if whole:
            self._count_changes(await self._store.write(whole))
        for lead in leads:
            if lead.error is not None:
                self._count_changes(await self._store.write_part(_part(lead, lead.error)))

    async def _drop_vanished(self) -> None:
        """Lets go of the leads that the list lacks and that have no tasks.

        Rows of a list shift while it is read, and a server may leave the list out of its answer, so that alone does
        not show that a lead is gone.
        """
        await self._read(sorted(await self._store.leads() - self._wanted.seen), self._take_vanished)
        self._count_changes(await self._store.keep_only(self._wanted.seen))

    def _count_changes(self, changes: Changes[int]) -> None:
        before = self._counts
        self._counts = evolve(
            before,
            added=before.added + len(changes.added),
            changed=before.changed + len(changes.changed),
            removed=before.removed + len(changes.removed),
        )


def _counted(before: SyncReport, lead: LeadTasks) -> SyncReport:
    counted = evolve(before, leads=before.leads + 1, tasks=before.tasks + len(lead.tasks))
    if lead.error is None:
        return counted
    return evolve(counted, failed=(*before.failed, LeadFailure(lead.lead_id, str(lead.error))))


def _is_gone(lead: LeadTasks) -> bool:
    return not lead.tasks if lead.error is None else isinstance(lead.error, NotFoundError)


def _part(lead: LeadTasks, error: LoftyError) -> LeadPart:
    return LeadPart(lead.lead_id, lead.tasks, error.ids if isinstance(error, UnreadTasksError) else None)


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
