from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from attrs import frozen

from lofty_async.models import Task

from .diff import Changes, merged

RESUME_WITHIN: Final = 6 * 3600.0
"""Seconds for which a lead that an unfinished run has read counts as done."""


@frozen
class Doubt:
    """A task on which a sink and a lead that was read disagree; the sink's row or line is left as it is.

    Either the lead lists the task (`is_listed`), which the sink has under another lead, or the sink has it under this
    lead, which lacks it now. It may have moved from one lead to another while they were read, so that neither proves
    where it is.
    """

    id: int
    lead_id: int
    is_listed: bool


@frozen
class Merged:
    """What merging some leads changed, and what it left open."""

    changes: Changes[int]
    doubts: tuple[Doubt, ...] = ()


class TaskSink(Protocol):
    """Where a sync puts what it fetched. It loses nothing but what `settle` names as gone."""

    async def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:
        """Begins a run; with `resume`, returns the leads that an unfinished run has done in the last seconds."""
        ...

    async def leads(self) -> frozenset[int]:
        """The leads that it has tasks of, also from earlier runs."""
        ...

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        """Adds and updates the tasks of leads, but for those in doubt; a lead of `done` without a doubt is done."""
        ...

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        """Puts tasks under the leads that they carry, removes those whose ids are `gone`, and takes leads as done."""
        ...

    async def finish(self, *, all_done: bool) -> None:
        """Ends a run that reached its end; `all_done` unless leads failed."""
        ...


@frozen
class Tee:
    """Two or more sinks as one: a lead counts as done where all of them have it."""

    sinks: tuple[TaskSink, ...]

    async def start(self, *, resume: bool = False, resume_within: float = RESUME_WITHIN) -> frozenset[int]:
        done = [await sink.start(resume=resume, resume_within=resume_within) for sink in self.sinks]
        return done[0].intersection(*done[1:])

    async def leads(self) -> frozenset[int]:
        return frozenset[int]().union(*[await sink.leads() for sink in self.sinks])

    async def merge(self, leads: Mapping[int, Sequence[Task]], *, done: Collection[int] = ()) -> Merged:
        results = [await sink.merge(leads, done=done) for sink in self.sinks]
        doubts = dict.fromkeys(doubt for result in results for doubt in result.doubts)
        return Merged(merged(result.changes for result in results), tuple(doubts))

    async def settle(
        self, *, moved: Sequence[Task] = (), gone: Collection[int] = (), done: Collection[int] = ()
    ) -> Changes[int]:
        return merged([await sink.settle(moved=moved, gone=gone, done=done) for sink in self.sinks])

    async def finish(self, *, all_done: bool) -> None:
        for sink in self.sinks:
            await sink.finish(all_done=all_done)
