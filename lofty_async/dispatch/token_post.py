"""Sends forms to token endpoints: outside the limiter, for what waits there may wait for the token."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from lofty_async._auth import TokenPost, TokenReply
from lofty_async._wire import read_rate
from lofty_async.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError, TransportError

from .bodies import ACCEPT_ENCODING, BodyBroken, BodyTooLarge, read_body
from .network import Network, explained, is_temporary, is_unsent

MAX_BODY = 65_536
"""Bytes of an unpacked answer, at most; a token and its company need a fraction of it."""


def token_post(
    session: aiohttp.ClientSession, *, timeout: float, user_agent: str, network: Network | None = None
) -> TokenPost:
    """Posts through `session`, once each; `timeout` in seconds covers connecting, sending and the answer.

    What it returns raises: RequestTimeoutError, ConnectionFailedError where no answer arrives, `sent` telling whether
    the form may have; ClientClosedError where the session is closed. Redirects are not followed: the form
    holds secrets.
    """
    limit = aiohttp.ClientTimeout(total=timeout)
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": ACCEPT_ENCODING,
        "Content-Type": "application/x-www-form-urlencoded",  # whatever the session sends else
        "User-Agent": user_agent,
    }

    async def send(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> TokenReply:
        named = headers | {"Authorization": basic_header(*basic)} if basic else headers
        hop = (network or Network()).hop(URL(url))
        response = await session.post(
            url,
            data=dict(form),
            headers=named | hop.headers,
            timeout=limit,
            allow_redirects=False,
            auto_decompress=False,
            proxy=hop.proxy,
            proxy_headers=hop.proxy_headers,
            ssl=hop.ssl,
        )
        retry_after = read_rate(response.headers).retry_after or 0.0
        try:
            return TokenReply(response.status, decoded(await read_body(response, MAX_BODY)), retry_after)
        except BodyTooLarge:
            return TokenReply(response.status, None, retry_after)

    async def post(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> TokenReply:
        request = f"POST {urlsplit(url).path}"
        if session.closed:
            raise ClientClosedError("the session is closed", request=request)
        try:
            return await send(url, form, basic)
        except (aiohttp.ClientError, OSError, BodyBroken) as error:
            failure = _failure(error, request, timeout)
        # Raised out here, without a cause: aiohttp's errors hold the request's headers, credentials included.
        raise failure

    return post


def basic_header(name: str, password: str) -> str:
    """What `Authorization` carries in HTTP Basic; aiohttp's own helper for it changes with its version 4."""
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def decoded(body: bytes) -> Any:
    """The JSON of a body, `None` where it is something else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _failure(error: Exception, request: str, timeout: float) -> TransportError:
    if isinstance(error, TimeoutError):
        unsent = isinstance(error, aiohttp.ConnectionTimeoutError)
        message = f"no answer from the token endpoint within {timeout:g} s"
        return RequestTimeoutError(message, request=request, attempts=1, timeout=timeout, sent=not unsent)
    unsent, temporary = is_unsent(error), is_temporary(error)
    # Others hold what was sent.
    reason = explained(error) if unsent else type(error).__name__
    message = f"no answer from the token endpoint ({reason})"
    return ConnectionFailedError(message, request=request, attempts=1, sent=not unsent, temporary=temporary)
