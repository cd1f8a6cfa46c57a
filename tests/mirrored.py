"""Local copies of tasks: what they hold, and what they should."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from lofty_async.sandbox import Sandbox


def truth(sandbox: Sandbox) -> dict[int, int]:
    """The lead of each task of the server."""
    return {entry.id: entry.lead_id for entry in sandbox.state.entries.values()}


def held(db: Path) -> dict[int, int]:
    """The lead of each task in a sound SQLite file."""
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(connection.execute("SELECT id, lead_id FROM tasks"))


def read_lines(text: Path) -> dict[int, int]:
    """The lead of each task in a file of JSON lines."""
    lines = [json.loads(line) for line in text.read_text(encoding="ascii").splitlines()]
    return {line["id"]: line["lead_id"] for line in lines}


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))
