from datetime import datetime

from attrs import frozen

from .enums import Code


@frozen(kw_only=True)
class LeadTag:
    """A label on a lead; every field may be absent (`None`). `visible_type` is a code without a documented meaning."""

    lead_id: int | None = None
    tag_id: int | None = None
    tag_name: str | None = None
    creator_user_id: int | None = None
    visible_type: Code | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class Location:
    """A place that a lead is interested in; every field may be absent (`None`)."""

    state_code: str | None = None
    city: str | None = None
    zip_code: str | None = None
    county: str | None = None
    street_address: str | None = None
    description: str | None = None


@frozen(kw_only=True)
class LeadInquiry:
    """What a lead is looking for; every field may be absent (`None`, or empty for lists)."""

    id: int | None = None
    lead_user_id: int | None = None
    price_min: int | None = None
    price_max: int | None = None
    property_type: tuple[str, ...] = ()
    bedrooms_min: int | None = None
    bedrooms_max: int | None = None
    bathrooms_min: str | None = None
    bathrooms_max: str | None = None
    locations: tuple[Location, ...] = ()
    modify_by_agent: bool | None = None
    default_value: bool | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class LeadProperty:
    """A home or postal address of a lead; every field may be absent (`None`).

    `square_feet` is an area in square feet, `lot_size` one in acres. `mail_address` tells a postal address from a home.
    """

    id: int | None = None
    lead_user_id: int | None = None
    price: int | None = None
    price_min: int | None = None
    price_max: int | None = None
    state: str | None = None
    city: str | None = None
    street_address: str | None = None
    zip_code: str | None = None
    county: str | None = None
    property_type: str | None = None
    bedrooms: int | None = None
    bathrooms: float | None = None
    square_feet: int | None = None
    lot_size: float | None = None
    parking_space: int | None = None
    floors: int | None = None
    mail_address: bool | None = None
    listing_id: str | None = None
    auto_listing_id: int | None = None
    listing_status: str | None = None
    label: str | None = None
    label_list: str | None = None
    label_type: str | None = None
    note: str | None = None
    picture_url: str | None = None
    site_listing_url: str | None = None


@frozen(kw_only=True)
class LeadFamilyMember:
    """A relative of a lead; every field may be absent (`None`, or empty for lists)."""

    relationship: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    birthday: str | None = None


@frozen(kw_only=True)
class CustomAttribute:
    """A field that a team has added to its leads; `value` and `params` are text, in JSON where they hold several."""

    attribute_name: str | None = None
    attribute_type: str | None = None
    value: str | None = None
    params: str | None = None


@frozen(kw_only=True)
class CustomRole:
    """A role that a team has added to its leads, and the user who holds it for this lead."""

    role_id: int | None = None
    role: str | None = None
    assignee_id: int | None = None
    assignee: str | None = None


@frozen(kw_only=True)
class Lead:
    """A person whom agents work with; every field but `id` may be absent (`None`, or empty for lists).

    `street_address`, `city`, `state`, `zip_code` and `groups` are deprecated by the vendor: prefer
    `lead_property_list` and `segments`.
    """

    id: int
    lead_user_id: int | None = None
    first_name: str | None = None
    last_name: str | None = None
    birthday: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    phone_statuses: tuple[int, ...] = ()
    lead_source: int | None = None
    source: str | None = None
    stage_id: int | None = None
    stage: str | None = None
    assigned_user_id: int | None = None
    assigned_user: str | None = None
    lender_user_id: int | None = None
    score: int | None = None
    tags: tuple[LeadTag, ...] = ()
    groups: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    lead_types: tuple[int, ...] = ()
    team_id: int | None = None
    street_address: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    facebook: str | None = None
    twitter: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    assign_time: datetime | None = None
    assign_completion_status: bool | None = None
    last_touch: datetime | None = None
    last_visit: datetime | None = None
    hidden_flag: bool | None = None
    unsubscription: bool | None = None
    cannot_text: bool | None = None
    cannot_call: bool | None = None
    cannot_email: bool | None = None
    referred_by: str | None = None
    opportunity: str | None = None
    buying_time_frame: str | None = None
    selling_time_frame: str | None = None
    pre_qual: str | None = None
    house_to_sell: str | None = None
    fthb: str | None = None
    with_buyer_agent: str | None = None
    with_listing_agent: str | None = None
    mortgage: str | None = None
    buy_house: str | None = None
    lead_inquiry: LeadInquiry | None = None
    lead_property_list: tuple[LeadProperty, ...] = ()
    lead_family_member_list: tuple[LeadFamilyMember, ...] = ()
    custom_attributes: tuple[CustomAttribute, ...] = ()
    custom_role_list: tuple[CustomRole, ...] = ()
    pond_id: int | None = None
    pond_name: str | None = None
    language: str | None = None
    ownership_id: int | None = None
    ownership_scope: str | None = None
