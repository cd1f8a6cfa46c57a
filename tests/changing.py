"""A server whose lists change between any two requests, seeded; what stays, stays in its order."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from random import Random
from typing import Any

from attrs import define, evolve, field

from lofty_async import ApiKey, LoftyClient
from lofty_async._wire import Params
from lofty_async.errors import InvalidRequestError, ServerError
from lofty_async.pagination import Pager

START = datetime(2030, 1, 1, tzinfo=UTC)
LENGTH = timedelta(days=3650)
FIRST_ID = 700_000_000_000_000
KINDS = ("mine", "calendar", "calendar, newest first", "leads")
CHANGES = ("insert", "delete", "move", "swap")


@define
class ChangingServer:
    """Answers the pages of one list; `change` is called before each request.

    `rows` are ids in the list's order; `times` has the minute at which each starts, which orders all lists but leads.
    """

    kind: str
    random: Random
    count: int = 300
    ties: bool = False
    unknown_cursor: str = "empty"
    is_inclusive: bool = False
    total: Callable[[int, Random], int | None] = lambda count, _: count
    overlaps: bool = False
    bound_is_included: bool = True
    most: int | None = None
    tells_size: bool = True
    glitch: float = 0.0
    changes: tuple[str, ...] = ()
    rate: float = 0.0
    failure: float = 0.0
    bad: frozenset[int] = frozenset()
    rows: list[int] = field(factory=list[int])
    times: dict[int, int] = field(factory=dict[int, int])
    changed: set[int] = field(factory=set[int])
    asked: int = 0
    next_id: int = FIRST_ID
    last_rows: list[int] = field(factory=list[int])

    def __attrs_post_init__(self) -> None:
        for _ in range(self.count):
            self.insert()
        self.changed.clear()

    @property
    def is_timed(self) -> bool:
        return self.kind != "leads"

    def insert(self) -> None:
        self.next_id += self.random.randrange(1, 1000)
        self.changed.add(self.next_id)
        if self.is_timed:
            self._place(self.next_id)
        else:
            self.rows.insert(self.random.randrange(len(self.rows) + 1), self.next_id)

    def delete(self, row: int | None = None) -> None:
        row = row or self.random.choice(self.rows)
        self.rows.remove(row)
        self.changed.add(row)

    def move(self, row: int | None = None) -> None:
        self.delete(row := row or self.random.choice(self.rows))
        if self.is_timed:
            self._place(row)
        else:
            self.rows.insert(self.random.randrange(len(self.rows) + 1), row)

    def swap(self) -> None:
        one, other = self.random.sample(range(len(self.rows)), 2)
        rows = self.rows
        self.changed |= {rows[one], rows[other]}
        rows[one], rows[other] = rows[other], rows[one]
        if self.is_timed:
            times = self.times
            times[rows[one]], times[rows[other]] = times[rows[other]], times[rows[one]]

    def _place(self, row: int) -> None:
        taken = () if self.ties else {self.times[other] for other in self.rows}
        minute = self.random.randrange(60 * self.count if not self.ties else max(2, self.count // 6)) * 5
        while minute in taken:
            minute = self.random.randrange(60 * self.count) * 5
        self.times[row] = minute
        self.rows.append(row)
        self.rows.sort(key=self._order)

    def _order(self, row: int) -> tuple[int, int]:
        sign = 1 if self.kind == "calendar" else -1
        return sign * self.times[row], sign * row

    def start(self, row: int) -> datetime:
        return START + timedelta(minutes=self.times[row])

    async def __call__(self, params: Params) -> Any:
        await asyncio.sleep(0)
        self.asked += 1
        for _ in range(int(self.rate) + (self.random.random() < self.rate % 1)):
            name = self.random.choice(self.changes)
            if name == "insert" or len(self.rows) > 2:
                getattr(self, name)()
        if self.random.random() < self.failure:
            raise ServerError(status=502)
        return self._answer({name: str(value) for name, value in params.items()})

    def _answer(self, params: dict[str, str]) -> Any:
        if "currentId" in params:
            return {"tasks": [self._task(row) for row in self._glitched(self._after(params))]}
        if "page" in params:
            return {"data": self._numbered(params)}
        return self._offset(params)

    def _after(self, params: dict[str, str]) -> list[int]:
        cursor, limit = int(params["currentId"]), min(self.most or 100, int(params["limit"]))
        if cursor in self.rows:
            first = self.rows.index(cursor) + (not self.is_inclusive)
        elif cursor and self.unknown_cursor == "error":
            raise InvalidRequestError(status=400, code=20012, name="INVALID_PARAMETER")
        elif cursor and self.unknown_cursor == "empty":
            return []
        else:
            first = 0
        return self.rows[first : first + limit]

    def _numbered(self, params: dict[str, str]) -> dict[str, Any]:
        since, till = (
            datetime.fromisoformat(params[name]) if name in params else None for name in ("startTime", "endTime")
        )
        found = [row for row in self.rows if self._is_between(row, since, till)]
        size, page = min(self.most or 500, int(params["pageSize"])), int(params["page"])
        items = [self._entry(row) for row in self._glitched(found[page * size : (page + 1) * size])]
        told = {"total": self.total(len(found), self.random), "pageSize": size if self.tells_size else None}
        return {**told, "items": items}

    def _is_between(self, row: int, since: datetime | None, till: datetime | None) -> bool:
        start = self.start(row)
        end = start + timedelta(minutes=self.times[row] * 7 % 300) if self.overlaps else start
        later = since is None or end > since or (self.bound_is_included and end == since)
        return later and (till is None or start < till or (self.bound_is_included and start == till))

    def _offset(self, params: dict[str, str]) -> dict[str, Any]:
        limit, offset = min(self.most or 100, int(params["limit"])), int(params["offset"])
        shown = self._glitched(self.rows[offset : offset + limit])
        told = {"total": self.total(len(self.rows), self.random), "limit": limit if self.tells_size else None}
        return {
            "_metadata": told,
            "leads": [
                {"leadId": row} if row not in self.bad else {"leadId": row, "createTime": "soon"} for row in shown
            ],
        }

    def _glitched(self, rows: list[int]) -> list[int]:
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

    def _task(self, row: int) -> dict[str, Any]:
        return {"id": row, "leadId": 5, "startAt": "soon" if row in self.bad else self.start(row).isoformat()}

    def _entry(self, row: int) -> dict[str, Any]:
        start = self.start(row)
        end = start + timedelta(minutes=self.times[row] * 7 % 300) if self.overlaps else start
        return {
            "id": f"{row}-task",
            "startAt": "soon" if row in self.bad else start.isoformat(),
            "endAt": end.isoformat(),
        }


def pager(server: ChangingServer, page_size: int, prefetch: int = 1, client: LoftyClient | None = None) -> Pager[Any]:
    """The SDK's own list, with the server in place of the network."""
    lofty = client or LoftyClient(ApiKey("k"))
    if server.kind == "mine":
        made: Pager[Any] = lofty.tasks.mine(page_size=page_size, prefetch=prefetch)
    elif server.kind == "leads":
        made = lofty.leads.list(page_size=page_size, prefetch=prefetch)
    else:
        made = lofty.calendar.list(
            start=START,
            end=START + LENGTH,
            newest_first=server.kind != "calendar",
            page_size=page_size,
            prefetch=prefetch,
        )
    return evolve(made, fetch=server)


def ids(records: Iterable[Any]) -> list[int]:
    return [int(str(record.id).removesuffix("-task")) for record in records]


def least(count: int, page_size: int) -> int:
    return max(1, ceil(count / page_size))
