"""One request from call to answer."""

from .dispatcher import Dispatcher, Options, Stats
from .retry import RetryPolicy
from .session import Session

__all__ = ["Dispatcher", "Options", "RetryPolicy", "Session", "Stats"]
