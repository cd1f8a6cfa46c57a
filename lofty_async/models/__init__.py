"""What the API talks about: frozen, slotted classes that know nothing of the wire."""

from .calendar import CalendarEntry, MeetingSlot
from .enums import AssignedRole, EntryType, PermissionMode, TaskType, WebhookEvent
from .lead import Lead, LeadTag
from .task import Task
from .user import User
from .v1 import AppointmentV1, TaskV1
from .webhook import WebhookSubscription

__all__ = [
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
]
