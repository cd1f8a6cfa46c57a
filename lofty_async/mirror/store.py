import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from lofty_async.models import Task

from .database import Database
from .diff import Changes
from .sinks import LeadPart

P = ParamSpec("P")
T = TypeVar("T")


class TaskStore:
    """A local copy of tasks in an SQLite file: table `tasks`, a row per task, a column per field of `Task`.

    Use it as `async with TaskStore(path) as store`: one thread of its own talks to SQLite, so that the
    event loop never waits for a disk.

    Raises: sqlite3.Error where the file cannot be opened, is no database, has tables of these names that are not a
    mirror's, or cannot be written.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._database: Database | None = None
        self._ended = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lofty-mirror")

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, *, resume: bool = False) -> frozenset[int]:
        """Begins a run; with `resume`, answers the leads that the last, unfinished run has done."""
        return await self._call(Database.start, resume=resume)

    async def leads(self) -> frozenset[int]:
        """The leads of the tasks held."""
        return await self._call(Database.leads)

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Makes each lead's rows equal to its tasks, in one transaction; answers what changed."""
        return await self._call(Database.replace, leads)

    async def write_part(self, part: LeadPart) -> Changes[int]:
        """Keeps these rows of a lead and those of its unread tasks; answers what changed."""
        return await self._call(Database.replace_part, part)

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:
        """Removes the rows of all other leads; answers what was removed."""
        return await self._call(Database.keep_only, leads)

    async def finish(self, *, all_done: bool) -> None:
        """Ends a run; what was not done in it can be resumed, unless `all_done`."""
        if all_done:
            await self._call(Database.finish)

    async def tasks(self, lead_id: int | None = None) -> list[Task]:
        """The tasks held, of one lead or of all, by id."""
        return await self._call(Database.tasks, lead_id)

    async def close(self) -> None:
        """Finishes the write under way and closes the file; closing twice is no error."""
        self._end()
        await asyncio.to_thread(self._thread.shutdown)

    def _end(self) -> None:
        """Lets the thread close the file and stop after its last job, whether or not anybody waits for it."""
        if not self._ended:
            self._ended = True
            self._thread.submit(self._shut)
            self._thread.shutdown(wait=False)

    def _open(self) -> None:
        self._database = Database(self.path)

    def _shut(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    async def _call(self, method: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        database = self._database
        if database is None:
            raise RuntimeError("the store is not open: use it in `async with TaskStore(path) as store`")
        return await self._in_thread(lambda: method(database, *args, **kwargs))

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)
