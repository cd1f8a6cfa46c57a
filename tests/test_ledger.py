import json
import math
from typing import Any

import attrs
import pytest
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lofty_async.ratelimit.lanes import BULK_SHARE
from lofty_async.ratelimit.ledger import (
    ACTIVE,
    CARRY,
    LOOK,
    POLL,
    AcquireRequest,
    Grant,
    Ledger,
    Member,
    PermitReport,
)
from lofty_async.ratelimit.limits import Lease

LIMIT = 100
LENGTH = 60.0


def ask(member: str = "a", interactive: int = 0, bulk: int = 0, *, holding: int = 0, **rules: Any) -> AcquireRequest:
    return AcquireRequest(member, holding, interactive, bulk, **({"reserve": 0.1, "floor": 0} | rules))


def answer(grant: Grant, member: str = "a", *, remaining: int, left: float | None = 30.0, **more: Any) -> PermitReport:
    figures = {"limit": LIMIT, "remaining": remaining, "left": left}
    return PermitReport(member, grant.lease, "answered", **(figures | more))


def released(grant: Grant, member: str = "a") -> PermitReport:
    return PermitReport(member, grant.lease, "released")


def in_whole_window() -> Ledger:
    """At 0 s a whole window of a hundred has begun, the third, and nobody else spends."""
    ledger = Ledger("e")
    for began in (-120.0, -60.0):
        ledger.learn(answer(ledger.take(ask(interactive=1), began), remaining=99, left=60.0), began)
    ledger.learn(released(ledger.take(ask(interactive=1), 0.0)), 0.0)
    return ledger


def test_before_anything_is_known_one_request_goes_to_find_out() -> None:
    ledger = Ledger("e")
    assert ledger.take(ask("a", 10), 0.0).interactive == 1
    assert ledger.take(ask("b", 10), 0.0).interactive == 0


def test_a_whole_window_is_granted_once_whoever_asks() -> None:
    ledger = in_whole_window()
    assert ledger.take(ask("a", 60), 1.0).interactive == 60
    assert ledger.take(ask("b", 60), 1.0).interactive == 40
    assert ledger.take(ask("c", 60), 1.0).interactive == 0


def test_a_permit_handed_back_is_free_again() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 100), 1.0)
    ledger.learn(released(grant), 1.1)
    assert ledger.take(ask("b", 5), 1.1).interactive == 1


def test_what_others_spent_is_not_granted_and_an_eighth_of_the_rest_goes_at_once() -> None:
    ledger = in_whole_window()
    ledger.learn(answer(ledger.take(ask("a", 1), 1.0), remaining=40), 1.1)
    assert ledger.take(ask("a", 100), 1.2).interactive == 40 // 8


def test_an_answer_without_figures_counts_as_spent() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 1), 1.0)
    ledger.learn(PermitReport("a", grant.lease, "silent"), 1.1)
    assert ledger.take(ask("a", 100), 1.2).interactive == 99


def test_a_refusal_without_figures_was_not_counted() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 1), 1.0)
    ledger.learn(PermitReport("a", grant.lease, "silent", is_refused=True), 1.1)
    assert ledger.take(ask("a", 100), 1.2).interactive == 100


def test_a_time_that_the_server_named_holds_everybody() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 1), 1.0)
    ledger.learn(answer(grant, remaining=0, left=2.0, is_refused=True, hold=5.0), 1.0)
    assert ledger.take(ask("b", 1), 5.9).interactive == 0
    assert ledger.take(ask("b", 1), 6.1).interactive == 1


def test_a_refusal_that_contradicts_what_was_believed_ends_the_window() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 2), 1.0)
    ledger.learn(answer(grant, remaining=99, left=59.0), 1.1)
    # An end that belongs to the window before would otherwise be passed over.
    ledger.learn(answer(grant, remaining=0, left=2.0, is_refused=True), 1.2)
    assert ledger.take(ask("b", 1), 3.1).interactive == 0
    assert ledger.take(ask("b", 1), 3.3).interactive == 1


def test_figures_told_after_their_window_say_nothing_of_the_next() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 1), 1.0)
    ledger.learn(answer(grant, remaining=3, left=-0.1), 1.1)
    assert ledger.take(ask("a", 100), 1.2).interactive == 100
    assert ledger.window.bias == 0


def test_an_outcome_of_a_ledger_that_was_lost_teaches_its_figures() -> None:
    before, after = in_whole_window(), Ledger("f")
    grant = before.take(ask("a", 1), 1.0)
    after.learn(answer(grant, remaining=70), 1.1)
    assert (after.window.limit, after.window.remaining, after.window.in_flight) == (LIMIT, 70, 0)


