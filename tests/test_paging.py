"""Lists as they are read: by record, by page, in part, again, ahead of the reader, and with servers that misbehave."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from operator import methodcaller
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from lofty_async.listing import Listing
from lofty_async.listings import AfterIdListing, NumberedListing, OffsetListing, SingleListing
from lofty_async.paging import END, Page, Pager
from lofty_async.reading import MEMORY, Pass

from lofty_async import LoftyClient
from lofty_async._checks import OnBadRecord
from lofty_async._wire import Params
from lofty_async.errors import (
    ClientClosedError,
    DecodeError,
    InvalidRequestError,
    LoftyError,
    NotFoundError,
    ServerError,
)
from lofty_async.models import CalendarEntry, Lead, Task
from lofty_async.sandbox import Sandbox
from tests.leaks import others, settled
from tests.virtual import now, run

MINE = "GET /v2.0/tasks/my-tasks"
BAD_TASK = {"id": 13, "endAt": "soon"}


def after_id(page_size: int = 2) -> AfterIdListing[Task]:
    return AfterIdListing(kind=Task, request=MINE, at=("tasks",), page_size=page_size)


def numbered(page_size: int = 2) -> NumberedListing[CalendarEntry]:
    return NumberedListing(kind=CalendarEntry, request="GET /v2.0/calendar", at=("data", "items"), page_size=page_size)


def offset(page_size: int = 2, *, scroll: bool = False) -> OffsetListing[Lead]:
    return OffsetListing(kind=Lead, request="GET /v1.0/leads", at=("leads",), page_size=page_size, scroll=scroll)


def single() -> SingleListing[Task]:
    return SingleListing(kind=Task, request="GET /v2.0/tasks", at=("tasks",))


@define
class Server:
    """Answers with rows of a list that tests change; each answer takes `latency` seconds of virtual time."""

    rows: list[int]
    latency: float = 0.0
    inclusive: bool = False
    tells_total: bool = True
    tells_size: bool = True
    largest_page: int = 500
    repeats_last_page: bool = False
    one_scroll_id: bool = False
    bad: dict[int, Any] = field(factory=dict[int, Any])
    asked: list[Params] = field(factory=list[Params])
    under_way: int = 0
    most_under_way: int = 0
    cancelled: int = 0
    before: Callable[[int], object] = lambda _: None
    before_answer: Callable[[], object] = lambda: None

    async def __call__(self, params: Params) -> Any:
        self.before(len(self.asked))
        self.asked.append(params)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        self.before_answer()
        return self.answer({name: str(value) for name, value in params.items()})

    def answer(self, params: dict[str, str]) -> Any:
        if "currentId" in params:
            return {"tasks": [self.row("id", row) for row in self.after(int(params["currentId"]))[: size(params)]]}
        if "page" in params:
            return {"data": self.numbered_page(int(params["page"]), min(self.largest_page, size(params)))}
        if "limit" in params:
            return self.offset_page(params)
        return {"tasks": [self.row("id", row) for row in self.rows]}

    def after(self, cursor: int) -> list[int]:
        place = self.rows.index(cursor) if cursor in self.rows else -1
        return self.rows[place if self.inclusive and place >= 0 else place + 1 :]

    def numbered_page(self, number: int, most: int) -> dict[str, Any]:
        items = [self.row("id", row) for row in self.rows[number * most :][:most]]
        told = {"total": len(self.rows)} if self.tells_total else {}
        told |= {"pageSize": most} if self.tells_size else {}
        return {**told, "items": [{**item, "id": str(item["id"])} for item in items]}

    def offset_page(self, params: dict[str, str]) -> dict[str, Any]:
        most = min(self.largest_page, size(params))
        scroll = params.get("scrollId", "")
        start = int(scroll.removeprefix("scroll:") or 0) if scroll else int(params["offset"])
        if self.one_scroll_id and scroll:
            start = most * sum("scrollId" in asked for asked in self.asked)
        if start >= len(self.rows) and self.repeats_last_page:
            start = max(0, len(self.rows) - most)
        shown = self.rows[start:][:most]
        told: dict[str, Any] = {"total": len(self.rows)} if self.tells_total else {}
        told |= {"limit": most} if self.tells_size else {}
        told |= {"scrollId": "scroll:0" if self.one_scroll_id else f"scroll:{start + len(shown)}"}
        return {"_metadata": told, "leads": [self.row("leadId", row) for row in shown]}

    def row(self, name: str, number: int) -> Any:
        return self.bad.get(number, {name: number})


def size(params: dict[str, str]) -> int:
    return int(params.get("pageSize") or params["limit"])


def ids(items: Iterable[Any]) -> list[int]:
    return [int(item.id) for item in items]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterable[None]:
    """No task dies unheard: asyncio would log it."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class TestReading:
    def test_nothing_is_asked_for_before_it_is_read(self) -> None:
        async def main() -> list[Params]:
            server = Server([1, 2, 3])
            pager = Pager(after_id(), server)
            pager.resume("2")
            aiter(pager)
            pager.pages()
            await asyncio.sleep(1)
            await pager.aclose()
            return server.asked

        assert run(main()) == []

    def test_records_come_one_by_one_and_again_from_the_start(self) -> None:
        async def main() -> None:
            server = Server([5, 4, 3, 2, 1])
            pager = Pager(after_id(), server)
            assert ids([task async for task in pager]) == [5, 4, 3, 2, 1]
            assert ids([task async for task in pager]) == [5, 4, 3, 2, 1]
            assert [params["currentId"] for params in server.asked] == ["0", "4", "2"] * 2

        run(main())

    def test_pages_carry_records_cursor_and_total(self) -> None:
        async def main() -> list[Page[CalendarEntry]]:
            return [page async for page in Pager(numbered(), Server([1, 2, 3])).pages()]

        pages = run(main())
        assert [ids(page.items) for page in pages] == [[1, 2], [3]]
        assert [page.cursor for page in pages] == ["1:2", END]
        assert [page.total for page in pages] == [3, 3]
        assert [len(page) for page in pages] == [2, 1]

    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True), single()])
    def test_a_list_may_be_empty(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            server = Server([])
            pager = Pager(listing, server)
            assert await pager.collect() == []
            assert await pager.first() is None
            assert [page async for page in pager.pages()] == []
            assert len(server.asked) == 3

        run(main())

    @pytest.mark.parametrize(
        ("limit", "expected", "requests"),
        [
            (None, [1, 2, 3, 4, 5], 3),
            (0, [], 0),
            (1, [1], 1),
            (2, [1, 2], 1),
            (3, [1, 2, 3], 2),
            (99, [1, 2, 3, 4, 5], 3),
        ],
    )
    def test_collects_as_much_as_asked_with_no_request_too_many(
        self, limit: int | None, expected: list[int], requests: int
    ) -> None:
        async def main() -> None:
            server = Server([1, 2, 3, 4, 5])
            assert ids(await Pager(numbered(), server).collect(limit)) == expected
            assert len(server.asked) == requests

        run(main())

    @pytest.mark.parametrize("limit", [-1, True, 1.5, "2"])
    async def test_refuses_a_limit_that_is_no_count(self, limit: Any) -> None:
        server = Server([1])
        with pytest.raises(InvalidRequestError, match="limit") as caught:
            await Pager(numbered(), server).collect(limit)
        assert caught.value.argument == "limit"
        assert server.asked == []

    def test_the_first_record_costs_one_request(self) -> None:
        async def main() -> None:
            server = Server([1, 2, 3, 4, 5])
            first = await Pager(numbered(), server).first()
            assert first is not None
            assert first.id == "1"
            await settled()
            assert len(server.asked) == 1

        run(main())

    def test_two_tasks_share_a_reading_and_no_record_is_lost_or_doubled(self) -> None:
        async def main() -> None:
            reader = aiter(Pager(after_id(3), Server(list(range(1, 50)), latency=1)))
            taken: list[int] = []

            async def take() -> None:
                async for task in reader:
                    taken.append(task.id)
                    await asyncio.sleep(0.3)

            await asyncio.gather(*(take() for _ in range(4)))
            assert sorted(taken) == list(range(1, 50))

        run(main())

    def test_two_tasks_share_the_pages_of_a_reading(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 50)), latency=1)
            reading = Pager(after_id(3), server).pages()
            taken: list[int] = []

            async def take() -> None:
                async for page in reading:
                    taken.extend(ids(page.items))

            await asyncio.gather(*(take() for _ in range(4)))
            assert taken == list(range(1, 50))
            assert len(server.asked) == 17

        run(main())

    def test_a_hundred_thousand_records_in_one_pass(self) -> None:
        rows = list(range(1, 100_001))

        async def main() -> None:
            server = Server(rows)
            count = 0
            async for lead in Pager(offset(100), server):
                count += 1
                assert lead.id == count
            assert count == len(rows)
            assert len(server.asked) == 1000

        run(main())


