from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lofty_async.sandbox import Sandbox
from lofty_async.sandbox.oauth import challenge_of

if TYPE_CHECKING:
    from tests.sandbox.conftest import Answer, Api, Clock

A, B, PAGE = "/api/user-web/oauth/token", "/oauth/token", "/page/vendor-auth.html"
BACK = "https://app.example/back?tenant=7"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-long"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def sandbox(clock: "Clock") -> Sandbox:
    return Sandbox(1, clock=clock, token_lifetime=600.0, rotate_refresh_tokens=True)


def encoded(client_id: str, secret: str) -> str:
    return "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()


async def token(api: "Api", path: str, basic: tuple[str, str] | None = None, /, **form: str) -> "Answer":
    word = encoded(*basic) if basic else ""
    return await api.call("POST", path, data=form, headers={"Content-Type": FORM, "Authorization": word})


def client(sandbox: Sandbox) -> dict[str, str]:
    return {"client_id": sandbox.oauth.client_id, "client_secret": sandbox.oauth.client_secret}


def basic(sandbox: Sandbox) -> tuple[str, str]:
    return sandbox.oauth.client_id, sandbox.oauth.client_secret


async def whoami(api: "Api", token: str) -> int:
    return (await api.call("GET", "/v1.0/me", headers={"Authorization": f"Bearer {token}"})).status


async def agreed(api: "Api", **query: str) -> dict[str, Any]:
    asked = {"clientId": api.sandbox.oauth.client_id, "redirect_uri": BACK, "state": "s p&ace"} | query
    answer = await api.call("GET", PAGE, params=asked, allow_redirects=False)
    assert answer.status == 302
    parts = urlsplit(answer.headers["Location"])
    assert (parts.hostname, parts.path) == ("app.example", "/back")
    return {name: values[0] for name, values in parse_qs(parts.query).items()}


async def test_a_code_at_endpoint_a(api: "Api") -> None:
    back = await agreed(api)
    assert (back["state"], back["tenant"]) == ("s p&ace", "7")
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    answer = await token(api, A, basic(api.sandbox), client_id=api.sandbox.oauth.client_id, **form)
    assert (answer.status, answer.body["token_type"], answer.body["expires_in"]) == (200, "Bearer", 600)
    assert set(answer.body) == {"access_token", "expires_in", "token_type", "scope", "refresh_token"}
    assert await whoami(api, answer.body["access_token"]) == 200


async def test_a_code_at_endpoint_b(api: "Api") -> None:
    back = await agreed(api)
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    answer = await token(api, B, **form, **client(api.sandbox))
    assert await whoami(api, answer.body["access_token"]) == 200


@pytest.mark.parametrize(("method", "challenge"), [("S256", challenge_of(VERIFIER)), ("plain", VERIFIER)])
async def test_a_verifier_stands_for_the_secret(api: "Api", method: str, challenge: str) -> None:
    form = {
        "grant_type": "authorization_code",
        "redirect_uri": BACK,
        "client_id": api.sandbox.oauth.client_id,
    }
    for verifier, status in ((VERIFIER, 200), ("another", 400)):
        back = await agreed(api, code_challenge=challenge, code_challenge_method=method)
        answer = await token(api, B, **form, code=back["code"], code_verifier=verifier)
        assert answer.status == status


async def test_client_credentials_act_for_a_customer(api: "Api") -> None:
    form = {"grant_type": "client_credentials", "customer_key": api.sandbox.api_key}
    answer = await token(api, B, **form, **client(api.sandbox))
    assert "refresh_token" not in answer.body
    assert await whoami(api, answer.body["access_token"]) == 200


async def test_a_rotated_refresh_token_works_once(api: "Api") -> None:
    form = {"grant_type": "refresh_token", "refresh_token": api.sandbox.refresh_token}
    first, again = [await token(api, A, basic(api.sandbox), **form) for _ in range(2)]
    assert (again.status, again.body["error"]) == (400, "invalid_grant")
    form["refresh_token"] = first.body["refresh_token"]
    assert (await token(api, A, basic(api.sandbox), **form)).status == 200
    assert api.sandbox.oauth.issued == 2


async def test_refresh_tokens_stay_by_default(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, clock=clock)) as api:
        form = {"grant_type": "refresh_token", "refresh_token": api.sandbox.refresh_token}
        for _ in range(2):
            answer = await token(api, A, basic(api.sandbox), **form)
            assert "refresh_token" not in answer.body
        clock.now += 180 * 86_400
        assert (await token(api, A, basic(api.sandbox), **form)).status == 400


async def test_access_tokens_expire_by_the_sandboxs_clock(api: "Api", clock: "Clock") -> None:
    form = {"grant_type": "client_credentials", "customer_key": api.sandbox.api_key}
    issued = (await token(api, B, **form, **client(api.sandbox))).body["access_token"]
    clock.now += 599
    assert await whoami(api, issued) == 200
    clock.now += 1
    assert await whoami(api, issued) == 401


async def test_codes_are_used_once_and_not_for_long(api: "Api", clock: "Clock") -> None:
    form = {"grant_type": "authorization_code", "redirect_uri": BACK} | client(api.sandbox)
    code = (await agreed(api))["code"]
    assert [(await token(api, B, **form, code=code)).status for _ in range(2)] == [200, 400]
    code = (await agreed(api))["code"]
    clock.now += 600
    assert (await token(api, B, **form, code=code)).status == 400


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "unsupported_grant_type"),
        ({"customer_key": "wrong"}, 400, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "wrong", "redirect_uri": BACK}, 400, "invalid_grant"),
    ],
)
async def test_endpoint_b_refuses(api: "Api", form: dict[str, str], status: int, error: str) -> None:
    good = {"grant_type": "client_credentials", "customer_key": api.sandbox.api_key} | client(api.sandbox)
    answer = await token(api, B, **(good | form))
    assert (answer.status, answer.body["error"]) == (status, error)


