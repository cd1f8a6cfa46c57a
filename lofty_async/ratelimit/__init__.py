"""Who may send now."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .lanes import Lane
    from .limiter import RateLimiter
    from .permits import Permit, RateLimit, WaitEvent
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
        "WaitEvent",
    ]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".lanes": ("Lane",),
            ".limiter": ("RateLimiter",),
            ".permits": ("Permit", "RateLimit", "WaitEvent"),
            ".redis": ("RedisStore",),
            ".stores": ("FileStore", "MemoryStore", "Store"),
        },
    )