def test_a_new_ledger_counts_what_its_members_have_in_flight() -> None:
    ledger = Ledger("f")
    ledger.take(ask("a", holding=7), 0.0)
    assert (ledger.window.in_flight, ledger.members["a"].in_flight) == (7, 7)


def test_a_grant_that_never_reached_its_process_is_taken_back_when_it_asks_again() -> None:
    ledger = in_whole_window()
    ledger.take(ask("a", 100), 1.0)
    assert ledger.take(ask("a", 100, holding=0), 1.1).interactive == 100
    assert ledger.window.sent == 100


def test_permits_in_flight_are_carried_into_the_next_window_until_their_answers_come() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 10), 59.5)
    assert ledger.take(ask("b", 100), 60.2).interactive == 90
    ledger.learn(answer(grant, remaining=90, left=0.1), 60.2)
    assert ledger.window.in_flight == 99
    assert ledger.take(ask("b", 100, holding=90), 60.3).interactive == 1


def test_what_a_dead_process_held_is_free_when_the_window_ends() -> None:
    ledger = in_whole_window()
    ledger.take(ask("dead", 30), 1.0)
    assert ledger.take(ask("b", 100), 2.0).interactive == 70
    assert ledger.take(ask("b", 100), 60.2).interactive == 100


def test_what_a_process_held_that_died_at_the_very_end_is_free_a_window_later() -> None:
    ledger = in_whole_window()
    ledger.take(ask("dead", 30), 60.0 - CARRY / 2)
    assert ledger.take(ask("b", 100), 60.2).interactive == 70
    assert ledger.take(ask("b", 100), 120.3).interactive == 100


def test_in_company_nobody_waits_for_the_answers_of_a_dead_process() -> None:
    ledger = in_whole_window()
    ledger.learn(answer(ledger.take(ask("a", 1), 1.0), remaining=40), 1.1)
    assert ledger.take(ask("dead", 5), 1.2).interactive == 40 // 8
    assert ledger.take(ask("a", 5), 1.3).interactive == 0
    assert ledger.take(ask("a", 5), 1.3 + CARRY).interactive == 40 // 8


def test_members_that_went_silent_long_ago_are_forgotten_with_all_they_held() -> None:
    ledger = in_whole_window()
    ledger.take(ask("dead", 30), 60.05)
    ledger.take(ask("b"), 60.1 + 2 * ACTIVE)
    assert set(ledger.members) == {"b"}
    assert ledger.window.in_flight == 0


def test_an_answer_that_comes_after_its_permit_was_forgotten_changes_no_count() -> None:
    ledger = in_whole_window()
    slow = ledger.take(ask("a", 1), 1.0)
    ledger.take(ask("b", 5), 60.2)
    fresh = ledger.take(ask("b", 5), 60.2)
    ledger.learn(answer(slow, remaining=99, left=0.0), 60.2)
    assert ledger.window.in_flight == 5 + fresh.interactive - 5
    assert (ledger.window.late, ledger.members["a"].in_flight) == (0, 0)


def test_an_outcome_told_twice_is_made_good_when_its_process_asks_again() -> None:
    ledger = in_whole_window()
    slow = ledger.take(ask("a", 1), 1.0)
    ledger.take(ask("b"), 60.2)
    assert ledger.take(ask("a", 5, holding=1), 60.2).interactive == 5
    for _ in range(2):
        ledger.learn(answer(slow, remaining=99, left=0.0), 60.3)
    assert (ledger.window.in_flight, ledger.window.late) == (4, 0)
    assert ledger.take(ask("a", 100, holding=5), 60.4).interactive == 95


@pytest.mark.parametrize(("floor", "granted"), [(0, 100), (30, 70), (99, 1), (100, 1), (500, 1)])
def test_the_floor_is_never_spent_but_for_one(floor: int, granted: int) -> None:
    ledger = in_whole_window()
    assert ledger.take(ask("a", 200, floor=floor), 1.0).interactive == granted
    assert ledger.take(ask("a", 200, holding=granted, floor=floor), 1.0).interactive == 0


@pytest.mark.parametrize("rules", [{"reserve": 1.0}, {"floor": 95}, {"floor": 60, "reserve": 0.5}, {"floor": 100}])
def test_whatever_is_to_be_left_one_bulk_request_goes_when_its_window_begins(rules: dict[str, Any]) -> None:
    ledger = in_whole_window()
    assert ledger.take(ask("a", bulk=200, **rules), 200.0).bulk == 1
    assert ledger.take(ask("a", bulk=200, holding=1, **rules), 200.0).bulk == 0


