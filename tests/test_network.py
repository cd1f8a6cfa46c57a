"""Which servers may be called, by which path, through which proxy, and whose certificates are trusted."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lofty_async import (
    UNSET,
    ApiKey,
    ClientCredentials,
    ConnectionFailedError,
    InvalidRequestError,
    LoftyClient,
    RetryPolicy,
)
from tests.raw_server import (
    ME,
    RawServer,
    answer,
    as_json,
    certificate,
    client_tls,
    needs_openssl,
    raw_server,
    server_tls,
)
from tests.redis_server import free_port

KEY = ApiKey("key")
AT_ONCE = RetryPolicy(base_delay=0)
VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
async def proxy() -> AsyncIterator[RawServer]:
    """A proxy that answers in the servers' place and refuses tunnels."""
    async with raw_server(reply=lambda head: answer(b"", status=502) if head.startswith("CONNECT") else ME) as running:
        yield running


class TestBaseUrl:
    @pytest.mark.parametrize(
        "url", ["http://localhost:1", "http://LOCALHOST", "http://127.0.0.1", "http://127.8.9.1:8080", "http://[::1]:1"]
    )
    def test_http_is_for_loopback(self, url: str) -> None:
        LoftyClient(KEY, base_url=url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.lofty.com",
            "http://128.0.0.1",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://sandbox",
            "http://[::2]",
            "http://0.0.0.0",
            "HTTP://api.lofty.com",
        ],
    )
    def test_http_to_elsewhere_has_to_be_allowed(self, url: str) -> None:
        with pytest.raises(InvalidRequestError, match="https://") as caught:
            LoftyClient(KEY, base_url=url)
        assert caught.value.argument == "base_url"
        with pytest.raises(InvalidRequestError):
            LoftyClient.from_env({"LOFTY_API_KEY": "key", "LOFTY_BASE_URL": url})
        LoftyClient(KEY, base_url=url, allow_http=True)

    def test_allowing_it_is_said_by_a_boolean(self) -> None:
        allowed: Any = "yes"
        with pytest.raises(InvalidRequestError, match="allow_http"):
            LoftyClient(KEY, allow_http=allowed)

    @pytest.mark.parametrize(
        ("path", "sent"),
        [
            ("", "/v1.0/me"),
            ("/", "/v1.0/me"),
            ("/a/", "/a/v1.0/me"),
            ("/a%2Fb", "/a%2Fb/v1.0/me"),
            ("/a%2fb%7e", "/a%2fb%7e/v1.0/me"),
            ("/a%20b", "/a%20b/v1.0/me"),
            ("/50%25", "/50%25/v1.0/me"),
            ("/a b", "/a%20b/v1.0/me"),
            ("/büro/größe", "/b%C3%BCro/gr%C3%B6%C3%9Fe/v1.0/me"),
            ("/a+b;c=d@e", "/a+b;c=d@e/v1.0/me"),
        ],
    )
    async def test_its_path_is_sent_as_it_was_given(self, path: str, sent: str) -> None:
        async with raw_server() as server, LoftyClient(KEY, base_url=server.url + path) as lofty:
            assert (await lofty.me()).id == 7
            assert server.heads[0].split()[1] == sent


