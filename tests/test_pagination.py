"""Lists as they are read: by record, by page, in part, again, ahead of the reader, and with servers that misbehave."""

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import aclosing
from operator import methodcaller
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

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
from lofty_async.pagination import RECENT_KEYS, PageIterator, Pager
from lofty_async.sandbox import Sandbox
from tests.changing import ALL_KINDS, ListServer, ids, pager, read
from tests.leaks import others, settled
from tests.virtual import now, run

pytestmark = pytest.mark.usefixtures("quiet")

MINE = "GET /v2.0/tasks/my-tasks"
BAD = {"id": 13, "leadId": 13, "startAt": "soon", "createTime": "soon"}
FLAGS = ("is_inclusive", "is_dated", "tells_size", "repeats_last_page")
EVERY_KIND = pytest.mark.parametrize("kind", ALL_KINDS)


def rows(count: int, first: int = 1) -> list[int]:
    return list(range(first, count + 1))


def raising(error: BaseException, at: int | None = None) -> Callable[[int], object]:
    """Fails each request, or only the one with this number."""

    def fail(number: int) -> object:
        if at in (None, number):
            raise error
        return None

    return fail


async def read_up_to_an_error(pager: Pager[Any]) -> tuple[list[int], LoftyError | None]:
    taken: list[int] = []
    try:
        await read(pager.pages(), taken)
    except LoftyError as error:
        return taken, error
    return taken, None


class TestReading:
    def test_nothing_is_asked_for_before_it_is_read(self) -> None:
        async def main() -> list[Params]:
            server = ListServer("mine", rows(3))
            whole = pager(server)
            aiter(whole)
            whole.pages()
            await asyncio.sleep(1)
            await whole.aclose()
            return server.asked

        assert run(main()) == []

    @EVERY_KIND
    def test_records_come_one_by_one_and_again_from_the_start(self, kind: str) -> None:
        async def main() -> None:
            server = ListServer(kind, rows(5))
            whole = pager(server)
            for _ in range(2):
                assert ids([record async for record in whole]) == rows(5)
            half = len(server.asked) // 2
            assert server.asked[:half] == server.asked[half:]

        run(main())

    @pytest.mark.parametrize("kind", ["calendar", "leads"])
    def test_pages_carry_records_cursor_and_total(self, kind: str) -> None:
        async def main() -> None:
            pages = [page async for page in pager(ListServer(kind, rows(3))).pages()]
            assert [ids(page.items) for page in pages] == [[1, 2], [3]]
            assert [(len(page), page.has_more, page.total) for page in pages] == [(2, True, 3), (1, False, 3)]
            assert all(isinstance(page.cursor, str) for page in pages)

        run(main())

    @pytest.mark.parametrize("kind", [*ALL_KINDS, "tasks"])
    def test_a_list_may_be_empty(self, kind: str) -> None:
        async def main() -> None:
            server = ListServer(kind, [])
            empty = pager(server)
            assert await empty.collect() == []
            assert await empty.first() is None
            assert [page async for page in empty.pages()] == []
            assert len(server.asked) == 3

        run(main())

    @pytest.mark.parametrize(
        ("limit", "expected", "requests"), [(None, 7, 3), (0, 0, 0), (1, 1, 1), (3, 3, 1), (4, 4, 2), (99, 7, 3)]
    )
    @EVERY_KIND
    def test_collects_as_much_as_asked_with_no_request_too_many(
        self, kind: str, limit: int | None, expected: int, requests: int
    ) -> None:
        server = ListServer(kind, rows(7))
        assert ids(run(pager(server, 3).collect(limit))) == rows(expected)
        assert len(server.asked) == requests

    @pytest.mark.parametrize("limit", [-1, True, 1.5, "2"])
    async def test_refuses_a_limit_that_is_no_count(self, limit: Any) -> None:
        server = ListServer("calendar", [1])
        with pytest.raises(InvalidRequestError, match="limit") as caught:
            await pager(server).collect(limit)
        assert caught.value.argument == "limit"
        assert server.asked == []

    def test_the_first_record_costs_one_request(self) -> None:
        async def main() -> None:
            server = ListServer("calendar", rows(5))
            first = await pager(server).first()
            assert ids([first]) == [1]
            await settled()
            assert len(server.asked) == 1

        run(main())

    @pytest.mark.parametrize("start", [aiter, methodcaller("pages")])
    def test_tasks_share_an_iterator_and_no_record_is_lost_or_doubled(self, start: Callable[[Pager[Any]], Any]) -> None:
        async def main() -> None:
            server = ListServer("mine", rows(50), latency=1)
            shared, taken = start(pager(server, 4)), list[int]()

            async def take() -> None:
                async for one in shared:
                    taken.extend(ids([one] if start is aiter else one.items))
                    await asyncio.sleep(0.3)

            await asyncio.gather(*(take() for _ in range(4)))
            assert sorted(taken) == rows(50)
            assert len(server.asked) == 13

        run(main())

    def test_many_records_in_one_pass(self) -> None:
        server = ListServer("leads", rows(30_000))
        assert ids(run(pager(server, 100).collect())) == rows(30_000)
        assert len(server.asked) <= 306


