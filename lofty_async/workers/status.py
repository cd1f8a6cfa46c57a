"""The state of each account of a fleet, as an operator sees it."""

from datetime import datetime
from enum import StrEnum

from attrs import field, frozen


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
    state: AccountState = field(converter=AccountState)
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
