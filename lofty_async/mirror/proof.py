"""Reads leads, many at a time, brings a sink up to date with them, and resolves what the two disagree on."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from attrs import evolve

from lofty_async._wire import RecordKind, is_gone
from lofty_async.bulk import BulkRun, LeadIds, LeadTasks
from lofty_async.client import LoftyClient
from lofty_async.errors import AuthenticationError, ClientClosedError, DecodeError, LoftyError
from lofty_async.models import Task

from .doubts import Doubts, is_denied, is_unread, is_without_task
from .reading import UnreadTasksError, reader
from .report import LeadFailure, SyncReport
from .sinks import BatchWriter, TaskSink

CONCURRENCY: Final = 32
"""Leads that are read at the same time, unless told otherwise."""

HandleLead = Callable[[LeadTasks, BatchWriter[LeadTasks]], Awaitable[None]]


class LeadReader:
    """Reads leads into a sink.

    A lead's tasks go if the API answers that the lead does not exist (20006) and a complete list of leads lacks it
    too; any other 404 is a failure of that lead. A task that its lead no longer has is asked for by its id, one request
    each: it may have moved to another lead meanwhile. So is a task that two leads list. It goes if the API knows no
    such task. Nothing is removed before `settle`.

    A lead that cannot be read is reported and keeps what the sink has of it. If single tasks cannot be read, the others
    are kept and the lead is reported, whatever the client does with bad records.
    """

    def __init__(
        self,
        client: LoftyClient,
        sink: TaskSink,
        *,
        concurrency: int,
        on_lead: Callable[[], object],
        check_missing: Callable[[int], Awaitable[object]] | None = None,
    ) -> None:
        self._client = client
        self._read_lead = reader(client)
        self._sink = sink
        self._concurrency = concurrency
        self._on_lead = on_lead
        self._check_missing = check_missing
        self._doubts = Doubts()
        self.seen: set[int] = set()
        self.counts = SyncReport()

    async def read(self, lead_ids: LeadIds) -> None:
        """Reads leads.

        Raises: AuthenticationError as soon as the credential is refused; whatever the source and the sink raise.
        """
        await self._read(lead_ids, self._handle)

    async def read_unlisted(
        self, lead_ids: Sequence[int], *, is_list_complete: bool, may_be_strange: bool = False
    ) -> None:
        """Reads leads that the list of leads lacks; those that do not exist go with their tasks.

        So do those that the caller does not manage, if they `may_be_strange`: known from other lists alone.
        """

        def is_none(error: LoftyError | None) -> bool:
            return is_gone(error, RecordKind.LEAD) or (may_be_strange and is_denied(error))

        async def handle(lead: LeadTasks, writer: BatchWriter[LeadTasks]) -> None:
            if is_list_complete and is_none(lead.error):
                await writer.add(LeadTasks(lead.lead_id))
            elif lead.error is None and not lead.tasks:
                await writer.add(lead)
            else:
                self.seen.add(lead.lead_id)
                await self._handle(lead, writer)

        await self._read(lead_ids, handle)

    async def read_tasks(self, ids: Sequence[int]) -> None:
        """Asks for tasks of no lead, which nothing else proves; those that do not exist go."""
        answers = [one async for some in self._answers(ids) for one in some]
        found = [answer for _, answer in answers if isinstance(answer, Task)]
        gone = [id for id, answer in answers if not isinstance(answer, Task) and is_without_task(answer)]
        if self._check_missing is not None and gone:
            await self._check_missing(len(gone))
        if found or gone:
            self.counts = self.counts.with_changes(await self._sink.settle(moved=found, gone=gone))

    async def settle(self, known: Collection[int]) -> None:
        """Asks for each task in doubt, some at a time, and writes where it belongs; `known` leads are the account's."""
        tasks, leads = self._doubts.tasks, self.seen.union(known)
        if self._check_missing is not None and tasks:
            await self._check_missing(sum(not task.listed for task in tasks.values()))
        async for answers in self._answers(list(tasks)):
            resolution = self._doubts.resolve(answers, leads)
            changes = await self._sink.settle(moved=resolution.moved, gone=resolution.gone)
            self.counts = self.counts.with_changes(changes)
            self._count_failures(resolution.failed)
        failed = {failure.lead_id for failure in self.counts.failed}
        resolved = {lead_id for task in tasks.values() for lead_id in task.leads}
        if resolved:
            await self._sink.settle(done=resolved - failed)

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
        self.counts = self.counts.with_lead(lead)
        await writer.add(lead)
        self._on_lead()

    async def _write(self, leads: Sequence[LeadTasks]) -> None:
        known = [lead for lead in leads if lead.tasks or lead.error is None or isinstance(lead.error, UnreadTasksError)]
        done = [lead.lead_id for lead in known if lead.error is None]
        result = await self._sink.merge({lead.lead_id: lead.tasks for lead in known}, done=done)
        self.counts = self.counts.with_changes(result.changes)
        errors = {lead.lead_id: lead.error for lead in known}
        doubts = [doubt for doubt in result.doubts if not is_unread(doubt, errors[doubt.lead_id])]
        self._doubts.add(doubts, [task for lead in known for task in lead.tasks])

    async def _answers(self, ids: Sequence[int]) -> AsyncGenerator[list[tuple[int, Task | LoftyError]], None]:
        """The answers of the API about tasks, some at a time.

        Raises: AuthenticationError.
        """
        for start in range(0, len(ids), self._concurrency):
            some = ids[start : start + self._concurrency]
            answers = await asyncio.gather(*map(self._find, some))
            for answer in answers:
                if isinstance(answer, AuthenticationError):
                    raise answer
            yield list(zip(some, answers, strict=True))

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
        known = {failure.lead_id for failure in self.counts.failed}
        new = [LeadFailure(lead_id, str(error)) for lead_id, error in failed.items() if lead_id not in known]
        self.counts = evolve(self.counts, failed=(*self.counts.failed, *new))
