import asyncio
import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from lofty_async import LoftyClient, MemoryStore, RateLimiter
from lofty_async.errors import StoreUnavailableError
from lofty_async.ratelimit import FileStore, stores
from lofty_async.ratelimit.ledger import AcquireRequest, Grant
from lofty_async.ratelimit.stores import runtime_directory
from lofty_async.sandbox import Sandbox

LOCKER = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[FileStore, None]:
    made = FileStore("my-app", directory=tmp_path / "runtime")
    yield made
    await made.close()


async def take(store: FileStore, count: int = 1, *, member: str = "a", holding: int = 0) -> Grant:
    return await store.take(AcquireRequest(member, holding, count, bulk=0, reserve=0.0))


async def test_the_file_is_its_users_own_and_tells_no_id(store: FileStore) -> None:
    await take(store)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert "my-app" not in store.path.name
    assert b"my-app" not in store.path.read_bytes()


async def test_a_file_removed_in_the_middle_is_made_anew(store: FileStore) -> None:
    before = await take(store)
    store.path.unlink()
    after = await take(store, holding=1)
    assert after.lease.epoch != before.lease.epoch
    assert json.loads(store.path.read_text())["ledger"]["window"]["in_flight"] == 1 + after.interactive


async def test_a_file_moved_away_is_not_written_to_any_more(store: FileStore) -> None:
    await take(store)
    moved = store.path.rename(store.path.with_suffix(".old"))
    text = moved.read_bytes()
    await take(store)
    assert (moved.read_bytes(), store.path.exists()) == (text, True)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 5000, b'{"written_at": 1, "ledger"', b"[1, 2]"])
async def test_a_file_that_is_no_ledger_is_begun_anew(store: FileStore, content: bytes) -> None:
    await take(store)
    store.path.write_bytes(content)
    assert (await take(store)).interactive == 1
    assert await store.change(lambda ledger, _now: ledger.members["a"].in_flight) == 1


async def test_a_ledger_that_shrinks_leaves_nothing_of_the_longer_one(store: FileStore) -> None:
    for number in range(60):
        epoch = (await take(store, 0, member=f"member {number}")).lease.epoch
    assert store.path.stat().st_size > stores.BLOCK
    await store.change(lambda ledger, _now: ledger.members.clear())
    assert (await take(store, 0)).lease.epoch == epoch


@pytest.mark.parametrize(("later", "known"), [(1.0, True), (601.0, False), (-100.0, False)])
async def test_a_stale_file_and_one_from_before_the_host_was_started_are_not_believed(
    tmp_path: Path, later: float, known: bool
) -> None:
    clock = [1000.0]
    store = FileStore("my-app", directory=tmp_path, clock=lambda: clock[0])
    before = await take(store)
    clock[0] += later
    assert ((await take(store, holding=1)).lease.epoch == before.lease.epoch) is known
    await store.close()


async def test_a_snapshot_neither_makes_the_file_nor_writes_to_it(store: FileStore) -> None:
    assert (await store.snapshot()).limit is None
    assert not store.path.exists()
    await take(store)
    text, written_at = store.path.read_bytes(), store.path.stat().st_mtime_ns
    assert (await store.snapshot()).in_flight == 1
    assert (store.path.read_bytes(), store.path.stat().st_mtime_ns) == (text, written_at)


async def test_a_snapshot_of_what_is_no_file_of_ours_is_refused(store: FileStore) -> None:
    store.path.mkdir(parents=True)
    with pytest.raises(StoreUnavailableError):
        await store.snapshot()


async def test_a_symbolic_link_is_refused(store: FileStore, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("untouched")
    store.path.parent.mkdir()
    store.path.symlink_to(target)
    with pytest.raises(StoreUnavailableError):
        await take(store)
    assert target.read_text() == "untouched"


async def test_what_is_no_regular_file_is_refused(store: FileStore) -> None:
    store.path.parent.mkdir()
    os.mkfifo(store.path)
    with pytest.raises(StoreUnavailableError, match="not a regular file"):
        await take(store)


async def test_a_file_of_another_user_is_refused(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await take(store)
    await store.close()
    monkeypatch.setattr(os, "geteuid", lambda: store.path.stat().st_uid + 1)
    with pytest.raises(StoreUnavailableError, match="of this user"):
        await take(store)


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="file"):
        await take(FileStore("my-app", directory=tmp_path / "file" / "below"))


async def test_a_lock_that_a_stopped_process_holds_costs_a_fraction_of_a_second(store: FileStore) -> None:
    await take(store)
    pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    locker = await asyncio.create_subprocess_exec(sys.executable, "-c", LOCKER, str(store.path), **pipes)
    assert locker.stdout
    assert await locker.stdout.readline() == b"locked\n"
    locker.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="locked by another process"):
        await take(store)
    assert time.monotonic() - began < 0.5
    locker.kill()
    await locker.communicate()
    assert (await take(store, holding=1)).lease.epoch


