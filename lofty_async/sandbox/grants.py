"""What the token endpoints hand out: codes, access tokens, refresh tokens. No HTTP."""

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from .credentials import Credentials

CODE_LIFETIME = 600.0
REFRESH_TOKEN_LIFETIME = 180 * 86_400.0

Form = Mapping[str, str]


class GrantRefused(Exception):  # noqa: N818 - an answer, not a failure
    """No token; `code` is RFC 6749's name of the reason, since the vendor's own is not known."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code, status)
        self.code = code
        self.status = status


@frozen
class Code:
    """An authorisation code, bound to where it was sent and to whoever knows the verifier."""

    redirect_uri: str
    expires_at: float
    challenge: str | None = None
    method: str = "plain"

    def opened_by(self, verifier: str) -> bool:
        if self.challenge is None:
            return not verifier
        return self.challenge == (challenge_of(verifier) if self.method == "S256" else verifier)


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@define(eq=False)
class Grants:
    """One application's client and the tokens that were issued to it; change any of it at any time."""

    credentials: Credentials
    clock: Callable[[], float]
    client_id: str
    client_secret: str = field(repr=False)
    token_lifetime: float = 3600.0
    """Seconds for which an access token is accepted, and its `expires_in`."""
    rotate: bool = False
    """Whether a refresh gives a new refresh token and ends the old one."""
    deny: bool = False
    """Whether the user refuses on the authorise page."""
    redirect_uri: str | None = None
    """Where the authorise page leads when its query does not say."""
    codes: dict[str, Code] = field(factory=dict[str, Code], init=False)
    refresh_tokens: dict[str, float] = field(factory=dict[str, float], init=False)
    """Refresh tokens, with the moment (epoch seconds) from which they are refused."""
    issued: int = field(default=0, init=False)
    """How many access tokens have been issued."""
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def authorise(self, redirect_uri: str, challenge: str | None = None, method: str = "plain") -> str:
        """A code for whoever the user has agreed to."""
        code = f"code-{next(self._numbers)}"
        self.codes[code] = Code(redirect_uri, self.clock() + CODE_LIFETIME, challenge, method)
        return code

    def allow_refresh(self, token: str) -> None:
        self.refresh_tokens[token] = self.clock() + REFRESH_TOKEN_LIFETIME

    def check_client(self, client_id: str, client_secret: str) -> None:
        if (client_id, client_secret) != (self.client_id, self.client_secret):
            raise GrantRefused("invalid_client", 401)

    def redeem_code(self, form: Form) -> dict[str, Any]:
        """Tokens for a code, which can be redeemed once."""
        code = self.codes.pop(form.get("code", ""), None)
        if code is None or code.expires_at <= self.clock() or code.redirect_uri != form.get("redirect_uri"):
            raise GrantRefused("invalid_grant")
        if not code.opened_by(form.get("code_verifier", "")):
            raise GrantRefused("invalid_grant")
        return self._issue(self._refresh_token())

    def redeem_refresh_token(self, form: Form) -> dict[str, Any]:
        token = form.get("refresh_token", "")
        if self.refresh_tokens.get(token, 0.0) <= self.clock():
            raise GrantRefused("invalid_grant")
        if not self.rotate:
            return self._issue()
        del self.refresh_tokens[token]
        return self._issue(self._refresh_token())

    def redeem_customer_key(self, form: Form) -> dict[str, Any]:
        key = form.get("customer_key")
        if key not in self.credentials.keys or key in self.credentials.revoked:
            raise GrantRefused("invalid_grant")
        return self._issue()

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
