"""Credentials from environment variables."""

import pytest

from lofty_async.auth import AccessToken, ApiKey, Auth
from lofty_async.errors import AuthenticationError
from lofty_async.oauth import ClientCredentials, RefreshToken, from_environment

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
