import itertools
from datetime import UTC, datetime

import pytest
from attrs import evolve

from lofty_async.sandbox import Entry, EntryKind, State, times
from lofty_async.sandbox.entities import ABSENT
from lofty_async.sandbox.seed import BEYOND_DOUBLES, QUIRKS, Seed
from lofty_async.sandbox.shapes import EntryWriter
from lofty_async.sandbox.times import TimeStyle

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ORIGIN = datetime(2026, 6, 1, tzinfo=UTC)


def state(leads: int = 3, tasks: int = len(QUIRKS), appointments: int = 8, seed: int = 0) -> State:
    return State(Seed(leads, tasks, appointments, seed, ORIGIN), now=lambda: NOW)


def by_start(entry: Entry) -> tuple[float, int]:
    return (entry.start_at.timestamp() if entry.start_at else 0.0, entry.id)


def test_the_same_seed_gives_the_same_data_in_any_order() -> None:
    one, other = state(), state()
    backwards = {number: other.entries[number] for number in reversed(list(one.entries))}
    assert dict(one.entries) == backwards
    assert dict(one.leads) == dict(other.leads)


def test_another_seed_gives_other_ids_and_data() -> None:
    assert not set(state().entries) & set(state(seed=1).entries)
    assert not set(state().leads) & set(state(seed=1).leads)


def test_ids_are_of_fifteen_digits_and_share_one_space() -> None:
    one = state()
    numbers = [*one.tasks, *one.appointments]
    assert len(set(numbers)) == len(numbers) == 3 * (len(QUIRKS) + 8)
    assert {len(str(number)) for number in [*numbers, *one.leads]} == {15}


def test_leads_are_generated_on_first_access() -> None:
    one = state(leads=100_000)
    last = one.leads.ids()[-1]
    assert len(one.entries.of(last)) == len(QUIRKS) + 8
    assert len(one.entries._by_lead) == 1
    assert one.entries[one.entries.of(last)[0].id].lead_id == last


def test_every_awkward_value_occurs_at_every_third_lead() -> None:
    one = state()
    tasks = [EntryWriter(NOW).task(entry, one.leads[entry.lead_id]) for entry in one.entries.values()]
    ends = [str(task["endAt"]) for task in tasks]
    for suffix in ("GMT", "Z", "None", ":00"):
        assert any(end.endswith(suffix) for end in ends)
    assert any("startAt" not in task for task in tasks)
    assert any(task.get("startAt") == "" for task in tasks)
    assert any(task["pipelineId"] == -1 and task["queryId"] == 0 for task in tasks)
    assert any(task["type"] == "Handwritten Note" and task["assignedRole"] == "Lender" for task in tasks)
    assert any("\u2028" in task["content"] for task in tasks)
    assert any(task["type"] == "Email" and task["subject"] and task["body"] for task in tasks)
    assert any(task["queryInfo"] and task["queryId"] >= BEYOND_DOUBLES for task in tasks)
    assert any(task["finishFlag"] and task["finishTime"] for task in tasks)
    assert any(task["overdueFlag"] for task in tasks)
    assert any(task["allDay"] for task in tasks)
    assert any("aiSummary" in task for task in tasks)


@pytest.mark.parametrize(
    ("start", "end", "all_day"),
    [
        ("2026-06-02T00:00:00+09:00", "2026-06-03T00:00:00-08:00", True),
        ("2026-06-02T00:00:00+00:00", "2026-06-02T00:00:01+00:00", False),
        ("2026-06-02T00:00:00+00:00", None, False),
    ],
)
def test_all_day_means_midnight_to_midnight_in_their_own_offsets(start: str, end: str | None, all_day: bool) -> None:
    till = datetime.fromisoformat(end) if end else None
    one = state()
    entry = one.add_appointment(one.leads.ids()[0], start_at=datetime.fromisoformat(start), end_at=till)
    assert entry.all_day is all_day
    assert not evolve(entry, kind=EntryKind.TASK).all_day


def test_calls_watchers_with_each_change() -> None:
    one, seen = state(), list[tuple[str, int]]()
    one.watchers.append(lambda event, entry: seen.append((event, entry.id)))
    entry = one.add_task(one.leads.ids()[0]).id
    one.change(entry, content="x")
    one.finish(entry)
    one.unfinish(entry)
    one.remove(entry)
    assert seen == [(event, entry) for event in ("created", "updated", "finished", "unfinished", "deleted")]
    assert one.removed[entry].content == "x"


def test_removing_a_lead_removes_its_entries() -> None:
    one = state()
    first = one.leads.ids()[0]
    entries = [entry.id for entry in one.entries.of(first)]
    one.remove_lead(first)
    assert first not in one.leads
    assert not set(entries) & set(one.entries)
    assert one.entries.of(first) == []
    with pytest.raises(KeyError):
        one.entries[entries[0]]


def test_an_entry_of_an_unknown_lead_is_unknown() -> None:
    with pytest.raises(KeyError):
        state().entries[1]


def test_the_views_of_one_kind_can_be_changed() -> None:
    one = state()
    task, appointment = next(iter(one.tasks)), next(iter(one.appointments))
    one.tasks[task] = evolve(one.tasks[task], content="Changed")
    assert one.entries[task].content == "Changed"
    assert appointment not in one.tasks
    del one.appointments[appointment]
    assert appointment not in one.entries
    assert len(one.appointments) == 23


def test_sorted_lists_follow_changes() -> None:
    one = state()
    first = one.sorted_entries(by_start)
    assert one.sorted_entries(by_start) is first
    early = one.add_task(one.leads.ids()[0], start_at=datetime(1999, 1, 1, tzinfo=UTC))
    starts = [by_start(entry) for entry in one.sorted_entries(by_start)]
    assert starts == sorted(starts)
    assert early in one.sorted_entries(by_start)


def test_new_ids_differ() -> None:
    one = state()
    numbers = [one.add_lead().id for _ in range(3)] + [one.add_task(one.leads.ids()[0]).id for _ in range(3)]
    assert all(one != other for one, other in itertools.combinations(numbers, 2))


def test_quirks_leave_fields_out_or_replace_them() -> None:
    one = state()
    entry = one.add_task(one.leads.ids()[0], quirks={"body": ABSENT, "mood": "fine"}, time_style=TimeStyle.PLAIN)
    task = EntryWriter(NOW).task(entry, one.leads[entry.lead_id])
    assert "body" not in task
    assert (task["mood"], task["createTime"]) == ("fine", "2026-06-01 12:00:00")


def test_a_machine_without_a_time_zone_database_has_utc_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "known_zones", frozenset)
    assert times.zone.__wrapped__("Asia/Kolkata") is UTC
