"""The export of tasks to a sink, such as a text file: it reads lead by lead and keeps no database."""

from collections.abc import Collection
from contextlib import aclosing

from attrs import evolve

from lofty_async.bulk import LeadIds, check_bulk
from lofty_async.client import LoftyClient
from lofty_async.ratelimit import Lane

from .proof import CONCURRENCY, LeadReader
from .reading import LeadListing, LeadsToRead
from .report import Meter, OnProgress, SyncReport
from .sinks import TaskSink


class TaskExport:
    """One run: reads the tasks of leads, many at a time, and writes them to a sink.

    Without `lead_ids` it reads all leads that the API lists, and then each lead that the sink has besides. Failures are
    handled as `Mirror.sync` does. `on_progress` is called with the report after every lead; `report` can be read at any
    time. All calls travel in the bulk lane and wait for the rate limit as long as they have to, whatever the client's
    `max_wait`.

    Raises: InvalidRequestError if an argument is wrong; from `run`, AuthenticationError as soon as the credential is
    refused, and whatever the listing of the leads and the sink raise.
    """

    def __init__(
        self,
        client: LoftyClient,
        sink: TaskSink,
        lead_ids: LeadIds | None = None,
        *,
        concurrency: int = CONCURRENCY,
        on_progress: OnProgress | None = None,
    ) -> None:
        # Nobody waits for a single answer, so a call may wait for the rate limit as long as it has to.
        bulk = client.with_options(lane=Lane.BULK, max_wait=None)
        source = LeadListing(bulk.leads.list()) if lead_ids is None else lead_ids
        check_bulk(source, concurrency)
        self._sink = sink
        self._on_progress = on_progress
        self._listing = source if isinstance(source, LeadListing) else None
        # A collection may change during the run, which would end it or skip leads.
        self._leads = LeadsToRead(list(source) if isinstance(source, Collection) else source)
        self._reader = LeadReader(bulk, sink, concurrency=concurrency, on_lead=self._progress)
        self._meter = Meter(bulk)
        self._is_complete = False

    async def run(self) -> SyncReport:
        await self._sink.start()
        async with aclosing(self._leads.ids()) as ids:
            await self._reader.read(ids)
        if self._listing:
            # Rows of a list shift while it is read, so that alone does not show that a lead is gone.
            unlisted = sorted(await self._sink.leads() - self._leads.seen)
            await self._reader.read_unlisted(unlisted, is_list_complete=self._listing.is_complete)
        await self._reader.settle(self._leads.seen | await self._sink.leads())
        await self._sink.finish(all_done=not self._reader.counts.failed)
        self._is_complete = True
        return self.report

    @property
    def report(self) -> SyncReport:
        """The run so far."""
        counts = evolve(self._reader.counts, skipped=self._leads.skipped, total=self._total, complete=self._is_complete)
        return self._meter.read(counts)

    @property
    def _total(self) -> int | None:
        if self._listing:
            return self._listing.total
        return len(self._leads.source) if isinstance(self._leads.source, Collection) else None

    def _progress(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.report)


async def export_tasks(
    client: LoftyClient,
    sink: TaskSink,
    lead_ids: LeadIds | None = None,
    *,
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> SyncReport:
    """Writes the tasks of leads to a sink; the same as `TaskExport(…).run()`, which describes failures.

    `concurrency` is the number of leads read at the same time; the rate limit is kept whatever it is.
    """
    return await TaskExport(client, sink, lead_ids, concurrency=concurrency, on_progress=on_progress).run()
