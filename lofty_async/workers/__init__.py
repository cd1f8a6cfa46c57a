"""Keeps the mirrors of many accounts with many worker processes: `Fleet`, a queue on PostgreSQL.

Raises: ModuleNotFoundError without the extra `workers`.
"""

try:
    from .fleet import Fleet
except ModuleNotFoundError as error:
    message = 'lofty_async.workers needs its extra: pip install "lofty-async[workers]"'
    raise ModuleNotFoundError(message, name=error.name) from error
from .status import AccountState, AccountStatus

__all__ = ["AccountState", "AccountStatus", "Fleet"]
