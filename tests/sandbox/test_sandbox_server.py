import asyncio
import math
import socket
import sys
import threading
from contextlib import closing

import aiohttp
import pytest

from lofty_async import sandbox as package
from lofty_async.sandbox import Sandbox


async def whoami(sandbox: Sandbox) -> int:
    headers = {"Authorization": sandbox.auth.ready(), "Content-Type": "application/json", "User-Agent": "t/1"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(sandbox.url + "/v1.0/me") as answer,
    ):
        return answer.status


async def test_starts_and_closes() -> None:
    sandbox = Sandbox(1)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = sandbox.url
    await sandbox.start()
    assert await whoami(sandbox) == 200
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = sandbox.url


async def test_starts_again_on_its_port_with_its_data() -> None:
    sandbox = Sandbox(1)
    async with sandbox:
        sandbox.state.add_lead()
        port = sandbox.port
    async with sandbox:
        assert (sandbox.port, len(sandbox.state.leads)) == (port, 2)
        assert await whoami(sandbox) == 200


async def test_a_port_that_is_taken() -> None:
    async with Sandbox(1) as sandbox:
        second = Sandbox(1, port=sandbox.port)
        with pytest.raises(OSError, match=r"in use|Address"):
            await second.start()
        with pytest.raises(RuntimeError):
            _ = second.url


def has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address_stands_in_brackets() -> None:
    async with Sandbox(1, host="::1") as sandbox:
        assert sandbox.url == f"http://[::1]:{sandbox.port}"
        assert await whoami(sandbox) == 200


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("leads", -1),
        ("tasks_per_lead", -1),
        ("appointments_per_lead", -1),
        ("limit", 0),
        ("limit", -3),
        ("window", 0),
        ("window", -1.0),
        ("window", math.nan),
        ("window", math.inf),
        ("per_second_limit", 0),
        ("endpoint_limits", {"GET /v2.0/calendar": 0}),
        ("latency", -1.0),
        ("latency", math.inf),
        ("read_lag", -0.1),
        ("token_lifetime", -1.0),
        ("most_webhooks", -1),
        ("keep_requests", -1),
        ("port", -1),
        ("port", 65536),
    ],
)
def test_an_argument_out_of_its_range_is_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"'{argument}' must be "):
        Sandbox(**{argument: value})  # type: ignore[arg-type] # any of them


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("endpoint_limits", {"GET /v2.0/calender": 1}),
        ("leads", 2.5),
        ("limit", True),
        ("seed", 1.5),
    ],
)
def test_an_argument_that_would_have_no_effect_is_named(argument: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=argument):
        Sandbox(**{argument: value})  # type: ignore[arg-type] # any of them


@pytest.mark.parametrize("argument", ["leads", "limit", "window", "allow_http", "keep_requests"])
def test_a_change_that_would_have_no_effect_is_refused(argument: str) -> None:
    sandbox = Sandbox(1)
    with pytest.raises(AttributeError, match=rf"pass it to Sandbox\({argument}="):
        setattr(sandbox, argument, getattr(sandbox, argument))


async def test_closing_that_is_cancelled_frees_the_port() -> None:
    sandbox = await Sandbox(1).start()
    url = sandbox.url
    closing_ = asyncio.create_task(sandbox.close())
    await asyncio.sleep(0)
    closing_.cancel()
    await asyncio.wait([closing_])
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)


def test_the_repr_does_not_grow_with_the_data() -> None:
    sandbox = Sandbox(500, 5)
    assert len(list(sandbox.state.entries)) == 3000
    sandbox.state.sorted_entries(lambda entry: (0.0, entry.id))
    assert len(repr(sandbox)) + len(repr(sandbox.state)) < 3000


async def test_many_keys_share_one_window() -> None:
    async with Sandbox(1, limit=1) as sandbox:
        sandbox.credentials.keys.add("another-account")
        assert await whoami(sandbox) == 200
        headers = {"Authorization": "token another-account", "User-Agent": "t/1"}
        async with aiohttp.ClientSession(headers=headers) as session:
            assert (await session.get(sandbox.url + "/v1.0/me")).status == 429


def test_in_a_thread_of_its_own() -> None:
    with Sandbox.in_thread(2, 1, limit=7) as sandbox:
        assert asyncio.run(whoami(sandbox)) == 200
        assert (sandbox.served, len(sandbox.state.leads)) == (1, 2)
    assert "lofty-sandbox" not in {thread.name for thread in threading.enumerate()}


def test_a_thread_that_cannot_start_leaves_nothing() -> None:
    with (
        Sandbox.in_thread() as sandbox,
        pytest.raises(OSError, match=r"in use|Address"),
        Sandbox.in_thread(port=sandbox.port),
    ):
        pass
    assert "lofty-sandbox" not in {thread.name for thread in threading.enumerate()}


def test_a_thread_takes_no_other_arguments_for_a_type_checker_either() -> None:
    with pytest.raises(TypeError, match="foo"), Sandbox.in_thread(leads=3, foo=1):  # type: ignore[call-arg] # so it is
        pass


def test_the_names_load_on_demand() -> None:
    assert package.faults.DropAfter is not None
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


async def test_runs_as_a_program() -> None:
    arguments = ["--port", "0", "--leads", "3", "--limit", "9", "--window", "5", "--reset-style", "ms_left"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lofty_async.sandbox", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        url = (await process.stdout.readline()).decode().split()[-1]
        key = (await process.stdout.readline()).decode().split()[-1]
        headers = {"Authorization": f"token {key}", "Content-Type": "application/json", "User-Agent": "t/1"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(url + "/v1.0/leads") as answer,
        ):
            assert (await answer.json())["_metadata"]["total"] == 3
            assert answer.headers["X-RateLimit-Limit"] == "9"
            assert int(answer.headers["X-RateLimit-Reset"]) <= 5000
        process.terminate()
        assert await process.wait() == 0
