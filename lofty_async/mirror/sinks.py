from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from lofty_async.models import Task

from .diff import Changes, merged


class TaskSink(Protocol):
    """Where a sync puts what it fetched."""

    async def start(self, *, resume: bool = False) -> frozenset[int]:
        """Begins a run; with `resume`, answers the leads that the last, unfinished run has done."""
        ...

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        """Keeps all tasks of these leads in place of whatever it had of them; answers what changed."""
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

    async def write(self, leads: Mapping[int, Sequence[Task]]) -> Changes[int]:
        return merged([await sink.write(leads) for sink in self.sinks])

    async def keep_only(self, leads: Collection[int]) -> Changes[int]:
        return merged([await sink.keep_only(leads) for sink in self.sinks])

    async def finish(self, *, all_done: bool) -> None:
        for sink in self.sinks:
            await sink.finish(all_done=all_done)