class TestPrefetch:
    @staticmethod
    async def _time_to_read(server: Server, prefetch: int, listing: Listing[Any]) -> float:
        began = now()
        async for _ in Pager(listing, server, prefetch=prefetch).pages():
            await asyncio.sleep(1.0)
        return now() - began

    @pytest.mark.parametrize(("fetching", "seconds"), [(1.0, 11.0), (0.25, 10.25), (2.0, 21.0)])
    def test_reading_overlaps_fetching_and_costs_the_slower_of_both(self, fetching: float, seconds: float) -> None:
        async def main() -> None:
            server = Server(list(range(1, 20)), latency=fetching)
            assert await self._time_to_read(server, 1, after_id()) == pytest.approx(seconds)
            assert server.most_under_way == 1

        run(main())

    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
    def test_without_prefetch_nothing_is_asked_ahead(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            server = Server(list(range(1, 20)), latency=1.0)
            reading = Pager(listing, server, prefetch=0).pages()
            for page in range(1, 6):
                await anext(reading)
                await asyncio.sleep(5)
                assert len(server.asked) == page

        run(main())

    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
    def test_never_more_than_one_page_ahead_by_default(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            server = Server(list(range(1, 20)), latency=1.0)
            read = 0
            async for _ in Pager(listing, server).pages():
                read += 1
                await asyncio.sleep(5)
                assert len(server.asked) <= read + 1
            assert server.most_under_way == 1

        run(main())

    def test_pages_are_fetched_side_by_side_where_the_total_is_known(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 42)), latency=1.0)
            began = now()
            assert ids(await Pager(numbered(), server, prefetch=5).collect()) == list(range(1, 42))
            assert server.most_under_way == 5
            assert now() - began == 5.0  # the first page, then 20 of them by five
            assert len(server.asked) == 21

        run(main())

    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
    def test_pages_come_one_after_another_where_it_is_not(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            server = Server(list(range(1, 20)), latency=1.0, tells_total=False)
            assert ids(await Pager(listing, server, prefetch=5).collect()) == list(range(1, 20))
            assert server.most_under_way == 1

        run(main())

    def test_a_list_that_ends_early_drops_what_was_asked_side_by_side(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 21)), latency=1.0)

            def empty_it(requests: int) -> None:
                if requests == 3:
                    server.rows = server.rows[:4]

            server.before = empty_it
            reading = Pager(numbered(), server, prefetch=4).pages()
            assert [ids(page.items) for page in [page async for page in reading]] == [[1, 2], [3, 4]]
            assert others() == set()

        run(main())