async def test_endpoint_b_needs_the_verifier_that_was_promised(api: "Api") -> None:
    back = await agreed(api, code_challenge=challenge_of(VERIFIER), code_challenge_method="S256")
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    assert (await token(api, B, **form, **client(api.sandbox))).status == 400


async def test_endpoint_a_refuses(api: "Api") -> None:
    form = {"grant_type": "refresh_token", "refresh_token": api.sandbox.refresh_token}
    good = basic(api.sandbox)
    refused = [
        await token(api, A, **form, **client(api.sandbox)),
        await token(api, A, (good[0], "wrong"), **form),
        await token(api, A, good, **(form | {"grant_type": "client_credentials"})),
        await token(api, A, good, grant_type="authorization_code", code="x"),
        await api.call("POST", A, data="{}", headers={"Authorization": "Basic %%%"}),
        await api.call("POST", A, data="{}", headers={"Authorization": "Digest " + "QQ=="}),
        await api.call("POST", A, data="{}", headers={"Authorization": encoded(*good)}),
    ]
    assert [(answer.status, answer.body["error"]) for answer in refused] == [
        (401, "invalid_client"),
        (401, "invalid_client"),
        (400, "unsupported_grant_type"),
        (400, "invalid_request"),
        (401, "invalid_client"),
        (401, "invalid_client"),
        (400, "invalid_request"),
    ]


async def test_the_user_denies_access(api: "Api") -> None:
    api.sandbox.oauth.deny = True
    assert await agreed(api) == {"tenant": "7", "error": "access_denied", "state": "s p&ace"}


async def test_a_challenge_method_that_is_unknown_gets_no_code(api: "Api") -> None:
    back = await agreed(api, code_challenge=challenge_of(VERIFIER), code_challenge_method="S512")
    assert back == {"tenant": "7", "error": "invalid_request", "state": "s p&ace"}


async def test_the_page_needs_a_client_and_somewhere_to_go(api: "Api") -> None:
    known = api.sandbox.oauth.client_id
    assert (await api.get(PAGE, clientId="wrong", redirect_uri=BACK)).status == 400
    assert (await api.get(PAGE, clientId=known)).status == 400
    api.sandbox.oauth.redirect_uri = "https://app.example/back"
    answer = await api.call("GET", PAGE, params={"clientId": known}, allow_redirects=False)
    assert answer.headers["Location"].startswith("https://app.example/back?code=")


async def test_token_requests_have_no_rate_limit(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, limit=1, clock=clock)) as api:
        form = {"grant_type": "client_credentials", "customer_key": api.sandbox.api_key}
        answers = [await token(api, B, **form, **client(api.sandbox)) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert "X-RateLimit-Limit" not in answers[0].headers
        assert await whoami(api, answers[-1].body["access_token"]) == 200


async def test_no_secret_shows_in_a_repr(api: "Api") -> None:
    form = {"grant_type": "client_credentials", "customer_key": api.sandbox.api_key}
    await token(api, B, **form, **client(api.sandbox))
    assert api.sandbox.oauth.client_secret not in repr(api.sandbox.requests) + repr(api.sandbox.oauth)


@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://app.example:port/", "nowhere", "", "https://app.example/\0", "https://app.example/a b"],
)
async def test_invalid_redirect_uris(api: "Api", address: str) -> None:
    asked = {"clientId": api.sandbox.oauth.client_id, "redirect_uri": address}
    answer = await api.call("GET", PAGE, params=asked, allow_redirects=False)
    assert (answer.status, "Location" in answer.headers) == (400, False)


@pytest.mark.parametrize("path", [A, B])
@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("x-unknown", b"a=b"),
        ("base64", b"a=b"),
        ("utf-8", b"a=\xff"),
        ("utf-8", b"a=%ff"),
        ("unicode_escape", b"code=\\ud800"),
    ],
)
async def test_forms_that_cannot_be_decoded(api: "Api", path: str, charset: str, body: bytes) -> None:
    headers = {"Content-Type": f"{FORM}; charset={charset}", "Authorization": encoded(*basic(api.sandbox))}
    answer = await api.call("POST", path, data=body, headers=headers)
    assert (answer.status, answer.body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("authorization", ["Basic \xe9", "Basic ####", "Basic", "Basic /w=="])
async def test_invalid_basic_credentials(api: "Api", authorization: str) -> None:
    headers = {"Content-Type": FORM, "Authorization": authorization}
    answer = await api.call("POST", A, data="grant_type=refresh_token", headers=headers)
    assert (answer.status, answer.body["error"]) == (401, "invalid_client")


async def test_endpoint_b_renews_a_login_without_a_secret(api: "Api") -> None:
    back = await agreed(api, code_challenge=challenge_of(VERIFIER), code_challenge_method="S256")
    public = {"client_id": api.sandbox.oauth.client_id}
    code = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK, "code_verifier": VERIFIER}
    login = (await token(api, B, **code, **public)).body
    renewal = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    assert (await token(api, B, **renewal, **public)).body["access_token"] != login["access_token"]
    assert (await token(api, B, **renewal, client_id="another")).status == 401
