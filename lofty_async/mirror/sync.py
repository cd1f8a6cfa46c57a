"""One run of a sync: reads the tasks of leads, writes them to a sink, and resolves what the two disagree on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from attrs import define, evolve, field, frozen

from lofty_async._wire import RecordKind, is_gone
from lofty_async.bulk import BulkRun, LeadIds, LeadTasks, check_bulk
from lofty_async.client import LoftyClient
from lofty_async.errors import (
    AuthenticationError,
    ClientClosedError,
    DecodeError,
    LoftyError,
    NotFoundError,
    PermissionDeniedError,
)
from lofty_async.models import Task
from lofty_async.ratelimit import Lane

from .leads import LeadListing, LeadsToRead, UnreadTasksError, reader
from .sinks import RESUME_WITHIN, BatchWriter, Changes, Doubt, TaskSink

CONCURRENCY: Final = 32
"""Leads that are read at the same time, unless told otherwise."""

PERMISSION_DENIED: Final = 20017
"""Lofty's code for a record of a lead that the caller does not manage."""


@frozen
class LeadFailure:
    """A lead whose tasks could not all be read, and the reason."""

    lead_id: int
    error: str


@frozen(kw_only=True)
class SyncReport:
    """What a run did, or has done so far.

    `leads` counts the leads that were asked for, but for those that proved to be gone; `failed` names those of
    them that could not be read, or not wholly. `tasks` counts what was read. `skipped` counts the leads that
    the run resumed had done already. `added`, `changed` and `removed` count rows of the store. `rate_limited`
    counts the requests that were answered 429, `waited_s` is the seconds in which calls waited for
    their turns; `seconds` what the run took. `complete` unless cut short. `total` leads are to be read, as far
    as known.
    """

    leads: int = 0
    tasks: int = 0
    failed: tuple[LeadFailure, ...] = ()
    skipped: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    requests: int = 0
    rate_limited: int = 0
    waited_s: float = 0.0
    seconds: float = 0.0
    complete: bool = False
    total: int | None = None


OnProgress = Callable[[SyncReport], object]
HandleLead = Callable[[LeadTasks, BatchWriter[LeadTasks]], Awaitable[None]]


