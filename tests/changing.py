"""Servers of one list: one that tests change by hand, and one that changes by itself between any two requests."""

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from random import Random
from typing import Any

from attrs import define, evolve, field

from lofty_async import ApiKey, LoftyClient
from lofty_async._checks import OnBadRecord
from lofty_async._wire import Params
from lofty_async.errors import InvalidRequestError, LoftyError, ServerError
from lofty_async.pagination import Fetch, Fetched, PageIterator, Pager

START = datetime(2030, 1, 1, tzinfo=UTC)
LENGTH = timedelta(days=3650)
KINDS = ("mine", "calendar", "calendar, newest first", "leads")
ALL_KINDS = (*KINDS, "leads, scroll")
CHANGES = ("insert", "delete", "move", "swap")


@define
class ListServer:
    """Answers the pages of one list; `rows` are ids in its order.

    All lists but leads are sorted by the minute at which a record starts: its id, unless `minutes` says otherwise.
    `before` is called with the number of requests before each; an answer takes `latency` seconds of virtual time.
    """

    kind: str
    rows: list[int] = field(factory=list[int])
    latency: float = field(default=0.0, kw_only=True)
    minutes: dict[int, int] = field(factory=dict[int, int], kw_only=True)
    is_dated: bool = field(default=True, kw_only=True)
    unknown_cursor: str = field(default="empty", kw_only=True)
    is_inclusive: bool = field(default=False, kw_only=True)
    total: Callable[[int], int | None] = field(default=lambda count: count, kw_only=True)
    most: int | None = field(default=None, kw_only=True)
    tells_size: bool = field(default=True, kw_only=True)
    repeats_last_page: bool = field(default=False, kw_only=True)
    one_scroll_id: bool = field(default=False, kw_only=True)
    bounds_included: bool = field(default=True, kw_only=True)
    longest: int = field(default=0, kw_only=True)
    """Minutes; entries last up to so long."""
    bad: dict[int, Any] = field(factory=dict[int, Any], kw_only=True)
    before: Callable[[int], object] = field(default=lambda _: None, kw_only=True)
    asked: list[Params] = field(factory=list[Params], init=False)
    under_way: int = field(default=0, init=False)
    most_under_way: int = field(default=0, init=False)
    cancelled: int = field(default=0, init=False)
    scrolled: int = field(default=0, init=False)

    async def __call__(self, params: Params) -> Any:
        self.asked.append(params)
        self.before(len(self.asked) - 1)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return self.answer({name: str(value) for name, value in params.items()})

    def answer(self, params: dict[str, str]) -> Any:
        if "currentId" in params:
            return {"tasks": list(map(self._task, self.shown(self._after(params))))}
        if "page" in params:
            return {"data": self._numbered(params)}
        return self._by_offset(params) if params else {"tasks": list(map(self._task, self.rows))}

    def shown(self, rows: list[int]) -> list[int]:
        """The rows of a page as they are sent."""
        return rows

    def minute(self, row: int) -> int:
        return self.minutes.get(row, row if self.kind == "calendar" else -row)

    def start(self, row: int) -> datetime:
        return START + timedelta(minutes=self.minute(row))

    def end(self, row: int) -> datetime:
        return self.start(row) + timedelta(minutes=self.minute(row) * 7 % self.longest if self.longest else 0)

    def _size(self, asked: str, most: int) -> int:
        return min(self.most or most, int(asked))

    def _after(self, params: dict[str, str]) -> list[int]:
        cursor, first = int(params["currentId"]), 0
        if cursor in self.rows:
            first = self.rows.index(cursor) + (not self.is_inclusive)
        elif cursor and self.unknown_cursor == "error":
            raise InvalidRequestError(status=400, code=20012, name="INVALID_PARAMETER")
        elif cursor and self.unknown_cursor == "empty":
            return []
        return self.rows[first : first + self._size(params["limit"], 100)]

    def _numbered(self, params: dict[str, str]) -> dict[str, Any]:
        since, till = (datetime.fromisoformat(params[name]) if name in params else None for name in RANGE)
        found = [row for row in self.rows if self._is_between(row, since, till)] if since or till else self.rows
        size, page = self._size(params["pageSize"], 500), int(params["page"])
        items = list(map(self._entry, self.shown(found[page * size : (page + 1) * size])))
        return {**self._told(len(found), "pageSize", size), "items": items}

    def _is_between(self, row: int, since: datetime | None, till: datetime | None) -> bool:
        start, end = self.start(row), self.end(row)
        is_later = since is None or end > since or (self.bounds_included and end == since)
        return is_later and (till is None or start < till or (self.bounds_included and start == till))

    def _by_offset(self, params: dict[str, str]) -> dict[str, Any]:
        size, scroll = self._size(params["limit"], 100), params.get("scrollId")
        first = int(params["offset"]) if scroll is None else self._scrolled(scroll, size)
        if first >= len(self.rows) and self.repeats_last_page:
            first = max(0, len(self.rows) - size)
        rows = self.rows[first : first + size]
        told = self._told(len(self.rows), "limit", size)
        told["scrollId"] = "scroll:" if self.one_scroll_id else f"scroll:{first + len(rows)}"
        return {"_metadata": told, "leads": list(map(self._lead, self.shown(rows)))}

    def _scrolled(self, scroll: str, size: int) -> int:
        self.scrolled += size
        return self.scrolled if self.one_scroll_id else int(scroll.removeprefix("scroll:"))

    def _told(self, count: int, name: str, size: int) -> dict[str, Any]:
        return {"total": self.total(count), name: size if self.tells_size else None}

    def _task(self, row: int) -> Any:
        start = {"startAt": self.start(row).isoformat()} if self.is_dated else {}
        return self.bad.get(row, {"id": row, "leadId": 5, **start})

    def _entry(self, row: int) -> Any:
        times = {"startAt": self.start(row).isoformat(), "endAt": self.end(row).isoformat()} if self.is_dated else {}
        return self.bad.get(row, {"id": f"{row}-task", **times})

    def _lead(self, row: int) -> Any:
        return self.bad.get(row, {"leadId": row})


