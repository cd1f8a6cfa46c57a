"""Where a token outlives the process."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lofty_async.errors import AuthenticationError, DecodeError, InvalidRequestError
from lofty_async.oauth import FileTokenStore, Token, TokenStore

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
        (b"", None),
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
