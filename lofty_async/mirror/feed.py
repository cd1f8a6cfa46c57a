"""The change feed of a database."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from .database import Change, Database

POLL_SECONDS: Final = 1.0
CHANGES_A_READ: Final = 500


async def read_changes(database: Database, since: int = 0, *, follow: bool = False) -> AsyncGenerator[Change, None]:
    """Yields the changes after the one numbered `since`, oldest first; with `follow`, also those to come."""
    while True:
        changes = await database.changes(since, CHANGES_A_READ)
        for change in changes:
            since = change.seq
            yield change
        if not changes and not follow:
            return
        if not changes:
            await asyncio.sleep(POLL_SECONDS)
