from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from lofty_async.models import Task

from .database import Database
from .diff import Changes
from .sinks import RESUME_WITHIN, Merged
from .thread import OwnThread


class TaskStore:
    """A local copy of tasks in an SQLite file: table `tasks`, a row per task, a column per field of `Task`.

    Times are text in UTC, as SQLite's own functions write it: `2026-03-01 23:00:00`, with milliseconds or
    microseconds only where there are any. So they sort as they are and compare with each other, with `datetime('now')`
    and with literals of that form: `WHERE end_at < '2026-03-08 06:30:00'`. Columns that hold none are NULL.

    Use it as `async with TaskStore(path) as store`: one thread of its own talks to SQLite, so that the event loop never
    waits for a disk. A new file can be read by its owner alone; an existing one keeps its permissions.

    Raises: sqlite3.Error where the file cannot be opened, is no database, has tables of these names that are not a
    mirror's, holds times in another form, or cannot be written.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._thread = OwnThread(
            lambda: Database(self.path), "the store is not open: use it in `async with TaskStore(path) as store`"
        )

    async def __aenter__(self) -> Self:
        await self._thread.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:
        """Begins a run; with `resume`, returns the leads that an unfinished run has done in the last seconds."""
        return await self._thread.call(Database.start, resume_within=resume_within if resume else None)

    async def leads(self) -> frozenset[int]:
        """The leads of the tasks held."""
        return await self._thread.call(Database.leads)

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks, in one transaction; returns what changed."""
        return await self._thread.call(Database.replace, leads)

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates rows in one transaction, but for those in doubt; removes none."""
        return await self._thread.call(Database.merge, leads, done)

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts rows under the leads that the tasks carry and removes those that are gone, in one transaction."""
        return await self._thread.call(Database.settle, moved, gone, done)

    async def finish(self, *, all_done: bool) -> None:
        """Ends a run; the leads that failed in it can be resumed, unless `all_done`."""
        if all_done:
            await self._thread.call(Database.finish)

    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id; their times are in UTC."""
        return await self._thread.call(Database.tasks, lead_id)

    async def close(self) -> None:
        """Finishes the write under way and closes the file; closing twice is no error."""
        await self._thread.close()
