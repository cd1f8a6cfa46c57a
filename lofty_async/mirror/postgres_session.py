"""One account's statements in PostgreSQL, each bound to the account, within the caller's transaction."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from psycopg import AsyncConnection


@frozen
class Session:
    """Runs statements whose parameter `account` is this account; `clock` replaces the server's clock."""

    connection: "AsyncConnection[tuple[Any, ...]]"
    account: str
    clock: Callable[[], datetime] | None = None

    async def all(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(sql.encode(), {"account": self.account, **values})
        return await cursor.fetchall()

    async def one(self, sql: str, **values: Any) -> tuple[Any, ...] | None:
        rows = await self.all(sql, **values)
        return rows[0] if rows else None

    async def run(self, sql: str, **values: Any) -> None:
        await self.connection.execute(sql.encode(), {"account": self.account, **values})

    async def run_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs a statement for each of the rows, in one round trip."""
        bound = [{"account": self.account, **row} for row in rows]
        if bound:
            async with self.connection.cursor() as cursor:
                await cursor.executemany(sql.encode(), bound)

    async def now(self) -> datetime:
        """The server's time, as processes on many machines share it."""
        if self.clock is not None:
            return self.clock()
        row = await self.one("SELECT date_trunc('second', clock_timestamp())")
        assert row is not None, "a SELECT without FROM has a row"  # noqa: S101 - as the type says
        now: datetime = row[0]
        return now
