"""Where requests go and how connections are made: base URL, proxy, TLS."""

from base64 import b64encode
from ssl import SSLContext
from typing import Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from attrs import Factory, field, frozen
from yarl import URL

from lofty_async._auth import Secret, hidden, hidden_url
from lofty_async._checks import UNSET, Unset, is_loopback
from lofty_async.errors import InvalidRequestError, cut

PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"  # sent as given; all others are percent-encoded
REFUSED_BY_PROXY: Final = frozenset({403, 407})


def base_url(value: str, *, allow_http: bool) -> URL:
    """The URL that all paths are appended to, its own path sent as given.

    Raises: InvalidRequestError if it is not a plain https:// URL; http:// is for loopback, or needs `allow_http`.
    """
    found = _read_base_url(hidden_url(value), allow_http=allow_http)
    if isinstance(found, str):
        # Raised out here, without a cause: the frames above hold the URL, credentials included.
        raise _refused("base_url", found)
    return found


def _read_base_url(value: str, *, allow_http: bool) -> URL | str:
    """The URL, or what is wrong with it."""
    try:
        url, path = URL(value), urlsplit(value).path
    except (TypeError, ValueError):
        return "is not a URL"
    if url.scheme not in {"http", "https"} or not url.host:
        return "must begin with https:// or http:// and a host, such as https://api.lofty.com"
    if url.user or url.password or url.query_string or url.fragment:
        return "must hold no credentials, query or fragment"
    if url.scheme == "http" and not (allow_http or is_loopback(url.raw_host)):
        return "must begin with https://: over http:// others can read the credential"
    return url.with_path(quote(path, safe=PATH_CHARACTERS).rstrip("/"), encoded=True)


@frozen(repr=False)
class Hop:
    """Request options of aiohttp for one server, and the headers that its requests carry."""

    ssl: SSLContext | bool = True
    proxy: URL | None = None
    proxy_headers: dict[str, str] | None = None
    headers: dict[str, str] = Factory(dict[str, str])


@frozen(repr=False)
class Network:
    """How connections are made.

    `proxy` is the URL of an HTTP proxy, `None` for none, `UNSET` for that of the environment; `ssl` the TLS settings,
    `None` for the defaults.
    """

    proxy: URL | Unset | None = field(default=UNSET, repr=False)  # it may carry a password
    ssl: SSLContext | None = None

    def hop(self, url: URL) -> Hop:
        """The request options for the server of this URL; loopback never goes through a proxy.

        Raises: InvalidRequestError if the environment's proxy cannot be used.
        """
        ssl = True if self.ssl is None else self.ssl
        proxy = None if is_loopback(url.raw_host) else self._proxy_of(url)
        if proxy is None or not proxy.user:
            return Hop(ssl, proxy)
        # Not in the URL, whose repr shows them. They go with the request for a tunnel; without one, with each request.
        word = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        credentials: dict[str, str] = {"Proxy-Authorization": Secret(f"Basic {word}")}
        if url.scheme == "https":
            return Hop(ssl, proxy.with_user(None), credentials)
        return Hop(ssl, proxy.with_user(None), headers=credentials)

    def _proxy_of(self, url: URL) -> URL | None:
        if not isinstance(self.proxy, Unset):
            return self.proxy
        found = hidden(getproxies().get(url.scheme))
        names = (str(url.raw_host), f"{url.raw_host}:{url.port}")
        if not found or any(proxy_bypass(name) for name in names):
            return None
        return proxy_url(f"{url.scheme.upper()}_PROXY", found)


def proxy_url(argument: str, value: object) -> URL:
    """The URL of a proxy; a URL without a scheme means http://, as in other programs.

    Raises: InvalidRequestError naming the argument, never the value, which may hold a password.
    """
    url = _read_proxy_url(str(value) if isinstance(value, str | URL) else "")
    if url is None:
        # Raised out here: the frame above holds the URL, password included.
        raise _refused(argument, "must be the http:// or https:// URL of a proxy")
    return url.origin().with_user(url.user).with_password(url.password) if url.user else url.origin()


def _read_proxy_url(text: str) -> URL | None:
    try:
        url = URL(text if "://" in text else f"http://{text}")
        is_usable = url.scheme in {"http", "https"} and bool(url.host and url.port)
    except ValueError:
        return None
    return url if is_usable else None


def _refused(argument: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{argument} {message}", argument=argument)


_UNSENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)
_PERMANENT: Final = (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL, aiohttp.ServerFingerprintMismatch)


def is_unsent(error: BaseException) -> bool:
    """Whether no connection was made, so that no part of the request can have reached the server."""
    return isinstance(error, _UNSENT)


def is_temporary(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status not in REFUSED_BY_PROXY
    return not isinstance(error, _PERMANENT)


def explain(error: BaseException) -> str:
    """The error in a few words; errors of certificates and proxies say what to do."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the host"
        return f"the certificate of {error.host} is refused: {reason}; for a CA of one's own, set SSL_CERT_FILE or ssl"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return cut(_unconnected(error))
    return cut(str(error)) or type(error).__name__


def _unconnected(error: aiohttp.ClientConnectorError) -> str:
    """Return the address and the reason; aiohttp's own text shows the repr of an SSLContext too."""
    host = f"[{error.host}]" if ":" in error.host else error.host
    target = getattr(error, "path", None) or f"{host}:{error.port}"  # a Unix socket has a path
    kind = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    cause = error.os_error
    return f"cannot connect to {kind}{target}: {error.strerror or str(cause) or type(cause).__name__}"
