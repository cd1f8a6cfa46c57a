"""The mirror: a local copy of an account's tasks, kept equal to the API with few requests."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta

from lofty_async import _checks
from lofty_async.bulk import LeadIds, check_bulk
from lofty_async.client import LoftyClient
from lofty_async.ratelimit import Lane
from lofty_async.webhooks import WebhookNotice, follow_tasks

from .database import Database, checked_age, read_changes
from .decide import Strategy, SyncPlan, choose, plan_of
from .errors import SyncRunningError
from .lists import Lists
from .proof import CONCURRENCY
from .records import Change, Run
from .report import Meter, OnProgress, SyncReport
from .run import SyncOptions, SyncRun, claimed, scope_of
from .runs import RESUME_WITHIN
from .sinks import TaskSink
from .sources import Source, origin_of, source_of


class Mirror:
    """Keeps a database equal to what the API has.

    ```python
    async with LoftyClient.from_env() as lofty, SqliteDatabase("tasks.sqlite") as database:
        report = await Mirror(lofty, database).sync()
    ```

    `users` are the ids of the users whose my-tasks are swept, besides the caller's own; without them, all users to whom
    leads or tasks are assigned. `keep_changes` is how long changes that were found are kept: at its end, a run removes
    older ones. `None` keeps all. All calls travel in the bulk lane and wait for the rate limit as long as they have to,
    whatever the client's `max_wait`.

    The database notes the server and the account that its rows come from, as `LoftyClient.me` reports them, and refuses
    others; that takes one request in the first run of each `Mirror`.
    """

    def __init__(
        self,
        client: LoftyClient,
        database: Database,
        *,
        users: Iterable[int] | None = None,
        keep_changes: timedelta | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client.with_options(lane=Lane.BULK, max_wait=None)
        self._database = database
        self._users = None if users is None else frozenset(_checks.number_id("users", user) for user in users)
        self._keep_changes = None if keep_changes is None else checked_age("keep_changes", keep_changes)
        self._clock = clock
        self._source: Source | None = None
        self._run: SyncRun | None = None

    @property
    def report(self) -> SyncReport:
        """The run under way so far, or the last one of this object."""
        return SyncReport() if self._run is None else self._run.report

    async def plan(self) -> SyncPlan:
        """An estimate of the next run by each strategy; it takes a request or two.

        Before the first run it knows the number of leads, and guesses two tasks a lead and one user.
        """
        lists = Lists(self._database)
        leads = await self._count_leads()
        if leads is None:
            leads = (await self._database.summary()).leads
        size, limit = await lists.size(leads), self._client.rate_limit.limit
        return SyncPlan(
            leads=leads,
            tasks=size.tasks,
            users=size.users,
            limit=limit,
            chosen=choose(size),
            plans=tuple(plan_of(strategy, size, limit) for strategy in (Strategy.LISTS, Strategy.LEADS)),
            hidden=await lists.hidden(),
            is_first=size.is_first,
        )

    async def sync(
        self,
        lead_ids: LeadIds | None = None,
        *,
        strategy: Strategy | str = Strategy.AUTO,
        allow_mass_delete: bool = False,
        allow_new_server: bool = False,
        fresh: bool = False,
        resume_within: float = RESUME_WITHIN,
        concurrency: int = CONCURRENCY,
        on_progress: OnProgress | None = None,
        export: TaskSink | None = None,
    ) -> SyncReport:
        """Makes the database equal to what the API has of all leads, or of these.

        Strategy `leads` reads every lead, one request each. Strategy `lists` sweeps my-tasks of every user and the
        calendar. The first run stores what they show, usable at once and unproven, and then reads every lead. Later
        runs take over what my-tasks shows, and read the leads of tasks that a list no longer shows, that have moved,
        that the calendar alone shows otherwise, or that are open and in no list, and a thirtieth of all leads in turn.
        If over 30 % of all leads have open tasks that are in no list, a run reads those in turn, at most 15 % of all
        leads, so that edits of such tasks are found within 7 runs. `auto` takes `lists` unless it costs more requests
        or over 30 % of all leads have such tasks. With `lead_ids`, these are read and no others.

        A lead's tasks go if the API answers that the lead does not exist (20006) and a complete list of leads lacks it
        too; any other 404 is a failure of that lead. A task that its lead no longer has is asked for by its id: it may
        have moved to another lead during the run. It goes if the API knows no such task. Tasks of leads that were not
        asked for stay. A lead that cannot be read is in the report's `failed` and keeps its rows.

        A run that was interrupted less than `resume_within` seconds ago (6 h) goes on where it was, unless `fresh`:
        leads that it has read in these seconds are not read again. `concurrency` leads are read at the same time.
        `on_progress` is called with the report after every lead and every page of a list. `export` is a sink that also
        gets what the leads have, such as `JsonLines`; every lead is read then, in a fresh run.

        Raises: InvalidRequestError if an argument is wrong. SyncRunningError if another run on this database is under
        way. OtherAccountError before anything is written, if the database mirrors another account, or this account on
        another server, unless `allow_new_server`, which is for a server whose address has changed.
        SuspiciousDeletionError before anything is deleted, if over 50 tasks and over 10 % of all are gone, or a list is
        suddenly empty, unless `allow_mass_delete`. AuthenticationError as soon as the credential is refused; whatever
        the lists and the database raise. All that was read before is kept.
        """
        options = SyncOptions(
            strategy=_strategy(strategy, is_per_lead=lead_ids is not None or export is not None),
            allow_mass_delete=allow_mass_delete,
            fresh=fresh,
            resume_within=resume_within,
            concurrency=concurrency,
            users=self._users,
            keep_changes=self._keep_changes,
            on_progress=on_progress,
            export=export,
        )
        check_bulk([] if lead_ids is None else lead_ids, concurrency)
        _checks.duration("resume_within", resume_within)
        meter, server = Meter(self._client, self._clock), Source(origin_of(self._client.base_url))
        await self._database.check(server, allow_new_server=allow_new_server)  # before it costs a request
        async with claimed(self._database, scope_of(lead_ids), options) as run:
            # With the claim, as the answer may take a while.
            await self._database.adopt(await self._read_source(), allow_new_server=allow_new_server)
            self._run = current = SyncRun(self._client, self._database, run, options, meter)
            return await (current.read_all() if lead_ids is None else current.read_some(lead_ids))

    def changes(self, since: int | None = 0, *, follow: bool = False) -> AsyncGenerator[Change, None]:
        """The changes of the database after the one numbered `since`, oldest first; with `follow`, also those to come.

        `None` begins with the oldest that is kept. All of them, replayed onto an empty table, give the rows: `task`
        replaces the row of its id, and a deleted one goes.

        Raises: ChangesPrunedError if changes after `since` were removed, as `keep_changes` has it; InvalidRequestError
        if it is beyond the last change, as after the database was made anew.
        """
        checked = None if since is None else _checks.within("since", since, 0, _checks.LARGEST_ID)
        return read_changes(self._database, checked, follow=follow)

    async def runs(self, limit: int = 100) -> list[Run]:
        """The last runs, newest first."""
        return await self._database.runs(limit)

    async def follow(self, notices: AsyncIterable[WebhookNotice], *, sweep_every: float | None = 3600.0) -> None:
        """Applies what notices are about until they end; each record is read again through the API.

        Every `sweep_every` seconds a sync finds what notices have missed; `None` is never. A record that cannot be read
        is left to it.

        Raises: OtherAccountError if the database mirrors another account; whatever a sync raises, but for
        SyncRunningError.
        """
        seconds = _checks.seconds("sweep_every", sweep_every, above=True)
        await self._database.adopt(await self._read_source())
        sweeping = asyncio.create_task(self._keep_syncing(seconds))
        following = asyncio.create_task(self._apply(notices))
        try:
            await asyncio.wait({sweeping, following}, return_when=asyncio.FIRST_COMPLETED)
            if sweeping.done():
                await sweeping
            await following
        finally:
            for task in (sweeping, following):
                task.cancel()
            await asyncio.wait({sweeping, following})

    async def _apply(self, notices: AsyncIterable[WebhookNotice]) -> None:
        async for change in follow_tasks(notices, self._client):
            with suppress(SyncRunningError):  # our sync has lost its claim; the next one finds it
                if change.task is not None:
                    await self._database.settle(moved=[change.task])
                elif change.gone and change.task_id is not None:
                    await self._database.settle(gone=[change.task_id])

    async def _keep_syncing(self, seconds: float | None) -> None:
        while True:
            await asyncio.sleep(3600.0 if seconds is None else seconds)
            if seconds is not None:
                with suppress(SyncRunningError):
                    await self.sync()

    async def _read_source(self) -> Source:
        if self._source is None:
            self._source = await source_of(self._client)
        return self._source

    async def _count_leads(self) -> int | None:
        """The number of leads that the API lists, `None` if it reports none."""
        async for page in self._client.leads.list(page_size=1, prefetch=0, on_bad_record="skip").pages():
            return page.total
        return 0


def _strategy(value: Strategy | str, *, is_per_lead: bool) -> Strategy:
    try:
        strategy = Strategy(value)
    except ValueError:
        raise _checks.refuse("strategy", f"must be auto, leads or lists, not {value!r}") from None
    if is_per_lead and strategy is Strategy.LISTS:
        raise _checks.refuse("strategy", "must be leads: lead_ids and export are read lead by lead")
    return Strategy.LEADS if is_per_lead else strategy
