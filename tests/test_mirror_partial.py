import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lofty_async.mirror import partial
from lofty_async.mirror.partial import PartialFile, target_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "tasks.jsonl"


def test_a_file_is_in_its_place_when_it_is_published(place: Path) -> None:
    file = PartialFile(place)
    file.append(["a\n", "b\n"])
    assert (file.path.read_text(encoding="ascii"), place.exists()) == ("a\nb\n", False)
    file.publish()
    assert place.read_text(encoding="ascii") == "a\nb\n"
    assert list(place.parent.iterdir()) == [place]


def test_a_file_that_is_discarded_leaves_the_old_one(place: Path) -> None:
    place.write_text("old", encoding="ascii")
    PartialFile(place).discard()
    assert place.read_text(encoding="ascii") == "old"
    assert list(place.parent.iterdir()) == [place]


def test_lines_can_be_left_out(place: Path) -> None:
    with closing(PartialFile(place)) as file:
        file.append(["a\n", "b\n", "c\n"])
        file.keep({0, 2})
        file.append(["d\n"])
        file.publish()
    assert place.read_text(encoding="ascii") == "a\nc\nd\n"


def test_what_an_interrupted_run_left_is_begun_anew(place: Path) -> None:
    with closing(PartialFile(place)) as file:
        file.append(["left\n"])
    PartialFile(place).publish()
    assert place.read_text(encoding="ascii") == ""


def test_only_one_writes(place: Path) -> None:
    with closing(PartialFile(place)) as file:
        file.append(["a\n"])
        with pytest.raises(BlockingIOError, match="another sync"):
            PartialFile(place)
        file.publish()
    with closing(PartialFile(place)):
        assert place.read_text(encoding="ascii") == "a\n"


def test_a_file_published_between_opening_and_locking_it_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, flock = PartialFile(place), fcntl.flock
    other.append(["a\n"])
    publishers = [other.publish]

    def late(file: int, operation: int) -> None:
        for publish in publishers:
            publishers.remove(publish)
            publish()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with closing(PartialFile(place)) as file:
        file.append(["b\n"])
        assert place.read_text(encoding="ascii") == "a\n"


def test_a_file_system_without_locks_keeps_nobody_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with closing(PartialFile(place)) as file:
        file.append(["a\n"])
        file.publish()
    assert place.read_text(encoding="ascii") == "a\n"


@pytest.mark.parametrize(("end", "left"), [(PartialFile.publish, "new"), (PartialFile.discard, "old")])
def test_without_locks_and_with_files_that_must_be_closed_first_it_ends_as_well(
    place: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[PartialFile], None], left: str
) -> None:
    monkeypatch.setattr("lofty_async._locks.fcntl", None)
    monkeypatch.setattr(partial, "CLOSES_FIRST", True)
    place.write_text("old", encoding="ascii")
    file = PartialFile(place)
    file.append(["new"])
    end(file)
    assert place.read_text(encoding="ascii") == left
    assert list(place.parent.iterdir()) == [place]


def occupy_with_pipe(path: Path) -> None:
    os.mkfifo(path)


def occupy_with_folder(path: Path) -> None:
    path.mkdir()


def occupy_with_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.jsonl.partial"])
@pytest.mark.parametrize("occupy", [occupy_with_pipe, occupy_with_folder, occupy_with_circle])
def test_what_is_no_regular_file_is_never_replaced(place: Path, name: str, occupy: Callable[[Path], None]) -> None:
    occupy(place.with_name(name))
    with pytest.raises(OSError, match="no regular file"):
        PartialFile(place)
    assert [path.name for path in place.parent.iterdir()] == [name]


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(OSError, match="no regular file"):
        PartialFile(Path(os.devnull))


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_leads_to_what_it_names(place: Path, tmp_path: Path, *, exists: bool) -> None:
    real = tmp_path / "real"
    if exists:
        real.touch()
    place.symlink_to(real)
    assert target_of(place) == real.resolve()


def test_a_link_to_what_is_no_regular_file_is_refused_by_its_own_name(place: Path) -> None:
    place.symlink_to(os.devnull)
    with pytest.raises(OSError, match=f"'{place}' is no regular file"):
        PartialFile(target_of(place))


def test_a_plain_path_leads_to_itself() -> None:
    assert target_of(Path("tasks.jsonl")) == Path("tasks.jsonl")
