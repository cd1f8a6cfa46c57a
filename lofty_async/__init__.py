"""Asyncio-native SDK for the Lofty CRM Task & Calendar API."""

from typing import TYPE_CHECKING

from .__about__ import __version__ as __version__
from ._checks import (
    UNSET as UNSET,
)
from ._checks import (
    Unset as Unset,
)
from .auth import (
    AccessToken as AccessToken,
)
from .auth import (
    ApiKey as ApiKey,
)
from .auth import (
    Auth as Auth,
)
from .bulk import (
    BulkProgress as BulkProgress,
)
from .bulk import (
    BulkRun as BulkRun,
)
from .bulk import (
    LeadTasks as LeadTasks,
)
from .client import LoftyClient as LoftyClient
from .dispatch import (
    RetryPolicy as RetryPolicy,
)
from .dispatch import (
    Stats as Stats,
)
from .endpoints import LeadFilters as LeadFilters
from .errors import (
    AmbiguousWriteError as AmbiguousWriteError,
)
from .errors import (
    APIError as APIError,
)
from .errors import (
    AuthenticationError as AuthenticationError,
)
from .errors import (
    CallError as CallError,
)
from .errors import (
    ClientClosedError as ClientClosedError,
)
from .errors import (
    ConnectionFailedError as ConnectionFailedError,
)
from .errors import (
    DecodeError as DecodeError,
)
from .errors import (
    InvalidRequestError as InvalidRequestError,
)
from .errors import (
    LoftyError as LoftyError,
)
from .errors import (
    NotFoundError as NotFoundError,
)
from .errors import (
    PermissionDeniedError as PermissionDeniedError,
)
from .errors import (
    RateLimitedError as RateLimitedError,
)
from .errors import (
    RateLimitWaitError as RateLimitWaitError,
)
from .errors import (
    RequestTimeoutError as RequestTimeoutError,
)
from .errors import (
    ResponseTooLargeError as ResponseTooLargeError,
)
from .errors import (
    ServerError as ServerError,
)
from .errors import (
    TransportError as TransportError,
)
from .errors import (
    WrongEventLoopError as WrongEventLoopError,
)
from .models import (
    AppointmentV1 as AppointmentV1,
)
from .models import (
    AssignedRole as AssignedRole,
)
from .models import (
    CalendarEntry as CalendarEntry,
)
from .models import (
    EntryType as EntryType,
)
from .models import (
    Lead as Lead,
)
from .models import (
    LeadTag as LeadTag,
)
from .models import (
    MeetingSlot as MeetingSlot,
)
from .models import (
    PermissionMode as PermissionMode,
)
from .models import (
    Task as Task,
)
from .models import (
    TaskType as TaskType,
)
from .models import (
    TaskV1 as TaskV1,
)
from .models import (
    User as User,
)
from .models import (
    WebhookEvent as WebhookEvent,
)
from .models import (
    WebhookSubscription as WebhookSubscription,
)
from .oauth import (
    AuthorizationCode as AuthorizationCode,
)
from .oauth import (
    ClientCredentials as ClientCredentials,
)
from .oauth import (
    FileTokenStore as FileTokenStore,
)
from .oauth import (
    Pkce as Pkce,
)
from .oauth import (
    RefreshToken as RefreshToken,
)
from .oauth import (
    Token as Token,
)
from .oauth import (
    TokenStore as TokenStore,
)
from .pagination import (
    Page as Page,
)
from .pagination import (
    Pager as Pager,
)
from .ratelimit import (
    FileStore as FileStore,
)
from .ratelimit import (
    Lane as Lane,
)
from .ratelimit import (
    MemoryStore as MemoryStore,
)
from .ratelimit import (
    Permit as Permit,
)
from .ratelimit import (
    RateLimit as RateLimit,
)
from .ratelimit import (
    RateLimiter as RateLimiter,
)
from .ratelimit import (
    RedisStore as RedisStore,
)
from .ratelimit import (
    Store as Store,
)
from .ratelimit import (
    WaitEvent as WaitEvent,
)
from .webhooks import (
    WebhookBatch as WebhookBatch,
)
from .webhooks import (
    WebhookNotice as WebhookNotice,
)
from .webhooks import (
    WebhookReceiver as WebhookReceiver,
)
from .webhooks import (
    follow_tasks as follow_tasks,
)
from .webhooks import (
    parse_webhook as parse_webhook,
)

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
            return sorted([*own, "Sandbox"])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted([*globals(), "Sandbox"])

    def _is_public(name: str, value: object) -> bool:
        return not name.startswith("_") and getattr(value, "__module__", "").startswith(__name__)
