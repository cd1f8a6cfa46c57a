"""How free slots are paged."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import LoftyClient
from lofty_async._strategies import LEAD_TIME, LONGEST_RANGE, CursorPages, SlotWindows
from lofty_async._wire import Params
from lofty_async.errors import APIError, DecodeError, InvalidRequestError
from lofty_async.models import MeetingSlot
from lofty_async.pagination import Pager
from lofty_async.sandbox import Sandbox
from tests.changing import answering
from tests.virtual import run

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
CALL = "GET /v2.0/calendar/meetings/available"


@define
class Slots:
    """A server of free slots, with the limits that the contract gives it."""

    slots: list[tuple[datetime, datetime]]
    most: int = 10_000
    tells_total: bool = True
    now: datetime = NOW
    asked: list[Params] = field(factory=list[Params])

    async def __call__(self, params: Params) -> Any:
        await asyncio.sleep(0)
        self.asked.append(params)
        start, end = (datetime.fromisoformat(str(params[name])) for name in ("startTime", "endTime"))
        assert timedelta(0) < end.astimezone(UTC) - start.astimezone(UTC) <= LONGEST_RANGE
        if start < self.now:
            raise InvalidRequestError(status=400, name="INVALID_PARAMETER")
        free = [(since, till) for since, till in self.slots if start <= since and till <= end]
        shown = free[: min(self.most, int(str(params["limit"])))]
        told = {"total": len(free)} if self.tells_total else {}
        return {"data": {**told, "slots": [slot(*times) for times in shown]}}


def slot(since: datetime, till: datetime) -> dict[str, Any]:
    return {"startTime": since.isoformat(), "endTime": till.isoformat()}


def free_times(server: "Slots", start: datetime, end: datetime, limit: int = 100) -> Pager[MeetingSlot]:
    strategy = SlotWindows(request=CALL, start=start, end=end, page_size=limit, now=lambda: server.now)
    return Pager(strategy, answering(server))


def as_times(slots: list[MeetingSlot]) -> list[tuple[datetime, datetime]]:
    return [(each.start_at, each.end_at) for each in slots]


SLOTLESS: CursorPages[Any] = CursorPages(model=MeetingSlot, request=CALL, at=("tasks",), page_size=3)


class TestSlots:
    @given(
        starts=st.lists(
            st.tuples(st.integers(0, 300 * 48), st.integers(1, 2)), max_size=30, unique_by=lambda one: one[0]
        ),
        length=st.integers(1, 46),
        days=st.integers(1, 300),
        limit=st.integers(1, 6),
        most=st.integers(3, 9),
    )
    def test_none_is_lost_or_doubled_and_reading_resumes_behind_every_page(
        self, starts: list[tuple[int, int]], length: int, days: int, limit: int, most: int
    ) -> None:
        half_hour = timedelta(minutes=30)
        slots = [
            (NOW + start * half_hour, NOW + (start + length + longer) * half_hour)
            for start, together in sorted(starts)
            for longer in range(together)
        ]
        end = NOW + timedelta(days=days)
        expected = [times for times in slots if times[1] <= end]

        async def main() -> None:
            pager = free_times(Slots(slots, most), NOW, end, limit)
            pages = [page async for page in pager.pages()]
            assert [times for page in pages for times in as_times(page.items)] == expected
            for count, page in enumerate(pages, 1):
                before = [times for earlier in pages[:count] for times in as_times(earlier.items)]
                rest = as_times(await pager.resume(page.cursor).collect())
                assert [*before, *rest] == expected

        run(main())

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_overlapping_slots_are_walked_past_the_limit(self, limit: int) -> None:
        minutes = timedelta(minutes=15)
        slots = [(NOW + number * minutes, NOW + (number + 4) * minutes) for number in range(40)]

        async def main() -> None:
            server = Slots(slots, tells_total=False)
            assert as_times(await free_times(server, NOW, NOW + timedelta(days=2), limit).collect()) == slots

        run(main())

    @pytest.mark.parametrize(
        ("start", "end", "questions"),
        [
            (datetime(2026, 2, 1, tzinfo=LOS_ANGELES), datetime(2026, 5, 2, tzinfo=LOS_ANGELES), 1),
            (datetime(2026, 9, 1, tzinfo=LOS_ANGELES), datetime(2026, 11, 30, tzinfo=LOS_ANGELES), 2),
            (datetime(2026, 9, 1, tzinfo=LOS_ANGELES), datetime(2026, 11, 29, tzinfo=LOS_ANGELES), 1),
            (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC), 1),
            (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC), 2),
        ],
    )
    def test_ninety_days_are_counted_in_real_hours(self, start: datetime, end: datetime, questions: int) -> None:
        async def main() -> None:
            server = Slots([], now=start)
            assert await free_times(server, start, end).collect() == []
            assert len(server.asked) == questions
            assert str(server.asked[0]["startTime"]) == start.isoformat()
            assert str(server.asked[-1]["endTime"]) == end.isoformat()

        run(main())

    def test_a_slot_across_the_seam_of_two_questions_is_found(self) -> None:
        seam = NOW + LONGEST_RANGE
        across = (seam - timedelta(hours=1), seam + timedelta(hours=1))

        async def main() -> None:
            pager = free_times(Slots([across]), NOW, NOW + timedelta(days=200))
            assert as_times(await pager.collect()) == [across]

        run(main())

    def test_a_slot_across_the_seam_is_found_behind_an_answer_that_is_full_just_before_it(self) -> None:
        def hours(since: int, till: int) -> tuple[datetime, datetime]:
            return NOW + LONGEST_RANGE + timedelta(hours=since), NOW + LONGEST_RANGE + timedelta(hours=till)

        slots = [hours(-9, -6), hours(-8, 4), hours(-6, 0)]

        async def main() -> None:
            pager = free_times(Slots(slots), NOW, NOW + timedelta(days=200), limit=2)
            assert sorted(as_times(await pager.collect())) == slots

        run(main())

    @pytest.mark.parametrize("limit", [1, 2, 7])
    @pytest.mark.parametrize("together", [2, 3, 9])
    def test_slots_that_start_together_are_walked_past_the_limit(self, limit: int, together: int) -> None:
        hour = timedelta(hours=1)
        slots = [
            (NOW + start * hour, NOW + (start + length) * hour) for start in (1, 5) for length in range(1, together)
        ]

        async def main() -> None:
            pager = free_times(Slots(slots), NOW, NOW + timedelta(days=9), limit)
            assert as_times(await pager.collect()) == slots

        run(main())

    def test_more_slots_that_start_together_than_the_server_sends_are_an_error(self) -> None:
        slots = [(NOW, NOW + timedelta(hours=length)) for length in range(1, 9)]
        with pytest.raises(DecodeError, match="more slots start at 2026-01-05T12:00:00"):
            run(free_times(Slots(slots, most=4), NOW, NOW + timedelta(days=9), limit=3).collect())

    def test_what_has_passed_meanwhile_is_left_out(self) -> None:
        hour = timedelta(hours=1)
        slots = [(NOW + start * hour, NOW + (start + 1) * hour) for start in range(9)]

        async def main() -> None:
            server = Slots(slots)
            pages = free_times(server, NOW, NOW + timedelta(days=9), limit=3).pages()
            assert len(await anext(pages)) == 3
            server.now += 5 * hour - LEAD_TIME
            assert [times for page in [page async for page in pages] for times in as_times(page.items)] == slots[5:]

        run(main())

    def test_a_range_that_the_server_refuses_is_refused(self) -> None:
        server = Slots([], now=NOW + timedelta(days=10))
        with pytest.raises(APIError):
            run(free_times(server, NOW, NOW + timedelta(days=9)).collect())

    def test_a_slot_that_ends_before_it_starts_is_a_slot_like_others(self) -> None:
        wrong = (NOW + timedelta(hours=5), datetime(1, 1, 2, tzinfo=UTC))
        assert as_times(run(free_times(Slots([wrong]), NOW, NOW + timedelta(days=9), limit=2).collect())) == [wrong]

    async def test_a_cursor_that_is_foreign_or_behind_the_range_is_refused(self) -> None:
        hour = timedelta(hours=1)
        long = free_times(Slots([(NOW + n * hour, NOW + n * hour) for n in range(9)]), NOW, NOW + timedelta(days=9), 4)
        cursor = (await anext(long.pages())).cursor
        for pager in (free_times(Slots([]), NOW, NOW + 2 * hour), Pager(SLOTLESS, answering(Slots([])))):
            with pytest.raises(InvalidRequestError) as caught:
                pager.resume(cursor)
            assert caught.value.argument == "cursor"

    def test_bad_slots_that_fill_an_answer_do_not_hide_the_others(self) -> None:
        good = slot(NOW + timedelta(hours=5), NOW + timedelta(hours=6))
        bad = {"startTime": "soon", "endTime": good["endTime"]}

        async def fetch(_: Params) -> Any:
            return {"data": {"slots": [bad, bad]}}

        pager = free_times(Slots([]), NOW, NOW + timedelta(days=1), limit=2)
        with pytest.raises(DecodeError) as caught:
            run(evolve(pager, fetch=answering(fetch), on_bad_record="skip").collect())
        assert caught.value.path == "data.slots[0].startTime"

    async def test_a_year_of_them_comes_over_sockets(self) -> None:
        start = datetime.now(UTC) + timedelta(days=1)
        async with Sandbox(2, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            pager = lofty.calendar.slots(start=start, end=start + timedelta(days=365), limit=500)
            times = as_times(await pager.collect())
        assert times == sorted(set(times))
        assert 8 * 5 * 50 < len(times) < 8 * 5 * 54
        assert max(till for _, till in times) > start + timedelta(days=360)
