"""What `sync` does: open, read, keep, report."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager

import click
from attrs import frozen

from lofty_async.mirror import JsonLines, JsonLinesOutput, SyncReport, TaskSink, TaskStore, TaskSync, Tee

from .connect import connected
from .options import OUTPUT, Places, Target
from .progress import drawn
from .run import Refused, run
from .summary import tell


@frozen(kw_only=True)
class Plan:
    """What to sync, and how."""

    places: Places
    lead_ids: Sequence[int] | None
    concurrency: int
    resume: bool
    string_ids: bool
    as_json: bool


class Job:
    """One run of the command."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan = plan
        self._target = target
        self._sync: TaskSync | None = None

    def run(self) -> int:
        """Syncs and tells what was done, also when it was cut short; the exit code.

        Raises: click.ClickException and click.exceptions.Exit, as `run` does.
        """
        try:
            return 1 if run(self._work).failed else 0
        finally:
            self._tell()

    def _tell(self) -> None:
        plan = self._plan
        if self._sync is not None:
            tell(self._sync.report, plan.places, as_json=plan.as_json, string_ids=plan.string_ids)

    async def _work(self) -> SyncReport:
        plan = self._plan
        with _in_one_line(click.ClickException):  # closing a file may fail too
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(connected(self._target))
                store = await self._open(stack)
                self._sync = TaskSync(client, store, plan.lead_ids, concurrency=plan.concurrency, resume=plan.resume)
                async with drawn(self._sync, client):
                    return await self._sync.run()

    async def _open(self, stack: AsyncExitStack) -> TaskSink:
        sinks: list[TaskSink] = []
        with _in_one_line(Refused):
            if self._plan.places.db is not None:
                sinks.append(await stack.enter_async_context(TaskStore(self._plan.places.db)))
            if self._plan.places.jsonl == OUTPUT:
                sinks.append(JsonLinesOutput(string_ids=self._plan.string_ids))
            elif self._plan.places.jsonl is not None:
                lines = JsonLines(self._plan.places.jsonl, string_ids=self._plan.string_ids)
                sinks.append(await stack.enter_async_context(lines))
        return Tee(tuple(sinks))


@contextmanager
def _in_one_line(kind: type[click.ClickException]) -> Generator[None, None, None]:
    """Files that cannot be read or written are the user's to see to: they get the reason, not a traceback."""
    try:
        yield
    except BrokenPipeError:
        raise  # click ends without a word where nobody reads any more
    except (sqlite3.Error, OSError) as error:
        raise kind(str(error)) from error
