"""Tokens, the requests for them, and the validators of credentials."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeGuard, cast
from urllib.parse import SplitResult, urlsplit

from attrs import Attribute, field, frozen
from attrs.validators import optional

from lofty_async._auth import PASTED, Secret, TokenPost, TokenReply, header_safe, sealed
from lofty_async._checks import is_loopback
from lofty_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    RateLimitedError,
    ServerError,
)

CRM_TOKEN_URL: Final = "https://crm.lofty.com/api/user-web/oauth/token"  # noqa: S105 - an address
"""The token endpoint that identifies an application by HTTP Basic and takes codes and refresh tokens."""

API_TOKEN_URL: Final = "https://api.lofty.com/oauth/token"  # noqa: S105 - an address
"""The token endpoint that identifies an application by its form and takes codes, PKCE and client credentials."""

OAUTH_ERRORS: Final = frozenset(
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
"""The error codes of RFC 6749. Nothing else of a response is ever repeated: it may echo the secrets sent."""

CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client"})
TEMPORARY_ERRORS: Final = frozenset({"server_error", "temporarily_unavailable"})
HTTP_UNAUTHORIZED, HTTP_TOO_MANY_REQUESTS = 401, 429

MAX_EPOCH_SECONDS: Final = 1e15
"""Larger values are mistakes, as are infinity and NaN."""


def at_base_url(address: str, base_url: str | None) -> str:
    """A documented address of Lofty's, moved to the server at `base_url` if there is one."""
    return address if base_url is None else base_url.rstrip("/") + urlsplit(address).path


def documented_url(login: Any) -> str:
    """The documented endpoint for logins of an application, by whether it has a client secret."""
    return API_TOKEN_URL if login.client_secret is None else CRM_TOKEN_URL


def origin_of(refresh_token: str) -> str:
    """A fingerprint of a refresh token, by which a store recognises its successors."""
    return sha256(refresh_token.encode()).hexdigest()[:16]


# Validators: each error names the argument and never shows its value.


def sendable(_: object, attribute: "Attribute[Any]", value: object) -> None:
    header_safe(attribute.name, value)


def basic_name(_: object, attribute: "Attribute[Any]", value: object) -> None:
    """HTTP Basic separates name and password by a colon, so the name must not contain one."""
    if ":" in header_safe(attribute.name, value):
        raise InvalidRequestError(f"{attribute.name} must not contain a colon", argument=attribute.name)


def stripped(value: str) -> str:
    """The name without the white space that was pasted along with it."""
    return value.strip(PASTED) if isinstance(value, str) else value  # pyright: ignore[reportUnnecessaryIsInstance] - the validator's to refuse


def secure_url(credential: object, attribute: "Attribute[Any]", value: object) -> None:
    """Secrets are sent by HTTPS; by plain HTTP only to loopback, or if the credential says `allow_http`."""
    check_url(attribute.name, value, allow_http=getattr(credential, "allow_http", False) is True)


def check_url(argument: str, value: object, *, allow_http: bool) -> None:
    problem = _url_problem(header_safe(argument, value), allow_http=allow_http)
    if problem:
        # Raised out here: the frame above holds the parts of the address, credentials included.
        raise InvalidRequestError(f"{argument} {problem}", argument=argument)


