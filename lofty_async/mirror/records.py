"""The records that a mirror's database returns."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import frozen

from lofty_async.models import Task


class ChangeKind(StrEnum):
    """The way in which a task has changed; of several, the first of moved, finished or reopened, and updated."""

    CREATED = "created"
    UPDATED = "updated"
    FINISHED = "finished"
    REOPENED = "reopened"
    MOVED = "moved"
    DELETED = "deleted"


@frozen(kw_only=True)
class Change:
    """A change of the mirror's table `tasks`.

    `task` is the row after it, `None` for a deleted one; `before` the row before it, `None` for a created one. `seq`
    increases by 1 with every change; `at` is the time of the mirror's write, in UTC.
    """

    seq: int
    at: datetime
    kind: ChangeKind
    task: Task | None
    before: Task | None


class Phase(StrEnum):
    """The part of a run that is under way; each begins once the one before it is complete."""

    LISTING = "listing"
    SWEEPING = "sweeping"
    PROVING = "proving"
    DONE = "done"


@frozen(kw_only=True)
class Run:
    """A run of a sync.

    `scope` is `all`, or names some leads. `strategy` is `None` until it is chosen. `ended_at` is `None` while it runs,
    and after it was interrupted. `cycle` numbers the runs over all leads. `report` has the counts of the run at its
    end; of one that was interrupted (`is_resumed`), those since it was last resumed.
    """

    number: int
    cycle: int
    scope: str
    strategy: str | None
    phase: Phase
    started_at: datetime
    ended_at: datetime | None = None
    host: str | None = None
    process: int | None = None
    report: Mapping[str, Any] | None = None
    is_resumed: bool = False


@frozen
class ListPage:
    """The place of a page in one of the API's lists, kept with its records so that a killed run goes on behind it.

    `cursor` is where the next page begins. `is_complete` says of the list of leads that no lead is missing from it.
    `note` is a number to keep.
    """

    list: str
    cursor: str | None
    records: int = 0
    is_done: bool = False
    is_complete: bool = False
    note: int | None = None


@frozen(kw_only=True)
class Summary:
    """Counts of a database: rows, those that reading their lead has confirmed, and the oldest proof of a lead.

    `last_change` is the number of the last change. Changes up to the one numbered `pruned_changes` were removed.
    """

    tasks: int = 0
    proven: int = 0
    leads: int = 0
    users: int = 0
    oldest_proof: datetime | None = None
    last_change: int = 0
    pruned_changes: int = 0
