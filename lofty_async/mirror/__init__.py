"""Keeps a local copy of the tasks: `TaskSync` reads leads and writes to a sink, an SQLite file or JSON lines."""

from .jsonl import JsonLines, JsonLinesOutput
from .sinks import Changes, Doubt, Merged, TaskSink, Tee, diff
from .sqlite import TaskStore
from .sync import LeadFailure, SyncReport, TaskSync, sync_tasks

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
