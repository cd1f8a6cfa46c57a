"""Log lines of calls, by the standard `logging`, and `LOFTY_LOG`, which shows them without any code.

`lofty_async.http` has a line per attempt at DEBUG, `lofty_async.retry` one per retry at INFO; `lofty_async.ratelimit`
is the limiter's. No line holds a body, a query or a secret.
"""

import logging
import os
from collections.abc import Mapping
from typing import Final

from .errors import shown
from .events import Event, RequestFailed, ResponseReceived, RetryScheduled

VARIABLE: Final = "LOFTY_LOG"
LEVELS: Final = ("debug", "info", "warning", "error")
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

package_log = logging.getLogger("lofty_async")
http_log = logging.getLogger("lofty_async.http")
retry_log = logging.getLogger("lofty_async.retry")


def log_event(event: Event) -> None:
    match event:
        case ResponseReceived():
            _log_attempt(event, f"HTTP {event.status}")
        case RequestFailed():
            _log_attempt(event, event.error)
        case RetryScheduled():
            text = "%s: attempt %d failed (%s), retrying in %.1f s at the earliest"
            retry_log.info(text, event.route, event.attempt, event.reason, event.delay)
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
