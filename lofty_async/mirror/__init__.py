"""Keeps a local copy of the tasks true: what to read, what changed, where it is kept."""

from .diff import Changes, diff
from .jsonlines import JsonLines
from .report import LeadFailure, SyncReport
from .sinks import LeadPart, TaskSink, Tee
from .store import TaskStore
from .sync import TaskSync, sync_tasks

__all__ = [
    "Changes",
    "JsonLines",
    "LeadFailure",
    "LeadPart",
    "SyncReport",
    "TaskSink",
    "TaskStore",
    "TaskSync",
    "Tee",
    "diff",
    "sync_tasks",
]
