from attrs import frozen


@frozen(kw_only=True)
class User:
    """The team member whose credential is in use.

    `id` numbers the team membership; records carry `member_user_id`-like user ids instead, so the two do not join.
    """

    id: int
    team_id: int | None = None
    invitor_user_id: int | None = None
    member_user_id: int | None = None
    role: int | None = None
    role_name: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone_number: str | None = None
    virtual_number: str | None = None
    status: int | None = None
    account_status: str | None = None
    new_lead_count: int | None = None
    assigned_lead_count: int | None = None
    is_admin: bool | None = None
    time_zone: str | None = None
    group_id: int | None = None
    group_name: str | None = None
