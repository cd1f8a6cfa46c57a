"""The records of the sandbox: leads, and their tasks and appointments."""

from collections.abc import Mapping
from datetime import datetime, time
from enum import StrEnum
from typing import Any, TypedDict

from attrs import field, frozen

from .times import TimeStyle

TEAM_ID = 471_208_113_640_512
MEMBER_ID = 471_208_990_024_571
"""The user of the sandbox's credentials, as in records."""
MEMBER_NAME = "Agatha Agent"

LENDER_ID = 471_208_990_311_905
"""A lender of the team, assigned to some leads."""
OFFICES: Mapping[int, int | None] = {3101: None, 3102: 3101, 3103: None}
"""The team's offices, each with its parent office."""

ABSENT = object()
"""The value of a quirk that omits its field."""


class EntryKind(StrEnum):
    """The two kinds that share an id space."""

    TASK = "TASK"
    APPOINTMENT = "APPOINTMENT"


class EntryClass(StrEnum):
    """The classes of entries that a list may leave out."""

    FINISHED = "finished"
    APPOINTMENTS = "appointments"
    UNDATED = "undated"
    """Without a start and an end; the calendar never shows them."""
    OTHERS = "others"
    """Assigned to another user than the caller."""
    UNMANAGED = "unmanaged"
    """Of leads that the caller does not manage."""


@frozen(kw_only=True)
class Lead:
    """A contact of the team; `quirks` replace fields of the response, `ABSENT` omits them."""

    id: int
    first_name: str = "New"
    last_name: str = "Lead"
    email: str = "new@example.com"
    phone: str = "+14155550100"
    stage: str = "New Leads"
    source: str = "Website"
    created_at: datetime
    updated_at: datetime
    assigned_at: datetime | None = None
    assigned_user_id: int = MEMBER_ID
    lender_user_id: int | None = None
    custom_roles: Mapping[str, int] = field(factory=dict[str, int])
    """The users in custom roles of the team, by role."""
    user_id: int = 0
    score: int = 0
    tags: tuple[str, ...] = ("vip",)
    segments: tuple[str, ...] = ("First-Time Buyers",)
    language: str = "en"
    office_id: int | None = None
    """The office that owns the lead; `None` for the whole team."""
    last_touch: datetime | None = None
    """When an agent last contacted the lead."""
    last_visit: datetime | None = None
    """When the lead was last seen on the website."""
    quirks: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def roles(self) -> Mapping[str, int | None]:
        """The users assigned to the lead, by role."""
        return {"Agent": self.assigned_user_id, "Lender": self.lender_user_id, **self.custom_roles}


@frozen(kw_only=True)
class Entry:
    """A task or an appointment: both share an id space and are read through the same calls.

    `end_at` is a task's deadline. `quirks` replace fields of the response, `ABSENT` omits them.
    """

    id: int
    lead_id: int
    kind: EntryKind = EntryKind.TASK
    type: str = "Other"
    content: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    time_zone: str | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    assigned_role: str = "Agent"
    assigned_user_id: int = MEMBER_ID
    address: str | None = None
    subject: str | None = None
    body: str | None = None
    reminder_type: int | str = 0
    reminder_time: str | None = None
    """In no response."""
    source_code: int | str | None = None
    """Replaces the usual source type."""
    smart_plan: bool = False
    query_id: int | None = None
    time_style: TimeStyle = TimeStyle.OFFSET
    quirks: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)

    @property
    def finished(self) -> bool:
        return self.finished_at is not None

    @property
    def all_day(self) -> bool:
        """Whether it is an appointment from midnight to midnight, each in its own offset."""
        return self.kind is EntryKind.APPOINTMENT and all(
            moment is not None and moment.time() == time() for moment in (self.start_at, self.end_at)
        )

    @property
    def calendar_id(self) -> str:
        return f"{self.id}-{self.kind.lower()}"

    @property
    def source_type(self) -> int | str:
        """A code; the meaning of the vendor's codes is unknown."""
        if self.source_code is not None:
            return self.source_code
        if self.smart_plan:
            return 4
        return 1 if self.kind is EntryKind.TASK else 2

    def overdue(self, now: datetime) -> bool:
        return not self.finished and self.end_at is not None and self.end_at < now


class LeadFields(TypedDict, total=False):
    """The fields of `Lead`, by name."""

    id: int
    first_name: str
    last_name: str
    email: str
    phone: str
    stage: str
    source: str
    created_at: datetime
    updated_at: datetime
    assigned_at: datetime | None
    assigned_user_id: int
    lender_user_id: int | None
    custom_roles: Mapping[str, int]
    user_id: int
    score: int
    tags: tuple[str, ...]
    segments: tuple[str, ...]
    language: str
    office_id: int | None
    last_touch: datetime | None
    last_visit: datetime | None
    quirks: Mapping[str, Any]


class EntryFields(TypedDict, total=False):
    """The fields of `Entry` besides its lead, by name."""

    id: int
    kind: EntryKind
    type: str
    content: str
    start_at: datetime | None
    end_at: datetime | None
    time_zone: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    assigned_role: str
    assigned_user_id: int
    address: str | None
    subject: str | None
    body: str | None
    reminder_type: int | str
    reminder_time: str | None
    source_code: int | str | None
    smart_plan: bool
    query_id: int | None
    time_style: TimeStyle
    quirks: Mapping[str, Any]
