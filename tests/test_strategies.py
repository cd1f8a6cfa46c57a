"""From cursor to parameters, from body to records and the next cursor: what no behaviour of a whole list shows."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lofty_async._cursor import START, Cursor
from lofty_async._strategies import MAX_PAGE, CursorPages, OffsetPages, TimePages, numbered
from lofty_async._wire import part
from lofty_async.errors import DecodeError, InvalidRequestError
from lofty_async.models import CalendarEntry, Lead, Task
from tests.changing import ids

TASKS = CursorPages(model=Task, request="GET /mine", at=("tasks",), page_size=3)
LEADS = OffsetPages(model=Lead, request="GET /leads", at=("leads",), page_size=3)
SCROLL = OffsetPages(model=Lead, request="GET /leads", at=("leads",), page_size=3, scroll=True)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
CALENDAR = TimePages(model=CalendarEntry, request="GET /cal", at=("data", "items"), page_size=3, start=NOON, end=None)


def tasks(*numbers: int) -> dict[str, Any]:
    return {"tasks": [{"id": number} for number in numbers]}


def leads(*numbers: int, name: str = "_metadata", **told: Any) -> dict[str, Any]:
    return {name: told, "leads": [{"leadId": number} for number in numbers]}


def entries(*hours: int, **told: Any) -> dict[str, Any]:
    items = [{"id": f"{hour}-task", "startAt": f"2030-01-01T{hour}:00:00Z"} for hour in hours]
    return {"data": {**told, "items": items}}


class TestCursorPages:
    def test_ask_from_the_last_record_but_one_and_then_from_older_ones(self) -> None:
        assert TASKS.params(START) == {"currentId": "0", "limit": "3"}
        cursor = TASKS.read(START, tasks(9, 8, 7)).next
        asked = []
        for _ in range(4):
            assert cursor is not None
            asked.append(TASKS.params(cursor))
            cursor = TASKS.read(cursor, tasks()).next
        assert [params["currentId"] for params in asked] == ["8", "9", "8", "9"]
        assert {params["limit"] for params in asked} == {"4"}

    @pytest.mark.parametrize(
        ("shown", "fresh"),
        [
            ((7, 6, 5), [6, 5]),
            ((8, 7, 6), [6]),
            ((6, 5, 4), None),
            ((9, 8, 7), None),
            ((1, 7, 6), [1, 6]),
            ((6, 7), [6]),
        ],
    )
    def test_a_page_that_does_not_touch_is_discarded(self, shown: tuple[int, ...], fresh: list[int] | None) -> None:
        cursor = TASKS.read(START, tasks(9, 8, 7)).next
        assert cursor is not None
        read = TASKS.read(cursor, tasks(*shown))
        assert (None if read.missed else ids(read.records)) == fresh


class TestOffsetPages:
    def test_overlap_by_a_record_and_go_back_where_they_do_not_touch(self) -> None:
        cursor = LEADS.read(START, leads(1, 2, 3, total=9, name="get_metadata")).next
        assert cursor is not None
        assert LEADS.params(cursor) == {"limit": "4", "offset": "2"}
        shifted = LEADS.read(cursor, leads(5, 6, 7, 8, total=8))
        assert shifted.missed
        assert shifted.next is not None
        assert LEADS.params(shifted.next) == {"limit": "12", "offset": "0"}

    @pytest.mark.parametrize("answer", [leads(total=9), leads(4, total=9), leads(5, total=9)])
    def test_ask_again_for_a_page_that_is_empty_or_stale(self, answer: dict[str, Any]) -> None:
        cursor = LEADS.read(START, leads(4, 5, 6, total=9)).next
        assert cursor is not None
        again = LEADS.read(cursor, answer, {4, 5, 6})
        assert again.missed
        assert again.next is not None
        assert LEADS.params(again.next) == LEADS.params(cursor)

    def test_a_scroll_id_takes_the_place_of_the_offset(self) -> None:
        cursor = SCROLL.read(START, leads(1, 2, 3, total=9, scrollId="a:b")).next
        assert cursor is not None
        assert SCROLL.params(cursor) == {"limit": "3", "scrollId": "a:b"}
        assert SCROLL.parse(cursor.text("o")) == cursor
        following = SCROLL.read(cursor, leads(4, 5, 6, total=9)).next
        assert following is not None
        assert SCROLL.params(following) == {"limit": "4", "offset": "5"}


class TestTimePages:
    def test_ask_from_a_second_before_the_last_start(self) -> None:
        assert CALENDAR.params(START) == {"page": "0", "pageSize": "3"}
        cursor = CALENDAR.read(START, entries(12, 13, 14, total=9)).next
        assert cursor is not None
        asked = {"page": "0", "pageSize": "4", "startTime": "2030-01-01T13:59:59+00:00"}
        assert CALENDAR.params(cursor) == asked
        with pytest.raises(InvalidRequestError):
            LEADS.parse(cursor.text("t"))

    @given(before=st.integers(0, 20_000), size=st.integers(1, MAX_PAGE), most=st.integers(50, MAX_PAGE))
    def test_a_page_by_number_begins_with_a_known_record_and_shows_others(
        self, before: int, size: int, most: int
    ) -> None:
        number, page_size = numbered(before, size, most)
        assert 1 <= page_size <= most
        assert number * page_size <= before
        assert (number + 1) * page_size > before + 1 or size == 0

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("hours", [-14, 0, 14])
    @pytest.mark.parametrize("start", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
    def test_go_on_from_entries_at_the_ends_of_the_calendar(self, start: str, hours: int, newest_first: bool) -> None:
        """They stand for "always" and "no end"; the first and the last year are beyond the calendar of other zones."""
        bound = NOON.astimezone(timezone(timedelta(hours=hours)))
        start_at, end_at = (None, bound) if newest_first else (bound, None)
        pages = evolve(CALENDAR, newest_first=newest_first, start=start_at, end=end_at)
        items = [{"id": f"{number}-task", "startAt": start} for number in range(3)]
        following = pages.read(START, {"data": {"items": items}}).next
        assert following is not None
        name = "endTime" if newest_first else "startTime"
        assert datetime.fromisoformat(str(pages.params(following).get(name, bound.isoformat()))).tzinfo

    @pytest.mark.parametrize(("since", "year"), [(-62_135_596_801_000, "0001"), (253_402_300_801_000, "9999")])
    def test_a_place_just_outside_the_calendar_is_asked_from_its_end(self, since: int, year: str) -> None:
        assert str(CALENDAR.params(Cursor(since=since))["startTime"])[:4] == year


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
    def test_is_the_value_at_the_path_or_none(self, body: Any, path: tuple[str, ...], value: Any) -> None:
        assert part(body, path, "GET /x") == value

    @pytest.mark.parametrize(
        ("body", "path", "place"), [([], ("data",), "the answer"), ({"a": {"b": 5}}, ("a", "b", "c"), "a.b")]
    )
    def test_names_the_value_that_is_no_object(self, body: Any, path: tuple[str, ...], place: str) -> None:
        with pytest.raises(DecodeError) as caught:
            part(body, path, "GET /x")
        assert (caught.value.path, caught.value.request) == (place, "GET /x")
