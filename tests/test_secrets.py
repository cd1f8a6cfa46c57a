"""The credential is in the `Authorization` header and nowhere else."""

import asyncio
import json
import logging
import os
import pickle
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import click
import pytest
from attrs import define, field
from yarl import URL

from lofty_async import (
    AccessToken,
    ApiKey,
    AuthorizationCode,
    ClientCredentials,
    InvalidRequestError,
    LoftyClient,
    LoftyError,
    PostgresStore,
    RedisStore,
    RefreshToken,
    RetryPolicy,
)
from lofty_async._session import token_post
from lofty_async.auth import Auth, from_environment
from lofty_async.cli.login import code_in
from lofty_async.mirror import PostgresDatabase
from lofty_async.oauth import FileTokenStore, Pkce, Token, read_redirect
from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.conftest import Hold, OpenClient

SECRET = "sEcReT-0f3c9a71d2"

AT = f"user:{SECRET}@api.example"
"""A host with a password before it."""

TROUBLE: dict[str, faults.Fault] = {
    "dropped": faults.DropAfter(),
    "truncated": faults.TruncatedBody(),
    "not JSON": faults.NotJson(),
    "500": faults.Reply(),
    "401": faults.Reply(401, {"code": "BAD_CREDENTIALS", "message": "Bad credentials"}),
    "wrong scheme": faults.Reply(400, {"code": 200058, "message": "wrong"}),
    "403": faults.Reply(403, "<h1>Forbidden</h1>"),
    "404": faults.Reply(404, {}),
    "429": faults.TooManyRequests({"X-RateLimit-Limit": "9", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "150"}),
    "bad record": faults.Reply(200, {"id": "x"}),
}


@define
class Heard:
    """Everything that was said anywhere."""

    texts: list[str] = field(factory=list[str])

    def note(self, *things: object) -> None:
        for thing in things:
            self.texts += [str(thing), repr(thing)]

    def note_error(self, error: BaseException | None) -> None:
        """The error, what it is made of, and all that it came from."""
        while error is not None:
            self.note(error, error.args, vars(error))
            self.texts += traceback.format_exception(error)
            if isinstance(error, LoftyError):
                self.texts.append(pickle.dumps(error).decode("latin-1"))
                self.note(pickle.loads(pickle.dumps(error)))  # noqa: S301 - our own bytes
            error = error.__cause__ or error.__context__


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Heard]:
    """Listens at every logger, at every level, and fails where the secret was said."""
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    heard = Heard()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield heard
    heard.note(*(warning.message for warning in warned))
    heard.texts.append(caplog.text)
    heard.note(*(record.__dict__ for record in caplog.records))
    assert len(heard.texts) > 4, "nothing was heard at all"
    assert not [text for text in heard.texts if SECRET in text]


@pytest.fixture(autouse=True)
def known(sandbox: Sandbox) -> None:
    sandbox.credentials.keys.add(SECRET)


async def outcome(call: Awaitable[object], heard: Heard) -> BaseException | None:
    try:
        heard.note(await call)
    except LoftyError as error:
        heard.note_error(error)
        return error
    return None


@pytest.mark.parametrize("name", TROUBLE)
async def test_in_trouble(
    sandbox: Sandbox, open_client: "OpenClient", heard: Heard, call_fields: Any, name: str
) -> None:
    asyncio.get_running_loop().set_debug(True)
    lofty = open_client(ApiKey(SECRET)).with_options(retries=1, max_wait=0.1)
    heard.note(lofty, lofty.tasks, lofty.stats, lofty.rate_limit, vars(lofty), lofty._caller)
    assert await outcome(lofty.me(), heard) is None
    sandbox.faults.add(kind=TROUBLE[name], times=None)
    calls: list[Callable[[], Awaitable[object]]] = [
        lofty.me,
        lambda: lofty.tasks.create(**call_fields),
        lambda: lofty.tasks.create(**call_fields, verify=True),
        lambda: lofty.tasks.mine().collect(),
        lambda: lofty.webhooks.ensure(10, "https://example.com/hook"),
    ]
    errors = [await outcome(call(), heard) for call in calls]
    assert errors[0] is not None
    heard.note(*(request.path for request in sandbox.requests), *(request.query for request in sandbox.requests))
    heard.note(*(request.body for request in sandbox.requests))
    assert all(SECRET in request.headers["Authorization"] for request in sandbox.requests)


