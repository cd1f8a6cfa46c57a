import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from attrs import evolve

from lofty_async.bulk import BulkRun, LeadTasks
from lofty_async.client import LoftyClient
from lofty_async.errors import APIError, AuthenticationError, LoftyError
from lofty_async.ratelimit import Lane

from .behind import WriteBehind
from .diff import Changes
from .doubts import Doubts
from .leads import GivenLeads, LeadIds, LeadSource, ListedLeads, WantedLeads
from .reading import LeadReader, UnreadTasksError
from .report import LeadFailure, SyncReport
from .sinks import RESUME_WITHIN, Doubt, TaskSink

CONCURRENCY: Final = 32
"""Leads that are read at the same time, unless told otherwise."""

LEAD_NOT_EXIST: Final = 20006
"""Lofty's code for a lead that does not exist, or to which the caller has no access."""

Listener = Callable[[SyncReport], object]
Take = Callable[[LeadTasks, WriteBehind[LeadTasks]], Awaitable[None]]


class TaskSync:
    """One run: reads the tasks of leads, many at a time, and makes a store equal to them.

    Without `lead_ids` it reads all leads that the API lists, and then each lead that the store has besides. A lead's
    tasks go where the API answers that the lead does not exist (20006) and a complete list lacks it too; any other
    404 is a failure of that lead. Tasks of leads that were not asked for stay.

    A task that its lead no longer has is asked for by its id, one request each: it may have moved to another lead
    during the run. So is a task that two leads list. It goes where the API knows no such task.

    A lead that cannot be read is reported and keeps what the store has of it. Where single tasks cannot be read,
    the others are kept and the lead is reported, whatever the client does with bad records.

    With `resume`, leads that an unfinished run has done are skipped, unless that is more than `resume_within` seconds
    ago (6 h): after a run that reached its end, only the leads that failed are left to do. `on_progress` is called with
    the report after every lead; `report` can be read at any time. All calls travel in the bulk lane and wait for the
    rate limit as long as they have to, whatever the client's `max_wait`.

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
        resume_within: float = RESUME_WITHIN,
        on_progress: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Nobody waits for a single answer: a lead's turn may come as late as it has to.
        self._client = client.with_options(lane=Lane.BULK, max_wait=None)
        self._reader = LeadReader(self._client)
        self._store = store
        self._concurrency = concurrency
        self._resume = resume
        self._resume_within = resume_within
        self._on_progress = on_progress
        self._clock = clock
        self._began = clock()
        self._stats_before = client.stats
        self._source = self._source_of(lead_ids)
        self._is_list = lead_ids is None
        self._wanted = WantedLeads(self._source)
        self._doubts = Doubts()
        self._counts = SyncReport()

    async def run(self) -> SyncReport:
        done = await self._store.start(resume=self._resume, resume_within=self._resume_within)
        self._wanted = WantedLeads(self._source, done)
        async with aclosing(self._wanted.ids()) as ids:
            await self._read(ids, self._take)
        if self._is_list:
            # Rows of a list shift while it is read, so that alone does not show that a lead is gone.
            await self._read(sorted(await self._store.leads() - self._wanted.seen), self._take_unlisted)
        if self._doubts.cases:
            await self._settle()
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
            rate_limited=now.rate_limited - before.rate_limited,
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

    async def _take_unlisted(self, lead: LeadTasks, behind: WriteBehind[LeadTasks]) -> None:
        if self._source.has_all and isinstance(lead.error, APIError) and lead.error.code == LEAD_NOT_EXIST:
            await behind.add(LeadTasks(lead.lead_id))
        elif lead.error is None and not lead.tasks:
            await behind.add(lead)
        else:
            self._wanted.seen.add(lead.lead_id)
            await self._take(lead, behind)

    async def _write(self, leads: Sequence[LeadTasks]) -> None:
        known = [lead for lead in leads if lead.tasks or lead.error is None or isinstance(lead.error, UnreadTasksError)]
        done = [lead.lead_id for lead in known if lead.error is None]
        result = await self._store.merge({lead.lead_id: lead.tasks for lead in known}, done=done)
        self._count_changes(result.changes)
        errors = {lead.lead_id: lead.error for lead in known}
        doubts = [doubt for doubt in result.doubts if not _is_unread(doubt, errors[doubt.lead_id])]
        self._doubts.add(doubts, [task for lead in known for task in lead.tasks])

    async def _settle(self) -> None:
        """Asks for each task in doubt, some at a time, and keeps what is found out."""
        cases, leads = self._doubts.cases, self._wanted.seen | await self._store.leads()
        ids = list(cases)
        for start in range(0, len(ids), self._concurrency):
            some = ids[start : start + self._concurrency]
            answers = await asyncio.gather(*map(self._reader.find, some))
            for answer in answers:
                if isinstance(answer, AuthenticationError):
                    raise answer
            verdict = self._doubts.judge(zip(some, answers, strict=True), leads)
            self._count_changes(await self._store.settle(moved=verdict.moved, gone=verdict.gone))
            self._count_failures(verdict.failed)
        failed = {failure.lead_id for failure in self._counts.failed}
        settled = {lead_id for case in cases.values() for lead_id in case.leads}
        await self._store.settle(done=settled - failed)

    def _count_failures(self, failed: Mapping[int, LoftyError]) -> None:
        known = {failure.lead_id for failure in self._counts.failed}
        new = [LeadFailure(lead_id, str(error)) for lead_id, error in failed.items() if lead_id not in known]
        self._counts = evolve(self._counts, failed=(*self._counts.failed, *new))

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


def _is_unread(doubt: Doubt, error: LoftyError | None) -> bool:
    """Whether the lead may have the task after all, as a record that could not be read."""
    if error is None or doubt.is_listed:
        return False
    return not isinstance(error, UnreadTasksError) or error.ids is None or doubt.id in error.ids


async def sync_tasks(
    client: LoftyClient,
    store: TaskSink,
    lead_ids: LeadIds | None = None,
    *,
    concurrency: int = CONCURRENCY,
    resume: bool = False,
    resume_within: float = RESUME_WITHIN,
    on_progress: Listener | None = None,
) -> SyncReport:
    """Makes a store equal to what the API has: `TaskSync(…).run()`, which see for what happens to failures.

    `concurrency` is the number of leads read at the same time; the rate limit is kept whatever it is.
    """
    sync = TaskSync(
        client,
        store,
        lead_ids,
        concurrency=concurrency,
        resume=resume,
        resume_within=resume_within,
        on_progress=on_progress,
    )
    return await sync.run()
