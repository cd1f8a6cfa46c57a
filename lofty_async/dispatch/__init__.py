"""One request from call to answer."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .dispatcher import Dispatcher, Options, Stats
    from .retry import RetryPolicy
    from .session import Session

    __all__ = ["Dispatcher", "Options", "RetryPolicy", "Session", "Stats"]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".dispatcher": ("Dispatcher", "Options", "Stats"),
            ".retry": ("RetryPolicy",),
            ".session": ("Session",),
        },
    )
