"""A worker and the signal handlers of its process: it takes no handler from the program, and leaves none behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("procrastinate")

from lofty_async.workers import Fleet
from tests.fleets import DEADLINE, no_client, until
from tests.postgres_server import execute, needs_postgres

pytestmark = [needs_postgres, pytest.mark.skipif(sys.platform == "win32", reason="it has no signal handlers")]


@pytest.fixture
def set_handler() -> Iterator[Callable[[Any], None]]:
    """Sets the handler of SIGTERM for this test."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: void(signal.signal(signal.SIGTERM, handler))
    signal.signal(signal.SIGTERM, before)


def void(_: object) -> None:
    """Drops a value."""


@asynccontextmanager
async def at_work(dsn: str, *schemas: str) -> AsyncGenerator[list["asyncio.Task[None]"], None]:
    """Workers of fleets that are ready for signals."""
    fleets = [Fleet(dsn, no_client, schema=schema) for schema in schemas]
    for fleet in fleets:
        await fleet.setup()
    running = [asyncio.create_task(fleet.run_worker()) for fleet in fleets]

    async def are_registered() -> bool:
        return all([await execute(dsn, "SELECT 1 FROM procrastinate_workers", schema) for schema in schemas])

    try:
        await until(are_registered)
        yield running
    finally:
        for worker in running:
            worker.cancel()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait(running)


async def test_handlers_of_before_come_back_after_a_worker(dsn: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with at_work(dsn, "lofty_fleet"):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_a_handler_of_the_program_stays(dsn: str, set_handler: Callable[[Any], None]) -> None:
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)

    set_handler(receive)
    async with at_work(dsn, "lofty_fleet") as (worker,):
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert not worker.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM] * 2


async def test_a_handler_of_the_loop_stays(dsn: str) -> None:
    loop, received = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, received.set)
    try:
        async with at_work(dsn, "lofty_fleet"):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(received.wait(), 10)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_signal_stops_all_workers_of_a_loop(dsn: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with at_work(dsn, "lofty_fleet", "lofty_staging") as workers:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*workers)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_worker_in_another_thread_has_no_handlers(dsn: str) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> None:
        async with at_work(dsn, "lofty_fleet"):
            assert signal.getsignal(signal.SIGTERM) == before

    await asyncio.to_thread(asyncio.run, work())
    assert signal.getsignal(signal.SIGTERM) == before


PROGRAM = """
import asyncio, sys
from lofty_async.workers import Fleet, stopping

dsn, stop_seconds = sys.argv[1:]
stopping.STOP_SECONDS = float(stop_seconds)

async def client_for(account):
    print("syncing", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("stopping", flush=True)

async def main():
    fleet = Fleet(dsn, client_for)
    await fleet.setup()
    await fleet.add("smith")
    await fleet.run_worker()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ends_itself", [False, True])
async def test_a_worker_whose_sync_does_not_end_ends_at_the_second_signal_or_by_itself(
    dsn: str, how: signal.Signals, *, ends_itself: bool
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, dsn, "0.1" if ends_itself else "3600"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"syncing\n"
            process.send_signal(how)
            if not ends_itself:
                assert await process.stdout.readline() == b"stopping\n"
                process.send_signal(how)
            assert await process.wait() == -how
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