async def test_a_lock_is_waited_for_and_the_waiting_can_be_cancelled(store: FileStore) -> None:
    await take(store)
    with store.path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting, cancelled = asyncio.ensure_future(take(store, holding=1)), asyncio.ensure_future(take(store))
        await asyncio.sleep(0.02)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        assert cancelled.cancelled()
        assert not waiting.done()
        fcntl.flock(file, fcntl.LOCK_UN)
        assert (await waiting).lease.epoch


async def test_a_forked_process_has_a_lock_of_its_own(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await take(store)
    before = store._file
    assert before is not None
    inherited = os.dup(before)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    await take(store, holding=1)
    assert store._file is not None
    assert store._file != inherited
    os.close(inherited)


async def test_a_platform_without_locks_has_no_such_store(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lofty_async._locks.fcntl", None)
    with pytest.raises(StoreUnavailableError, match="no file locks"):
        await take(store)


async def test_closing_lets_the_file_go(store: FileStore) -> None:
    await take(store)
    file = store._file
    assert file is not None
    await store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


async def test_a_slow_disk_does_not_hold_up_the_loop(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, is_written = threading.Event(), threading.Event()

    def write(file: int, text: bytes, _offset: int) -> None:
        writes.set()
        assert is_written.wait(10)  # for good, if the loop does not turn meanwhile
        os.write(file, text)

    monkeypatch.setattr(os, "pwrite", write)
    taking = asyncio.ensure_future(take(store))
    while not writes.is_set():
        await asyncio.sleep(0.001)
    assert not taking.done()
    is_written.set()
    assert (await taking).interactive == 1


async def test_closing_ends_its_thread(store: FileStore, until: Any) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "file store" in thread.name]

    await take(store)
    assert len(threads()) == 1
    await store.close()
    await until(lambda: not threads())


async def test_a_sandbox_and_production_have_a_ledger_each(tmp_path: Path) -> None:
    async def client(stack: AsyncExitStack, limit: int) -> tuple[Sandbox, LoftyClient]:
        box = await stack.enter_async_context(Sandbox(1, limit=limit))
        limiter = await stack.enter_async_context(RateLimiter(store=FileStore("my-app", directory=tmp_path)))
        lofty = LoftyClient(box.auth, base_url=box.url, limiter=limiter, max_wait=1.0)
        return box, await stack.enter_async_context(lofty)

    async with AsyncExitStack() as stack:
        small_box, small = await client(stack, limit=5)
        box, lofty = await client(stack, limit=100)
        for _ in range(5):
            await small.me()
        await asyncio.gather(*(lofty.me() for _ in range(40)))
        assert (small_box.rejected, box.rejected) == (0, 0)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("store", ["none", "memory", "file"])
async def test_a_limiter_counts_each_server_apart(store: str, tmp_path: Path) -> None:
    kept = {"none": None, "memory": MemoryStore(), "file": FileStore("my-app", directory=tmp_path)}[store]
    async with (
        RateLimiter(store=kept) as limiter,
        Sandbox(1, limit=5) as small_box,
        Sandbox(1, limit=100) as box,
        LoftyClient(small_box.auth, base_url=small_box.url, limiter=limiter, max_wait=1.0) as small,
        LoftyClient(box.auth, base_url=f"{box.url}/", limiter=limiter, max_wait=1.0) as lofty,
        LoftyClient(box.auth, base_url=box.url, limiter=limiter, max_wait=1.0) as alike,
    ):
        for _ in range(5):
            await small.me()
        await asyncio.gather(*(lofty.me() for _ in range(20)), *(alike.me() for _ in range(20)))
        assert (small.rate_limit.limit, lofty.rate_limit.limit, alike.rate_limit.limit) == (5, 100, 100)
        assert alike.rate_limit.remaining == lofty.rate_limit.remaining == 60


def test_the_file_lies_in_the_users_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert FileStore("my-app").path.parent == tmp_path / "lofty-async"


@pytest.mark.parametrize("kind", ["another user's", "read only", "a file", "below a file", "relative", "no name"])
def test_a_runtime_directory_that_is_not_the_users_is_passed_over(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = str(tmp_path)
    if kind == "another user's":
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    elif kind == "read only":
        monkeypatch.setattr(os, "access", lambda *_: False)
    elif kind in {"a file", "below a file"}:
        (tmp_path / "file").write_text("")
        given = str(tmp_path / "file" / "below" if kind == "below a file" else tmp_path / "file")
    elif kind == "relative":
        monkeypatch.chdir(tmp_path.parent)
        given = tmp_path.name
    if kind == "no name":
        monkeypatch.setattr(os, "environ", {"XDG_RUNTIME_DIR": "/a\0b"})
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    assert FileStore("my-app").path.parent == Path(tempfile.gettempdir()) / f"lofty-async-{os.geteuid()}"


@pytest.mark.parametrize("given", [None, "/nowhere/at/all"])
def test_without_one_it_lies_in_a_directory_of_the_users_for_temporary_files(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if given:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    assert runtime_directory().name == f"lofty-async-{os.getuid()}"
