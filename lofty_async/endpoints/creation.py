"""Creates: sent once, and settled by looking where their answer was lost."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakValueDictionary

from attrs import define, evolve, field

from lofty_async._strategies import part
from lofty_async._times import parse_time
from lofty_async._wire import Route
from lofty_async.errors import AmbiguousWriteError, ClientClosedError, DecodeError, LoftyError, cut
from lofty_async.models import Task

from .caller import Caller

T = TypeVar("T")
Id = TypeVar("Id", int, str)

LOOK_DELAYS: Final = (0.0, 0.5, 2.0)  # seconds before each look, however impatient retries are


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
    # The body in no local variable: it may hold a webhook's address, and frames show it.
    outcome = _read(await caller.send(route, body=wire), read)
    if not isinstance(outcome, DecodeError):
        return outcome
    raise AmbiguousWriteError(
        "it was created, but the answer does not name it",
        request=route.label,
        attempts=1,
        lead_id=wire.get("leadId"),
        sent=dict(wire),
    ) from outcome


def _read(body: Any, read: Callable[[Any], T]) -> T | DecodeError:
    try:
        return read(body)
    except DecodeError as error:
        return evolve(error)  # without its traceback and causes, whose frames hold the body


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
    """Creates in one event loop that could be taken for each other: one at a time, each knowing what was `made`.

    `is_in_doubt` says that one of them may have made another, which can show at any time.
    """

    made: list[T] = field(factory=list[T])
    is_in_doubt: bool = False
    _turn: asyncio.Lock = field(factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        await self._turn.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()


@define(eq=False)
class SharedRun(Generic[T]):
    """One run of a coroutine for all who want its result; it is cancelled with the last of them."""

    _task: asyncio.Task[T] | None
    _waiting: int = 0

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done() or self._task.cancelling() > 0

    async def result(self) -> T:
        task = self._task
        assert task is not None, "nobody joins what is over"  # noqa: S101 - `is_over` is asked first
        self._waiting += 1
        try:
            await asyncio.wait({task})
        finally:
            self._waiting -= 1
            if not self._waiting:
                await _end(task)
        try:
            return task.result()
        finally:
            # An error's traceback holds this frame: a circle, were the task still in it.
            self._task = None
            del task


async def _end(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, so that it is not reported as forgotten


# For as long as one of them is under way.
_alike: WeakValueDictionary[tuple[object, ...], Alike[Any]] = WeakValueDictionary()
_runs: WeakValueDictionary[tuple[object, ...], SharedRun[Any]] = WeakValueDictionary()


def alike(caller: Caller, *marks: object) -> Alike[Any]:
    """What creates of the same `marks` on the same server that are under way share."""
    return _alike.setdefault(_key(caller, marks), Alike())


async def shared(start: Callable[[], Coroutine[Any, Any, T]], caller: Caller, *marks: object) -> T:
    """The result of `start`, or of one of the same `marks` on the same server that is under way.

    Where that one fails without having created anything, this one starts; what is in doubt is in doubt for all.
    """
    key = _key(caller, marks)
    while True:
        run: SharedRun[T] | None = _runs.get(key)
        is_own = run is None or run.is_over
        if run is None or is_own:
            run = _runs[key] = SharedRun(asyncio.create_task(start()))
        try:
            return await run.result()
        except (AmbiguousWriteError, ClientClosedError):
            raise
        except LoftyError:
            if is_own:
                raise


def _key(caller: Caller, marks: tuple[object, ...]) -> tuple[object, ...]:
    return asyncio.get_running_loop(), caller.dispatcher.session.base_url, *marks


async def settled(
    create: Callable[[], Awaitable[int]],
    look: Callable[[], Awaitable[Iterable[Task]]],
    wanted: Mapping[str, Any],
    caller: Caller,
) -> int:
    """Create, and where that is in doubt, look for a match that was not there before.

    Raises: AmbiguousWriteError where none shows, or looking fails: the record may still appear.
    """
    async with alike(caller, wanted["lead_id"], wanted["type"], wanted["content"]) as others:
        before = {*others.made, *(task.id for task in await look())}

        async def find() -> int | None:
            tasks = await look()
            return next((task.id for task in tasks if task.id not in before and _matches(task, wanted)), None)

        try:
            # A match that shows after two creates in doubt could be either's.
            task_id = await (create() if others.is_in_doubt else create_or_find(create, find))
        except BaseException as error:
            is_refusal = isinstance(error, LoftyError) and not isinstance(error, AmbiguousWriteError)
            others.is_in_doubt |= not is_refusal  # a cancelled one may have been sent
            raise
        others.made.append(task_id)
        return task_id


async def create_or_find(create: Callable[[], Awaitable[T]], find: Callable[[], Awaitable[T | None]]) -> T:
    """Create once; where that is in doubt, what `find` finds: looked for more than once, as reads may lag.

    Raises: AmbiguousWriteError where it is not found or looking fails. A server may finish a create seconds after its
    own 504, so that absence proves nothing.
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


def _matches(task: Task, wanted: Mapping[str, Any]) -> bool:
    same_words = task.content == wanted["content"] and (task.type or wanted["type"]) == wanted["type"]
    end_at = parse_time(wanted["end_at"])
    # The server keeps whole seconds.
    return same_words and (task.end_at is None or end_at is None or abs(task.end_at - end_at) < timedelta(seconds=1))
