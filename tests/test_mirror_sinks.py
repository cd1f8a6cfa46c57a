"""What every sink of a sync can rely on, and sinks together."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import LoftyClient, Task
from lofty_async.mirror import Changes, Doubt, JsonLines, Merged, Mirror, SqliteDatabase, SyncReport, Tee, export_tasks
from lofty_async.mirror.sinks import diff
from lofty_async.sandbox import Sandbox
from tests.test_mirror_jsonl import ids_of

STATES = st.dictionaries(st.integers(0, 9), st.text(max_size=1))


@define
class SlowSink:
    """Remembers the batches of leads that it was given; each write waits until `go` is set."""

    batches: list[list[int]] = field(factory=list[list[int]])
    begun: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event = field(factory=asyncio.Event)

    async def start(self) -> None: ...

    async def leads(self) -> frozenset[int]:
        return frozenset()

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:  # noqa: ARG002
        self.begun.set()
        await self.go.wait()
        self.batches.append(list(leads))
        return Merged(Changes())

    async def settle(
        self,
        *,
        moved: Sequence[Task] = (),  # noqa: ARG002 - nothing is ever in doubt
        gone: Collection[int] = (),  # noqa: ARG002
        done: Collection[int] = (),  # noqa: ARG002
    ) -> Changes[int]:
        return Changes()

    async def finish(self, *, all_done: bool) -> None: ...


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(leads=600, tasks_per_lead=0, limit=10_000) as running:
        yield running


@pytest.fixture
async def lofty(sandbox: Sandbox) -> AsyncIterator[LoftyClient]:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url) as client:
        yield client


def pulled(leads: Collection[int], counts: list[int]) -> Iterator[int]:
    for lead_id in leads:
        counts.append(lead_id)
        yield lead_id


async def test_leads_that_arrive_during_a_write_are_the_next_batch(sandbox: Sandbox, lofty: LoftyClient) -> None:
    sink, leads = SlowSink(), list(sandbox.state.leads)[:5]
    read = asyncio.Event()

    def look(report: SyncReport) -> None:
        if report.leads == len(leads):
            read.set()

    running = asyncio.create_task(export_tasks(lofty, sink, leads, concurrency=1, on_progress=look))
    await sink.begun.wait()
    await read.wait()
    sink.go.set()
    await running
    assert sink.batches == [leads[:1], leads[1:]]


async def test_reading_waits_while_500_leads_are_unwritten(sandbox: Sandbox, lofty: LoftyClient) -> None:
    sink, begun = SlowSink(), list[int]()
    running = asyncio.create_task(export_tasks(lofty, sink, pulled(sandbox.state.leads.ids(), begun), concurrency=8))
    await sink.begun.wait()
    async with asyncio.timeout(30):
        while len(begun) < 500:
            await asyncio.sleep(0.01)
    before = 0
    while len(begun) > before:
        before = len(begun)
        await asyncio.sleep(0.05)
    assert before < 520
    sink.go.set()
    assert (await running).leads == 600
    assert sorted(lead for batch in sink.batches for lead in batch) == sorted(sandbox.state.leads)


async def test_a_run_cancelled_while_it_waits_for_a_write_writes_all_that_was_read(
    sandbox: Sandbox, lofty: LoftyClient
) -> None:
    sink, begun = SlowSink(), list[int]()
    running = asyncio.create_task(export_tasks(lofty, sink, pulled(sandbox.state.leads.ids(), begun), concurrency=1))
    async with asyncio.timeout(30):
        while len(begun) < 501:
            await asyncio.sleep(0.01)
    running.cancel()
    sink.go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sum(map(len, sink.batches)) >= 500


async def test_a_failed_write_ends_the_run(sandbox: Sandbox, lofty: LoftyClient) -> None:
    class FullSink(SlowSink):
        async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:  # noqa: ARG002
            raise OSError(f"disk full at lead {min(leads)}")

    leads = list(sandbox.state.leads)
    with pytest.raises(OSError, match=f"disk full at lead {leads[0]}"):
        await export_tasks(lofty, FullSink(), leads, concurrency=1)
    assert len(sandbox.requests) < 10


async def test_a_file_that_is_not_open_says_how_to_open_it(
    sandbox: Sandbox, lofty: LoftyClient, tmp_path: Path
) -> None:
    lines, database = JsonLines(tmp_path / "tasks"), SqliteDatabase(tmp_path / "tasks")
    with pytest.raises(RuntimeError, match="async with JsonLines"):
        await export_tasks(lofty, lines, list(sandbox.state.leads)[:1])
    with pytest.raises(RuntimeError, match="async with SqliteDatabase"):
        await Mirror(lofty, database).sync(list(sandbox.state.leads)[:1])
    await lines.close()
    await database.close()
    assert not list(tmp_path.iterdir())


async def test_a_tee_writes_to_all(tmp_path: Path) -> None:
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    async with JsonLines(paths[0]) as one, JsonLines(paths[1]) as two:
        tee = Tee((one, two))
        await tee.start()
        await tee.merge({1: [Task(id=2, lead_id=1), Task(id=3, lead_id=1)]}, done=[1])
        again = await tee.merge({1: [Task(id=2, lead_id=1), Task(id=4, lead_id=1)]}, done=[1])
        assert again.doubts == (Doubt(3, 1, is_listed=False),)
        assert await tee.leads() == {1}
        await tee.settle(moved=[Task(id=2, lead_id=5)], gone=[3])
        await tee.finish(all_done=True)
    assert [ids_of(path) for path in paths] == [[(1, 4), (5, 2)]] * 2


async def test_one_open_sink_may_be_written_again_and_again(tmp_path: Path) -> None:
    text = tmp_path / "tasks.jsonl"
    async with (
        Sandbox(leads=3, tasks_per_lead=2) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
        SqliteDatabase(tmp_path / "tasks.sqlite") as database,
        JsonLines(text) as lines,
    ):
        for _ in range(3):
            sandbox.state.remove(next(iter(sandbox.state.entries.values())).id)
            sandbox.state.add_task(next(iter(sandbox.state.leads)))
            report = await Mirror(lofty, database).sync(export=lines)
            assert (report.failed, report.complete) == ((), True)
            assert {id for _, id in ids_of(text)} == {entry.id for entry in sandbox.state.entries.values()}
            assert {id for _, id in ids_of(text)} == {task.id for task in await database.tasks()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tasks.jsonl", "tasks.sqlite"]


def test_changes_are_what_was_added_changed_and_removed() -> None:
    changes = diff({1: "same", 2: "old", 3: "gone"}, {4: "new", 1: "same", 2: "other"})
    assert changes == Changes(added=(4,), changed=(2,), removed=(3,))


@given(STATES, STATES)
def test_changes_turn_the_old_state_into_the_new(old: dict[int, str], new: dict[int, str]) -> None:
    changes = diff(old, new)
    kept = {key: value for key, value in old.items() if key not in changes.removed}
    assert kept | {key: new[key] for key in (*changes.added, *changes.changed)} == new
    assert diff(new, new) == Changes()
