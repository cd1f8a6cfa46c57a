"""Bodies of responses: packed ones, large ones, broken ones."""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import pytest

from lofty_async import (
    AmbiguousWriteError,
    ApiKey,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    LoftyClient,
    RefreshToken,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
)
from tests.raw_server import CREATED, RawServer, answer, raw_server

KEY = ApiKey("key")
JSON = b'{"id": 7, "firstName": "' + b"Ann" * 1000 + b'"}'
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PACKED = {
    "gzip": gzip.compress(JSON),
    "x-gzip": gzip.compress(JSON),
    "GZip": gzip.compress(JSON[:9]) + gzip.compress(JSON[9:]) + bytes(8),
    "deflate": zlib.compress(JSON),
    "Deflate": RAW.compress(JSON) + RAW.flush(),
    "identity": JSON,
}


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as running:
        yield running


def packed(body: bytes, encoding: str = "gzip") -> Callable[[str], bytes]:
    return lambda _: answer(body, f"Content-Encoding: {encoding}")


@cache
def bomb(size: int) -> bytes:
    """A gzip body that unpacks to so many bytes, all of them spaces."""
    stream, space = zlib.compressobj(9, wbits=31), bytes(b" " * (1 << 20))
    pieces = [stream.compress(space) for _ in range(size >> 20)]
    return b"".join([*pieces, stream.compress(space[: size % (1 << 20)]), stream.flush()])


async def test_only_what_can_be_unpacked_in_pieces_is_asked_for(server: RawServer, call_fields: Any) -> None:
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        await lofty.me()
        await lofty.tasks.create(**call_fields)
    assert {server.header("Accept-Encoding", at) for at in range(2)} == {"gzip, deflate"}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_packed_bodies_are_unpacked(server: RawServer, encoding: str, in_chunks: bool) -> None:
    body = PACKED[encoding]
    if in_chunks:
        chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[at : at + 1]) for at in range(len(body)))
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n"
        server.reply = lambda _: head.encode() + chunks + b"0\r\n\r\n"
    else:
        server.reply = packed(body, encoding)
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        for _ in range(2):
            assert (await lofty.me()).first_name == "Ann" * 1000
    assert server.connections == 1


@pytest.mark.parametrize("body", [gzip.compress(JSON)[:-9], b"\x1f\x8b" + JSON, b"{}"], ids=["half", "bad", "plain"])
async def test_broken_ones_are_a_broken_connection(server: RawServer, body: bytes) -> None:
    server.reply = packed(body)
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        with pytest.raises(ConnectionFailedError, match="broke") as caught:
            await lofty.with_options(retries=0).me()
    assert caught.value.sent


async def test_one_that_was_not_asked_for_is_no_json(server: RawServer) -> None:
    server.reply = packed(b"\x8b\x02\x80not unpacked", "br")
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        with pytest.raises(DecodeError):
            await lofty.with_options(retries=0).me()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_the_bound_is_on_the_unpacked_size(server: RawServer, encoding: str) -> None:
    server.reply = packed(PACKED[encoding], encoding)
    size = len(JSON)
    async with LoftyClient(KEY, base_url=server.url, max_response_size=size) as lofty:
        assert (await lofty.me()).id == 7
    async with LoftyClient(KEY, base_url=server.url, max_response_size=size - 1) as lofty:
        with pytest.raises(ResponseTooLargeError, match=f"max_response_size={size - 1}") as caught:
            await lofty.me()
    assert (caught.value.limit, caught.value.attempts, caught.value.sent) == (size - 1, 1, True)
    assert caught.value.request == "GET /v1.0/me"
    assert lofty.rate_limit.in_flight == 0
    assert len(server.heads) == 2


async def test_a_bomb_is_noticed_before_it_is_unpacked_and_the_loop_goes_on(server: RawServer) -> None:
    body = bomb(1 << 28)
    server.reply = packed(body)
    worst, last = 0.0, time.monotonic()

    async def tick() -> None:
        nonlocal worst, last
        while True:
            await asyncio.sleep(0)
            worst, last = max(worst, time.monotonic() - last), time.monotonic()

    ticking = asyncio.create_task(tick())
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        with pytest.raises(ResponseTooLargeError) as caught:
            await lofty.me()
    ticking.cancel()
    assert caught.value.limit == 64 * 1024 * 1024
    assert worst < 1


async def test_the_deadline_holds_while_a_body_is_unpacked(server: RawServer) -> None:
    server.reply = packed(bomb(1 << 28))
    async with LoftyClient(KEY, base_url=server.url, timeout=0.05, max_response_size=1 << 30) as lofty:
        with pytest.raises(RequestTimeoutError, match=r"within 0\.05 s"):
            await lofty.with_options(retries=0).me()
        assert lofty.rate_limit.in_flight == 0


async def test_one_that_never_ends_does(server: RawServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.reply = lambda _: head + (b"80000\r\n" + b" " * 0x80000 + b"\r\n") * 8
    async with LoftyClient(KEY, base_url=server.url, max_response_size=1 << 21) as lofty:
        with pytest.raises(ResponseTooLargeError):
            await lofty.me()
        server.reply = lambda _: answer(b'{"id": 7}')
        assert (await lofty.me()).id == 7


async def test_a_create_whose_answer_is_too_large_may_have_landed(server: RawServer, call_fields: Any) -> None:
    server.reply = packed(bomb(1 << 20))
    async with LoftyClient(KEY, base_url=server.url, max_response_size=1000) as lofty:
        with pytest.raises(AmbiguousWriteError) as caught:
            await lofty.tasks.create(**call_fields)
        assert isinstance(caught.value.__cause__, ResponseTooLargeError)
        server.reply = lambda _: CREATED
        assert await lofty.tasks.create(**call_fields) == 9


async def test_a_large_page_in_place_of_an_answer_is_told_by_its_start(server: RawServer) -> None:
    server.reply = lambda _: answer("<p>Straße".encode() * (1 << 21), status=502)
    async with LoftyClient(KEY, base_url=server.url) as lofty:
        with pytest.raises(ServerError) as caught:
            await lofty.with_options(retries=0).me()
    assert caught.value.body.startswith("<p>Straße<p>")
    assert max(len(caught.value.body), len(caught.value.message)) <= 200


async def test_token_endpoints_are_read_the_same_way(server: RawServer) -> None:
    def token(head: str) -> bytes:
        body = b'{"access_token": "a", "expires_in": 60, "refresh_token": "r"}'
        return answer(b'{"id": 7}') if "/me" in head else answer(gzip.compress(body), "Content-Encoding: gzip")

    server.reply = token
    auth = RefreshToken("refresh", "id", "secret", token_url=f"{server.url}/token")
    async with LoftyClient(auth, base_url=server.url) as lofty:
        assert (await lofty.me()).id == 7
    assert server.header("Accept-Encoding", 0) == "gzip, deflate"
    assert server.header("Authorization", 1) == "Bearer a"


async def test_a_bomb_of_a_token_endpoint_is_no_token(server: RawServer) -> None:
    server.reply = packed(bomb(1 << 28))
    auth = RefreshToken("refresh", "id", "secret", token_url=f"{server.url}/token")
    async with LoftyClient(auth, base_url=server.url) as lofty:
        with pytest.raises(DecodeError, match="without a usable token"):
            await lofty.with_options(retries=0).me()


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_a_bound_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_response_size must be"):
        LoftyClient(KEY, max_response_size=size)
