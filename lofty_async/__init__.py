"""Asyncio-native SDK for the Lofty CRM Task & Calendar API."""

# ruff: noqa: I001 - `as` marks each name as public, and one import a module has them all

from typing import TYPE_CHECKING

from .__about__ import __version__ as __version__
from ._checks import (
    UNSET as UNSET,
    Unset as Unset,
)
from ._convert import converter as converter
from . import _logging
from ._observe import Stats as Stats
from .auth import (
    AccessToken as AccessToken,
    ApiKey as ApiKey,
    Auth as Auth,
)
from .bulk import (
    BulkProgress as BulkProgress,
    BulkRun as BulkRun,
    LeadTasks as LeadTasks,
)
from .client import LoftyClient as LoftyClient
from .endpoints import (
    LeadFilters as LeadFilters,
    Response as Response,
)
from .errors import (
    AmbiguousWriteError as AmbiguousWriteError,
    APIError as APIError,
    AuthenticationError as AuthenticationError,
    CallError as CallError,
    ClientClosedError as ClientClosedError,
    ConnectionFailedError as ConnectionFailedError,
    DecodeError as DecodeError,
    InvalidRequestError as InvalidRequestError,
    LoftyError as LoftyError,
    NotFoundError as NotFoundError,
    PermissionDeniedError as PermissionDeniedError,
    RateLimitedError as RateLimitedError,
    RateLimitWaitError as RateLimitWaitError,
    RequestTimeoutError as RequestTimeoutError,
    ResponseTooLargeError as ResponseTooLargeError,
    ServerError as ServerError,
    StoreUnavailableError as StoreUnavailableError,
    TransportError as TransportError,
    WrongEventLoopError as WrongEventLoopError,
)
from .events import (
    CallFinished as CallFinished,
    CallStarted as CallStarted,
    RequestFailed as RequestFailed,
    RequestSent as RequestSent,
    ResponseReceived as ResponseReceived,
    RetryScheduled as RetryScheduled,
)
from .models import (
    AppointmentV1 as AppointmentV1,
    AssignedRole as AssignedRole,
    CalendarEntry as CalendarEntry,
    EntryType as EntryType,
    Lead as Lead,
    LeadTag as LeadTag,
    MeetingSlot as MeetingSlot,
    PermissionMode as PermissionMode,
    Task as Task,
    TaskType as TaskType,
    TaskV1 as TaskV1,
    User as User,
    WebhookEvent as WebhookEvent,
    WebhookSubscription as WebhookSubscription,
)
from .oauth import (
    AuthorizationCode as AuthorizationCode,
    ClientCredentials as ClientCredentials,
    FileTokenStore as FileTokenStore,
    Pkce as Pkce,
    RefreshToken as RefreshToken,
    Token as Token,
    TokenStore as TokenStore,
)
from .pagination import (
    Page as Page,
    Pager as Pager,
)
from .ratelimit import (
    FileStore as FileStore,
    Lane as Lane,
    MemoryStore as MemoryStore,
    Permit as Permit,
    PostgresStore as PostgresStore,
    RateLimit as RateLimit,
    RateLimiter as RateLimiter,
    RedisStore as RedisStore,
    Store as Store,
    WaitEvent as WaitEvent,
)
from .retry import RetryPolicy as RetryPolicy
from .webhooks import (
    WebhookBatch as WebhookBatch,
    WebhookNotice as WebhookNotice,
    WebhookReceiver as WebhookReceiver,
    follow_tasks as follow_tasks,
    parse_webhook as parse_webhook,
)

_logging.log_as_environment_says()

if TYPE_CHECKING:
    from .sandbox import Sandbox as Sandbox
else:

    def __getattr__(name: str) -> object:
        """`Sandbox`, which brings a web server, and the names for `import *`."""
        if name == "Sandbox":
            from .sandbox import Sandbox  # noqa: PLC0415 - a program without use for a server does not wait for one

            return Sandbox
        if name == "__all__":
            own = (name for name, value in globals().items() if _is_public(name, value))
            return sorted([*own, "Sandbox", "converter"])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted([*globals(), "Sandbox"])

    def _is_public(name: str, value: object) -> bool:
        return not name.startswith("_") and getattr(value, "__module__", "").startswith(__name__)
