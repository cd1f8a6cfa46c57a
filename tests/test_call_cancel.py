"""Cancelling a call at every step of its way: nothing hangs, leaks, or holds a permit."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from attrs import define, field

from lofty_async import Lane, LoftyClient, RateLimiter
from lofty_async.auth import Auth, TokenPost
from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.conftest import Hold, OpenClient

ME = "GET /v1.0/me"


@define
class Stalls(AbstractResolver):
    """Finds this machine under every name, once it is let."""

    reached: asyncio.Event = field(factory=asyncio.Event)
    gate: asyncio.Event = field(factory=asyncio.Event)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        self.reached.set()
        await self.gate.wait()
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """There is nothing to close."""


@define
class Slow(Auth):
    """A credential whose token takes its time."""

    word: str
    reached: asyncio.Event = field(factory=asyncio.Event)
    gate: asyncio.Event = field(factory=asyncio.Event)
    token: str | None = None

    def ready(self) -> str | None:
        return self.token

    async def fetch(self, post: TokenPost) -> str:  # noqa: ARG002 - needs no endpoint
        self.reached.set()
        await self.gate.wait()
        self.token = self.word
        return self.word

    async def renew(self, refused: str, post: TokenPost) -> str | None:  # noqa: ARG002 - needs no endpoint
        self.token = None
        return await self.fetch(post)


def our_tasks() -> set[str]:
    """Tasks of this loop that are neither the test's nor the server's."""
    files = {
        task: getattr(task.get_coro(), "cr_code").co_filename  # noqa: B009 - typed as any awaitable
        for task in asyncio.all_tasks() - {asyncio.current_task()}
    }
    return {repr(task) for task, file in files.items() if "lofty_async" in file and "/sandbox/" not in file}


async def cancelled(call: asyncio.Task[Any]) -> None:
    call.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await call


async def nothing_is_left(lofty: LoftyClient) -> None:
    assert lofty.rate_limit.in_flight == 0
    assert set(lofty.rate_limit.queued.values()) == {0}
    assert our_tasks() == set()
    assert lofty._caller.manager.under_way == {}
    async with asyncio.timeout(5):
        assert (await lofty.me()).id


async def test_while_it_connects(sandbox: Sandbox, open_client: "OpenClient") -> None:
    stalls = Stalls()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=stalls)) as session:
        lofty = open_client(session=session, base_url=f"http://lofty.test:{sandbox.port}", allow_http=True)
        call = asyncio.create_task(lofty.me())
        await stalls.reached.wait()
        await cancelled(call)
        assert sandbox.requests == []
        stalls.gate.set()
        await nothing_is_left(lofty)


async def test_while_the_server_thinks(sandbox: Sandbox, lofty: LoftyClient, hold: "Hold") -> None:
    sandbox.faults.add(ME, hold)
    call = asyncio.create_task(lofty.me())
    await hold.reached()
    await cancelled(call)
    await nothing_is_left(lofty)


async def test_while_the_body_comes(sandbox: Sandbox, open_client: "OpenClient") -> None:
    headers_came = asyncio.Event()

    async def note(*_: Any) -> None:
        headers_came.set()

    watch = aiohttp.TraceConfig()
    watch.on_request_end.append(note)
    async with aiohttp.ClientSession(trace_configs=[watch]) as session:
        lofty = open_client(session=session)
        sandbox.faults.add(ME, faults.SlowBody(0.3))
        call = asyncio.create_task(lofty.me())
        await headers_came.wait()
        await cancelled(call)
        await nothing_is_left(lofty)


async def test_between_two_attempts(sandbox: Sandbox, lofty: LoftyClient, until: Any) -> None:
    sandbox.faults.add(ME, faults.Reply(503, headers={"Retry-After": "60"}))
    call = asyncio.create_task(lofty.me())
    await until(lambda: lofty.stats.requests and not lofty.rate_limit.in_flight)
    await cancelled(call)
    await nothing_is_left(lofty)


@pytest.mark.parametrize("lane", Lane)
async def test_while_it_waits_for_its_turn(
    sandbox: Sandbox, open_client: "OpenClient", hold: "Hold", until: Any, lane: Lane
) -> None:
    sandbox.faults.add(ME, hold)
    lofty = open_client(limiter=RateLimiter(max_in_flight=1), lane=lane)
    first = asyncio.create_task(lofty.me())
    await hold.reached()
    second, third = asyncio.create_task(lofty.me()), asyncio.create_task(lofty.me())
    await until(lambda: lofty.rate_limit.queued[lane] == 2)
    await cancelled(second)
    hold.gate.set()
    assert (await first).id == (await third).id
    await nothing_is_left(lofty)


async def test_at_the_moment_in_which_its_turn_comes(open_client: "OpenClient", until: Any) -> None:
    limiter = RateLimiter(max_in_flight=1)
    lofty = open_client(limiter=limiter)
    permit = await limiter.acquire()
    call = asyncio.create_task(lofty.me())
    await until(lambda: lofty.rate_limit.queued[Lane.INTERACTIVE])
    permit.release()
    await cancelled(call)
    await nothing_is_left(lofty)


async def test_while_its_token_is_fetched(sandbox: Sandbox, open_client: "OpenClient") -> None:
    auth = Slow(f"Bearer {sandbox.access_token}")
    lofty = open_client(auth)
    call = asyncio.create_task(lofty.me())
    await auth.reached.wait()
    await cancelled(call)
    auth.gate.set()
    await nothing_is_left(lofty)
    assert len(sandbox.requests) == 1


async def test_while_its_token_is_renewed(sandbox: Sandbox, open_client: "OpenClient") -> None:
    auth = Slow(f"Bearer {sandbox.access_token}", token="Bearer old")
    lofty = open_client(auth)
    call = asyncio.create_task(lofty.me())
    await auth.reached.wait()
    await cancelled(call)
    auth.gate.set()
    await nothing_is_left(lofty)


class TestAfterAnyNumberOfTurnsOfTheLoop:
    """Whatever the call is doing then."""

    @pytest.fixture
    async def stumbling(self, sandbox: Sandbox, open_client: "OpenClient") -> AsyncIterator[LoftyClient]:
        """Calls that fail, are renewed, rate limited, and repeated before they succeed."""
        sandbox.faults.add(ME, faults.Reply(500), times=None, chance=0.3)
        sandbox.faults.add(ME, faults.DropAfter(), times=None, chance=0.3)
        sandbox.faults.add(ME, faults.Reply(401, {"code": "BAD_CREDENTIALS"}), times=None, chance=0.2)
        auth = Slow(f"Bearer {sandbox.access_token}")
        auth.gate.set()
        yield open_client(auth)
        sandbox.faults.clear()

    async def test_a_call_is_cancelled_cleanly(self, sandbox: Sandbox, stumbling: LoftyClient) -> None:
        for turns in range(60):
            call = asyncio.create_task(stumbling.me())
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert stumbling.rate_limit.in_flight == 0, f"after {turns} turns"
        sandbox.faults.clear()
        await nothing_is_left(stumbling)

    async def test_closing_ends_it_cleanly(self, sandbox: Sandbox, open_client: "OpenClient") -> None:
        for turns in range(40):
            lofty = open_client()
            calls = [asyncio.create_task(lofty.me()) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await lofty.close()
                await asyncio.gather(*calls, return_exceptions=True)
            assert lofty.rate_limit.in_flight == 0, f"after {turns} turns"
        assert sandbox.requests
        assert our_tasks() == set()
