"""Pure arithmetic of a window that several processes spend: who may take how many, lanes and fairness included.

A ledger lives in a store and is changed by one process at a time. Its times are those of the store's clock.
"""

from collections.abc import Iterator
from copy import deepcopy
from math import ceil, inf, isfinite
from typing import Any, Final, Literal, TypeVar

import attrs
from attrs import define, evolve, field, frozen

from .lanes import BULK, BULK_SHARE, INTERACTIVE, Lane
from .limits import Lease, RateLimit
from .resets import WINDOW
from .window import CONTENTION_WINDOWS, LAST, LATEST_BIAS, LONGEST_HOLD, Reserve, Window

CARRY: Final = 2.0  # seconds before a window's end from which a request may still land in the next one
HUNGER: Final = 1.0  # seconds for which an unmet wish counts, should its process not come back
POLL: Final = 0.05  # seconds until looking again, for each process that waits, while answers may free something
LOOK: Final = 1.0  # seconds until looking again when nothing is known to come
ACTIVE: Final = 120.0  # seconds after which a silent process is forgotten
CONTESTED: Final = 100  # one part of the limit is left to another client that spends from the window
FORESIGHT: Final = 2 * WINDOW  # seconds ahead of which no ledger knows a time, even where a clock was set back
MUCH_UNCOUNTED: Final = 4  # one part of a window's limit is proof that another client spends from it
LATEST_HOLD: Final = 3600.0 + FORESIGHT  # an hour is the most for which one answer holds others

T = TypeVar("T", "Member", Window)
Ending = Literal["answered", "silent", "released"]


@frozen
class AcquireRequest:
    """The permits that one process wants now, per lane, its rules, and how many of its permits are in flight.

    `queued_interactive` and `queued_bulk` count all calls that wait there, also those that have to wait for more.
    """

    member: str
    in_flight: int
    interactive: int
    bulk: int
    reserve: Reserve
    floor: int = 0
    queued_interactive: int = 0
    queued_bulk: int = 0


@frozen
class Grant:
    """How many leases a process got per lane, and in how many seconds to ask again for the rest.

    `limit`, the seconds that are `left` and `counts_milliseconds`, how the header tells them, are what all processes
    have learnt. `has_contention` is whether requests that the ledger does not count were spent in this window and the
    one before, or many in this one.
    """

    lease: Lease
    interactive: int
    bulk: int
    again_in: float
    limit: int | None = None
    left: float | None = None
    counts_milliseconds: bool = False
    has_contention: bool = False


@frozen
class PermitReport:
    """How one permit ended. `left` is the seconds to the window's end by the answer's figures, below 0 after it.

    `hold` is the server's Retry-After, `seconds` the time since the permit was granted. A request that was sent
    without a store has no `lease`.
    """

    member: str
    lease: Lease | None
    ending: Ending
    is_refused: bool = False
    limit: int = 0
    remaining: int = 0
    left: float | None = None
    hold: float | None = None
    seconds: float = 0.0
    counts_milliseconds: bool = False

    def aged(self, seconds: float) -> "PermitReport":
        """Return the same, told this much later."""
        left = None if self.left is None else self.left - seconds
        hold = None if self.hold is None else max(0.0, self.hold - seconds)
        return evolve(self, left=left, hold=hold, seconds=self.seconds + seconds)


