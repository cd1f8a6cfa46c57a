"""Who may send now."""

from .lanes import Lane
from .limiter import RateLimiter
from .permits import Permit, RateLimit, WaitEvent
from .postgres import PostgresStore
from .redis import RedisStore
from .stores import FileStore, MemoryStore, Store

__all__ = [
    "FileStore",
    "Lane",
    "MemoryStore",
    "Permit",
    "PostgresStore",
    "RateLimit",
    "RateLimiter",
    "RedisStore",
    "Store",
    "WaitEvent",
]