class Unwelcome(Exception):  # noqa: N818 - stands for whatever a loop's body raises
    pass


async def break_out(pager: Pager[Any]) -> None:
    async for _ in pager:
        break


async def raise_out(pager: Pager[Any]) -> None:
    async def read() -> None:
        async for _ in pager:
            raise Unwelcome

    with pytest.raises(Unwelcome):
        await read()


async def be_cancelled_in_the_body(pager: Pager[Any]) -> None:
    async def read() -> None:
        async for _ in pager:
            await asyncio.sleep(100)

    task = asyncio.ensure_future(read())
    await asyncio.sleep(1.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def be_cancelled_in_the_wait(pager: Pager[Any]) -> None:
    task = asyncio.ensure_future(pager.collect())
    await asyncio.sleep(1.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def drop_the_pages(pager: Pager[Any]) -> None:
    reading = pager.pages()
    await anext(reading)
    await asyncio.sleep(0.5)
    del reading


async def leave_the_block(pager: Pager[Any]) -> None:
    async with pager:
        reading = pager.pages()
        await anext(reading)
        await asyncio.sleep(0.5)
    assert [page async for page in reading] == []


async def close_it(pager: Pager[Any]) -> None:
    reading = pager.pages()
    await anext(reading)
    await asyncio.sleep(0.5)
    await pager.aclose()
    await pager.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(reading)


class TestLeaving:
    @pytest.mark.parametrize("prefetch", [1, 4])
    @pytest.mark.parametrize(
        "leave",
        [
            break_out,
            raise_out,
            be_cancelled_in_the_body,
            be_cancelled_in_the_wait,
            drop_the_pages,
            leave_the_block,
            close_it,
        ],
    )
    def test_cancels_what_was_asked_ahead_and_leaks_no_task(
        self, leave: Callable[[Pager[Any]], Any], prefetch: int
    ) -> None:
        async def main() -> None:
            server = Server(list(range(1, 40)), latency=1.0)
            await leave(Pager(numbered(), server, prefetch=prefetch))
            await settled()
            assert others() == set()
            assert server.under_way == 0
            asked = len(server.asked)
            await asyncio.sleep(10)
            assert len(server.asked) == asked
            assert now() < 20

        run(main())

    def test_a_failure_ahead_that_nobody_waits_for_is_not_reported_as_forgotten(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 40)))

            def fail(requests: int) -> None:
                if requests:
                    raise ServerError(status=500)

            server.before = fail
            reading = Pager(numbered(), server).pages()
            await anext(reading)
            await asyncio.sleep(1)
            assert len(server.asked) == 1
            del reading
            await settled()

        run(main())

    def test_a_reading_may_outlive_its_loop(self) -> None:
        async def main() -> Any:
            reading = Pager(numbered(), Server(list(range(1, 40)), latency=1.0)).pages()
            await anext(reading)
            return reading

        reading = run(main())
        del reading
        gc.collect()  # the fixture looks for what asyncio then says

    def test_what_arrives_after_closing_is_not_yielded(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 40)), latency=1.0)
            pager = Pager(numbered(), server)
            task = asyncio.ensure_future(pager.collect())
            await asyncio.sleep(1.5)
            await pager.aclose()
            assert ids(await task) == [1, 2]
            await settled()
            assert others() == set()
            assert len(server.asked) == 2

        run(main())

    @pytest.mark.parametrize("read", [methodcaller("pages"), methodcaller("__aiter__")])
    def test_a_reading_may_be_closed_by_itself(self, read: Callable[[Pager[Any]], Any]) -> None:
        async def main() -> None:
            server = Server(list(range(1, 40)), latency=1.0)
            pager = Pager(numbered(), server)
            other = pager.pages()
            async with aclosing(read(pager)) as reading:
                await anext(reading)
                await asyncio.sleep(0.5)
            await settled()
            assert others() == set()
            assert server.cancelled == 1
            with pytest.raises(StopAsyncIteration):
                await anext(reading)
            assert ids((await anext(other)).items) == [1, 2]

        run(main())

    def test_closing_ends_every_reading_and_leaves_the_pager_usable(self) -> None:
        async def main() -> None:
            pager = Pager(numbered(), Server([1, 2, 3, 4, 5]))
            readings = [pager.pages(), pager.pages()]
            for reading in readings:
                await anext(reading)
            await pager.aclose()
            for reading in readings:
                assert [page async for page in reading] == []
            assert ids(await pager.collect()) == [1, 2, 3, 4, 5]

        run(main())


async def read_up_to_an_error(pager: Pager[Any]) -> tuple[list[int], LoftyError | None]:
    read: list[int] = []
    try:
        async for item in pager:
            read.append(int(item.id))  # noqa: PERF401 - a comprehension would lose what came before the error
    except LoftyError as error:
        return read, error
    return read, None


