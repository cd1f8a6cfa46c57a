"""A real PostgreSQL of the tests' own, on a free loopback port, that keeps nothing."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.redis_server import free_port

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: int(home.parent.name))
INITDB = shutil.which("initdb") or next((str(home / "initdb") for home in reversed(HOMES)), None)
HAS_POSTGRES = INITDB is not None and find_spec("psycopg") is not None
needs_postgres = pytest.mark.skipif(not HAS_POSTGRES, reason="PostgreSQL or psycopg is not installed")
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@define
class PostgresServer:
    """A server that can be stopped and started again, with what it holds."""

    directory: str
    port: int = field(factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self._as_user:
            shutil.chown(self.directory, "postgres", "postgres")
        command = [str(INITDB), "-D", self._data, "-A", "trust", "-U", "lofty", "-N"]
        subprocess.run([*self._as_user, *command], check=True, **self._quiet)

    @property
    def dsn(self) -> str:
        return f"postgresql://lofty@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        assert INITDB
        options = [
            f"-c{option}" for option in (*FAST, f"port={self.port}", f"unix_socket_directories={self.directory}")
        ]
        command = [str(Path(INITDB).parent / "postgres"), "-D", self._data, *options]
        self._process = subprocess.Popen([*self._as_user, *command], **self._quiet)
        _wait_for(self.dsn)

    def stop(self) -> None:
        """Ends it and the connections to it."""
        if self._process:
            # Not through runuser, which passes on no SIGINT: a fast shutdown waits for no client.
            number = Path(self._data, "postmaster.pid").read_text(encoding="ascii").split(maxsplit=1)[0]
            os.kill(int(number), signal.SIGINT)
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Takes all that is sent meanwhile, and answers nothing."""
        import psycopg  # noqa: PLC0415 - skipped where it is missing

        with psycopg.connect(self.dsn) as connection:
            pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        try:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @property
    def _data(self) -> str:
        return f"{self.directory}/data"

    @property
    def _as_user(self) -> tuple[str, ...]:
        return () if os.geteuid() else ("runuser", "-u", "postgres", "--")  # it refuses to run as root

    @property
    def _quiet(self) -> dict[str, Any]:
        return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.directory}


@contextmanager
def restartable_postgres() -> Iterator[PostgresServer]:
    """Yields a server that runs, with an empty database."""
    with tempfile.TemporaryDirectory(prefix="lofty-pg-", dir="/tmp") as directory:
        server = PostgresServer(directory)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yields the address of a server with an empty database."""
    with restartable_postgres() as server:
        yield server.dsn


async def drop_tables(dsn: str) -> None:
    """Leaves nothing of mirrors, fleets and rate limits."""
    found = await execute(dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lofty%'")
    for (name,) in found:
        await execute(dsn, f"DROP SCHEMA {name} CASCADE")
    await execute(dsn, "DROP TABLE IF EXISTS public.lofty_rate_limit_v1")


async def execute(dsn: str, sql: str, schema: str = "lofty_fleet") -> list[tuple[Any, ...]]:
    """Runs statements as a transaction; once more where a worker's transaction and this one wait for each other."""
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing
    from psycopg.errors import DeadlockDetected  # noqa: PLC0415

    options = f"-c search_path={schema},lofty"
    async with await AsyncConnection.connect(dsn, autocommit=True, options=options) as connection:
        while True:
            with suppress(DeadlockDetected):
                cursor = await connection.execute(sql.encode())
                return await cursor.fetchall() if cursor.description else []


def _wait_for(dsn: str) -> None:
    import psycopg  # noqa: PLC0415 - skipped where it is missing

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # the server tells nobody when it is ready
        else:
            return
