"""What puts `Authorization` on a request."""

import copy
import io
import pickle
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from rich.console import Console
from rich.traceback import Traceback

from lofty_async import LoftyClient, RetryPolicy
from lofty_async._auth import Secret
from lofty_async._session import token_post
from lofty_async.auth import AccessToken, ApiKey, Auth
from lofty_async.errors import AuthenticationError, ConnectionFailedError, InvalidRequestError, LoftyError
from lofty_async.oauth import ClientCredentials, RefreshToken, Token
from lofty_async.sandbox import Sandbox

FIXED = [(ApiKey("s3cret"), "token s3cret"), (AccessToken("s3cret"), "Bearer s3cret")]


async def no_post(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
    raise AssertionError((url, form, basic))


@pytest.mark.parametrize(("auth", "header"), FIXED)
async def test_a_fixed_credential_is_always_ready_and_never_posts(auth: Auth, header: str) -> None:
    assert auth.ready() == header
    assert await auth.fetch(no_post) == header
    await auth.settle()


@pytest.mark.parametrize(("auth", "header"), FIXED)
async def test_a_fixed_credential_has_nothing_else_to_offer_once_refused(auth: Auth, header: str) -> None:
    assert await auth.renew(header, no_post) is None


@pytest.mark.parametrize(("auth", "header"), FIXED)
def test_a_secret_stays_out_of_the_repr(auth: Auth, header: str) -> None:
    assert header.split()[1] not in repr(auth)


@pytest.mark.parametrize("value", ["", "  ", "a b", "a\r\nX-Other: 1", "schlüssel", "a\x00", None, 5, b"key"])
@pytest.mark.parametrize(("kind", "argument"), [(ApiKey, "key"), (AccessToken, "token")])
def test_what_no_header_can_carry_is_refused_by_name(
    kind: type[ApiKey] | type[AccessToken], argument: str, value: Any
) -> None:
    with pytest.raises(InvalidRequestError, match=argument) as caught:
        kind(value)
    assert caught.value.argument == argument


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\ufeff"])
def test_white_space_that_was_pasted_along_is_dropped(around: str) -> None:
    assert ApiKey(f"{around}s3cret{around}").ready() == "token s3cret"
    assert AccessToken(token=f"s3cret{around}").ready() == "Bearer s3cret"


WORD = "0f3c9a71d2"
KEY = f"{WORD}-" * 10
"""Longer than what rich cuts texts to, with its word in whatever is left of it."""

HIDDEN = "…'"


def renewable(url: str) -> RefreshToken:
    """Good for now, until it is refused; then nothing it has is good."""
    return RefreshToken(KEY, "id", KEY, token=Token(KEY, KEY), token_url=f"{url}/api/user-web/oauth/token")


def refreshed(url: str) -> RefreshToken:
    return RefreshToken(KEY, "id", KEY, token_url=f"{url}/api/user-web/oauth/token")


def granted(url: str) -> ClientCredentials:
    return ClientCredentials("id", KEY, KEY, token_url=f"{url}/oauth/token")


def key(_: str) -> ApiKey:
    return ApiKey(KEY)


def token(_: str) -> AccessToken:
    return AccessToken(KEY)


Credential = Callable[[str], Auth]
CREDENTIALS = pytest.mark.parametrize("credential", [key, token, renewable])


def told(error: BaseException) -> str:
    """What reports of exceptions show that print what the frames hold."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    page = io.StringIO()
    console = Console(file=page, width=200)
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    return shown + page.getvalue()


async def failure(call: Awaitable[object], kind: type[LoftyError]) -> LoftyError:
    with pytest.raises(kind) as caught:
        await call
    return caught.value


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class TestFramesOfAFailure:
    @CREDENTIALS
    async def test_a_refused_credential_shows_nowhere(self, credential: Credential) -> None:
        async with Sandbox(leads=1) as sandbox, LoftyClient(credential(sandbox.url), base_url=sandbox.url) as lofty:
            report = told(await failure(lofty.me(), AuthenticationError))
        assert HIDDEN in report, "no frame that has it was shown"
        assert WORD not in report

    @CREDENTIALS
    async def test_nor_does_one_that_never_arrived(self, credential: Credential, nobody: str) -> None:
        async with LoftyClient(credential(nobody), base_url=nobody, retry=RetryPolicy(retries=0)) as lofty:
            report = told(await failure(lofty.me(), ConnectionFailedError))
        assert HIDDEN in report, "no frame that has it was shown"
        assert WORD not in report

    @pytest.mark.parametrize("credential", [refreshed, granted])
    async def test_nor_does_what_is_sent_for_a_token(self, credential: Credential, nobody: str) -> None:
        async with aiohttp.ClientSession() as session:
            post = token_post(session, timeout=10, user_agent="tests/1")
            report = told(await failure(credential(nobody).fetch(post), ConnectionFailedError))
        assert HIDDEN in report, "no frame that has it was shown"
        assert WORD not in report


class TestSecret:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("token s3cret", "'token …'"),
            ("Bearer s3cret", "'Bearer …'"),
            ("s3cret", "'…'"),
            ("s3 cret", "'…'"),
            ("", "'…'"),
        ],
    )
    def test_its_repr_shows_the_scheme_and_its_text_is_whole(self, text: str, shown: str) -> None:
        secret = Secret(text)
        assert repr(secret) == repr(secret[:80]) == shown
        assert f"{secret}" == str(secret) == secret == text
        assert hash(secret) == hash(text)
        assert "s3cret" not in repr({"Authorization": secret}) + repr(CIMultiDict(Authorization=secret))

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda secret: pickle.loads(pickle.dumps(secret))])  # noqa: S301 - our own
    def test_a_copy_is_one_too(self, duplicate: Callable[[Secret], Secret]) -> None:
        assert repr(duplicate(Secret("token s3cret"))) == "'token …'"

    @pytest.mark.parametrize("auth", [ApiKey("k"), AccessToken("k"), RefreshToken("r", "id", token=Token("k"))])
    def test_a_credential_makes_its_header_once(self, auth: Auth) -> None:
        assert isinstance(auth.ready(), Secret)
        assert auth.ready() is auth.ready()

    async def test_aiohttp_sends_all_of_it(self) -> None:
        async with Sandbox(leads=1) as sandbox, aiohttp.ClientSession() as session:
            named = {"User-Agent": "tests/1", "Content-Type": "application/json"}
            headers = CIMultiDict(named, Authorization=Secret(f"token {sandbox.api_key}"))
            async with session.get(f"{sandbox.url}/v1.0/me", headers=headers) as answer:
                assert answer.status == 200
                assert sandbox.api_key not in repr(answer.request_info)
            (request,) = sandbox.requests
        assert request.headers["Authorization"] == f"token {sandbox.api_key}"
