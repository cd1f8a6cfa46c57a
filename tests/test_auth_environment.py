"""Credentials from environment variables."""

import logging
from pathlib import Path

import pytest

from lofty_async import LoftyClient
from lofty_async.auth import AccessToken, ApiKey, Auth, from_environment
from lofty_async.errors import AuthenticationError, InvalidRequestError
from lofty_async.oauth import (
    API_TOKEN_URL,
    CRM_TOKEN_URL,
    ClientCredentials,
    FileTokenStore,
    RefreshToken,
)
from lofty_async.sandbox import Sandbox

KEY = {"LOFTY_API_KEY": "key"}
ACCESS = {"LOFTY_ACCESS_TOKEN": "access"}
CLIENT = {"LOFTY_CLIENT_ID": "id", "LOFTY_CLIENT_SECRET": "secret"}
REFRESH = {"LOFTY_REFRESH_TOKEN": "refresh"}
CUSTOMER = {"LOFTY_CUSTOMER_KEY": "customer"}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (KEY | ACCESS | CLIENT | REFRESH | CUSTOMER, ApiKey),
        (ACCESS | CLIENT | REFRESH | CUSTOMER, AccessToken),
        (CLIENT | REFRESH | CUSTOMER, RefreshToken),
        (CLIENT | CUSTOMER, ClientCredentials),
        ({"LOFTY_API_KEY": ""} | ACCESS, AccessToken),
    ],
)
def test_the_first_complete_kind_is_taken(environ: dict[str, str], kind: type[Auth]) -> None:
    assert type(from_environment(environ)) is kind


def test_every_value_finds_its_place() -> None:
    refresh, client = from_environment(CLIENT | REFRESH), from_environment(CLIENT | CUSTOMER)
    assert isinstance(refresh, RefreshToken)
    assert isinstance(client, ClientCredentials)
    assert (refresh.refresh_token, refresh.client_id, refresh.client_secret) == ("refresh", "id", "secret")
    assert (client.client_id, client.client_secret, client.customer_key) == ("id", "secret", "customer")


@pytest.mark.parametrize("environ", [CLIENT | REFRESH, CLIENT | CUSTOMER])
def test_on_token_goes_to_what_renews(environ: dict[str, str]) -> None:
    auth = from_environment(environ, on_token=print)
    assert isinstance(auth, RefreshToken | ClientCredentials)
    assert auth.on_token is print


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFTY_API_KEY", "from-the-process")
    assert from_environment().ready() == "token from-the-process"


@pytest.mark.parametrize(
    ("environ", "so_far"),
    [
        ({}, "environment: set"),
        (REFRESH, r"set so far: LOFTY_REFRESH_TOKEN\)"),
        (CLIENT, r"set so far: LOFTY_CLIENT_ID, LOFTY_CLIENT_SECRET\)"),
    ],
)
def test_an_incomplete_environment_names_every_variable_and_no_value(environ: dict[str, str], so_far: str) -> None:
    with pytest.raises(AuthenticationError, match=so_far) as caught:
        from_environment(environ)
    for name in KEY | ACCESS | CLIENT | REFRESH | CUSTOMER:
        assert name in str(caught.value)
    assert "secret" not in str(caught.value)


SANDBOX = {"LOFTY_BASE_URL": "http://127.0.0.1:9/lofty/"}


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        (KEY, "LOFTY_API_KEY"),
        (ACCESS, "LOFTY_ACCESS_TOKEN"),
        (CLIENT | REFRESH, "LOFTY_REFRESH_TOKEN"),
        (CLIENT | REFRESH, "LOFTY_CLIENT_ID"),
        (CLIENT | REFRESH, "LOFTY_CLIENT_SECRET"),
        (CLIENT | CUSTOMER, "LOFTY_CUSTOMER_KEY"),
    ],
)
@pytest.mark.parametrize("value", ["s3cr\u2026et", "s3cr et", "\u201cs3cret\u201d"])
def test_a_value_that_cannot_be_sent_names_its_variable_and_not_itself(
    environ: dict[str, str], variable: str, value: str
) -> None:
    with pytest.raises(
        InvalidRequestError, match=f"^{variable} has characters .* copy the whole value again$"
    ) as caught:
        from_environment(environ | {variable: value}, on_token=print)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize("mark", ["'", '"'])
