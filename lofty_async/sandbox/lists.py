"""The behaviour of lists that the contract leaves open, and that options of a sandbox set."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen

from . import errors
from .entities import EntryClass


class UnknownCursor(StrEnum):
    """The response of my-tasks to a `currentId` that is no longer in the caller's list."""

    CONTINUE = "continue"
    """The entries after the last position of the task; an empty list for a task that never existed."""
    RESTART = "restart"
    """The list from its top."""
    EMPTY = "empty"
    """An empty list."""
    ERROR = "error"
    """400 INVALID_PARAMETER (20012)."""


class ListTotals(StrEnum):
    """The `total` that the calendar and leads report."""

    EXACT = "exact"
    MISSING = "missing"
    ZERO = "zero"
    TOO_SMALL = "too_small"
    """Half of it."""
    TOO_LARGE = "too_large"
    """One more than twice of it."""


@frozen(kw_only=True)
class ListOptions:
    """The behaviour of lists that the contract leaves open; the arguments are those of `Sandbox`."""

    my_tasks_hides: frozenset[EntryClass] = frozenset({EntryClass.UNMANAGED})
    calendar_hides: frozenset[EntryClass] = frozenset({EntryClass.UNMANAGED})
    ignores_user_id: bool = False
    cursor_inclusive: bool = False
    unknown_cursor: UnknownCursor = UnknownCursor.CONTINUE
    repeat_last_page: bool = True
    totals: ListTotals = ListTotals.EXACT
    max_page_size: int | None = None
    reports_page_size: bool = True
    offset_limit: int | None = None

    def page_size(self, asked: int) -> int:
        """The number of records on a page."""
        return asked if self.max_page_size is None else min(asked, self.max_page_size)

    def reported_size(self, asked: int) -> int:
        """The page size in the response."""
        return self.page_size(asked) if self.reports_page_size else asked

    def total(self, count: int) -> Mapping[str, Any]:
        """The member of the response with the total."""
        match self.totals:
            case ListTotals.EXACT:
                return {"total": count}
            case ListTotals.MISSING:
                return {}
            case ListTotals.ZERO:
                return {"total": 0}
            case ListTotals.TOO_SMALL:
                return {"total": count // 2}
            case ListTotals.TOO_LARGE:
                return {"total": 2 * count + 1}

    def check_offset(self, offset: int) -> None:
        """Raises: ResponseError at or beyond the limit."""
        if self.offset_limit is not None and offset >= self.offset_limit:
            raise errors.offset_exceeds_limit()