RANGE = ("startTime", "endTime")


@define
class ChangingServer(ListServer):
    """A list of `count` records that changes `rate` times before each request, seeded; what stays keeps its order.

    `changed` has the rows of which nothing can be promised. Answers fail at a rate of `failure`; at one of `glitch`
    they are empty, repeat the one before, or have a row twice.
    """

    random: Random = field(factory=lambda: Random(1), kw_only=True)
    count: int = field(default=300, kw_only=True)
    has_ties: bool = field(default=False, kw_only=True)
    changes: Sequence[str] = field(default=(), kw_only=True)
    rate: float = field(default=1.0, kw_only=True)
    failure: float = field(default=0.0, kw_only=True)
    glitch: float = field(default=0.0, kw_only=True)
    bad_share: float = field(default=0.0, kw_only=True)
    changed: set[int] = field(factory=set[int], init=False)
    first_rows: frozenset[int] = field(default=frozenset[int](), init=False)
    next_id: int = field(default=700_000_000_000_000, init=False)
    last_rows: list[int] = field(factory=list[int], init=False)

    def __attrs_post_init__(self) -> None:
        for _ in range(self.count):
            self.insert()
        for row in self.random.sample(self.rows, int(self.bad_share * self.count)):
            self.bad[row] = {"id": row, "leadId": row, "startAt": "soon", "createTime": "soon"}
        self.changed.clear()
        self.first_rows = frozenset(self.rows)

    @property
    def stayed(self) -> frozenset[int]:
        """The records that have been there, and unchanged, throughout."""
        return self.first_rows - self.changed - self.bad.keys()

    def insert(self) -> None:
        self.next_id += self.random.randrange(1, 1000)
        self._place(self.next_id)

    def delete(self, row: int | None = None) -> int:
        row = row or self.random.choice(self.rows)
        self.rows.remove(row)
        self.changed.add(row)
        return row

    def move(self) -> None:
        self._place(self.delete())

    def swap(self) -> None:
        one, other = self.random.sample(range(len(self.rows)), 2)
        rows, minutes = self.rows, self.minutes
        self.changed |= {rows[one], rows[other]}
        rows[one], rows[other] = rows[other], rows[one]
        if minutes:
            minutes[rows[one]], minutes[rows[other]] = minutes[rows[other]], minutes[rows[one]]

    def _place(self, row: int) -> None:
        self.changed.add(row)
        if self.kind.startswith("leads"):
            self.rows.insert(self.random.randrange(len(self.rows) + 1), row)
            return
        taken = () if self.has_ties else {self.minutes[other] for other in self.rows}
        most = max(2, self.count // 6) if self.has_ties else 60 * self.count
        minute = self.random.randrange(most) * 5
        while minute in taken:
            minute = self.random.randrange(most) * 5
        self.minutes[row] = minute
        insort(self.rows, row, key=self._order)

    def _order(self, row: int) -> tuple[int, int]:
        sign = 1 if self.kind == "calendar" else -1
        return sign * self.minutes[row], sign * row

    def answer(self, params: dict[str, str]) -> Any:
        for _ in range(int(self.rate) + (self.random.random() < self.rate % 1) if self.changes else 0):
            name = self.random.choice(self.changes)
            if name == "insert" or len(self.rows) > 2:
                getattr(self, name)()
        if self.random.random() < self.failure:
            raise ServerError(status=502)
        return super().answer(params)

    def shown(self, rows: list[int]) -> list[int]:
        if self.random.random() < self.glitch:
            kind = self.random.choice(["empty", "again", "double"])
            if kind == "empty" and self.kind != "mine" and self.last_rows:
                return []
            if kind == "again" and self.last_rows:
                return self.last_rows
            if kind == "double" and rows:
                place = self.random.randrange(len(rows))
                return [*rows[:place], *rows[place : place + 1], *rows[place:]]
        self.last_rows = rows
        return rows


def pager(
    server: Callable[[Params], Any],
    page_size: int = 2,
    prefetch: int = 1,
    on_bad_record: OnBadRecord | None = None,
    *,
    kind: str = "",
) -> Pager[Any]:
    """The SDK's own list, with the server in place of the network."""
    lofty, kind = LoftyClient(ApiKey("k")), kind or getattr(server, "kind", "")
    if kind == "mine":
        made: Pager[Any] = lofty.tasks.mine(page_size=page_size, prefetch=prefetch, on_bad_record=on_bad_record)
    elif kind == "tasks":
        made = lofty.tasks.list(5, on_bad_record=on_bad_record)
    elif kind.startswith("leads"):
        made = lofty.leads.list(
            page_size=page_size, prefetch=prefetch, on_bad_record=on_bad_record, scroll=kind == "leads, scroll"
        )
    else:
        made = lofty.calendar.list(
            start=START,
            end=START + LENGTH,
            newest_first=kind != "calendar",
            page_size=page_size,
            prefetch=prefetch,
            on_bad_record=on_bad_record,
        )
    return evolve(made, fetch=answering(server))


def answering(server: Callable[[Params], Awaitable[Any]]) -> Fetch:
    """The answers of a server that sends no headers."""

    async def fetch(params: Params) -> Fetched:
        return await server(params), {}

    return fetch


def ids(records: Iterable[Any]) -> list[int]:
    return [int(str(record.id).removesuffix("-task")) for record in records]


async def read(pages: PageIterator[Any], into: list[int]) -> None:
    async for page in pages:
        into += ids(page.items)


async def read_resuming(server: ListServer, page_size: int, **options: Any) -> list[int]:
    """All records, each failure resumed from its cursor in a fresh list."""
    taken: list[int] = []
    cursor = None
    while True:
        try:
            await read(pager(server, page_size, **options).resume(cursor).pages(), taken)
        except LoftyError as error:
            cursor = error.cursor
        else:
            return taken


def least(count: int, page_size: int) -> int:
    """The fewest requests that a list of this length takes."""
    return max(1, ceil(count / page_size))
