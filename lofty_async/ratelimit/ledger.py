"""Pure arithmetic of a window that several processes spend: who may take how many, lanes and fairness included.

A ledger lives in a store and is changed by one process at a time. Its times are those of the store's clock.
"""

from collections.abc import Iterator
from math import ceil, inf, isfinite
from typing import Any, Final, TypeVar

import attrs
from attrs import define, field

from .lanes import BULK_SHARE
from .messages import Ask, Grant, Outcome, What
from .reserve import kept, next_look
from .resets import WINDOW
from .spend import Spend
from .window import LATEST_BIAS, Window

CARRY: Final = 2.0  # seconds before a window's end from which a request may still land in the next one
HUNGER: Final = 1.0  # seconds for which an unmet wish counts, should its process not come back
POLL: Final = 0.05  # seconds until looking again, for each process that waits, while answers may free something
LOOK: Final = 1.0  # seconds until looking again when nothing is known to come
ACTIVE: Final = 120.0  # seconds after which a silent process is forgotten
FORESIGHT: Final = 2 * WINDOW  # seconds ahead of which no ledger knows a time, even where a clock was set back
LONGEST_HOLD: Final = 86_400.0 + FORESIGHT  # a day is the most that is believed of a server's Retry-After

T = TypeVar("T", "Member", Window)


@define
class Member:
    """One process: what it was granted in this window, what is in flight, when it last went without.

    Of the permits in flight, `carried` were granted in earlier windows.
    """

    granted: int = 0
    in_flight: int = 0
    carried: int = 0
    granted_at: float = -inf
    seen_at: float = -inf
    hungry_at: float = -inf
    hungry_interactive_at: float = -inf


