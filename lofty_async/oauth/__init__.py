"""OAuth: credentials that renew themselves, the login that creates them, and stores for their tokens."""

from .credentials import ClientCredentials, RefreshToken
from .login import AUTHORIZE_PAGE, AuthorizationCode, Pkce, new_state, read_redirect
from .renewal import OnToken
from .store import FileTokenStore, LoginClient, SharedTokenStore, TokenStore
from .tokens import API_TOKEN_URL, CRM_TOKEN_URL, Token, at_base_url, check_url

__all__ = [
    "API_TOKEN_URL",
    "AUTHORIZE_PAGE",
    "CRM_TOKEN_URL",
    "AuthorizationCode",
    "ClientCredentials",
    "FileTokenStore",
    "LoginClient",
    "OnToken",
    "Pkce",
    "RefreshToken",
    "SharedTokenStore",
    "Token",
    "TokenStore",
    "at_base_url",
    "check_url",
    "new_state",
    "read_redirect",
]
