"""How free slots are paged."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from lofty_async.paging import Pager
from lofty_async.slots import (
    LEAD_TIME,
    LONGEST_RANGE,
    SlotListing,
)

from lofty_async import LoftyClient
from lofty_async._times import epoch_ms
from lofty_async._wire import Params
from lofty_async.errors import DecodeError, InvalidRequestError
from lofty_async.models import MeetingSlot
from lofty_async.sandbox import Sandbox
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
    asked: list[Params] = field(factory=list[Params])

    async def __call__(self, params: Params) -> Any:
        await asyncio.sleep(0)
        self.asked.append(params)
        start, end = (datetime.fromisoformat(str(params[name])) for name in ("startTime", "endTime"))
        assert timedelta(0) < end.astimezone(UTC) - start.astimezone(UTC) <= LONGEST_RANGE
        free = [(since, till) for since, till in self.slots if start <= since and till <= end]
        shown = free[: min(self.most, int(str(params["limit"])))]
        told = {"total": len(free)} if self.tells_total else {}
        return {"data": {**told, "slots": [slot(*times) for times in shown]}}


def slot(since: datetime, till: datetime) -> dict[str, Any]:
    return {"startTime": since.isoformat(), "endTime": till.isoformat()}


def free_times(start: datetime, end: datetime, limit: int = 100) -> SlotListing:
    return SlotListing(request=CALL, start=start, end=end, limit=limit, now=lambda: NOW)


def as_times(slots: list[MeetingSlot]) -> list[tuple[datetime, datetime]]:
    return [(each.start_at, each.end_at) for each in slots]


class TestSlots:
    @given(
        starts=st.lists(st.integers(0, 300 * 48), unique=True, max_size=30),
        length=st.integers(1, 47),
        days=st.integers(1, 300),
        limit=st.integers(1, 6),
        most=st.integers(2, 9),
    )
    def test_none_is_lost_or_doubled_and_reading_resumes_behind_every_page(
        self, starts: list[int], length: int, days: int, limit: int, most: int
    ) -> None:
        half_hour = timedelta(minutes=30)
        slots = [(NOW + start * half_hour, NOW + (start + length) * half_hour) for start in sorted(starts)]
        end = NOW + timedelta(days=days)
        expected = [times for times in slots if times[1] <= end]

        async def main() -> None:
            pager = Pager(free_times(NOW, end, limit), Slots(slots, most))
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
            pager = Pager(free_times(NOW, NOW + timedelta(days=2), limit), server)
            assert as_times(await pager.collect()) == slots

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
            server = Slots([])
            assert await Pager(free_times(start, end), server).collect() == []
            assert len(server.asked) == questions
            assert str(server.asked[0]["startTime"]) == start.isoformat()
            assert str(server.asked[-1]["endTime"]) == end.isoformat()

        run(main())

    def test_a_slot_across_the_seam_of_two_questions_is_found(self) -> None:
        seam = NOW + LONGEST_RANGE
        across = (seam - timedelta(hours=1), seam + timedelta(hours=1))

        async def main() -> None:
            pager = Pager(free_times(NOW, NOW + timedelta(days=200)), Slots([across]))
            assert as_times(await pager.collect()) == [across]

        run(main())

    def test_a_slot_across_the_seam_is_found_behind_an_answer_that_is_full_just_before_it(self) -> None:
        def hours(since: int, till: int) -> tuple[datetime, datetime]:
            return NOW + LONGEST_RANGE + timedelta(hours=since), NOW + LONGEST_RANGE + timedelta(hours=till)

        slots = [hours(-9, -6), hours(-8, 4), hours(-6, 0)]

        async def main() -> None:
            pager = Pager(free_times(NOW, NOW + timedelta(days=200), limit=2), Slots(slots))
            assert sorted(as_times(await pager.collect())) == slots

        run(main())

    def test_a_page_asked_for_late_begins_later_than_now(self) -> None:
        listing = free_times(NOW - timedelta(hours=2), NOW + timedelta(hours=2))
        passed = str(epoch_ms(NOW - timedelta(hours=1)))
        assert listing.params(passed)["startTime"] == (NOW + LEAD_TIME).isoformat()
        assert listing.params(None)["startTime"] == (NOW - timedelta(hours=2)).isoformat()

    def test_a_cursor_names_the_slots_that_come_again(self) -> None:
        hour, listing = timedelta(hours=1), free_times(NOW, NOW + timedelta(days=9), limit=3)
        times = [(NOW + hour, NOW + 2 * hour), (NOW + 3 * hour, NOW + 4 * hour), (NOW + 3 * hour, NOW + 5 * hour)]
        fetched = listing.read(None, {"data": {"slots": [slot(*each) for each in times]}})
        assert listing.params(fetched.next)["startTime"] == (NOW + 3 * hour).isoformat()
        assert [*listing.known_at(fetched.next)] == times[1:]
        assert [*listing.known_at(None)] == []

    def test_a_slot_that_ends_before_it_starts_does_not_spoil_the_cursor(self) -> None:
        listing, start = free_times(NOW, NOW + timedelta(days=9), limit=2), NOW + timedelta(hours=5)
        wrong = slot(start, datetime(1, 1, 2, tzinfo=UTC))
        assert listing.read(None, {"data": {"slots": [wrong, wrong]}}).next == str(epoch_ms(start))

    @pytest.mark.parametrize("cursor", ["x", "9" * 19, "1:2", "1:2:", "1:2:x", str(epoch_ms(NOW + timedelta(days=9)))])
    def test_a_cursor_that_is_foreign_or_behind_the_range_is_refused(self, cursor: str) -> None:
        pager = Pager(free_times(NOW, NOW + timedelta(days=9)), Slots([]))
        with pytest.raises(InvalidRequestError) as caught:
            pager.resume(cursor)
        assert caught.value.argument == "cursor"

    def test_bad_slots_that_fill_an_answer_do_not_hide_the_others(self) -> None:
        good = slot(NOW + timedelta(hours=5), NOW + timedelta(hours=6))
        bad = {"startTime": "soon", "endTime": good["endTime"]}
        listing = free_times(NOW, NOW + timedelta(days=1), limit=2)
        going_on = listing.read(None, {"data": {"slots": [good, bad]}}).next
        assert listing.params(going_on)["startTime"] == good["startTime"]
        with pytest.raises(DecodeError) as caught:
            listing.read(None, {"data": {"slots": [bad, bad]}})
        assert caught.value.path == "data.slots[0].startTime"

    async def test_a_year_of_them_comes_over_sockets(self) -> None:
        start = datetime.now(UTC) + timedelta(days=1)
        async with Sandbox(2, 1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            pager = lofty.calendar.slots(start=start, end=start + timedelta(days=365), limit=500)
            times = as_times(await pager.collect())
        assert times == sorted(set(times))
        assert 8 * 5 * 50 < len(times) < 8 * 5 * 54
        assert max(till for _, till in times) > start + timedelta(days=360)
