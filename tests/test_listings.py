"""From cursor to parameters, from body to records: each kind of list by itself, and free slots over long ranges."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import LoftyClient
from lofty_async.errors import DecodeError, InvalidRequestError
from lofty_async.listings import (
    LEAD_TIME,
    LONGEST_RANGE,
    AfterIdListing,
    NumberedListing,
    OffsetListing,
    Place,
    SingleListing,
    SlotListing,
    part,
)
from lofty_async.models import CalendarEntry, Lead, MeetingSlot, Task, TaskV1
from lofty_async.paging import Pager
from lofty_async.sandbox import Sandbox
from lofty_async.times import epoch_ms
from lofty_async.wire import Params
from tests.virtual import run

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
CALL = "GET /v2.0/calendar/meetings/available"


class TestPart:
    @pytest.mark.parametrize(
        ("body", "path", "value"),
        [
            ({"data": {"id": 5}}, ("data", "id"), 5),
            ({"data": None}, ("data", "id"), None),
            ({}, ("data", "id"), None),
            (None, ("data",), None),
            ([1], (), [1]),
        ],
    )
    def test_is_what_stands_at_the_path_or_none(self, body: Any, path: tuple[str, ...], value: Any) -> None:
        assert part(body, path, "GET /x") == value

    @pytest.mark.parametrize(
        ("body", "path", "place"), [([], ("data",), "the answer"), ({"a": {"b": 5}}, ("a", "b", "c"), "a.b")]
    )
    def test_names_what_is_no_object(self, body: Any, path: tuple[str, ...], place: str) -> None:
        with pytest.raises(DecodeError) as caught:
            part(body, path, "GET /x")
        assert (caught.value.path, caught.value.request) == (place, "GET /x")


class TestById:
    listing = AfterIdListing(kind=Task, request="GET /mine", at=("tasks",), page_size=2)

    def test_begins_at_zero_and_goes_on_behind_the_last_id(self) -> None:
        assert self.listing.params(None) == {"currentId": "0", "limit": "2"}
        assert self.listing.params("9") == {"currentId": "9", "limit": "2"}

    @pytest.mark.parametrize(
        ("records", "following"),
        [
            ([], None),
            ([{"id": 5}], None),
            ([{"id": 5}, {"id": 4}], "4"),
            ([{"id": 5}, {"id": "4"}], "4"),
            ([{"id": 5}, {"id": 4, "endAt": "soon"}], "4"),
            ([{"id": 5}, {"content": "no id"}], "5"),
            ([{"id": 5}, None], "5"),
        ],
    )
    def test_a_full_page_is_followed_by_another(self, records: list[Any], following: str | None) -> None:
        assert self.listing.read(None, {"tasks": records}).next == following

    def test_knows_the_record_that_its_cursor_names(self) -> None:
        assert [*self.listing.known_at("9"), *self.listing.known_at(None)] == [9]


class TestWhole:
    def test_a_bare_array_is_a_list_of_one_page(self) -> None:
        listing = SingleListing(kind=TaskV1, request="GET /v1.0/tasks", at=())
        fetched = listing.read(None, [{"id": 1}, {"id": "x"}])
        assert [task.id for task in fetched.items] == [1]
        assert [bad.error.path for bad in fetched.bad] == ["[1].id"]
        assert fetched.next is None


class TestNumbered:
    listing = NumberedListing(kind=CalendarEntry, request="GET /v2.0/calendar", at=("data", "items"), page_size=2)

    @pytest.mark.parametrize(
        ("cursor", "told", "count", "following"),
        [
            (None, {"total": 5, "pageSize": 2}, 2, "1:2"),
            ("1:2", {"total": 5, "pageSize": 2}, 2, "2:2"),
            ("2:2", {"total": 5, "pageSize": 2}, 1, None),
            ("1:2", {"total": 4, "pageSize": 2}, 2, None),
            (None, {"total": 5, "pageSize": 1}, 1, "1:2"),
            (None, {"total": 5}, 1, "1:2"),
            ("4:2", {"total": 5}, 1, None),
            (None, {"total": 5}, 0, None),
            (None, {}, 2, "1:2"),
            (None, {"total": "5", "pageSize": True}, 2, "1:2"),
            ("3:2", {"pageSize": 2}, 1, None),
            (None, {"total": -1, "pageSize": -1}, 0, None),
            (None, {"total": 0, "pageSize": 2}, 2, "1:2"),
            ("1:2", {"total": 3, "pageSize": 2}, 2, "2:2"),
            ("1:2", {"total": 0, "pageSize": 2}, 1, None),
        ],
    )
    def test_goes_on_as_far_as_the_total(
        self, cursor: str | None, told: dict[str, Any], count: int, following: str | None
    ) -> None:
        items = [{"id": f"{number}-task"} for number in range(count)]
        assert self.listing.read(cursor, {"data": {**told, "items": items}}).next == following

    @pytest.mark.parametrize(
        ("most", "cursors"),
        [(0, []), (1, ["1:2"]), (3, ["1:2", "2:2", "3:2"]), (9, ["1:2", "2:2", "3:2", "4:2"])],
    )
    def test_all_pages_that_follow_are_known_from_the_total(self, most: int, cursors: list[str]) -> None:
        items = [{"id": "1-task"}, {"id": "2-task"}]
        fetched = self.listing.read(None, {"data": {"total": 9, "pageSize": 2, "items": items}})
        assert self.listing.ahead(fetched, most) == cursors

    @pytest.mark.parametrize(
        ("total", "count", "believed"), [(5, 2, 5), (4, 2, 4), (3, 2, None), (0, 2, None), (3, 1, 3), (0, 0, 0)]
    )
    def test_a_total_is_believed_unless_a_full_page_shows_more(
        self, total: int, count: int, believed: int | None
    ) -> None:
        items = [{"id": f"{number}-task"} for number in range(count)]
        assert self.listing.read("1:2", {"data": {"total": total, "pageSize": 2, "items": items}}).total == believed

    def test_refuses_the_cursor_of_another_page_size_and_says_which(self) -> None:
        with pytest.raises(InvalidRequestError, match="page_size=5, not 2") as caught:
            self.listing.params("3:5")
        assert caught.value.argument == "cursor"
        assert self.listing.params("3:2") == {"page": "3", "pageSize": "2"}


class TestByOffset:
    listing = OffsetListing(kind=Lead, request="GET /v1.0/leads", at=("leads",), page_size=2)
    scrolling = OffsetListing(kind=Lead, request="GET /v1.0/leads", at=("leads",), page_size=2, scroll=True)

    @staticmethod
    def _body(*ids: int, key: str = "_metadata", **told: Any) -> dict[str, Any]:
        return {key: told, "leads": [{"leadId": number} for number in ids]}

    def test_both_names_of_the_metadata_are_read(self) -> None:
        for key in ("_metadata", "get_metadata"):
            assert self.listing.read(None, self._body(1, 2, key=key, total=9)).total == 9

    @pytest.mark.parametrize(
        "place", [Place(), Place(7), Place(7, 9), Place(7, 0, 9, "5"), Place(7, None, 0, "", "a:b")]
    )
    def test_a_cursor_is_a_place_written_down(self, place: Place) -> None:
        assert Place.of(str(place)) == place

    def test_a_scroll_id_takes_the_place_of_the_offset(self) -> None:
        fetched = self.scrolling.read(None, self._body(1, 2, total=9, scrollId="a:b"))
        assert self.scrolling.params(fetched.next) == {"limit": "2", "scrollId": "a:b"}
        assert self.listing.params(self.listing.read(None, self._body(1, 2, total=9, scrollId="a")).next) == {
            "limit": "2",
            "offset": "2",
        }

    def test_a_scroll_without_a_further_id_is_over(self) -> None:
        cursor = self.scrolling.read(None, self._body(1, 2, total=9, scrollId="a")).next
        assert self.scrolling.read(cursor, self._body(3, 4, total=9)).next is None

    def test_the_page_before_served_again_is_the_end(self) -> None:
        cursor = self.listing.read(None, self._body(1, 2)).next
        fetched = self.listing.read(cursor, self._body(1, 2))
        assert (fetched.items, fetched.next) == ([], None)

    def test_goes_back_by_as_many_rows_as_the_list_became_shorter(self) -> None:
        cursor = self.listing.read("4:9", self._body(5, 6, total=7)).next
        assert self.listing.params(cursor)["offset"] == "2"
        again = self.listing.read(cursor, self._body(3, 4, total=7))
        assert again.is_again
        assert self.listing.params(again.next)["offset"] == "4"

    def test_does_not_go_back_each_time_that_an_estimated_total_wavers(self) -> None:
        rows, cursor, asked = range(1, 1001), None, 0
        while asked < 1000:
            start = int(str(self.listing.params(cursor)["offset"]))
            told = len(rows) + (-1) ** asked * 100
            fetched = self.listing.read(cursor, self._body(*rows[start : start + 2], total=told))
            asked, cursor = asked + 1, fetched.next
            if cursor is None:
                break
        assert asked < 700

    @pytest.mark.parametrize(("total", "believed"), [(9, 9), (6, 6), (5, None), (2, None), (1, None), (0, None)])
    def test_a_total_that_a_full_page_exceeds_is_unknown(self, total: int, believed: int | None) -> None:
        fetched = self.listing.read("4", self._body(5, 6, total=total, limit=2))
        assert fetched.total == believed
        assert (fetched.next is None) == (total == 6)

    def test_behind_a_short_page_it_is_over_whatever_the_total(self) -> None:
        assert self.listing.read("4", self._body(5, total=0, limit=2)).next is None


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