@pytest.mark.parametrize("floor", [0, 99])
def test_a_process_that_died_at_the_very_end_with_the_whole_budget_stops_nobody_for_long(floor: int) -> None:
    ledger = in_whole_window()
    assert ledger.take(ask("dead", LIMIT), 60.0 - CARRY / 2).interactive == LIMIT
    assert ledger.take(ask("b", 1, floor=floor), 60.2).interactive == 0
    assert ledger.take(ask("b", 1, floor=floor), 120.3).interactive == 1


def test_what_ended_without_an_answer_before_its_window_began_is_over_with_that() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", LIMIT), 59.0)
    for _ in range(LIMIT):
        ledger.learn(PermitReport("a", grant.lease, "silent"), 70.0)
    assert ledger.take(ask("a", 1), 70.0).interactive == 0
    assert ledger.take(ask("a", 1), 130.1).interactive == 1


def test_bulk_leaves_the_reserve_of_the_whole_budget_and_less_as_the_window_ages() -> None:
    ledger = in_whole_window()
    assert ledger.take(ask("a", bulk=50), 0.0).bulk == 50
    assert ledger.take(ask("b", bulk=50), 0.0).bulk == 40
    assert ledger.take(ask("b", bulk=50, holding=40), 31.0).bulk == 6
    assert ledger.take(ask("b", bulk=50, holding=46), 59.9).bulk == 4


def test_bulk_waits_while_another_process_goes_without_an_interactive_permit() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", bulk=90), 0.2)
    ledger.take(ask("b", 20), 0.3)
    ledger.learn(released(grant), 0.4)
    assert ledger.take(ask("a", bulk=1, holding=89), 0.4).bulk == 0
    assert ledger.take(ask("b", 10, holding=10), 0.5).interactive == 1


def test_bulk_has_its_turn_after_so_many_interactive_permits() -> None:
    ledger = in_whole_window()
    ledger.take(ask("a", 100), 1.0)
    assert ledger.since_bulk >= BULK_SHARE
    ledger.take(ask("a", 1, holding=100), 1.0)
    ledger.take(ask("a", 0, holding=98), 1.0)
    assert ledger.take(ask("b", bulk=5), 1.0).bulk == 1


def test_each_tenth_permit_is_bulk_s_however_many_interactive_calls_the_same_process_has() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 200, 50), 0.0)
    assert (grant.interactive, grant.bulk) == (90, 10)


def test_turns_of_bulk_that_nobody_wanted_are_not_made_up_for() -> None:
    ledger = in_whole_window()
    ledger.take(ask("a", 60), 0.0)
    grant = ledger.take(ask("a", 40, 60, holding=60), 0.0)
    assert (grant.interactive, grant.bulk) == (36, 4)


def test_a_turn_of_bulk_does_not_cost_the_reserve() -> None:
    ledger = in_whole_window()
    ledger.take(ask("a", 20), 0.0)
    assert ledger.take(ask("a", 0, 100, holding=20), 0.0).bulk == 70


def test_bulk_has_its_turn_also_where_permits_come_one_by_one() -> None:
    ledger, bulk, held = in_whole_window(), 0, 0
    for _ in range(50):
        grant = ledger.take(ask("a", 1, 1, holding=held, reserve=1.0), 0.0)
        bulk, held = bulk + grant.bulk, held + grant.interactive + grant.bulk
    assert (held, bulk) == (55, 5)


def test_four_that_want_everything_get_a_quarter_each_once_all_have_asked() -> None:
    ledger = in_whole_window()
    for name in "abcd":
        ledger.take(ask(name, 200), 60.05)
    granted = {name: ledger.take(ask(name, 100, holding=ledger.members[name].in_flight), 60.2) for name in "abcd"}
    assert sum(ledger.members[name].in_flight for name in "abcd") == LIMIT
    assert all(one.interactive <= LIMIT for one in granted.values())


def test_one_that_goes_without_bounds_the_others_to_their_share() -> None:
    ledger = in_whole_window()
    first = ledger.take(ask("a", 100), 1.0)
    ledger.take(ask("b", 100), 1.1)
    for _ in range(60):
        ledger.learn(released(first), 1.2)
    assert ledger.take(ask("a", 60, holding=40), 1.2).interactive == 10
    assert ledger.take(ask("b", 60), 1.3).interactive == 50


@pytest.mark.parametrize(
    ("taken", "again_in"),
    [(0, LOOK), (100, POLL)],
    ids=["nothing is missing", "answers to others may free something"],
)
def test_when_to_ask_again(taken: int, again_in: float) -> None:
    ledger = in_whole_window()
    ledger.take(ask("a", taken), 1.0)
    assert ledger.take(ask("b", taken), 1.0).again_in == again_in


