"""What puts `Authorization` on a request."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, SupportsIndex

from attrs import Factory, field, frozen

from .errors import InvalidRequestError

TokenPost = Callable[[str, Mapping[str, str], tuple[str, str] | None], Awaitable[tuple[int, Any]]]
"""Posts a form to an endpoint, by HTTP Basic where given: `(url, form, basic) -> (status, decoded JSON)`."""


class Secret(str):
    """Text to be sent whose repr, and that of its slices, hides its last word: reports of exceptions show frames."""

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, space, _ = self.rpartition(" ")
        return f"'{scheme}{space}…'"

    def __getitem__(self, key: SupportsIndex | slice, /) -> "Secret":
        """Long texts are cut before they are shown."""
        return Secret(super().__getitem__(key))


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


@frozen
class ApiKey(Auth):
    """An API key, sent as `token <key>`.

    Raises: InvalidRequestError where the key is empty or cannot be sent in a header.
    """

    key: str = field(repr=False, converter=_key)
    _header: Secret = field(default=Factory(_key_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header


@frozen
class AccessToken(Auth):
    """An OAuth access token that somebody else renews, sent as `Bearer <token>`.

    Raises: InvalidRequestError where the token is empty or cannot be sent in a header.
    """

    token: str = field(repr=False, converter=_token)
    _header: Secret = field(default=Factory(_token_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header