async def test_without_a_server(sandbox: Sandbox, open_client: "OpenClient", heard: Heard) -> None:
    lofty = open_client(ApiKey(SECRET))
    await sandbox.close()
    assert await outcome(lofty.me(), heard) is not None


async def test_in_a_timeout_and_in_closing(
    sandbox: Sandbox, open_client: "OpenClient", heard: Heard, hold: "Hold"
) -> None:
    sandbox.faults.add(kind=hold, times=None)
    lofty = open_client(ApiKey(SECRET))
    assert await outcome(lofty.with_options(timeout=0.1, retries=0).me(), heard) is not None
    call = asyncio.create_task(outcome(lofty.me(), heard))
    await hold.reached(2)
    await lofty.close()
    assert await call is not None
    assert await outcome(lofty.me(), heard) is not None


async def test_where_the_server_speaks_no_http(open_client: "OpenClient", heard: Heard) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 abc\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await outcome(open_client(ApiKey(SECRET), base_url=url).me(), heard) is not None


async def test_when_dropped_open(sandbox: Sandbox, heard: Heard, until: Any) -> None:
    lofty = LoftyClient(ApiKey(SECRET), base_url=sandbox.url)
    await lofty.me()
    own = lofty._caller.manager.session._own.session
    assert own
    heard.note(lofty, own)
    del lofty
    await until(lambda: own.closed)  # by the loop, which it was left to


@pytest.mark.parametrize("argument", ["auth", "base_url", "environment"])
def test_when_it_is_put_in_the_wrong_place(heard: Heard, argument: str) -> None:
    wrong: Any = SECRET
    ways: dict[str, Callable[[], object]] = {
        "auth": lambda: LoftyClient(wrong),
        "base_url": lambda: LoftyClient(ApiKey("key"), base_url=f"https://{SECRET}@api.lofty.com"),
        "environment": lambda: LoftyClient.from_env({"LOFTY_CLIENT_SECRET": SECRET}),
    }
    with pytest.raises(LoftyError) as caught:
        ways[argument]()
    heard.note(caught.value, caught.value.args)


@pytest.mark.parametrize(
    "auth",
    [
        ApiKey(SECRET),
        AccessToken(SECRET),
        ClientCredentials("client", SECRET, SECRET),
        RefreshToken(SECRET, "client", SECRET),
    ],
)
def test_in_the_repr_of_a_credential(heard: Heard, auth: Auth) -> None:
    heard.note(auth, LoftyClient(auth), [auth], {"auth": auth})


@pytest.mark.parametrize("fault", [faults.Reply(401, {"error": "invalid_client"}), faults.Reply(), faults.DropAfter()])
async def test_when_a_token_is_refused(
    sandbox: Sandbox, open_client: "OpenClient", heard: Heard, fault: faults.Fault
) -> None:
    sandbox.faults.add("POST /oauth/token", fault, times=None)
    auth = ClientCredentials(sandbox.oauth.client_id, SECRET, SECRET, token_url=f"{sandbox.url}/oauth/token")
    assert await outcome(open_client(auth).me(), heard) is not None


