import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from lofty_async.convert import unstructure
from lofty_async.models import Task

from .diff import Changes


class JsonLines:
    """Tasks as a text file, one JSON object a line, in the order in which they are fetched.

    The file is replaced when the run is over and complete. Until then, and after an interrupted run, what was
    fetched is in `<file>.partial`. Nothing can be resumed. All text is ASCII, so that any reader can take it.

    Raises: OSError where the file cannot be written.
    """

    def __init__(self, path: str | PathLike[str], *, string_ids: bool = False) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self._string_ids = string_ids
        self._file: TextIO | None = None

    async def __aenter__(self) -> Self:
        self._file = self.partial.open("w", encoding="ascii", newline="\n")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def start(self, *, resume: bool = False) -> frozenset[int]:  # noqa: ARG002 - nothing can be resumed
        return frozenset()

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Appends all tasks of these leads and hands them to the operating system."""
        await asyncio.to_thread(self._append, [task for tasks in leads.values() for task in tasks])
        return Changes()

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:  # noqa: ARG002 - begun anew by every run
        return Changes()

    async def finish(self, *, all_done: bool) -> None:  # noqa: ARG002 - tasks of failed leads are missing, the rest is whole
        """Puts the file in place."""
        self._close()
        await asyncio.to_thread(self.partial.replace, self.path)

    def _append(self, tasks: Sequence[Task]) -> None:
        file = self._file
        if file is None:
            raise RuntimeError("the file is not open: use it in `async with JsonLines(path) as lines`")
        file.writelines(self._line(task) for task in tasks)
        file.flush()

    def _line(self, task: Task) -> str:
        plain = unstructure(task, ids_as_strings=self._string_ids)
        return json.dumps(plain, separators=(",", ":")) + "\n"

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