@define
class Ledger:
    """The shared window and its members. `epoch` tells this ledger from one that was lost."""

    epoch: str
    window: Window = field(factory=Window)
    members: dict[str, Member] = field(factory=dict[str, Member])
    since_bulk: int = 0
    serial: int = 0
    counts_milliseconds: bool = False

    def take(self, ask: Ask, now: float) -> Grant:
        """Grant what is free to this member: each tenth permit to bulk, the others to interactive calls first."""
        self._turn(now)
        member = self._member(ask.member, now)
        self._agree(member, ask.in_flight)
        if self.window.in_flight:
            # What its process never hands back is forgotten with a window, which therefore has to end.
            self.window.assume_end(now)
        self._give_up_waiting(now)
        is_open_to_bulk, free = self._is_open_to_bulk(ask.member, now), self._free(ask, now, share=0.0)
        due = (self.since_bulk + min(ask.interactive, free)) // (BULK_SHARE + 1) if is_open_to_bulk else 0
        bulk = self._grant(member, min(ask.bulk, due), free, now)
        interactive = self._grant(member, ask.interactive, self._free(ask, now, share=0.0), now)
        if interactive == ask.interactive and is_open_to_bulk:
            if self._is_turn_of_bulk() and not bulk:
                bulk = self._grant(member, min(ask.bulk, 1), self._free(ask, now, share=0.0), now)
            bulk += self._grant(member, ask.bulk - bulk, self._free(ask, now, share=ask.reserve), now)
        self.since_bulk = 0 if bulk else min(BULK_SHARE, self.since_bulk + interactive)
        again_in = self._note_hunger(member, ask, interactive, bulk, now)
        window = self.window
        left = None if window.ends_at is None else window.ends_at - now
        learnt = (window.limit, left, self.counts_milliseconds, window.company and window.company_before)
        return Grant(interactive, bulk, self._spend(), self.epoch, again_in, *learnt)

    def learn(self, outcome: Outcome, now: float) -> None:
        """Take in how a permit ended; one from a ledger that was lost is told from its figures alone."""
        self._turn(now)
        spend = outcome.spend if outcome.epoch == self.epoch else Spend(self.window.serial, None)
        self._count_in(self._member(outcome.member, now), spend, outcome.what)
        if outcome.what == "released":
            self.window.release(spend)
        elif outcome.what == "silent":
            self._learn_silence(outcome, spend, now)
        else:
            self._learn_figures(outcome, spend, now)
        self.counts_milliseconds = self.counts_milliseconds or outcome.counts_milliseconds
        if outcome.hold is not None:
            self.window.hold(now + outcome.hold)
        self._turn(now)

    def _learn_silence(self, outcome: Outcome, spend: Spend, now: float) -> None:
        if outcome.refused:
            self.window.refused(spend)
        self.window.answered_silently(spend, now, refused=outcome.refused)

    def _learn_figures(self, outcome: Outcome, spend: Spend, now: float) -> None:
        if outcome.left is not None and outcome.left < 0:
            # Told too late: that window is over, and nothing of it says how this one stands.
            self.window.release(spend)
            return
        is_recent = spend.serial == self.window.serial
        if outcome.refused:
            self.window.refused(spend)
        end = None if outcome.left is None else now + outcome.left
        self.window.answered(spend, outcome.limit, outcome.remaining, end, now)
        if outcome.refused and is_recent and end and not outcome.remaining and self.window.spare > 0:
            # Whatever was believed of this window until now, there is nothing in it.
            self.window.hold(end)

    def _spend(self) -> Spend:
        window = self.window
        return Spend(window.serial, window.lowest if window.seen else None, window.untold)

    def _count_in(self, member: Member, spend: Spend, what: What) -> None:
        """Take a permit off its member; one no longer counted is counted again, so that landing it changes nothing."""
        carried = spend.serial != self.window.serial
        if not member.in_flight:
            self._count(member, 1, carried=int(carried))
        elif carried and not member.carried:
            self._count(member, 0, carried=1)
        elif not carried and member.carried == member.in_flight:
            self._count(member, 0, carried=-1)
        member.in_flight -= 1
        member.carried -= carried
        if what == "released" and not carried:
            member.granted = max(0, member.granted - 1)

    def _count(self, member: Member, in_flight: int, *, carried: int) -> None:
        for one in (member, self.window):
            one.in_flight += in_flight
            one.carried += carried
        self.window.sent = max(self.window.in_flight, self.window.sent + in_flight)

    def _agree(self, member: Member, in_flight: int) -> None:
        """Believe the process: a grant may not have reached it, and what was forgotten here may still be on its way."""
        missing = in_flight - member.in_flight
        self._count(member, missing, carried=missing if missing > 0 else min(0, in_flight - member.carried))
        if missing < 0:
            member.granted = max(0, member.granted + missing)

    def _give_up_waiting(self, now: float) -> None:
        """Permits out for long have landed or died: they stay spent, but no other waits for what their answers say."""
        for member in self.members.values():
            if member.granted_at < now - CARRY:
                self._count(member, 0, carried=member.in_flight - member.carried)

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
        over = max(min(self.window.previous_end, now) - CARRY, now - self.window.length_or_default)
        for member in self.members.values():
            member.carried = member.in_flight
            if member.granted_at < over:
                self._count(member, -member.in_flight, carried=-member.carried)
            member.granted = member.in_flight
        self.members = {name: one for name, one in self.members.items() if one.in_flight or one.seen_at > now - ACTIVE}

    def _free(self, ask: Ask, now: float, *, share: float) -> int:
        window = self.window
        spare = window.spare - kept(window, share, ask.floor, now)
        return max(0, min(window.free(now), spare, self._quota(ask.member, now)))

    def _quota(self, name: str, now: float) -> int:
        """What is left of this member's fair share while others that have not had theirs go without."""
        limit = self.window.limit
        hungry = [one for other, one in self.members.items() if other != name and one.hungry_at > now - HUNGER]
        if limit is None or not hungry:
            return self.window.spare
        fair = ceil(limit / (len(hungry) + 1))
        if all(one.granted >= fair for one in hungry):
            return self.window.spare
        return max(0, fair - self.members[name].granted)

    def _grant(self, member: Member, wanted: int, free: int, now: float) -> int:
        count = min(wanted, free)
        for _ in range(count):
            self.window.take(now)
        if count:
            member.granted += count
            member.in_flight += count
            member.granted_at = now
        return count

    def _is_turn_of_bulk(self) -> bool:
        return self.since_bulk >= BULK_SHARE

    def _is_open_to_bulk(self, name: str, now: float) -> bool:
        """Whether no other process waits with an interactive call."""
        waiting = (one.hungry_interactive_at > now - HUNGER for other, one in self.members.items() if other != name)
        return self._is_turn_of_bulk() or not any(waiting)

    def _note_hunger(self, member: Member, ask: Ask, interactive: int, bulk: int, now: float) -> float:
        """Note until when the member waits for the rest of what it asked for; in how many seconds it asks again."""
        member.hungry_interactive_at = member.hungry_at = -inf
        if interactive == ask.interactive and bulk == ask.bulk:
            return LOOK
        member.hungry_at = now
        again_in = self._again_in(ask, interactive < ask.interactive, now)
        member.hungry_at = now + again_in
        if interactive < ask.interactive:
            member.hungry_interactive_at = member.hungry_at
        return again_in

    def _again_in(self, ask: Ask, wants_interactive: bool, now: float) -> float:
        """Until time alone may bring more where nothing else can; else a pause that grows with those who wait."""
        window = self.window
        hungry = sum(one.hungry_at > now - HUNGER for one in self.members.values())
        look = next_look(window, ask.reserve if ask.bulk else 0.0, ask.floor, now) - now
        if not self._waits_for_time(0.0 if wants_interactive else ask.reserve, ask.floor, now):
            return max(0.0, min(look, POLL * hungry, LOOK))
        end = LOOK if window.ends_at is None else window.ends_at - now
        return max(0.0, min(max(look, LOOK * (hungry - 1)), end))

    def _waits_for_time(self, share: float, floor: int, now: float) -> bool:
        """Whether no answer to any process can bring more than there is now."""
        window = self.window
        if now < window.held_until:
            return True
        if not window.seen or (window.in_flight and window.lowest > 0):
            return False
        return window.spare <= kept(window, share, floor, now)

    def is_possible(self, at: float) -> bool:
        """Whether its figures, written at that time, can have come about: others would hold calls up for ever."""
        window, members = self.window, list(self.members.values())
        return (
            min(self.since_bulk, self.serial, window.lowest, window.serial, window.untold, window.covered) >= 0
            and (window.limit is None or window.limit > 0)
            and all(0 <= one.carried <= one.in_flight and one.granted >= 0 for one in members)
            and 0 <= window.carried <= window.in_flight == sum(one.in_flight for one in members)
            and max(self._times()) <= at + FORESIGHT
            and window.held_until <= at + LONGEST_HOLD
            and 0 <= window.length <= WINDOW
            and 0 <= window.bias <= LATEST_BIAS
            and (window.ends_at is not None or window.remaining >= (window.limit or 0))
        )

    def _times(self) -> Iterator[float]:
        window = self.window
        yield from (time or -inf for time in (window.previous_end, window.ends_at, window.probed_at))
        for one in self.members.values():
            yield from (one.granted_at, one.seen_at, one.hungry_at, one.hungry_interactive_at)

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
        rest = int(values["since_bulk"]), int(values["serial"]), bool(values["counts_milliseconds"])
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
