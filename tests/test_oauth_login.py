"""Logging a user in: the authorise page, its redirect, and the exchange of its code for tokens."""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.errors import AuthenticationError, InvalidRequestError, LoftyError
from lofty_async.oauth import (
    API_TOKEN_URL,
    CRM_TOKEN_URL,
    AuthorizationCode,
    Pkce,
    Token,
    new_state,
    read_redirect,
)

BACK = "https://app.example/back"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
ANSWER = {"access_token": "acc3ss", "refresh_token": "r3fresh", "expires_in": 3600}


@define
class Endpoint:
    """A token endpoint's answers, and what was sent to it."""

    answer: tuple[int, Any] = (200, ANSWER)
    sent: list[tuple[str, dict[str, str], tuple[str, str] | None]] = field(factory=list)

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        self.sent.append((url, dict(form), basic))
        return self.answer


def login(
    secret: str | None = "s3cret",  # noqa: S107 - made up
    **options: Any,
) -> AuthorizationCode:
    return AuthorizationCode("id", secret, BACK, **options)


def test_the_authorise_page_is_asked_for_by_client_id_and_state() -> None:
    assert login().authorize_url("a&b") == "https://lofty.com/page/vendor-auth.html?clientId=id&state=a%26b"


def test_pkce_shows_the_page_its_challenge_only() -> None:
    url = login(None).authorize_url("state", pkce=Pkce(VERIFIER))
    assert parse_qs(urlsplit(url).query) == {
        "clientId": ["id"],
        "state": ["state"],
        "code_challenge": ["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
        "code_challenge_method": ["S256"],
    }


def test_another_authorise_page_keeps_its_own_query() -> None:
    url = login(authorize_page="https://example.com/a?lang=en").authorize_url("s")
    assert url == "https://example.com/a?lang=en&clientId=id&state=s"


def test_new_proofs_are_unguessable_and_fit_the_standard() -> None:
    assert len({new_state() for _ in range(50)} | {Pkce.new().verifier for _ in range(50)}) == 100
    assert len(Pkce.new().verifier) >= 43
    assert Pkce(VERIFIER).verifier not in repr(Pkce(VERIFIER))


COMMON = {"grant_type": "authorization_code", "client_id": "id", "redirect_uri": BACK, "code": "c0de"}


@pytest.mark.parametrize(
    ("flow", "pkce", "sent"),
    [
        (login(), None, (CRM_TOKEN_URL, COMMON, ("id", "s3cret"))),
        (
            login(token_url=API_TOKEN_URL, basic=False),
            None,
            (API_TOKEN_URL, COMMON | {"client_secret": "s3cret"}, None),
        ),
        (login(None), Pkce(VERIFIER), (API_TOKEN_URL, COMMON | {"code_verifier": VERIFIER}, None)),
        (login(), Pkce(VERIFIER), (CRM_TOKEN_URL, COMMON | {"code_verifier": VERIFIER}, ("id", "s3cret"))),
    ],
)
async def test_a_code_is_exchanged_as_each_endpoint_wants_it(
    flow: AuthorizationCode, pkce: Pkce | None, sent: tuple[Any, ...]
) -> None:
    endpoint = Endpoint()
    await flow.exchange("c0de", endpoint.post, pkce=pkce)
    assert endpoint.sent == [sent]


async def test_the_exchange_gives_credentials_ready_for_a_client() -> None:
    credentials = await login(clock=lambda: 1000.0).exchange("c0de", Endpoint().post)
    assert credentials.ready() == "Bearer acc3ss"
    assert credentials.token == Token("acc3ss", "r3fresh", 4600.0)


@pytest.mark.parametrize(
    ("flow", "pkce", "url", "form", "basic"),
    [
        (login(), None, CRM_TOKEN_URL, {}, ("id", "s3cret")),
        (login(token_url="https://gate.example/token"), None, "https://gate.example/token", {}, ("id", "s3cret")),
        (login(token_url=API_TOKEN_URL, basic=False), None, CRM_TOKEN_URL, {}, ("id", "s3cret")),
        (login(None), Pkce(VERIFIER), API_TOKEN_URL, {"client_id": "id"}, None),
        (login(None, refresh_url=CRM_TOKEN_URL), Pkce(VERIFIER), CRM_TOKEN_URL, {"client_id": "id"}, None),
    ],
)
async def test_those_credentials_renew_themselves_where_they_were_granted(
    flow: AuthorizationCode, pkce: Pkce | None, url: str, form: dict[str, str], basic: tuple[str, str] | None
) -> None:
    endpoint = Endpoint()
    credentials = await flow.exchange("c0de", endpoint.post, pkce=pkce)
    endpoint.answer = (200, {"access_token": "newer"})
    assert await credentials.renew("Bearer acc3ss", endpoint.post) == "Bearer newer"
    assert endpoint.sent[1] == (
        url,
        {"grant_type": "refresh_token", "refresh_token": "r3fresh"} | form,
        basic,
    )


async def test_a_login_without_a_refresh_token_serves_until_it_ends() -> None:
    endpoint = Endpoint((200, {"access_token": "acc3ss"}))
    credentials = await login().exchange("c0de", endpoint.post)
    assert credentials.ready() == "Bearer acc3ss"
    with pytest.raises(AuthenticationError, match="log in again"):
        await credentials.renew("Bearer acc3ss", endpoint.post)
    assert len(endpoint.sent) == 1


async def test_on_token_hears_of_the_first_token() -> None:
    heard: list[Token] = []
    credentials = await login().exchange("c0de", Endpoint().post, on_token=heard.append)
    assert heard == [credentials.token]


async def test_a_failing_on_token_neither_loses_the_login_nor_lets_it_be_used_unsaved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Token] = []

    def full_at_first(token: Token) -> None:
        heard.append(token)
        if len(heard) < 3:
            raise OSError(f"no room for {token.access_token}")

    endpoint = Endpoint()
    with caplog.at_level(logging.DEBUG):
        credentials = await login().exchange("c0de", endpoint.post, on_token=full_at_first)
    assert "OSError" in caplog.text
    assert "acc3ss" not in caplog.text
    assert credentials.ready() is None
    with pytest.raises(OSError, match="no room"):
        await credentials.fetch(endpoint.post)
    assert await credentials.fetch(endpoint.post) == "Bearer acc3ss"
    assert len(endpoint.sent) == 1


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refused_code_says_to_start_again(status: int) -> None:
    endpoint = Endpoint((status, {"error": "invalid_grant", "error_description": "c0de s3cret"}))
    with pytest.raises(AuthenticationError, match="start the login again") as caught:
        await login().exchange("c0de", endpoint.post)
    assert not [secret for secret in ("c0de", "s3cret") if secret in f"{caught.value}{caught.value!r}"]


