"""Responses of a token endpoint, read into a `Token` or an error."""

import asyncio
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    LoftyError,
    RateLimitedError,
    ServerError,
)
from lofty_async.oauth import RefreshToken, Token

URL = "https://crm.example/oauth/token"
SENT = {"grant_type": "refresh_token", "refresh_token": "r3fresh", "client_secret": "s3cret"}
SECRETS = ("r3fresh", "s3cret")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ANSWERS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.sampled_from(["acc3ss", ""]) | JSON,
        "refresh_token": JSON,
        "expires_in": st.integers() | st.just(10**400) | st.floats().map(str) | JSON,
        "token_type": JSON,
        "scope": JSON,
        "error": st.sampled_from(["invalid_grant", "server_error"]) | JSON,
    },
)


def read(status: int, body: object, *, now: float) -> Token:
    """The token of a login whose renewal is answered so."""

    async def post(*_: object) -> tuple[int, Any]:
        return status, body

    login = RefreshToken("r3fresh", "id", "s3cret", token_url=URL, clock=lambda: now)
    asyncio.run(login.fetch(post))
    assert login.token is not None
    return login.token


def test_an_answer_becomes_a_token() -> None:
    body = {
        "access_token": "acc3ss",
        "refresh_token": "rot4ted",
        "expires_in": 3600,
        "scope": "all",
        "token_type": "bearer",
    }
    token = read(200, body, now=1000.0)
    assert token == Token("acc3ss", "rot4ted", 4600.0, "all", "bearer")
    assert token.header == "Bearer acc3ss"


@pytest.mark.parametrize("absent", [{}, {"refresh_token": None}, {"refresh_token": ""}])
def test_the_refresh_token_stays_if_none_comes_back(absent: dict[str, Any]) -> None:
    assert read(200, {"access_token": "a"} | absent, now=0.0).refresh_token == "r3fresh"


@pytest.mark.parametrize(
    ("expires_in", "expires_at"),
    [
        (60, 160.0),
        (60.5, 160.5),
        ("60", 160.0),
        (0, None),
        (-1, None),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        (True, None),
        ([60], None),
        (10**400, None),
    ],
)
def test_an_unreadable_lifetime_is_unknown_and_does_not_lose_the_token(
    expires_in: object, expires_at: float | None
) -> None:
    assert read(200, {"access_token": "a", "expires_in": expires_in}, now=100.0).expires_at == expires_at


@pytest.mark.parametrize(
    ("status", "body", "kind", "name", "says"),
    [
        (400, {"error": "invalid_grant"}, AuthenticationError, "invalid_grant", "log in again"),
        (401, {"error": "invalid_grant"}, AuthenticationError, "invalid_grant", "log in again"),
        (200, {"error": "invalid_grant"}, AuthenticationError, "invalid_grant", "log in again"),
        (401, {"error": "invalid_client"}, AuthenticationError, "invalid_client", "check the client id"),
        (401, {"code": 20012, "message": "r3fresh"}, AuthenticationError, None, "log in again"),
        (401, None, AuthenticationError, None, "log in again"),
        (403, {"error": "access_denied"}, AuthenticationError, "access_denied", "log in again"),
        (403, None, ServerError, None, "check its address, or try again later"),
        (404, "<html>", ServerError, None, "check its address, or try again later"),
        (400, {"code": 20012, "message": "r3fresh"}, ServerError, None, "gave no reason"),
        (400, {"error": "r3fresh"}, ServerError, None, "gave no reason"),
        (429, {"message": "Too Many Requests"}, RateLimitedError, None, "busy"),
        (408, None, ServerError, None, "try again later"),
        (500, {"error": "r3fresh"}, ServerError, None, "try again later"),
        (502, None, ServerError, None, "try again later"),
        (
            400,
            {"error": "temporarily_unavailable"},
            ServerError,
            "temporarily_unavailable",
            "try again later",
        ),
    ],
)
def test_a_failure_says_what_to_do(
    status: int, body: object, kind: type[APIError], name: str | None, says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        read(status, body, now=0.0)
    assert (caught.value.status, caught.value.name) == (status, name)
    assert str(caught.value).startswith("POST /oauth/token: HTTP")


@pytest.mark.parametrize(
    ("status", "body", "path"),
    [
        (200, None, "access_token"),
        (200, "<html>", "access_token"),
        (200, {}, "access_token"),
        (200, {"access_token": ""}, "access_token"),
        (200, {"access_token": "two words"}, "access_token"),
        (200, {"access_token": 5}, "access_token"),
        (200, {"access_token": "a", "refresh_token": ["r3fresh"]}, "refresh_token"),
        (302, None, "access_token"),
    ],
)
def test_an_answer_without_a_token_names_what_is_missing(status: int, body: object, path: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read(status, body, now=0.0)
    assert caught.value.path == path
    assert caught.value.__context__ is None


@given(status=st.integers(100, 599), body=ANSWERS)
def test_any_answer_is_a_token_or_an_error_of_the_sdk(status: int, body: object) -> None:
    try:
        token = read(status, body, now=1000.0)
    except LoftyError:
        return
    assert token.access_token
    assert token.expires_at is None or token.expires_at >= 1000.0


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
@pytest.mark.parametrize("key", ["error", "error_description", "message", "access_token", "r3fresh", "status"])
def test_no_failure_repeats_what_the_server_echoes(status: int, key: str) -> None:
    echo = {key: f"not good: {json.dumps(SENT)} b4sic"}
    with pytest.raises(LoftyError) as caught:
        read(status, echo, now=0.0)
    shown = f"{caught.value} {caught.value!r} {pickle.dumps(caught.value)!r}"
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("show", [repr, str])
def test_secrets_stay_out_of_reprs(show: Callable[[object], str]) -> None:
    token = Token("s3cret-a", "s3cret-r", 5.0)
    assert show(token) == "Token(expires_at=5.0, scope=None, token_type='Bearer')"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("access_token", ""),
        ("access_token", "a\nb"),
        ("refresh_token", ""),
        ("expires_at", "soon"),
        ("expires_at", float("nan")),
        ("expires_at", True),
        ("scope", 5),
        ("token_type", ""),
    ],
)
def test_a_wrong_value_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Token(**{"access_token": "a", argument: value})
    assert caught.value.argument == argument
