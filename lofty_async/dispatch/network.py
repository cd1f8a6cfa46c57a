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

    Raises: InvalidRequestError where it is no plain https:// URL; http:// is for loopback, or needs `allow_http`.
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
        return "must begin with https:// or http:// and a host"
    if url.user or url.password or url.query_string or url.fragment:
        return "must hold no credentials, query or fragment"
    if url.scheme == "http" and not (allow_http or is_loopback(url.raw_host)):
        return "must begin with https://: over http:// others can read the credential"
    return url.with_path(quote(path, safe=PATH_CHARACTERS).rstrip("/"), encoded=True)


@frozen
class Hop:
    """How one server is reached: options of aiohttp's requests, and headers that the requests carry."""

    ssl: SSLContext | bool = True
    proxy: URL | None = None
    proxy_headers: dict[str, str] | None = None
    headers: dict[str, str] = Factory(dict[str, str])


@frozen
class Network:
    """How connections are made.

    `proxy` is the URL of an HTTP proxy, `None` for none, `UNSET` for that of the environment; `ssl` the TLS settings,
    `None` for the defaults.
    """

    proxy: URL | Unset | None = field(default=UNSET, repr=False)  # it may carry a password
    ssl: SSLContext | None = None

    def hop(self, url: URL) -> Hop:
        """How the server of this URL is reached; loopback is never reached through a proxy.

        Raises: InvalidRequestError where the environment's proxy is none that can be used.
        """
        ssl = True if self.ssl is None else self.ssl
        proxy = None if is_loopback(url.raw_host) else self._proxy_of(url)
        if proxy is None or not proxy.user:
            return Hop(ssl, proxy)
        # Apart from the URL, whose repr shows them. A tunnel is asked for with them; without one, each request is.
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
    """The URL of a proxy; one without a scheme is taken for http://, as by other programs.

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


Unsent = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)
Lasting = (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL, aiohttp.ServerFingerprintMismatch)


def is_unsent(error: BaseException) -> bool:
    """Whether no connection was made, so that nothing of the request can have reached the server."""
    return isinstance(error, Unsent)


def is_temporary(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status not in REFUSED_BY_PROXY
    return not isinstance(error, Lasting)


def explained(error: BaseException) -> str:
    """The error in a few words; those of certificates and proxies say what to do."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the host"
        return f"the certificate of {error.host} is refused: {reason}; for a CA of one's own, set SSL_CERT_FILE or ssl"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers HTTP {error.status}"
    return cut(str(error)) or type(error).__name__
