"""A real PostgreSQL of the tests' own, on a free loopback port, that keeps nothing."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.redis_server import free_port

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: int(home.parent.name))
INITDB = shutil.which("initdb") or next((str(home / "initdb") for home in reversed(HOMES)), None)
HAS_POSTGRES = INITDB is not None and find_spec("psycopg") is not None
needs_postgres = pytest.mark.skipif(not HAS_POSTGRES, reason="PostgreSQL or psycopg is not installed")
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yields the address of a server with an empty database."""
    assert INITDB
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lofty-pg-", dir="/tmp") as directory:
        as_user = () if os.geteuid() else ("runuser", "-u", "postgres", "--")  # it refuses to run as root
        if as_user:
            shutil.chown(directory, "postgres", "postgres")
        data, tool = f"{directory}/data", Path(INITDB).parent
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": directory}
        subprocess.run([*as_user, INITDB, "-D", data, "-A", "trust", "-U", "lofty", "-N"], check=True, **quiet)  # type: ignore[call-overload]
        options = [f"-c{option}" for option in (*FAST, f"port={port}", f"unix_socket_directories={directory}")]
        server = subprocess.Popen([*as_user, str(tool / "postgres"), "-D", data, *options], **quiet)  # type: ignore[call-overload]
        try:
            dsn = f"postgresql://lofty@127.0.0.1:{port}/postgres"
            _wait_for(dsn)
            yield dsn
        finally:
            server.terminate()
            server.wait()


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