@define
class Member:
    """One process: its permits of this window, those in flight, and until when it waits for more.

    `interactive` counts the interactive ones of `granted`; `late` were granted in an earlier window and are in flight.
    The calls of each lane that waited for permits when it last asked are `queued`.
    """

    granted: int = 0
    interactive: int = 0
    in_flight: int = 0
    late: int = 0
    granted_at: float = -inf
    seen_at: float = -inf
    waits_until: float = -inf
    waits_interactive_until: float = -inf
    queued_interactive: int = 0
    queued_bulk: int = 0

    @property
    def is_possible(self) -> bool:
        is_queue = min(self.queued_interactive, self.queued_bulk) >= 0
        return is_queue and 0 <= self.late <= self.in_flight and 0 <= self.interactive <= self.granted

    def is_waiting(self, lane: Lane, now: float) -> bool:
        """Whether it waits for an interactive permit, or, in the bulk lane, for any."""
        return (self.waits_interactive_until if lane is INTERACTIVE else self.waits_until) > now - HUNGER

    def queued(self, lane: Lane, now: float) -> int:
        """Return how many of its calls wait; a process that no longer asks has none."""
        queued = self.queued_interactive if lane is INTERACTIVE else self.queued_bulk
        return queued if self.waits_until > now - HUNGER else 0

    def share(self, lane: Lane) -> int:
        """The interactive permits of this window, or, in the bulk lane, all."""
        return self.interactive if lane is INTERACTIVE else self.granted


