"""Creates: sent once; if the response is lost, the record is looked for.

A server may finish a create seconds after its own 504, so that a record that is not found may still appear. Creates
that could be mistaken for each other take turns, and calls that want the same record share one run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakValueDictionary

from attrs import define, evolve, field

from lofty_async._times import parse_time
from lofty_async._wire import Route, part
from lofty_async.errors import AmbiguousWriteError, ClientClosedError, DecodeError, LoftyError, cut
from lofty_async.models import Task

from ._base import Caller

T = TypeVar("T")
Id = TypeVar("Id", int, str)

LOOK_DELAYS: Final = (0.0, 0.5, 2.0)  # seconds before each look, whatever the retry policy


async def create_record(
    caller: Caller, route: Route, wire: Mapping[str, Any], at: tuple[str, ...], kind: type[Id]
) -> Id:
    """Create a record and return its id, which is at this path of the answer.

    Raises: AmbiguousWriteError also if the answer has no id: the record exists, but its id is unknown.
    """
    return await create_and_read(
        caller, route, wire, lambda body: _id(part(body, at, route.label), kind, ".".join(at), route.label)
    )


async def create_and_read(caller: Caller, route: Route, wire: Mapping[str, Any], read: Callable[[Any], T]) -> T:
    """Create a record and return what `read` makes of the answer.

    Raises: AmbiguousWriteError also if the answer cannot be read.
    """
    # The body in no local variable: it may hold a webhook's address, and frames show it.
    answer, request_id = await caller.send_create(route, wire)
    outcome = _read(answer, read)
    del answer
    if not isinstance(outcome, DecodeError):
        return outcome
    raise AmbiguousWriteError(
        "the record was created, but the answer does not identify it",
        request=route.label,
        attempts=1,
        lead_id=wire.get("leadId"),
        sent=dict(wire),
        request_id=request_id,
    ) from evolve(outcome, request_id=request_id)


def _read(body: Any, read: Callable[[Any], T]) -> T | DecodeError:
    try:
        return read(body)
    except DecodeError as error:
        # Without the body, which may hold a webhook's address, and without the frames that hold it.
        return evolve(error, body="")


async def create_verified(
    create: Callable[[], Awaitable[int]],
    look: Callable[[], Awaitable[Iterable[Task]]],
    wanted: Mapping[str, Any],
    caller: Caller,
) -> int:
    """Create a task; if the response is lost, return the id of a match that was not there before.

    Raises: AmbiguousWriteError if there is none, or looking fails: the record may still appear.
    """
    async with _lock(caller, wanted["lead_id"], wanted["type"], wanted["content"]) as lock:
        before = {*lock.created, *(task.id for task in await look())}

        async def find() -> int | None:
            tasks = await look()
            return next((task.id for task in tasks if task.id not in before and _matches(task, wanted)), None)

        try:
            # A match that shows after two ambiguous creates could be either's.
            task_id = await (create() if lock.is_ambiguous else create_or_find(create, find))
        except BaseException as error:
            is_refusal = isinstance(error, LoftyError) and not isinstance(error, AmbiguousWriteError)
            lock.is_ambiguous |= not is_refusal  # a cancelled create may have been sent
            raise
        lock.created.append(task_id)
        return task_id


async def find_or_create(
    caller: Caller,
    find: Callable[[], Awaitable[T | None]],
    create: Callable[[], Awaitable[T]],
    *key: object,
) -> T:
    """The record that `find` returns, else a new one; concurrent calls with the same `key` get the same record.

    Raises: AmbiguousWriteError if the response is lost and the record is not found.
    """

    async def run() -> T:
        existing = await find()
        return await create_or_find(create, find) if existing is None else existing

    return await _single_flight(run, caller, *key)


async def create_or_find(create: Callable[[], Awaitable[T]], find: Callable[[], Awaitable[T | None]]) -> T:
    """Create once; if the response is lost, return what `find` finds in one of several looks, as reads may lag.

    Raises: AmbiguousWriteError if it finds nothing or fails.
    """
    try:
        return await create()
    except AmbiguousWriteError:
        with suppress(LoftyError):
            for delay in LOOK_DELAYS:
                await asyncio.sleep(delay)
                found = await find()
                if found is not None:
                    return found
        raise


@define(eq=False, repr=False)
class KeyedLock:
    """Lets one of several creates run that could be mistaken for each other, and holds the ids that they `created`.

    `is_ambiguous` says that the response to one of them was lost: its record can show at any time.
    """

    created: list[int] = field(factory=list[int])
    is_ambiguous: bool = False
    _lock: asyncio.Lock = field(factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


@define(eq=False, repr=False)
class SingleFlight(Generic[T]):
    """One run of a coroutine for all who want its result; it is cancelled with the last of them."""

    _task: asyncio.Task[T] | None
    _waiting: int = 0

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done() or self._task.cancelling() > 0

    async def result(self) -> T:
        task = self._task
        assert task is not None, "nobody joins a run that is over"  # noqa: S101 - `is_over` is checked first
        self._waiting += 1
        try:
            await asyncio.wait({task})
        finally:
            self._waiting -= 1
            if not self._waiting:
                await _cancel(task)
        try:
            return task.result()
        finally:
            # An error's traceback holds this frame, and so the task: a reference cycle.
            self._task = None
            del task


async def _cancel(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it


# Each for as long as a call holds it.
_locks: WeakValueDictionary[tuple[object, ...], KeyedLock] = WeakValueDictionary()
_flights: WeakValueDictionary[tuple[object, ...], SingleFlight[Any]] = WeakValueDictionary()


def _lock(caller: Caller, *key: object) -> KeyedLock:
    return _locks.setdefault(_scoped(caller, key), KeyedLock())


async def _single_flight(start: Callable[[], Coroutine[Any, Any, T]], caller: Caller, *key: object) -> T:
    """The result of `start`, or of the run of the same `key` that is under way.

    If that run fails without having created anything, this call starts its own; an ambiguous result is one for all.
    """
    scoped = _scoped(caller, key)
    while True:
        flight: SingleFlight[T] | None = _flights.get(scoped)
        is_own = flight is None or flight.is_over
        if flight is None or is_own:
            flight = _flights[scoped] = SingleFlight(asyncio.create_task(start()))
        try:
            return await flight.result()
        except (AmbiguousWriteError, ClientClosedError):
            raise
        except LoftyError:
            if is_own:
                raise


def _scoped(caller: Caller, key: tuple[object, ...]) -> tuple[object, ...]:
    return asyncio.get_running_loop(), caller.server, *key


def _id(value: Any, kind: type[Id], path: str, request: str) -> Id:
    if kind is int and isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, kind) or not _is_id(value):
        raise DecodeError("expected an id", request=request, path=path, body=cut(repr(value)))
    return value


def _is_id(value: int | str) -> bool:
    return value > 0 if isinstance(value, int) else bool(value)


def _matches(task: Task, wanted: Mapping[str, Any]) -> bool:
    same_words = task.content == wanted["content"] and (task.type or wanted["type"]) == wanted["type"]
    end_at = parse_time(wanted["end_at"])
    # The server keeps whole seconds.
    return same_words and (task.end_at is None or end_at is None or abs(task.end_at - end_at) < timedelta(seconds=1))
