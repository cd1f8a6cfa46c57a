"""Keeps a local copy of the tasks true: what to read, what changed, where it is kept."""

from .diff import Changes, diff
from .jsonlines import JsonLines, JsonLinesOutput
from .report import LeadFailure, SyncReport
from .sinks import Doubt, Merged, TaskSink, Tee
from .store import TaskStore
from .sync import TaskSync, sync_tasks

__all__ = [
    "Changes",
    "Doubt",
    "JsonLines",
    "JsonLinesOutput",
    "LeadFailure",
    "Merged",
    "SyncReport",
    "TaskSink",
    "TaskStore",
    "TaskSync",
    "Tee",
    "diff",
    "sync_tasks",
]
