import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lofty_async.mirror import Changes, TaskStore
from lofty_async.models import Task

TASK = Task(id=10, lead_id=1, content="Call")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lofty-mirror")]


async def test_holds_what_was_written(path: Path) -> None:
    async with TaskStore(path) as store:
        assert await store.write({1: [TASK]}) == Changes(added=(10,))
        assert await store.tasks() == [TASK]
        assert await store.tasks(lead_id=2) == []
        assert await store.settle(gone=[10]) == Changes(removed=(10,))
        assert await store.tasks() == []


@pytest.mark.parametrize(("all_done", "left"), [(True, frozenset[int]()), (False, frozenset({1}))])
async def test_a_run_can_be_resumed_until_all_is_done(path: Path, left: frozenset[int], *, all_done: bool) -> None:
    async with TaskStore(path) as store:
        await store.start()
        await store.write({1: [TASK]})
        await store.finish(all_done=all_done)
        assert await store.start(resume=True) == left


async def test_a_closed_store_says_how_to_open_one(path: Path) -> None:
    store = TaskStore(path)
    with pytest.raises(RuntimeError, match="async with"):
        await store.tasks()
    await store.close()


async def test_closing_ends_the_thread_and_leaves_one_file(path: Path) -> None:
    async with TaskStore(path) as store:
        await store.write({1: [TASK]})
        assert threads()
    await store.close()
    assert not threads()
    assert list(path.parent.iterdir()) == [path]


async def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await TaskStore(tmp_path / "no" / "such" / "folder").__aenter__()
    for thread in threads():
        await asyncio.to_thread(thread.join, timeout=30)
    assert not threads()


async def test_a_write_whose_caller_is_cancelled_is_kept(path: Path) -> None:
    async with TaskStore(path) as store:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that the write has to wait
            writing = asyncio.create_task(store.write({1: [TASK]}))
            await asyncio.sleep(0)
            writing.cancel()
            other.execute("ROLLBACK")
        assert await store.tasks() == [TASK]


OLD_FORM = "2026-03-01T15:00:00-08:00"


@pytest.mark.parametrize("column", ["start_at", "end_at", "finished_at", "created_at", "updated_at"])
async def test_a_file_with_times_of_another_form_is_refused_with_what_to_do(path: Path, column: str) -> None:
    async with TaskStore(path) as store:
        await store.write({1: [TASK, Task(id=11, lead_id=1)]})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE tasks SET {column} = ? WHERE id = 11", (OLD_FORM,))  # noqa: S608 - a column's name
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=f"{OLD_FORM}.*delete the file and sync again"):
        await TaskStore(path).__aenter__()
    assert path.read_bytes() == before


async def test_plain_text_sorts_and_compares_times_whatever_their_offsets(path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ends = {-90: -8, -30: 0, 30: 9, 90: -7}  # minutes from now, and the offset in which they are told
    moments = [(now + timedelta(minutes=m)).astimezone(timezone(timedelta(hours=h))) for m, h in ends.items()]
    tasks = [Task(id=id, lead_id=1, end_at=moment) for id, moment in enumerate(moments)]
    async with TaskStore(path) as store:
        await store.write({1: tasks})
        assert await store.tasks() == tasks
    with closing(sqlite3.connect(path)) as connection:
        ordered = connection.execute("SELECT id FROM tasks ORDER BY end_at").fetchall()
        past = connection.execute("SELECT id FROM tasks WHERE end_at < datetime('now') ORDER BY id").fetchall()
    assert (ordered, past) == ([(0,), (1,), (2,), (3,)], [(0,), (1,)])


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_its_owner_alone_reads_a_new_file_and_what_lies_beside_it(path: Path) -> None:
    async with TaskStore(path) as store:
        await store.write({1: [TASK]})
        assert {file.name: mode(file) for file in path.parent.iterdir()} == {
            path.name: "0o600",
            f"{path.name}-wal": "0o600",
            f"{path.name}-shm": "0o600",
        }


@pytest.mark.usefixtures("open_umask")
async def test_a_link_to_a_file_that_is_not_there_makes_it_for_its_owner_alone(path: Path) -> None:
    path.symlink_to(path.with_name("real.sqlite"))
    async with TaskStore(path) as store:
        await store.write({1: [TASK]})
        assert mode(path) == "0o600"


async def test_a_file_that_is_there_keeps_its_permissions(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    async with TaskStore(path) as store:
        await store.write({1: [TASK]})
        assert {mode(file) for file in path.parent.iterdir()} == {"0o640"}


async def test_a_copy_in_memory_makes_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    async with TaskStore(":memory:") as store:
        await store.write({1: [TASK]})
        assert await store.tasks() == [TASK]
    assert not list(path.parent.iterdir())
