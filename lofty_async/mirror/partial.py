"""A text file that grows beside its place and is put there whole."""

import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from attrs import define, field

from lofty_async._locks import try_lock_if_possible

CLOSES_FIRST = os.name == "nt"
"""Windows moves no open file. Elsewhere it stays open, as its lock has to outlast the move."""
OWNER_ONLY: Final = 0o600


@define
class PartialFile:
    """`<file>.partial`, which one process at a time writes to: its lock ends with the process, however that ends.

    Where the platform or the file system has no locks, nothing keeps a second one out. Its owner alone can read it; in
    its place it has the permissions of the file that it replaces.

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
    # Unlike `Path.resolve`, it takes links in a circle. Opening refuses those, and links to what is no regular file.
    leads_to_file = path.is_symlink() and (path.is_file() or not path.exists())
    return Path(os.path.realpath(path)) if leads_to_file else path


def _refuse_special(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(f"{str(path)!r} is no regular file, and would be replaced by one")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, OWNER_ONLY)


def _restrict(file: int) -> None:
    """Takes a file that an interrupted run left from everybody but its owner."""
    if hasattr(os, "fchmod"):
        with suppress(PermissionError):  # another user's, whose rights are that user's to set
            os.fchmod(file, OWNER_ONLY)


def _sync_folder(folder: Path) -> None:
    """Has the disk know the file by its new name; Windows and some file systems have no way to ask for it."""
    with suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
