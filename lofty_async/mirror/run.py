"""One run of a mirror: list the leads, sweep the lists, choose the leads to read, read them, settle what is left."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from operator import index
from typing import Any, Final, TypeVar

from attrs import asdict, define, evolve, field, frozen

from lofty_async.bulk import LeadIds
from lofty_async.client import LoftyClient
from lofty_async.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from lofty_async.models import Task

from .database import Database
from .decide import (
    Reason,
    Strategy,
    are_suspicious,
    choose,
    emptied_lists,
    is_too_many,
    leads_to_read,
    reads_in_turn,
    rotation_size,
    turns_of,
)
from .errors import SuspiciousDeletionError, SyncRunningError
from .lists import Lists
from .proof import LeadReader
from .reading import LeadsToRead
from .records import ListPage, Phase, Run
from .report import Meter, OnProgress, SyncReport
from .runs import ALL_LEADS, RENEW_SECONDS
from .sinks import Changes, Merged, TaskSink, Tee
from .sweep import CALENDAR, LEADS, Sweep

log = logging.getLogger("lofty_async.mirror")

T = TypeVar("T")

REFUSALS: Final = (InvalidRequestError, NotFoundError, PermissionDeniedError)
"""Answers of a server that does not let its lists be swept."""


@frozen(kw_only=True)
class SyncOptions:
    """The options of a run; the arguments of `Mirror.sync`."""

    strategy: Strategy
    allow_mass_delete: bool
    fresh: bool
    resume_within: float
    concurrency: int
    users: frozenset[int] | None
    keep_changes: timedelta | None
    on_progress: OnProgress | None
    export: TaskSink | None


@frozen
class DatabaseSink:
    """A database as the sink of a run; of a lead that is not listed, it doubts no task that a list has shown."""

    database: Database
    lists: Lists
    unlisted: set[int] = field(factory=set[int])

    async def start(self) -> None:
        """The run itself has begun in the database."""

    async def leads(self) -> frozenset[int]:
        return await self.database.leads()

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        result = await self.database.merge(leads, done=done)
        strange = [doubt.id for doubt in result.doubts if doubt.lead_id in self.unlisted and not doubt.is_listed]
        shown = await self.lists.sighted(strange) if strange else frozenset[int]()
        return evolve(result, doubts=tuple(doubt for doubt in result.doubts if doubt.id not in shown))

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        return await self.database.settle(moved=moved, gone=gone, done=done)

    async def finish(self, *, all_done: bool) -> None:
        """The run itself ends in the database."""


@define(eq=False)
class SyncRun:
    """A run that holds its database's claim."""

    client: LoftyClient
    database: Database
    run: Run
    options: SyncOptions
    meter: Meter
    _lists: Lists = field(init=False)
    _swept: SyncReport = field(factory=SyncReport, init=False)
    _reader: LeadReader = field(init=False)
    _sink: DatabaseSink = field(init=False)
    _leads: LeadsToRead | None = field(default=None, init=False)
    _phase: Phase = field(init=False)
    _strategy: Strategy = field(init=False)
    _was_swept: bool = field(default=False, init=False)
    _is_complete: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._phase = self.run.phase
        self._strategy = Strategy(self.run.strategy) if self.run.strategy else self.options.strategy
        self._lists = Lists(self.database, self.run.number)
        self._sink = DatabaseSink(self.database, self._lists)
        self._reader = LeadReader(
            self.client,
            self._sink if self.options.export is None else Tee((self._sink, self.options.export)),
            concurrency=self.options.concurrency,
            on_lead=self._progress,
            check_missing=self._check_missing,
        )

    @property
    def report(self) -> SyncReport:
        """The run so far."""
        counts, swept = self._reader.counts, self._swept
        is_partial = self._leads is not None
        return self.meter.read(
            evolve(
                counts,
                added=counts.added + swept.added,
                changed=counts.changed + swept.changed,
                usable=swept.usable,
                skipped=self._leads.skipped if self._leads else swept.skipped,
                total=_length(self._leads.source) if self._leads else swept.total,
                run=self.run.number,
                strategy=Strategy.LEADS.value if is_partial else self._strategy.value,
                phase=self._phase,
                proven=swept.proven,
                unproven=swept.unproven,
                oldest_proof=swept.oldest_proof,
                hidden=swept.hidden,
                complete=self._is_complete,
            )
        )

    async def read_some(self, lead_ids: LeadIds) -> SyncReport:
        """Reads the leads asked for, but for those that this run has read before it was interrupted."""
        await self._set_phase(Phase.PROVING)
        done = await self._lists.done(resume_within=self.options.resume_within)
        # A collection may change during the run, which would end it or skip leads.
        self._leads = LeadsToRead(list(lead_ids) if isinstance(lead_ids, Collection) else lead_ids, done)
        if self.options.export is not None:
            await self.options.export.start()
        async with aclosing(self._leads.ids()) as ids:
            await self._reader.read(ids)
        return await self._settle()

    async def read_all(self) -> SyncReport:
        """Reads the leads that the strategy chooses."""
        pages = await self._lists.pages()
        await self._update_summary()
        sweep = Sweep(self.client, self._lists, pages, self._count_page)
        if self._phase is Phase.LISTING:
            await sweep.leads()
            self._strategy = await self._choose_strategy(pages)
            if self._strategy is Strategy.LISTS:
                await self._set_phase(Phase.SWEEPING)
            else:
                await self._read_every_lead()
        if self._phase is Phase.SWEEPING:
            await self._sweep(sweep)
        self._was_swept = CALENDAR in pages and pages[CALENDAR].is_done
        return await self._prove(pages)

    async def _choose_strategy(self, pages: Mapping[str, ListPage]) -> Strategy:
        if self._strategy is not Strategy.AUTO:
            return self._strategy
        return choose(await self._lists.size(pages[LEADS].records))

    async def _sweep(self, sweep: Sweep) -> None:
        is_first = await self._lists.is_first()
        try:
            await sweep.tasks(self.options.users, keep_new=is_first)
        except REFUSALS as error:
            if self.options.strategy is Strategy.LISTS:
                raise
            log.warning("the lists cannot be swept, so every lead is read: %s", error)
            await self._read_every_lead()
            return
        await self._check_emptied()
        await self._update_summary()
        await self._choose_leads(sweep.pages, is_first=is_first)

    async def _choose_leads(self, pages: Mapping[str, ListPage], *, is_first: bool) -> None:
        facts, leads = await self._lists.facts(), pages[LEADS].records
        reads = leads_to_read(facts, pages[CALENDAR].records)
        unshown = {one.lead_id for one in facts if one.is_held and not one.shown}
        gone = await self._lists.unlisted() & unshown
        reads |= {id: Reason.UNLISTED for id in gone if reads.get(id, Reason.HIDDEN) is Reason.HIDDEN}
        # A lead that is not the caller's cannot be read: of its tasks, what the lists show is all that there is.
        strangers = await self._lists.strangers() - unshown if pages[LEADS].is_complete else frozenset[int]()
        reads = {lead_id: reason for lead_id, reason in reads.items() if lead_id not in strangers}
        every_run = sum(reason is Reason.HIDDEN for reason in reads.values())
        if not is_first and is_too_many(every_run, leads) and self.options.strategy is Strategy.AUTO:
            log.warning("the lists hide tasks of %d of %d leads, so every lead is read", every_run, leads)
            self._strategy = Strategy.LEADS
        if is_first or self._strategy is Strategy.LEADS:
            await self._read_every_lead()
            return
        reads = reads_in_turn(reads, self.run.cycle, turns_of(every_run, leads))
        await self._lists.request_reads(reads)
        await self._lists.request_oldest(rotation_size(await self._lists.ages(), leads))
        await self._set_phase(Phase.PROVING)

    async def _read_every_lead(self) -> None:
        # In this order: a run that is killed in between chooses again.
        await self._lists.request_all()
        await self._set_phase(Phase.PROVING)

    async def _prove(self, pages: Mapping[str, ListPage]) -> SyncReport:
        due, done = await self._lists.due(resume_within=self.options.resume_within)
        self._swept = evolve(self._swept, skipped=done, total=len(due) + done)
        unlisted = await self._lists.unlisted()
        self._sink.unlisted.update(unlisted)
        if self.options.export is not None:
            await self.options.export.start()
        self._progress()
        await self._reader.read([lead_id for lead_id in due if lead_id not in unlisted])
        is_complete = LEADS in pages and pages[LEADS].is_complete
        missing = [lead_id for lead_id in due if lead_id in unlisted]
        is_by_lists = self._strategy is Strategy.LISTS
        await self._reader.read_unlisted(missing, is_list_complete=is_complete, may_be_strange=is_by_lists)
        await self._reader.read_tasks(await self._lists.lost_without_lead())
        return await self._settle()

    async def _settle(self) -> SyncReport:
        await self._reader.settle(await self._lists.known_leads())
        if self.options.export is not None:
            await self.options.export.finish(all_done=not self._reader.counts.failed)
        await self._update_summary()
        self._is_complete, self._phase = True, Phase.DONE
        report = self.report
        await self.database.end(_plain(report, is_resumed=self.run.is_resumed), was_swept=self._was_swept)
        if self.options.keep_changes is not None:
            await self.database.prune_changes(self.options.keep_changes)
        self._swept = evolve(self._swept, hidden=await self._hidden() if self._was_swept else ())
        return self.report

    async def _hidden(self) -> tuple[str, ...]:
        """The classes of tasks that the lists do not show, in words."""
        is_by_lists, leads = self._strategy is Strategy.LISTS, (await self.database.summary()).leads
        turns = turns_of(await self._lists.every_run(), leads) if is_by_lists else 1
        return await self._lists.hidden(turns)

    async def _update_summary(self) -> None:
        summary = await self.database.summary()
        self._swept = evolve(
            self._swept,
            usable=summary.tasks,
            proven=summary.proven,
            unproven=summary.tasks - summary.proven,
            oldest_proof=summary.oldest_proof,
        )

    async def _set_phase(self, phase: Phase) -> None:
        self._phase = phase
        await self.database.set_phase(phase, self._strategy.value)

    async def _check_emptied(self) -> None:
        """Raises: SuspiciousDeletionError if a list that has shown tasks is empty now."""
        shown = await self._lists.shown()
        names = emptied_lists(shown)
        if names and not self.options.allow_mass_delete:
            await self.database.abandon()  # the next run has to sweep again
            tasks = max(before for before, _ in shown.values())
            raise SuspiciousDeletionError(
                f"{' and '.join(names)} showed {tasks:,} tasks and is suddenly empty; nothing was deleted:"
                " use another database for another account; pass allow_mass_delete=True if the tasks are gone",
                gone=tasks,
                tasks=tasks,
            )

    async def _check_missing(self, gone: int) -> None:
        """Raises: SuspiciousDeletionError if too many tasks are missing."""
        tasks = (await self.database.summary()).tasks
        if are_suspicious(gone, tasks) and not self.options.allow_mass_delete:
            raise SuspiciousDeletionError(
                f"{gone:,} of {tasks:,} tasks are missing; nothing was deleted:"
                " use another database for another account; pass allow_mass_delete=True if they are gone",
                gone=gone,
                tasks=tasks,
            )

    def _count_page(self, changes: Changes[int]) -> None:
        swept = self._swept.with_changes(changes)
        self._swept = evolve(swept, usable=swept.usable + len(changes.added))
        self._progress()

    def _progress(self) -> None:
        if self.options.on_progress is not None:
            self.options.on_progress(self.report)


