from pathlib import Path

import click

from .options import Network, networked


@click.command()
@click.option("--client-id", envvar="LOFTY_CLIENT_ID", required=True, metavar="ID", help="Or LOFTY_CLIENT_ID.")
@click.option("--redirect-uri", required=True, metavar="URI", help="As registered for the application.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to keep the login. Or LOFTY_TOKEN_FILE, which the other commands look at too; else "
    "lofty-async/token.json among the user's settings ($XDG_CONFIG_HOME or ~/.config on Linux).",
)
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@networked
@click.option("--authorize-page", hidden=True)
@click.option("--token-url", hidden=True)
def login(
    *,
    client_id: str,
    redirect_uri: str,
    token_file: Path | None,
    no_browser: bool,
    network: Network,
    authorize_page: str | None,
    token_url: str | None,
) -> None:
    """Log in as a user of Lofty, and keep the login for the other commands.

    Prints the page where the user agrees, and opens it. The answer is received here where the redirect URI is
    http://127.0.0.1:PORT/… or http://localhost:PORT/…; otherwise paste the address that the browser ended at.

    An application with a client secret gives it as LOFTY_CLIENT_SECRET, never as an argument; without one, the
    login is secured by PKCE.

    FILE holds the tokens and the client id, readable by nobody else; the client secret is never written. Commands
    without a complete credential in their environment use this login, renew it when its access token ends, and keep
    what they get, the refresh token too. Where it was made with a client secret, they need LOFTY_CLIENT_SECRET again.
    Commands may run side by side. Delete FILE to log out here.

    Where LOFTY_BASE_URL is set, the login is made and renewed at that server. What succeeds a LOFTY_REFRESH_TOKEN of
    the environment is kept in FILE as well.
    """
    from .authorize import Login  # noqa: PLC0415 - keeps `--help` fast

    Login.of(client_id, redirect_uri, token_file, network, authorize_page=authorize_page, token_url=token_url).run(
        browse=not no_browser
    )
