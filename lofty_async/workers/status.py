"""The state of each account of a fleet, as an operator sees it."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

STATUS: Final = """
SELECT account, due_at, failures, host, process, began_at, ended_at, synced_at, error, tasks, unproven, oldest_proof,
    job.status, job.scheduled_at, job.scheduled_at > now()
FROM accounts LEFT JOIN LATERAL (
    SELECT status::text, scheduled_at FROM procrastinate_jobs
    WHERE lock = account AND status IN ('todo', 'doing') AND NOT abort_requested
    ORDER BY status = 'doing' DESC, id LIMIT 1
) job ON true
ORDER BY account"""


class AccountState(StrEnum):
    """Where an account's next sync is."""

    WAITING = "waiting"
    """Until `due_at`."""
    QUEUED = "queued"
    """Until a worker has a place for it."""
    RETRYING = "retrying"
    """Until `due_at`, after a failure, or while another process syncs the account."""
    RUNNING = "running"


@frozen(kw_only=True)
class AccountStatus:
    """An account of a fleet: its state, and how its last syncs ended.

    `due_at` is when the next sync begins at the earliest; while one is queued or running, it is the time of the one
    after it. `host` and `process` are where the sync under way runs, or the last one ran, since `began_at`; a worker
    that was killed counts as running until it is considered dead. `ended_at` is when a sync last ended, and `synced_at`
    when one last succeeded. `error` is why the last one failed, `None` if it succeeded; `failures` counts those since
    the account was due.

    `tasks` counts the mirror's rows after the last success, `unproven` those that reading their lead has not confirmed,
    and `oldest_proof` is when the lead was read that was read longest ago.
    """

    account: str
    state: AccountState
    due_at: datetime
    failures: int = 0
    host: str | None = None
    process: int | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    synced_at: datetime | None = None
    error: str | None = None
    tasks: int | None = None
    unproven: int | None = None
    oldest_proof: datetime | None = None


@frozen
class Synced:
    """The mirror after a sync that has succeeded."""

    tasks: int
    unproven: int
    oldest_proof: datetime | None


def status_of(row: tuple[Any, ...]) -> AccountStatus:
    """A row of `STATUS`."""
    account, due_at, failures, *run, job, scheduled_at, is_later = row
    host, process, began_at, ended_at, synced_at, error, tasks, unproven, oldest_proof = run
    return AccountStatus(
        account=account,
        state=_state(job, is_later=bool(is_later)),
        due_at=scheduled_at if is_later else due_at,
        failures=failures,
        host=host,
        process=process,
        began_at=began_at,
        ended_at=ended_at,
        synced_at=synced_at,
        error=error,
        tasks=tasks,
        unproven=unproven,
        oldest_proof=oldest_proof,
    )


def _state(job: str | None, *, is_later: bool) -> AccountState:
    if job is None:
        return AccountState.WAITING
    if job == "doing":
        return AccountState.RUNNING
    return AccountState.RETRYING if is_later else AccountState.QUEUED