def scope_of(lead_ids: LeadIds | None) -> str:
    """The scope of a run: runs of the same scope resume each other; one over an iterator, `""`, never does."""
    if lead_ids is None:
        return ALL_LEADS
    if not isinstance(lead_ids, Collection):
        return ""
    try:
        text = " ".join(map(str, sorted(index(lead_id) for lead_id in lead_ids)))
    except TypeError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@asynccontextmanager
async def claimed(database: Database, scope: str, options: SyncOptions) -> AsyncGenerator[Run, None]:
    """Holds the database's claim, and renews it; a run that does not end gives it up and can be resumed.

    A new run begins once the database has adopted its source.

    Raises: SyncRunningError if a run is under way.
    """
    claim = database.claim(
        scope,
        strategy=None if options.strategy is Strategy.AUTO else options.strategy.value,
        fresh=options.fresh or options.export is not None,
        resume_within=options.resume_within,
        begin=False,
    )
    run = await _claim(claim, database)
    renewing = asyncio.create_task(_renew(database))
    try:
        yield run
    finally:
        renewing.cancel()
        try:
            await asyncio.wait([renewing])
        finally:
            # After a run that has ended there is nothing to give up, and the next one may have begun.
            await _to_its_end(asyncio.ensure_future(database.release(run.number)))


