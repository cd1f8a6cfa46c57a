import asyncio
import errno
import fcntl
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lofty_async.mirror import Doubt, JsonLines, JsonLinesOutput
from lofty_async.models import Task
from tests.mirrored import mode

TASK = Task(id=2**53 + 1, lead_id=1, content="李先生 🏡 \ud83c")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.jsonl"


async def test_one_task_is_one_line(path: Path) -> None:
    async with JsonLines(path) as sink:
        await sink.write({1: [TASK, Task(id=2)], 2: [], 3: [Task(id=3)]})
        await sink.finish(all_done=True)
    assert [line["id"] for line in lines(path)] == [TASK.id, 2, 3]
    assert lines(path)[0]["content"] == TASK.content


async def test_ids_can_be_strings(path: Path) -> None:
    async with JsonLines(path, string_ids=True) as sink:
        await sink.write({1: [TASK]})
        await sink.finish(all_done=True)
    (line,) = lines(path)
    assert (line["id"], line["lead_id"], line["team_id"]) == ("9007199254740993", "1", None)


@pytest.fixture
def old(path: Path) -> dict[str, object]:
    path.write_text('{"id": 1}\n', encoding="ascii")
    return {"id": 1}


async def test_an_unfinished_run_leaves_the_old_file_and_keeps_what_it_has(path: Path, old: dict[str, object]) -> None:
    async with JsonLines(path) as sink:
        await sink.write({1: [TASK]})
        assert [line["id"] for line in lines(sink.partial)] == [TASK.id]
    assert lines(path) == [old]
    assert [line["id"] for line in lines(path.with_name("tasks.jsonl.partial"))] == [TASK.id]


async def test_a_finished_run_leaves_one_file(path: Path) -> None:
    async with JsonLines(path) as sink:
        await sink.start()
        await sink.write({1: []})
        await sink.finish(all_done=False)
    assert list(path.parent.iterdir()) == [path]


def ids_of(path: Path) -> list[tuple[object, object]]:
    return [(line["lead_id"], line["id"]) for line in lines(path)]


async def written(path: Path, *tasks: Task, string_ids: bool = False) -> None:
    async with JsonLines(path, string_ids=string_ids) as sink:
        leads = {task.lead_id for task in tasks if task.lead_id is not None}
        await sink.write({lead_id: [task for task in tasks if task.lead_id == lead_id] for lead_id in leads})
        await sink.finish(all_done=True)


@pytest.mark.parametrize("was_string_ids", [False, True])
async def test_leads_that_fail_keep_the_lines_that_the_file_has_of_them(path: Path, *, was_string_ids: bool) -> None:
    old = [Task(id=10, lead_id=1, content="李"), Task(id=20, lead_id=2), Task(id=30, lead_id=3)]
    await written(path, *old, string_ids=was_string_ids)
    async with JsonLines(path) as sink:
        await sink.write({2: [Task(id=21, lead_id=2)], 3: []})
        await sink.finish(all_done=False)
    assert ids_of(path) == [(2, 21), (1, 10)]
    assert lines(path)[1]["content"] == "李"


async def test_what_was_not_read_follows_as_it_was(path: Path) -> None:
    await written(path, Task(id=10, lead_id=1), Task(id=11, lead_id=1), Task(id=20, lead_id=2), Task(id=30, lead_id=3))
    async with JsonLines(path) as sink:
        merged = await sink.merge({1: [Task(id=10, lead_id=1, content="new")]}, done=[1])
        assert merged.doubts == (Doubt(11, 1, is_listed=False),)
        await sink.settle(gone=[11, 30])
        await sink.finish(all_done=False)
    assert ids_of(path) == [(1, 10), (2, 20)]


async def test_a_task_that_moved_to_another_lead_is_one_line(path: Path) -> None:
    await written(path, Task(id=10, lead_id=1), Task(id=11, lead_id=1))
    async with JsonLines(path) as sink:
        merged = await sink.merge({2: [Task(id=10, lead_id=2)]}, done=[2])
        assert merged.doubts == (Doubt(10, 2, is_listed=True),)
        await sink.settle(moved=[Task(id=10, lead_id=2)])
        await sink.finish(all_done=False)
    assert ids_of(path) == [(2, 10), (1, 11)]


async def test_a_task_that_is_written_twice_is_its_last_line(path: Path) -> None:
    async with JsonLines(path) as sink:
        await sink.write({1: [Task(id=10, lead_id=1), Task(id=11, lead_id=1)]})
        await sink.write({2: [Task(id=10, lead_id=2)]})
        await sink.settle(gone=[11])
        await sink.finish(all_done=True)
    assert ids_of(path) == [(2, 10)]


