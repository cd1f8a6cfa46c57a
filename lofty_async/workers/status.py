"""The state of a fleet's accounts."""

from datetime import datetime
from enum import StrEnum

from attrs import frozen


class AccountState(StrEnum):
    """Where an account's next sync is."""

    WAITING = "waiting"
    """Until `due_at`."""
    QUEUED = "queued"
    """Until a worker has a place for it."""
    RETRYING = "retrying"
    """Until `due_at`, after a failure."""
    RUNNING = "running"


@frozen(kw_only=True)
class AccountStatus:
    """An account of a fleet: its state, and how its last syncs ended.

    `due_at` is when the next sync begins at the earliest, `attempts` the number of times that the sync under way was
    begun before. `synced_at` is when a sync last succeeded; `error` is why the last one failed, `None` if it succeeded.
    """

    account: str
    state: AccountState
    due_at: datetime
    attempts: int = 0
    synced_at: datetime | None = None
    error: str | None = None
