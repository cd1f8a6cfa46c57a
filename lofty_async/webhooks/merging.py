"""Which records are to be read again, and when: repeats of a notice wait for one read together."""

import heapq
from collections.abc import Iterator
from typing import Self

from attrs import define, evolve, field

from .parse import NoticeKind, WebhookNotice
from .readers import Delivery

Subject = tuple[NoticeKind, int]

LONGEST_WAIT = 5
"""How many times `within` a record waits at most when its notices do not stop."""


def subject_of(notice: WebhookNotice) -> Subject | None:
    """What to read for a notice: its task, or its lead where the notice is about that or names no task."""
    if notice.kind is NoticeKind.LEAD and notice.lead_id is not None:
        return NoticeKind.LEAD, notice.lead_id
    if notice.task_id is not None:
        return NoticeKind.TASK, notice.task_id
    if notice.kind in (NoticeKind.TASK, NoticeKind.APPOINTMENT) and notice.lead_id is not None:
        return NoticeKind.LEAD, notice.lead_id
    return None


@define(eq=False)
class Reading:
    """One read to come: of a task or of a lead's tasks, for all notices between `first` and `last`.

    `delivery` is that of the last notice, if it came from a receiver; it stands for those before. `is_taken` when the
    last of the changes is handed out.
    """

    about: NoticeKind
    id: int
    notice: WebhookNotice
    first: float
    last: float
    is_second: bool = False
    delivery: Delivery | None = None
    is_taken: bool = False

    @property
    def task_id(self) -> int | None:
        return self.id if self.about is NoticeKind.TASK else None

    def repeated(self, notice: WebhookNotice, now: float, delivery: Delivery | None) -> Self:
        self.settle()
        return evolve(self, notice=notice, last=now, delivery=delivery)

    def due(self, within: float) -> float:
        return min(self.last + within, self.first + LONGEST_WAIT * within)

    def again(self, now: float) -> Self:
        """The second read, which has the delivery from now on."""
        delivery, self.delivery = self.delivery, None
        return evolve(self, first=now, last=now, is_second=True, delivery=delivery)

    def settle(self) -> None:
        if self.delivery is not None:
            self.delivery.settle()
            self.delivery = None

    def give_back(self) -> None:
        if self.delivery is not None:
            self.delivery.give_back()
            self.delivery = None

    def leave(self) -> None:
        if self.is_taken:
            self.settle()
        else:
            self.give_back()


@define(eq=False)
class NoticeMerger:
    """Readings by subject; a heap finds the next one, its times brought up to date when they come up."""

    within: float
    _waiting: dict[Subject, Reading] = field(init=False, factory=dict[Subject, Reading])
    _due: list[tuple[float, Subject]] = field(init=False, factory=list[tuple[float, Subject]])

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: WebhookNotice, now: float, delivery: Delivery | None = None) -> None:
        subject = subject_of(notice)
        if subject in self._waiting:
            self._waiting[subject] = self._waiting[subject].repeated(notice, now, delivery)
        elif subject is not None:
            self._keep(subject, Reading(*subject, notice, now, now, delivery=delivery))

    def add_again(self, reading: Reading, now: float) -> None:
        """Has the same read once more, unless a newer notice has asked for it already."""
        subject = reading.about, reading.id
        if subject in self._waiting:
            reading.settle()
        else:
            self._keep(subject, reading.again(now))

    def next_due(self) -> float:
        """When to look again; there must be something waiting."""
        return self._due[0][0]

    def pop_due(self, now: float) -> Reading | None:
        """The reading that is due longest, or `None` if none is."""
        while self._due and self._due[0][0] <= now:
            _, subject = heapq.heappop(self._due)
            reading = self._waiting.pop(subject)
            if reading.due(self.within) <= now:
                return reading
            self._keep(subject, reading)
        return None

    def pop_all(self) -> Iterator[Reading]:
        """Every reading, those that were noticed last before the others."""
        while self._waiting:
            yield self._waiting.popitem()[1]

    def _keep(self, subject: Subject, reading: Reading) -> None:
        self._waiting[subject] = reading
        heapq.heappush(self._due, (reading.due(self.within), subject))
