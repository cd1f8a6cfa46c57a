"""The credential is in the `Authorization` header and nowhere else."""

import asyncio
import logging
import pickle
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from lofty_async import AccessToken, ApiKey, ClientCredentials, LoftyClient, LoftyError, RefreshToken
from lofty_async.auth import Auth
from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.conftest import Hold, OpenClient

SECRET = "sEcReT-0f3c9a71d2"

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
    own = lofty._caller.dispatcher.session._own.session
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
