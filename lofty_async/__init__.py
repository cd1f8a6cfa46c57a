"""Asyncio-native SDK for the Lofty CRM Task & Calendar API."""

from typing import TYPE_CHECKING

from .__about__ import __version__ as __version__
from ._lazy import lazily

if TYPE_CHECKING:
    from ._public import *  # noqa: F403 - the names and their list live there
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".auth": ("AccessToken", "ApiKey", "Auth"),
            ".bulk": ("BulkProgress", "BulkRun", "LeadTasks"),
            "._checks": ("UNSET", "Unset"),
            ".client": ("LoftyClient",),
            ".dispatch": ("RetryPolicy", "Stats"),
            ".endpoints": ("LeadFilters",),
            ".errors": (
                "APIError",
                "AmbiguousWriteError",
                "AuthenticationError",
                "CallError",
                "ClientClosedError",
                "ConnectionFailedError",
                "DecodeError",
                "InvalidRequestError",
                "LoftyError",
                "NotFoundError",
                "PermissionDeniedError",
                "RateLimitWaitError",
                "RateLimitedError",
                "RequestTimeoutError",
                "ResponseTooLargeError",
                "ServerError",
                "TransportError",
                "WrongEventLoopError",
            ),
            ".models": (
                "AppointmentV1",
                "AssignedRole",
                "CalendarEntry",
                "EntryType",
                "Lead",
                "LeadTag",
                "MeetingSlot",
                "PermissionMode",
                "Task",
                "TaskType",
                "TaskV1",
                "User",
                "WebhookEvent",
                "WebhookSubscription",
            ),
            ".oauth": (
                "AuthorizationCode",
                "ClientCredentials",
                "FileTokenStore",
                "Pkce",
                "RefreshToken",
                "Token",
                "TokenStore",
            ),
            ".pagination": ("Page", "Pager"),
            ".ratelimit": (
                "FileStore",
                "Lane",
                "MemoryStore",
                "Permit",
                "RateLimit",
                "RateLimiter",
                "RedisStore",
                "Store",
                "WaitEvent",
            ),
            ".sandbox": ("Sandbox",),
            ".webhooks": ("WebhookBatch", "WebhookNotice", "WebhookReceiver", "follow_tasks", "parse_webhook"),
        },
    )
