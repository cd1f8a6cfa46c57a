"""Which records are to be read again, and when: repeats of a notice wait for one read together."""

import heapq
from typing import Self

from attrs import define, evolve, field, frozen

from .parse import NoticeKind, WebhookNotice

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


@frozen
class Reading:
    """One read to come: of a task or of a lead's tasks, for all notices between `first` and `last`."""

    about: NoticeKind
    id: int
    notice: WebhookNotice
    first: float
    last: float
    is_second: bool = False

    @property
    def task_id(self) -> int | None:
        return self.id if self.about is NoticeKind.TASK else None

    def repeated(self, notice: WebhookNotice, now: float) -> Self:
        return evolve(self, notice=notice, last=now)

    def due(self, within: float) -> float:
        return min(self.last + within, self.first + LONGEST_WAIT * within)


@define(eq=False)
class NoticeMerger:
    """Readings by subject; a heap finds the next one, its times brought up to date when they come up."""

    within: float
    _waiting: dict[Subject, Reading] = field(init=False, factory=dict[Subject, Reading])
    _due: list[tuple[float, Subject]] = field(init=False, factory=list[tuple[float, Subject]])

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: WebhookNotice, now: float) -> None:
        subject = subject_of(notice)
        if subject in self._waiting:
            self._waiting[subject] = self._waiting[subject].repeated(notice, now)
        elif subject is not None:
            self._keep(subject, Reading(*subject, notice, now, now))

    def add_again(self, reading: Reading, now: float) -> None:
        """Has the same read once more, unless a newer notice has asked for it already."""
        subject = reading.about, reading.id
        if subject not in self._waiting:
            self._keep(subject, evolve(reading, first=now, last=now, is_second=True))

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

    def _keep(self, subject: Subject, reading: Reading) -> None:
        self._waiting[subject] = reading
        heapq.heappush(self._due, (reading.due(self.within), subject))
