"""OAuth: credentials that renew themselves, the login that yields them, and where their tokens are kept."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .credentials import ClientCredentials, RefreshToken
    from .environment import from_environment
    from .exchange import AuthorizationCode, Pkce, new_state, read_redirect
    from .renewal import OnToken
    from .store import FileTokenStore, SharedTokenStore, TokenStore
    from .tokens import API_TOKEN_URL, CRM_TOKEN_URL, Token

    __all__ = [
        "API_TOKEN_URL",
        "CRM_TOKEN_URL",
        "AuthorizationCode",
        "ClientCredentials",
        "FileTokenStore",
        "OnToken",
        "Pkce",
        "RefreshToken",
        "SharedTokenStore",
        "Token",
        "TokenStore",
        "from_environment",
        "new_state",
        "read_redirect",
    ]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".credentials": ("ClientCredentials", "RefreshToken"),
            ".environment": ("from_environment",),
            ".exchange": ("AuthorizationCode", "Pkce", "new_state", "read_redirect"),
            ".renewal": ("OnToken",),
            ".store": ("FileTokenStore", "SharedTokenStore", "TokenStore"),
            ".tokens": ("API_TOKEN_URL", "CRM_TOKEN_URL", "Token"),
        },
    )
