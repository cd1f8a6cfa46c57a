"""Turns of processes: one after the other, and nobody waits for the dead."""

import asyncio
import errno
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from lofty_async.oauth.lock import turn

HOLDER = """
import asyncio, sys
from pathlib import Path
from lofty_async.oauth.lock import turn

async def hold():
    async with turn(Path(sys.argv[1])):
        print("holding", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.json.lock"


@pytest.fixture
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, whose turn it is."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


@pytest.fixture
async def waiting(path: Path) -> AsyncGenerator["asyncio.Task[None]", None]:
    """A task of this process that has found the turn taken."""
    looked = asyncio.Event()

    async def look(_: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    async def take() -> None:
        async with turn(path, sleep=look):
            raise AssertionError("it was not free")

    task = asyncio.create_task(take())
    async with asyncio.timeout(10):
        await looked.wait()
    yield task
    task.cancel()


async def never(_: float) -> None:
    raise AssertionError("there was nothing to wait for")


async def test_a_process_that_is_killed_gives_up_its_turn(path: Path, holder: "subprocess.Popen[str]") -> None:
    looks = 0

    async def kill(_: float) -> None:
        nonlocal looks
        looks += 1
        holder.kill()
        holder.wait()

    async with turn(path, sleep=kill):
        assert looks == 1


async def test_tasks_of_one_process_take_turns_too(path: Path) -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with turn(path, sleep=lambda _: asyncio.sleep(0)):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(work())
    assert (inside, most) == (0, 1)


async def test_who_waits_can_be_cancelled_and_leaves_nothing_taken(
    path: Path, holder: "subprocess.Popen[str]", waiting: "asyncio.Task[None]"
) -> None:
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    holder.communicate("")
    async with turn(path, sleep=never):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("holder")
async def test_nobody_waits_for_ever_for_a_process_that_was_stopped(path: Path) -> None:
    waited = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal waited
        waited += seconds

    async with turn(path, sleep=sleep):
        assert 60 <= round(waited) <= 90


async def test_a_turn_that_ends_badly_ends(path: Path) -> None:
    with pytest.raises(ValueError, match="badly"):
        async with turn(path):
            raise ValueError("badly")
    async with turn(path, sleep=never):
        pass


@pytest.mark.usefixtures("holder")
async def test_where_the_platform_has_no_locks_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lofty_async._locks.fcntl", None)
    async with turn(path, sleep=never):
        pass


async def test_where_the_file_system_has_no_locks_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    async with turn(path, sleep=never):
        pass


async def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with turn(tmp_path / "none" / "lock"):
            raise AssertionError("there is no such folder")
