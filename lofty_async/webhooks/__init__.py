"""Receiving webhooks: parsing their bodies, answering requests, reading again the records that they name."""

from .adapters import AsgiApp
from .answers import Answer
from .follow import TaskChange, follow_tasks
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
