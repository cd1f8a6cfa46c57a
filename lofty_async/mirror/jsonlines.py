import asyncio
import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from lofty_async._values import is_id
from lofty_async.convert import unstructure
from lofty_async.models import Task

from .diff import Changes
from .partial import PartialFile, partial_of, target_of
from .sinks import LeadPart

T = TypeVar("T", int, str)


class JsonLines:
    """Tasks as a text file, one JSON object a line, in the order in which they are fetched.

    The file is replaced when the run is over. Until then, and after an interrupted run, what was fetched is in
    `<file>.partial`. Of leads that failed the new file takes over the lines of the old one; where no lead could be
    read, the old one stays. Nothing can be resumed. All text is ASCII, so that any reader can take it.
    A link stays one: the file that it names is written.

    Raises: OSError where the file cannot be written, is no regular one, or is being written by another process.
    """

    def __init__(self, path: str | PathLike[str], *, string_ids: bool = False) -> None:
        self.path = target_of(Path(path))
        self.partial = partial_of(self.path)
        self._string_ids = string_ids
        self._file: PartialFile | None = None
        self._failed: dict[int, LeadPart] = {}
        self._written: set[int] = set()
        self._has_read = False

    async def __aenter__(self) -> Self:
        self._file = PartialFile(self.path)
        self._failed, self._written, self._has_read = {}, set(), False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open_file().close()
        except OSError:
            # What the disk did not take it does not take now either: the first failure says it all.
            if error is None:
                raise

    async def start(self, *, resume: bool = False) -> frozenset[int]:  # noqa: ARG002 - nothing can be resumed
        return frozenset()

    async def leads(self) -> frozenset[int]:
        """The leads of the file that is to be replaced."""
        return await asyncio.to_thread(lambda: frozenset(lead_id for lead_id, _ in self._old()))

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Appends all tasks of these leads and hands them to the operating system."""
        self._has_read = True
        await asyncio.to_thread(self._append, [task for tasks in leads.values() for task in tasks])
        return Changes()

    async def write_part(self, part: LeadPart) -> Changes[int]:
        """Appends these tasks; those that the lead may still have are taken over from the old file in the end."""
        self._failed[part.lead_id] = part
        self._has_read |= bool(part.tasks)
        await asyncio.to_thread(self._append, part.tasks)
        return Changes()

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:  # noqa: ARG002 - begun anew by every run
        return Changes()

    async def finish(self, *, all_done: bool) -> None:
        """Puts the file in place, unless all leads failed."""
        await asyncio.to_thread(self._finish, is_empty=not (all_done or self._has_read))

    def _finish(self, *, is_empty: bool) -> None:
        file = self._open_file()
        if is_empty:
            file.discard()
            return
        if self._failed:
            file.append(self._line(record) for lead_id, record in self._old() if self._is_missing(lead_id, record))
        file.publish()

    def _append(self, tasks: Sequence[Task]) -> None:
        file = self._open_file()
        file.append(self._line(unstructure(task)) for task in tasks)
        self._written.update(task.id for task in tasks)

    def _open_file(self) -> PartialFile:
        if self._file is None:
            raise RuntimeError("the file is not open: use it in `async with JsonLines(path) as lines`")
        return self._file

    def _is_missing(self, lead_id: int, record: dict[str, Any]) -> bool:
        part, id = self._failed.get(lead_id), record["id"]
        return part is not None and id not in self._written and part.is_unread(id)

    def _old(self) -> Generator[tuple[int, dict[str, Any]], None, None]:
        """The records that the file to be replaced has, each with its lead."""
        if self.path.exists():
            with self.path.open("rb") as lines:
                yield from records_in(lines)

    def _line(self, record: dict[str, Any]) -> str:
        plain = record | _ids(record, str) if self._string_ids else record
        return json.dumps(plain, separators=(",", ":")) + "\n"


def records_in(lines: Iterable[bytes]) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """The lead and the record of each line that a sync wrote, ids as integers; other lines are left out."""
    for line in lines:
        try:
            record = json.loads(line)
            ids = _ids(record, int)
            lead_id, _ = ids["lead_id"], ids["id"]
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            continue
        yield lead_id, record | ids


def _ids(record: dict[str, Any], kind: type[T]) -> dict[str, T]:
    return {name: kind(value) for name, value in record.items() if is_id(name) and value is not None}