async def _claim(claim: Coroutine[Any, Any, Run], database: Database) -> Run:
    """Claims; a caller that is cancelled meanwhile holds nothing."""
    claiming = asyncio.ensure_future(claim)
    try:
        return await _to_its_end(claiming)
    except asyncio.CancelledError:
        if not claiming.cancelled() and claiming.exception() is None:
            await _to_its_end(asyncio.ensure_future(database.release()))
        raise


async def _to_its_end(use: "asyncio.Future[T]") -> T:
    """Waits for the end of a use of the database, however often the caller is cancelled; it may be closed then."""
    cancelled: asyncio.CancelledError | None = None
    while not use.done():
        try:
            await asyncio.wait([use])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return use.result()
    if not use.cancelled():
        use.exception()  # nobody else asks for it
    raise cancelled


async def _renew(database: Database) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await database.renew()
        except SyncRunningError:
            return  # the next write says so
        except Exception as error:  # noqa: BLE001 - the next write says the same to whom it concerns
            log.warning("the claim of the sync cannot be renewed: %s", error)


def _length(source: LeadIds) -> int | None:
    return len(source) if isinstance(source, Collection) else None


def _plain(report: SyncReport, *, is_resumed: bool) -> dict[str, Any]:
    """The counts of a report, as the table of runs keeps them."""
    plain = asdict(report)
    kept = ("leads", "tasks", "added", "changed", "removed", "requests", "seconds", "proven", "unproven", "strategy")
    return {name: plain[name] for name in kept} | {"failed": len(report.failed), "is_resumed": is_resumed}