def frames(error: BaseException | None) -> list[str]:
    """What reports of exceptions show of the package's own frames, and of those below, with their locals."""
    shown: list[str] = []
    while error:
        shown += traceback.format_exception_only(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown += [f"{frame.f_code.co_qualname}: {name} = {_shown(it)}" for name, it in frame.f_locals.items()]
        error = error.__cause__ or error.__context__
    return shown


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - an object that was never finished
        return f"<{type(error).__name__}>"


WORD = "0f3c9a71d2"
PASTED = f"{WORD} {SECRET}"
"""Two words, which no header can carry."""

ECHO = faults.Reply(200, {"refresh_token": SECRET, "token": SECRET, "expires_in": SECRET})


HOOK = f"https://example.com/{SECRET}"
UNREADABLE = faults.Reply(200, {"subscribeId": "none", "callbackUrl": HOOK})


class Store:
    async def load(self) -> None:
        """Holds nothing."""

    async def save(self, token: Token) -> None:
        """Keeps nothing."""


def renewable(sandbox: Sandbox, **options: Any) -> RefreshToken:
    return RefreshToken(SECRET, sandbox.oauth.client_id, SECRET, token_url=f"{sandbox.url}/oauth/token", **options)


def coded(sandbox: Sandbox) -> AuthorizationCode:
    return AuthorizationCode(sandbox.oauth.client_id, SECRET, "https://app.example/back", token_url=sandbox.url)


async def written(path: Path) -> FileTokenStore:
    path.write_text(json.dumps({"access_token": PASTED, "refresh_token": SECRET}))
    path.chmod(0o600)
    return FileTokenStore(path)


async def posted(sandbox: Sandbox, auth: Auth) -> None:
    sandbox.faults.add("POST /oauth/token", ECHO)
    async with LoftyClient(auth, base_url=sandbox.url, retry=RetryPolicy(retries=0)) as lofty:
        await lofty.me()


async def exchanged(sandbox: Sandbox, fault: faults.Fault | None) -> None:
    if fault:
        sandbox.faults.add("POST /oauth/token", fault)

    async def post(_: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            send = token_post(session, timeout=5, user_agent="tests/1")
            return await send(f"{sandbox.url}/oauth/token", form, basic)

    await coded(sandbox).exchange(SECRET, post)


async def subscribed(sandbox: Sandbox, fault: faults.Fault | None, *, ensure: bool = False) -> None:
    if fault:
        sandbox.faults.add("POST /v1.0/webhook", fault)
    address = f"https://example.com/{SECRET}" if fault else f"http://example.com/{SECRET}"
    async with LoftyClient(sandbox.auth, base_url=sandbox.url, retry=RetryPolicy(base_delay=0)) as lofty:
        await (lofty.webhooks.ensure if ensure else lofty.webhooks.create)(10, address)


def client(**options: Any) -> LoftyClient:
    return LoftyClient(ApiKey("key"), **options)


def of_environment(**variables: str) -> LoftyClient:
    return LoftyClient.from_env({"LOFTY_API_KEY": "key"} | variables)


async def called(**options: Any) -> None:
    async with client(base_url="https://api.example", **options) as lofty:
        await lofty.me()


WAYS: dict[str, Callable[[Sandbox, Path], Any]] = {
    "a base URL": lambda *_: client(base_url=f"https://{AT}"),
    "a base URL of another kind": lambda *_: client(base_url=URL(f"https://{AT}/path")),
    "a base URL with a bad port": lambda *_: client(base_url=f"https://{AT}:port"),
    "a base URL without a scheme": lambda *_: client(base_url=AT),
    "a base URL by a scheme of no use": lambda *_: client(base_url=f"ftp://{AT}"),
    "a base URL among options": lambda *_: LoftyClient.from_env({"LOFTY_API_KEY": "k"}, base_url=f"https://{AT}"),
    "a base URL in the environment": lambda *_: of_environment(LOFTY_BASE_URL=f"https://{AT}"),
    "a base URL for tokens too": lambda *_: LoftyClient.from_env(
        {
            "LOFTY_BASE_URL": f"https://{AT}",
            "LOFTY_CLIENT_ID": "i",
            "LOFTY_CLIENT_SECRET": "s",
            "LOFTY_CUSTOMER_KEY": "k",
        }
    ),
    "a proxy with a bad port": lambda *_: client(proxy=f"http://{AT}:port"),
    "a proxy of no use": lambda *_: client(proxy=URL(f"ftp://{AT}")),
    "a proxy of no use in the environment": lambda *_: called(),
    "a token URL": lambda *_: RefreshToken("r", "id", "s", token_url=f"https://{AT}/token"),
    "a token URL without a scheme": lambda *_: ClientCredentials("id", "s", "k", token_url=AT),
    "a token URL for the environment": lambda *_: LoftyClient.from_env(
        {"LOFTY_CLIENT_ID": "i", "LOFTY_CLIENT_SECRET": "s", "LOFTY_CUSTOMER_KEY": "k"}, token_url=f"https://{AT}/token"
    ),
    "a token URL for a store": lambda _, path: _restored(path),
    "a page to agree on": lambda *_: AuthorizationCode("id", "s", "https://a.example", authorize_page=f"https://{AT}"),
    "a redirect URI": lambda *_: AuthorizationCode("id", "s", f"https://{AT}/back#fragment"),
    "a key": lambda *_: ApiKey(PASTED),
    "a key by name": lambda *_: ApiKey(key=PASTED),
    "a key in bytes": lambda *_: ApiKey(SECRET.encode()),  # type: ignore[arg-type] # a slip
    "a key that was not wrapped": lambda *_: LoftyClient(SECRET),  # type: ignore[arg-type] # a slip
    "a token": lambda *_: AccessToken(PASTED),
    "a client secret": lambda *_: ClientCredentials("id", PASTED, SECRET),
    "a customer key": lambda *_: ClientCredentials("id", client_secret=SECRET, customer_key=PASTED),
    "another argument": lambda *_: ClientCredentials("", SECRET, SECRET),
    "a refresh token": lambda *_: RefreshToken(PASTED, "id", SECRET),
    "a token's parts": lambda *_: Token(SECRET, PASTED),
    "a login's secret": lambda *_: AuthorizationCode("id", PASTED, "https://app.example/back"),
    "a verifier": lambda *_: Pkce(SECRET),
    "no whole credential": lambda *_: from_environment(),
    "no whole credential for a client": lambda *_: LoftyClient.from_env(),
    "a bad key in the environment": lambda *_: from_environment({"LOFTY_API_KEY": os.environ["LOFTY_TEST_PASTED"]}),
    "a bad key for a client": lambda *_: LoftyClient.from_env({"LOFTY_API_KEY": os.environ["LOFTY_TEST_PASTED"]}),
    "a Redis address": lambda *_: RedisStore.from_url(f"nonsense://:{SECRET}@localhost", "app"),
    "a Redis address with a bad port": lambda *_: RedisStore.from_url(f"redis://:{SECRET}@localhost:port", "app"),
    "a PostgreSQL address": lambda *_: PostgresStore("app", f"nonsense://:{SECRET}@localhost"),
    "a PostgreSQL address with a bad port": lambda *_: PostgresStore("app", f"postgresql://:{SECRET}@localhost:port"),
    "a PostgreSQL that does not answer": lambda *_: PostgresStore(
        "app", f"postgresql://me:{SECRET}@127.0.0.1:1/db"
    ).snapshot(),
    "a Redis that refuses the password": lambda *_: asked_of_redis(b"-WRONGPASS invalid username-password pair\r\n"),
    "a Redis that hangs up": lambda *_: asked_of_redis(b""),
    "a Redis that does not answer": lambda *_: asked_of_redis(None),
    "a redirect without state": lambda *_: read_redirect(f"https://app.example/back?code={SECRET}", "state"),
    "a redirect with two codes": lambda *_: read_redirect(f"/back?code={SECRET}&code=b&state={SECRET}", SECRET),
    "a redirect that is none": lambda *_: read_redirect(f"http://[::1?code={SECRET}", SECRET),
    "a pasted answer": lambda *_: code_in(f"lang={SECRET}&state={SECRET}", SECRET),
    "a store without a login": lambda *_: RefreshToken.from_store(Store(), "id", SECRET),
    "an answer without a token": lambda sandbox, _: posted(sandbox, renewable(sandbox)),
    "an answer without a token, for a customer": lambda sandbox, _: posted(
        sandbox, ClientCredentials("id", SECRET, SECRET, token_url=f"{sandbox.url}/oauth/token")
    ),
    "an answer without a token, with a store": lambda sandbox, _: posted(sandbox, renewable(sandbox, store=Store())),
    "a code that is refused": lambda sandbox, _: exchanged(sandbox, None),
    "a code whose answer is none": lambda sandbox, _: exchanged(sandbox, ECHO),
    "a code whose answer never comes": lambda sandbox, _: exchanged(sandbox, faults.DropAfter()),
    "a token file": lambda _, path: _loaded(path),
    "a webhook's address that is refused here": lambda sandbox, _: subscribed(sandbox, None),
    "a webhook that is refused": lambda sandbox, _: subscribed(sandbox, faults.Reply(400, {"code": 20012})),
    "a webhook whose answer is lost": lambda sandbox, _: subscribed(sandbox, faults.DropAfter()),
    "a webhook whose answer cannot be read": lambda sandbox, _: subscribed(sandbox, UNREADABLE),
    "a webhook whose answer cannot be read, ensured": lambda sandbox, _: subscribed(sandbox, UNREADABLE, ensure=True),
    "a webhook whose answer is no subscription": lambda sandbox, _: subscribed(sandbox, faults.Reply(200, [HOOK])),
    "a webhook that fails, ensured": lambda sandbox, _: subscribed(
        sandbox, faults.Reply(400, {"code": 20012}), ensure=True
    ),
}


async def asked_of_redis(reply: bytes | None) -> None:
    """Ask a server that gives this reply to the password, `None` for none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.read(1)
            writer.write(reply or b"")
            if reply is None:
                await reader.read()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await RedisStore.from_url(f"redis://:{SECRET}@127.0.0.1:{port}", "app").snapshot()


async def _restored(path: Path) -> object:
    store = FileTokenStore(path)
    await store.save(Token("a", "r"))
    return await RefreshToken.from_store(store, "id", "s", token_url=f"https://{AT}/token")


async def _loaded(path: Path) -> object:
    return await (await written(path)).load()


@pytest.mark.parametrize("way", WAYS)
async def test_no_frame_shows_a_secret_however_it_came_in(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for name in [name for name in os.environ if name.startswith("LOFTY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOFTY_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("DATABASE_PASSWORD", SECRET)
    monkeypatch.setenv("LOFTY_TEST_PASTED", PASTED)
    monkeypatch.setenv("HTTPS_PROXY", f"nonsense://{AT}")
    monkeypatch.setattr("lofty_async.ratelimit.redis.CONNECT_TIMEOUT", 0.05)
    with pytest.raises((LoftyError, click.ClickException)) as caught:  # noqa: PT012 - some are awaited
        outcome = WAYS[way](sandbox, tmp_path / "token.json")
        if isawaitable(outcome):
            await outcome
    report = frames(caught.value)
    assert len(report) > 2, "no frame was shown"
    assert not [line for line in report if SECRET in line or WORD in line]


@pytest.mark.parametrize(
    "way",
    [
        lambda dsn: PostgresDatabase(dsn, account="acme").__aenter__(),
        lambda dsn: pytest.importorskip("lofty_async.workers").Fleet(dsn, lambda _: client()).status(),
    ],
)
@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("127.0.0.1:1/db", "Connection refused"),
        ("db..example/db", "label empty"),
        ("127.0.0.1:1/db?connect_timeout=soon", "connect_timeout"),
    ],
)
async def test_a_database_that_cannot_be_reached_shows_no_password(
    way: Callable[[str], Awaitable[object]], server: str, says: str
) -> None:
    from psycopg import Error  # noqa: PLC0415 - an extra

    with pytest.raises(Error, match=says) as caught:
        await way(f"postgresql://me:{SECRET}@{server}")
    report = [*frames(caught.value), repr(vars(caught.value))]
    assert not [line for line in report if SECRET in line]


@pytest.mark.parametrize(
    ("address", "says"),
    [(f"https://{AT}", "credentials"), (f"https://{SECRET}@api.example", "credentials"), (AT, "https://")],
)
def test_an_address_that_carries_credentials_is_refused_and_not_shown(address: str, says: str) -> None:
    ways: list[tuple[str, Callable[[], object]]] = [
        ("base_url", lambda: client(base_url=address)),
        ("token_url", lambda: RefreshToken("r", "id", "s", token_url=address)),
        ("refresh_url", lambda: AuthorizationCode("id", "s", "https://a.example", refresh_url=address)),
    ]
    for argument, way in ways:
        with pytest.raises(InvalidRequestError, match=f"{argument}.* {says}") as caught:
            way()
        assert caught.value.argument == argument
        assert SECRET not in f"{caught.value}{caught.value!r}{caught.value.args}"
