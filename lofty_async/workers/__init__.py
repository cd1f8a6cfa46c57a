"""Keeps the mirrors of many accounts with many worker processes: `Fleet`, a queue on PostgreSQL."""

from .fleet import Fleet
from .status import AccountState, AccountStatus

__all__ = ["AccountState", "AccountStatus", "Fleet"]
