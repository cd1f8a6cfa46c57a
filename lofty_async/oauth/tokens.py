"""What is asked of a token endpoint and what it answers, read into a `Token` or an error."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import optional

from lofty_async.auth import Secret, TokenPost, TokenReply, sealed
from lofty_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    RateLimitedError,
    ServerError,
)

from .checks import is_number, moment, sendable, text

CRM_TOKEN_URL = "https://crm.lofty.com/api/user-web/oauth/token"  # noqa: S105 - an address
"""The token endpoint that knows an application by HTTP Basic and takes codes and refresh tokens."""

API_TOKEN_URL = "https://api.lofty.com/oauth/token"  # noqa: S105 - an address
"""The token endpoint that knows an application by its form and takes codes, PKCE and client credentials."""

ERROR_WORDS = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
    }
)
"""The error words of RFC 6749. Nothing else of an answer is ever repeated: it may echo the secrets sent."""

WRONG_CLIENT = frozenset({"invalid_client", "unauthorized_client"})
TRY_LATER = frozenset({"server_error", "temporarily_unavailable"})
HTTP_UNAUTHORIZED, HTTP_TOO_MANY_REQUESTS = 401, 429


def moved(token_url: str, base_url: str | None) -> str:
    """A documented token endpoint, at the server that stands in for Lofty's where there is one."""
    return token_url if base_url is None else base_url.rstrip("/") + urlsplit(token_url).path


def origin_of(refresh_token: str) -> str:
    """A mark by which the successors of a refresh token are known; it does not tell the token."""
    return sha256(refresh_token.encode()).hexdigest()[:16]


@sealed
@frozen
class Token:
    """An access token and what came with it; its secrets stay out of its repr.

    `expires_at` is in epoch seconds by the clock of whoever asked for the token, `None` where the server did
    not say. `refresh_token` is the one to use next: the rotated one, or the one before where the server sent
    none. `origin` marks the refresh token of the environment that this one succeeds, `None` for other logins;
    a store keeps it with the rest.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    access_token: str = field(repr=False, validator=sendable)
    refresh_token: str | None = field(default=None, repr=False, validator=optional(sendable))
    expires_at: float | None = field(default=None, validator=moment)
    scope: str | None = field(default=None, validator=text)
    token_type: str = field(default="Bearer", validator=sendable)
    origin: str | None = field(default=None, kw_only=True, repr=False, eq=False, validator=text)

    @property
    def header(self) -> str:
        """The value of `Authorization`; Lofty knows no other scheme for these than `Bearer`."""
        return Secret(f"Bearer {self.access_token}")

    def succeeds(self, refresh_token: str) -> bool:
        """Whether this login began with that refresh token, which may have been rotated since."""
        return self.refresh_token == refresh_token or self.origin == origin_of(refresh_token)


@frozen
class Grant:
    """One request for a token. `advice` says what to do when the server refuses it."""

    url: str
    form: Mapping[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(repr=False)
    advice: str

    async def redeem(self, post: TokenPost, clock: Callable[[], float]) -> Token:
        """Raises: what `send` and `read` raise."""
        asked_at = clock()
        return self.read(await self.send(post), asked_at)

    async def send(self, post: TokenPost) -> TokenReply:
        """Raises: TransportError, ClientClosedError where no answer arrives."""
        form = {name: Secret(value) for name, value in self.form.items()}
        basic = self.basic and (self.basic[0], Secret(self.basic[1]))
        reply = await post(self.url, form, basic)
        return reply if isinstance(reply, TokenReply) else TokenReply(*reply)

    def read(self, reply: TokenReply, asked_at: float) -> Token:
        """The token in an answer; its life is counted from when it was asked for, never from later.

        Raises: AuthenticationError where the grant is refused, by a word of RFC 6749 or by HTTP 401;
            ServerError, RateLimitedError where the endpoint, or what stands before it, fails or is busy;
            DecodeError where the answer holds no token.
        """
        outcome = self._outcome(reply, asked_at)
        if isinstance(outcome, Token):
            return outcome
        # Raised out here: the frames above hold the answer, old and new secrets included.
        raise outcome

    def _outcome(self, reply: TokenReply, asked_at: float) -> "Token | APIError | DecodeError":
        status, body = reply
        answer = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        failure = self._failure(status, answer, reply.retry_after)
        return self._token(status, answer, asked_at) if failure is None else failure

    def _failure(self, status: int, answer: Mapping[str, Any], retry_after: float) -> APIError | None:
        word = error_word(answer.get("error"))
        if status >= 500 or word in TRY_LATER:
            message = "the token endpoint failed: try again later"
            return ServerError(message, request=self._request, status=status, name=word)
        if status == HTTP_TOO_MANY_REQUESTS:
            message = "the token endpoint is busy: try again later"
            wanted = retry_after or None
            return RateLimitedError(message, request=self._request, status=status, name=word, retry_after=wanted)
        if word is not None or status == HTTP_UNAUTHORIZED:
            advice = "check the client id and the client secret" if word in WRONG_CLIENT else self.advice
            return AuthenticationError(advice, request=self._request, status=status, name=word)
        if status >= 400:
            # A firewall's page, say: it speaks for whoever stands in the way, not of the grant.
            message = "the token endpoint gave no reason: check its address, or try again later"
            return ServerError(message, request=self._request, status=status)
        return None

    def _token(self, status: int, answer: Mapping[str, Any], asked_at: float) -> Token | DecodeError:
        try:
            return Token(
                access_token=cast("str", answer.get("access_token")),
                refresh_token=answer.get("refresh_token") or self.form.get("refresh_token"),
                expires_at=expiry(answer.get("expires_in"), asked_at),
                scope=_text_or_none(answer.get("scope")),
                token_type=_text_or_none(answer.get("token_type")) or "Bearer",
            )
        except InvalidRequestError as error:
            path = error.argument
        # Made out here: the validator's error would be its context.
        return DecodeError(f"HTTP {status} without a usable token", request=self._request, path=path)

    @property
    def _request(self) -> str:
        return f"POST {urlsplit(self.url).path}"


def error_word(value: object) -> str | None:
    """The word where it is one of the standard's, `None` otherwise."""
    return value if isinstance(value, str) and value in ERROR_WORDS else None


def expiry(expires_in: object, asked_at: float) -> float | None:
    """When a token ends; an absent or unreadable lifetime, or one that is not positive, is unknown.

    Unknown rather than an error: the refresh token beside it may be the only one left.
    """
    try:
        seconds = float(expires_in) if isinstance(expires_in, str) else expires_in
    except ValueError:
        return None
    return asked_at + seconds if is_number(seconds) and seconds > 0 else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
