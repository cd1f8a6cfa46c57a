"""Sinks that write tasks as JSON, one object a line: into a text file that is replaced as a whole, or to stdout."""

import json
import os
import stat
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO, TypeVar

from attrs import define, field

from lofty_async._convert import unstructure
from lofty_async._locks import try_lock_if_possible
from lofty_async._stdout import write_stdout
from lofty_async._values import is_id
from lofty_async.models import Task

from .sinks import Changes, Doubt, Merged, ThreadedSink, in_thread

T = TypeVar("T", int, str)

CLOSES_FIRST = os.name == "nt"
"""Windows moves no open file. Elsewhere it stays open, as its lock has to outlast the move."""
OWNER_ONLY: Final = 0o600


@define
class PartialFile:
    """`<file>.partial`, which one process at a time writes to: its lock ends with the process, however that ends.

    If the platform or the file system has no locks, nothing keeps a second one out. Its owner alone can read it; in
    its place it has the permissions of the file that it replaces.

    Raises: OSError if another process writes it, either path is not a regular file, or the disk does not take it.
    """

    place: Path
    path: Path = field(init=False)
    _file: TextIO = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.path = partial_of(self.place)
        for path in (self.place, self.path):
            _refuse_special(path)
        self._file = self._open()

    def append(self, lines: Iterable[str]) -> None:
        """Hands the lines to the operating system."""
        self._file.writelines(lines)
        self._file.flush()

    def keep(self, numbers: Collection[int]) -> None:
        """Leaves out all lines but those of these numbers, the first of which is 0."""
        with self.path.open(encoding="ascii", newline="\n") as file:
            kept = [line for number, line in enumerate(file) if number in numbers]
        self._file.truncate(0)
        self.append(kept)

    def publish(self) -> None:
        """Puts the file in place once the disk has it."""
        self._file.flush()
        self._take_over_permissions()
        os.fsync(self._file.fileno())
        if CLOSES_FIRST:
            self.close()
        self.path.replace(self.place)
        _sync_folder(self.place.parent)
        self.close()

    def discard(self) -> None:
        """Removes the file, and leaves what is in its place."""
        if CLOSES_FIRST:
            self.close()
        self.path.unlink()
        self.close()

    @property
    def is_closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()

    def _open(self) -> TextIO:
        while True:
            # Not truncated before it is locked: it may be another's.
            file = open(self.path, "a", encoding="ascii", newline="\n", opener=_open_private)  # noqa: SIM115 - it stays open
            try:
                self._lock(file)
                if self._is_in_place(file):
                    file.truncate(0)
                    _restrict(file.fileno())
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def _take_over_permissions(self) -> None:
        """Gives the file the owner and the mode of the one that it replaces."""
        if hasattr(os, "fchown") and self.place.exists():
            old, own = self.place.stat(), os.fstat(self._file.fileno())
            if (old.st_uid, old.st_gid) != (own.st_uid, own.st_gid):
                with suppress(PermissionError):  # root alone gives files away
                    os.fchown(self._file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(self._file.fileno(), stat.S_IMODE(old.st_mode))

    def _lock(self, file: TextIO) -> None:
        if not try_lock_if_possible(file.fileno()):
            raise BlockingIOError(f"another sync is writing {str(self.path)!r}")

    def _is_in_place(self, file: TextIO) -> bool:
        """Whether no other process published the file between our opening and our locking it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False


def partial_of(place: Path) -> Path:
    """The path under which the file for this place is written."""
    return place.with_name(f"{place.name}.partial")


def target_of(path: Path) -> Path:
    """The file to replace: for a link, the file that it names, so that the link stays one."""
    # Unlike `Path.resolve`, it takes links in a circle. Opening refuses those, and links to what is no regular file.
    leads_to_file = path.is_symlink() and (path.is_file() or not path.exists())
    return Path(os.path.realpath(path)) if leads_to_file else path


def _refuse_special(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(f"{str(path)!r} is no regular file, and would be replaced by one")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, OWNER_ONLY)


def _restrict(file: int) -> None:
    """Makes a file that an interrupted run left readable by its owner alone."""
    if hasattr(os, "fchmod"):
        with suppress(PermissionError):  # another user's, whose rights are that user's to set
            os.fchmod(file, OWNER_ONLY)


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable; Windows and some file systems have no way to ask for it."""
    with suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


@define
class LineIndex:
    """The lead of each task, of the old file and of the new one, and the number of each task's line in the new one."""

    _lead_of: dict[int, int] = field(factory=dict[int, int], init=False)
    _tasks_of: dict[int, set[int]] = field(factory=dict[int, set[int]], init=False)
    _line_of: dict[int, int] = field(factory=dict[int, int], init=False)
    _removed: set[int] = field(factory=set[int], init=False)
    _lines: int = field(default=0, init=False)

    @property
    def leads(self) -> frozenset[int]:
        return frozenset(lead_id for lead_id, tasks in self._tasks_of.items() if tasks)

    @property
    def lines(self) -> set[int]:
        """The numbers of the new lines that count."""
        return set(self._line_of.values())

    @property
    def has_stale_lines(self) -> bool:
        """Whether tasks were written twice, or removed after they were written."""
        return self._lines > len(self._line_of)

    @property
    def superseded(self) -> set[int]:
        """The tasks whose old lines do not count."""
        return {*self._line_of, *self._removed}

    def lead_of(self, id: int) -> int | None:
        return self._lead_of.get(id)

    def tasks_of(self, lead_id: int) -> set[int]:
        return set(self._tasks_of.get(lead_id, ()))

    def append(self, id: int, lead_id: int | None) -> None:
        """Notes that the next line is this task's."""
        self._line_of[id], self._lines = self._lines, self._lines + 1
        self.move(id, lead_id)

    def remove(self, id: int) -> None:
        self._removed.add(id)
        self._line_of.pop(id, None)
        self.move(id, None)

    def move(self, id: int, lead_id: int | None) -> None:
        before = self._lead_of.pop(id, None)
        if before is not None:
            self._tasks_of[before].discard(id)
        if lead_id is not None:
            self._lead_of[id] = lead_id
            self._tasks_of.setdefault(lead_id, set()).add(id)


class JsonLines(ThreadedSink):
    """Tasks as a text file, one JSON object a line, in the order in which they are fetched.

    The file is replaced when the run is over: lines of tasks that the run has read are new, those of tasks that are
    gone are left out, and all others, such as those of leads that failed or were not asked for, follow as they were.
    Until then, and after an interrupted run, what was fetched is in `<file>.partial`. Nothing can be resumed. All text
    is ASCII, so that any reader can take it. A link stays one: the file that it names is written. A new file can be
    read by its owner alone; one that is replaced keeps its permissions.

    Raises: OSError if the file cannot be written, is not a regular one, or is being written by another process.
    """

    _file: PartialFile
    _index: LineIndex
    _has_read: bool

    def __init__(self, path: str | PathLike[str], *, string_ids: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self._string_ids = string_ids

    @property
    def partial(self) -> Path:
        """The path under which the file is written."""
        return partial_of(target_of(self.path))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except OSError:
            # What the disk did not take it does not take now either: the first failure says it all.
            if error is None:
                raise

    @in_thread
    def start(self) -> None:
        """Begins a run."""
        if self._file.is_closed:  # the run before it has ended
            self._open()

    @in_thread
    def leads(self) -> frozenset[int]:
        """The leads of the file that is to be replaced, and of what was written since."""
        return self._index.leads

    @in_thread
    def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Appends all tasks of these leads, in place of whatever the file has of them."""
        for lead_id, tasks in leads.items():
            self._remove(self._index.tasks_of(lead_id) - {task.id for task in tasks})
            self._append(lead_id, tasks)
        self._has_read = True
        return Changes()

    @in_thread
    def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Appends the tasks of these leads, but for those in doubt, and hands them to the operating system."""
        doubts = [doubt for lead_id, tasks in leads.items() for doubt in self._merge(lead_id, tasks)]
        self._has_read |= bool(done) or any(leads.values())
        return Merged(Changes(), tuple(doubts))

    @in_thread
    def settle(
        self,
        *,
        moved: Sequence[Task] = (),
        gone: Collection[int] = (),
        done: Collection[int] = (),  # noqa: ARG002 - nothing is kept of a run
    ) -> Changes[int]:
        """Appends tasks, and leaves out those that are gone."""
        for task in moved:
            self._append(task.lead_id, [task])
        self._remove(gone)
        return Changes()

    @in_thread
    def finish(self, *, all_done: bool) -> None:
        """Puts the file in place, with the old lines that nothing has replaced, unless all leads failed."""
        if not (all_done or self._has_read):
            self._file.discard()
            return
        if self._index.has_stale_lines:
            self._file.keep(self._index.lines)
        self._file.append(self._kept())
        self._file.publish()

    def _merge(self, lead_id: int, tasks: Sequence[Task]) -> list[Doubt]:
        ids = {task.id for task in tasks}
        elsewhere = {id for id in ids if self._index.lead_of(id) not in {None, lead_id}}
        missing = self._index.tasks_of(lead_id) - ids
        self._append(lead_id, [task for task in tasks if task.id not in elsewhere])
        return [Doubt(id, lead_id, is_listed=id in elsewhere) for id in (*elsewhere, *missing)]

    def _append(self, lead_id: int | None, tasks: Sequence[Task]) -> None:
        new = {task.id: task for task in tasks}
        self._file.append(self._line(unstructure(task)) for task in new.values())
        for id in new:
            self._index.append(id, lead_id)

    def _remove(self, ids: Collection[int]) -> None:
        for id in ids:
            self._index.remove(id)

    def _kept(self) -> Generator[str, None, None]:
        """The old lines that stay, one for each task."""
        left_out = self._index.superseded
        for id, lead_id, record in self._old():
            if id not in left_out and self._index.lead_of(id) == lead_id:
                left_out.add(id)
                yield self._line(record)

    def _old(self) -> Generator[tuple[int, int | None, dict[str, Any]], None, None]:
        """The records of the file that is to be replaced, each with its id and lead."""
        if self._file.place.exists():
            with self._file.place.open("rb") as lines:
                yield from records_in(lines)

    def _line(self, record: dict[str, Any]) -> str:
        return line_of(record, string_ids=self._string_ids)

    def _open(self) -> None:
        self._file, self._index, self._has_read = PartialFile(target_of(self.path)), LineIndex(), False
        try:
            for id, lead_id, _ in self._old():
                if lead_id is not None:
                    self._index.move(id, lead_id)
        except BaseException:
            self._file.close()
            raise

    def _close(self) -> None:
        self._file.close()


class JsonLinesOutput:
    """Tasks on standard output, one JSON object a line, as they are fetched; each task once, under its first lead.

    Raises: OSError if its reader has gone.
    """

    def __init__(self, *, string_ids: bool = False) -> None:
        self._string_ids = string_ids
        self._written: set[int] = set()

    async def start(self) -> None: ...

    async def leads(self) -> frozenset[int]:
        return frozenset()

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:  # noqa: ARG002 - nothing is kept of a run
        await self._print([task for tasks in leads.values() for task in tasks])
        return Merged(Changes())

    async def settle(
        self,
        *,
        moved: Sequence[Task] = (),
        gone: Collection[int] = (),  # noqa: ARG002 - what was printed stays
        done: Collection[int] = (),  # noqa: ARG002 - nothing is kept of a run
    ) -> Changes[int]:
        await self._print(moved)
        return Changes()

    async def finish(self, *, all_done: bool) -> None: ...

    async def _print(self, tasks: Iterable[Task]) -> None:
        new = {task.id: task for task in tasks if task.id not in self._written}
        self._written.update(new)
        lines = [line_of(unstructure(task), string_ids=self._string_ids) for task in new.values()]
        await write_stdout("".join(lines))


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
