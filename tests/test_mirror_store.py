import asyncio
import sqlite3
import threading
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
        assert await store.keep_only({2}) == Changes(removed=(10,))
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


async def test_a_write_that_nobody_waits_for_any_more_is_kept(path: Path) -> None:
    async with TaskStore(path) as store:
        begun, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        hold = asyncio.create_task(store._in_thread(lambda: (loop.call_soon_threadsafe(begun.set), go.wait())[1]))
        await begun.wait()
        hold.cancel()
        go.set()
        await store.write({1: [TASK]})
    async with TaskStore(path) as store:
        assert await store.tasks() == [TASK]