class TestFailure:
    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
    def test_in_the_middle_carries_the_cursor_to_go_on_from(self, listing: Listing[Any], prefetch: int) -> None:
        async def main() -> None:
            server = Server(list(range(1, 12)), latency=1.0)
            cause = OSError("the line is dead")

            def fail_once(requests: int) -> None:
                if requests == 3:
                    raise ServerError(status=502, message="bad gateway") from cause

            server.before = fail_once
            pager = Pager(listing, server, prefetch=prefetch)
            read, error = await read_up_to_an_error(pager)
            assert read == [1, 2, 3, 4, 5, 6]
            assert isinstance(error, ServerError)
            assert error.__cause__ is cause
            await settled()
            assert others() == set()
            server.before = lambda _: None
            assert read + ids(await pager.resume(error.cursor).collect()) == list(range(1, 12))

        run(main())

    @pytest.mark.parametrize("limit", [None, 5])
    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset(), offset(scroll=True)])
    def test_of_what_is_collected_carries_where_that_began(self, listing: Listing[Any], limit: int | None) -> None:
        async def main() -> None:
            server = Server(list(range(1, 12)))
            whole = Pager(listing, server)
            first = await anext(whole.pages())
            for pager, rows in ((whole, range(1, 12)), (whole.resume(first.cursor), range(3, 12))):
                server.asked.clear()
                server.before = lambda requests: raising(ServerError(status=502))(0) if requests == 2 else None
                with pytest.raises(ServerError) as caught:
                    await pager.collect(limit)
                assert caught.value.cursor == pager.cursor
                server.before = lambda _: None
                assert ids(await whole.resume(caught.value.cursor).collect()) == list(rows)

        run(main())

    def test_at_the_start_carries_no_cursor(self) -> None:
        async def main() -> None:
            server = Server([1])
            server.before = raising(NotFoundError(status=404))
            with pytest.raises(NotFoundError) as caught:
                await Pager(numbered(), server).collect()
            assert caught.value.cursor is None

        run(main())

    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    def test_is_not_the_end_the_same_reading_goes_on(self, prefetch: int) -> None:
        async def main() -> None:
            server = Server(list(range(1, 12)), latency=1.0)
            reading = Pager(numbered(), server, prefetch=prefetch).pages()
            read: list[int] = []
            failures = 0
            server.before = lambda requests: raising(ServerError(status=500))(0) if requests % 3 == 2 else None
            while True:
                try:
                    read += ids((await anext(reading)).items)
                except ServerError:
                    failures += 1
                    server.asked.append({})
                except StopAsyncIteration:
                    break
            assert read == list(range(1, 12))
            assert failures > 1

        run(main())

    def test_of_another_kind_passes_as_it_is(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 40)), latency=1.0)
            reading = Pager(numbered(), server, prefetch=4).pages()
            await anext(reading)
            server.before = raising(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await anext(reading)
            await settled()
            assert others() == set()

        run(main())


def raising(error: BaseException) -> Callable[[int], object]:
    def fail(_: int) -> object:
        raise error

    return fail


async def read_from_every_page(listing: Listing[Any], make: Callable[[], Server], rows: list[int]) -> None:
    pages = [page async for page in Pager(listing, make()).pages()]
    assert [number for page in pages for number in ids(page.items)] == rows
    for count, page in enumerate(pages, 1):
        before = [number for earlier in pages[:count] for number in ids(earlier.items)]
        server = make()
        rest = ids(await Pager(listing, server).resume(page.cursor).collect())
        assert before + rest == rows
        if page.cursor == END:
            assert server.asked == []


ROWS = st.lists(st.integers(1, 2**53), unique=True, max_size=30)


class TestResume:
    @given(rows=ROWS, page_size=st.integers(1, 7), inclusive=st.booleans())
    def test_goes_on_behind_any_page_of_a_list_by_id(self, rows: list[int], page_size: int, *, inclusive: bool) -> None:
        run(read_from_every_page(after_id(page_size), lambda: Server(rows, inclusive=inclusive), rows))

    @given(
        rows=ROWS,
        page_size=st.integers(1, 7),
        largest=st.integers(1, 7),
        tells_total=st.booleans(),
        tells_size=st.booleans(),
    )
    def test_goes_on_behind_any_page_of_a_numbered_list(
        self, rows: list[int], page_size: int, largest: int, *, tells_total: bool, tells_size: bool
    ) -> None:
        def make() -> Server:
            return Server(rows, largest_page=largest, tells_total=tells_total, tells_size=tells_size)

        run(read_from_every_page(numbered(page_size), make, rows))

    @given(
        rows=ROWS,
        page_size=st.integers(1, 7),
        largest=st.integers(1, 7),
        scroll=st.booleans(),
        tells_total=st.booleans(),
        tells_size=st.booleans(),
        repeats=st.booleans(),
    )
    def test_goes_on_behind_any_page_of_a_list_by_offset(
        self,
        rows: list[int],
        page_size: int,
        largest: int,
        *,
        scroll: bool,
        tells_total: bool,
        tells_size: bool,
        repeats: bool,
    ) -> None:
        def make() -> Server:
            return Server(
                rows,
                largest_page=largest,
                tells_total=tells_total,
                tells_size=tells_size,
                repeats_last_page=repeats,
            )

        run(read_from_every_page(offset(page_size, scroll=scroll), make, rows))

    def test_one_scroll_id_may_serve_every_page(self) -> None:
        async def main() -> None:
            rows = list(range(1, 12))
            assert ids(await Pager(offset(scroll=True), Server(rows, one_scroll_id=True)).collect()) == rows

        run(main())

    async def test_of_nothing_is_the_whole_list(self) -> None:
        pager = Pager(numbered(), Server([1, 2, 3]))
        assert ids(await pager.resume(None).collect()) == [1, 2, 3]

    @pytest.mark.parametrize("cursor", [7, b"7", "", "-1", "x", "1.5", "²", "9" * 40])
    @pytest.mark.parametrize("listing", [after_id(), numbered(), offset()])
    def test_refuses_what_is_no_cursor_at_once(self, listing: Listing[Any], cursor: Any) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            Pager(listing, Server([])).resume(cursor)
        assert caught.value.argument == "cursor"

    def test_of_a_list_in_one_answer_there_is_only_the_end(self) -> None:
        async def main() -> None:
            server = Server([1, 2])
            pager = Pager(single(), server)
            assert [page.cursor async for page in pager.pages()] == [END]
            assert await pager.resume(END).collect() == []
            assert len(server.asked) == 1
            with pytest.raises(InvalidRequestError):
                pager.resume("1")

        run(main())


class TestRepeats:
    @pytest.mark.parametrize("inclusive", [True, False])
    @pytest.mark.parametrize("length", [0, 1, 2, 3, 4])
    def test_a_page_size_of_one_works_with_either_kind_of_cursor(self, length: int, *, inclusive: bool) -> None:
        async def main() -> None:
            rows = list(range(1, length + 1))
            assert ids(await Pager(after_id(1), Server(rows, inclusive=inclusive)).collect()) == rows

        run(main())

    def test_the_same_page_for_ever_ends_the_list(self) -> None:
        async def main() -> None:
            listings: list[Listing[Any]] = [after_id(), offset(), offset(scroll=True), numbered()]
            for listing in listings:
                server = Endless(lambda _: [1, 2])
                assert ids(await Pager(listing, server).collect()) == [1, 2], listing
                assert len(server.asked) <= 3

        run(main())

    def test_a_total_that_is_never_reached_ends_the_list(self) -> None:
        async def main() -> None:
            listings: list[Listing[Any]] = [offset(), numbered()]
            for listing in listings:
                server = Endless(lambda _: [1, 2], total=1_000_000)
                assert ids(await Pager(listing, server).collect()) == [1, 2], listing
                assert len(server.asked) < 12

        run(main())

    @pytest.mark.parametrize("listing", [after_id(), offset(), offset(scroll=True)])
    @pytest.mark.parametrize("circle", [2, 3, 9, 20, 100])
    def test_pages_in_a_circle_end_where_nothing_new_comes(self, listing: Listing[Any], circle: int) -> None:
        server = Endless(lambda number: [number % circle * 2 + 1, number % circle * 2 + 2])
        assert ids(run(Pager(listing, server).collect())) == list(range(1, circle * 2 + 1))
        assert len(server.asked) <= circle + 2

    @pytest.mark.parametrize("listing", [after_id(), offset(), offset(scroll=True)])
    @pytest.mark.parametrize("circle", [6, 11, 40])
    def test_a_circle_larger_than_what_is_remembered_is_an_error(self, listing: Listing[Any], circle: int) -> None:
        async def main() -> None:
            server = Endless(lambda number: list(range(number % circle * 1000 + 1, number % circle * 1000 + 1001)))
            read, error = await read_up_to_an_error(Pager(listing, server))
            assert isinstance(error, DecodeError)
            assert str(error) == f"{listing.request}: the list never ends: the server sends its pages in a circle"
            assert error.cursor == END
            assert set(read) == set(range(1, circle * 1000 + 1))
            assert len(server.asked) < 4 * circle + 4

        run(main())

    def test_a_numbered_circle_ends_where_nothing_new_comes(self) -> None:
        async def main() -> None:
            server = Endless(lambda number: [number % 50 * 2 + 1, number % 50 * 2 + 2])
            assert ids(await Pager(numbered(), server).collect()) == list(range(1, 101))

        run(main())

    def test_a_cursor_that_leads_to_itself_is_an_error_that_names_the_call(self) -> None:
        async def main() -> None:
            server = Endless(lambda number: [number + 100, 7])
            with pytest.raises(DecodeError, match=MINE):
                await Pager(after_id(), server).collect()
            assert len(server.asked) == 2

        run(main())

    def test_a_record_that_comes_again_many_pages_later_is_dropped(self) -> None:
        server = Server(list(range(1, 201)))
        server.before = lambda requests: server.rows.append(server.rows.pop(0)) if requests == 1 else None
        assert ids(run(Pager(after_id(), server).collect())) == list(range(1, 201))

    def test_what_is_remembered_of_a_long_list_is_bounded(self) -> None:
        async def main() -> None:
            reading = Pager(offset(100), Server(list(range(1, 50_001)), tells_total=False)).pages()
            most = 0
            async for _ in reading:
                most = max(most, len(reading._pass.keys))
            assert most == MEMORY

        run(main())

    def test_the_oldest_are_forgotten_first(self) -> None:
        met = Pass(3)
        for keys in ([1, 2], [3, 4], [2, 5]):
            met.remember(keys)
        assert list(met.keys) == [3, 4, 5]


@define
class Endless:
    """Serves a page for every number of requests, and never ends."""

    page: Callable[[int], list[int]]
    total: int | None = None
    asked: list[Params] = field(factory=list[Params])

    async def __call__(self, params: Params) -> Any:
        rows = self.page(len(self.asked))
        self.asked.append(params)
        told = {} if self.total is None else {"total": self.total}
        if "currentId" in params:
            return {"tasks": [{"id": row} for row in rows]}
        if "page" in params:
            return {"data": {**told, "pageSize": 2, "items": [{"id": str(row)} for row in rows]}}
        return {"_metadata": {**told, "limit": 2, "scrollId": "again"}, "leads": [{"leadId": row} for row in rows]}


Change = tuple[str, int, int]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "move"]), st.integers(0, 40), st.integers(0, 40)), max_size=6
)