class TaskSync:
    """One run: reads the tasks of leads, many at a time, and makes a store equal to them.

    Without `lead_ids` it reads all leads that the API lists, and then each lead that the store has besides. A lead's
    tasks go if the API answers that the lead does not exist (20006) and a complete list lacks it too; any other
    404 is a failure of that lead. Tasks of leads that were not asked for stay.

    A task that its lead no longer has is asked for by its id, one request each: it may have moved to another lead
    during the run. So is a task that two leads list. It goes if the API knows no such task.

    A lead that cannot be read is reported and keeps what the store has of it. If single tasks cannot be read,
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
        on_progress: OnProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Nobody waits for a single answer, so a call may wait for the rate limit as long as it has to.
        self._client = client.with_options(lane=Lane.BULK, max_wait=None)
        self._read_lead = reader(self._client)
        self._store = store
        self._concurrency = concurrency
        self._resume = resume
        self._resume_within = resume_within
        self._on_progress = on_progress
        self._clock = clock
        self._began = clock()
        self._stats_before = client.stats
        source = LeadListing(self._client.leads.list()) if lead_ids is None else lead_ids
        check_bulk(source, concurrency)
        self._listing = source if isinstance(source, LeadListing) else None
        # A collection may change during the run, which would end it or skip leads.
        self._leads = LeadsToRead(list(source) if isinstance(source, Collection) else source)
        self._doubts = Doubts()
        self._counts = SyncReport()

    async def run(self) -> SyncReport:
        done = await self._store.start(resume=self._resume, resume_within=self._resume_within)
        self._leads = LeadsToRead(self._leads.source, done)
        async with aclosing(self._leads.ids()) as ids:
            await self._read(ids, self._handle)
        if self._listing:
            # Rows of a list shift while it is read, so that alone does not show that a lead is gone.
            unlisted = sorted(await self._store.leads() - self._leads.seen)
            await self._read([id for id in unlisted if not self._leads.skip(id)], self._handle_unlisted)
        if self._doubts.tasks:
            await self._settle()
        await self._store.finish(all_done=not self._counts.failed)
        self._counts = evolve(self._counts, complete=True)
        return self.report

    @property
    def report(self) -> SyncReport:
        now, before = self._client.stats, self._stats_before
        return evolve(
            self._counts,
            skipped=self._leads.skipped,
            total=self._total,
            requests=now.requests - before.requests,
            rate_limited=now.rate_limited - before.rate_limited,
            waited_s=round(now.waited - before.waited, 3),
            seconds=round(self._clock() - self._began, 3),
        )

    @property
    def _total(self) -> int | None:
        if self._listing:
            return self._listing.total
        return len(self._leads.source) if isinstance(self._leads.source, Collection) else None

    async def _read(self, lead_ids: LeadIds, handle: HandleLead) -> None:
        writer = BatchWriter(self._write)
        try:
            async with BulkRun(lead_ids, self._read_lead, concurrency=self._concurrency, ordered=False) as leads:
                async for lead in leads:
                    await handle(lead, writer)
        finally:
            await writer.flush()

    async def _handle(self, lead: LeadTasks, writer: BatchWriter[LeadTasks]) -> None:
        if isinstance(lead.error, AuthenticationError):
            raise lead.error
        self._counts = _counted(self._counts, lead)
        await writer.add(lead)
        if self._on_progress is not None:
            self._on_progress(self.report)

    async def _handle_unlisted(self, lead: LeadTasks, writer: BatchWriter[LeadTasks]) -> None:
        is_listing_complete = self._listing is not None and self._listing.is_complete
        if is_listing_complete and is_gone(lead.error, RecordKind.LEAD):
            await writer.add(LeadTasks(lead.lead_id))
        elif lead.error is None and not lead.tasks:
            await writer.add(lead)
        else:
            self._leads.seen.add(lead.lead_id)
            await self._handle(lead, writer)

    async def _write(self, leads: Sequence[LeadTasks]) -> None:
        known = [lead for lead in leads if lead.tasks or lead.error is None or isinstance(lead.error, UnreadTasksError)]
        done = [lead.lead_id for lead in known if lead.error is None]
        result = await self._store.merge({lead.lead_id: lead.tasks for lead in known}, done=done)
        self._count_changes(result.changes)
        errors = {lead.lead_id: lead.error for lead in known}
        doubts = [doubt for doubt in result.doubts if not _is_unread(doubt, errors[doubt.lead_id])]
        self._doubts.add(doubts, [task for lead in known for task in lead.tasks])

    async def _settle(self) -> None:
        """Asks for each task in doubt, some at a time, and writes where it belongs."""
        tasks, leads = self._doubts.tasks, self._leads.seen | await self._store.leads()
        ids = list(tasks)
        for start in range(0, len(ids), self._concurrency):
            some = ids[start : start + self._concurrency]
            answers = await asyncio.gather(*map(self._find, some))
            for answer in answers:
                if isinstance(answer, AuthenticationError):
                    raise answer
            resolution = self._doubts.resolve(zip(some, answers, strict=True), leads)
            self._count_changes(await self._store.settle(moved=resolution.moved, gone=resolution.gone))
            self._count_failures(resolution.failed)
        failed = {failure.lead_id for failure in self._counts.failed}
        resolved = {lead_id for task in tasks.values() for lead_id in task.leads}
        await self._store.settle(done=resolved - failed)

    async def _find(self, task_id: int) -> Task | LoftyError:
        """The task wherever it is, or the error of reading it.

        Raises: ClientClosedError.
        """
        try:
            task = await self._client.tasks.get(task_id)
        except ClientClosedError:
            raise
        except LoftyError as error:
            return error
        return task if task.id == task_id else DecodeError(f"another task than {task_id}", record_id=task.id)

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


@define
class DoubtfulTask:
    """A task in doubt: the leads that list it, each with its record, and those under which the store alone has it."""

    listed: dict[int, Task] = field(factory=dict[int, Task])
    missing: set[int] = field(factory=set[int])

    @property
    def leads(self) -> set[int]:
        return self.missing.union(self.listed)


@define
class Resolution:
    """The tasks to write and to remove, and the leads whose doubts stay open."""

    moved: list[Task] = field(factory=list[Task])
    gone: list[int] = field(factory=list[int])
    failed: dict[int, LoftyError] = field(factory=dict[int, LoftyError])


@define
class Doubts:
    """The tasks in doubt of a run, by id."""

    tasks: dict[int, DoubtfulTask] = field(factory=dict[int, DoubtfulTask], init=False)

    def add(self, doubts: Iterable[Doubt], tasks: Sequence[Task]) -> None:
        """Notes doubts; `tasks` are what the leads list."""
        listed = {(task.lead_id, task.id): task for task in tasks}
        for doubt in doubts:
            task = self.tasks.setdefault(doubt.id, DoubtfulTask())
            if doubt.is_listed:
                task.listed[doubt.lead_id] = listed[doubt.lead_id, doubt.id]
            else:
                task.missing.add(doubt.lead_id)

    def resolve(self, answers: Iterable[tuple[int, Task | LoftyError]], leads: Collection[int]) -> Resolution:
        """Resolves doubts by what the API says of each task; `leads` are those that the store may have tasks of.

        A lead that was read whole proves that a task is not there; the answer only tells to which other lead it went.
        """
        resolution = Resolution()
        for id, answer in answers:
            task = self.tasks[id]
            if isinstance(answer, Task):
                _resolve(id, task, answer if answer.lead_id in leads else None, resolution)
            elif _is_without_task(answer) or (not task.missing and isinstance(answer, NotFoundError)):
                _resolve(id, task, None, resolution)
            else:
                resolution.failed.update(dict.fromkeys(task.leads, answer))
        return resolution


def _is_without_task(error: LoftyError) -> bool:
    """Whether Lofty's own code says that a task does not exist, or not for the caller; a status may be a gateway's."""
    is_refused = isinstance(error, PermissionDeniedError) and error.code == PERMISSION_DENIED
    return is_refused or is_gone(error, RecordKind.TASK) or is_gone(error, RecordKind.LEAD)


def _resolve(id: int, task: DoubtfulTask, found: Task | None, resolution: Resolution) -> None:
    if found is not None and found.lead_id in task.listed:
        resolution.moved.append(task.listed[found.lead_id])
    elif found is not None and task.missing:
        resolution.moved.append(found)
    elif task.missing and task.listed:
        resolution.moved.append(next(iter(task.listed.values())))
    elif task.missing:
        resolution.gone.append(id)
    # Otherwise it is where the store has it, and the lead that lists it besides changes nothing.


async def sync_tasks(
    client: LoftyClient,
    store: TaskSink,
    lead_ids: LeadIds | None = None,
    *,
    concurrency: int = CONCURRENCY,
    resume: bool = False,
    resume_within: float = RESUME_WITHIN,
    on_progress: OnProgress | None = None,
) -> SyncReport:
    """Makes a store equal to what the API has; the same as `TaskSync(…).run()`, which describes failures.

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
