"""What puts `Authorization` on a request."""

import string
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, Self, SupportsIndex, TypeVar, cast

from attrs import Factory, field, fields, frozen

from .errors import InvalidRequestError

T = TypeVar("T")

SCHEMES: Final = frozenset({"token", "Bearer", "Basic"})
PASTED: Final = string.whitespace + "\xa0\u200b\ufeff"
"""Characters that come along with a pasted key and are no part of it: white space, visible or not, and marks."""


class TokenReply(tuple[int, Any]):  # noqa: SLOT001 - a tuple can have no slots of its own
    """A token endpoint's answer, `(status, decoded JSON)`, with a repr that hides it: it holds tokens.

    `retry_after` is how many seconds the endpoint asked to be left alone, 0 where it did not say.
    """

    retry_after: float

    def __new__(cls, status: int, body: Any, retry_after: float = 0.0) -> Self:
        reply = super().__new__(cls, (status, body))
        reply.retry_after = retry_after
        return reply

    def __repr__(self) -> str:
        return f"<answer with HTTP {self[0]}>"


TokenPost = Callable[[str, Mapping[str, str], tuple[str, str] | None], Awaitable[tuple[int, Any]]]
"""Posts a form to an endpoint, by HTTP Basic where given: `(url, form, basic) -> (status, decoded JSON)`.

A `TokenReply` also carries `Retry-After`.
"""


class Secret(str):
    """Text whose repr, and that of its slices, shows at most its scheme: reports of exceptions show frames."""

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, space, _ = self.partition(" ")
        return f"'{scheme} …'" if space and scheme in SCHEMES else "'…'"

    def __getitem__(self, key: SupportsIndex | slice, /) -> "Secret":
        """Long texts are cut before they are shown."""
        return Secret(super().__getitem__(key))


def hidden(value: T) -> T:
    """The value, hidden in frames from here on where it is text."""
    return cast("T", Secret(value)) if isinstance(value, str) else value


def hidden_url(value: T) -> T:
    """The address, hidden in frames if it may carry credentials: one that does is refused."""
    return hidden(value) if isinstance(value, str) and "@" in value else value


@frozen
class _NoText:
    """Stands for a secret of the wrong type, which validators refuse: bytes would show in their frames."""


def pasted(value: Any) -> Any:
    """A secret without the white space that was pasted along with it, hidden in frames from here on."""
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
    """A credential. Fixed ones answer `ready()` for ever; renewable ones also know how to fetch and renew."""

    @abstractmethod
    def ready(self) -> str | None:
        """The header's value, or `None` where it has to be fetched first."""

    async def fetch(self, post: TokenPost) -> str:  # noqa: ARG002 - for renewable kinds
        """The header's value, fetched if need be; never waits for a fixed credential."""
        value = self.ready()
        assert value is not None, "a credential that is not always ready overrides fetch"  # noqa: S101 - a contract for subclasses
        return value

    async def renew(self, refused: str, post: TokenPost) -> str | None:  # noqa: ARG002 - for renewable kinds
        """A new header's value after the server refused `refused`; `None` where there is none to be had."""
        return None

    def pause(self) -> float:
        """Seconds until a token is asked for again after asking failed; 0 where there is nothing to wait for."""
        return 0.0

    def rejected(self, header: str) -> None:  # noqa: B027 - for renewable kinds
        """The server refused a header at its first use after `renew`: another renewal would be as futile."""

    async def settle(self) -> None:  # noqa: B027 - nothing to wait for where nothing is renewed
        """Waits for a renewal under way, so that a session may close without losing a token just granted."""


def header_safe(argument: str, value: object) -> str:
    """The value, known to be text that a header can carry.

    Raises: InvalidRequestError naming the argument, never the value.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"{argument} must be a non-empty string", argument=argument)
    if not value.isascii() or any(character.isspace() or not character.isprintable() for character in value):
        raise InvalidRequestError(f"{argument} has characters that no header can carry", argument=argument)
    return value


def _key(value: str) -> str:
    return header_safe("key", value)


def _token(value: str) -> str:
    return header_safe("token", value)


def _key_header(auth: "ApiKey") -> Secret:
    return Secret(f"token {auth.key}")


def _token_header(auth: "AccessToken") -> Secret:
    return Secret(f"Bearer {auth.token}")


@sealed
@frozen
class ApiKey(Auth):
    """An API key, sent as `token <key>`; white space around it is dropped.

    Raises: InvalidRequestError where the key is empty or cannot be sent in a header.
    """

    key: str = field(repr=False, converter=_key)
    _header: Secret = field(default=Factory(_key_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header


@sealed
@frozen
class AccessToken(Auth):
    """An OAuth access token that somebody else renews, sent as `Bearer <token>`; white space around it is dropped.

    Raises: InvalidRequestError where the token is empty or cannot be sent in a header.
    """

    token: str = field(repr=False, converter=_token)
    _header: Secret = field(default=Factory(_token_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header