def test_quotes_that_an_environment_file_keeps_are_named(mark: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^LOFTY_API_KEY has quotes around it: leave them out$"):
        from_environment({"LOFTY_API_KEY": f"{mark}s3cret{mark}"})


@pytest.mark.parametrize(
    ("environ", "token_url", "expected"),
    [
        (CLIENT | REFRESH, None, CRM_TOKEN_URL),
        (CLIENT | CUSTOMER, None, API_TOKEN_URL),
        (CLIENT | REFRESH | SANDBOX, None, "http://127.0.0.1:9/lofty/api/user-web/oauth/token"),
        (CLIENT | CUSTOMER | SANDBOX, None, "http://127.0.0.1:9/lofty/oauth/token"),
        (CLIENT | REFRESH | SANDBOX, CRM_TOKEN_URL, CRM_TOKEN_URL),
        (CLIENT | CUSTOMER | SANDBOX, API_TOKEN_URL, API_TOKEN_URL),
    ],
)
def test_the_base_url_moves_the_token_endpoint_unless_that_is_given(
    environ: dict[str, str], token_url: str | None, expected: str
) -> None:
    auth = from_environment(environ, token_url=token_url, on_token=print)
    assert isinstance(auth, RefreshToken | ClientCredentials)
    assert auth.token_url == expected


async def test_a_sandbox_in_the_environment_gets_the_secrets_and_nobody_else() -> None:
    async with Sandbox(leads=1) as sandbox:
        environ = {
            "LOFTY_BASE_URL": f"{sandbox.url}\n",
            "LOFTY_CLIENT_ID": sandbox.oauth.client_id,
            "LOFTY_CLIENT_SECRET": f"{sandbox.oauth.client_secret}\r\n",
            "LOFTY_CUSTOMER_KEY": sandbox.api_key,
        }
        async with LoftyClient.from_env(environ) as lofty:
            await lofty.me()
        assert sandbox.oauth.issued == 1


def test_secrets_go_by_https_there_too() -> None:
    environ = CLIENT | CUSTOMER | {"LOFTY_BASE_URL": "http://sandbox:8080"}
    with pytest.raises(InvalidRequestError, match="LOFTY_BASE_URL"):
        from_environment(environ)
    auth = from_environment(environ, allow_http=True)
    assert isinstance(auth, ClientCredentials)
    assert auth.token_url == "http://sandbox:8080/oauth/token"


def test_a_refresh_token_that_nobody_keeps_is_warned_of_beforehand(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING):
        from_environment(CLIENT | REFRESH, on_token=print)
        from_environment(CLIENT | REFRESH, store=FileTokenStore(tmp_path / "token.json"))
        from_environment(CLIENT | CUSTOMER)
        assert caplog.text == ""
        from_environment(CLIENT | REFRESH)
    assert "works only once" in caplog.text


async def test_a_refresh_token_of_the_environment_outlives_its_rotation(tmp_path: Path) -> None:
    async with Sandbox(leads=1) as sandbox:
        sandbox.oauth.rotate = True
        sandbox.oauth.allow_refresh("r0")
        environ = {
            "LOFTY_BASE_URL": sandbox.url,
            "LOFTY_CLIENT_ID": sandbox.oauth.client_id,
            "LOFTY_CLIENT_SECRET": sandbox.oauth.client_secret,
            "LOFTY_REFRESH_TOKEN": "r0",
        }
        for _ in range(3):
            store = FileTokenStore(tmp_path / "token.json")
            async with LoftyClient.from_env(environ, store=store) as lofty:
                await lofty.me()
                sandbox.credentials.tokens.clear()
                await lofty.me()
        assert "r0" not in sandbox.oauth.refresh_tokens
