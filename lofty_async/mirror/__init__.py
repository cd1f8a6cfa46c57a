"""Keeps a local copy of the tasks: `Mirror` makes a database equal to the API; `export_tasks` writes JSON lines."""

from .database import Database, read_changes
from .decide import Strategy, StrategyPlan, SyncPlan
from .errors import ChangesPrunedError, OtherAccountError, SuspiciousDeletionError, SyncRunningError
from .export import TaskExport, export_tasks
from .jsonl import JsonLines, JsonLinesOutput
from .mirror import Mirror
from .postgres import PostgresDatabase
from .records import Change, ChangeKind, Phase, Run, Summary
from .report import LeadFailure, SyncReport
from .sinks import Changes, Doubt, Merged, TaskSink, Tee
from .sources import Source
from .sqlite import SqliteDatabase

__all__ = [
    "Change",
    "ChangeKind",
    "Changes",
    "ChangesPrunedError",
    "Database",
    "Doubt",
    "JsonLines",
    "JsonLinesOutput",
    "LeadFailure",
    "Merged",
    "Mirror",
    "OtherAccountError",
    "Phase",
    "PostgresDatabase",
    "Run",
    "Source",
    "SqliteDatabase",
    "Strategy",
    "StrategyPlan",
    "Summary",
    "SuspiciousDeletionError",
    "SyncPlan",
    "SyncReport",
    "SyncRunningError",
    "TaskExport",
    "TaskSink",
    "Tee",
    "export_tasks",
    "read_changes",
]
