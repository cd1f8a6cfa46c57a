"""Response bodies: read in pieces, unpacked in pieces, and bounded in both."""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final

from aiohttp import ClientResponse
from multidict import istr

ACCEPT_ENCODING: Final = "gzip, deflate"
"""What is asked for: zlib is always there, and takes a bound on what one step unpacks."""

STEP: Final = 1 << 20  # bytes unpacked between two turns of the event loop: some milliseconds
SLICE: Final = 1 << 16  # bytes of input at a time: zlib copies what it leaves of them

CONTENT_ENCODING: Final = istr("Content-Encoding")
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_START: Final = b"\x1f"
_ZLIB_METHOD: Final = 8  # the low half of the first byte, where the format's header is not left out


class BodyTooLarge(Exception):  # noqa: N818 - internal: the session raises the public error
    """The body is larger than allowed."""


class BodyBroken(Exception):  # noqa: N818 - internal: the session raises the public error
    """The body is not what its Content-Encoding says, or ends too early."""


async def read_body(response: ClientResponse, most: int) -> bytes:
    """The whole body, unpacked; one in an encoding that was not asked for stays packed.

    Raises: BodyTooLarge beyond `most` bytes, packed or unpacked; BodyBroken; what aiohttp raises. The connection is
        closed then, and also where the call is cancelled.
    """
    content = response.content
    try:
        # One that is there may also be empty, or a trace has read it before.
        body = await (response.read() if content.is_eof() else _read(response, most))
        encoding = response.headers.get(CONTENT_ENCODING)
        if encoding is not None and body:
            return await _unpacked(body, encoding.strip().lower(), most)
    except BaseException:
        response.close()
        raise
    if len(body) > most:
        raise BodyTooLarge
    return body


async def _read(response: ClientResponse, most: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > most:
            raise BodyTooLarge
        kept.append(piece)
    return b"".join(kept)


async def _unpacked(body: bytes, encoding: str, most: int) -> bytes:
    if encoding in _GZIP:
        bits = zlib.MAX_WBITS | 16
    elif encoding == "deflate":
        bits = zlib.MAX_WBITS if body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS
    else:
        return body
    kept: list[bytes] = []
    size, turns = 0, 1
    try:
        for piece in _unpacking(body, bits):
            size += len(piece)
            if size > most:
                raise BodyTooLarge
            kept.append(piece)
            if size + len(kept) * SLICE > turns * STEP:
                turns += 1
                await asyncio.sleep(0)
    except zlib.error as error:
        raise BodyBroken(str(error)) from None
    return b"".join(kept)


def _unpacking(body: bytes, bits: int) -> Iterator[bytes]:
    """The unpacked body in pieces of at most `STEP` bytes."""
    stream = zlib.decompressobj(bits)
    for start in range(0, len(body), SLICE):
        data = body[start : start + SLICE]
        while data:
            if stream.eof:  # gzip may have another member; what else follows is padding
                if not (bits > zlib.MAX_WBITS and data.startswith(_GZIP_START)):
                    return
                stream = zlib.decompressobj(bits)
            yield stream.decompress(data, STEP)
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    yield stream.flush()
    if not stream.eof:
        raise BodyBroken("the packed body ends too early")
