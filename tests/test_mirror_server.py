"""A mirror's PostgreSQL that ends connections, gives its roles other defaults and few rights, or holds other tables."""

import asyncio
import traceback
from collections.abc import Iterator
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import pytest

from lofty_async import InvalidRequestError, LoftyError
from lofty_async.mirror import PostgresDatabase, Run
from lofty_async.mirror.statements import Work, query
from lofty_async.models import Task
from tests.postgres_server import needs_postgres, running_postgres

pytestmark = needs_postgres
psycopg = pytest.importorskip("psycopg")

TASK = Task(id=10, lead_id=1, content="Call")
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
async def dsn(server: str) -> str:
    """An empty database."""
    return await make_database(server)


async def make_database(server: str, options: str = "") -> str:
    name = f"db{token_hex(4)}"
    await execute(server, f"CREATE DATABASE {name} {options}")
    return f"{server.rpartition('/')[0]}/{name}"


async def execute(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    from psycopg import AsyncConnection  # noqa: PLC0415 - skipped where it is missing

    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(sql.encode())
        return await cursor.fetchall() if cursor.description else []


async def claim(database: PostgresDatabase) -> Run:
    return await database.claim("all", strategy=None, fresh=False, resume_within=3600)


async def test_a_machine_that_vanishes_holds_no_account_for_long(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    connect = psycopg.AsyncConnection.connect

    async def noted(*args: Any, **options: Any) -> Any:
        seen.append(options)
        return await connect(*args, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", noted)
    name = "idle_in_transaction_session_timeout"

    def setting() -> Work[str]:
        ((value,),) = yield query(f"SHOW {name}")
        return str(value)

    async with PostgresDatabase(f"{dsn}?keepalives_idle=3", account="one") as database:
        assert await database.read(setting()) == "20s"
    assert seen[0]["tcp_user_timeout"] == 20_000
    assert "keepalives_idle" not in seen[0]


async def test_after_a_connection_was_cut_the_next_call_has_another(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as database:
        run = await claim(database)
        await database.write({1: [TASK]})
        await execute(dsn, CUT)
        with pytest.raises(psycopg.OperationalError):
            await database.write({2: [Task(id=11, lead_id=2)]})
        await database.write({2: [Task(id=12, lead_id=2)]})
        assert [task.id for task in await database.tasks()] == [10, 12]
        await database.release()
        assert (await claim(database)).number == run.number
    with pytest.raises(RuntimeError, match="not open"):
        await database.tasks()


async def test_a_transaction_that_was_cut_has_written_nothing(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as database:

        def work() -> Work[None]:
            yield query(
                "INSERT INTO changes (account, seq, at, kind, task_id) VALUES (:account, 1, now(), 'created', 1)"
            )
            yield query("SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(psycopg.OperationalError):
            await database.transact(work())
        assert await database.changes() == []


async def test_a_run_whose_end_was_rolled_back_can_be_given_up(dsn: str) -> None:
    async with PostgresDatabase(dsn, account="one") as database:
        await execute(
            dsn,
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$;"
            " CREATE CONSTRAINT TRIGGER fails AFTER UPDATE OF report ON lofty.runs DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION fail()",
        )
        run = await claim(database)
        with pytest.raises(psycopg.errors.RaiseException):
            await database.end({}, was_swept=False)
        await database.release()
        assert (await claim(database)).number == run.number


async def test_a_close_whose_caller_is_cancelled_closes(dsn: str) -> None:
    database = PostgresDatabase(dsn, account="one")
    async with asyncio.timeout(20):
        await database.__aenter__()
        writing = asyncio.create_task(database.write({1: [TASK]}))
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        closing.cancel()
        await writing
        await database.close()
    connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while await execute(dsn, connected) != [(0,)]:
        await asyncio.sleep(0.01)  # the server notices by itself


@pytest.mark.parametrize(
    "setting",
    [
        r"default_transaction_isolation=repeatable\ read",
        "default_transaction_isolation=serializable",
        "default_transaction_read_only=on",
        "datestyle=German",
        "client_encoding=LATIN1",
        "timezone=Asia/Tokyo",
    ],
)
async def test_whatever_a_roles_defaults_writers_take_turns(dsn: str, setting: str) -> None:
    address = f"{dsn}?options={quote(f'-c {setting}')}"
    async with PostgresDatabase(address, account="one") as first, PostgresDatabase(address, account="one") as second:
        tasks = [Task(id=lead, lead_id=lead, content="☃") for lead in range(1, 21)]
        writers = [first, second] * 10
        await asyncio.gather(
            *[one.write({task.id: [task]}) for one, task in zip(writers, tasks, strict=True)],
        )
        assert [change.seq for change in await first.changes()] == list(range(1, 21))
        assert await second.tasks() == tasks


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_cannot_hold_every_text_is_refused(server: str, encoding: str) -> None:
    dsn = await make_database(server, f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(LoftyError, match=f"encoding is {encoding}.*must be UTF8"):
        await PostgresDatabase(dsn, account="one").__aenter__()


async def test_a_role_that_may_make_no_schema_uses_one_of_its_own(dsn: str) -> None:
    role = f"role{token_hex(4)}"
    await execute(dsn, f"CREATE ROLE {role} LOGIN; CREATE SCHEMA lofty AUTHORIZATION {role}")
    async with PostgresDatabase(dsn.replace("lofty@", f"{role}@"), account="one") as database:
        await database.write({1: [TASK]})
        assert await database.tasks() == [TASK]


async def test_tables_of_another_program_are_left_alone(dsn: str) -> None:
    await execute(dsn, "CREATE SCHEMA lofty; CREATE TABLE lofty.tasks (account text, id bigint, lead_id bigint)")
    with pytest.raises(LoftyError, match=r"lofty\.tasks was not made by a sync"):
        await PostgresDatabase(dsn, account="one").__aenter__()
    assert await execute(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'lofty'") == [("tasks",)]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:/me:s3cret@there/db",
        "me:s3cret@there",
        "postgresql://me:s3cret%zz@there/db",
        "postgresql://me:a@s3cret@there/db",
        "postgresql://me:s3cret/a@there/db",
    ],
)
async def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="dsn must look like") as caught:
        await PostgresDatabase(address, account="one").__aenter__()
    shown = [str(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb)]
    shown += [repr(frame.f_locals) for frame in frames[1:]]  # the first is this test's
    assert "s3cret" not in "".join(shown)


def test_an_account_with_nul_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="account must not contain NUL"):
        PostgresDatabase("postgresql://", account="a\0b")