class TestProxy:
    @pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
    async def test_of_the_environment(self, environment: pytest.MonkeyPatch, proxy: RawServer, name: str) -> None:
        environment.setenv(name, proxy.url)
        async with LoftyClient(KEY, base_url="http://lofty.test/x", allow_http=True) as lofty:
            assert (await lofty.me()).id == 7
        assert proxy.heads[0].splitlines()[0] == "GET http://lofty.test/x/v1.0/me HTTP/1.1"
        assert proxy.header("Authorization") == "token key"

    @pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
    async def test_https_is_sent_through_a_tunnel(
        self, environment: pytest.MonkeyPatch, proxy: RawServer, name: str
    ) -> None:
        environment.setenv(name, proxy.url)
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        async with LoftyClient(KEY, base_url="https://lofty.test", retry=AT_ONCE) as lofty:
            with pytest.raises(ConnectionFailedError, match="the proxy answers HTTP 502") as caught:
                await lofty.me()
        assert (caught.value.attempts, caught.value.sent) == (4, False)
        assert proxy.heads[0].splitlines()[0] == "CONNECT lofty.test:443 HTTP/1.1"
        assert all("key" not in head for head in proxy.heads)

    @pytest.mark.parametrize("status", [403, 407])
    async def test_one_that_refuses_is_asked_once(self, proxy: RawServer, status: int) -> None:
        proxy.reply = lambda _: answer(b"", status=status)
        async with LoftyClient(KEY, base_url="https://lofty.test", proxy=proxy.url) as lofty:
            with pytest.raises(ConnectionFailedError, match=f"HTTP {status}") as caught:
                await lofty.me()
        assert (caught.value.attempts, caught.value.temporary) == (1, False)

    async def test_a_create_that_no_tunnel_carried_is_not_ambiguous(self, proxy: RawServer, call_fields: Any) -> None:
        async with LoftyClient(KEY, base_url="https://lofty.test", proxy=proxy.url, retry=AT_ONCE) as lofty:
            with pytest.raises(ConnectionFailedError) as caught:
                await lofty.tasks.create(**call_fields)
        assert (caught.value.sent, len(proxy.heads)) == (False, 4)

    @pytest.mark.parametrize("excepted", ["lofty.test", ".test", "*", "lofty.test:80", "a.test, lofty.test"])
    async def test_of_the_environment_with_exceptions(
        self, environment: pytest.MonkeyPatch, proxy: RawServer, excepted: str
    ) -> None:
        environment.setenv("HTTP_PROXY", proxy.url)
        environment.setenv("NO_PROXY", excepted)
        async with LoftyClient(KEY, base_url="http://lofty.test", allow_http=True) as lofty:
            with pytest.raises(ConnectionFailedError):
                await lofty.with_options(retries=0).me()
        assert proxy.heads == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_never_for_loopback(self, environment: pytest.MonkeyPatch, proxy: RawServer, host: str) -> None:
        environment.setenv("HTTP_PROXY", proxy.url)
        async with raw_server() as server:
            url = f"http://{host}:{server.port}"
            for given in (UNSET, proxy.url):
                async with LoftyClient(KEY, base_url=url, proxy=given) as lofty:
                    assert (await lofty.me()).id == 7
        assert proxy.heads == []

    async def test_the_one_given_goes_before_that_of_the_environment(
        self, environment: pytest.MonkeyPatch, proxy: RawServer
    ) -> None:
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        environment.setenv("NO_PROXY", "*")
        async with LoftyClient(KEY, base_url="http://lofty.test", allow_http=True, proxy=proxy.url) as lofty:
            assert (await lofty.me()).id == 7

    async def test_none_is_none(self, environment: pytest.MonkeyPatch, proxy: RawServer) -> None:
        environment.setenv("HTTP_PROXY", proxy.url)
        async with LoftyClient(KEY, base_url="http://lofty.test", allow_http=True, proxy=None) as lofty:
            with pytest.raises(ConnectionFailedError):
                await lofty.with_options(retries=0).me()
        assert proxy.heads == []

    async def test_clients_that_share_a_limiter_may_have_different_ones(self, proxy: RawServer) -> None:
        async with raw_server() as other:
            one = LoftyClient(KEY, base_url="http://lofty.test", allow_http=True, proxy=proxy.url)
            limiter = one._caller.manager.limiter
            two = LoftyClient(KEY, base_url="http://lofty.test", allow_http=True, proxy=other.url, limiter=limiter)
            for lofty in (one, two, one, two):
                await lofty.me()
            for lofty in (one, two):
                await lofty.close()
            assert (len(proxy.heads), len(other.heads)) == (2, 2)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_its_credentials_are_sent_to_it_alone_and_shown_to_nobody(
        self, proxy: RawServer, scheme: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        proxy.reply = lambda head: answer(b"", status=407) if head.startswith("CONNECT") else ME
        url = proxy.url.replace("//", "//me:s3cr%40t@")
        async with LoftyClient(KEY, base_url=f"{scheme}://lofty.test", allow_http=True, proxy=url) as lofty:
            for _ in range(2):
                if scheme == "http":
                    await lofty.me()
                else:
                    with pytest.raises(ConnectionFailedError) as caught:
                        await lofty.me()
                    assert "s3cr" not in f"{caught.value}{caught.value!r}"
        for at in range(2):
            assert proxy.header("Proxy-Authorization", at) == "Basic " + b64encode(b"me:s3cr@t").decode()
        assert "s3cr" not in repr(lofty) + "".join(capsys.readouterr())

    async def test_no_netrc_is_read(self, environment: pytest.MonkeyPatch, proxy: RawServer, tmp_path: Path) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine lofty.test login a password b\nmachine 127.0.0.1 login a password b\n")
        netrc.chmod(0o600)
        environment.setenv("NETRC", str(netrc))
        environment.setenv("HTTP_PROXY", proxy.url)
        async with LoftyClient(KEY, base_url="http://lofty.test", allow_http=True) as lofty:
            await lofty.me()
        assert proxy.header("Authorization") == "token key"
        assert proxy.header("Proxy-Authorization") is None

    async def test_token_endpoints_are_reached_through_it_too(
        self, environment: pytest.MonkeyPatch, proxy: RawServer
    ) -> None:
        environment.setenv("HTTPS_PROXY", proxy.url)
        auth = ClientCredentials("id", "secret", "customer", token_url="https://lofty.test/token")
        async with raw_server() as server, LoftyClient(auth, base_url=server.url) as lofty:
            with pytest.raises(ConnectionFailedError, match="proxy") as caught:
                await lofty.with_options(retries=0).me()
        assert not caught.value.sent
        assert proxy.heads[0].splitlines()[0] == "CONNECT lofty.test:443 HTTP/1.1"

    async def test_in_a_session_handed_in_too(self, proxy: RawServer) -> None:
        async with aiohttp.ClientSession() as session:
            options: dict[str, Any] = {"base_url": "http://lofty.test", "allow_http": True, "session": session}
            async with LoftyClient(KEY, proxy=proxy.url, **options) as lofty:
                assert (await lofty.me()).id == 7

    @pytest.mark.parametrize("url", ["socks5://me:s3cret@proxy:1080", "ftp://me:s3cret@proxy", "http://", "", 5])
    def test_what_is_none_is_refused_and_not_shown(self, url: Any) -> None:
        with pytest.raises(InvalidRequestError, match="proxy") as caught:
            LoftyClient(KEY, proxy=url)
        assert caught.value.argument == "proxy"
        assert "s3cret" not in str(caught.value)

    async def test_one_of_the_environment_that_is_none_is_refused_and_not_shown(
        self, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("HTTPS_PROXY", "socks5://me:s3cret@proxy:1080")
        async with LoftyClient(KEY) as lofty:
            with pytest.raises(InvalidRequestError, match="HTTPS_PROXY") as caught:
                await lofty.me()
            assert "s3cret" not in str(caught.value)
            assert lofty.rate_limit.in_flight == 0

    async def test_one_without_a_scheme_is_taken_for_http(
        self, environment: pytest.MonkeyPatch, proxy: RawServer
    ) -> None:
        environment.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
        async with LoftyClient(KEY, base_url="http://lofty.test", allow_http=True) as lofty:
            assert (await lofty.me()).id == 7


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@needs_openssl
class TestCertificates:
    async def test_one_that_is_not_trusted_is_told_once(self, pem: Path, call_fields: Any) -> None:
        async with raw_server(tls=server_tls(pem)) as server, LoftyClient(KEY, base_url=server.url) as lofty:
            for call in (lofty.me(), lofty.tasks.create(**call_fields)):
                with pytest.raises(ConnectionFailedError, match="certificate") as caught:
                    await call
                assert (caught.value.attempts, caught.value.sent, caught.value.temporary) == (1, False, False)
            assert server.heads == []

    async def test_one_that_a_context_trusts(self, pem: Path, call_fields: Any) -> None:
        tls = client_tls(pem)
        async with raw_server(tls=server_tls(pem)) as server:
            async with LoftyClient(KEY, base_url=server.url, ssl=tls) as lofty:
                assert (await lofty.me()).id == 7
                assert await lofty.tasks.create(**call_fields) == 9
            async with (
                aiohttp.ClientSession() as session,
                LoftyClient(KEY, base_url=server.url, ssl=tls, session=session) as lofty,
            ):
                assert (await lofty.me()).id == 7

    async def test_a_context_is_its_clients_alone(self, pem: Path) -> None:
        async with raw_server(tls=server_tls(pem)) as server:
            trusting = LoftyClient(KEY, base_url=server.url, ssl=client_tls(pem))
            other = LoftyClient(KEY, base_url=server.url, limiter=trusting._caller.manager.limiter)
            assert (await trusting.me()).id == 7
            with pytest.raises(ConnectionFailedError, match="certificate"):
                await other.me()
            await trusting.close()
            await other.close()

    async def test_that_of_a_session_handed_in_is_used(self, pem: Path) -> None:
        connector = aiohttp.TCPConnector(ssl=client_tls(pem))
        async with (
            raw_server(tls=server_tls(pem)) as server,
            aiohttp.ClientSession(connector=connector) as session,
            LoftyClient(KEY, base_url=server.url, session=session) as lofty,
        ):
            assert (await lofty.me()).id == 7

    async def test_token_endpoints_are_trusted_by_the_same(self, pem: Path, caplog: pytest.LogCaptureFixture) -> None:
        def reply(head: str) -> bytes:
            return ME if "/me" in head else as_json({"access_token": "a", "expires_in": 60})

        async with raw_server(tls=server_tls(pem), reply=reply) as server:
            auth = ClientCredentials("id", "secret", "customer", token_url=f"{server.url}/token")
            async with LoftyClient(auth, base_url=server.url, ssl=client_tls(pem)) as lofty:
                assert (await lofty.me()).id == 7
            auth = ClientCredentials("id", "secret", "customer", token_url=f"{server.url}/token")
            async with LoftyClient(auth, base_url=server.url) as lofty:
                with pytest.raises(ConnectionFailedError, match="certificate") as caught:
                    await lofty.me()
                assert not caught.value.temporary
            assert caplog.text.count("could not be renewed") == 1, "it is not tried again"

    async def test_a_server_whose_certificate_names_another_host(self, pem: Path) -> None:
        class Resolver(aiohttp.ThreadedResolver):
            async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:  # noqa: ARG002
                return await super().resolve("127.0.0.1", port, family)

        connector = aiohttp.TCPConnector(resolver=Resolver())
        async with (
            raw_server(tls=server_tls(pem)) as server,
            aiohttp.ClientSession(connector=connector) as session,
            LoftyClient(
                KEY, base_url=f"https://lofty.test:{server.port}", ssl=client_tls(pem), session=session
            ) as lofty,
        ):
            with pytest.raises(ConnectionFailedError, match=r"lofty\.test") as caught:
                await lofty.me()
            assert caught.value.attempts == 1

    @pytest.mark.parametrize("tls", [True, False, "ca.pem"])
    def test_what_is_no_context_is_refused(self, tls: Any) -> None:
        with pytest.raises(InvalidRequestError, match="ssl must be of type SSLContext"):
            LoftyClient(KEY, ssl=tls)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_refused_connection_says_where_and_why_and_nothing_of_the_context(host: str) -> None:
    port = free_port()
    url = f"https://{host}:{port}"
    context = ssl.create_default_context()
    async with LoftyClient(KEY, base_url=url, retry=RetryPolicy(retries=0), ssl=context) as lofty:
        with pytest.raises(ConnectionFailedError) as caught:
            await lofty.me()
    assert f"no connection: cannot connect to {host}:{port}: " in str(caught.value)
    assert "SSLContext" not in str(caught.value)


async def test_a_proxy_that_refuses_the_connection_is_named() -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    async with LoftyClient(KEY, proxy=proxy, retry=RetryPolicy(retries=0)) as lofty:
        with pytest.raises(ConnectionFailedError, match=f"cannot connect to the proxy {proxy[7:]}: "):
            await lofty.me()


async def test_a_handshake_that_fails_otherwise_is_tried_again() -> None:
    hands = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hands
        hands += 1
        await reader.read(1)
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        context = ssl.create_default_context()
        async with LoftyClient(KEY, base_url=url, retry=AT_ONCE, ssl=context) as lofty:
            with pytest.raises(ConnectionFailedError) as caught:
                await lofty.me()
    assert (caught.value.attempts, hands) == (4, 4)
