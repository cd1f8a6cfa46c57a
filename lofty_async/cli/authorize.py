"""What `login` does: send the user to the page, take the answer, keep the token."""

import os
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import aiohttp
import click
from attrs import frozen

from lofty_async.client import USER_AGENT
from lofty_async.dispatch import Network
from lofty_async.dispatch.token_post import token_post
from lofty_async.errors import LoftyError
from lofty_async.oauth import (
    API_TOKEN_URL,
    CRM_TOKEN_URL,
    AuthorizationCode,
    Pkce,
    RefreshToken,
    Token,
    new_state,
    read_redirect,
)
from lofty_async.oauth.environment import environment_base_url
from lofty_async.oauth.exchange import AUTHORIZE_PAGE
from lofty_async.oauth.store import Client
from lofty_async.oauth.tokens import moved

from . import options
from .connect import network_of
from .kept_login import SECRET, LoginFile, signals_held, token_file
from .redirect import Loopback, code_in, loopback, pasted
from .run import Refused, run

TIMEOUT = 30.0


@frozen
class Login:
    """One login, from the page that is opened to the file that is written."""

    flow: AuthorizationCode
    pkce: Pkce | None
    here: Loopback | None
    file: LoginFile
    network: Network

    @classmethod
    def of(
        cls,
        client_id: str,
        redirect_uri: str,
        path: Path | None,
        network: options.Network,
        *,
        authorize_page: str | None,
        token_url: str | None,
    ) -> Self:
        """Raises: Refused, click.BadParameter where the login cannot be begun."""
        secret = os.environ.get(SECRET) or None
        here = loopback(redirect_uri)
        try:
            flow = AuthorizationCode(client_id, secret, redirect_uri, **_addresses(secret, authorize_page, token_url))
            client = Client(flow.client_id, flow.refresh_url, has_secret=flow.client_secret is not None)
            file = LoginFile(path or token_file(), client=client)
        except LoftyError as error:
            raise Refused(str(error)) from error
        return cls(flow, None if secret else Pkce.new(), here, file, network_of(network))

    def run(self, *, browse: bool) -> None:
        """Raises: what `run` and `pasted` raise."""
        run(self.file.prepare)
        state = new_state()
        page = self.flow.authorize_url(state, pkce=self.pkce)
        here = self.here
        if here is None:
            _send_to(page, browse=browse)
            line = pasted()
            run(lambda: self._finish(lambda: code_in(line, state)))
        else:
            answer = run(lambda: here.redirected(state, lambda: _send_to(page, browse=browse)))
            run(lambda: self._finish(lambda: read_redirect(answer, state)))
        click.echo(f"Logged in; kept in {self.file.path}", err=True)

    async def _finish(self, read_code: Callable[[], str]) -> None:
        code = read_code()
        with signals_held():
            credentials = await self._exchanged(code)
            await self.file.save(cast("Token", credentials.token))  # an exchange that returns has brought one

    async def _exchanged(self, code: str) -> RefreshToken:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            post = token_post(session, timeout=TIMEOUT, user_agent=USER_AGENT, network=self.network)
            return await self.flow.exchange(code, post, pkce=self.pkce)


def _addresses(secret: str | None, authorize_page: str | None, token_url: str | None) -> dict[str, Any]:
    """Page and endpoint of a login: those given, else those of the server that the environment names."""
    base_url = environment_base_url()
    if base_url is not None:
        authorize_page = authorize_page or moved(AUTHORIZE_PAGE, base_url)
        token_url = token_url or moved(CRM_TOKEN_URL if secret else API_TOKEN_URL, base_url)
    addresses = {"authorize_page": authorize_page, "token_url": token_url}
    return {name: address for name, address in addresses.items() if address is not None}


def _send_to(page: str, *, browse: bool) -> None:
    click.echo("Agree on this page, as the user to log in:", err=True)
    click.echo(page)
    if browse:
        # Some browsers return when they are closed, which must hold up neither the answer nor the end.
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