class TestPrefetch:
    @pytest.mark.parametrize(("fetching", "seconds"), [(1.0, 8.0), (0.25, 7.25), (2.0, 15.0)])
    def test_reading_overlaps_fetching_and_costs_the_slower_of_both(self, fetching: float, seconds: float) -> None:
        async def main() -> None:
            server = ListServer("mine", rows(19), latency=fetching)
            async for _ in pager(server, 3).pages():
                await asyncio.sleep(1.0)
            assert now() == pytest.approx(seconds)
            assert server.most_under_way == 1

        run(main())

    @pytest.mark.parametrize("prefetch", [0, 1])
    @EVERY_KIND
    def test_no_more_pages_are_asked_for_ahead(self, kind: str, prefetch: int) -> None:
        async def main() -> None:
            server, count = ListServer(kind, rows(19), latency=1.0), 0
            async for _ in pager(server, prefetch=prefetch).pages():
                count += 1
                await asyncio.sleep(5)
                assert len(server.asked) <= count + prefetch
            assert server.most_under_way == 1

        run(main())

    @pytest.mark.parametrize("kind", ["leads", "calendar", "calendar, newest first"])
    def test_pages_are_fetched_side_by_side_where_the_total_is_known(self, kind: str) -> None:
        async def main() -> None:
            server = ListServer(kind, rows(801), latency=1.0)
            assert ids(await pager(server, 40, prefetch=5).collect()) == rows(801)
            assert server.most_under_way == 5
            assert now() <= 7
            assert len(server.asked) <= 22

        run(main())

    @EVERY_KIND
    def test_pages_come_one_after_another_where_it_is_not(self, kind: str) -> None:
        server = ListServer(kind, rows(19), latency=1.0, total=lambda _: None)
        assert ids(run(pager(server, prefetch=5).collect())) == rows(19)
        assert server.most_under_way == 1

    @pytest.mark.parametrize("kind", ["leads", "calendar"])
    def test_a_list_that_ends_early_drops_what_was_asked_side_by_side(self, kind: str) -> None:
        async def main() -> None:
            server = ListServer(kind, rows(40), latency=1.0)
            server.before = lambda number: server.rows.__delitem__(slice(8, None)) if number == 2 else None
            assert ids(await pager(server, 4, prefetch=4).collect()) == rows(8)
            assert others() == set()

        run(main())


class Unwelcome(Exception):  # noqa: N818 - stands for whatever a loop's body raises
    pass


async def break_out(pager: Pager[Any]) -> None:
    async for _ in pager:
        break


async def raise_out(pager: Pager[Any]) -> None:
    async def body() -> None:
        async for _ in pager:
            raise Unwelcome

    with pytest.raises(Unwelcome):
        await body()


async def be_cancelled_in_the_body(pager: Pager[Any]) -> None:
    async def body() -> None:
        async for _ in pager:
            await asyncio.sleep(100)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(body(), 1.5)


async def be_cancelled_in_the_wait(pager: Pager[Any]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pager.collect(), 1.5)


async def begun(pager: Pager[Any]) -> PageIterator[Any]:
    pages = pager.pages()
    await anext(pages)
    await asyncio.sleep(0.5)
    return pages


async def drop_the_pages(pager: Pager[Any]) -> None:
    await begun(pager)