async def test_of_a_file_that_has_a_task_twice_one_line_stays(path: Path) -> None:
    path.write_text('{"id": 1, "lead_id": 7}\n{"id": 1, "lead_id": 8}\n{"id": 2}\n{"id": 2}\n', encoding="ascii")
    async with JsonLines(path) as sink:
        await sink.finish(all_done=True)
    assert lines(path) == [{"id": 1, "lead_id": 8}, {"id": 2}]


async def test_where_all_leads_fail_the_old_file_stays(path: Path) -> None:
    await written(path, Task(id=10, lead_id=1))
    before = path.read_bytes()
    async with JsonLines(path) as sink:
        await sink.finish(all_done=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_what_is_no_line_of_a_task_is_not_taken_over(path: Path) -> None:
    rest = ["[]", "", "{", '{"lead_id": 1}', '{"id": 1, "lead_id": "x"}', '{"id": 1, "lead_id": Infinity}', "\xff"]
    path.write_bytes("\n".join([*rest, '{"id": 2, "lead_id": 1}', '{"id": 3, "lead_id": 1']).encode("latin-1"))
    async with JsonLines(path) as sink:
        assert await sink.leads() == {1}
        await sink.write({2: []})
        await sink.finish(all_done=False)
    assert lines(path) == [{"id": 2, "lead_id": 1}]


async def test_a_file_that_is_not_there_yet_has_no_leads(path: Path) -> None:
    async with JsonLines(path) as sink:
        assert await sink.leads() == frozenset()


async def test_a_link_stays_one_and_the_file_it_names_is_written(path: Path) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    path.symlink_to(folder / "real.jsonl")
    async with JsonLines(path) as sink:
        assert sink.partial == folder / "real.jsonl.partial"
        await sink.write({1: [TASK]})
        await sink.finish(all_done=True)
    assert path.is_symlink()
    assert [line["id"] for line in lines(folder / "real.jsonl")] == [TASK.id]


def lose_disk(path: Path) -> None:
    """Closes the file behind the back of whoever writes it."""
    for entry in Path("/proc/self/fd").iterdir():
        if entry.exists() and path.exists() and entry.samefile(path):
            os.close(int(entry.name))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the file in /proc")
async def test_a_failure_to_close_is_told_where_nothing_else_failed(path: Path) -> None:
    async def unwritten() -> None:
        async with JsonLines(path) as sink:
            lose_disk(sink.partial)

    with pytest.raises(OSError, match="Bad file descriptor"):
        await unwritten()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the file in /proc")
async def test_a_failure_to_close_does_not_hide_what_went_wrong(path: Path) -> None:
    async def broken() -> None:
        async with JsonLines(path) as sink:
            lose_disk(sink.partial)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await broken()


async def test_it_may_be_used_for_run_after_run(path: Path) -> None:
    sink = JsonLines(path)
    async with sink:
        await sink.write({1: [TASK], 2: [Task(id=2, lead_id=2)]})
        await sink.finish(all_done=True)
    async with sink:
        await sink.write({2: [Task(id=3, lead_id=2)]})
        await sink.finish(all_done=False)
    assert [line["id"] for line in lines(path)] == [3, TASK.id]
    async with sink:
        await sink.finish(all_done=False)
    assert [line["id"] for line in lines(path)] == [3, TASK.id]


async def test_a_line_nested_too_deeply_is_nobody_s(path: Path) -> None:
    path.write_text("[" * 200_000 + "\n", encoding="ascii")
    async with JsonLines(path) as sink:
        assert await sink.leads() == frozenset()


async def test_the_disk_has_the_file_before_its_name_and_then_the_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    def replaced(*paths: Path) -> None:
        calls.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    await written(path, TASK)
    assert calls == ["file", "name", "folder"]


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize(("before", "after"), [(None, "0o600"), (0o644, "0o644"), (0o640, "0o640"), (0o400, "0o400")])
async def test_its_owner_alone_reads_a_new_file_and_an_old_one_keeps_its_permissions(
    path: Path, before: int | None, after: str
) -> None:
    if before is not None:
        path.touch()
        path.chmod(before)
    async with JsonLines(path) as sink:
        await sink.write({1: [TASK]})
        assert mode(sink.partial) == "0o600"
        await sink.finish(all_done=True)
    assert mode(path) == after


@pytest.mark.usefixtures("open_umask")
async def test_what_an_interrupted_run_left_for_all_is_its_owners_again(path: Path) -> None:
    left = path.with_name("tasks.jsonl.partial")
    left.touch()
    left.chmod(0o644)
    async with JsonLines(path):
        assert mode(left) == "0o600"


async def test_the_event_loop_waits_for_no_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(path, TASK)
    ours, callers = threading.get_ident(), set[int]()

    def watched(call: Callable[..., Any], *arguments: Any) -> Any:
        callers.add(threading.get_ident())
        return call(*arguments)

    for name in ("open", "fsync", "replace", "fstat"):
        monkeypatch.setattr(os, name, partial(watched, getattr(os, name)))
    async with JsonLines(path) as sink:
        assert await sink.leads() == {1}
        await sink.write({2: [Task(id=2, lead_id=2)]})
        await sink.finish(all_done=True)
    monkeypatch.undo()
    assert callers
    assert ours not in callers


async def test_no_thread_is_left(path: Path) -> None:
    for _ in range(2):
        await written(path, TASK)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lofty-mirror")]


async def test_standard_output_takes_each_task_once(capsys: pytest.CaptureFixture[str]) -> None:
    output = JsonLinesOutput(string_ids=True)
    await output.start()
    assert await output.leads() == frozenset()
    await output.merge({1: [TASK], 2: [TASK, Task(id=2, lead_id=2)]}, done=[1, 2])
    await output.settle(moved=[TASK, Task(id=3, lead_id=2)], gone=[2])
    await output.finish(all_done=True)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in printed] == [str(TASK.id), "2", "3"]


