"""What calls log: a line per attempt, retry and long wait, without a secret; and `LOFTY_LOG`."""

import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from lofty_async import LoftyClient, RetryPolicy
from lofty_async.sandbox import Sandbox, faults
from tests.virtual import exhausted, run

ME = "GET /v1.0/me"


def lines(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == f"lofty_async.{name}"]


def test_a_line_per_attempt_retry_and_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Twelve requests, two of them retries, and a wait for the next window."""

    async def main() -> str:
        async with Sandbox(1, 1, limit=2000) as sandbox:
            sandbox.faults.add(ME, faults.Reply(503, "Anna"), times=2)
            limiter, policy = exhausted(1000), RetryPolicy(base_delay=0)
            async with LoftyClient(sandbox.auth, base_url=sandbox.url, limiter=limiter, retry=policy) as lofty:
                for _ in range(8):
                    await lofty.me()
                lead_id = sandbox.state.leads.ids()[0]
                await lofty.tasks.list(lead_id).collect()
                await lofty.request("GET", "/v2.0/tasks", params={"leadId": lead_id})
            assert lofty.stats.requests == 12
            return str(sandbox.auth.ready())

    caplog.set_level(logging.DEBUG, "lofty_async")
    header = run(main())
    http, retry, waits = (lines(caplog, name) for name in ("http", "retry", "ratelimit"))
    assert (len(http), len(retry)) == (12, 2)
    assert "the application's rate limit is 2000 requests per window" in "\n".join(waits)
    assert [line.partition(": ")[0] for line in http] == [ME] * 10 + ["GET /v2.0/tasks"] * 2
    assert http[0].startswith(f"{ME}: HTTP 503, attempt 1, ")
    assert http[0].endswith(" ms, waited 60.0 s")
    assert retry == [
        f"{ME}: attempt {number} failed (HTTP 503, ServerError), retrying in 0.0 s at the earliest" for number in (1, 2)
    ]
    told = "\n".join([*http, *retry, *waits])
    assert not [secret for secret in (header.split()[1], "Anna", "leadId", "?", "token") if secret in told]


async def test_an_attempt_without_an_answer_has_its_error(
    caplog: pytest.LogCaptureFixture, sandbox: Sandbox, lofty: LoftyClient
) -> None:
    sandbox.faults.add(ME, faults.DropAfter())
    caplog.set_level(logging.DEBUG, "lofty_async.http")
    await lofty.me()
    assert lines(caplog, "http")[0].startswith(f"{ME}: ConnectionFailedError, attempt 1, ")
    assert lines(caplog, "retry") == []


async def test_each_logger_has_its_own_level(
    caplog: pytest.LogCaptureFixture, sandbox: Sandbox, lofty: LoftyClient
) -> None:
    sandbox.faults.add(ME, faults.DropAfter())
    caplog.set_level(logging.INFO, "lofty_async.retry")
    await lofty.me()
    assert (len(lines(caplog, "http")), len(lines(caplog, "retry"))) == (0, 1)


PROGRAM = """
import asyncio, logging, sys
from lofty_async import ApiKey, LoftyClient

async def main():
    async with LoftyClient(ApiKey("sesame"), base_url="http://127.0.0.1:9") as lofty:
        try:
            await lofty.with_options(retries=0).tasks.list(5).collect()
        except Exception as error:
            print(type(error).__name__)

asyncio.run(main())
"""


def errors_of(program: str, **environ: str) -> str:
    """What a program writes to standard error."""
    environment: dict[str, Any] = {**os.environ, **environ}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert ended.stdout == "ConnectionFailedError\n"
    return ended.stderr


class TestVariable:
    def test_turns_logging_on(self) -> None:
        (line,) = [line for line in errors_of(PROGRAM, LOFTY_LOG=" Debug ").splitlines() if "lofty_async.http" in line]
        assert " DEBUG lofty_async.http: GET /v2.0/tasks: ConnectionFailedError, attempt 1, " in line
        assert "sesame" not in line

    def test_says_how_much(self) -> None:
        assert "lofty_async.http" not in errors_of(PROGRAM, LOFTY_LOG="info")

    def test_leaves_the_writing_to_a_program_that_logs(self) -> None:
        program = f"import logging; import lofty_async; logging.basicConfig(format='mine %(message)s')\n{PROGRAM}"
        shown = [line for line in errors_of(program, LOFTY_LOG="debug").splitlines() if "attempt 1" in line]
        assert [line[:21] for line in shown] == ["mine GET /v2.0/tasks:"]

    @pytest.mark.parametrize("value", ["", " "])
    def test_may_be_empty(self, value: str) -> None:
        assert errors_of(PROGRAM, LOFTY_LOG=value) == ""

    def test_names_the_levels_if_it_is_wrong(self) -> None:
        assert "LOFTY_LOG must be one of debug, info, warning, error, not 'loud'" in errors_of(
            PROGRAM, LOFTY_LOG="loud"
        )
