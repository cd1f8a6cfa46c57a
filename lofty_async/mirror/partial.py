"""A text file that grows beside its place and is put there whole."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from attrs import define, field

from lofty_async._locks import try_lock_if_possible

CLOSES_FIRST = os.name == "nt"
"""Windows moves no open file. Elsewhere it stays open, as its lock has to outlast the move."""


@define
class PartialFile:
    """`<file>.partial`, which one process at a time writes to: its lock ends with the process, however that ends.

    Where the platform or the file system has no locks, nothing keeps a second one out.

    Raises: OSError where another process writes it, either path is taken by what is no regular file, or the disk
    does not take it.
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

    def publish(self) -> None:
        """Puts the file in place."""
        self._file.flush()
        if CLOSES_FIRST:
            self.close()
        self.path.replace(self.place)
        self.close()

    def discard(self) -> None:
        """Removes the file, and leaves what is in its place."""
        if CLOSES_FIRST:
            self.close()
        self.path.unlink()
        self.close()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> TextIO:
        while True:
            # Not truncated before it is locked: it may be another's.
            file = self.path.open("a", encoding="ascii", newline="\n")
            try:
                self._lock(file)
                if self._is_in_place(file):
                    file.truncate(0)
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def _lock(self, file: TextIO) -> None:
        if not try_lock_if_possible(file.fileno()):
            raise BlockingIOError(f"another sync is writing {str(self.path)!r}")

    def _is_in_place(self, file: TextIO) -> bool:
        """Whether the other has not published the file between our opening and our locking it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False


def partial_of(place: Path) -> Path:
    """Where the file for this place grows."""
    return place.with_name(f"{place.name}.partial")


def target_of(path: Path) -> Path:
    """What a path leads to: of a link, the file that it names, so that the link stays one."""
    # Unlike `Path.resolve`, it takes links in a circle, which opening then refuses.
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _refuse_special(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(f"{str(path)!r} is no regular file, and would be replaced by one")
