import sqlite3
from collections.abc import Iterable

from attrs import frozen


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
        self.connection.executemany(
            "INSERT OR REPLACE INTO sync (lead_id) VALUES (?)", [(lead_id,) for lead_id in leads]
        )

    def clear(self) -> None:
        self.connection.execute("DELETE FROM sync")