def _url_problem(url: str, *, allow_http: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not an address"
    is_plain = parts.scheme == "http" and (allow_http or is_loopback(host))
    if not host or not (parts.scheme == "https" or is_plain):
        return "must be an https:// address"
    return "must not contain credentials" if "@" in parts.netloc else None


def absolute_uri(_: object, attribute: "Attribute[Any]", value: object) -> None:
    parts = split(attribute.name, value)
    is_absolute = parts.scheme and not parts.fragment
    del parts  # it may hold credentials, which this frame would show
    if not is_absolute:
        message = f"{attribute.name} must be an absolute address without a fragment"
        raise InvalidRequestError(message, argument=attribute.name)


def split(argument: str, value: object) -> SplitResult:
    try:
        return urlsplit(header_safe(argument, value))
    except ValueError:
        problem = InvalidRequestError(f"{argument} is not an address", argument=argument)
    raise problem  # out here: the address may hold a code, which the frames above show


def time_span(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if not is_number(value) or value < 0:
        message = f"{attribute.name} must be a number of seconds, 0 or more"
        raise InvalidRequestError(message, argument=attribute.name)


def moment(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not is_number(value):
        raise InvalidRequestError(f"{attribute.name} must be epoch seconds", argument=attribute.name)


def text(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{attribute.name} must be a string", argument=attribute.name)


def function(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidRequestError(f"{attribute.name} must be callable", argument=attribute.name)


def of_type(kind: type) -> Callable[[object, "Attribute[Any]", object], None]:
    def check(_: object, attribute: "Attribute[Any]", value: object) -> None:
        if value is not None and not isinstance(value, kind):
            argument = attribute.name.lstrip("_")
            raise InvalidRequestError(f"{argument} must be a {kind.__name__}", argument=argument)

    return check


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_EPOCH_SECONDS


@sealed
@frozen
class Token:
    """An access token and what came with it; its secrets stay out of its repr.

    `expires_at` is in epoch seconds by the clock of the process that asked for the token, `None` if the server did
    not say. `refresh_token` is the one to use next: the rotated one, or the previous one if the server sent none.
    `origin` is a fingerprint of the refresh token that this login began with, `None` if it is not known; a store
    keeps it with the rest.

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
        """The value of `Authorization`; Lofty accepts access tokens with the scheme `Bearer` only."""
        return Secret(f"Bearer {self.access_token}")

    def succeeds(self, refresh_token: str) -> bool:
        """Whether this login began with that refresh token, which may have been rotated since."""
        return self.refresh_token == refresh_token or self.origin == origin_of(refresh_token)


@frozen
class TokenRequest:
    """One request to a token endpoint. `advice` says what to do when the server refuses it."""

    url: str
    form: Mapping[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(repr=False)
    advice: str

    async def send(self, post: TokenPost) -> TokenReply:
        """Raises: TransportError, ClientClosedError if no response arrives."""
        form = {name: Secret(value) for name, value in self.form.items()}
        basic = self.basic and (self.basic[0], Secret(self.basic[1]))
        reply = await post(self.url, form, basic)
        return reply if isinstance(reply, TokenReply) else TokenReply(*reply)

    def read(self, reply: TokenReply, asked_at: float) -> Token:
        """The token in a response; its lifetime counts from when it was requested.

        Raises: AuthenticationError if the request is refused, by an error code of RFC 6749 or by HTTP 401;
            ServerError, RateLimitedError if the endpoint, or a gateway before it, fails or is busy;
            DecodeError if the response holds no token.
        """
        outcome = self._outcome(reply, asked_at)
        if isinstance(outcome, Token):
            return outcome
        # Raised out here: the frames above hold the response, old and new secrets included.
        raise outcome

    def _outcome(self, reply: TokenReply, asked_at: float) -> "Token | APIError | DecodeError":
        status, body = reply
        answer = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        failure = self._failure(status, answer, reply.retry_after)
        return self._token(status, answer, asked_at) if failure is None else failure

    def _failure(self, status: int, answer: Mapping[str, Any], retry_after: float) -> APIError | None:
        name = oauth_error(answer.get("error"))
        if status >= 500 or name in TEMPORARY_ERRORS:
            message = "the token endpoint failed: try again later"
            return ServerError(message, request=self._request, status=status, name=name)
        if status == HTTP_TOO_MANY_REQUESTS:
            message = "the token endpoint is busy: try again later"
            wanted = retry_after or None
            return RateLimitedError(message, request=self._request, status=status, name=name, retry_after=wanted)
        if name is not None or status == HTTP_UNAUTHORIZED:
            advice = "check the client id and the client secret" if name in CLIENT_ERRORS else self.advice
            return AuthenticationError(advice, request=self._request, status=status, name=name)
        if status >= 400:
            # From a firewall, for example: it says nothing about the grant.
            message = "the token endpoint gave no reason: check its address, or try again later"
            return ServerError(message, request=self._request, status=status)
        return None

    def _token(self, status: int, answer: Mapping[str, Any], asked_at: float) -> Token | DecodeError:
        try:
            return Token(
                access_token=cast("str", answer.get("access_token")),
                refresh_token=answer.get("refresh_token") or self.form.get("refresh_token"),
                expires_at=_expiry(answer.get("expires_in"), asked_at),
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


def oauth_error(value: object) -> str | None:
    """The error code if it is one of the standard's, `None` otherwise."""
    return value if isinstance(value, str) and value in OAUTH_ERRORS else None


def _expiry(expires_in: object, asked_at: float) -> float | None:
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