@define
class Ledger:
    """The shared window and its members. `epoch` tells this ledger from one that was lost.

    `had_contention` is whether another client was seen to spend in the window before, `uncounted` how many requests
    of this one the server counts and the ledger does not.
    """

    epoch: str
    window: Window = field(factory=Window)
    members: dict[str, Member] = field(factory=dict[str, Member])
    since_bulk: int = 0
    serial: int = 0
    counts_milliseconds: bool = False
    had_contention: bool = False
    uncounted: int = 0

    def take(self, request: AcquireRequest, now: float) -> Grant:
        """Grant what is free to this member: each tenth permit to bulk, the others to interactive calls first."""
        self._turn(now)
        member = self._member(request.member, now)
        self._agree(member, request.in_flight)
        window = self.window
        if window.in_flight:
            # What its process never hands back is forgotten with a window, which therefore has to end.
            window.assume_end(now)
        self._give_up_waiting(now)
        interactive, bulk = self._share_out(member, request, now)
        self.since_bulk = max(0, self.since_bulk + interactive - (BULK_SHARE + 1) * bulk)
        if not self._is_bulk_waiting(member, now):
            self.since_bulk = min(BULK_SHARE, self.since_bulk)
        return Grant(
            self._lease(),
            interactive,
            bulk,
            self._note_waiting(member, request, interactive, bulk, now),
            window.limit,
            None if window.ends_at is None else window.ends_at - now,
            self.counts_milliseconds,
            window.contention == CONTENTION_WINDOWS and (self.had_contention or self._is_much_uncounted()),
        )

    def _is_much_uncounted(self) -> bool:
        return MUCH_UNCOUNTED * self.uncounted > (self.window.limit or inf)

    def _share_out(self, member: Member, request: AcquireRequest, now: float) -> tuple[int, int]:
        def free(lane: Lane, *, reserve: Reserve = 0.0) -> int:
            return self._free(member, lane, now, reserve=reserve, floor=request.floor)

        is_open_to_bulk = self._is_open_to_bulk(member, now)
        due = (self.since_bulk + min(request.interactive, free(INTERACTIVE))) // (BULK_SHARE + 1)
        bulk = self._grant(member, BULK, min(request.bulk, due if is_open_to_bulk else 0, free(BULK)), now)
        # The turns of bulk in other processes, which are about to ask, are left to them.
        left = due - bulk if self._is_bulk_waiting(member, now) else 0
        interactive = self._grant(member, INTERACTIVE, min(request.interactive, free(INTERACTIVE) - left), now)
        if interactive == request.interactive and is_open_to_bulk:
            if self.since_bulk >= BULK_SHARE and not bulk:
                bulk = self._grant(member, BULK, min(request.bulk, 1, free(BULK)), now)
            bulk += self._grant(member, BULK, min(request.bulk - bulk, free(BULK, reserve=request.reserve)), now)
        return interactive, bulk

    def snapshot(self, now: float) -> RateLimit:
        """Return the budget of all members now; nothing changes."""
        ledger = deepcopy(self)
        ledger._turn(now)  # noqa: SLF001 - a ledger
        queued = {lane: sum(one.queued(lane, now) for one in ledger.members.values()) for lane in Lane}
        return RateLimit.of(ledger.window, queued, now)

    def learn(self, report: PermitReport, now: float) -> None:
        """Take in how a permit ended; one from a ledger that was lost is told from its figures alone."""
        self._turn(now)
        lease = report.lease
        if lease is None or lease.epoch != self.epoch:
            lease = Lease(self.window.serial, None, self.epoch)
        self._count_in(self._member(report.member, now), lease, report.ending)
        if report.ending == "released":
            self.window.release(lease.serial)
        elif report.ending == "silent":
            self.window.lose(lease.serial, now, is_refused=report.is_refused)
        else:
            self._learn_figures(report, lease, now)
        self.counts_milliseconds = self.counts_milliseconds or report.counts_milliseconds
        self._turn(now)

    def _learn_figures(self, report: PermitReport, lease: Lease, now: float) -> None:
        window = self.window
        if report.left is not None and report.left < 0:
            # Told too late: that window is over, and nothing of it says how this one stands.
            window.release(lease.serial)
            return
        end = None if report.left is None else now + report.left
        granted_at, is_refused = now - report.seconds, report.is_refused
        window.answer(
            lease.serial, report.limit, report.remaining, end, now, lowest=lease.lowest, is_refused=is_refused
        )
        if window.serial and window.has_figures and window.limit:  # the first window may have begun before the ledger
            self.uncounted = max(self.uncounted, window.limit - window.remaining - window.sent)
        if is_refused and not report.remaining:
            is_recent = lease.serial == window.serial
            # Whatever was believed of this window until now, there is nothing in it.
            until = end if is_recent and end and window.spare > 0 else now
            window.close(max(until, now + (report.hold or 0.0)), granted_at, now)
        elif not is_refused and window.hold and granted_at >= window.held_until:
            window.hold = 0.0

    def _lease(self) -> Lease:
        window = self.window
        return Lease(window.serial, window.remaining if window.has_figures else None, self.epoch)

    def _count_in(self, member: Member, lease: Lease, ending: Ending) -> None:
        """Take a permit off its member; one no longer counted is counted again, so that landing it changes nothing."""
        is_late = lease.serial != self.window.serial
        if not member.in_flight:
            self._count(member, 1, late=int(is_late))
        elif is_late and not member.late:
            self._count(member, 0, late=1)
        elif not is_late and member.late == member.in_flight:
            self._count(member, 0, late=-1)
        member.in_flight -= 1
        member.late -= is_late
        if ending == "released" and not is_late:
            member.granted = max(0, member.granted - 1)
            member.interactive = min(member.interactive, member.granted)

    def _count(self, member: Member, in_flight: int, *, late: int) -> None:
        for one in (member, self.window):
            one.in_flight += in_flight
            one.late += late
        self.window.sent = max(self.window.in_flight, self.window.sent + in_flight)

    def _agree(self, member: Member, in_flight: int) -> None:
        """Trust the process's own in-flight count; a grant may have been lost, or a permit forgotten here."""
        missing = in_flight - member.in_flight
        self._count(member, missing, late=missing if missing > 0 else min(0, in_flight - member.late))
        if missing < 0:
            member.granted = max(0, member.granted + missing)
            member.interactive = min(member.interactive, member.granted)

    def _give_up_waiting(self, now: float) -> None:
        """Permits out for long have landed or died: they stay spent, but no other waits for what their answers say."""
        for member in self.members.values():
            if member.granted_at < now - CARRY:
                self._count(member, 0, late=member.in_flight - member.late)

    def _member(self, name: str, now: float) -> Member:
        member = self.members.setdefault(name, Member())
        member.seen_at = now
        return member

    def _turn(self, now: float) -> None:
        """At a window's end, forget what can only have landed in it: also what died with its process."""
        self.window.roll(now)
        if self.serial == self.window.serial:
            return
        self.serial = self.window.serial
        # In the first window, contention is assumed, not seen.
        self.uncounted = 0
        self.had_contention = self.serial > 1 and self.window.contention == CONTENTION_WINDOWS - 1
        over = max(min(self.window.previous_end, now) - CARRY, now - self.window.period)
        for member in self.members.values():
            member.late = member.in_flight
            if member.granted_at < over:
                self._count(member, -member.in_flight, late=-member.late)
            member.granted, member.interactive = member.in_flight, 0
        self.members = {name: one for name, one in self.members.items() if one.in_flight or one.seen_at > now - ACTIVE}

    def _free(self, member: Member, lane: Lane, now: float, *, reserve: Reserve, floor: int) -> int:
        """Return what the member may have now in this lane."""
        window = self.window
        spare = self._spare - window.kept(reserve, floor, now)
        return max(0, min(window.free(now), spare, self._quota(member, lane, now)))

    @property
    def _spare(self) -> int:
        """The requests that remain, less the last of each hundred if another client has spent from this window.

        Answers are too old to tell whether it has taken those as well. A limiter without a store leaves them to
        nobody: its siblings, which it takes for other clients, would leave them too.
        """
        window = self.window
        is_contested = bool(window.serial) and (window.limit or 0) - window.remaining > window.sent
        return window.spare - (window.limit or 0) // CONTESTED if is_contested else window.spare

    def _quota(self, member: Member, lane: Lane, now: float) -> int:
        """Return what is left of this member's fair share while others that have not had theirs wait.

        Of interactive calls, only interactive demand and permits count: bulk that waits takes nothing from them.
        """
        waiting = [one for one in self._others(member) if one.is_waiting(lane, now)]
        limit = self.window.limit
        if limit is None or not waiting:
            return self.window.spare
        fair = ceil(limit / (len(waiting) + 1))
        if all(one.share(lane) >= fair for one in waiting):
            return self.window.spare
        return max(0, fair - member.share(lane))

    def _others(self, member: Member) -> list[Member]:
        return [one for one in self.members.values() if one is not member]

    def _grant(self, member: Member, lane: Lane, number: int, now: float) -> int:
        is_interactive = lane is INTERACTIVE
        for _ in range(number):
            self.window.take(now, is_interactive=is_interactive)
        if number > 0:
            member.granted += number
            member.interactive += number if is_interactive else 0
            member.in_flight += number
            member.granted_at = now
        return max(0, number)

    def _is_bulk_waiting(self, member: Member, now: float) -> bool:
        """Return whether another process waits with bulk calls alone, and has had less than its fair share."""
        fair = (self.window.limit or 0) / len(self.members)
        waiting = (one for one in self._others(member) if one.is_waiting(BULK, now) and one.granted < fair)
        return any(not one.is_waiting(INTERACTIVE, now) for one in waiting)

    def _is_open_to_bulk(self, member: Member, now: float) -> bool:
        """Return whether bulk is due, or no other process waits with an interactive call."""
        is_due = self.since_bulk >= BULK_SHARE
        return is_due or not any(one.is_waiting(INTERACTIVE, now) for one in self._others(member))

    def _note_waiting(self, member: Member, request: AcquireRequest, interactive: int, bulk: int, now: float) -> float:
        """Note until when the member waits for the rest of its request; return in how many seconds it asks again."""
        member.waits_interactive_until = member.waits_until = -inf
        member.queued_interactive = max(0, request.queued_interactive - interactive)
        member.queued_bulk = max(0, request.queued_bulk - bulk)
        if interactive == request.interactive and bulk == request.bulk:
            return LOOK
        member.waits_until = now
        again_in = self._again_in(request, interactive < request.interactive, now)
        member.waits_until = now + again_in
        if interactive < request.interactive:
            member.waits_interactive_until = member.waits_until
        return again_in

    def _again_in(self, request: AcquireRequest, wants_interactive: bool, now: float) -> float:
        """Until time alone may bring more where nothing else can; else a pause that grows with those who wait."""
        window = self.window
        waiting = sum(one.waits_until > now - HUNGER for one in self.members.values())
        look = window.next_look(now, request.reserve if request.bulk else 0.0, request.floor) - now
        has_turns = any(one.is_waiting(INTERACTIVE, now) for one in self.members.values())
        # Each tenth permit goes to bulk whatever the reserve keeps, so bulk has to ask while others wait for theirs.
        reserve = 0.0 if wants_interactive or has_turns else request.reserve
        if not self._waits_for_time(reserve, request.floor, now):
            return max(0.0, min(look, POLL * waiting, LOOK))
        end = LOOK if window.ends_at is None else window.ends_at - now
        if request.bulk and request.reserve == "auto" and end > LAST:
            end -= LAST  # what the reserve has kept is free from then on, and lost at the window's end
        return max(0.0, min(max(look, LOOK * (waiting - 1)), end))

    def _waits_for_time(self, reserve: Reserve, floor: int, now: float) -> bool:
        """Return whether no answer to any process can bring more than there is now."""
        window = self.window
        if now < window.held_until:
            return True
        if not window.has_figures or (window.in_flight and window.remaining > 0):
            return False
        return self._spare <= window.kept(reserve, floor, now)

    def is_possible(self, at: float) -> bool:
        """Whether its figures, written at that time, can have come about: others would hold calls up for ever."""
        window, members = self.window, list(self.members.values())
        return (
            min(self.since_bulk, self.serial, window.remaining, window.serial, window.contention, window.passed) >= 0
            and min(window.interactive, window.expected) >= 0
            and (window.limit is None or window.limit > 0)
            and all(one.is_possible for one in members)
            and 0 <= window.late <= window.in_flight == sum(one.in_flight for one in members)
            and max(self._times()) <= at + FORESIGHT
            and window.held_until <= at + LATEST_HOLD
            and 0 <= window.hold <= LONGEST_HOLD
            and 0 <= window.length <= WINDOW
            and 0 <= window.bias <= LATEST_BIAS
            and (window.ends_at is not None or window.remaining >= (window.limit or 0))
        )

    def _times(self) -> Iterator[float]:
        window = self.window
        yield from (time or -inf for time in (window.previous_end, window.ends_at, window.probed_at))
        for one in self.members.values():
            yield from (one.granted_at, one.seen_at, one.waits_until, one.waits_interactive_until)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a store; infinities, which JSON lacks, as null."""
        members = {name: _without_infinities(attrs.asdict(one)) for name, one in self.members.items()}
        window = _without_infinities(attrs.asdict(self.window))
        return {**attrs.asdict(self, recurse=False), "window": window, "members": members}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Ledger":
        """The ledger that `as_json` made.

        Raises: TypeError, KeyError, AttributeError, ValueError or OverflowError on anything else.
        """
        members = {name: _made(Member, one) for name, one in values["members"].items()}
        window = _made(Window, values["window"])
        flags = bool(values["counts_milliseconds"]), bool(values["had_contention"])
        rest = int(values["since_bulk"]), int(values["serial"]), *flags, int(values["uncounted"])
        return cls(str(values["epoch"]), window, members, *rest)


def _without_infinities(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == -inf else value for name, value in values.items()}


def _made(kind: type[T], values: dict[str, Any]) -> T:
    """Numbers only, and nothing where there may be nothing: anything else would fail much later."""
    for attribute in attrs.fields(kind):
        value = values[attribute.name]
        if attribute.default == -inf and value is None:
            values = {**values, attribute.name: -inf}
        elif not isinstance(value, attribute.type | int) or not isfinite(value or 0):
            raise TypeError(f"{attribute.name} cannot be {value!r}")
    return kind(**values)