async def leave_the_block(pager: Pager[Any]) -> None:
    async with pager:
        pages = await begun(pager)
    assert [page async for page in pages] == []


async def close_it(pager: Pager[Any]) -> None:
    pages = await begun(pager)
    await pager.aclose()
    await pager.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pages)


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
            server = ListServer("calendar", rows(400), latency=1.0)
            await leave(pager(server, 40, prefetch))
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
            server = ListServer("calendar", rows(40), before=raising(ServerError(status=500), at=1))
            await begun(pager(server))
            assert len(server.asked) == 2
            await settled()

        run(main())

    def test_an_iterator_may_outlive_its_loop(self) -> None:
        pages = run(begun(pager(ListServer("calendar", rows(40), latency=1.0))))
        del pages
        gc.collect()  # the fixture looks for what asyncio then says

    def test_what_arrives_after_closing_is_not_yielded(self) -> None:
        async def main() -> None:
            server = ListServer("calendar", rows(40), latency=1.0)
            whole = pager(server)
            task = asyncio.ensure_future(whole.collect())
            await asyncio.sleep(1.5)
            await whole.aclose()
            assert ids(await task) == [1, 2]
            await settled()
            assert others() == set()
            assert len(server.asked) == 2

        run(main())

    @pytest.mark.parametrize("start", [methodcaller("pages"), aiter])
    def test_an_iterator_may_be_closed_by_itself(self, start: Callable[[Pager[Any]], Any]) -> None:
        async def main() -> None:
            server = ListServer("calendar", rows(40), latency=1.0)
            whole = pager(server)
            other = whole.pages()
            async with aclosing(start(whole)) as iterator:
                await anext(iterator)
                await asyncio.sleep(0.5)
            await settled()
            assert others() == set()
            assert server.cancelled == 1
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)
            assert ids((await anext(other)).items) == [1, 2]

        run(main())

    def test_closing_ends_every_iterator_and_leaves_the_pager_usable(self) -> None:
        async def main() -> None:
            whole = pager(ListServer("calendar", rows(5)))
            iterators = [await begun(whole) for _ in range(2)]
            await whole.aclose()
            for iterator in iterators:
                assert [page async for page in iterator] == []
            assert ids(await whole.collect()) == rows(5)

        run(main())


