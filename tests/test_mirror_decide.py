"""What a run decides, as tables."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.mirror.decide import (
    CALENDAR,
    COMPARED,
    MINE,
    MOVED,
    UNREAD,
    UNSWEPT,
    ClassCount,
    Reason,
    Size,
    Strategy,
    TaskFacts,
    are_suspicious,
    choose,
    credible_fields,
    emptied_lists,
    hidden_classes,
    is_too_many,
    leads_to_read,
    plan_of,
    reads_in_turn,
    reason_to_read,
    rotation_size,
    turns_of,
)

BOTH = MINE | CALENDAR
CONTENT, TIME_ZONE = (1 << COMPARED.index(name) for name in ("content", "time_zone"))
ALL_FIELDS = (1 << len(COMPARED)) - 1


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (TaskFacts(1, BOTH, BOTH), None),
        (TaskFacts(1, 0, MINE), None),
        (TaskFacts(1, 0, CALENDAR), None),
        (TaskFacts(1, MINE, BOTH), None),
        (TaskFacts(1, BOTH, 0), Reason.LOST),
        (TaskFacts(1, BOTH, CALENDAR), Reason.LOST),
        (TaskFacts(1, BOTH, MINE), Reason.LOST),
        (TaskFacts(1, CALENDAR, 0, is_finished=True), Reason.LOST),
        (TaskFacts(1, 0, 0), Reason.HIDDEN),
        (TaskFacts(1, UNSWEPT, 0), Reason.LOST),
        (TaskFacts(1, UNSWEPT, 0, is_finished=True), Reason.LOST),
        (TaskFacts(1, UNSWEPT, MINE), None),
        (TaskFacts(1, 0, 0, is_finished=True), None),
        (TaskFacts(1, CALENDAR, CALENDAR, CONTENT), Reason.DIFFERS),
        (TaskFacts(1, BOTH, BOTH, MOVED), Reason.MOVED),
        (TaskFacts(1, BOTH, BOTH, UNREAD), Reason.UNREAD),
        (TaskFacts(1, 0, CALENDAR, is_held=False), Reason.NEW),
    ],
)
def test_a_lead_is_read_for_a_reason(facts: TaskFacts, reason: Reason | None) -> None:
    assert reason_to_read(facts, ALL_FIELDS) is reason


def test_a_field_that_differs_in_most_entries_says_nothing() -> None:
    facts = [TaskFacts(1, BOTH, BOTH, TIME_ZONE, count=400), TaskFacts(2, BOTH, BOTH, CONTENT, count=3)]
    assert credible_fields(facts, 1000) == ALL_FIELDS & ~TIME_ZONE
    assert leads_to_read(facts, 1000) == {2: Reason.DIFFERS}


def test_a_few_differences_always_count() -> None:
    assert leads_to_read([TaskFacts(1, BOTH, BOTH, TIME_ZONE, count=3)], 3) == {1: Reason.DIFFERS}


def test_a_lead_read_every_run_is_counted_as_such_unless_more_is_amiss() -> None:
    facts = [TaskFacts(1), TaskFacts(1, BOTH, 0), TaskFacts(2), TaskFacts(3, BOTH, BOTH)]
    assert leads_to_read(facts, 0) == {1: Reason.LOST, 2: Reason.HIDDEN}


@pytest.mark.parametrize(("every_run", "leads", "too_many"), [(30, 100, False), (31, 100, True), (0, 0, False)])
def test_more_than_three_tenths_of_all_leads_are_too_many(every_run: int, leads: int, *, too_many: bool) -> None:
    assert is_too_many(every_run, leads) is too_many


@pytest.mark.parametrize(
    ("every_run", "leads", "turns"),
    [(0, 0, 1), (4, 0, 27), (30, 100, 1), (31, 100, 3), (45, 100, 3), (46, 100, 4), (100, 100, 7)],
)
def test_too_many_leads_to_be_read_every_run_take_turns(every_run: int, leads: int, turns: int) -> None:
    assert turns_of(every_run, leads) == turns


@given(st.sets(st.integers(1, 2**63 - 1)), st.integers(0, 10**6), st.integers(1, 7))
def test_each_lead_of_hidden_tasks_has_its_turn_and_others_are_read_at_once(
    leads: set[int], cycle: int, turns: int
) -> None:
    reads = dict.fromkeys(leads, Reason.HIDDEN) | {0: Reason.LOST}
    runs = [reads_in_turn(reads, cycle + run, turns) for run in range(turns)]
    assert all(run[0] is Reason.LOST for run in runs)
    assert sorted(lead for run in runs for lead in run if lead) == sorted(leads)


def test_turns_are_about_equal_whatever_the_ids_have_in_common() -> None:
    reads = dict.fromkeys(range(0, 7 * 7000, 7), Reason.HIDDEN)
    assert all(900 < len(reads_in_turn(reads, cycle, 7)) < 1100 for cycle in range(7))


@pytest.mark.parametrize(
    ("ages", "leads", "size"),
    [
        ({}, 0, 0),
        ({1: 300}, 300, 10),
        ({1: 290}, 300, 0),
        ({30: 7}, 300, 7),
        ({1_000_000: 13, 1: 287}, 300, 13),
        ({29: 25}, 300, 15),
    ],
)
def test_the_rotation_reads_what_later_runs_cannot(ages: dict[int, int], leads: int, size: int) -> None:
    assert rotation_size(ages, leads) == size


@given(st.integers(1, 200), st.lists(st.integers(0, 40), min_size=61, max_size=61))
def test_no_lead_gets_older_than_thirty_runs(leads: int, others: list[int]) -> None:
    ages = [1] * leads
    for read_anyway in others:
        read = set(range(min(read_anyway, leads)))  # always the same ones: the others must not starve
        waiting = {lead: age for lead, age in enumerate(ages) if lead not in read}
        counts = {age: list(waiting.values()).count(age) for age in waiting.values()}
        read |= set(sorted(waiting, key=lambda lead: -waiting[lead])[: rotation_size(counts, leads)])
        assert all(age <= 30 for lead, age in enumerate(ages) if lead not in read or age > 30)
        ages = [1 if lead in read else age + 1 for lead, age in enumerate(ages)]
        assert max(ages) <= 30


@pytest.mark.parametrize(
    ("gone", "tasks", "suspicious"),
    [(50, 100, False), (51, 100, True), (51, 510, False), (52, 510, True), (0, 0, False)],
)
def test_many_tasks_gone_at_once_are_suspicious(gone: int, tasks: int, *, suspicious: bool) -> None:
    assert are_suspicious(gone, tasks) is suspicious


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ({MINE: (10, 0), CALENDAR: (10, 9)}, ["my-tasks"]),
        ({MINE: (10, 1), CALENDAR: (99, 0)}, ["the calendar"]),
        ({MINE: (9, 0), CALENDAR: (0, 0)}, []),
    ],
)
def test_a_list_that_showed_tasks_and_is_empty_is_suspicious(
    shown: dict[int, tuple[int, int]], names: list[str]
) -> None:
    assert emptied_lists(shown) == names


def test_what_the_lists_do_not_show_in_words() -> None:
    def of(*, finished: bool, dated: bool, own: bool, hidden: int) -> ClassCount:
        return ClassCount(
            is_appointment=not dated,
            is_finished=finished,
            is_dated=dated,
            is_own=own,
            tasks=2000,
            hidden=hidden,
            leads=min(hidden, 1),
        )

    classes = [
        of(finished=True, dated=True, own=True, hidden=1500),
        of(finished=False, dated=False, own=False, hidden=1),
        of(finished=False, dated=True, own=True, hidden=0),
    ]
    assert hidden_classes(classes) == [
        "open undated appointments of other users: 1 of 2,000, 1 lead, read every run",
        "finished tasks: 1,500 of 2,000, 1 lead, read in turn",
    ]


@pytest.mark.parametrize(
    ("size", "strategy"),
    [
        (Size(leads=5000, tasks=10_000, users=20), Strategy.LISTS),
        (Size(leads=5000, tasks=10_000, users=20, every_run=1500), Strategy.LISTS),
        (Size(leads=5000, tasks=10_000, users=20, every_run=1501), Strategy.LEADS),
        (Size(leads=3, tasks=6), Strategy.LEADS),
        (Size(leads=30, tasks=60), Strategy.LISTS),
        (Size(leads=30, tasks=60, users=40), Strategy.LEADS),
        (Size(leads=0, tasks=0), Strategy.LEADS),
        (Size(leads=0, tasks=10, every_run=4), Strategy.LEADS),
    ],
)
def test_the_lists_are_taken_where_they_save_requests(size: Size, strategy: Strategy) -> None:
    assert choose(size) is strategy


def test_a_plan_says_when_the_data_is_usable_and_when_proven() -> None:
    size = Size(leads=5000, tasks=10_000, users=20)
    first = plan_of(Strategy.LISTS, size, 100)
    later = plan_of(Strategy.LISTS, evolve(size, every_run=212, is_first=False), 100)
    in_turn = plan_of(Strategy.LISTS, evolve(size, every_run=2100, is_first=False), 100)
    assert (first.usable_requests, first.requests, first.usable_minutes, first.minutes) == (192, 5192, 1, 51)
    assert (later.usable_requests, later.requests) == (192, 192 + 212 + 167)
    assert in_turn.requests == 192 + 700 + 167
