"""Pure rules for the answer to one request, the same for every server: secret, size, encoding."""

import hmac
import zlib
from collections.abc import AsyncIterable, Mapping
from http import HTTPStatus

from attrs import field, frozen

RETRY_AFTER_SECONDS = 30

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
_RAW_DEFLATE = -zlib.MAX_WBITS
_ZLIB_METHOD = 8  # the low half of the first byte that zlib writes before its data
_STARTS = (b"", b"{", b" ", b"\t", b"\n", b"\xef")
"""First bytes of JSON objects, the last one of a byte order mark: no compressed body begins with one."""


@frozen
class Answer:
    """A status with its headers; every answer has an empty body."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(factory=dict[str, str])


ACCEPTED = Answer(HTTPStatus.OK)
UNREADABLE = Answer(HTTPStatus.BAD_REQUEST)
UNKNOWN_PATH = Answer(HTTPStatus.NOT_FOUND)
NOT_A_POST = Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"})
TOO_SLOW = Answer(HTTPStatus.REQUEST_TIMEOUT)
TOO_LARGE = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
UNKNOWN_ENCODING = Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"Accept-Encoding": "gzip, deflate"})
FULL = Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def ends_with_secret(path: str, secret: str) -> bool:
    """Whether the decoded path ends with the secret, compared in constant time."""
    segment = path.rpartition("/")[2]
    # Paths decoded leniently can hold lone surrogates, which plain UTF-8 refuses.
    return hmac.compare_digest(segment.encode("utf-8", "surrogatepass"), secret.encode("utf-8", "surrogatepass"))


def declares_more_than(limit: int, content_length: str | None) -> bool:
    # Anything but digits is left to the server and to the count of what really arrives.
    if content_length is None or not (content_length.isascii() and content_length.isdigit()):
        return False
    # Compared by length first: a number of thousands of digits is refused by `int`.
    digits = content_length.lstrip("0")
    return len(digits) > len(str(limit)) or int(digits or "0") > limit


async def read_at_most(limit: int, chunks: AsyncIterable[bytes]) -> bytes | None:
    """Returns the whole body, or `None` as soon as it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def decompressed(body: bytes, content_encoding: str | None, limit: int) -> bytes | Answer:
    """Returns the body without its encoding, or the answer to send; decompresses at most `limit` bytes.

    Some servers decompress a body and keep the header, so a body that begins as JSON is returned unchanged.
    """
    encoding = (content_encoding or "").strip().lower()
    if encoding in ("", "identity") or body[:1] in _STARTS:
        return body
    if encoding not in _WINDOW_BITS:
        return UNKNOWN_ENCODING
    is_raw = encoding == "deflate" and body[0] & 0x0F != _ZLIB_METHOD
    stream = zlib.decompressobj(_RAW_DEFLATE if is_raw else _WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error:
        return UNREADABLE
    if len(plain) > limit:
        return TOO_LARGE
    return plain if stream.eof and not stream.unused_data else UNREADABLE