class TestShiftingRows:
    @given(length=st.integers(0, 25), page_size=st.integers(1, 6), changes=CHANGES, prefetch=st.integers(0, 3))
    def test_every_calendar_entry_that_was_there_throughout_is_met_exactly_once(
        self, length: int, page_size: int, changes: list[Change], prefetch: int
    ) -> None:
        server = Server(list(range(1, length + 1)))
        stayed = set(server.rows)
        left = list(changes)

        def change() -> None:
            """One before each answer of the first pass but the first: of two at once that cancel out, none tells."""
            if left and [params["page"] for params in server.asked].count("0") == 1 < len(server.asked):
                kind, place, to = left.pop(0)
                if kind == "insert" or not server.rows:
                    server.rows.insert(place % (len(server.rows) + 1), 1000 + len(left))
                    return
                row = server.rows.pop(place % len(server.rows))
                if kind == "delete":
                    stayed.discard(row)
                else:
                    server.rows.insert(to % (len(server.rows) + 1), row)

        server.before_answer = change
        read = ids(run(Pager(numbered(page_size), server, prefetch=prefetch).collect()))
        assert len(read) == len(set(read))
        assert stayed <= set(read)

    @pytest.mark.parametrize("listing", [numbered(), offset()])
    @pytest.mark.parametrize("request_number", [1, 2, 3, 4])
    def test_a_row_deleted_before_the_reader_hides_none_behind_it(
        self, listing: Listing[Any], request_number: int
    ) -> None:
        server = Server(list(range(1, 10)))
        server.before = lambda requests: server.rows.remove(1) if requests == request_number else None
        read = ids(run(Pager(listing, server).collect()))
        assert sorted(read) == list(range(1, 10))

    @given(
        length=st.integers(0, 40),
        page_size=st.integers(2, 6),
        deletions=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), max_size=4),
    )
    def test_deleted_leads_hide_no_others(self, length: int, page_size: int, deletions: list[tuple[int, int]]) -> None:
        server = Server(list(range(1, length + 1)))
        stayed = set(server.rows)

        def delete(requests: int) -> None:
            for at, place in deletions:
                if at == requests and server.rows:
                    stayed.discard(server.rows.pop(place % len(server.rows)))

        server.before = delete
        read = ids(run(Pager(offset(page_size), server).collect()))
        assert len(read) == len(set(read))
        assert stayed <= set(read)

    def test_a_still_list_is_read_once(self) -> None:
        server = Server(list(range(1, 10)))
        run(Pager(numbered(), server).collect())
        assert [params["page"] for params in server.asked] == ["0", "1", "2", "3", "4"]

    def test_a_page_before_another_pass_resumes_at_the_start(self) -> None:
        async def main() -> None:
            server = Server([1, 2, 3, 4, 5])
            server.before = lambda requests: server.rows.remove(1) if requests == 1 else None
            pager = Pager(numbered(), server)
            pages = [page async for page in pager.pages()]
            assert [ids(page.items) for page in pages] == [[1, 2], [4, 5], [3]]
            assert [page.cursor for page in pages] == ["1:2", None, "1:2"]
            assert ids(await pager.resume(None).collect()) == [2, 3, 4, 5]

        run(main())

    @pytest.mark.parametrize("prefetch", [0, 1])
    def test_a_total_that_counts_more_than_is_shown_costs_a_second_look_and_is_told(
        self, caplog: pytest.LogCaptureFixture, prefetch: int
    ) -> None:
        @define
        class Boastful(Server):
            def numbered_page(self, number: int, most: int) -> dict[str, Any]:
                return {**super().numbered_page(number, most), "total": len(self.rows) + 1}

        server = Boastful([1, 2, 3])
        assert ids(run(Pager(numbered(), server, prefetch=prefetch).collect())) == [1, 2, 3]
        assert len(server.asked) == 4
        assert caplog.messages == ["GET /v2.0/calendar: the list may lack records: 3 of 4 met"]

    @pytest.mark.parametrize("total", [-1, 0, 1, 5, 15, 24])
    @pytest.mark.parametrize("tells_size", [True, False])
    @pytest.mark.parametrize("repeats", [True, False])
    @pytest.mark.parametrize("listing", [numbered(10), offset(10), offset(10, scroll=True)])
    def test_a_total_below_what_is_shown_hides_no_record(
        self, listing: Listing[Any], total: int, *, tells_size: bool, repeats: bool
    ) -> None:
        @define
        class Modest(Server):
            def answer(self, params: dict[str, str]) -> Any:
                body = super().answer(params)
                body["data" if "page" in params else "_metadata"]["total"] = total
                return body

        rows = list(range(1, 26))
        run(read_from_every_page(listing, lambda: Modest(rows, tells_size=tells_size, repeats_last_page=repeats), rows))

    @pytest.mark.parametrize("listing", [numbered(), offset()])
    def test_a_total_that_is_none_for_one_page_hides_no_record(self, listing: Listing[Any]) -> None:
        @define
        class Absent(Server):
            def answer(self, params: dict[str, str]) -> Any:
                body = super().answer(params)
                if len(self.asked) == 2:
                    body["data" if "page" in params else "_metadata"]["total"] = 0
                return body

        server = Absent(list(range(1, 10)))
        assert ids(run(Pager(listing, server).collect())) == list(range(1, 10))
        assert len(server.asked) == 5

    def test_a_list_that_never_stands_still_is_not_read_for_ever(self, caplog: pytest.LogCaptureFixture) -> None:
        server = Server(list(range(1, 30)))

        def churn(requests: int) -> None:
            server.rows = [1000 - requests * 2, *server.rows] if requests % 2 else server.rows[2:]

        server.before = churn
        run(Pager(numbered(), server).collect())
        assert len(server.asked) < 60
        assert len(caplog.messages) == 1


