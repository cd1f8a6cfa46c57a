"""Every model and enum of the API: frozen, slotted attrs classes that know nothing of the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from attrs import frozen

from ._enums import AssignedRole, Code, EntryType, PermissionMode, TaskType, WebhookEvent
from ._value import Value

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


class Model(Value):
    """The base of every model: to plain data and JSON and back, through `__plain__`, which `_convert` sets."""

    __slots__ = ()
    __plain__: ClassVar[Any]

    def to_dict(self, *, ids_as_strings: bool = False) -> dict[str, Any]:
        """Every field under its own name as a value that JSON has: `from_dict` makes the same model of it again.

        Datetimes are ISO 8601 with their offset, enums their values, nested models dicts, tuples lists. With
        `ids_as_strings` 64-bit ids are strings, for JavaScript, which rounds integers beyond 2**53.

        Raises:
            ValueError: The model was built with what JSON cannot say, e.g. a datetime without an offset.
        """
        values: dict[str, Any] = self.__plain__.to_dict(self, ids_as_strings=ids_as_strings)
        return values

    def to_json(self, *, ids_as_strings: bool = False) -> str:
        """The same as `to_dict` as a compact JSON text.

        Raises:
            ValueError: The model was built with what JSON cannot say, e.g. a datetime without an offset.
        """
        text: str = self.__plain__.to_json(self, ids_as_strings=ids_as_strings)
        return text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The model that `to_dict` describes; ids may be integers or their digits as strings.

        A missing key is `None` (an empty tuple for lists), and a key that is no field is ignored, so that versions
        with more fields and with fewer read each other. Values that have the field's own type already, such as
        datetimes, are taken too. Records of the API itself have other names, and are refused.

        Raises:
            DecodeError: The id is missing, or a value is of the wrong kind; `path` names the model and the field.
        """
        model: Self = cls.__plain__.from_dict(cls, values)
        return model

    @classmethod
    def from_json(cls, text: str | bytes | bytearray | memoryview) -> Self:
        """The model that `to_json` describes, as `from_dict` reads it.

        Raises:
            DecodeError: The text is not JSON, the id is missing, or a value is of the wrong kind.
        """
        model: Self = cls.__plain__.from_json(cls, text)
        return model

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """How pydantic (2.10 or later) reads and writes the model; only pydantic calls it."""
        return cls.__plain__.pydantic_schema(cls, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """Return the schema of the model; only pydantic calls it."""
        return cls.__plain__.pydantic_json_schema(schema, handler)


@frozen(kw_only=True, eq=False, repr=False)
class Task(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class CalendarEntry(Model):
    """A task or appointment as the calendar shows it.

    `id` is composite (`12345-task`, `12345-appointment`) and goes back to the server as it came. `task_id` reads
    through `tasks.get`, which also has what the calendar leaves out: address, assignee, all-day, overdue.
    `source_type` is a code without a documented meaning, an integer or a string.
    """

    id: str
    type: EntryType | None = None
    task_id: int | None = None
    source_type: Code | None = None
    content: str | None = None
    title: str | None = None
    finished: bool | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    time_zone: str | None = None
    lead_id: int | None = None


@frozen(kw_only=True, eq=False, repr=False)
class MeetingSlot(Model):
    """A time at which a meeting can be held."""

    start_at: datetime
    end_at: datetime


@frozen(kw_only=True, eq=False, repr=False)
class LeadTag(Model):
    """A label on a lead; every field may be absent (`None`). `visible_type` is a code without a documented meaning."""

    lead_id: int | None = None
    tag_id: int | None = None
    tag_name: str | None = None
    creator_user_id: int | None = None
    visible_type: Code | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True, eq=False, repr=False)
class Location(Model):
    """A place that a lead is interested in; every field may be absent (`None`)."""

    state_code: str | None = None
    city: str | None = None
    zip_code: str | None = None
    county: str | None = None
    street_address: str | None = None
    description: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class LeadInquiry(Model):
    """The property that a lead looks for; every field may be absent (`None`, or empty for lists)."""

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


@frozen(kw_only=True, eq=False, repr=False)
class LeadProperty(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class LeadFamilyMember(Model):
    """A relative of a lead; every field may be absent (`None`, or empty for lists)."""

    relationship: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    birthday: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class CustomAttribute(Model):
    """A field that a team has added to its leads; `value` and `params` are text, in JSON where they hold several."""

    attribute_name: str | None = None
    attribute_type: str | None = None
    value: str | None = None
    params: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class CustomRole(Model):
    """A role that a team has added to its leads, and the user who holds it for this lead."""

    role_id: int | None = None
    role: str | None = None
    assignee_id: int | None = None
    assignee: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class Lead(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class AgentInfo(Model):
    """The professional profile of an agent; every field may be absent (`None`)."""

    license_id: str | None = None
    position: str | None = None
    company_name: str | None = None
    company_address: str | None = None
    mls_agent_id: str | None = None
    agent_pid: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class Office(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class User(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class TaskV1(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class AppointmentV1(Model):
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


@frozen(kw_only=True, eq=False, repr=False)
class WebhookSubscription(Model):
    """Delivers one event type to one callback URL."""

    id: int
    team_id: int | None = None
    event: WebhookEvent | None = None
    callback_url: str | None = None
    vendor_id: int | None = None
    limit: int | None = None
    permission_mode: PermissionMode | None = None
