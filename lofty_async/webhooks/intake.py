"""What a posted webhook is answered: the same rules for every server that can carry them."""

import hmac
from collections.abc import AsyncIterable, Mapping
from http import HTTPStatus

from attrs import field, frozen

RETRY_AFTER_SECONDS = 30


@frozen
class Answer:
    """A status with its headers; every answer has an empty body."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(factory=dict[str, str])


ACCEPTED = Answer(HTTPStatus.OK)
UNREADABLE = Answer(HTTPStatus.BAD_REQUEST)
UNKNOWN_PATH = Answer(HTTPStatus.NOT_FOUND)
NOT_A_POST = Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"})
TOO_LARGE = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
FULL = Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def ends_with_secret(path: str, secret: str) -> bool:
    """Whether the decoded path ends with the secret, in a time that does not tell how much of it fits."""
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
    """The whole body, or `None` as soon as it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
