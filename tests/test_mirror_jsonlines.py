import json
import os
from pathlib import Path

import pytest

from lofty_async.mirror import JsonLines, LeadPart, TaskSink, TaskStore, Tee
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
        await sink.write({1: []})
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
        assert (await tee.write_part(LeadPart(1, [Task(id=4, lead_id=1)], frozenset({2})))).added == (4,)
        assert await tee.leads() == {1}
        assert (await tee.keep_only({3})).removed == (2, 4)
        await tee.finish(all_done=True)
    assert [line["id"] for line in lines(path)] == [2, 4]


async def test_a_tee_of_one_store_resumes(path: Path) -> None:
    async with TaskStore(path) as store:
        await store.write({1: []})
        assert await Tee((store,)).start(resume=True) == {1}


def ids_of(path: Path) -> list[tuple[object, object]]:
    return [(line["lead_id"], line["id"]) for line in lines(path)]


async def written(path: Path, *tasks: Task, string_ids: bool = False) -> None:
    async with JsonLines(path, string_ids=string_ids) as sink:
        await sink.write({task.lead_id: [task] for task in tasks if task.lead_id is not None})
        await sink.finish(all_done=True)


@pytest.mark.parametrize("was_string_ids", [False, True])
async def test_leads_that_fail_keep_the_lines_that_the_file_has_of_them(path: Path, *, was_string_ids: bool) -> None:
    old = [Task(id=10, lead_id=1, content="李"), Task(id=20, lead_id=2), Task(id=30, lead_id=3)]
    await written(path, *old, string_ids=was_string_ids)
    async with JsonLines(path) as sink:
        await sink.write({2: [Task(id=21, lead_id=2)]})
        await sink.write_part(LeadPart(1))
        await sink.finish(all_done=False)
    assert ids_of(path) == [(2, 21), (1, 10)]
    assert lines(path)[1]["content"] == "李"


@pytest.mark.parametrize(
    ("unread", "kept"), [(frozenset[int](), []), (frozenset({11}), [(1, 11)]), (None, [(1, 11), (1, 12)])]
)
async def test_of_a_part_the_lines_of_unread_tasks_stay(
    path: Path, unread: frozenset[int] | None, kept: list[tuple[int, int]]
) -> None:
    async with JsonLines(path) as sink:
        await sink.write({1: [Task(id=id, lead_id=1) for id in (10, 11, 12)]})
        await sink.finish(all_done=True)
    async with JsonLines(path) as sink:
        await sink.write_part(LeadPart(1, [Task(id=10, lead_id=1)], unread))
        await sink.finish(all_done=False)
    assert ids_of(path) == [(1, 10), *kept]


async def test_a_task_that_moved_away_from_a_lead_that_fails_is_one_line(path: Path) -> None:
    await written(path, Task(id=10, lead_id=1))
    async with JsonLines(path) as sink:
        await sink.write_part(LeadPart(1))
        await sink.write({2: [Task(id=10, lead_id=2)]})
        await sink.finish(all_done=False)
    assert ids_of(path) == [(2, 10)]


async def test_where_all_leads_fail_the_old_file_stays(path: Path) -> None:
    await written(path, Task(id=10, lead_id=1))
    before = path.read_bytes()
    async with JsonLines(path) as sink:
        await sink.write_part(LeadPart(99))
        await sink.finish(all_done=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_what_is_no_line_of_a_task_is_not_taken_over(path: Path) -> None:
    rest = ["[]", "", "{", '{"lead_id": 1}', '{"id": 1, "lead_id": "x"}', '{"id": 1, "lead_id": Infinity}', "\xff"]
    path.write_bytes("\n".join([*rest, '{"id": 2, "lead_id": 1}', '{"id": 3, "lead_id": 1']).encode("latin-1"))
    async with JsonLines(path) as sink:
        assert await sink.leads() == {1}
        await sink.write({2: []})
        await sink.write_part(LeadPart(1))
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


async def test_a_failure_to_close_is_told_where_nothing_else_failed(path: Path) -> None:
    async def unwritten() -> None:
        async with JsonLines(path) as sink:
            file = sink._open_file()._file
            file.write("not handed over yet")
            os.close(file.fileno())

    with pytest.raises(OSError, match="Bad file descriptor"):
        await unwritten()


async def test_a_failure_to_close_does_not_hide_what_went_wrong(path: Path) -> None:
    async def broken() -> None:
        async with JsonLines(path) as sink:
            file = sink._open_file()._file
            file.write("not handed over yet")
            os.close(file.fileno())
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
        await sink.write_part(LeadPart(1))
        await sink.finish(all_done=False)
    assert [line["id"] for line in lines(path)] == [3, TASK.id]
    async with sink:
        for lead_id in (1, 2):
            await sink.write_part(LeadPart(lead_id))
        await sink.finish(all_done=False)
    assert [line["id"] for line in lines(path)] == [3, TASK.id]


async def test_a_line_nested_too_deeply_is_nobody_s(path: Path) -> None:
    path.write_text("[" * 200_000 + "\n", encoding="ascii")
    async with JsonLines(path) as sink:
        assert await sink.leads() == frozenset()
