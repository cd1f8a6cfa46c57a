"""Who may send now."""

from .lanes import Lane
from .limiter import Permit, RateLimit, RateLimiter, Waited
from .redis import RedisStore
from .stores import FileStore, MemoryStore, Store

__all__ = [
    "FileStore",
    "Lane",
    "MemoryStore",
    "Permit",
    "RateLimit",
    "RateLimiter",
    "RedisStore",
    "Store",
    "Waited",
]