class TestFailure:
    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    @EVERY_KIND
    def test_in_the_middle_carries_the_cursor_to_go_on_from(self, kind: str, prefetch: int) -> None:
        async def main() -> None:
            cause = OSError("the line is dead")
            failure = ServerError(status=502, message="bad gateway")
            failure.__cause__ = cause
            server = ListServer(kind, rows(99), latency=1.0, before=raising(failure, at=3))
            whole = pager(server, 9, prefetch)
            taken, error = await read_up_to_an_error(whole)
            assert taken == rows(len(taken))
            assert 99 > len(taken) >= 9
            assert isinstance(error, ServerError)
            assert error.__cause__ is cause
            await settled()
            assert others() == set()
            assert taken + ids(await whole.resume(error.cursor).collect()) == rows(99)

        run(main())

    @pytest.mark.parametrize("limit", [None, 5])
    @EVERY_KIND
    def test_of_what_is_collected_carries_where_that_began(self, kind: str, limit: int | None) -> None:
        async def main() -> None:
            server = ListServer(kind, rows(12))
            whole = pager(server)
            first = await anext(whole.pages())
            for part, expected in ((whole, rows(12)), (whole.resume(first.cursor), rows(12, 3))):
                server.asked.clear()
                server.before = raising(ServerError(status=502), at=2)
                with pytest.raises(ServerError) as caught:
                    await part.collect(limit)
                assert caught.value.cursor == part.cursor
                assert ids(await whole.resume(caught.value.cursor).collect()) == expected

        run(main())

    async def test_at_the_start_carries_no_cursor(self) -> None:
        with pytest.raises(NotFoundError) as caught:
            await pager(ListServer("calendar", [1], before=raising(NotFoundError(status=404)))).collect()
        assert caught.value.cursor is None

    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    @EVERY_KIND
    def test_is_not_the_end_the_same_iterator_goes_on(self, kind: str, prefetch: int) -> None:
        async def main() -> None:
            server = ListServer(kind, rows(99), latency=1.0)
            server.before = lambda number: raising(ServerError(status=500))(0) if number % 3 == 2 else None
            pages, taken, failures = pager(server, 9, prefetch).pages(), list[int](), 0
            while True:
                try:
                    await read(pages, taken)
                    break
                except ServerError:
                    failures += 1
            assert taken == rows(99)
            assert failures > 1

        run(main())

    def test_of_another_kind_passes_as_it_is(self) -> None:
        async def main() -> None:
            server = ListServer("calendar", rows(400), latency=1.0)
            pages = pager(server, 40, prefetch=4).pages()
            await anext(pages)
            server.before = raising(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await anext(pages)
            await settled()
            assert others() == set()

        run(main())


async def read_from_every_page(make: Callable[[], ListServer], page_size: int) -> None:
    whole = make().rows
    pages = [page async for page in pager(make(), page_size).pages()]
    assert [row for page in pages for row in ids(page.items)] == whole
    count = 0
    for page in pages:
        count += len(page)
        server = make()
        assert ids(await pager(server, page_size).resume(page.cursor).collect()) == whole[count:]
        assert page.has_more == (server.asked != [])


class TestResume:
    @given(
        kind=st.sampled_from(ALL_KINDS),
        count=st.integers(0, 30),
        page_size=st.integers(1, 9),
        total=st.sampled_from([-1, 0, 1, 15, 24, "exact"]),
        options=st.fixed_dictionaries({"most": st.sampled_from([None, 12])} | dict.fromkeys(FLAGS, st.booleans())),
    )
    def test_goes_on_behind_any_page(
        self, kind: str, count: int, page_size: int, total: Any, options: dict[str, Any]
    ) -> None:
        if not options["is_dated"]:
            options["tells_size"], total = True, "exact"  # with no times there is nothing else to go by

        def make() -> ListServer:
            told = (lambda many: many) if total == "exact" else (lambda _: total)
            return ListServer(kind, rows(count), total=told, **options)

        run(read_from_every_page(make, page_size))

    def test_one_scroll_id_may_serve_every_page(self) -> None:
        server = ListServer("leads, scroll", rows(11), one_scroll_id=True)
        assert ids(run(pager(server).collect())) == rows(11)

    @pytest.mark.parametrize("cursor", [7, b"7", "", "-1", "x", "1:2", "²", "9" * 40, "i1.x", "o1."])
    @pytest.mark.parametrize("kind", [*ALL_KINDS, "tasks"])
    def test_refuses_what_is_no_cursor_at_once(self, kind: str, cursor: Any) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            pager(ListServer(kind)).resume(cursor)
        assert caught.value.argument == "cursor"

    @EVERY_KIND
    async def test_refuses_a_cursor_of_another_list(self, kind: str) -> None:
        page = await anext(pager(ListServer(kind, rows(9))).pages())
        others = [other for other in ALL_KINDS if other.partition(",")[0] != kind.partition(",")[0]]
        for other in [*others, "tasks"]:
            with pytest.raises(InvalidRequestError):
                pager(ListServer(other)).resume(page.cursor)

    async def test_of_a_list_in_one_answer_there_is_only_the_end(self) -> None:
        server = ListServer("tasks", [1, 2])
        whole = pager(server)
        [page] = [page async for page in whole.pages()]
        assert not page.has_more
        assert await whole.resume(page.cursor).collect() == []
        assert len(server.asked) == 1
        assert ids(await whole.resume(None).collect()) == [1, 2]


@define
class Endless:
    """Serves a page for every number of requests, whatever is asked for, and never ends."""

    kind: str
    page: Callable[[int], list[int]]
    total: int | None = None
    asked: list[Params] = field(factory=list[Params])

    async def __call__(self, params: Params) -> Any:
        shown = self.page(len(self.asked))
        self.asked.append(params)
        told = {"total": self.total, "limit": 2, "pageSize": 2, "scrollId": "again"}
        return {
            "tasks": [{"id": row} for row in shown],
            "data": {**told, "items": [{"id": f"{row}-task"} for row in shown]},
            "_metadata": told,
            "leads": [{"leadId": row} for row in shown],
        }


class TestRepeats:
    @pytest.mark.parametrize("is_inclusive", [True, False])
    @pytest.mark.parametrize("length", range(5))
    def test_a_page_size_of_one_works_with_either_kind_of_cursor(self, length: int, *, is_inclusive: bool) -> None:
        server = ListServer("mine", rows(length), is_inclusive=is_inclusive)
        assert ids(run(pager(server, 1).collect())) == rows(length)

    @pytest.mark.parametrize("total", [None, 2, 1_000_000])
    @EVERY_KIND
    def test_the_same_page_for_ever_ends_the_list(self, kind: str, total: int | None) -> None:
        server = Endless(kind, lambda _: [1, 2], total)
        assert ids(run(pager(server).collect())) == [1, 2]
        assert len(server.asked) < 20

    def test_the_same_page_for_ever_ends_with_a_warning_if_more_is_promised(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        run(pager(Endless("leads", lambda _: [1, 2], 9)).collect())
        assert "records less than the server promises" in caplog.text

    @pytest.mark.parametrize("circle", [6, 40])
    def test_a_circle_larger_than_what_is_remembered_is_an_error(self, circle: int) -> None:
        async def main() -> None:
            server = Endless(
                "leads, scroll", lambda number: rows(1000 * (number % circle + 1), number % circle * 1000 + 1)
            )
            taken, error = await read_up_to_an_error(pager(server))
            assert isinstance(error, DecodeError)
            assert str(error) == "GET /v1.0/leads: the list never ends: the server sends its pages in a circle"
            assert set(taken) == set(rows(circle * 1000))
            assert len(server.asked) < 4 * circle + 4
            assert await pager(server).resume(error.cursor).collect() == []

        run(main())

    @pytest.mark.parametrize("circle", [2, 3, 20])
    def test_pages_in_a_circle_end_or_fail_where_nothing_new_comes(self, circle: int) -> None:
        server = Endless("leads, scroll", lambda number: [number % circle * 2 + 1, number % circle * 2 + 2])
        taken, error = run(read_up_to_an_error(pager(server)))
        assert taken == rows(circle * 2)
        assert error is None or isinstance(error, DecodeError)
        assert len(server.asked) <= circle + 60

    def test_what_is_remembered_of_a_long_list_is_bounded(self) -> None:
        async def main() -> None:
            pages, most = pager(ListServer("leads", rows(12_000)), 100).pages(), 0
            async for _ in pages:
                most = max(most, len(pages._recent))
            assert most == RECENT_KEYS
            assert list(pages._recent)[-1] == 12_000

        run(main())


class TestTotals:
    @pytest.mark.parametrize("prefetch", [0, 1])
    @pytest.mark.parametrize("kind", ["leads", "calendar"])
    def test_that_count_more_than_is_shown_are_told(
        self, caplog: pytest.LogCaptureFixture, kind: str, prefetch: int
    ) -> None:
        server = ListServer(kind, rows(3), total=lambda count: count + 1)
        assert ids(run(pager(server, prefetch=prefetch).collect())) == rows(3)
        assert len(server.asked) < 6
        assert len(caplog.messages) == 1
        assert caplog.messages[0].endswith("1 records less than the server promises")

    @pytest.mark.parametrize("kind", ["leads", "calendar"])
    def test_that_a_full_page_exceeds_are_unknown(self, kind: str) -> None:
        async def main() -> None:
            pages = [page async for page in pager(ListServer(kind, rows(7), total=lambda _: 1), 3).pages()]
            assert [page.total for page in pages] == [None] * len(pages)

        run(main())


class TestBadRecords:
    @staticmethod
    def _server(kind: str = "mine") -> ListServer:
        return ListServer(kind, [11, 12, 13, 14, 15], bad={13: BAD | ({"id": "13-task"} if kind == "calendar" else {})})

    @pytest.mark.parametrize("kind", ["tasks", "mine"])
    def test_are_told_in_their_order(self, kind: str) -> None:
        told: list[DecodeError] = []
        server = ListServer(kind, rows(20), bad={row: {**BAD, "id": row} for row in rows(20)[::2]})
        assert ids(run(pager(server, 20, on_bad_record=told.append).collect())) == rows(20)[1::2]
        assert [error.record_id for error in told] == rows(20)[::2]

    @pytest.mark.parametrize("prefetch", [0, 1, 4])
    @EVERY_KIND
    def test_raise_behind_what_came_before_them(self, kind: str, prefetch: int) -> None:
        async def main() -> None:
            bad = pager(self._server(kind), 2, prefetch)
            taken, error = await read_up_to_an_error(bad)
            assert taken == [11, 12]
            assert isinstance(error, DecodeError)
            assert (error.path or "").partition(".")[2].endswith(("startAt", "createTime"))
            assert str(error.record_id).removesuffix("-task") == "13"
            assert error.request == bad.strategy.request
            await settled()
            assert others() == set()
            skipping = evolve(bad, on_bad_record="skip").resume(error.cursor)
            assert taken + ids(await skipping.collect()) == [11, 12, 14, 15]

        run(main())

    async def test_that_begin_the_list_raise_without_a_page(self) -> None:
        server = ListServer("mine", [13, 14], bad={13: BAD})
        for begin in (pager(server).first, pager(server).collect):
            with pytest.raises(DecodeError) as caught:
                await begin()
            assert caught.value.cursor is None

    def test_in_the_first_page_leave_its_start_as_the_cursor(self) -> None:
        async def main() -> None:
            pages = pager(self._server(), 3).pages()
            page = await anext(pages)
            assert ids(page.items) == [11, 12]
            assert page.cursor is None
            for _ in range(2):  # asked for again, it raises again
                with pytest.raises(DecodeError):
                    await anext(pages)

        run(main())

    def test_are_skipped_with_a_line_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "lofty_async"):
            assert ids(run(pager(self._server(), on_bad_record="skip").collect())) == [11, 12, 14, 15]
        assert len(caplog.messages) == 1
        assert "startAt (record 13)" in caplog.text

    @EVERY_KIND
    def test_are_told_once_to_a_function(self, kind: str) -> None:
        told: list[DecodeError] = []
        server = self._server(kind)
        server.repeats_last_page = True
        assert ids(run(pager(server, on_bad_record=told.append).collect())) == [11, 12, 14, 15]
        assert len(told) == 1

    def test_a_function_that_raises_loses_no_record(self) -> None:
        async def main() -> None:
            told: list[DecodeError] = []

            def refuse_the_first(error: DecodeError) -> None:
                told.append(error)
                if len(told) == 1:
                    raise Unwelcome

            pages = pager(self._server(), 5, on_bad_record=refuse_the_first).pages()
            with pytest.raises(Unwelcome):
                await anext(pages)
            assert ids((await anext(pages)).items) == [11, 12, 14, 15]

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
            server = ListServer("mine", rows(17, 11), bad={14: {**BAD, "id": 14}})
            for refuse in (as_it_is, as_another):
                refusing = pager(server, 2, prefetch, refuse)
                taken, error = await read_up_to_an_error(refusing)
                assert taken == [11, 12]
                assert error is not None
                await settled()
                assert others() == set()
                skipping = evolve(refusing, on_bad_record="skip").resume(error.cursor)
                assert ids(await skipping.collect()) == [13, 15, 16, 17]

        run(main())

    @pytest.mark.parametrize(("kind", "page_size"), [("tasks", 1), ("mine", 2), ("mine", 5)])
    async def test_behind_the_limit_are_not_reached(self, kind: str, page_size: int) -> None:
        bad = pager(self._server(kind), page_size)
        assert ids(await bad.collect(1)) == [11]
        assert ids(await bad.collect(2)) == [11, 12]
        with pytest.raises(DecodeError) as caught:
            await bad.collect(3)
        assert (caught.value.record_id, caught.value.cursor) == (13, None)
        assert ids(await evolve(bad, on_bad_record="skip").collect(3)) == [11, 12, 14]

    @pytest.mark.parametrize("junk", [None, 7, "x", [], {"content": "no id"}])
    @pytest.mark.parametrize("policy", ["skip", "raise"])
    def test_with_no_id_to_go_on_from_do_not_seem_to_be_the_end(self, junk: Any, policy: OnBadRecord) -> None:
        async def main() -> None:
            server = ListServer("mine", rows(9), bad=dict.fromkeys(rows(5, 2), junk))
            taken, error = await read_up_to_an_error(pager(server, 3, on_bad_record=policy))
            assert taken == [1]
            assert isinstance(error, DecodeError)
            assert (error.path or "").startswith("tasks[")

        run(main())

    def test_without_an_id_that_fill_a_page_are_an_error(self) -> None:
        server = ListServer("mine", rows(9), bad=dict.fromkeys(rows(9)))
        with pytest.raises(DecodeError, match=r"tasks\[0\]"):
            run(pager(server, 3, on_bad_record="skip").collect())

    @pytest.mark.parametrize("kind", ["calendar", "calendar, newest first", "leads"])
    def test_without_an_id_that_fill_a_page_are_passed_by_number(self, kind: str) -> None:
        shown = rows(12)
        server = ListServer(kind, shown if kind != "calendar, newest first" else shown[::-1])
        server.bad = {row: {"content": f"{row}, no id"} for row in server.rows[:6]}
        assert ids(run(pager(server, 3, on_bad_record="skip").collect())) == server.rows[6:]


class TestWrongShapes:
    @pytest.mark.parametrize(
        ("kind", "body", "path"),
        [
            ("mine", None, None),
            ("mine", [], "the answer"),
            ("mine", "tasks", "the answer"),
            ("mine", {"tasks": {"id": 1}}, "tasks"),
            ("mine", {"tasks": {}}, "tasks"),
            ("mine", {"tasks": 0}, "tasks"),
            ("tasks", {"tasks": "none"}, "tasks"),
            ("tasks", {"message": "down for maintenance"}, "tasks"),
            ("calendar", None, None),
            ("calendar", {"data": []}, "data"),
            ("calendar", {"data": {"items": 5}}, "data.items"),
            ("leads", None, None),
            ("leads", {"leads": {"leadId": 5}}, "leads"),
            ("leads", {"leads": [], "_metadata": [1]}, "_metadata"),
        ],
    )
    def test_are_errors_that_name_path_and_call(self, kind: str, body: Any, path: str | None) -> None:
        async def fetch(_: Params) -> Any:
            return body

        wrong = pager(fetch, kind=kind)
        with pytest.raises(DecodeError) as caught:
            run(wrong.collect())
        assert caught.value.path == path
        assert caught.value.request == wrong.strategy.request

    @pytest.mark.parametrize("kind", ["mine", "tasks"])
    @pytest.mark.parametrize(
        "body", [{}, {"tasks": None}, {"tasks": ""}, {"tasks": []}, {"tasks": [], "message": "ok"}, {"total": 0}]
    )
    def test_nothing_is_said_in_several_ways(self, kind: str, body: Any) -> None:
        async def fetch(_: Params) -> Any:
            return body

        assert run(pager(fetch, kind=kind).collect()) == []


class TestOverSockets:
    @pytest.mark.parametrize("cursor_inclusive", [False, True])
    async def test_my_tasks_come_once_with_either_kind_of_cursor(self, *, cursor_inclusive: bool) -> None:
        async with (
            Sandbox(3, 9, cursor_inclusive=cursor_inclusive) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
        ):
            whole = ids(await lofty.tasks.mine(page_size=100).collect())
            assert len(whole) == len(set(whole)) > 20
            for page_size in (1, 7):
                assert ids(await lofty.tasks.mine(page_size=page_size).collect()) == whole

    @pytest.mark.parametrize("scroll", [True, False])
    async def test_leads_go_on_behind_every_page(self, *, scroll: bool) -> None:
        async with Sandbox(20, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            leads = lofty.leads.list(page_size=5, scroll=scroll)
            pages = [page async for page in leads.pages()]
            for count in range(1, len(pages) + 1):
                before = [row for page in pages[:count] for row in ids(page.items)]
                rest = ids(await leads.resume(pages[count - 1].cursor).collect())
                assert before + rest == list(sandbox.state.leads)

    async def test_a_client_closed_in_the_middle_is_a_failure_with_a_cursor(self) -> None:
        async with Sandbox(20, 1) as sandbox:
            lofty = LoftyClient(sandbox.auth, base_url=sandbox.url)
            pages = lofty.leads.list(page_size=5, prefetch=0).pages()
            first = await anext(pages)
            await lofty.close()
            with pytest.raises(ClientClosedError) as caught:
                await anext(pages)
            assert caught.value.cursor == first.cursor

    async def test_errors_of_a_list_are_the_sdks_own(self) -> None:
        async with Sandbox(1, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            with pytest.raises(LoftyError):
                await lofty.tasks.list(999).collect()
