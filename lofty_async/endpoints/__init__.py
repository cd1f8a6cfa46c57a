"""One module per resource: each call a declaration of its path, its parameters and its model."""

from typing import TYPE_CHECKING

from lofty_async._lazy import lazily

if TYPE_CHECKING:
    from lofty_async.models import User

    from .calendar import Calendar
    from .caller import Caller
    from .leads import LeadFilters, Leads
    from .tasks import Tasks
    from .v1 import V1, AppointmentsV1, TasksV1
    from .webhooks import Webhooks

    __all__ = [
        "V1",
        "AppointmentsV1",
        "Calendar",
        "Caller",
        "LeadFilters",
        "Leads",
        "Tasks",
        "TasksV1",
        "User",
        "Webhooks",
    ]
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "lofty_async.models": ("User",),
            ".calendar": ("Calendar",),
            ".caller": ("Caller",),
            ".leads": ("LeadFilters", "Leads"),
            ".tasks": ("Tasks",),
            ".v1": ("V1", "AppointmentsV1", "TasksV1"),
            ".webhooks": ("Webhooks",),
        },
    )
