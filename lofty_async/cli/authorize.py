"""What `login` does: send the user to the page, take the answer, keep the token."""

import os
import threading
import webbrowser
from pathlib import Path
from typing import Any, Self, cast

import aiohttp
import click
from attrs import frozen

from lofty_async.client import USER_AGENT
from lofty_async.dispatch import Network
from lofty_async.dispatch.token_post import token_post
from lofty_async.errors import LoftyError
from lofty_async.oauth import AuthorizationCode, Pkce, RefreshToken, Token, new_state, read_redirect

from . import options
from .connect import network_of
from .kept_login import SECRET, Client, LoginFiles, token_file
from .redirect import Loopback, loopback, pasted
from .run import Refused, run

TIMEOUT = 30.0


@frozen
class Login:
    """One login, from the page that is opened to the files that are written."""

    flow: AuthorizationCode
    pkce: Pkce | None
    here: Loopback | None
    files: LoginFiles
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
        """Raises: Refused, click.BadParameter where the login cannot be begun or could not be kept."""
        secret = os.environ.get(SECRET) or None
        addresses = {"authorize_page": authorize_page, "token_url": token_url, "refresh_url": token_url}
        given: dict[str, Any] = {name: address for name, address in addresses.items() if address is not None}
        here = loopback(redirect_uri)
        try:
            flow = AuthorizationCode(client_id, secret, redirect_uri, **given)
            files = LoginFiles(path or token_file())
            files.prepare()
        except LoftyError as error:
            raise Refused(str(error)) from error
        return cls(flow, None if secret else Pkce.new(), here, files, network_of(network))

    def run(self, *, browse: bool) -> None:
        """Raises: what `run` and `pasted` raise."""
        state = new_state()
        answer = self._answer(self.flow.authorize_url(state, pkce=self.pkce), browse=browse)
        run(lambda: self._finish(answer, state))
        click.echo(f"Logged in; kept in {self.files.path}", err=True)

    def _answer(self, page: str, *, browse: bool) -> str:
        here = self.here
        if here is not None:
            return run(lambda: here.redirected(lambda: _send_to(page, browse=browse)))
        _send_to(page, browse=browse)
        return pasted()

    async def _finish(self, answer: str, state: str) -> None:
        credentials = await self._exchanged(read_redirect(answer, state))
        self.files.save_client(
            Client(self.flow.client_id, self.flow.refresh_url, has_secret=self.flow.client_secret is not None)
        )
        await self.files.save(cast("Token", credentials.token))  # an exchange that returns has brought one

    async def _exchanged(self, code: str) -> RefreshToken:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            post = token_post(session, timeout=TIMEOUT, user_agent=USER_AGENT, network=self.network)
            return await self.flow.exchange(code, post, pkce=self.pkce)


def _send_to(page: str, *, browse: bool) -> None:
    click.echo("Agree on this page, as the user to log in:", err=True)
    click.echo(page)
    if browse:
        # Some browsers return when they are closed, which must hold up neither the answer nor the end.
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
