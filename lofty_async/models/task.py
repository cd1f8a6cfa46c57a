from datetime import datetime

from attrs import frozen

from .enums import AssignedRole, Code, TaskType


@frozen(kw_only=True)
class Task:
    """A task or appointment of a lead; every field but `id` may be absent (`None`).

    `end_at` is the deadline. `overdue` means past the deadline and still open. `subject` and `body` belong to
    e-mail tasks only. Datetimes are aware and keep the offset that the server sent. `reminder_type` is a code without a
    documented meaning, an integer or a string.
    """

    id: int
    lead_id: int | None = None
    creator_id: int | None = None
    content: str | None = None
    type: TaskType | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    time_zone: str | None = None
    all_day: bool | None = None
    finished: bool | None = None
    overdue: bool | None = None
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
    address: str | None = None
