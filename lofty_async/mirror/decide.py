"""The decisions of a run, as pure functions: which leads to read, which strategy, and when deletions are suspicious.

Words: a list *shows* a task if a sweep of it in this run has met the task. `MINE` is the bit of my-tasks, over all
users swept; `CALENDAR` that of the calendar. A list proves that a task exists, never that it does not: so a task that
a list no longer shows makes its lead a candidate, and reading the lead decides.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from attrs import frozen

MINE: Final = 1
CALENDAR: Final = 2
BOTH: Final = MINE | CALENDAR
UNSWEPT: Final = 4
"""The bit of a row that is newer than the last sweep, of which nobody knows whether a list shows it."""

COMPARED: Final = ("content", "finished", "start_at", "end_at", "time_zone", "lead_id")
"""The fields of a calendar entry that a task has too; the bit of each is 1 shifted by its place."""
UNREAD: Final = 1 << len(COMPARED)
"""The bit of a record that could not be read."""
MOVED: Final = 1 << (len(COMPARED) + 1)
"""The bit of a task that my-tasks shows under another lead."""

PROOF_CYCLES: Final = 30
"""Runs within which every lead is read once."""
MAX_SHARE_EVERY_RUN: Final = 0.3
"""Share of leads to be read every run above which reading all leads is better."""
MAX_SHARE_IN_TURN: Final = 0.15
"""Share of leads of which a run by the lists reads those that no list shows, if they are too many for every run."""
MAX_DIFFERING: Final = 0.2
"""Share of entries in which a calendar's field may differ from the tasks and still be compared."""
MIN_COMPARED: Final = 50
"""Differing entries from which on a field may be given up."""
MANY_GONE: Final = 50
MANY_GONE_SHARE: Final = 0.1
MIN_EMPTIED: Final = 10
"""Rows that a list must have shown for its being empty to be suspicious."""

LEADS_A_PAGE, TASKS_A_PAGE, ENTRIES_A_PAGE = 99, 99, 499
"""New records of a page; pages overlap by a record."""
TASKS_A_LEAD: Final = 2
"""The guess before any task is known."""


class Strategy(StrEnum):
    """How a run finds changes: `lists` sweeps the lists and reads the leads in question; `leads` reads all leads."""

    AUTO = "auto"
    LEADS = "leads"
    LISTS = "lists"


class Reason(StrEnum):
    """Why a lead is read."""

    FIRST = "first"
    LOST = "lost"
    NEW = "new"
    DIFFERS = "differs"
    MOVED = "moved"
    UNREAD = "unread"
    HIDDEN = "hidden"
    UNLISTED = "unlisted"
    ROTATION = "rotation"


@frozen
class TaskFacts:
    """The facts about `count` tasks of a lead that are alike.

    `shown_before` and `shown` are bits of lists, in the last run and in this one. `differs` are the bits of fields in
    which the calendar differs. `is_held` says whether there are rows of them.
    """

    lead_id: int
    shown_before: int = 0
    shown: int = 0
    differs: int = 0
    is_finished: bool = False
    is_held: bool = True
    count: int = 1


def reason_to_read(facts: TaskFacts, credible: int) -> Reason | None:
    """Why the lead of these tasks has to be read, `None` if it need not be; `credible` are the bits that count."""
    if facts.differs & UNREAD:
        return Reason.UNREAD
    if facts.differs & MOVED:
        return Reason.MOVED
    if not facts.is_held:
        return Reason.NEW
    if facts.shown_before & BOTH & ~facts.shown or (facts.shown_before == UNSWEPT and not facts.shown):
        return Reason.LOST  # deleted or moved, as far as the lists tell
    if facts.differs & credible:
        return Reason.DIFFERS
    # Finished ones that no list shows change rarely, and one that is reopened shows: they wait for the rotation.
    return None if facts.shown or facts.is_finished else Reason.HIDDEN


def credible_fields(facts: Iterable[TaskFacts], entries: int) -> int:
    """The bits of the fields that the calendar tells as the tasks do.

    A field that differs in too many of the entries is told in another way there, and its differences mean nothing.
    """
    differing = Counter[int]()
    for one in facts:
        for place in range(len(COMPARED)):
            differing[place] += one.count if one.is_held and one.differs >> place & 1 else 0
    most = max(MIN_COMPARED, MAX_DIFFERING * entries)
    return sum(1 << place for place in range(len(COMPARED)) if differing[place] <= most)


def leads_to_read(facts: Iterable[TaskFacts], entries: int) -> dict[int, Reason]:
    """The leads that have to be read, each with the first reason; `entries` is the number of calendar entries seen."""
    known = tuple(facts)
    credible = credible_fields(known, entries)
    reads: dict[int, Reason] = {}
    for one in known:
        reason = reason_to_read(one, credible)
        # A lead that is read every run is counted as such only if nothing else is amiss.
        if reason is not None and reads.get(one.lead_id, Reason.HIDDEN) is Reason.HIDDEN:
            reads[one.lead_id] = reason
    return reads


def is_too_many(every_run: int, leads: int) -> bool:
    """Whether so many leads have to be read every run that the lists save too little."""
    return every_run > MAX_SHARE_EVERY_RUN * leads


def turns_of(every_run: int, leads: int) -> int:
    """The number of runs over which the leads to be read every run are spread: 1 unless they are too many."""
    return math.ceil(every_run / (MAX_SHARE_IN_TURN * max(1, leads))) if is_too_many(every_run, leads) else 1


