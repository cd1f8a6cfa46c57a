import asyncio
import json
import os
import sys
import threading
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import define, field

from lofty_async._convert import unstructure
from lofty_async._values import is_id
from lofty_async.models import Task

from .diff import Changes
from .partial import PartialFile, partial_of, target_of
from .sinks import RESUME_WITHIN, Doubt, Merged
from .thread import OwnThread

T = TypeVar("T", int, str)


@define
class LinesFile:
    """The new text file and what is known of the old one. Everything here blocks: `JsonLines` is its async face.

    Raises: OSError where the file cannot be written, is no regular one, or is being written by another process.
    """

    path: Path
    string_ids: bool
    _file: PartialFile = field(init=False)
    _homes: dict[int, int] = field(factory=dict[int, int], init=False)  # the lead of each task, old and new
    _tasks: dict[int, set[int]] = field(factory=dict[int, set[int]], init=False)  # the same by lead
    _places: dict[int, int] = field(factory=dict[int, int], init=False)  # the number of each task's line
    _lines: int = field(default=0, init=False)
    _gone: set[int] = field(factory=set[int], init=False)
    _has_read: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._file = PartialFile(self.path)
        try:
            for id, lead_id, _ in self._old():
                if lead_id is not None:
                    self._move(id, lead_id)
        except BaseException:
            self._file.close()
            raise

    def leads(self) -> frozenset[int]:
        return frozenset(lead_id for lead_id, tasks in self._tasks.items() if tasks)

    def replace(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Takes these tasks for all that the leads have."""
        for lead_id, tasks in leads.items():
            self._remove(self._tasks.get(lead_id, set()) - {task.id for task in tasks})
            self._append(lead_id, tasks)
        self._has_read = True
        return Changes()

    def merge(self, leads: Mapping[int, Sequence[Task]], done: Collection[int]) -> Merged:
        results = [self._merge(lead_id, tasks) for lead_id, tasks in leads.items()]
        self._has_read |= bool(done) or any(leads.values())
        return Merged(Changes(), tuple(doubt for doubts in results for doubt in doubts))

    def settle(self, moved: Sequence[Task], gone: Collection[int]) -> Changes[int]:
        for task in moved:
            self._append(task.lead_id, [task])
        self._remove(gone)
        return Changes()

    def finish(self, *, all_done: bool) -> None:
        """Puts the file in place with the old lines that nothing has replaced, unless nothing could be read."""
        if not (all_done or self._has_read):
            self._file.discard()
            return
        if self._lines > len(self._places):  # some tasks were written twice, or are gone since
            self._file.keep(set(self._places.values()))
        self._file.append(self._kept())
        self._file.publish()

    def close(self) -> None:
        self._file.close()

    def _merge(self, lead_id: int, tasks: Sequence[Task]) -> list[Doubt]:
        ids = {task.id for task in tasks}
        elsewhere = {id for id in ids if self._homes.get(id, lead_id) != lead_id}
        missing = self._tasks.get(lead_id, set()) - ids
        self._append(lead_id, [task for task in tasks if task.id not in elsewhere])
        return [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]

    def _append(self, lead_id: int | None, tasks: Sequence[Task]) -> None:
        new = {task.id: task for task in tasks}
        self._file.append(self._line(unstructure(task)) for task in new.values())
        for id in new:
            self._places[id], self._lines = self._lines, self._lines + 1
            self._move(id, lead_id)

    def _remove(self, ids: Collection[int]) -> None:
        for id in tuple(ids):
            self._gone.add(id)
            self._places.pop(id, None)
            self._move(id, None)

    def _move(self, id: int, lead_id: int | None) -> None:
        before = self._homes.pop(id, None)
        if before is not None:
            self._tasks[before].discard(id)
        if lead_id is not None:
            self._homes[id] = lead_id
            self._tasks.setdefault(lead_id, set()).add(id)

    def _kept(self) -> Generator[str, None, None]:
        """The old lines that stay, one for each task."""
        left_out = {*self._places, *self._gone}
        for id, lead_id, record in self._old():
            if id not in left_out and self._homes.get(id) == lead_id:
                left_out.add(id)
                yield self._line(record)

    def _old(self) -> Generator[tuple[int, int | None, dict[str, Any]], None, None]:
        """The records that the file to be replaced has, each with its id and lead."""
        if self.path.exists():
            with self.path.open("rb") as lines:
                yield from records_in(lines)

    def _line(self, record: dict[str, Any]) -> str:
        return line_of(record, string_ids=self.string_ids)


class JsonLines:
    """Tasks as a text file, one JSON object a line, in the order in which they are fetched.

    The file is replaced when the run is over: lines of tasks that the run has read are new, those of tasks that are
    gone are left out, and all others, such as those of leads that failed or were not asked for, follow as they were.
    Until then, and after an interrupted run, what was fetched is in `<file>.partial`. Nothing can be resumed. All text
    is ASCII, so that any reader can take it. A link stays one: the file that it names is written. A new file can be
    read by its owner alone; one that is replaced keeps its permissions.

    Raises: OSError where the file cannot be written, is no regular one, or is being written by another process.
    """

    def __init__(self, path: str | PathLike[str], *, string_ids: bool = False) -> None:
        self.path = Path(path)
        self._thread = OwnThread(
            lambda: LinesFile(target_of(self.path), string_ids),
            "the file is not open: use it in `async with JsonLines(path) as lines`",
        )

    @property
    def partial(self) -> Path:
        """Where the file grows."""
        return partial_of(target_of(self.path))

    async def __aenter__(self) -> Self:
        await self._thread.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._thread.close()
        except OSError:
            # What the disk did not take it does not take now either: the first failure says it all.
            if error is None:
                raise

    async def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:  # noqa: ARG002 - nothing can be resumed
        return frozenset()

    async def leads(self) -> frozenset[int]:
        """The leads of the file that is to be replaced, and of what was written since."""
        return await self._thread.call(LinesFile.leads)

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Appends all tasks of these leads, in place of whatever the file has of them."""
        return await self._thread.call(LinesFile.replace, leads)

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Appends the tasks of these leads, but for those in doubt, and hands them to the operating system."""
        return await self._thread.call(LinesFile.merge, leads, done)

    async def settle(
        self,
        *,
        moved: Sequence[Task] = (),
        gone: Collection[int] = (),
        done: Collection[int] = (),  # noqa: ARG002 - nothing can be resumed
    ) -> Changes[int]:
        """Appends tasks, and leaves out those that are gone."""
        return await self._thread.call(LinesFile.settle, moved, gone)

    async def finish(self, *, all_done: bool) -> None:
        """Puts the file in place, unless all leads failed."""
        await self._thread.call(LinesFile.finish, all_done=all_done)


class JsonLinesOutput:
    """Tasks on standard output, one JSON object a line, as they are fetched; each task once, under its first lead.

    Raises: OSError where nobody reads any more.
    """

    def __init__(self, *, string_ids: bool = False) -> None:
        self._string_ids = string_ids
        self._written: set[int] = set()

    async def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:  # noqa: ARG002 - nothing can be resumed
        return frozenset()

    async def leads(self) -> frozenset[int]:
        return frozenset()

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:  # noqa: ARG002 - nothing can be resumed
        await self._print([task for tasks in leads.values() for task in tasks])
        return Merged(Changes())

    async def settle(
        self,
        *,
        moved: Sequence[Task] = (),
        gone: Collection[int] = (),  # noqa: ARG002 - what was printed stays
        done: Collection[int] = (),  # noqa: ARG002 - nothing can be resumed
    ) -> Changes[int]:
        await self._print(moved)
        return Changes()

    async def finish(self, *, all_done: bool) -> None: ...

    async def _print(self, tasks: Iterable[Task]) -> None:
        new = {task.id: task for task in tasks if task.id not in self._written}
        self._written.update(new)
        lines = [line_of(unstructure(task), string_ids=self._string_ids) for task in new.values()]
        await _in_daemon_thread("".join(lines))


async def _in_daemon_thread(text: str) -> None:
    """Writes to standard output; a reader that stands still keeps neither the event loop nor the process's end."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    failures: list[OSError] = []

    def write() -> None:
        try:
            _write(text)
        except OSError as error:
            failures.append(error)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=write, name="lofty-output", daemon=True).start()
    await done.wait()
    for error in failures:
        raise error


def _write(text: str) -> None:
    try:
        file = sys.stdout.fileno()
    except (AttributeError, OSError):  # there is none, or a program's own
        if sys.stdout is not None:
            sys.stdout.write(text)
        return
    # Not through `sys.stdout`, whose lock the interpreter needs at its end.
    left = memoryview(text.encode("ascii"))
    while left:
        left = left[os.write(file, left) :]


def line_of(record: dict[str, Any], *, string_ids: bool) -> str:
    plain = record | _ids(record, str) if string_ids else record
    return json.dumps(plain, separators=(",", ":")) + "\n"


def records_in(lines: Iterable[bytes]) -> Generator[tuple[int, int | None, dict[str, Any]], None, None]:
    """The id, lead and record of each line that a sync wrote, ids as integers; other lines are left out."""
    for line in lines:
        try:
            record = json.loads(line)
            ids = _ids(record, int)
            id = ids["id"]
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            continue
        yield id, ids.get("lead_id"), record | ids


def _ids(record: dict[str, Any], kind: type[T]) -> dict[str, T]:
    return {name: kind(value) for name, value in record.items() if is_id(name) and value is not None}
