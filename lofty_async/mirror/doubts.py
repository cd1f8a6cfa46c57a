"""Where the tasks are on which the store and a lead that was read disagree."""

from collections.abc import Collection, Iterable, Sequence

from attrs import define, field

from lofty_async.errors import LoftyError, NotFoundError, PermissionDeniedError
from lofty_async.models import Task

from .sinks import Doubt


@define
class Case:
    """One such task: the leads that list it, each with its record, and those under which the store alone has it."""

    listed: dict[int, Task] = field(factory=dict[int, Task])
    missing: set[int] = field(factory=set[int])

    @property
    def leads(self) -> set[int]:
        return self.missing.union(self.listed)


@define
class Verdict:
    """What settles some cases, and the failures of those that stay open."""

    moved: list[Task] = field(factory=list[Task])
    gone: list[int] = field(factory=list[int])
    failed: dict[int, LoftyError] = field(factory=dict[int, LoftyError])


@define
class Doubts:
    """The tasks in doubt of a run, by id."""

    cases: dict[int, Case] = field(factory=dict[int, Case], init=False)

    def add(self, doubts: Iterable[Doubt], tasks: Sequence[Task]) -> None:
        """Notes doubts; `tasks` are what the leads list."""
        listed = {(task.lead_id, task.id): task for task in tasks}
        for doubt in doubts:
            case = self.cases.setdefault(doubt.id, Case())
            if doubt.is_listed:
                case.listed[doubt.lead_id] = listed[doubt.lead_id, doubt.id]
            else:
                case.missing.add(doubt.lead_id)

    def judge(self, answers: Iterable[tuple[int, Task | LoftyError]], leads: Collection[int]) -> Verdict:
        """Settles the cases by what the API says of each task; `leads` are those that the store may have tasks of.

        A lead that was read whole proves that a task is not there; the answer only tells to which other lead it went.
        """
        verdict = Verdict()
        for id, answer in answers:
            case = self.cases[id]
            if isinstance(answer, LoftyError) and not isinstance(answer, NotFoundError | PermissionDeniedError):
                verdict.failed.update(dict.fromkeys(case.leads, answer))
            else:
                _settle(case, answer if isinstance(answer, Task) and answer.lead_id in leads else None, id, verdict)
        return verdict


def _settle(case: Case, found: Task | None, id: int, verdict: Verdict) -> None:
    if found is not None and found.lead_id in case.listed:
        verdict.moved.append(case.listed[found.lead_id])
    elif found is not None and case.missing:
        verdict.moved.append(found)
    elif case.missing and case.listed:
        verdict.moved.append(next(iter(case.listed.values())))
    elif case.missing:
        verdict.gone.append(id)
    # Otherwise it is where the store has it, and the lead that lists it besides changes nothing.
