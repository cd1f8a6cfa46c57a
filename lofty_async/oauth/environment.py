"""Credentials from environment variables."""

import os
from collections.abc import Callable, Mapping

from lofty_async.auth import AccessToken, ApiKey, Auth
from lofty_async.errors import AuthenticationError

from .credentials import ClientCredentials, RefreshToken
from .renewal import OnToken

KINDS: tuple[tuple[str, ...], ...] = (
    ("LOFTY_API_KEY",),
    ("LOFTY_ACCESS_TOKEN",),
    ("LOFTY_REFRESH_TOKEN", "LOFTY_CLIENT_ID", "LOFTY_CLIENT_SECRET"),
    ("LOFTY_CLIENT_ID", "LOFTY_CLIENT_SECRET", "LOFTY_CUSTOMER_KEY"),
)
"""The variables of each kind of credential; the first kind with all of its variables set is taken."""


def from_environment(environ: Mapping[str, str] | None = None, *, on_token: OnToken | None = None) -> Auth:
    """The credential that the environment describes; an empty variable counts as not set.

    In this order: `LOFTY_API_KEY`; `LOFTY_ACCESS_TOKEN`; `LOFTY_REFRESH_TOKEN` with `LOFTY_CLIENT_ID` and
    `LOFTY_CLIENT_SECRET`; `LOFTY_CLIENT_ID`, `LOFTY_CLIENT_SECRET` and `LOFTY_CUSTOMER_KEY`. `environ`
    defaults to `os.environ`. `on_token` goes to the kinds that renew: a refresh token that only an
    environment variable remembers is worthless once it has been rotated.

    Raises: AuthenticationError naming the variables where no kind is complete; InvalidRequestError where a
        value cannot be sent.
    """
    values = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
    for names, credential in zip(KINDS, _credentials(on_token), strict=True):
        if values.keys() >= set(names):
            return credential(*(values[name] for name in names))
    raise AuthenticationError(_nothing_set(values))


def _credentials(on_token: OnToken | None) -> tuple[Callable[..., Auth], ...]:
    def refresh_token(token: str, client_id: str, client_secret: str) -> Auth:
        return RefreshToken(token, client_id, client_secret, on_token=on_token)

    def client_credentials(client_id: str, client_secret: str, customer_key: str) -> Auth:
        return ClientCredentials(client_id, client_secret, customer_key, on_token=on_token)

    return ApiKey, AccessToken, refresh_token, client_credentials


def _nothing_set(values: Mapping[str, str]) -> str:
    choices = "; or ".join(", ".join(names) for names in KINDS)
    found = [name for name in dict.fromkeys(name for names in KINDS for name in names) if name in values]
    so_far = f" (set so far: {', '.join(found)})" if found else ""
    return f"no complete credential in the environment{so_far}: set {choices}"
