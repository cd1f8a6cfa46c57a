"""Credentials: API keys, access tokens, and those that the environment describes."""

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, field, frozen

from ._auth import Auth, Secret, TokenPost, TokenReply, header_safe, hidden_url, pasted, sealed
from .errors import AuthenticationError, InvalidRequestError
from .oauth import (
    API_TOKEN_URL,
    CRM_TOKEN_URL,
    ClientCredentials,
    OnToken,
    RefreshToken,
    TokenStore,
    at_base_url,
    check_url,
)

__all__ = [
    "AccessToken",
    "ApiKey",
    "Auth",
    "TokenPost",
    "TokenReply",
    "environment_base_url",
    "environment_variables",
    "from_environment",
]

logger = logging.getLogger(__name__)

BASE_URL: Final = "LOFTY_BASE_URL"

KINDS: tuple[tuple[str, ...], ...] = (
    ("LOFTY_API_KEY",),
    ("LOFTY_ACCESS_TOKEN",),
    ("LOFTY_REFRESH_TOKEN", "LOFTY_CLIENT_ID", "LOFTY_CLIENT_SECRET"),
    ("LOFTY_CLIENT_ID", "LOFTY_CLIENT_SECRET", "LOFTY_CUSTOMER_KEY"),
)
"""The variables of each kind of credential; the first kind with all of its variables set is taken."""

WORKS_ONCE: Final = (
    "LOFTY_REFRESH_TOKEN works only once if the server rotates it: pass store=FileTokenStore(path) or on_token to keep "
    "its successors"
)


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

    Raises: InvalidRequestError if the key is empty or cannot be sent in a header.
    """

    key: str = field(repr=False, converter=_key)
    _header: Secret = field(default=Factory(_key_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header


@sealed
@frozen
class AccessToken(Auth):
    """An OAuth access token that another program renews, sent as `Bearer <token>`; white space around it is dropped.

    Raises: InvalidRequestError if the token is empty or cannot be sent in a header.
    """

    token: str = field(repr=False, converter=_token)
    _header: Secret = field(default=Factory(_token_header, takes_self=True), init=False, repr=False, eq=False)

    def ready(self) -> str:
        return self._header


def environment_variables(environ: Mapping[str, str] | None = None) -> dict[str, Secret]:
    """The variables of Lofty that are set, without white space around them, hidden in reports of exceptions.

    The rest of the environment is left out: it holds other secrets.
    """
    found = os.environ if environ is None else environ
    values = {name: pasted(found.get(name)) for name in (*dict.fromkeys(sum(KINDS, ())), BASE_URL)}
    return {name: value for name, value in values.items() if value}


def from_environment(
    environ: Mapping[str, str] | None = None,
    *,
    on_token: OnToken | None = None,
    store: TokenStore | None = None,
    token_url: str | None = None,
    allow_http: bool = False,
) -> Auth:
    """The credential that the environment describes; an empty variable counts as not set.

    In this order: `LOFTY_API_KEY`; `LOFTY_ACCESS_TOKEN`; `LOFTY_REFRESH_TOKEN` with `LOFTY_CLIENT_ID` and
    `LOFTY_CLIENT_SECRET`; `LOFTY_CLIENT_ID`, `LOFTY_CLIENT_SECRET` and `LOFTY_CUSTOMER_KEY`. `environ`
    defaults to `os.environ`. `on_token` is passed to the kinds that renew, `store` to a refresh token; without either,
    a warning is logged, as the refresh token is useless once the server has rotated it. Tokens come from `token_url`;
    else from the server that `LOFTY_BASE_URL` names; else from Lofty.

    Raises: AuthenticationError naming the variables if no kind is complete; InvalidRequestError if a value cannot be
        sent.
    """
    environ = values = environment_variables(environ)
    token_url = hidden_url(token_url)
    kind = next((names for names in KINDS if values.keys() >= set(names)), None)
    if kind is None:
        raise AuthenticationError(_nothing_set(values))
    options: dict[str, Any] = {"on_token": on_token, "allow_http": allow_http}
    try:
        return _from_kind(kind, values, token_url, store, **options)
    except InvalidRequestError as error:
        raise _with_variable(error, kind) from None


def _from_kind(
    kind: tuple[str, ...], values: Mapping[str, Secret], token_url: str | None, store: TokenStore | None, **options: Any
) -> Auth:
    given, allow_http = [values[name] for name in kind], options["allow_http"]
    if kind in KINDS[:2]:
        return ApiKey(*given) if kind is KINDS[0] else AccessToken(*given)
    if kind is KINDS[3]:
        url = token_url or _moved(API_TOKEN_URL, values, allow_http=allow_http)
        return ClientCredentials(*given, token_url=url, **options)
    if store is None and options["on_token"] is None:
        logger.warning(WORKS_ONCE)
    url = token_url or _moved(CRM_TOKEN_URL, values, allow_http=allow_http)
    return RefreshToken(*given, token_url=url, store=store, **options)


def _with_variable(error: InvalidRequestError, kind: tuple[str, ...]) -> InvalidRequestError:
    """The error about a value of the environment, with its variable in place of the argument that it becomes."""
    argument = error.argument or ""
    variable = next((name for name in kind if name.endswith(f"_{argument.upper()}")), argument)
    return InvalidRequestError(error.message.replace(argument, variable, 1), argument=argument)


def _moved(token_url: str, values: Mapping[str, Secret], *, allow_http: bool) -> str:
    base_url = environment_base_url(values, allow_http=allow_http)
    return at_base_url(token_url, base_url)


def environment_base_url(environ: Mapping[str, str] | None = None, *, allow_http: bool = False) -> str | None:
    """The value of `LOFTY_BASE_URL`, the server to use in place of all of Lofty's; `None` if it is not set.

    Raises: InvalidRequestError if secrets must not be sent there.
    """
    address = environment_variables(environ).get(BASE_URL)
    if address is not None:
        check_url(BASE_URL, address, allow_http=allow_http)
    return address


def _nothing_set(values: Mapping[str, str]) -> str:
    choices = "; or ".join(", ".join(names) for names in KINDS)
    found = [name for name in dict.fromkeys(name for names in KINDS for name in names) if name in values]
    so_far = f" (set so far: {', '.join(found)})" if found else ""
    return f"no complete credential in the environment{so_far}: set {choices}"
