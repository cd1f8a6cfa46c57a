"""Creates: sent once, and settled by looking where their answer was lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakValueDictionary

from attrs import define, field

from lofty_async._strategies import part
from lofty_async.errors import AmbiguousWriteError, DecodeError, LoftyError, cut
from lofty_async.models import Task
from lofty_async.times import parse_time
from lofty_async.wire import Route

from .caller import Caller

T = TypeVar("T")
Id = TypeVar("Id", int, str)

LOOKS: Final = (0, 1, 4)  # times the first wait of a retry


async def created(caller: Caller, route: Route, wire: Mapping[str, Any], at: tuple[str, ...], kind: type[Id]) -> Id:
    """Create and return the new record's id.

    Raises: AmbiguousWriteError also where the answer is good but for the id: the record exists, unnamed.
    """
    return await create_and_read(
        caller, route, wire, lambda body: _id(part(body, at, route.label), kind, ".".join(at), route.label)
    )


async def create_and_read(caller: Caller, route: Route, wire: Mapping[str, Any], read: Callable[[Any], T]) -> T:
    """Create, and read what the answer says of it.

    Raises: AmbiguousWriteError also where that cannot be read.
    """
    body = await caller.send(route, body=wire)
    try:
        return read(body)
    except DecodeError as error:
        raise AmbiguousWriteError(
            "it was created, but the answer does not name it",
            request=route.label,
            attempts=1,
            lead_id=wire.get("leadId"),
            sent=dict(wire),
        ) from error


def _id(value: Any, kind: type[Id], path: str, request: str) -> Id:
    if kind is int and isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, kind) or not _is_named_by(value):
        raise DecodeError("expected an id", request=request, path=path, body=cut(repr(value)))
    return value


def _is_named_by(value: int | str) -> bool:
    return value > 0 if isinstance(value, int) else bool(value)


@define(eq=False)
class Alike(Generic[T]):
    """Creates in one event loop that could be taken for each other: one at a time, each knowing what was `made`."""

    made: list[T] = field(factory=list[T])
    _turn: asyncio.Lock = field(factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        await self._turn.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()


# For as long as one of them is under way.
_alike: WeakValueDictionary[tuple[object, ...], Alike[Any]] = WeakValueDictionary()


def alike(caller: Caller, *marks: object) -> Alike[Any]:
    """What creates of the same `marks` on the same server that are under way share."""
    server = caller.dispatcher.session.base_url
    return _alike.setdefault((asyncio.get_running_loop(), server, *marks), Alike())


async def settled(
    create: Callable[[], Awaitable[int]],
    look: Callable[[], Awaitable[Iterable[Task]]],
    wanted: Mapping[str, Any],
    caller: Caller,
) -> int:
    """Create, and where that is in doubt, look for a match that was not there before.

    Raises: the failure itself where there is none, so that creating it again is safe; AmbiguousWriteError where
    looking fails too, or where the server did answer, only without an id.
    """
    async with alike(caller, wanted["lead_id"], wanted["type"], wanted["content"]) as others:
        before = {*others.made, *(task.id for task in await look())}

        async def find() -> int | None:
            tasks = await look()
            return next((task.id for task in tasks if task.id not in before and _matches(task, wanted)), None)

        others.made.append(task_id := await _settled(create, find, caller))
        return task_id


async def _settled(
    create: Callable[[], Awaitable[int]], find: Callable[[], Awaitable[int | None]], caller: Caller
) -> int:
    try:
        return await create()
    except AmbiguousWriteError as doubt:
        found = await landed(find, doubt, caller)
        if found is not None:
            return found
        raise (doubt if was_answered(doubt) else doubt.__cause__ or doubt) from None


async def landed(find: Callable[[], Awaitable[T | None]], doubt: AmbiguousWriteError, caller: Caller) -> T | None:
    """What `find` finds of a create in doubt: looked for more than once, as reads may lag behind writes by a moment.

    Raises: `doubt` where looking fails.
    """
    try:
        for factor in LOOKS:
            await asyncio.sleep(factor * caller.options.retry.first_wait)
            found = await find()
            if found is not None:
                return found
    except LoftyError:
        raise doubt from doubt.__cause__
    return None


def was_answered(doubt: AmbiguousWriteError) -> bool:
    """Whether the server did answer, so that the record exists, only without naming it."""
    return isinstance(doubt.__cause__, DecodeError) and doubt.__cause__.path is not None


def _matches(task: Task, wanted: Mapping[str, Any]) -> bool:
    same_words = task.content == wanted["content"] and (task.type or wanted["type"]) == wanted["type"]
    end_at = parse_time(wanted["end_at"])
    # The server keeps whole seconds.
    return same_words and (task.end_at is None or end_at is None or abs(task.end_at - end_at) < timedelta(seconds=1))
