"""Sweeps the API's lists into a database, page by page, so that a run that is killed goes on behind the last page."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from attrs import define, evolve, field

from lofty_async._checks import LARGEST_ID
from lofty_async.client import LoftyClient
from lofty_async.errors import DecodeError, InvalidRequestError, NotFoundError, PermissionDeniedError
from lofty_async.models import CalendarEntry, Lead, Task
from lofty_async.pagination import Page, Pager

from .columns import stored_id
from .lists import Lists
from .reading import NO_ID
from .records import ListPage
from .sinks import Changes

log = logging.getLogger("lofty_async.mirror")

T = TypeVar("T")

LEADS: Final = "leads"
CALENDAR: Final = "calendar"
MINE: Final = "mine"

LISTS_AT_ONCE: Final = 8
PAGES_AHEAD: Final = 4
IGNORED: Final = -1
"""The note of a list of a user whose id the server ignores."""
FIRST_START: Final = datetime(1970, 1, 2, tzinfo=UTC)
"""Before any entry of the calendar, which has to be asked for by a time."""

OnPage = Callable[[Changes[int]], object]
"""Called with the changes that a page has brought."""


def _ids_of(errors: Iterable[DecodeError]) -> list[int]:
    """The ids of records that cannot be read, as far as these have one; calendar ids begin with it."""
    texts = [str(error.record_id).partition("-")[0] for error in errors]
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST_ID]


@define
class Sweep:
    """Reads lists for one run; `pages` are the pages that it has read before it was interrupted."""

    client: LoftyClient
    lists: Lists
    pages: dict[str, ListPage]
    on_page: OnPage
    _bad: dict[str, list[DecodeError]] = field(factory=dict[str, list[DecodeError]], init=False)

    async def leads(self) -> None:
        """Reads the list of leads; of a record that cannot be read, the id is enough."""
        name = LEADS
        async for page, unread in self._pages_of(name, self.client.leads.list(on_bad_record=self._report_to(name))):
            records: Sequence[Lead] = page.items if page else ()
            unread += [DecodeError(NO_ID, record_id=lead.id) for lead in records if stored_id(lead.id) is None]
            records = [lead for lead in records if stored_id(lead.id) is not None]
            for error in unread:
                log.warning("a lead cannot be read: %s", error)
            leads = {lead.id: stored_id(lead.assigned_user_id) for lead in records} | dict.fromkeys(_ids_of(unread))
            before = self.pages.get(name) or ListPage(name, None)
            promised = self._promised(before, page, unread)
            is_complete = before.records + len(leads) >= promised
            place = self._place(name, page, len(leads), is_complete=is_complete, note=promised)
            await self.lists.note_leads(leads, place)
            self._keep(place)
            self.on_page(Changes())

    def _promised(self, before: ListPage, page: Page[Lead] | None, unread: Sequence[DecodeError]) -> int:
        """The number of leads that the list has to have to be complete: more than any if one has no id."""
        if before.note == LARGEST_ID or not all(isinstance(error.record_id, int) for error in unread):
            return LARGEST_ID
        return (page.total if page else before.note) or 0

    async def tasks(self, users: Iterable[int] | None, *, keep_new: bool) -> None:
        """Reads my-tasks of every user, then the calendar, whose entries are compared with what my-tasks has shown."""
        await self._mine(None)
        caller = self.pages[MINE].note
        known = sorted((await self.lists.users() if users is None else set(users)) - {caller})
        if known and await self._mine(known[0]):
            places = asyncio.Semaphore(LISTS_AT_ONCE)
            await _together([self._mine_of(user_id, places) for user_id in known[1:]])
        await self._calendar(keep_new=keep_new)

    async def _mine_of(self, user_id: int, places: asyncio.Semaphore) -> None:
        async with places:
            await self._mine(user_id)

    async def _mine(self, user_id: int | None) -> bool:
        """Reads my-tasks of a user, `None` for the caller; returns whether the server regards the user's id.

        A user whose list the server refuses, such as one who has left, has none.
        """
        name = MINE if user_id is None else f"{MINE}:{user_id}"
        try:
            return await self._mine_by(name, user_id)
        except (InvalidRequestError, NotFoundError, PermissionDeniedError) as error:
            if user_id is None:
                raise
            log.warning("the tasks of user %d cannot be listed: %s", user_id, error)
            self._keep(ListPage(name, None, is_done=True))
            await self.lists.note_tasks([], (), self.pages[name])
            return True

    async def _mine_by(self, name: str, user_id: int | None) -> bool:
        if name in self.pages and self.pages[name].note == IGNORED:
            return False
        pager = self.client.tasks.mine(user_id=user_id, on_bad_record=self._report_to(name))
        async for page, unread in self._pages_of(name, pager):
            tasks = [task for task in page.items if stored_id(task.id) is not None] if page else []
            is_first = name not in self.pages
            if is_first and user_id is not None and await self._is_ignored(user_id, tasks):
                self._keep(ListPage(name, None, is_done=True, note=IGNORED))
                await self.lists.note_tasks([], (), self.pages[name])
                return False
            place = self._place(name, page, len(tasks), note=stored_id(_only_user(tasks)) if is_first else None)
            self.on_page(await self.lists.note_tasks(tasks, _ids_of(unread), place))
            self._keep(place)
        return True

    async def _is_ignored(self, user_id: int, tasks: Sequence[Task]) -> bool:
        """Whether the server answers with the caller's tasks whoever is asked for."""
        if not tasks or any(task.assigned_user_id == user_id for task in tasks):
            return False
        ids = {task.id for task in tasks}
        return len(await self.lists.sighted(ids)) == len(ids)

    async def _calendar(self, *, keep_new: bool) -> None:
        name = CALENDAR
        pager = self.client.calendar.list(
            start=FIRST_START, include_finished=True, prefetch=PAGES_AHEAD, on_bad_record=self._report_to(name)
        )
        async for page, unread in self._pages_of(name, pager):
            entries = {id: entry for entry in (page.items if page else ()) if (id := _task_id(entry)) is not None}
            place = self._place(name, page, len(entries))
            changes = await self.lists.note_entries(
                entries, _ids_of(unread), place, keep_new=keep_new, has_all_leads=self.pages[LEADS].is_complete
            )
            self.on_page(changes)
            self._keep(place)

    async def _pages_of(
        self, name: str, pager: Pager[T]
    ) -> AsyncGenerator[tuple[Page[T] | None, list[DecodeError]], None]:
        """The pages left of a list, each with the errors of its bad records; at the end `None` with the last."""
        before = self.pages.get(name)
        if before is not None and before.is_done:
            return
        async with aclosing(pager.resume(before.cursor if before else None).pages()) as pages:
            async for page in pages:
                yield page, self._bad.pop(name, [])
        yield None, self._bad.pop(name, [])

    def _report_to(self, name: str) -> Callable[[DecodeError], object]:
        return lambda error: self._bad.setdefault(name, []).append(error)

    def _place(
        self, name: str, page: Page[Any] | None, records: int, *, is_complete: bool = False, note: int | None = None
    ) -> ListPage:
        return ListPage(name, page.cursor if page else None, records, page is None, is_complete, note)

    def _keep(self, page: ListPage) -> None:
        before = self.pages.get(page.list)
        if before is not None:
            note = before.note if page.note is None else page.note
            page = evolve(page, records=page.records + before.records, note=note)
        self.pages[page.list] = page


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _only_user(tasks: Sequence[Task]) -> int | None:
    """The user to whom all of the tasks are assigned."""
    users = {task.assigned_user_id for task in tasks}
    return users.pop() if len(users) == 1 else None


def _task_id(entry: CalendarEntry) -> int | None:
    text = str(entry.task_id) if entry.task_id else entry.id.partition("-")[0]
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST_ID else None
