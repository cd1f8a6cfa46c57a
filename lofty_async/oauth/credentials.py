"""The two kinds of credential that renew themselves."""

from copy import copy
from typing import Self

from attrs import define, field
from attrs.validators import optional

from lofty_async.auth import TokenPost
from lofty_async.errors import AuthenticationError, InvalidRequestError

from .checks import basic_name, secure_url, sendable
from .renewal import RenewableAuth
from .store import TokenStore
from .tokens import API_TOKEN_URL, CRM_TOKEN_URL, Grant, Token


@define(eq=False)
class ClientCredentials(RenewableAuth):
    """An application acting for one user, known by that user's API key.

    `customer_key` is the API key of the user whose records are meant. `token_url` takes HTTPS, or plain HTTP
    on this machine. The keyword arguments are those of every renewable credential.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    client_id: str = field(validator=sendable)
    client_secret: str = field(repr=False, validator=sendable)
    customer_key: str = field(repr=False, validator=sendable)
    token_url: str = field(default=API_TOKEN_URL, kw_only=True, validator=secure_url)

    def _grant(self) -> Grant:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "customer_key": self.customer_key,
        }
        advice = "the application may not act for this user: check the client secret and the user's API key"
        return Grant(self.token_url, form, basic=None, advice=advice)


@define(eq=False)
class RefreshToken(RenewableAuth):
    """A user who has logged in, known by a refresh token: it lives 180 days and may change when used.

    Keep what `on_token` brings: once rotated, the refresh token given here is worthless. A `client_secret`
    travels by HTTP Basic; without one (PKCE) the form names the client alone. `refresh_token` may be `None`
    only beside a `token`, which then serves until it ends. One refresh token belongs to one credential: two
    of them would rotate it away from each other.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    refresh_token: str | None = field(repr=False, validator=optional(sendable))
    client_id: str = field(validator=basic_name)
    client_secret: str | None = field(default=None, repr=False, validator=optional(sendable))
    token_url: str = field(default=CRM_TOKEN_URL, kw_only=True, validator=secure_url)
    _refusal: AuthenticationError | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = self.refresh_token
        if given is None and self._token is None:
            raise InvalidRequestError("refresh_token must be a non-empty string", argument="refresh_token")
        super().__attrs_post_init__()
        self.refresh_token = given or self.refresh_token

    @classmethod
    async def from_store(
        cls, store: TokenStore, client_id: str, client_secret: str | None, *, token_url: str = CRM_TOKEN_URL
    ) -> Self:
        """The login kept in a store, which then hears of every new token.

        Raises: AuthenticationError where the store holds no token; what `store.load` raises.
        """
        token = await store.load()
        if token is None:
            raise AuthenticationError("no token is stored: log in first")
        return cls(
            token.refresh_token,
            client_id,
            client_secret,
            token=token,
            token_url=token_url,
            on_token=store.save,
        )

    def _grant(self) -> Grant:
        if self.refresh_token is None:
            raise AuthenticationError("the access token has ended and came without a refresh token: log in again")
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
        advice = "the refresh token was refused (expired, revoked, or used before): log in again"
        if self.client_secret is None:
            return Grant(self.token_url, form | {"client_id": self.client_id}, basic=None, advice=advice)
        return Grant(self.token_url, form, basic=(self.client_id, self.client_secret), advice=advice)

    async def _obtain(self, post: TokenPost) -> Token:
        """A dead refresh token is sent once: every further call is told so without asking again."""
        if self._refusal is not None:
            raise copy(self._refusal)
        try:
            return await super()._obtain(post)
        except AuthenticationError as error:
            if error.name == "invalid_grant":
                self._refusal = copy(error)
            raise

    def _adopt(self, token: Token) -> None:
        super()._adopt(token)
        self.refresh_token = token.refresh_token
