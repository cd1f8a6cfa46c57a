"""One module per resource: each call a declaration of its path, its parameters and its model."""

from ._base import Caller
from ._raw import Response, raw_request, send_raw
from .calendar import Calendar
from .leads import LeadFilters, Leads
from .tasks import Tasks
from .v1 import AppointmentsV1, TasksV1
from .webhooks import Webhooks

__all__ = [
    "AppointmentsV1",
    "Calendar",
    "Caller",
    "LeadFilters",
    "Leads",
    "Response",
    "Tasks",
    "TasksV1",
    "Webhooks",
    "raw_request",
    "send_raw",
]