class TestBadRecords:
    @staticmethod
    def _server() -> Server:
        return Server([11, 12, 13, 14, 15], bad={13: BAD_TASK})

    def test_are_told_in_their_order(self) -> None:
        async def main() -> None:
            told: list[DecodeError] = []
            rows = list(range(1, 21))
            server = Server(rows, bad={row: {"id": row, "endAt": "soon"} for row in rows[::2]})
            assert ids(await Pager(single(), server, told.append).collect()) == rows[1::2]
            assert [error.record_id for error in told] == rows[::2]

        run(main())

    @pytest.mark.parametrize("prefetch", [0, 1])
    def test_raise_behind_what_came_before_them(self, prefetch: int) -> None:
        async def main() -> None:
            pager = Pager(after_id(), self._server(), prefetch=prefetch)
            read, error = await read_up_to_an_error(pager)
            assert read == [11, 12]
            assert isinstance(error, DecodeError)
            assert (error.path, error.record_id, error.cursor) == ("tasks[0].endAt", 13, "12")
            assert error.request == MINE
            await settled()
            assert others() == set()
            skipping = evolve(pager, on_bad_record="skip").resume(error.cursor)
            assert read + ids(await skipping.collect()) == [11, 12, 14, 15]

        run(main())

    def test_that_begin_the_list_raise_without_a_page(self) -> None:
        async def main() -> None:
            server = Server([13, 14], bad={13: BAD_TASK})
            for read in (Pager(after_id(), server).first, Pager(after_id(), server).collect):
                with pytest.raises(DecodeError) as caught:
                    await read()
                assert caught.value.cursor is None

        run(main())

    def test_in_the_first_page_leave_its_start_as_the_cursor(self) -> None:
        async def main() -> None:
            reading = Pager(after_id(3), self._server()).pages()
            page = await anext(reading)
            assert ids(page.items) == [11, 12]
            assert page.cursor is None
            for _ in range(2):  # asked for again, it raises again
                with pytest.raises(DecodeError):
                    await anext(reading)

        run(main())

    def test_are_skipped_with_a_line_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            assert ids(await Pager(after_id(), self._server(), "skip").collect()) == [11, 12, 14, 15]

        with caplog.at_level(logging.WARNING, "lofty_async"):
            run(main())
        assert len(caplog.messages) == 1
        assert "tasks[0].endAt (record 13)" in caplog.text

    def test_are_told_to_a_function(self) -> None:
        async def main() -> None:
            told: list[DecodeError] = []
            assert ids(await Pager(after_id(), self._server(), told.append).collect()) == [11, 12, 14, 15]
            assert [error.record_id for error in told] == [13]

        run(main())

    def test_a_function_that_raises_loses_no_record(self) -> None:
        async def main() -> None:
            told: list[DecodeError] = []

            def refuse_the_first(error: DecodeError) -> None:
                told.append(error)
                if len(told) == 1:
                    raise Unwelcome

            reading = Pager(after_id(5), self._server(), refuse_the_first).pages()
            with pytest.raises(Unwelcome):
                await anext(reading)
            assert ids((await anext(reading)).items) == [11, 12, 14, 15]

        run(main())

    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    def test_an_error_that_a_function_raises_carries_the_cursor_of_their_page(self, prefetch: int) -> None:
        class TooManyBadError(LoftyError):
            def __init__(self, record_id: Any) -> None:
                super().__init__(f"bad: {record_id}")

        def as_it_is(error: DecodeError) -> None:
            raise error

        def as_another(error: DecodeError) -> None:
            raise TooManyBadError(error.record_id)

        async def main() -> None:
            server = Server([11, 12, 13, 14, 15, 16, 17], bad={14: {"id": 14, "endAt": "soon"}})
            for refuse in (as_it_is, as_another):
                pager = Pager(after_id(), server, refuse, prefetch)
                read, error = await read_up_to_an_error(pager)
                assert read == [11, 12]
                assert error is not None
                assert error.cursor == "12"
                await settled()
                assert others() == set()
                skipping = evolve(pager, on_bad_record="skip").resume(error.cursor)
                assert ids(await skipping.collect()) == [13, 15, 16, 17]

        run(main())

    @pytest.mark.parametrize("listing", [single(), after_id(), after_id(5)])
    def test_behind_the_limit_are_not_reached(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            pager = Pager(listing, self._server())
            assert ids(await pager.collect(1)) == [11]
            assert ids(await pager.collect(2)) == [11, 12]
            with pytest.raises(DecodeError) as caught:
                await pager.collect(3)
            assert (caught.value.record_id, caught.value.cursor) == (13, None)
            assert ids(await evolve(pager, on_bad_record="skip").collect(3)) == [11, 12, 14]

        run(main())

    def test_are_told_once_though_the_list_is_read_once_more(self) -> None:
        async def main() -> None:
            server = Server(list(range(1, 10)), bad={5: {"id": "5", "startAt": "soon"}})
            server.before = lambda requests: server.rows.remove(1) if requests == 2 else None
            told: list[DecodeError] = []
            assert sorted(ids(await Pager(numbered(), server, told.append).collect())) == [1, 2, 3, 4, 6, 7, 8, 9]
            assert [error.record_id for error in told] == ["5"]

        run(main())

    @pytest.mark.parametrize("listing", [offset(), offset(scroll=True), numbered()])
    def test_in_a_last_page_that_is_served_again_do_not_make_the_list_endless(self, listing: Listing[Any]) -> None:
        async def main() -> None:
            told: list[DecodeError] = []
            bad = {"leadId": 4, "id": "4", "createTime": "soon", "startAt": "soon"}
            server = Server([1, 2, 3, 4], bad={4: bad}, repeats_last_page=True, tells_total=False, tells_size=False)
            assert ids(await Pager(listing, server, told.append).collect()) == [1, 2, 3]
            assert len(told) == 1

        run(main())

    @pytest.mark.parametrize("junk", [None, 7, "x", [], {"content": "no id"}])
    @pytest.mark.parametrize("policy", ["skip", "raise"])
    def test_with_no_id_to_go_on_from_do_not_seem_to_be_the_end(self, junk: Any, policy: OnBadRecord) -> None:
        async def main() -> None:
            server = Server([1, 2, 3, 4, 5, 6], bad={3: junk, 4: junk})
            read, error = await read_up_to_an_error(Pager(after_id(), server, policy))
            assert read == [1, 2]
            assert isinstance(error, DecodeError)
            assert error.cursor == "2"
            assert error.path is not None
            assert error.path.startswith("tasks[0]")

        run(main())


class TestWrongShapes:
    @pytest.mark.parametrize(
        ("listing", "body", "path"),
        [
            (after_id(), None, None),
            (after_id(), [], "the answer"),
            (after_id(), "tasks", "the answer"),
            (after_id(), {"tasks": {"id": 1}}, "tasks"),
            (after_id(), {"tasks": {}}, "tasks"),
            (after_id(), {"tasks": 0}, "tasks"),
            (single(), {"tasks": "none"}, "tasks"),
            (numbered(), None, None),
            (numbered(), {"data": []}, "data"),
            (numbered(), {"data": {"items": 5}}, "data.items"),
            (offset(), None, None),
            (offset(), {"leads": {"leadId": 5}}, "leads"),
            (offset(), {"leads": [], "_metadata": [1]}, "_metadata"),
        ],
    )
    def test_are_errors_that_name_path_and_call(self, listing: Listing[Any], body: Any, path: str | None) -> None:
        async def fetch(_: Params) -> Any:
            return body

        with pytest.raises(DecodeError) as caught:
            run(Pager(listing, fetch).collect())
        assert caught.value.path == path
        assert caught.value.request == listing.request

    @pytest.mark.parametrize("body", [{}, {"tasks": None}, {"tasks": ""}, {"tasks": []}])
    def test_a_list_that_is_not_there_is_empty(self, body: Any) -> None:
        async def fetch(_: Params) -> Any:
            return body

        assert run(Pager(after_id(), fetch).collect()) == []


class TestOverSockets:
    async def test_lists_by_id_yield_each_task_once_with_either_kind_of_cursor(self) -> None:
        for inclusive in (False, True):
            async with (
                Sandbox(3, 9, cursor_inclusive=inclusive) as sandbox,
                LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
            ):
                whole = ids(await lofty.tasks.mine(page_size=100).collect())
                assert len(whole) == len(set(whole)) > 20
                for page_size in (1, 7):
                    assert ids(await lofty.tasks.mine(page_size=page_size).collect()) == whole

    @pytest.mark.parametrize("scroll", [True, False])
    async def test_leads_go_on_behind_every_page(self, *, scroll: bool) -> None:
        async with Sandbox(20, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            pager = lofty.leads.list(page_size=5, scroll=scroll)
            pages = [page async for page in pager.pages()]
            assert [len(page) for page in pages] == [5, 5, 5, 5]
            for count, page in enumerate(pages, 1):
                before = [number for earlier in pages[:count] for number in ids(earlier.items)]
                assert before + ids(await pager.resume(page.cursor).collect()) == list(sandbox.state.leads)

    async def test_a_client_closed_in_the_middle_is_a_failure_with_a_cursor(self) -> None:
        async with Sandbox(20, 1) as sandbox:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
            reading = lofty.leads.list(page_size=5, prefetch=0).pages()
            first = await anext(reading)
            await lofty.close()
            with pytest.raises(ClientClosedError) as caught:
                await anext(reading)
            assert caught.value.cursor == first.cursor

    async def test_errors_of_a_list_are_the_sdks_own(self) -> None:
        async with Sandbox(1, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            with pytest.raises(LoftyError):
                await lofty.tasks.list(999).collect()
