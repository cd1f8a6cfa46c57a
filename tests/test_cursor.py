"""The text of cursors: what is written is read again, and nothing else is."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Any
from zlib import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async._cursor import TAIL, Cursor, Key, Mark, Rows, Trail
from lofty_async.errors import InvalidRequestError
from tests.changing import KINDS, ChangingServer, pager
from tests.virtual import run

NUMBERS = st.integers(0, 2**63)
TIMES = st.none() | st.integers(-(2**60), 2**60)


def trails(keys: st.SearchStrategy[Key]) -> st.SearchStrategy[Trail]:
    marks = st.builds(Mark, keys, TIMES)
    tail, older = st.lists(marks, min_size=1, max_size=TAIL), st.lists(st.tuples(NUMBERS, marks), max_size=20)
    return st.builds(Trail, tail.map(tuple), older.map(tuple))


CURSORS = st.builds(
    Cursor,
    since=TIMES,
    offset=NUMBERS,
    step=st.integers(0, 60),
    slack=NUMBERS,
    most=st.none() | NUMBERS,
    frontier=TIMES,
    frontier_id=st.none() | NUMBERS | st.text(),
    total=st.none() | NUMBERS,
    scroll=st.text(),
    is_scrolling=st.booleans(),
    is_consumed=st.booleans(),
    is_sorted=st.booleans(),
    is_proven=st.none() | st.booleans(),
    trail=trails(NUMBERS) | trails(st.text()),
)


def text(values: Any, prefix: str = "t1.") -> str:
    return prefix + urlsafe_b64encode(compress(json.dumps(values).encode())).decode()


def refused(cursor: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Cursor.parse("t", cursor)
    assert caught.value.argument == "cursor"


@given(CURSORS)
def test_a_cursor_is_its_text(cursor: Cursor) -> None:
    written = cursor.text("t")
    assert isinstance(written, str)
    assert Cursor.parse("t", written) == cursor
    assert written.isascii()
    assert written.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_the_start_has_no_text() -> None:
    assert Cursor().text("t") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_usual_cursor_has_some_hundred_characters(kind: str) -> None:
    async def main() -> None:
        server = ChangingServer(kind, count=900)
        longest = 0
        async for page in pager(server, 20).pages():
            longest = max(longest, len(page.cursor or ""))
        assert 100 < longest <= 600

    run(main())


@given(CURSORS, st.data())
def test_a_text_with_another_character_is_refused_or_says_the_same(cursor: Cursor, data: st.DataObject) -> None:
    written = cursor.text("t") or ""
    place = data.draw(st.integers(0, len(written) - 1))
    changed = written[:place] + data.draw(st.characters(codec="ascii")) + written[place + 1 :]
    if changed.rstrip("=") != written:
        with suppress(InvalidRequestError):
            assert Cursor.parse("t", changed) == cursor


EMPTY: Any = [[], []]


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        7,
        b"t1.",
        "",
        "t1.",
        "end",
        "t2." + text({"trail": EMPTY})[3:],
        text({"trail": EMPTY}, "o1."),
        text({"trail": EMPTY})[:-4],
        text({"trail": EMPTY}) + "²",
        text([]),
        text({}),
        text({"trail": [[[1]], []]}),
        text({"trail": [[[1, None]], [1, 2]]}),
        text({"trail": [[[1.5, None]], []]}),
        text({"trail": [[[True, None]], []]}),
        text({"trail": [[[1, "2"]], []]}),
        text({"trail": [[[2**64, None]], []]}),
        text({"trail": EMPTY, "unknown": 1}),
        text({"trail": EMPTY, "offset": None}),
        text({"trail": EMPTY, "offset": True}),
        text({"trail": EMPTY, "offset": 1e300}),
        text({"trail": EMPTY, "offset": -1}),
        text({"trail": EMPTY, "step": 2**62}),
        text({"trail": EMPTY, "is_sorted": 1}),
        text({"trail": EMPTY, "scroll": 1}),
        "t1." + urlsafe_b64encode(compress(b"[" * 10_000)).decode(),
        "t1." + "A" * 20_000,
    ],
)
def test_what_no_list_wrote_is_refused(cursor: object) -> None:
    refused(cursor)


def test_a_text_that_unpacks_to_very_much_is_refused_before_it_is_unpacked() -> None:
    bomb = "t1." + urlsafe_b64encode(compress(b'{"scroll":"' + b"x" * 10_000_000 + b'"}')).decode()
    assert len(bomb) < 15_000
    refused(bomb)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("calendar", {"since": 10**18}),
        ("calendar", {"since": -(10**18)}),
        ("calendar", {"trail": [[[1, None]], []]}),
        ("mine", {"trail": [[["1", None]], []]}),
    ],
)
def test_what_a_list_cannot_ask_for_is_refused(kind: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        pager(ChangingServer(kind)).resume(text({"trail": EMPTY} | values, "t1." if kind == "calendar" else "i1."))
    assert caught.value.argument == "cursor"


class TestTrail:
    @given(st.integers(1, 3000), st.integers(1, 60))
    def test_stays_short_and_keeps_the_first_record(self, pages: int, size: int) -> None:
        trail = Trail()
        for number in range(min(pages, 6000 // size)):
            trail = trail.followed_by(Rows(range(number * size + 1, number * size + size + 1)))
        assert len(trail.older) <= 16
        assert trail.older[0][1].id == 1
        assert [mark.id for mark in trail.tail][-1] == min(pages, 6000 // size) * size

    @pytest.mark.parametrize(
        ("rows", "touches", "seam"),
        [
            ([5, 6, 7], True, 0),
            ([9, 5, 6], True, 0),
            ([8, 9, 5, 6], False, 0),
            ([4, 5, 6], True, 1),
            ([4, 9, 5, 6], True, 1),
            ([3, 4, 5, 9], True, 2),
            ([1, 2, 3, 4], True, 2),
            ([6, 7, 8], False, 0),
            ([], False, 0),
        ],
    )
    def test_a_page_touches_it_by_two_records_or_by_the_last(
        self, rows: list[int], seam: int, *, touches: bool
    ) -> None:
        trail = Trail(tuple(map(Mark, range(1, 6))))
        assert (Rows(rows).touches(trail), Rows(rows).seam(trail)) == (touches, seam)
