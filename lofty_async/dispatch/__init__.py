"""One request from call to answer."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .dispatcher import Dispatcher, Stats
    from .journey import Options
    from .retry import RetryPolicy
    from .session import Session

    __all__ = ["Dispatcher", "Options", "RetryPolicy", "Session", "Stats"]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".dispatcher": ("Dispatcher", "Stats"),
            ".journey": ("Options",),
            ".retry": ("RetryPolicy",),
            ".session": ("Session",),
        },
    )
