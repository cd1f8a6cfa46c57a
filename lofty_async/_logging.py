"""Log lines of calls, by the standard `logging`, and `LOFTY_LOG`, which shows them without any code.

`lofty_async.http` has a line per attempt at DEBUG, `lofty_async.retry` one per retry at INFO, `lofty_async.ratelimit`
what the limiter learns and each wait above its threshold at INFO. No line holds a body, a query or a secret.
"""

import logging
import os
from collections.abc import Mapping
from typing import Final

from .errors import shown
from .events import Event, RequestFailed, ResponseReceived, RetryScheduled, WaitEvent

VARIABLE: Final = "LOFTY_LOG"
LEVELS: Final = ("debug", "info", "warning", "error")
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

package_log = logging.getLogger("lofty_async")
http_log = logging.getLogger("lofty_async.http")
retry_log = logging.getLogger("lofty_async.retry")
wait_log = logging.getLogger("lofty_async.ratelimit")


def is_wanted() -> bool:
    """Whether any line of a call would be logged."""
    return (
        http_log.isEnabledFor(logging.DEBUG)
        or retry_log.isEnabledFor(logging.INFO)
        or wait_log.isEnabledFor(logging.INFO)
    )


def log_event(event: Event) -> None:
    match event:
        case ResponseReceived():
            _log_attempt(event, f"HTTP {event.status}")
        case RequestFailed():
            _log_attempt(event, event.error)
        case RetryScheduled():
            text = "%s: attempt %d failed (%s), retrying in %.1f s at the earliest"
            retry_log.info(text, event.route, event.attempt, event.reason, event.delay)
        case WaitEvent():
            wait_log.info("%s: waited %.1f s for the rate limit (%s lane)", event.route, event.seconds, event.lane)
        case _:
            pass


def _log_attempt(event: ResponseReceived | RequestFailed, result: str) -> None:
    text = "%s: %s, attempt %d, %.0f ms, waited %.1f s"
    http_log.debug(text, event.route, result, event.attempt, event.seconds * 1000, event.waited)


class StandaloneHandler(logging.StreamHandler):  # type: ignore[type-arg] # generic in stubs alone
    """Writes to standard error for as long as the program has no handlers at the root."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def log_as_environment_says(environ: Mapping[str, str] = os.environ) -> None:
    """Set the level that `LOFTY_LOG` names (debug, info, warning, error) for all loggers of the package."""
    level = environ.get(VARIABLE, "").strip().lower()
    if not level:
        return
    if level not in LEVELS:
        package_log.warning("%s must be one of %s, not %s", VARIABLE, ", ".join(LEVELS), shown(level))
        return
    handler = StandaloneHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    package_log.addHandler(handler)
    package_log.setLevel(level.upper())
