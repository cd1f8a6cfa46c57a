"""Reading for a sync: which leads, and all that can be read of each."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, nullcontext, suppress
from operator import index
from typing import Any, Final

from attrs import define, evolve, field

from lofty_async.bulk import LeadIds, LeadTasks, ReadLead, as_value, each_id
from lofty_async.client import LoftyClient
from lofty_async.errors import DecodeError, LoftyError
from lofty_async.models import Lead, Task
from lofty_async.pagination import Pager

from .columns import stored_id

log = logging.getLogger("lofty_async.mirror")

NO_ID: Final = "the id is not a positive integer of 63 bits, which no store can hold"


@define(slots=False, eq=False, repr=False, str=False)
class UnreadTasksError(LoftyError):
    """Some of a lead's tasks cannot be read: those with these `ids`, which are `None` if one has no id."""

    ids: frozenset[int] | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, errors: Sequence[DecodeError]) -> "UnreadTasksError":
        others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        return cls(f"{errors[0]}{others}", ids=_ids(errors))


def _ids(errors: Iterable[DecodeError]) -> frozenset[int] | None:
    known = [str(error.record_id) for error in errors]
    return frozenset(map(int, known)) if all(id.isascii() and id.isdecimal() for id in known) else None


def reader(client: LoftyClient) -> ReadLead:
    """Reads the tasks of one lead; whatever is wrong with it is part of the result.

    With an `UnreadTasksError`, `tasks` holds all that can be read.
    """

    async def read(lead_id: int) -> LeadTasks:
        bad: list[DecodeError] = []
        lead = await as_value(_pages(client, bad.append))(lead_id)
        bad += [DecodeError(NO_ID, record_id=task.id) for task in lead.tasks if stored_id(task.id) is None]
        tasks = tuple(_under(lead_id, task) for task in lead.tasks if stored_id(task.id) is not None)
        return LeadTasks(lead_id, tasks, lead.error or (UnreadTasksError.of(bad) if bad else None))

    return read


def _pages(
    client: LoftyClient, on_bad_record: Callable[[DecodeError], object]
) -> Callable[[int], AsyncGenerator[Sequence[Task], None]]:
    async def pages(lead_id: int) -> AsyncGenerator[Sequence[Task], None]:
        async for page in client.tasks.list(lead_id, on_bad_record=on_bad_record).pages():
            yield page.items

    return pages


def _under(lead_id: int, task: Task) -> Task:
    # A store replaces by lead, so the lead that was asked for counts, whatever the record says.
    return task if task.lead_id == lead_id else evolve(task, lead_id=lead_id)


@define
class LeadListing:
    """All leads that the API lists; of a record that cannot be read, the id is enough.

    `total` is the number of leads, as far as known. `is_complete` says that every lead that exists was yielded, so
    that one that was not does not exist.
    """

    pager: Pager[Lead]
    total: int | None = field(default=None, init=False)
    is_complete: bool = field(default=False, init=False)

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        count, unread = 0, list[DecodeError]()
        async with evolve(self.pager, on_bad_record=unread.append) as pager:
            async for page in pager.pages():
                self.total = page.total
                count += len(page.items)
                for lead in page.items:
                    yield lead.id
        for error in unread:
            log.warning("a lead cannot be read: %s", error)
            if isinstance(error.record_id, int):
                count += 1
                yield error.record_id
        has_ids = all(isinstance(error.record_id, int) for error in unread)
        self.is_complete = has_ids and count >= (self.total or 0)


@define
class LeadsToRead:
    """The ids of a source, each once and without those `done` before, which are counted as `skipped`."""

    source: LeadIds
    done: frozenset[int] = frozenset()
    seen: set[int] = field(factory=set[int], init=False)
    skipped: int = field(default=0, init=False)

    async def ids(self) -> AsyncGenerator[int, None]:
        ids: Any = each_id(self.source)
        # The caller's own iterator is the caller's to close.
        async with aclosing(ids) if isinstance(self.source, LeadListing) else nullcontext():
            async for lead_id in ids:
                plain_id = _as_int(lead_id)
                if plain_id not in self.seen:
                    self.seen.add(plain_id)
                    if not self.skip(plain_id):
                        yield plain_id

    def skip(self, lead_id: int) -> bool:
        """Whether the lead was done before; it is counted then."""
        self.skipped += lead_id in self.done
        return lead_id in self.done


def _as_int(lead_id: int) -> int:
    """An id of any integer type as an int, which every sink can hold; any other value is a lead that fails."""
    with suppress(TypeError):
        return lead_id if isinstance(lead_id, bool) else index(lead_id)
    return lead_id
