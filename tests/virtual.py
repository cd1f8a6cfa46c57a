"""Time that jumps: an event loop whose clock moves only when nothing is left to do, and Lofty's limit on that clock."""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any, TypeVar

from attrs import define, field

from lofty_async import LoftyClient, RetryPolicy
from lofty_async._wire import RateState, read_rate
from lofty_async.ratelimit import Lane, RateLimiter
from lofty_async.ratelimit.window import Window
from lofty_async.sandbox import Sandbox, faults

T = TypeVar("T")

EPOCH = 1_780_000_000.25  # the server's wall clock when the virtual one shows 0


class JumpingSelector(selectors.SelectSelector):
    now: float = 0.0
    turns: int = 0
    at_turn: tuple[int, Callable[[], object]] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.at_turn and self.turns == self.at_turn[0]:
            self.at_turn[1]()
            return []
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and nothing will ever come")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def at_turn(number: int, act: Callable[[], object]) -> None:
    """Do it when the running loop has turned so many times from now: between any two steps of anybody."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jumping.at_turn = (loop.jumping.turns + number, act)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def run_with_sandbox(scenario: Callable[[Sandbox, LoftyClient], Awaitable[T]]) -> T:
    """Run it against a sandbox in virtual time: what waits for seconds takes none."""

    async def main() -> T:
        async with (
            Sandbox(3, 13, limit=10_000, appointments_per_lead=2) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url, retry=RetryPolicy(base_delay=0)) as lofty,
        ):
            return await scenario(sandbox, lofty)

    return run(main())


def late(seconds: float, status: int = 504) -> faults.Fault:
    """A fault: an error at once, and what was asked for takes effect some seconds later."""

    async def land(answer: faults.Answer) -> None:
        await asyncio.sleep(seconds)
        await answer()

    async def fault(request: Any, answer: faults.Answer) -> Any:
        landing.append(asyncio.ensure_future(land(answer)))
        return await faults.Reply(status, "<h1>Not in time</h1>")(request, answer)

    landing: list[asyncio.Future[None]] = []
    return fault


def now() -> float:
    return asyncio.get_running_loop().time()


def limiter(**options: Any) -> RateLimiter:
    """A limiter on the running loop's clock; its wall clock is only right to `wall_error` seconds."""
    error = options.pop("wall_error", 0.0)
    return RateLimiter(clock=now, wall=lambda: EPOCH + now() + error, **options)


def exhausted(limit: int = 100, **options: Any) -> RateLimiter:
    """A limiter that has been at it for a while, alone, and has spent its window; the next begins in 60 s."""
    shared = limiter(**options)
    shared._limits.window = Window(
        limit=limit,
        ends_at=now() + 60,
        previous_end=now(),
        length=60.0,
        serial=2,
        sent=limit,
        has_figures=True,
        contention=0,
        probed_at=now(),
    )
    return shared


@define
class LoftyWindow:
    """The server's side: a fixed window, told in one of the styles of its headers."""

    limit: int = 100
    length: float = 60.0
    phase: float = 46.0
    style: str = "epoch_s"
    silent: bool = False
    per_second: int | None = None
    dated: bool = True
    own: dict[str, "LoftyWindow"] = field(factory=dict[str, "LoftyWindow"])
    refused: int = 0
    served: list[float] = field(factory=list[float])
    used: int = 0
    began: float = -math.inf

    def handle(self, at: float, route: str = "") -> tuple[int, RateState]:
        """Status and figures for a request that arrives now; one with a limit of its own counts there as well."""
        self._turn(at)
        own = self.own.get(route)
        if self._is_full(at):
            self.refused += 1
            return 429, self._state(at)
        told = own.handle(at) if own else None
        if told and told[0] == 429:
            return told
        self.used += 1
        self.served.append(at)
        return told or (200, self._state(at))

    def _turn(self, at: float) -> None:
        began = math.floor((at + self.phase) / self.length) * self.length - self.phase
        if began > self.began:
            self.began, self.used = began, 0

    def _is_full(self, at: float) -> bool:
        burst = [moment for moment in self.served[-(self.per_second or 1) :] if moment > at - 1]
        return self.used >= self.limit or (self.per_second is not None and len(burst) >= self.per_second)

    def per_window(self) -> list[int]:
        """How many were served in each window, from the first to the last."""
        numbers = [math.floor((at + self.phase) / self.length) for at in self.served]
        return [numbers.count(number) for number in range(numbers[0], numbers[-1] + 1)]

    def _state(self, at: float) -> RateState:
        wall = EPOCH + at
        headers = {}
        if self.dated:
            headers["Date"] = format_datetime(datetime.fromtimestamp(math.floor(wall), UTC), usegmt=True)
        if not self.silent:
            headers |= {
                "X-RateLimit-Limit": str(self.limit),
                "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
                "X-RateLimit-Reset": self._reset(self.began + self.length, at),
            }
        return read_rate(headers)

    def _reset(self, end: float, at: float) -> str:
        return {
            "epoch_s": str(math.ceil(EPOCH + end)),
            "epoch_s_floor": str(math.floor(EPOCH + end)),
            "epoch_ms": str(round((EPOCH + end) * 1000)),
            "ms_left": str(round((end - at) * 1000)),
            "s_left": str(math.ceil(end - at)),
        }[self.style]


@define
class Caller:
    """Sends through a limiter to a window, with ways there and back that change the order of answers."""

    limiter: RateLimiter
    server: LoftyWindow
    random: Random = field(factory=lambda: Random(1))
    way: Callable[[Random], float] = lambda source: source.uniform(0.02, 0.1)
    route: str = "GET /v2.0/tasks"
    lane: Lane = Lane.INTERACTIVE
    longest: float = 0.0
    done: int = 0
    refused: int = 0

    async def call(self) -> None:
        asked = now()
        permit = None
        while True:
            permit = await self.limiter.acquire(self.route, lane=self.lane, returning=permit)
            try:
                await asyncio.sleep(self.way(self.random))
                status, state = self.server.handle(now(), self.route)
                await asyncio.sleep(self.way(self.random))
            except BaseException:
                permit.settle()
                raise
            permit.settle(state, refused=status == 429)
            self.refused += status == 429
            if status == 200:
                self.longest, self.done = max(self.longest, now() - asked), self.done + 1
                return

    async def calls(self, count: int, *, at_once: int) -> None:
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self.call()

        await together(*(work() for _ in range(at_once)))


async def together(*works: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_await(work))


async def _await(work: Awaitable[None]) -> None:
    await work


def best_possible(server: LoftyWindow, calls: int) -> float:
    """Seconds until the last call can start, when each window is spent at once."""
    windows = math.ceil(calls / server.limit) - 1
    return 0.0 if windows == 0 else (server.length - server.phase) + (windows - 1) * server.length
