"""On uvloop, which production servers run: lists, deadlines and closing as on asyncio's own loop."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from lofty_async import ClientClosedError, LoftyClient, RequestTimeoutError
from lofty_async.sandbox import Sandbox
from tests.conftest import Hold
from tests.leaks import others

if sys.platform == "win32":
    pytest.skip("there is no uvloop for Windows", allow_module_level=True)
uvloop = pytest.importorskip("uvloop")

Use = Callable[[LoftyClient, Sandbox, Hold], Awaitable[None]]


async def list_tasks(lofty: LoftyClient, sandbox: Sandbox, hold: Hold) -> None:  # noqa: ARG001 - nothing is held up
    ids = [task.id async for task in lofty.tasks.mine(page_size=7, prefetch=2)]
    assert len(ids) == len(set(ids)) > 7


async def run_into_a_deadline(lofty: LoftyClient, sandbox: Sandbox, hold: Hold) -> None:
    sandbox.faults.add("GET /v1.0/me", hold)
    with pytest.raises(RequestTimeoutError, match=r"0\.2 s"):
        await lofty.with_options(timeout=0.2, retries=0).me()
    hold.gate.set()


async def close_while_a_call_is_under_way(lofty: LoftyClient, sandbox: Sandbox, hold: Hold) -> None:
    sandbox.faults.add("GET /v1.0/me", hold)
    call = asyncio.ensure_future(lofty.me())
    await hold.reached()
    await lofty.close()
    with pytest.raises(ClientClosedError):
        await call
    hold.gate.set()


@pytest.mark.parametrize("use", [list_tasks, run_into_a_deadline, close_while_a_call_is_under_way])
def test_a_client_on_uvloop(use: Use) -> None:
    async def main() -> None:
        async with Sandbox(leads=3) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
            await use(lofty, sandbox, Hold())
            assert lofty.rate_limit.in_flight == 0
        assert others() == set()

    uvloop.run(main())
