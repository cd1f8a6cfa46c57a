from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from lofty_async.models import Task

from .diff import Changes, merged


@frozen
class LeadPart:
    """What could be read of a lead that failed.

    `unread` are the ids of the tasks that it has besides; `None` where nobody knows which these are.
    """

    lead_id: int
    tasks: Sequence[Task] = ()
    unread: frozenset[int] | None = None

    def is_unread(self, id: int) -> bool:
        """Whether the lead may still have this task, which is none of those read."""
        return self.unread is None or id in self.unread


class TaskSink(Protocol):
    """Where a sync puts what it fetched."""

    async def start(self, *, resume: bool = False) -> frozenset[int]:
        """Begins a run; with `resume`, answers the leads that the last, unfinished run has done."""
        ...

    async def leads(self) -> frozenset[int]:
        """The leads that it has tasks of, also from earlier runs."""
        ...

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Keeps all tasks of these leads in place of whatever it had of them; answers what changed."""
        ...

    async def write_part(self, part: LeadPart) -> Changes[int]:
        """Keeps these tasks of a lead and what it had of the unread ones; the lead is not done."""
        ...

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:
        """Lets go of all other leads; answers what was removed."""
        ...

    async def finish(self, *, all_done: bool) -> None:
        """Ends a run that reached its end; `all_done` unless leads failed."""
        ...


@frozen
class Tee:
    """Two or more sinks as one: a lead counts as done where all of them have it."""

    sinks: tuple[TaskSink, ...]

    async def start(self, *, resume: bool = False) -> frozenset[int]:
        done = [await sink.start(resume=resume) for sink in self.sinks]
        return done[0].intersection(*done[1:])

    async def leads(self) -> frozenset[int]:
        return frozenset[int]().union(*[await sink.leads() for sink in self.sinks])

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        return merged([await sink.write(leads) for sink in self.sinks])

    async def write_part(self, part: LeadPart) -> Changes[int]:
        return merged([await sink.write_part(part) for sink in self.sinks])

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:
        return merged([await sink.keep_only(leads) for sink in self.sinks])

    async def finish(self, *, all_done: bool) -> None:
        for sink in self.sinks:
            await sink.finish(all_done=all_done)
