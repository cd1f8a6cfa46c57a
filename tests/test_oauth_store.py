"""Token stores: where a login's newest token outlives the process."""

import asyncio
import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lofty_async.errors import AuthenticationError, DecodeError, InvalidRequestError
from lofty_async.oauth import FileTokenStore, LoginClient, RefreshToken, Token, TokenStore

TOKEN = Token("acc3ss", "r3fresh", 1234.5, "all", "Bearer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.json"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


async def test_what_was_saved_is_loaded_again(path: Path) -> None:
    store: TokenStore = FileTokenStore(path)
    assert await store.load() is None
    await store.save(TOKEN)
    await store.save(Token("later"))
    assert await store.load() == Token("later")


async def test_only_the_owner_can_read_it_from_the_first_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        seen.append(os.fstat(handle).st_mode)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    before = os.umask(0)
    try:
        await FileTokenStore(path).save(TOKEN)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(mode) for mode in seen if stat.S_ISREG(mode)] == [0o600]
    assert [mode for mode in seen if stat.S_ISDIR(mode)], "the folder is synced too"
    assert mode_of(path) == 0o600


async def test_a_save_that_fails_leaves_the_old_token_and_no_litter(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileTokenStore(path)
    await store.save(TOKEN)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device", handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        await store.save(Token("later"))
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - one call in a test
    assert await store.load() == TOKEN


async def test_a_cancelled_save_leaves_a_whole_token(path: Path) -> None:
    store = FileTokenStore(path)
    await store.save(TOKEN)
    saving = asyncio.create_task(store.save(Token("later")))
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await store.load() in {TOKEN, Token("later")}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
async def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    store = FileTokenStore(path)
    await store.save(TOKEN)
    os.chmod(path, mode)  # noqa: PTH101 - pathlib is banned from coroutines
    with pytest.raises(AuthenticationError, match="chmod 600"):
        await store.load()


async def test_where_files_have_no_such_modes_they_are_not_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lofty_async.oauth.store.POSIX", False)
    store = FileTokenStore(path)
    await store.save(TOKEN)
    os.chmod(path, 0o644)  # noqa: PTH101 - pathlib is banned from coroutines
    assert await store.load() == TOKEN


@pytest.mark.parametrize(
    ("content", "at"),
    [
        (b"\xff\xfe", None),
        (b"[]", None),
        (b"5", None),
        (b"{}", None),
        (b'{"access_token": "acc3ss", "client": 5}', None),
        (b'{"access_token": "acc3ss and more"}', "access_token"),
        (b'{"access_token": "acc3ss", "expires_at": "acc3ss"}', "expires_at"),
        (b"[" * 200_000, None),
    ],
)
async def test_a_file_that_holds_no_token_says_what_to_do_and_shows_nothing(
    path: Path, content: bytes, at: str | None
) -> None:
    write(path, content)
    with pytest.raises(DecodeError, match="delete it and log in again") as caught:
        await FileTokenStore(path).load()
    assert caught.value.path == at
    assert caught.value.__context__ is None
    assert "acc3ss" not in f"{caught.value}{caught.value!r}"


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("content", [b"", b"\n"])
async def test_an_empty_file_means_that_there_is_no_token_yet(path: Path, content: bytes, mode: int) -> None:
    write(path, content)
    os.chmod(path, mode)  # noqa: PTH101 - pathlib is banned from coroutines
    store = FileTokenStore(path)
    assert await store.load() is None
    assert await store.load_client() is None
    with pytest.raises(AuthenticationError, match="log in first"):
        await RefreshToken.from_store(store, "id", None)
    async with store.renewal():
        await store.save(TOKEN)
    assert await store.load() == TOKEN
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
async def test_what_is_no_regular_file_is_refused_at_once(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    store = FileTokenStore(path)
    async with asyncio.timeout(10):
        with pytest.raises(AuthenticationError, match="not a regular file"):
            await store.load()
        with pytest.raises(AuthenticationError, match="not a regular file"):
            await store.save(TOKEN)
        with pytest.raises(AuthenticationError, match="not a regular file"):
            async with store.renewal():
                raise AssertionError("it was not refused")
    assert not stat.S_ISREG(os.stat(path).st_mode), "it was replaced"  # noqa: PTH116 - pathlib is banned from coroutines


@pytest.mark.parametrize("path", [5, None, ["token.json"]])
def test_what_is_no_path_is_refused_by_name(path: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        FileTokenStore(path)
    assert caught.value.argument == "path"


SENDABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    token=st.builds(
        Token,
        access_token=SENDABLE,
        refresh_token=st.none() | SENDABLE,
        expires_at=st.none() | st.floats(0, 1e12),
        scope=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        token_type=SENDABLE,
    )
)
def test_every_token_survives_the_file(path: Path, token: Token) -> None:
    store = FileTokenStore(path)
    asyncio.run(store.save(token))
    assert asyncio.run(store.load()) == token


def busy(*_: object, **__: object) -> None:
    raise OSError(errno.EBUSY, "Device or resource busy")


def forbidden(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


IN_PLACE_ONLY = pytest.mark.parametrize(("call", "refuse"), [("os.replace", busy), ("tempfile.mkstemp", forbidden)])
"""A file that is mounted by itself, and one in a folder that may not be written to."""

LONG = Token("acc3ss" * 999, "r3fresh" * 99)


class TestWhereItIsWritten:
    async def test_a_link_stays_one_and_its_target_gets_the_token(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        target = tmp_path / "real" / "login.json"
        path.symlink_to(target)
        store = FileTokenStore(path)
        for token in (TOKEN, LONG):
            await store.save(token)
            assert await FileTokenStore(target).load() == await store.load() == token
        assert path.is_symlink()
        assert (mode_of(target), os.listdir(target.parent)) == (0o600, [target.name])  # noqa: PTH208 - one call in a test

    async def test_every_name_of_a_file_gets_the_token(self, path: Path, tmp_path: Path) -> None:
        store, other = FileTokenStore(path), FileTokenStore(tmp_path / "other.json")
        await store.save(TOKEN)
        os.link(path, other.path)
        await store.save(LONG)
        assert await other.load() == LONG

    @IN_PLACE_ONLY
    async def test_what_cannot_be_replaced_is_written_in_place(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, refuse: Callable[..., None]
    ) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        before = path.stat().st_ino
        synced: list[int] = []
        fsync = os.fsync

        def watched(file: int) -> None:
            synced.append(os.fstat(file).st_ino)
            fsync(file)

        monkeypatch.setattr(os, "fsync", watched)
        monkeypatch.setattr(call, refuse)
        for token in (LONG, TOKEN, LONG):
            async with store.renewal():
                await store.save(token)
            assert await store.load() == token
            assert synced[-1] == path.stat().st_ino == before
        assert [name.name for name in path.parent.iterdir() if not name.name.endswith(".lock")] == [path.name]

    @IN_PLACE_ONLY
    async def test_a_write_in_place_that_fails_leaves_the_old_token(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, refuse: Callable[..., None]
    ) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        monkeypatch.setattr(call, refuse)
        monkeypatch.setattr(os, "fsync", busy)
        with pytest.raises(OSError, match="busy"):
            await store.save(LONG)
        assert await store.load() == TOKEN

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounts take root")
    async def test_a_file_mounted_by_itself_is_kept(self, path: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside.json"
        await FileTokenStore(outside).save(TOKEN)
        path.touch()
        if subprocess.run(["mount", "--bind", outside, path], check=False, capture_output=True).returncode:  # noqa: ASYNC221, S607 - a test
            pytest.skip("no mounts here")
        try:
            store = FileTokenStore(path)
            async with store.renewal():
                await store.save(LONG)
        finally:
            subprocess.run(["umount", path], check=True)  # noqa: ASYNC221, S607 - a test
        assert await FileTokenStore(outside).load() == LONG

    async def test_a_file_stays_the_same_one_for_those_who_have_it_mounted_elsewhere(self, path: Path) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        before = path.stat().st_ino
        for token in (Token("later"), TOKEN):
            async with store.renewal():
                await store.save(token)
            assert (await store.load(), path.stat().st_ino, mode_of(path)) == (token, before, 0o600)

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounts take root")
    async def test_a_file_and_its_mount_see_each_others_tokens(self, path: Path, tmp_path: Path) -> None:
        outside, mounted = FileTokenStore(tmp_path / "outside.json"), FileTokenStore(path)
        await outside.save(TOKEN)
        path.touch()
        if subprocess.run(["mount", "--bind", outside.path, path], check=False, capture_output=True).returncode:  # noqa: ASYNC221, S607 - a test
            pytest.skip("no mounts here")
        try:
            for number, (saver, other) in enumerate([(outside, mounted), (mounted, outside)] * 2):
                async with saver.renewal():
                    await saver.save(Token(f"access-{number}"))
                assert await other.load() == Token(f"access-{number}")
        finally:
            subprocess.run(["umount", path], check=True)  # noqa: ASYNC221, S607 - a test

    @pytest.mark.parametrize("mode", [0o640, 0o666])
    async def test_a_file_that_others_can_read_is_replaced_by_one_that_they_cannot(self, path: Path, mode: int) -> None:
        write(path, b"{}")
        os.chmod(path, mode)  # noqa: PTH101 - pathlib is banned from coroutines
        await FileTokenStore(path).save(TOKEN)
        assert (await FileTokenStore(path).load(), mode_of(path)) == (TOKEN, 0o600)

    async def test_a_read_in_the_middle_of_a_write_is_repeated(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        halves = iter([b'{"access_token": "later", "refresh_to', b'{"access_token": "la'])

        class Torn(io.FileIO):
            def read(self, size: int | None = -1, /) -> bytes:
                whole = super().read(size)
                return next(halves, whole)

        monkeypatch.setattr(Path, "open", lambda place, *_, **__: Torn(place))
        assert await store.load() == TOKEN

    async def test_the_file_of_another_user_is_neither_believed_nor_given_secrets(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(AuthenticationError, match="another user"):
            await store.load()
        monkeypatch.setattr("os.replace", busy)
        with pytest.raises(AuthenticationError, match="another user"):
            await store.save(LONG)
        monkeypatch.undo()
        assert await store.load() == TOKEN

    async def test_what_stands_beside_the_token_stays(self, path: Path) -> None:
        client = LoginClient("id", "https://lofty.example/token", has_secret=True)
        await FileTokenStore(path, client=client).save(TOKEN)
        await FileTokenStore(path).save(LONG)
        assert await FileTokenStore(path).load_client() == client


class TestBeforeATokenIsSpent:
    async def test_a_file_that_cannot_be_saved_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = FileTokenStore(path)
        await store.save(TOKEN)
        monkeypatch.setattr("os.replace", busy)
        monkeypatch.setattr(Path, "open", forbidden)
        with pytest.raises(AuthenticationError, match="cannot be kept"):
            async with store.renewal():
                raise AssertionError("it was not refused")

    async def test_so_is_one_in_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(AuthenticationError, match="cannot be kept"):
            async with FileTokenStore(tmp_path / "none" / "token.json").renewal():
                raise AssertionError("it was not refused")

    @pytest.mark.parametrize("exists", [True, False])
    async def test_nothing_is_left_behind_and_nothing_changed(self, path: Path, exists: bool) -> None:
        store = FileTokenStore(path)
        if exists:
            await store.save(TOKEN)
        async with store.renewal():
            pass
        assert await store.load() == (TOKEN if exists else None)
        assert {name.name for name in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}

    @pytest.mark.parametrize("mode", [0o600, 0o644])
    async def test_an_empty_file_is_given_the_room_for_a_token(self, path: Path, mode: int) -> None:
        write(path, b"")
        os.chmod(path, mode)  # noqa: PTH101 - pathlib is banned from coroutines
        store = FileTokenStore(path)
        async with store.renewal():
            assert os.stat(path).st_size >= 4096  # noqa: PTH116 - pathlib is banned from coroutines
        assert await store.load() is None

    async def test_what_another_process_saves_meanwhile_is_not_undone(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without locks, both are at it at once."""
        monkeypatch.setattr("lofty_async.oauth.store.fcntl", None)
        store, make = FileTokenStore(path), tempfile.mkstemp
        await store.save(LONG)

        def overtaken(**options: Any) -> tuple[int, str]:
            monkeypatch.setattr(tempfile, "mkstemp", make)
            asyncio.run(FileTokenStore(path).save(TOKEN))
            return make(**options)

        monkeypatch.setattr(tempfile, "mkstemp", overtaken)
        async with store.renewal():
            assert await store.load() == TOKEN

    async def test_renewals_take_turns_by_whatever_link(self, path: Path, tmp_path: Path) -> None:
        link = tmp_path / "link.json"
        link.symlink_to(path)
        inside = most = 0

        async def renew(place: Path) -> None:
            nonlocal inside, most
            async with FileTokenStore(place).renewal():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await FileTokenStore(path).save(TOKEN)
        async with asyncio.TaskGroup() as tasks:
            for place in (path, link, path, link):
                tasks.create_task(renew(place))
        assert (inside, most) == (0, 1)


HOLDER = """
import asyncio, sys
from lofty_async import FileTokenStore

async def hold():
    async with FileTokenStore(sys.argv[1]).renewal():
        print("holding", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


@pytest.fixture
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, in the middle of its renewal."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


async def never(_: float) -> None:
    raise AssertionError("there was nothing to wait for")


class TestLocks:
    async def test_a_cancelled_renewal_keeps_its_lock_until_nothing_is_written_any_more(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writing, going_on, fsync = threading.Event(), threading.Event(), os.fsync

        def slow(file: int) -> None:
            writing.set()
            going_on.wait(10)
            fsync(file)

        async def renew() -> None:
            async with FileTokenStore(path).renewal():
                raise AssertionError("it was cancelled")

        await FileTokenStore(path).save(TOKEN)
        monkeypatch.setattr(os, "fsync", slow)
        cancelled = asyncio.create_task(renew())
        await asyncio.to_thread(writing.wait, 10)
        cancelled.cancel()
        await asyncio.sleep(0)
        lock = os.open(path.with_name("token.json.lock"), os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        going_on.set()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
        assert await FileTokenStore(path).load() == TOKEN

    async def test_a_process_that_is_killed_gives_up_its_lock(
        self, path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        polls = 0

        async def kill(_: float) -> None:
            nonlocal polls
            polls += 1
            holder.kill()
            holder.wait()

        monkeypatch.setattr(asyncio, "sleep", kill)
        async with FileTokenStore(path).renewal():
            assert polls == 1

    async def test_who_waits_can_be_cancelled_and_leaves_nothing_locked(
        self, path: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        polled = asyncio.Event()

        async def poll(_: float) -> None:
            polled.set()
            await asyncio.Event().wait()

        async def renew() -> None:
            async with FileTokenStore(path).renewal():
                raise AssertionError("it was not free")

        monkeypatch.setattr(asyncio, "sleep", poll)
        waiting = asyncio.create_task(renew())
        async with asyncio.timeout(10):
            await polled.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        holder.communicate("")
        monkeypatch.setattr(asyncio, "sleep", never)
        async with FileTokenStore(path).renewal():
            assert mode_of(path.with_name("token.json.lock")) == 0o600

    @pytest.mark.usefixtures("holder")
    async def test_nobody_waits_for_ever_for_a_process_that_was_stopped(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited = 0.0

        async def sleep(seconds: float) -> None:
            nonlocal waited
            waited += seconds

        monkeypatch.setattr(asyncio, "sleep", sleep)
        async with FileTokenStore(path).renewal():
            assert 60 <= round(waited) <= 90

    async def test_a_renewal_that_fails_releases_its_lock(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asyncio, "sleep", never)
        with pytest.raises(ValueError, match="badly"):
            async with FileTokenStore(path).renewal():
                raise ValueError("badly")
        async with FileTokenStore(path).renewal():
            pass

    @pytest.mark.usefixtures("holder")
    @pytest.mark.parametrize("by", ["platform", "file system"])
    async def test_without_locks_nobody_waits(self, path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
        def refuse(*_: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(asyncio, "sleep", never)
        if by == "platform":
            monkeypatch.setattr("lofty_async.oauth.store.fcntl", None)
        else:
            monkeypatch.setattr("fcntl.flock", refuse)
        async with FileTokenStore(path).renewal():
            pass
