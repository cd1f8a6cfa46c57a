"""From cursor to parameters, from body to records: each kind of list by itself."""

from typing import Any

import pytest
from lofty_async.listings import (
    AfterIdListing,
    NumberedListing,
    OffsetListing,
    Place,
    SingleListing,
)

from lofty_async.errors import DecodeError, InvalidRequestError
from lofty_async.models import CalendarEntry, Lead, Task, TaskV1


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
    listing = SingleListing(kind=Task, request="GET /v2.0/tasks", at=("tasks",))

    @pytest.mark.parametrize("body", [{}, {"tasks": None}, {"tasks": ""}, {"tasks": [], "message": "ok"}, {"total": 0}])
    def test_nothing_is_said_in_several_ways(self, body: dict[str, Any]) -> None:
        assert self.listing.read(None, body).items == []

    def test_a_message_in_place_of_the_list_is_not_taken_for_nothing(self) -> None:
        with pytest.raises(DecodeError, match="expected a list at tasks") as caught:
            self.listing.read(None, {"message": "down for maintenance"})
        assert caught.value.request == "GET /v2.0/tasks"

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
