import sqlite3
import time
from collections.abc import Iterable
from typing import Final

from attrs import frozen

_AGE: Final = "? - CAST(strftime('%s', synced_at) AS INTEGER)"
"""Seconds since a lead was done; negative where the clock was set back since."""


@frozen
class Checkpoint:
    """The leads that the running, or last unfinished, sync has done: table `sync`.

    It takes part in the caller's transactions, so that a lead counts as done exactly when its tasks are kept.
    """

    connection: sqlite3.Connection

    def create(self) -> None:
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS sync"
            " (lead_id INTEGER PRIMARY KEY, synced_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )

    def done(self) -> frozenset[int]:
        return frozenset(lead_id for (lead_id,) in self.connection.execute("SELECT lead_id FROM sync"))

    def mark(self, leads: Iterable[int]) -> None:
        mark = "INSERT OR REPLACE INTO sync (lead_id, synced_at) VALUES (?, datetime(?, 'unixepoch'))"
        now = int(time.time())
        self.connection.executemany(mark, [(lead_id, now) for lead_id in leads])

    def expire(self, seconds: float) -> int:
        """Forgets the leads that were done longer ago than this; returns their number."""
        stale = f"DELETE FROM sync WHERE NOT coalesce({_AGE} BETWEEN 0 AND ?, 0)"  # noqa: S608 - constant
        return self.connection.execute(stale, (int(time.time()), seconds)).rowcount

    def clear(self) -> None:
        self.connection.execute("DELETE FROM sync")
