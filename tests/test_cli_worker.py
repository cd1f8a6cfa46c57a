"""`lofty-async worker`: a fleet's worker from the command line."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve
from click.testing import CliRunner

pytest.importorskip("procrastinate")

from lofty_async import ApiKey, LoftyClient, PostgresStore
from lofty_async.cli.app import app
from lofty_async.cli.worker import status_lines
from lofty_async.workers import AccountState, AccountStatus, Fleet
from tests.account import Account
from tests.fleets import MIDNIGHT, fleet_of, left_wrong, until, working
from tests.postgres_server import needs_postgres, restartable_postgres

pytestmark = needs_postgres


@pytest.mark.parametrize("form", ["toml", "json"])
async def test_the_command_syncs_the_accounts_of_a_file(dsn: str, made: Account, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"accounts.{form}"
    file.write_text('smith = "KEY_OF_SMITH"\n' if form == "toml" else '{"smith": "KEY_OF_SMITH"}')
    fleet = fleet_of(dsn, made)
    await fleet.setup()
    await fleet.add("jones")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOFTY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lofty_async", "worker", "--db", dsn, "--accounts", str(file)),
        *("--base-url", made.sandbox.url),
        env=environment | {"KEY_OF_SMITH": made.sandbox.api_key},
        stderr=asyncio.subprocess.PIPE,
    )

    async def is_done() -> bool:
        return [bool(one.synced_at or one.error) for one in await fleet.status()] == [True, True]

    try:
        await until(is_done)
    finally:
        process.terminate()
        _, errors = await process.communicate()
    lines = sorted(line.partition(" account ")[2] for line in errors.decode().splitlines())
    assert process.returncode == 0
    assert lines[0] == "jones: not in this worker's file of accounts: add it there, or stop its syncs with --remove"
    assert lines[1].startswith("smith: 36 added, 0 changed, 0 removed, ")
    assert len(lines) == 2
    assert await left_wrong(dsn, "smith", made) == 0
    store = PostgresStore("lofty_fleet", dsn).for_server(made.sandbox.url)
    assert (await store.snapshot()).limit == 100_000  # the workers' budget is in the same database
    await store.close()


async def test_the_command_prints_the_state_of_each_account(dsn: str, made: Account) -> None:
    async def client_for(account: str) -> LoftyClient:
        auth = made.sandbox.auth if account == "smith" else ApiKey("not-the-key")
        return LoftyClient(auth, base_url=made.sandbox.url)

    async def printed() -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lofty_async", "worker", "--db", dsn, "--status"), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().splitlines()

    fleet = Fleet(dsn, client_for, every=MIDNIGHT)
    await fleet.setup()
    assert await printed() == ["no accounts"]
    await fleet.add("smith")
    await fleet.add("jones")

    async def has_ended() -> bool:
        return all(one.ended_at for one in await fleet.status())

    async with working(fleet):
        await until(has_ended)
    jones, failed, smith, synced = await printed()
    assert jones.startswith("jones: waiting, due at ")
    assert "401" in failed
    assert smith.startswith("smith: waiting, due at ")
    assert ": 36 tasks, 0 of them not confirmed by reading their lead; the oldest proof is of " in synced


async def test_a_queued_account_is_due_now_and_can_be_removed(dsn: str, made: Account) -> None:
    fleet = fleet_of(dsn, made)
    await fleet.setup()
    await fleet.add("smith")
    await fleet.add("jones")

    async def remove(account: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lofty_async", "worker", "--db", dsn, "--remove", account),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    assert await remove("jones") == (0, "jones removed; its mirror stays\n")
    assert [one.account for one in await fleet.status()] == ["smith"]
    assert await remove("jones") == (2, "Error: the fleet has no account 'jones'; --status lists them\n")
    (smith,) = await fleet.status()
    assert status_lines(evolve(smith, state=AccountState.QUEUED)) == ["smith: queued"]


MASS: Final = "9 of 9 tasks are missing; nothing was deleted: pass allow_mass_delete=True if they are gone"


@pytest.mark.parametrize(
    ("failures", "error", "line"),
    [
        (0, "another sync is under way", "  last error at never: another sync is under way"),
        (2, "HTTP 500", "  last error at never (2 failures since it was due): HTTP 500"),
        (1, MASS, "was deleted: run lofty-async sync --db URL --account smith --allow-mass-delete if they are gone"),
    ],
)
def test_a_sync_that_was_not_done_says_why_and_what_to_do(failures: int, error: str, line: str) -> None:
    state = AccountState.WAITING
    one = AccountStatus(account="smith", state=state, due_at=datetime.now(UTC), failures=failures, error=error)
    assert status_lines(one)[1].endswith(line)


@pytest.mark.parametrize(
    ("oldest_proof", "end"),
    [
        (None, "reading their lead"),
        (datetime(2026, 3, 1, tzinfo=UTC), "; the oldest proof is of 2026-03-01 00:00:00 UTC"),
    ],
)
def test_the_oldest_proof_is_told_where_there_is_one(oldest_proof: datetime | None, end: str) -> None:
    """An account without leads has none."""
    now, state = datetime.now(UTC), AccountState.WAITING
    one = AccountStatus(account="smith", state=state, due_at=now, synced_at=now, oldest_proof=oldest_proof)
    assert status_lines(one)[1].endswith(end)


async def test_a_lost_database_is_a_few_lines(made: Account, tmp_path: Path) -> None:
    (tmp_path / "accounts.toml").write_text("smith = 'KEY_OF_SMITH'")
    with restartable_postgres() as server:
        fleet = fleet_of(server.dsn, made)
        await fleet.setup()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lofty_async", "worker", "--db", server.dsn),
            *("--accounts", str(tmp_path / "accounts.toml"), "--base-url", made.sandbox.url),
            env=os.environ | {"KEY_OF_SMITH": made.sandbox.api_key},
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            lines = [await process.stderr.readline()]
            server.stop()
            async with asyncio.timeout(60):
                while b"the database cannot be reached" not in lines[-1]:
                    lines.append(await process.stderr.readline())
        finally:
            process.kill()
            await process.communicate()
    # Of the connection pool alone: early releases of procrastinate log a traceback of their own.
    assert not [line for line in lines if b"error connecting" in line or b"Is the server running" in line]


def test_a_worker_needs_accounts() -> None:
    result = CliRunner().invoke(app, ["worker", "--db", "postgresql://there/db"])
    assert result.exit_code == 2
    assert "--accounts FILE names the accounts to sync" in result.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("smith = 'NOT_SET_ANYWHERE'", "account smith: the environment variable NOT_SET_ANYWHERE is not set"),
        ("smith = 5", "must be a string, not int"),
        ("smith =", "is not TOML"),
        ("", "must name an account and its variable"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_of_accounts_that_is_wrong_is_one_line(tmp_path: Path, text: str | None, error: str) -> None:
    file = tmp_path / "accounts.toml"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(app, ["worker", "--db", "postgresql://there/db", "--accounts", str(file)])
    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())


def test_a_worker_without_a_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "accounts.toml").write_text("smith = 'KEY_OF_SMITH'")
    monkeypatch.setenv("KEY_OF_SMITH", "key-of-smith")
    monkeypatch.setattr("lofty_async.cli.worker._log_to_stderr", lambda: None)  # of a process of its own
    command = ["worker", "--accounts", str(tmp_path / "accounts.toml"), "--db"]
    result = CliRunner().invoke(app, [*command, "postgresql://me:s3cret@127.0.0.1:9/none"])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "s3cret" not in result.stderr
    assert CliRunner().invoke(app, [*command, "tasks.sqlite"]).exit_code == 2


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("--every", "every day", "--every must be a cron"), ("--schema", "A", "--schema must")],
)
def test_an_option_that_is_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str, error: str
) -> None:
    (tmp_path / "accounts.toml").write_text("smith = 'KEY_OF_SMITH'")
    monkeypatch.setenv("KEY_OF_SMITH", "key-of-smith")
    monkeypatch.setattr("lofty_async.cli.worker._log_to_stderr", lambda: None)  # of a process of its own
    command = ["worker", "--accounts", str(tmp_path / "accounts.toml"), "--db", "postgresql://there/db", option, value]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in result.stderr
