"""Response bodies: read and decompressed in pieces, with one bound on both sizes."""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final

from aiohttp import ClientResponse
from multidict import istr

ACCEPT_ENCODING: Final = "gzip, deflate"
"""zlib is always there, and bounds the output of one step."""

YIELD_EVERY: Final = 1 << 20  # bytes decompressed between two turns of the event loop: some milliseconds
INPUT_SIZE: Final = 1 << 16  # bytes of input at a time: zlib copies those that it does not consume

CONTENT_ENCODING: Final = istr("Content-Encoding")
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_START: Final = b"\x1f"
_ZLIB_METHOD: Final = 8  # the low half of the first byte, unless the zlib header is left out


class BodyTooLargeError(Exception):
    """The body is larger than allowed; the session raises the public error."""


class BodyCorruptError(Exception):
    """The body does not match its Content-Encoding, or ends too early; the session raises the public error."""


async def read_body(response: ClientResponse, most: int) -> bytes:
    """The whole body, decompressed; a body in an encoding that was not accepted is returned as it is.

    Raises: BodyTooLargeError beyond `most` bytes, compressed or not; BodyCorruptError; aiohttp's errors. The
        connection is closed then, as when the call is cancelled.
    """
    content = response.content
    try:
        # At its end, the body may be empty, buffered, or already read by a trace.
        body = await (response.read() if content.is_eof() else _read(response, most))
        encoding = response.headers.get(CONTENT_ENCODING)
        if encoding is not None and body:
            return await _decompressed(body, encoding.strip().lower(), most)
    except BaseException:
        response.close()
        raise
    if len(body) > most:
        raise BodyTooLargeError
    return body


async def _read(response: ClientResponse, most: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > most:
            raise BodyTooLargeError
        kept.append(piece)
    return b"".join(kept)


async def _decompressed(body: bytes, encoding: str, most: int) -> bytes:
    if encoding in _GZIP:
        bits = zlib.MAX_WBITS | 16
    elif encoding == "deflate":
        bits = zlib.MAX_WBITS if body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS
    else:
        return body
    kept: list[bytes] = []
    size, turns = 0, 1
    try:
        for piece in _decompress(body, bits):
            size += len(piece)
            if size > most:
                raise BodyTooLargeError
            kept.append(piece)
            if size + len(kept) * INPUT_SIZE > turns * YIELD_EVERY:
                turns += 1
                await asyncio.sleep(0)
    except zlib.error as error:
        raise BodyCorruptError(str(error)) from None
    return b"".join(kept)


def _decompress(body: bytes, bits: int) -> Iterator[bytes]:
    """The decompressed body in pieces of at most `YIELD_EVERY` bytes."""
    stream = zlib.decompressobj(bits)
    for start in range(0, len(body), INPUT_SIZE):
        data = body[start : start + INPUT_SIZE]
        while data:
            if stream.eof:  # gzip may have another member; anything else is padding
                if not (bits > zlib.MAX_WBITS and data.startswith(_GZIP_START)):
                    return
                stream = zlib.decompressobj(bits)
            yield stream.decompress(data, YIELD_EVERY)
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    yield stream.flush()
    if not stream.eof:
        raise BodyCorruptError("the compressed body ends too early")
