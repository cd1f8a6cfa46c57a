import json
from pathlib import Path

import pytest

from lofty_async.mirror import JsonLines, TaskSink, TaskStore, Tee
from lofty_async.models import Task

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
        assert await sink.start(resume=True) == frozenset()
        await sink.keep_only(())
        await sink.finish(all_done=False)
    assert list(path.parent.iterdir()) == [path]


async def test_a_closed_file_says_how_to_open_one(path: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await JsonLines(path).write({1: [TASK]})


async def test_a_tee_writes_to_all_and_resumes_what_all_have(path: Path) -> None:
    async with TaskStore(path.with_suffix(".sqlite")) as store, JsonLines(path) as text:
        sinks: tuple[TaskSink, ...] = (store, text)
        tee = Tee(sinks)
        assert (await tee.write({1: [Task(id=2, lead_id=1)]})).added == (2,)
        assert await tee.start(resume=True) == frozenset()
        assert (await tee.keep_only({3})).removed == (2,)
        await tee.finish(all_done=True)
    assert [line["id"] for line in lines(path)] == [2]


async def test_a_tee_of_one_store_resumes(path: Path) -> None:
    async with TaskStore(path) as store:
        await store.write({1: []})
        assert await Tee((store,)).start(resume=True) == {1}
