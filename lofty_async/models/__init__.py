"""What the API talks about: frozen, slotted classes that know nothing of the wire."""

from .calendar import CalendarEntry, MeetingSlot
from .enums import AssignedRole, EntryType, PermissionMode, TaskType, WebhookEvent
from .lead import (
    CustomAttribute,
    CustomRole,
    Lead,
    LeadFamilyMember,
    LeadInquiry,
    LeadProperty,
    LeadTag,
    Location,
)
from .task import Task
from .user import AgentInfo, Office, User
from .v1 import AppointmentV1, TaskV1
from .webhook import WebhookSubscription

__all__ = [
    "AgentInfo",
    "AppointmentV1",
    "AssignedRole",
    "CalendarEntry",
    "CustomAttribute",
    "CustomRole",
    "EntryType",
    "Lead",
    "LeadFamilyMember",
    "LeadInquiry",
    "LeadProperty",
    "LeadTag",
    "Location",
    "MeetingSlot",
    "Office",
    "PermissionMode",
    "Task",
    "TaskType",
    "TaskV1",
    "User",
    "WebhookEvent",
    "WebhookSubscription",
]
