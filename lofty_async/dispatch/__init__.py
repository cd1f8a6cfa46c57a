"""One request from call to answer."""

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
