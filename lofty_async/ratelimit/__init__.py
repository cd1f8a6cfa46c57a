"""The rate limiter, and the stores through which processes share it."""

from .lanes import Lane, WaitEvent
from .limiter import RateLimiter
from .limits import Permit, RateLimit
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