def reads_in_turn(reads: Mapping[int, Reason], cycle: int, turns: int) -> dict[int, Reason]:
    """The leads to read in a run of that cycle: each lead of hidden tasks is in one of `turns` consecutive ones."""
    # Ids may have a common divisor, so that their own remainders would make unequal shares.
    return {
        lead_id: reason
        for lead_id, reason in reads.items()
        if reason is not Reason.HIDDEN or zlib.crc32(str(lead_id).encode()) % turns == cycle % turns
    }


def rotation_size(ages: Mapping[int, int], leads: int, cycles: int = PROOF_CYCLES) -> int:
    """How many of the leads read longest ago to read, so that none gets older than `cycles` runs.

    `ages` is the number of leads by the runs since they were read, the leads that are read anyway left out. Of `leads`
    leads, an even share is read in each run to come; this run has to read what these shares leave over.
    """
    share, size, waiting = math.ceil(leads / cycles), 0, 0
    for age in sorted(ages, reverse=True):
        waiting += ages[age]
        size = max(size, waiting - share * max(0, cycles - age))
    return size


def are_suspicious(gone: int, tasks: int) -> bool:
    """Whether so many of the tasks are gone at once that the server may be at fault."""
    return gone > MANY_GONE and gone > MANY_GONE_SHARE * tasks


def emptied_lists(shown: Mapping[int, tuple[int, int]]) -> list[str]:
    """The names of the lists that are suddenly empty: of each list, the rows that it showed before and now."""
    names = {MINE: "my-tasks", CALENDAR: "the calendar"}
    return [names[bit] for bit, (before, now) in shown.items() if before >= MIN_EMPTIED and not now]


@frozen(kw_only=True)
class ClassCount:
    """Tasks of one class; no list shows `hidden` of them, which are tasks of so many `leads`."""

    is_appointment: bool
    is_finished: bool
    is_dated: bool
    is_own: bool
    tasks: int
    hidden: int = 0
    leads: int = 0

    @property
    def name(self) -> str:
        """Such as `finished undated tasks of other users`."""
        words = (
            "finished" if self.is_finished else "open",
            "" if self.is_dated else "undated",
            "appointments" if self.is_appointment else "tasks",
            "" if self.is_own else "of other users",
        )
        return " ".join(word for word in words if word)


def hidden_classes(classes: Iterable[ClassCount], turns: int = 1) -> list[str]:
    """The classes of tasks that the lists do not show, in words, and when these are read instead.

    Open ones are read once in `turns` runs.
    """
    often = "read every run" if turns == 1 else f"read every {turns} runs"
    return [
        f"{one.name}: {one.hidden:,} of {one.tasks:,}, {one.leads:,} lead{'s' * (one.leads != 1)}, "
        + ("read in turn" if one.is_finished else often)
        for one in sorted(classes, key=lambda one: (one.is_finished, -one.hidden))
        if one.hidden
    ]


@frozen(kw_only=True)
class Size:
    """The size of an account, as far as known; `every_run` leads have tasks that no list shows."""

    leads: int
    tasks: int
    users: int = 1
    every_run: int = 0
    is_first: bool = True


@frozen(kw_only=True)
class StrategyPlan:
    """The cost of a run by one strategy: requests and minutes until the data is usable, and until it is proven."""

    strategy: Strategy
    usable_requests: int
    requests: int
    usable_minutes: float | None = None
    minutes: float | None = None


@frozen(kw_only=True)
class SyncPlan:
    """An estimate of the next run.

    `leads` and `tasks` are the numbers known; `limit` the requests a minute, `None` if no answer has reported it, and
    minutes are `None` then. `chosen` is the strategy that `auto` takes, `plans` has both. `hidden` says in words what
    the lists do not show; it is empty before the first run.
    """

    leads: int
    tasks: int
    users: int
    limit: int | None
    chosen: Strategy
    plans: tuple[StrategyPlan, ...]
    hidden: tuple[str, ...] = ()
    is_first: bool = True


def sweep_requests(size: Size) -> int:
    """The requests that sweeping my-tasks of every user and the calendar takes."""
    a_user = size.tasks / max(1, size.users)
    mine = size.users * (math.floor(a_user / TASKS_A_PAGE) + 1)
    return mine + math.floor(size.tasks / ENTRIES_A_PAGE) + 1


def plan_of(strategy: Strategy, size: Size, limit: int | None) -> StrategyPlan:
    """The estimate for one strategy, by the sizes of pages, without changes on the server."""
    listing = math.floor(size.leads / LEADS_A_PAGE) + 1
    usable, total = listing + size.leads, listing + size.leads
    if strategy is Strategy.LISTS:
        usable = listing + sweep_requests(size)
        often = size.every_run // turns_of(size.every_run, size.leads)
        reads = size.leads if size.is_first else often + math.ceil(size.leads / PROOF_CYCLES)
        total = usable + reads
    return StrategyPlan(
        strategy=strategy,
        usable_requests=usable,
        requests=total,
        usable_minutes=_minutes(usable, limit),
        minutes=_minutes(total, limit),
    )


def _minutes(requests: int, limit: int | None) -> float | None:
    """The minutes until the last of the requests is sent: whole windows, as each is spent at once."""
    return None if not limit else float(max(0, math.ceil(requests / limit) - 1))


def choose(size: Size) -> Strategy:
    """The strategy of `auto`: the lists, unless reading every lead costs no more in the runs to come."""
    later = Size(leads=size.leads, tasks=size.tasks, users=size.users, every_run=size.every_run, is_first=False)
    costs: Callable[[Strategy], int] = lambda strategy: plan_of(strategy, later, None).requests  # noqa: E731
    is_cheaper = costs(Strategy.LISTS) < costs(Strategy.LEADS)
    return Strategy.LISTS if is_cheaper and not is_too_many(size.every_run, size.leads) else Strategy.LEADS
