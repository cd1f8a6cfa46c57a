"""Receiving what Lofty posts: reading the bodies, taking them in, and reading again what they are about."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from .asgi import AsgiApp
    from .follow import TaskChange, follow_tasks
    from .intake import Answer
    from .parse import NoticeKind, WebhookBatch, WebhookNotice, parse_webhook
    from .receiver import ReceiverStats, WebhookReceiver

    __all__ = [
        "Answer",
        "AsgiApp",
        "NoticeKind",
        "ReceiverStats",
        "TaskChange",
        "WebhookBatch",
        "WebhookNotice",
        "WebhookReceiver",
        "follow_tasks",
        "parse_webhook",
    ]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            ".asgi": ("AsgiApp",),
            ".follow": ("TaskChange", "follow_tasks"),
            ".intake": ("Answer",),
            ".parse": ("NoticeKind", "WebhookBatch", "WebhookNotice", "parse_webhook"),
            ".receiver": ("ReceiverStats", "WebhookReceiver"),
        },
    )
