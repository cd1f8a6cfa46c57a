"""The two kinds of credential that renew themselves: client credentials and refresh tokens."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Self

from attrs import Factory, define, evolve, field
from attrs.validators import optional

from lofty_async._auth import TokenPost, hidden_url, pasted, sealed
from lofty_async.errors import AuthenticationError, InvalidRequestError

from .renewal import OnToken, RenewableAuth, Schedule
from .store import SharedTokenStore, TokenStore, is_store
from .tokens import (
    API_TOKEN_URL,
    Token,
    TokenRequest,
    basic_name,
    documented_url,
    of_type,
    origin_of,
    secure_url,
    sendable,
    stripped,
)


@sealed
@define(eq=False)
class ClientCredentials(RenewableAuth):
    """An application acting for one user, identified by that user's API key.

    `customer_key` is the API key of the user whose records are accessed. `token_url` must be https:// and contain no
    credentials; http:// is for loopback, or needs `allow_http`. White space around ids and secrets is dropped. The
    keyword arguments are those of every renewable credential.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    client_id: str = field(converter=stripped, validator=sendable)
    client_secret: str = field(repr=False, validator=sendable)
    customer_key: str = field(repr=False, validator=sendable)
    allow_http: bool = field(default=False, kw_only=True, repr=False, validator=of_type(bool))
    token_url: str = field(default=API_TOKEN_URL, kw_only=True, validator=secure_url)

    def _token_request(self) -> TokenRequest:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "customer_key": self.customer_key,
        }
        advice = "the application may not act for this user: check the client secret and the user's API key"
        return TokenRequest(self.token_url, form, basic=None, advice=advice)


@sealed
@define(eq=False)
class RefreshToken(RenewableAuth):
    """A user who has logged in, identified by a refresh token: it lives 180 days and may change when used.

    Once rotated, the refresh token given here is useless. A `store` keeps its successors: each is saved before it is
    used, and a token that another process has saved replaces a renewal. A stored login that succeeds the refresh token
    given here continues; one that began with another is replaced. Without a store, keep the tokens that `on_token`
    gets.

    A `client_secret` is sent with HTTP Basic to `CRM_TOKEN_URL`; without one (PKCE) the form with the client's id is
    sent to `API_TOKEN_URL`, which granted the login. `refresh_token` may be `None` only with a `token`, which is then
    used until its end. One refresh token belongs to one credential, which several threads may share, or to several
    credentials that share a store.

    Raises: InvalidRequestError naming the argument that is wrong.
    """

    refresh_token: str | None = field(repr=False, validator=optional(sendable))
    client_id: str = field(converter=stripped, validator=basic_name)
    client_secret: str | None = field(default=None, repr=False, validator=optional(sendable))
    allow_http: bool = field(default=False, kw_only=True, repr=False, validator=of_type(bool))
    token_url: str = field(default=Factory(documented_url, takes_self=True), kw_only=True, validator=secure_url)
    store: TokenStore | None = field(default=None, kw_only=True, repr=False, validator=is_store)
    _given: str | None = field(default=None, init=False, repr=False)
    _origin: str | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = self.refresh_token
        if given is None and self._token is None:
            raise InvalidRequestError("refresh_token must be a non-empty string", argument="refresh_token")
        if given is not None and self.store is not None and self._token is None:
            self._given, self._origin = given, origin_of(given)
        super().__attrs_post_init__()
        self.refresh_token = given or self.refresh_token

    @classmethod
    async def from_store(
        cls,
        store: TokenStore,
        client_id: str,
        client_secret: str | None,
        *,
        token_url: str | None = None,
        on_token: OnToken | None = None,
    ) -> Self:
        """The login in a store, which then gets every new token.

        Raises: AuthenticationError if the store holds no token; anything that `store.load` raises.
        """
        client_secret, token_url = pasted(client_secret), hidden_url(token_url)
        token = await store.load()
        if token is None:
            raise AuthenticationError("no token is stored: log in first")
        place: dict[str, Any] = {} if token_url is None else {"token_url": token_url}
        return cls(token.refresh_token, client_id, client_secret, token=token, store=store, on_token=on_token, **place)

    def _token_request(self) -> TokenRequest:
        if self.refresh_token is None:
            raise AuthenticationError("the access token has ended and came without a refresh token: log in again")
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
        advice = "the refresh token was refused (expired, revoked, or used before): log in again"
        if self.client_secret is None:
            return TokenRequest(self.token_url, form | {"client_id": self.client_id}, basic=None, advice=advice)
        return TokenRequest(self.token_url, form, basic=(self.client_id, self.client_secret), advice=advice)

    async def _renewed(self, post: TokenPost) -> str:
        store = self.store
        if store is None:
            return await super()._renewed(post)
        await self._catch_up(store)
        header = self.ready()
        if header is not None:
            return header
        self._raise_known_failure(self._token_request())  # before files are locked and written
        async with _turn(store):
            await self._catch_up(store)
            try:
                return self.ready() or await super()._renewed(post)
            except AuthenticationError as error:
                is_of_endpoint = error.name == "invalid_grant" and self._unsaved is None  # else it is of `on_token`
                # Locks do not work everywhere: another process may have been quicker.
                if not is_of_endpoint or not (await self._catch_up(store) or self._fall_back()):
                    raise
            return self.ready() or await super()._renewed(post)

    async def _catch_up(self, store: TokenStore) -> bool:
        """Adopt the token that another process has saved; return whether the refresh token is another one."""
        kept = await store.load()
        if kept is None or self._is_of_another_login(kept):
            return False
        if kept.origin is not None:
            self._given = None
        newest = evolve(kept, refresh_token=kept.refresh_token or self.refresh_token)
        is_another = newest.refresh_token != self.refresh_token
        self.refresh_token = newest.refresh_token
        if self._is_better(newest):
            self._adopt(newest)
        return is_another

    def _is_of_another_login(self, kept: Token) -> bool:
        if self._origin is None or kept.origin is None:  # a store may have lost the mark
            return False
        return kept.origin != self._origin and kept.refresh_token != self.refresh_token

    def _is_better(self, kept: Token) -> bool:
        if self._token is not None and self._token.access_token == kept.access_token:
            return False
        now = self.clock()
        return Schedule.of(kept, now=now, early=self.early, jitter=1.0).is_fresh(now)

    def _fall_back(self) -> bool:
        """Use the given refresh token after that of a store which keeps no `origin`; return whether it differs."""
        given, self._given = self._given, None
        if given is None or given == self.refresh_token:
            return False
        self.refresh_token = given
        return True

    async def _obtain(self, request: TokenRequest, post: TokenPost) -> Token:
        token = await super()._obtain(request, post)
        self._given = None
        origin = self._origin or (self._token.origin if self._token else None)
        return token if origin is None else evolve(token, origin=origin)

    async def _keep(self, token: Token) -> None:
        if self.store is not None:
            await self.store.save(token)
        await super()._keep(token)

    def _adopt(self, token: Token) -> None:
        super()._adopt(token)
        self.refresh_token = token.refresh_token


def _turn(store: TokenStore) -> AbstractAsyncContextManager[None]:
    return store.renewal() if isinstance(store, SharedTokenStore) else nullcontext()