def test_the_unit_of_the_reset_header_is_told_on() -> None:
    ledger = in_whole_window()
    grant = ledger.take(ask("a", 1), 1.0)
    ledger.learn(answer(grant, remaining=99, counts_milliseconds=True), 1.1)
    assert ledger.take(ask("b", 1), 1.2).counts_milliseconds


def test_an_outcome_told_later_counts_its_times_from_then() -> None:
    outcome = PermitReport("a", Lease(1, None, "e"), "answered", left=10.0, hold=3.0)
    assert (outcome.aged(4).left, outcome.aged(4).hold) == (6.0, 0.0)
    assert attrs.evolve(outcome, left=None, hold=None).aged(4).left is None


BROKEN: list[tuple[str, Any]] = [
    ("window", {}),
    ("window", None),
    ("members", {"a": {}}),
    ("members", 5),
    ("since_bulk", None),
    ("serial", "many"),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_what_is_no_ledger_is_refused(name: str, value: Any) -> None:
    with pytest.raises((TypeError, KeyError, AttributeError, ValueError)):
        Ledger.from_json({**in_whole_window().as_json(), name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("limit", "many"), ("in_flight", 0.5), ("in_flight", None), ("has_figures", "")],
        *[("ends_at", math.nan), ("held_until", math.inf), ("probed_at", -math.inf)],
    ],
)
def test_a_window_of_other_types_is_refused(name: str, value: Any) -> None:
    values = in_whole_window().as_json()
    with pytest.raises(TypeError, match=name):
        Ledger.from_json({**values, "window": {**values["window"], name: value}})


def with_figure(part: str, name: str, value: Any) -> Ledger:
    """A ledger at 1 s, with two of one member's permits in flight, and one figure that is another."""
    ledger = in_whole_window()
    ledger.take(ask("a", 2), 1.0)
    parts: dict[str, Any] = {"ledger": ledger, "window": ledger.window, "member": ledger.members["a"]}
    setattr(parts[part], name, value)
    return ledger


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *[("ledger", "since_bulk", -1), ("ledger", "serial", -1), ("window", "serial", -1)],
        *[
            ("window", "limit", 0),
            ("window", "remaining", -5),
            ("window", "interactive", -1),
            ("window", "contention", -1),
        ],
        *[
            ("window", "in_flight", 10**6),
            ("window", "in_flight", 0),
            ("window", "late", 3),
            ("window", "late", -1),
        ],
        *[("window", "ends_at", 1e9), ("window", "previous_end", 1e9), ("window", "probed_at", 1e9)],
        *[("window", "held_until", 1e6), ("window", "length", -1.0), ("window", "length", 61.0)],
        *[("window", "bias", 90.0), ("window", "bias", -1.0)],
        *[
            ("member", "granted", -1),
            ("member", "in_flight", 1),
            ("member", "late", 3),
            ("member", "granted_at", 1e9),
        ],
        *[("member", "seen_at", 1e9), ("member", "waits_until", 1e9), ("member", "waits_interactive_until", 1e9)],
    ],
)
def test_a_figure_that_cannot_have_come_about_is_told(part: str, name: str, value: float) -> None:
    assert not with_figure(part, name, value).is_possible(1.0)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *[("window", "limit", 100), ("window", "held_until", 3600.0), ("window", "ends_at", 62.5)],
        *[("window", "hold", 60.0), ("window", "probed_at", None), ("member", "seen_at", -math.inf)],
    ],
)
def test_a_figure_that_is_rare_can_have_come_about(part: str, name: str, value: float) -> None:
    assert with_figure(part, name, value).is_possible(1.0)


def test_of_a_window_that_has_not_begun_nothing_can_be_spent() -> None:
    ledger = in_whole_window()
    ledger.window.ends_at = None
    assert ledger.is_possible(1.0)
    ledger.window.remaining -= 1
    assert not ledger.is_possible(1.0)


NAMES = st.sampled_from("abc")


@define
class Held:
    """A permit as its process knows it, and in which of the server's windows it was counted, once it was."""

    grant: Grant
    window: int | None = None
    counted: int = 0


@define
class Process:
    """What one process knows; `unheard` are outcomes that it has still to hand in."""

    held: list[Held] = field(factory=list[Held])
    unheard: list[PermitReport] = field(factory=list[PermitReport])