async def test_a_reader_that_stands_still_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        many = [Task(id=id, lead_id=1, content="x" * 1000) for id in range(1, 200)]
        printing = asyncio.create_task(JsonLinesOutput().merge({1: many}))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not printing.done()
        received = await asyncio.to_thread(lambda: [json.loads(reader.readline())["id"] for _ in many])
        await printing
        assert received == [task.id for task in many]


async def test_what_an_interrupted_run_left_is_written_anew(path: Path) -> None:
    JsonLines(path).partial.write_text('{"id": 9, "lead_id": 9}\n', encoding="ascii")
    await written(path, TASK)
    assert ids_of(path) == [(1, TASK.id)]


async def test_only_one_writes(path: Path) -> None:
    async with JsonLines(path) as first:
        await first.write({1: [TASK]})
        with pytest.raises(BlockingIOError, match="another sync"):
            await JsonLines(path).__aenter__()
        await first.finish(all_done=True)
    async with JsonLines(path) as second:
        assert await second.leads() == {1}


async def test_a_file_published_between_opening_and_locking_it_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, flock = asyncio.get_running_loop(), fcntl.flock
    async with JsonLines(path) as other:
        await other.write({1: [TASK]})
        publishing = [other.finish(all_done=True)]

        def late(file: int, operation: int) -> None:
            while publishing:
                asyncio.run_coroutine_threadsafe(publishing.pop(), loop).result(timeout=30)
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", late)
        async with JsonLines(path) as sink:
            await sink.write({2: [Task(id=2, lead_id=2)]})
            assert ids_of(path) == [(1, TASK.id)]


async def test_a_file_system_without_locks_keeps_nobody_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    await written(path, TASK)
    assert ids_of(path) == [(1, TASK.id)]


@pytest.mark.parametrize(("new", "left"), [([Task(id=2, lead_id=1)], [(1, 2)]), ([], [(1, TASK.id)])])
async def test_without_locks_and_with_files_that_must_be_closed_first_it_ends_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch, new: list[Task], left: list[tuple[int, int]]
) -> None:
    await written(path, TASK)
    monkeypatch.setattr("lofty_async._locks.fcntl", None)
    monkeypatch.setattr("lofty_async.mirror.jsonl.CLOSES_FIRST", True)
    async with JsonLines(path) as sink:
        if new:
            await sink.write({1: new})
        await sink.finish(all_done=False)
    assert ids_of(path) == left
    assert list(path.parent.iterdir()) == [path]


def occupy_with_pipe(path: Path) -> None:
    os.mkfifo(path)


def occupy_with_folder(path: Path) -> None:
    path.mkdir()


def occupy_with_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.jsonl.partial"])
@pytest.mark.parametrize("occupy", [occupy_with_pipe, occupy_with_folder, occupy_with_circle])
async def test_what_is_no_regular_file_is_never_replaced(path: Path, name: str, occupy: Callable[[Path], None]) -> None:
    occupy(path.with_name(name))
    with pytest.raises(OSError, match="no regular file"):
        await JsonLines(path).__aenter__()
    assert [path.name for path in path.parent.iterdir()] == [name]


async def test_a_device_is_never_replaced(path: Path) -> None:
    path.symlink_to(os.devnull)
    for device in (os.devnull, path):
        with pytest.raises(OSError, match=f"'{device}' is no regular file"):
            await JsonLines(device).__aenter__()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_beside_the_file_it_names(path: Path, *, exists: bool) -> None:
    real = path.with_name("real")
    if exists:
        real.touch()
    path.symlink_to(real)
    assert JsonLines(path).partial == real.with_name("real.partial")


def test_a_plain_path_is_written_beside_it() -> None:
    assert JsonLines("tasks.jsonl").partial == Path("tasks.jsonl.partial")
