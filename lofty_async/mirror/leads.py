"""Which leads a run reads."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable
from contextlib import aclosing
from typing import Protocol

from attrs import define, evolve, field

from lofty_async.errors import DecodeError
from lofty_async.models import Lead
from lofty_async.pagination import Pager

log = logging.getLogger("lofty_async.mirror")

LeadIds = Iterable[int] | AsyncIterable[int]


class LeadSource(Protocol):
    """Where ids of leads come from.

    `total` is how many there are, as far as known; `has_all` whether every lead that exists has been met, so that one
    that was not met does not exist.
    """

    @property
    def total(self) -> int | None: ...

    @property
    def has_all(self) -> bool: ...

    def ids(self) -> AsyncGenerator[int, None]: ...


@define
class GivenLeads:
    """Leads that the caller names."""

    given: LeadIds
    has_all: bool = field(default=False, init=False)

    @property
    def total(self) -> int | None:
        return len(self.given) if isinstance(self.given, Collection) else None

    async def ids(self) -> AsyncGenerator[int, None]:
        if isinstance(self.given, AsyncIterable):
            async for lead_id in self.given:
                yield lead_id
        else:
            for lead_id in self.given:
                yield lead_id


@define
class ListedLeads:
    """All leads that the API lists; of a record that cannot be read, the id will do."""

    pager: Pager[Lead]
    total: int | None = field(default=None, init=False)
    has_all: bool = field(default=False, init=False)
    _unread: list[DecodeError] = field(factory=list[DecodeError], init=False)

    async def ids(self) -> AsyncGenerator[int, None]:
        count = 0
        async with evolve(self.pager, on_bad_record=self._unread.append) as pager:
            async for page in pager.pages():
                self.total = page.total
                count += len(page.items)
                for lead in page.items:
                    yield lead.id
        for error in self._unread:
            log.warning("a lead cannot be read: %s", error)
            if isinstance(error.record_id, int):
                count += 1
                yield error.record_id
        has_ids = all(isinstance(error.record_id, int) for error in self._unread)
        self.has_all = has_ids and count >= (self.total or 0)


@define
class WantedLeads:
    """The ids of a source, each once and without those `done` before, which are counted as `skipped`."""

    source: LeadSource
    done: frozenset[int] = frozenset()
    seen: set[int] = field(factory=set[int], init=False)
    skipped: int = field(default=0, init=False)

    async def ids(self) -> AsyncGenerator[int, None]:
        async with aclosing(self.source.ids()) as source:
            async for lead_id in source:
                if self._is_wanted(lead_id):
                    yield lead_id

    def _is_wanted(self, lead_id: int) -> bool:
        if lead_id in self.seen:
            return False
        self.seen.add(lead_id)
        self.skipped += lead_id in self.done
        return lead_id not in self.done