class SharedLedger(RuleBasedStateMachine):
    """Processes that die, are slow, repeat themselves; a store that is emptied; a server that counts truly."""

    @initialize()
    def begin(self) -> None:
        self.now, self.ledger, self.epochs = 0.0, Ledger("0"), 0
        self.processes = {name: Process() for name in "abc"}
        self.ghosts = 0
        self.accepted: dict[int, int] = {}
        self.refused = 0

    def window(self) -> int:
        return math.floor(self.now / LENGTH)

    @rule(name=NAMES, interactive=st.integers(0, 60), bulk=st.integers(0, 60))
    def take(self, name: str, interactive: int, bulk: int) -> None:
        process = self.processes[name]
        for outcome in process.unheard:
            self.ledger.learn(outcome, self.now)
        process.unheard.clear()
        grant = self.ledger.take(ask(name, interactive, bulk, holding=len(process.held)), self.now)
        assert grant.interactive <= interactive
        assert grant.bulk <= bulk
        process.held += [Held(grant) for _ in range(grant.interactive + grant.bulk)]
        assert self.ledger.members[name].in_flight == len(process.held)

    @rule(name=NAMES, which=st.integers(0), late=st.booleans(), silent=st.booleans(), twice=st.booleans())
    def observe(self, name: str, which: int, *, late: bool, silent: bool, twice: bool) -> None:
        process = self.processes[name]
        if not process.held:
            return
        held = process.held.pop(which % len(process.held))
        self.arrive(held)
        if held.window != self.window():
            late = True  # an answer that was on its way while the window ended is handed in with its age
        left = (held.window or 0) * LENGTH + LENGTH - self.now
        outcome = answer(held.grant, name, remaining=LIMIT - held.counted, left=left)
        outcome = PermitReport(name, held.grant.lease, "silent") if silent else outcome
        process.unheard += [outcome] * (1 + twice)
        if not late:
            self.take(name, 0, 0)

    @rule(name=NAMES, which=st.integers(0))
    def arrive_early(self, name: str, which: int) -> None:
        held = self.processes[name].held
        if held:
            self.arrive(held[which % len(held)])

    def arrive(self, held: Held) -> None:
        if held.window is None:
            held.window = self.window()
            self.accepted[held.window] = held.counted = self.accepted.get(held.window, 0) + 1

    @rule(name=NAMES, which=st.integers(0))
    def cancel(self, name: str, which: int) -> None:
        process = self.processes[name]
        waiting = [held for held in process.held if held.window is None]
        if waiting:
            held = waiting[which % len(waiting)]
            process.held = [one for one in process.held if one is not held]
            process.unheard.append(released(held.grant, name))

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        """Requests that left reach the server in less time than permits are carried on."""
        self.settle_journeys()
        self.now += seconds

    @rule()
    def pass_a_window(self) -> None:
        self.settle_journeys()
        self.now += LENGTH

    def settle_journeys(self) -> None:
        for process in self.processes.values():
            for held in process.held:
                self.arrive(held)

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        """Its requests may have left or not; its name never comes back."""
        self.ghosts += 1
        self.processes[name] = Process()
        self.ledger.members[f"dead {self.ghosts}"] = self.ledger.members.pop(name, Member())

    @rule()
    def pass_through_a_store(self) -> None:
        before = self.ledger
        self.ledger = Ledger.from_json(json.loads(json.dumps(before.as_json())))
        assert self.ledger == before

    @precondition(lambda self: all(not process.held for process in self.processes.values()))
    @rule()
    def lose_the_store(self) -> None:
        self.epochs += 1
        self.ledger = Ledger(str(self.epochs))

    @invariant()
    def the_server_never_has_to_refuse(self) -> None:
        coming = sum(held.window is None for process in self.processes.values() for held in process.held)
        assert self.accepted.get(self.window(), 0) + coming <= LIMIT

    @invariant()
    def every_permit_is_somebodys(self) -> None:
        members = self.ledger.members.values()
        assert self.ledger.window.in_flight == sum(one.in_flight for one in members)
        assert self.ledger.window.late <= self.ledger.window.in_flight
        assert all(0 <= one.late <= one.in_flight for one in members)
        assert self.ledger.is_possible(self.now)

    def teardown(self) -> None:
        """Whatever happened, once all have ended the ledger is as new two windows later."""
        for name, process in self.processes.items():
            process.unheard += [released(held.grant, name) for held in process.held]
            process.held.clear()
            self.take(name, 0, 0)
        self.now += 3 * LENGTH
        self.ledger.take(ask("z", 1), self.now)
        self.now += 2 * LENGTH
        self.ledger.take(ask("z"), self.now)
        assert self.ledger.window.in_flight == 0


TestSharedLedger = SharedLedger.TestCase
TestSharedLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
