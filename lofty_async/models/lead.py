from datetime import datetime

from attrs import frozen


@frozen(kw_only=True)
class LeadTag:
    """A label on a lead."""

    tag_id: int | None = None
    tag_name: str | None = None


@frozen(kw_only=True)
class Lead:
    """A person whom agents work with; every field but `id` may be absent (`None`, or empty for lists)."""

    id: int
    lead_user_id: int | None = None
    first_name: str | None = None
    last_name: str | None = None
    birthday: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    lead_source: int | None = None
    source: str | None = None
    stage_id: int | None = None
    stage: str | None = None
    assigned_user_id: int | None = None
    assigned_user: str | None = None
    lender_user_id: int | None = None
    score: int | None = None
    tags: tuple[LeadTag, ...] = ()
    segments: tuple[str, ...] = ()
    lead_types: tuple[int, ...] = ()
    team_id: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    assign_time: datetime | None = None
    last_touch: datetime | None = None
    last_visit: datetime | None = None
    hidden_flag: bool | None = None
    unsubscription: bool | None = None
    cannot_text: bool | None = None
    cannot_call: bool | None = None
    cannot_email: bool | None = None
    referred_by: str | None = None
    opportunity: str | None = None
    pond_id: int | None = None
    pond_name: str | None = None
    language: str | None = None
    ownership_id: int | None = None
    ownership_scope: str | None = None
