"""OAuth: both token endpoints, the authorise page, and the codes and tokens that they issue."""

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import hdrs, web
from attrs import define, field, frozen

from . import errors
from .errors import json_response
from .gate import Credentials
from .parameters import is_url, open_call

CODE_LIFETIME = 600.0
REFRESH_TOKEN_LIFETIME = 180 * 86_400.0
FORM = "application/x-www-form-urlencoded"
CHALLENGE_METHODS = ("plain", "S256")
UNKNOWN_PAGE = "<html><body>Unknown application or address</body></html>"

Form = Mapping[str, str]
Redeem = Callable[[Form], dict[str, Any]]


@frozen
class Code:
    """An authorisation code, bound to its redirect URI and to the holder of the verifier."""

    redirect_uri: str
    expires_at: float
    challenge: str | None = None
    method: str = "plain"

    def verified_by(self, verifier: str) -> bool:
        if self.challenge is None:
            return not verifier
        return self.challenge == (challenge_of(verifier) if self.method == "S256" else verifier)


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@define(eq=False)
class Grants:
    """One application's OAuth client, the codes and tokens issued to it, and the calls that issue them.

    Token endpoint A is that of crm.lofty.com, B that of api.lofty.com, and the page that of lofty.com; all are on one
    server here. All fields may be changed at any time.
    """

    credentials: Credentials
    clock: Callable[[], float]
    client_id: str
    client_secret: str = field(repr=False)
    token_lifetime: float = 3600.0
    """Seconds for which an access token is accepted, and its `expires_in`."""
    rotate: bool = False
    """Whether a refresh gives a new refresh token and ends the old one."""
    deny: bool = False
    """Whether the user denies access on the authorise page."""
    redirect_uri: str | None = None
    """The redirect URI of the authorise page if its query has none."""
    codes: dict[str, Code] = field(factory=dict[str, Code], init=False)
    refresh_tokens: dict[str, float] = field(factory=dict[str, float], init=False)
    """Refresh tokens, with the time (epoch seconds) at which they expire."""
    issued: int = field(default=0, init=False)
    """How many access tokens have been issued."""
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def authorise(self, redirect_uri: str, challenge: str | None = None, method: str = "plain") -> str:
        """A new code, as if the user had agreed."""
        code = f"code-{next(self._numbers)}"
        self.codes[code] = Code(redirect_uri, self.clock() + CODE_LIFETIME, challenge, method)
        return code

    def allow_refresh(self, token: str) -> None:
        self.refresh_tokens[token] = self.clock() + REFRESH_TOKEN_LIFETIME

    def check_client(self, client_id: str, client_secret: str) -> None:
        if (client_id, client_secret) != (self.client_id, self.client_secret):
            raise errors.grant("invalid_client", 401)

    def redeem_code(self, form: Form) -> dict[str, Any]:
        """Tokens for a code, which can be redeemed once."""
        code = self.codes.pop(form.get("code", ""), None)
        if code is None or code.expires_at <= self.clock() or code.redirect_uri != form.get("redirect_uri"):
            raise errors.grant("invalid_grant")
        if not code.verified_by(form.get("code_verifier", "")):
            raise errors.grant("invalid_grant")
        return self._issue(self._refresh_token())

    def redeem_refresh_token(self, form: Form) -> dict[str, Any]:
        token = form.get("refresh_token", "")
        if self.refresh_tokens.get(token, 0.0) <= self.clock():
            raise errors.grant("invalid_grant")
        if not self.rotate:
            return self._issue()
        del self.refresh_tokens[token]
        return self._issue(self._refresh_token())

    def redeem_customer_key(self, form: Form) -> dict[str, Any]:
        key = form.get("customer_key")
        if key not in self.credentials.keys or key in self.credentials.revoked:
            raise errors.grant("invalid_grant")
        return self._issue()

    @open_call("POST /api/user-web/oauth/token")
    async def endpoint_a(self, request: web.Request) -> web.Response:
        """Client id and secret in HTTP Basic; a code or a refresh token in the form."""
        self.check_client(*_basic(request))
        grants = {"authorization_code": self._named_code, "refresh_token": self.redeem_refresh_token}
        return _tokens(grants, await _form(request))

    @open_call("POST /oauth/token")
    async def endpoint_b(self, request: web.Request) -> web.Response:
        """Client id and secret in the form; no secret with a code verifier or a refresh token."""
        form = await _form(request)
        self._check_client(form)
        grants = {
            "authorization_code": self.redeem_code,
            "client_credentials": self.redeem_customer_key,
        }
        if "client_secret" not in form:  # applications with a secret renew at the other endpoint
            grants["refresh_token"] = self.redeem_refresh_token
        return _tokens(grants, form)

    @open_call("GET /page/vendor-auth.html")
    async def page(self, request: web.Request) -> web.Response:
        """Redirects at once, as if the user had decided: with `code` or `error`, and the given `state`."""
        query = request.query
        target = query.get("redirect_uri") or self.redirect_uri
        if query.get("clientId") != self.client_id or not target or not is_url(target):
            raise errors.ResponseError(400, 400, UNKNOWN_PAGE, plain=True)
        state = {"state": query["state"]} if "state" in query else {}
        location = _with_query(target, self._decision(query, target) | state)
        return web.Response(status=302, headers={hdrs.LOCATION: location})

    def _decision(self, query: Mapping[str, str], target: str) -> dict[str, str]:
        if self.deny:
            return {"error": "access_denied"}
        method = query.get("code_challenge_method", "plain")
        if method not in CHALLENGE_METHODS:
            return {"error": "invalid_request"}
        return {"code": self.authorise(target, query.get("code_challenge"), method)}

    def _named_code(self, form: Form) -> dict[str, Any]:
        if form.get("client_id") != self.client_id:
            raise errors.grant("invalid_request")
        return self.redeem_code(form)

    def _check_client(self, form: Form) -> None:
        proves_by_verifier = form.get("grant_type") == "authorization_code" and form.get("code_verifier")
        is_public = proves_by_verifier or form.get("grant_type") == "refresh_token"
        secret = form.get("client_secret", self.client_secret if is_public else "")
        self.check_client(form.get("client_id", ""), secret)

    def _refresh_token(self) -> str:
        token = f"refresh-{next(self._numbers)}"
        self.allow_refresh(token)
        return token

    def _issue(self, refresh_token: str | None = None) -> dict[str, Any]:
        token = f"access-{next(self._numbers)}"
        self.credentials.tokens[token] = self.clock() + self.token_lifetime
        self.issued += 1
        body = {
            "access_token": token,
            "expires_in": int(self.token_lifetime),
            "token_type": "Bearer",
            "scope": "all",
        }
        return body if refresh_token is None else body | {"refresh_token": refresh_token}


def _with_query(url: str, added: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode(parse_qsl(parts.query) + list(added.items()))))


def _tokens(grants: Mapping[str, Redeem], form: Form) -> web.Response:
    redeem = grants.get(form.get("grant_type", ""))
    if redeem is None:
        raise errors.grant("unsupported_grant_type")
    return json_response(redeem(form))


async def _form(request: web.Request) -> Form:
    if request.content_type != FORM:
        raise errors.grant("invalid_request")
    try:
        text = (await request.read()).decode(request.charset or "utf-8")
        text.encode()  # some charsets decode to half of a surrogate pair, which nothing can encode
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except (LookupError, ValueError):  # a charset that does not exist, or another than the text's
        raise errors.grant("invalid_request") from None


def _basic(request: web.Request) -> tuple[str, str]:
    word, _, encoded = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # neither ASCII nor base64, or no text
        raise errors.grant("invalid_client", 401) from None
    if word != "Basic":
        raise errors.grant("invalid_client", 401)
    return client_id, secret
