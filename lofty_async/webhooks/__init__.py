"""Receiving what Lofty posts: reading the bodies, taking them in, and reading again what they are about."""

from .asgi import AsgiApp
from .follow import TaskChange, follow_tasks
from .intake import Answer
from .parse import NoticeKind, WebhookBatch, WebhookNotice, parse_webhook
from .receiver import WebhookReceiver

__all__ = [
    "Answer",
    "AsgiApp",
    "NoticeKind",
    "TaskChange",
    "WebhookBatch",
    "WebhookNotice",
    "WebhookReceiver",
    "follow_tasks",
    "parse_webhook",
]
