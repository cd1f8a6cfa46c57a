"""Credentials from environment variables."""

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from lofty_async.auth import AccessToken, ApiKey, Auth, Secret, hidden_url, pasted
from lofty_async.errors import AuthenticationError

from .credentials import ClientCredentials, RefreshToken
from .renewal import OnToken
from .store import TokenStore
from .tokens import API_TOKEN_URL, CRM_TOKEN_URL, check_url, moved

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
    "LOFTY_REFRESH_TOKEN works only once where the server replaces it: pass store=FileTokenStore(path) or on_token "
    "to keep its successors"
)


def variables(environ: Mapping[str, str] | None = None) -> dict[str, Secret]:
    """Lofty's variables that are set, without white space around them, and hidden in reports of exceptions.

    The rest of the environment is nobody's business, and full of other secrets.
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
    defaults to `os.environ`. `on_token` goes to the kinds that renew, `store` to a refresh token: one that only an
    environment variable remembers is worthless once it has been rotated, which is logged as a warning where neither
    is given. Tokens come from `token_url`; else from the server that `LOFTY_BASE_URL` names; else from Lofty.

    Raises: AuthenticationError naming the variables where no kind is complete; InvalidRequestError where a
        value cannot be sent.
    """
    environ = values = variables(environ)
    token_url = hidden_url(token_url)
    kind = next((names for names in KINDS if values.keys() >= set(names)), None)
    if kind is None:
        raise AuthenticationError(_nothing_set(values))
    given = [values[name] for name in kind]
    if kind in KINDS[:2]:
        return ApiKey(*given) if kind is KINDS[0] else AccessToken(*given)
    options: dict[str, Any] = {"on_token": on_token, "allow_http": allow_http}
    if kind is KINDS[3]:
        url = token_url or _moved(API_TOKEN_URL, values, allow_http=allow_http)
        return ClientCredentials(*given, token_url=url, **options)
    if store is None and on_token is None:
        logger.warning(WORKS_ONCE)
    url = token_url or _moved(CRM_TOKEN_URL, values, allow_http=allow_http)
    return RefreshToken(*given, token_url=url, store=store, **options)


def _moved(token_url: str, values: Mapping[str, Secret], *, allow_http: bool) -> str:
    base_url = environment_base_url(values, allow_http=allow_http)
    return moved(token_url, base_url)


def environment_base_url(environ: Mapping[str, str] | None = None, *, allow_http: bool = False) -> str | None:
    """`LOFTY_BASE_URL`, where it is set: the server that stands in for all of Lofty's.

    Raises: InvalidRequestError where secrets must not be sent there.
    """
    address = variables(environ).get(BASE_URL)
    if address is not None:
        check_url(BASE_URL, address, allow_http=allow_http)
    return address


def _nothing_set(values: Mapping[str, str]) -> str:
    choices = "; or ".join(", ".join(names) for names in KINDS)
    found = [name for name in dict.fromkeys(name for names in KINDS for name in names) if name in values]
    so_far = f" (set so far: {', '.join(found)})" if found else ""
    return f"no complete credential in the environment{so_far}: set {choices}"
