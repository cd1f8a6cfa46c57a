"""One request from call to answer."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .connections import Connectors
    from .dispatcher import Dispatcher, Stats
    from .journey import Options
    from .network import Network, proxy_url
    from .retry import RetryPolicy
    from .session import MAX_RESPONSE_SIZE, Session, SessionOptions

    __all__ = [
        "MAX_RESPONSE_SIZE",
        "Connectors",
        "Dispatcher",
        "Network",
        "Options",
        "RetryPolicy",
        "Session",
        "SessionOptions",
        "Stats",
        "proxy_url",
    ]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".connections": ("Connectors",),
            ".dispatcher": ("Dispatcher", "Stats"),
            ".journey": ("Options",),
            ".network": ("Network", "proxy_url"),
            ".retry": ("RetryPolicy",),
            ".session": ("MAX_RESPONSE_SIZE", "Session", "SessionOptions"),
        },
    )
