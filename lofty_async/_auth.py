"""The interface of credentials, and strings that reports of exceptions do not show."""

import string
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, Self, SupportsIndex, TypeVar, cast

from attrs import fields, frozen

from .errors import InvalidRequestError

T = TypeVar("T")

SCHEMES: Final = frozenset({"token", "Bearer", "Basic"})
PASTED: Final = string.whitespace + "\xa0\u200b\ufeff"
"""Characters around a pasted key that are no part of it: white space, zero-width space and byte order mark."""

QUOTES: Final = "\"'"  # which some readers of environment files, such as docker's, keep


class TokenReply(tuple[int, Any]):  # noqa: SLOT001 - a tuple can have no slots of its own
    """A token endpoint's response, `(status, decoded JSON)`, with a repr that hides it: it holds tokens.

    `retry_after` is the endpoint's `Retry-After` in seconds, 0 if it sent none.
    """

    retry_after: float

    def __new__(cls, status: int, body: Any, retry_after: float = 0.0) -> Self:
        reply = super().__new__(cls, (status, body))
        reply.retry_after = retry_after
        return reply

    def __repr__(self) -> str:
        return f"<response with HTTP {self[0]}>"


TokenPost = Callable[[str, Mapping[str, str], tuple[str, str] | None], Awaitable[tuple[int, Any]]]
"""Posts a form to an endpoint, with HTTP Basic if given: `(url, form, basic) -> (status, decoded JSON)`.

A `TokenReply` also carries `Retry-After`.
"""


class Secret(str):
    """A string whose repr, and that of its slices, shows at most its scheme: reports of exceptions show frames."""

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, space, _ = self.partition(" ")
        return f"'{scheme} …'" if space and scheme in SCHEMES else "'…'"

    def __getitem__(self, key: SupportsIndex | slice, /) -> "Secret":
        """Reports cut long strings before they show them."""
        return Secret(super().__getitem__(key))


def hidden(value: T) -> T:
    """The value, hidden in frames from here on if it is a string."""
    return cast("T", Secret(value)) if isinstance(value, str) else value


def hidden_url(value: T) -> T:
    """The address, hidden in frames if it may carry credentials: one that does is refused."""
    return hidden(value) if isinstance(value, str) and "@" in value else value


def hidden_headers(value: T) -> T:
    """The headers, their values hidden in frames: one that must not be set may be a secret."""
    if not isinstance(value, Mapping):
        return value
    return cast("T", {name: hidden(one) for name, one in cast("Mapping[Any, Any]", value).items()})


@frozen
class _NoText:
    """Takes the place of a secret of the wrong type: validators refuse it, and bytes would show in their frames."""


def pasted(value: Any) -> Any:
    """A secret without the white space around it, hidden in frames from here on."""
    if isinstance(value, str):
        return Secret(value.strip(PASTED))
    return None if value is None else _NoText()


def sealed(cls: type[T]) -> type[T]:
    """Class decorator over attrs: hides arguments before a frame of the constructor can show them.

    `pasted` is applied to text fields that the repr hides, `hidden_url` to all others.
    """
    known: Any = cls
    make = known.__init__
    given = [one for one in fields(known) if one.init]
    secrets = {one.alias for one in given if not one.repr and one.type in {str, str | None}}
    places = [one.alias for one in given if not one.kw_only]

    @wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes one
        named = [*places[: len(args)], *("" for _ in args[len(places) :])]
        args = tuple(
            (pasted if name in secrets else hidden_url)(value) for name, value in zip(named, args, strict=True)
        )
        kwargs = {name: (pasted if name in secrets else hidden_url)(value) for name, value in kwargs.items()}
        make(self, *args, **kwargs)

    known.__init__ = __init__
    return cls


class Auth(ABC):
    """A credential. Fixed ones are always `ready()`; renewable ones also fetch and renew their tokens."""

    @abstractmethod
    def ready(self) -> str | None:
        """The value of `Authorization`, or `None` if it has to be fetched first."""

    async def fetch(self, post: TokenPost) -> str:  # noqa: ARG002 - for renewable kinds
        """The value of `Authorization`, fetched if necessary; a fixed credential never waits."""
        value = self.ready()
        assert value is not None, "a credential that is not always ready overrides fetch"  # noqa: S101 - a contract for subclasses
        return value

    async def renew(self, refused: str, post: TokenPost) -> str | None:  # noqa: ARG002 - for renewable kinds
        """Another value of `Authorization` after the server refused `refused`; `None` if there is none."""
        return None

    def pause(self) -> float:
        """Seconds until the next request for a token after one that failed; 0 if there is nothing to wait for."""
        return 0.0

    def rejected(self, header: str) -> None:  # noqa: B027 - for renewable kinds
        """Called when the server refused a value at its first use after `renew`: another renewal would not help."""

    async def settle(self) -> None:  # noqa: B027 - fixed credentials have nothing to wait for
        """Wait for the current renewal, so that a session can close without losing a token that was just granted."""


def header_safe(argument: str, value: object) -> str:
    """The value, checked to be a string that a header can carry.

    Raises: InvalidRequestError naming the argument, never the value.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"{argument} must be a non-empty string", argument=argument)
    if len(value) > 1 and value[0] == value[-1] and value[0] in QUOTES:
        raise InvalidRequestError(f"{argument} has quotes around it: leave them out", argument=argument)
    if not value.isascii() or any(character.isspace() or not character.isprintable() for character in value):
        message = f"{argument} has characters that no header can carry, such as blanks or …: copy the whole value again"
        raise InvalidRequestError(message, argument=argument)
    return value
