"""The login of a user in a browser: authorise page, redirect, exchange of the code for tokens."""

import hashlib
import hmac
import logging
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from attrs import Attribute, Factory, field, frozen
from attrs.validators import optional

from lofty_async._auth import Secret, TokenPost, header_safe, pasted, sealed
from lofty_async.errors import AuthenticationError, InvalidRequestError

from .credentials import RefreshToken
from .renewal import OnToken
from .tokens import (
    CRM_TOKEN_URL,
    Token,
    TokenRequest,
    absolute_uri,
    basic_name,
    documented_url,
    function,
    oauth_error,
    of_type,
    secure_url,
    sendable,
    split,
    stripped,
)

logger = logging.getLogger(__name__)

AUTHORIZE_PAGE = "https://lofty.com/page/vendor-auth.html"
CODE_REFUSED = "the code was refused (used before, too old, or for another redirect_uri): start the login again"
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def new_state() -> str:
    """An unguessable `state`, to keep in the user's session until the redirect arrives."""
    return secrets.token_urlsafe(32)


def read_redirect(url: str, state: str) -> str:
    """The code in the address that the user was redirected to; its `state` must be the one sent out.

    Raises: AuthenticationError if the user refused, or the redirect belongs to another login;
        InvalidRequestError naming the argument if `url` is not an address or `state` is empty.
    """
    url, state = pasted(url), pasted(state)
    query = _Query(parse_qs(split("url", url).query))
    if "error" in query:
        raise _not_granted(oauth_error(query["error"][0]))
    received = Secret("".join(query.get("state", ())))
    if not hmac.compare_digest(received.encode(), header_safe("state", state).encode()):
        raise AuthenticationError("the redirect's state is not the one sent out: start the login again")
    return _only_code(query)


class _Query(dict[str, list[str]]):
    """A query whose repr hides its values: one of them is a code."""

    def __repr__(self) -> str:
        return f"<query with {', '.join(self.keys() & {'code', 'error', 'state'})}>"


def _not_granted(name: str | None) -> AuthenticationError:
    if name == "access_denied":
        return AuthenticationError("the user refused access: ask again, or ask another user", name=name)
    return AuthenticationError("the authorise page failed: start the login again", name=name)


def _only_code(query: _Query) -> str:
    if len(query.get("code", ())) != 1:
        raise AuthenticationError("the redirect has no single code: start the login again")
    return Secret(query["code"][0])


def _is_verifier(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, str) or not VERIFIER.fullmatch(value):
        message = "verifier must be 43 to 128 letters, digits, or -._~"
        raise InvalidRequestError(message, argument=attribute.name)


@sealed
@frozen
class Pkce:
    """Proof Key for Code Exchange (RFC 7636): only the program that began a login can exchange its code.

    Raises: InvalidRequestError if the verifier does not conform to the standard.
    """

    verifier: str = field(repr=False, validator=_is_verifier)

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        """The verifier's SHA-256, which the authorise page may see (method S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _renewing_url(login: "AuthorizationCode") -> str:
    by_form = login.client_secret is not None and not login.basic
    return CRM_TOKEN_URL if by_form else login.token_url


@sealed
@frozen
class AuthorizationCode:
    """The login of a user in a browser: `authorize_url`, then `read_redirect`, then `exchange`.

    With a `client_secret` the code is sent to `token_url` with HTTP Basic, or with the secret in the form if `basic`
    is false, as `API_TOKEN_URL` requires. Without one it needs a `Pkce` and is sent to `API_TOKEN_URL`. Renewals are
    sent to `refresh_url`, with HTTP Basic if there is a secret: by default the URL that granted the login, or
    `CRM_TOKEN_URL` if `basic` is false. Addresses must be https:// and contain no credentials; http:// is for loopback,
    or needs `allow_http`.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    client_id: str = field(converter=stripped, validator=basic_name)
    client_secret: str | None = field(repr=False, validator=optional(sendable))
    redirect_uri: str = field(validator=absolute_uri)
    allow_http: bool = field(default=False, kw_only=True, repr=False, validator=of_type(bool))
    token_url: str = field(default=Factory(documented_url, takes_self=True), kw_only=True, validator=secure_url)
    basic: bool = field(default=True, kw_only=True, validator=of_type(bool))
    refresh_url: str = field(default=Factory(_renewing_url, takes_self=True), kw_only=True, validator=secure_url)
    authorize_page: str = field(default=AUTHORIZE_PAGE, kw_only=True, validator=secure_url)
    clock: Callable[[], float] = field(default=time.time, kw_only=True, repr=False, validator=function)

    def authorize_url(self, state: str, *, pkce: Pkce | None = None) -> str:
        """The page to send the user to. Keep `state` (see `new_state`) and `pkce` until the redirect arrives.

        Raises: InvalidRequestError if `state` is empty.
        """
        parts = urlsplit(self.authorize_page)
        asked = {"clientId": self.client_id, "state": header_safe("state", state)}
        if pkce is not None:
            asked |= {"code_challenge": pkce.challenge, "code_challenge_method": "S256"}
        return urlunsplit(parts._replace(query=urlencode(parse_qsl(parts.query) + list(asked.items()))))

    async def exchange(
        self, code: str, post: TokenPost, *, pkce: Pkce | None = None, on_token: OnToken | None = None
    ) -> RefreshToken:
        """Credentials ready for a client; a code works once and for a short time.

        `on_token` is called with this first token and with every later one. If it fails, the exchange does not, as the
        code is spent: `on_token` is called again before the token's first use.

        Raises: AuthenticationError if the code is refused; ServerError, RateLimitedError, TransportError,
            DecodeError if there is no usable response; InvalidRequestError naming the argument that is wrong.
        """
        code = pasted(code)
        request, asked_at = self._token_request(header_safe("code", code), pkce), self.clock()
        token = request.read(await request.send(post), asked_at)
        credentials = self._credentials(token, on_token)
        try:
            await credentials.accept(token)
        except Exception as error:  # noqa: BLE001 - the caller's own function; the token must outlive its failure
            logger.warning("on_token failed (%s); it is called again before first use", type(error).__name__)
        return credentials

    def _credentials(self, token: Token, on_token: OnToken | None) -> RefreshToken:
        return RefreshToken(
            token.refresh_token,
            self.client_id,
            self.client_secret,
            token=token,
            token_url=self.refresh_url,
            allow_http=self.allow_http,
            on_token=on_token,
            clock=self.clock,
        )

    def _token_request(self, code: str, pkce: Pkce | None) -> TokenRequest:
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code": code,
        }
        by_basic = self.client_secret is not None and self.basic
        basic = (self.client_id, self.client_secret or "") if by_basic else None
        return TokenRequest(self.token_url, form | self._proof(pkce), basic=basic, advice=CODE_REFUSED)

    def _proof(self, pkce: Pkce | None) -> dict[str, str]:
        """The fields of the form that prove which application sends it."""
        if self.client_secret is None and pkce is None:
            raise InvalidRequestError("without a client secret the exchange needs a Pkce", argument="pkce")
        verifier = {"code_verifier": pkce.verifier} if pkce is not None else {}
        secret = {"client_secret": self.client_secret} if self.client_secret and not self.basic else {}
        return verifier | secret
