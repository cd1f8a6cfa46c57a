from datetime import datetime

from attrs import frozen

from .enums import Code


@frozen(kw_only=True)
class AgentInfo:
    """The professional profile of an agent; every field may be absent (`None`)."""

    license_id: str | None = None
    position: str | None = None
    company_name: str | None = None
    company_address: str | None = None
    mls_agent_id: str | None = None
    agent_pid: str | None = None


@frozen(kw_only=True)
class Office:
    """The office that a team member belongs to; every field may be absent (`None`).

    `type` is a code without a documented meaning.
    """

    id: int | None = None
    team_id: int | None = None
    parent_id: int | None = None
    website_owner_id: int | None = None
    name: str | None = None
    type: Code | None = None
    phone: str | None = None
    phone_code: str | None = None
    phone_country: str | None = None
    email: str | None = None
    city: str | None = None
    state: str | None = None
    zipcode: str | None = None
    street_address: str | None = None
    web_site_url: str | None = None
    path: str | None = None
    child_path: str | None = None
    layer: int | None = None
    show_in_site: bool | None = None
    default_flag: bool | None = None
    allow_manage_sub: bool | None = None
    agent_count: int | None = None
    bound_number: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class User:
    """The team member whose credential is in use; every field but `id` may be absent (`None`).

    `id` numbers the team membership; records carry `member_user_id`-like user ids instead, so the two do not join.
    `role` and `status` are codes without a documented meaning, integers or strings.
    """

    id: int
    team_id: int | None = None
    invitor_user_id: int | None = None
    member_user_id: int | None = None
    role: Code | None = None
    role_name: str | None = None
    email: str | None = None
    first_letter: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone_number: str | None = None
    virtual_number: str | None = None
    status: Code | None = None
    account_status: str | None = None
    new_lead_count: int | None = None
    assigned_lead_count: int | None = None
    is_admin: bool | None = None
    agent_info: AgentInfo | None = None
    time_zone: str | None = None
    group_id: int | None = None
    group_name: str | None = None
    group: Office | None = None
