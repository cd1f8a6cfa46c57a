from datetime import datetime

from attrs import frozen

from .enums import AssignedRole, Code, TaskType


@frozen(kw_only=True)
class TaskV1:
    """A task as the legacy API shows it; `end_at` is its deadline. Prefer `Task`."""

    id: int
    lead_id: int | None = None
    creator_id: int | None = None
    content: str | None = None
    type: TaskType | None = None
    end_at: datetime | None = None
    finished: bool | None = None
    overdue: bool | None = None
    deleted: bool | None = None
    finished_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    lead_name: str | None = None
    lead_email: str | None = None
    lead_phone: str | None = None
    lead_first_name: str | None = None
    lead_last_name: str | None = None
    reminder_type: Code | None = None
    assigned_role: AssignedRole | None = None
    assigned_user: str | None = None
    team_id: int | None = None
    subject: str | None = None
    body: str | None = None
    assigned_user_id: int | None = None
    pipeline_id: int | None = None
    query_info: str | None = None
    lead_user_id: int | None = None
    query_id: int | None = None


@frozen(kw_only=True)
class AppointmentV1:
    """An appointment as the legacy API shows it. Prefer `CalendarEntry`."""

    id: int
    lead_id: int | None = None
    creator_id: int | None = None
    content: str | None = None
    address: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    all_day: bool | None = None
    finished: bool | None = None
    overdue: bool | None = None
    deleted: bool | None = None
    finished_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    assign_to_uid: int | None = None
    assign_role_type: Code | None = None