def test_the_redirect_brings_the_code() -> None:
    assert read_redirect(f"{BACK}?state=s%2F1&code=c0de&more=5", "s/1") == "c0de"
    assert read_redirect("/back?code=c0de&state=s", "s") == "c0de"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("error=access_denied&state=s", "user refused access"),
        ("error=access_denied", "user refused access"),
        ("error=<script>&state=s", "authorise page failed"),
        ("code=c0de", "state is not the one"),
        ("code=c0de&state=other", "state is not the one"),
        ("code=c0de&state=sch%C3%B6n", "state is not the one"),
        ("code=c0de&state=s&state=s", "state is not the one"),
        ("state=s", "no single code"),
        ("state=s&code=a&code=b", "no single code"),
    ],
)
def test_a_redirect_that_grants_nothing_says_why(query: str, says: str) -> None:
    with pytest.raises(AuthenticationError, match=says) as caught:
        read_redirect(f"{BACK}?{query}", "s")
    assert "c0de" not in f"{caught.value}{caught.value!r}"
    assert "script" not in f"{caught.value}{caught.value!r}"


@given(url=st.text(), query=st.text())
def test_any_redirect_is_read_or_refused(url: str, query: str) -> None:
    for address in (url, f"{BACK}?state=s&code={query}"):
        try:
            assert isinstance(read_redirect(address, "s"), str)
        except LoftyError:
            continue


def wrong(**values: Any) -> Callable[[], object]:
    arguments = {"client_id": "id", "client_secret": "s3cret", "redirect_uri": BACK} | values
    return lambda: AuthorizationCode(**arguments)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (wrong(client_id=""), "client_id"),
        (wrong(client_id="a:b"), "client_id"),
        (wrong(client_secret=""), "client_secret"),
        (wrong(redirect_uri="/back"), "redirect_uri"),
        (wrong(redirect_uri=f"{BACK}#top"), "redirect_uri"),
        (wrong(redirect_uri="http://[::1/back"), "redirect_uri"),
        (wrong(token_url="http://example.com/token"), "token_url"),
        (wrong(token_url="https://"), "token_url"),
        (wrong(refresh_url="ftp://localhost/"), "refresh_url"),
        (wrong(authorize_page="lofty.com"), "authorize_page"),
        (wrong(clock=5), "clock"),
        (wrong(basic="no"), "basic"),
        (lambda: Pkce("too-short"), "verifier"),
        (lambda: Pkce("ü" * 50), "verifier"),
        (lambda: login().authorize_url(""), "state"),
        (lambda: read_redirect("/back?state=", ""), "state"),
        (lambda: read_redirect("", "state"), "url"),
        (lambda: read_redirect("http://[::1?code=1", "state"), "url"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert caught.value.argument == argument


@pytest.mark.parametrize("url", ["http://localhost:8080/t", "http://127.0.0.1/t", "http://[::1]:5/t"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert login(token_url=url).token_url == url


@pytest.mark.parametrize(("code", "secret", "argument"), [("", "s3cret", "code"), ("c0de", None, "pkce")])
async def test_an_exchange_that_cannot_work_is_not_sent(code: str, secret: str | None, argument: str) -> None:
    endpoint = Endpoint()
    with pytest.raises(InvalidRequestError) as caught:
        await login(secret).exchange(code, endpoint.post)
    assert (caught.value.argument, endpoint.sent) == (argument, [])
