"""Many leads at once: how many are in progress, their order, failures, and that nothing is left over."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import ApiKey, LoftyClient
from lofty_async.bulk import BulkProgress, BulkRun, LeadTasks, as_value
from lofty_async.errors import (
    ClientClosedError,
    InvalidRequestError,
    NotFoundError,
    RateLimitWaitError,
    ServerError,
)
from lofty_async.models import Task
from lofty_async.sandbox import Sandbox
from tests.leaks import others, settled
from tests.virtual import now, run

pytestmark = pytest.mark.usefixtures("quiet")

Wait = Callable[[int], float]


@define
class Office:
    """Hands out ids and reads leads, each in its own time, and counts those in progress."""

    wait: Wait = lambda _: 1.0
    wait_for_id: Wait = lambda _: 0.0
    failures: dict[int, BaseException] = field(factory=dict[int, BaseException])
    pulled: list[int] = field(factory=list[int])
    read: list[int] = field(factory=list[int])
    reading: int = 0
    taken: int = 0
    most_in_progress: int = 0
    most_reading: int = 0
    pulling: int = 0

    def plain(self, ids: Iterable[int]) -> Iterator[int]:
        for lead_id in ids:
            self._pull(lead_id)
            yield lead_id

    async def slow(self, ids: Iterable[int]) -> AsyncIterator[int]:
        for lead_id in ids:
            self.pulling += 1
            assert self.pulling == 1
            try:
                await asyncio.sleep(self.wait_for_id(lead_id))
            finally:
                self.pulling -= 1
            self._pull(lead_id)
            yield lead_id

    def _pull(self, lead_id: int) -> None:
        self.pulled.append(lead_id)
        self.most_in_progress = max(self.most_in_progress, len(self.pulled) - self.taken)

    async def __call__(self, lead_id: int) -> LeadTasks:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            await asyncio.sleep(self.wait(lead_id))
        finally:
            self.reading -= 1
        self.read.append(lead_id)
        if lead_id in self.failures:
            raise self.failures[lead_id]
        return LeadTasks(lead_id, (Task(id=lead_id),))

    def run(self, source: Any, *, concurrency: int = 4, ordered: bool = False) -> BulkRun:
        return BulkRun(source, self, concurrency=concurrency, ordered=ordered)

    async def take_all(self, leads: BulkRun, pause: float = 0.0) -> list[int]:
        found: list[int] = []
        async for lead in leads:
            self.taken += 1
            found.append(lead.lead_id)
            await asyncio.sleep(pause)
        return found


async def broken(ids: Iterable[int], failure: BaseException) -> AsyncIterator[int]:
    for lead_id in ids:
        yield lead_id
    raise failure


class TestAlive:
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("pause", [0.0, 0.4, 5.0])
    @pytest.mark.parametrize("concurrency", [1, 3, 8, 100])
    def test_at_most_so_many_count_those_read_and_not_taken(
        self, concurrency: int, pause: float, *, ordered: bool
    ) -> None:
        async def main() -> None:
            for kind in ("plain", "slow"):
                office = Office(wait=lambda lead_id: 1.0 + lead_id % 5)
                source = getattr(office, kind)(range(30))
                found = await office.take_all(office.run(source, concurrency=concurrency, ordered=ordered), pause)
                assert sorted(found) == list(range(30))
                assert office.most_in_progress <= concurrency
                assert others() == set()

        run(main())

    def test_so_many_are_read_side_by_side(self) -> None:
        async def main() -> None:
            office = Office()
            await office.take_all(office.run(range(40), concurrency=8))
            assert office.most_reading == 8
            assert now() == 5.0

        run(main())

    def test_ids_are_pulled_when_they_are_needed(self) -> None:
        async def main() -> None:
            office = Office()
            leads = office.run(office.plain(range(100)))
            await asyncio.sleep(1)
            assert office.pulled == []
            await anext(leads)
            await asyncio.sleep(50)
            assert office.pulled == [0, 1, 2, 3, 4]
            await leads.aclose()

        run(main())

    def test_a_huge_concurrency_costs_no_more_tasks_than_leads(self) -> None:
        async def main() -> None:
            office = Office()
            leads = office.run(range(3), concurrency=1_000_000)
            await anext(leads)
            assert len(leads._pool.workers) <= 4
            await office.take_all(leads)

        run(main())

    def test_a_source_that_dawdles_is_asked_for_one_id_at_a_time(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda _: 0.1, wait_for_id=lambda _: 1.0)
            assert await office.take_all(office.run(office.slow(range(5)))) == [0, 1, 2, 3, 4]
            assert now() == pytest.approx(5.1)

        run(main())

    def test_ten_thousand_leads_leave_nothing_behind(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: 0.1 + lead_id % 7 / 10)
            leads = BulkRun(iter(range(10_000)), office, concurrency=32, ordered=False)
            sizes: list[int] = []
            tracemalloc.start()
            try:
                count = 0
                async for _ in leads:
                    office.read.clear()
                    count += 1
                    if count % 2500 == 0:
                        gc.collect()
                        sizes.append(tracemalloc.get_traced_memory()[0])
                        assert leads.progress.in_progress <= 32
                        assert len(leads._pool._output) <= 32
                        assert len(others()) <= 32
            finally:
                tracemalloc.stop()
            assert count == 10_000
            assert max(sizes) - min(sizes) < 100_000

        run(main())


class TestOrder:
    def test_results_come_as_they_are_ready(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: 10.0 - lead_id)
            assert await office.take_all(office.run(range(8))) == office.read != list(range(8))

        run(main())

    @given(waits=st.lists(st.integers(0, 9), max_size=25), concurrency=st.integers(1, 6), pause=st.integers(0, 3))
    def test_ordered_results_come_in_the_order_of_the_ids(self, waits: list[int], concurrency: int, pause: int) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: waits[lead_id])
            leads = office.run(range(len(waits)), concurrency=concurrency, ordered=True)
            assert await office.take_all(leads, pause) == list(range(len(waits)))

        run(main())

    def test_a_lead_named_twice_comes_twice(self) -> None:
        async def main() -> None:
            office = Office()
            for ordered in (True, False):
                assert await office.take_all(office.run([7, 7, 7], ordered=ordered)) == [7, 7, 7]

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    def test_no_leads_are_no_results(self, *, ordered: bool) -> None:
        async def main() -> None:
            office = Office()
            assert await office.take_all(office.run([], ordered=ordered)) == []
            assert await office.take_all(office.run(office.slow([]), ordered=ordered)) == []

        run(main())


async def take_up_to_an_error(leads: BulkRun, turns: int = 0) -> tuple[list[int], BaseException | None]:
    """What comes before the error; the taker lets the loop turn so often after each."""
    found: list[int] = []
    try:
        async for lead in leads:
            found.append(lead.lead_id)
            for _ in range(turns):
                await asyncio.sleep(0)
    except BaseException as error:  # noqa: BLE001 - a source may raise whatever it likes, and it has to arrive
        return found, error
    return found, None


async def three_pages(lead_id: int) -> AsyncIterator[list[Task]]:
    yield [Task(id=1, lead_id=lead_id), Task(id=2, lead_id=lead_id)]
    await asyncio.sleep(1)
    if lead_id == 13:
        raise ServerError(status=500, cursor="2")
    if lead_id == 14:
        raise ClientClosedError
    yield [Task(id=3, lead_id=lead_id)]


class TestFailure:
    def test_of_a_lead_is_a_value_with_the_tasks_read_before(self) -> None:
        async def main() -> None:
            leads = BulkRun([12, 13, 15], as_value(three_pages), concurrency=2, ordered=True)
            results = [lead async for lead in leads]
            assert [lead.lead_id for lead in results] == [12, 13, 15]
            assert [[task.id for task in lead.tasks] for lead in results] == [[1, 2, 3], [1, 2], [1, 2, 3]]
            error = results[1].error
            assert isinstance(error, ServerError)
            assert error.cursor == "2"
            assert (results[0].error, results[2].error) == (None, None)
            assert leads.progress == BulkProgress(done=3, failed=1, in_progress=0, tasks=8)

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("concurrency", [1, 2, 5])
    def test_a_closed_client_ends_the_run(self, concurrency: int, *, ordered: bool) -> None:
        async def main() -> None:
            pulled: list[int] = []

            def source() -> Iterator[int]:
                for lead_id in (11, 12, 14, *range(20, 200)):
                    pulled.append(lead_id)
                    yield lead_id

            leads = BulkRun(source(), as_value(three_pages), concurrency=concurrency, ordered=ordered)
            found, error = await take_up_to_an_error(leads)
            assert isinstance(error, ClientClosedError)
            assert set(found) >= {11, 12}
            assert set(found) == set(pulled) - {14}
            assert len(pulled) <= 3 + 2 * concurrency
            assert [lead async for lead in leads] == []
            assert leads.progress.in_progress == 0
            assert others() == set()

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("failing", range(6))
    def test_of_a_reader_comes_after_what_had_begun_whichever_lead_it_was(self, failing: int, *, ordered: bool) -> None:
        async def main() -> None:
            failure = ZeroDivisionError("a bug")
            office = Office(wait=lambda lead_id: 1.0 + lead_id % 3, failures={failing: failure})
            leads = office.run(office.plain(range(6)), concurrency=3, ordered=ordered)
            found, error = await take_up_to_an_error(leads)
            assert error is failure
            assert set(found) == set(office.pulled) - {failing}
            assert not ordered or found == sorted(found)
            assert leads.progress.in_progress == 0

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("concurrency", [1, 2, 3, 9])
    @pytest.mark.parametrize("turns", range(8))
    def test_of_the_source_is_raised_after_what_had_begun_was_handed_out(
        self, turns: int, concurrency: int, *, ordered: bool
    ) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: lead_id % 3)
            leads = office.run(broken(range(7), OSError("no more lines")), concurrency=concurrency, ordered=ordered)
            found, error = await take_up_to_an_error(leads, turns)
            assert isinstance(error, OSError)
            assert sorted(found) == list(range(7))
            assert [lead async for lead in leads] == []

        run(main())

    def test_of_a_source_before_the_first_id(self) -> None:
        async def main() -> None:
            office = Office()
            with pytest.raises(OSError, match="gone"):
                await anext(office.run(broken([], OSError("gone"))))

        run(main())

    def test_a_source_that_was_cancelled_is_not_taken_for_one_that_ended(self) -> None:
        async def main() -> None:
            office = Office()
            leads = office.run(broken(range(3), asyncio.CancelledError()))
            found, error = await take_up_to_an_error(leads)
            assert isinstance(error, asyncio.CancelledError)
            assert found == [0, 1, 2]

        run(main())

    def test_an_id_that_is_none_fails_and_does_not_end_the_run(self) -> None:
        async def main() -> None:
            ids: Any = [1, None, 2]
            office = Office(wait=lambda _: 1.0)
            assert await office.take_all(office.run(ids, ordered=True)) == [1, None, 2]

        run(main())

    @pytest.mark.parametrize("concurrency", [0, -1, 1.5, "8", True, None])
    def test_a_concurrency_that_is_no_number_is_refused_at_once(self, concurrency: Any) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            Office().run([1], concurrency=concurrency)
        assert caught.value.argument == "concurrency"

    @pytest.mark.parametrize("lead_ids", [7, None, "123", b"123", object()])
    def test_what_holds_no_ids_is_refused_at_once(self, lead_ids: Any) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            Office().run(lead_ids)
        assert caught.value.argument == "lead_ids"


async def break_out(office: Office, source: Any, *, ordered: bool) -> None:
    async for _ in office.run(source, ordered=ordered):
        break


async def close(office: Office, source: Any, *, ordered: bool) -> None:
    leads = office.run(source, ordered=ordered)
    await anext(leads)
    await asyncio.sleep(0.5)
    await leads.aclose()
    assert others() == set()
    assert leads.progress.in_progress == 0
    await leads.aclose()
    assert [lead async for lead in leads] == []


async def leave_the_block(office: Office, source: Any, *, ordered: bool) -> None:
    async with office.run(source, ordered=ordered) as leads:
        async for _ in leads:
            break
    assert others() == set()


async def raise_in_the_block(office: Office, source: Any, *, ordered: bool) -> None:
    async def read() -> None:
        async with office.run(source, ordered=ordered) as leads:
            async for lead in leads:
                raise KeyError(lead.lead_id)

    with pytest.raises(KeyError):
        await read()
    assert others() == set()


async def drop(office: Office, source: Any, *, ordered: bool) -> None:
    leads = office.run(source, ordered=ordered)
    await anext(leads)
    await asyncio.sleep(0.5)
    del leads


async def cancel(office: Office, source: Any, *, ordered: bool) -> None:
    task = asyncio.ensure_future(office.take_all(office.run(source, ordered=ordered), 0.3))
    await asyncio.sleep(1.7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def close_before_it_began(office: Office, source: Any, *, ordered: bool) -> None:
    leads = office.run(source, ordered=ordered)
    await leads.aclose()
    assert [lead async for lead in leads] == []
    assert office.pulled == []


class TestLeaving:
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("kind", ["plain", "slow"])
    @pytest.mark.parametrize(
        "leave", [break_out, close, leave_the_block, raise_in_the_block, drop, cancel, close_before_it_began]
    )
    def test_ends_what_is_under_way_and_leaks_nothing(
        self, leave: Callable[..., Any], kind: str, *, ordered: bool
    ) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: 1.0 + lead_id % 3, wait_for_id=lambda _: 0.1)
            await leave(office, getattr(office, kind)(range(100)), ordered=ordered)
            await settled()
            assert others() == set()
            assert (office.reading, office.pulling) == (0, 0)
            pulled = len(office.pulled)
            await asyncio.sleep(20)
            assert len(office.pulled) == pulled < 12

        run(main())

    def test_closing_wakes_a_consumer_that_waits(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda _: 1000.0)
            leads = office.run(range(9))
            waiting = asyncio.ensure_future(office.take_all(leads))
            await asyncio.sleep(1)
            await leads.aclose()
            assert await waiting == []
            assert now() == 1.0

        run(main())

    def test_closing_while_an_id_is_pulled_ends_the_pull(self) -> None:
        async def main() -> None:
            office = Office(wait_for_id=lambda _: 1000.0)
            leads = office.run(office.slow(range(9)))
            waiting = asyncio.ensure_future(office.take_all(leads))
            await asyncio.sleep(1)
            assert office.pulling == 1
            await leads.aclose()
            assert office.pulling == 0
            assert await waiting == []

        run(main())

    def test_a_source_that_heeds_no_cancelling_starts_no_further_lead(self) -> None:
        async def stubborn() -> AsyncIterator[int]:
            for lead_id in range(9):
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    await asyncio.sleep(1)
                yield lead_id

        async def main() -> None:
            office = Office()
            leads = office.run(stubborn())
            waiting = asyncio.ensure_future(office.take_all(leads))
            await asyncio.sleep(1)
            await leads.aclose()
            assert others() <= {waiting}
            assert await waiting == []
            assert office.read == []

        run(main())

    def test_closing_may_be_cancelled(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda _: 1000.0)
            leads = office.run(range(9))
            waiting = asyncio.ensure_future(office.take_all(leads))
            await asyncio.sleep(1)
            closing = asyncio.ensure_future(leads.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert await waiting == []
            assert others() == set()

        run(main())

    def test_a_run_may_outlive_its_loop(self) -> None:
        async def main() -> BulkRun:
            office = Office()
            leads = office.run(range(100))
            await anext(leads)
            return leads

        leads = run(main())
        leads._pool.cancel()
        del leads

    def test_a_refused_run_is_dropped_without_a_sound(self) -> None:
        with pytest.raises(InvalidRequestError):
            Office().run([1], concurrency=0)
        gc.collect()


class TestConsumers:
    @pytest.mark.parametrize("ordered", [True, False])
    @given(timeouts=st.lists(st.sampled_from([0.0, 0.3, 1.0, 1.7]), max_size=12))
    def test_one_cancelled_while_it_waits_can_go_on(self, timeouts: list[float], *, ordered: bool) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: 1.0 + lead_id % 2)
            leads = office.run(office.plain(range(12)), ordered=ordered)
            found: list[int] = []
            for seconds in timeouts:
                try:
                    async with asyncio.timeout(seconds):
                        found.append((await anext(leads)).lead_id)
                        office.taken += 1
                except TimeoutError:
                    pass
                except StopAsyncIteration:
                    break
            found += await office.take_all(leads)
            assert sorted(found) == list(range(12))
            assert office.most_in_progress <= 4

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("consumers", [2, 5])
    def test_several_share_a_run_and_each_lead_goes_to_one(self, consumers: int, *, ordered: bool) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: lead_id % 3)
            leads = office.run(office.plain(range(40)), concurrency=3, ordered=ordered)
            async with asyncio.timeout(1000):
                shares = await asyncio.gather(*(office.take_all(leads, 0.5) for _ in range(consumers)))
            assert sorted(lead_id for share in shares for lead_id in share) == list(range(40))
            assert office.most_in_progress <= 3

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("step", range(14))
    def test_one_cancelled_at_any_await_loses_no_lead_for_the_others(self, step: int, *, ordered: bool) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: lead_id % 2)
            leads = office.run(office.plain(range(12)), concurrency=3, ordered=ordered)
            found: list[int] = []

            async def take() -> None:
                async for lead in leads:
                    office.taken += 1
                    found.append(lead.lead_id)

            doomed, other = asyncio.ensure_future(take()), asyncio.ensure_future(take())
            for _ in range(step):
                await asyncio.sleep(0)
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
            async with asyncio.timeout(100):
                await other
            assert sorted(found) == list(range(12))

        run(main())

    def test_progress_tells_how_far_it_is(self) -> None:
        async def main() -> None:
            office = Office(wait=lambda lead_id: 1.0 + lead_id)
            leads = office.run(range(6), concurrency=3)
            assert leads.progress == BulkProgress()
            seen = [leads.progress async for _ in leads]
            assert [progress.done for progress in seen] == [1, 2, 3, 4, 5, 6]
            assert [progress.tasks for progress in seen] == [1, 2, 3, 4, 5, 6]
            assert all(0 <= progress.in_progress < 3 for progress in seen)
            assert leads.progress == BulkProgress(done=6, tasks=6)

        run(main())


class TestOverSockets:
    @pytest.mark.parametrize("ordered", [True, False])
    async def test_leads_that_fail_do_not_keep_the_others_from_being_read(self, *, ordered: bool) -> None:
        async with Sandbox(12, 3) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            lead_ids = list(sandbox.state.leads)
            wanted: list[Any] = [*lead_ids[:5], 999, "seven", *lead_ids[5:]]
            results = [lead async for lead in lofty.tasks.for_leads(wanted, concurrency=4, ordered=ordered)]
            failed = {str(lead.lead_id): type(lead.error) for lead in results if lead.error}
            assert failed == {"999": NotFoundError, "seven": InvalidRequestError}
            assert sorted(str(lead.lead_id) for lead in results) == sorted(map(str, wanted))
            assert {task.lead_id for lead in results for task in lead.tasks} == set(lead_ids)
            assert sum(len(lead.tasks) for lead in results) == 12 * 4

    async def test_leads_are_read_as_they_are_listed(self) -> None:
        async with Sandbox(12, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            ids = (lead.id async for lead in lofty.leads.list(page_size=5))
            found = [lead.lead_id async for lead in lofty.tasks.for_leads(ids, ordered=True)]
            assert found == list(sandbox.state.leads)

    async def test_a_run_on_the_client_of_a_web_app_waits_as_long_as_it_has_to(self) -> None:
        async with (
            Sandbox(30, 1, limit=12, window=0.5) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url, max_wait=0) as lofty,
        ):
            results = [lead async for lead in lofty.tasks.for_leads(sandbox.state.leads)]
            assert [lead.error for lead in results] == [None] * 30

    async def test_a_run_waits_no_longer_than_it_is_told(self) -> None:
        async with (
            Sandbox(30, 1, limit=12, window=60) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
        ):
            results = [lead async for lead in lofty.tasks.for_leads(sandbox.state.leads, max_wait=0.1)]
            failed = [lead.error for lead in results if lead.error]
            assert len(results) == 30
            assert len(failed) >= 18
            assert {type(error) for error in failed} == {RateLimitWaitError}

    @pytest.mark.parametrize("max_wait", [-1, "1", True, float("nan")])
    async def test_a_wait_that_is_no_number_of_seconds_is_refused_at_once(self, max_wait: Any) -> None:
        async with LoftyClient(ApiKey("key")) as lofty:
            with pytest.raises(InvalidRequestError) as caught:
                lofty.tasks.for_leads([1], max_wait=max_wait)
            assert caught.value.argument == "max_wait"

    async def test_closing_the_client_ends_a_run(self) -> None:
        async with Sandbox(30, 1, latency=0.01) as sandbox:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
            leads = lofty.tasks.for_leads(sandbox.state.leads, concurrency=3)
            await anext(leads)
            await lofty.close()
            _, error = await take_up_to_an_error(leads)
            assert isinstance(error, ClientClosedError)
            assert leads.progress.done < 30
