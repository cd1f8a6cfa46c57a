"""Open enums: a value that is not known yet is kept, not refused."""

from enum import Enum, IntEnum, StrEnum
from typing import Any, Self

Code = int | str
"""A code whose meaning the API does not document."""

_MOST_CHARACTERS = 20  # of an integer of 64 bits


def is_64_bit(number: int) -> bool:
    """Whether an integer fits 64 bits, with a sign or without: others are no JSON for every reader."""
    return -(2**63) <= number < 2**64


def integer_of(text: str) -> int | None:
    """The integer of 64 bits whose digits the text is; `None` if it is none."""
    if len(text) > _MOST_CHARACTERS or not text.isascii() or not text.removeprefix("-").isdigit():
        return None
    number = int(text)
    return number if is_64_bit(number) else None


def as_code(text: str) -> Code:
    """The integer whose digits the text is, else the text, so that a column of text gives back what it was given."""
    number = integer_of(text)
    return text if number is None or str(number) != text else number


def _open_json_schema(kind: type[Enum], schema: Any, handler: Any, plain: str) -> dict[str, Any]:
    """The JSON schema of an open enum, from that of a closed one: its values, or any other."""
    closed: dict[str, Any] = handler.resolve_ref_schema(schema)
    known = {"type": plain, "enum": [member.value for member in kind]}
    about = {name: closed[name] for name in ("title", "description") if name in closed}
    return about | {"anyOf": [known, {"type": plain}]}


def _number_of(value: object) -> object:
    code = as_code(value) if isinstance(value, str) else value
    if isinstance(code, bool) or not isinstance(code, int):
        raise ValueError("expected an integer")  # noqa: TRY004 - what pydantic takes for invalid
    return code


class OpenStrEnum(StrEnum):
    """A string enum that keeps unknown values: they compare, hash and print as their string."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str.__str__(value)
        return unknown

    def __reduce_ex__(self, proto: object) -> tuple[type[Self], tuple[str]]:
        # Before Python 3.11.4 enums are copied and pickled by name, which an unknown one has only to show.
        return type(self), (self._value_,)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON schema of the enum; only pydantic calls it."""
        return _open_json_schema(cls, handler(schema), handler, "string")

    @property
    def is_known(self) -> bool:
        # By identity: an unknown "CALL" has the name of a member whose value is "Call".
        return type(self).__members__.get(self._name_) is self


class OpenIntEnum(IntEnum):
    """An integer enum that keeps unknown values: they compare, hash and print as their number."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = str(int(value)), int(value)
        return unknown

    def __reduce_ex__(self, proto: object) -> tuple[type[Self], tuple[int]]:
        return type(self), (self._value_,)  # as above

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Return the schema of an integer, or of its digits where all is text, as in a URL; only pydantic calls it."""
        from pydantic_core import core_schema  # noqa: PLC0415 - only pydantic asks

        closed = handler(source)
        # Under the name of the enum, so that a JSON schema has it once.
        return core_schema.no_info_before_validator_function(_number_of, closed, ref=closed.pop("ref", None))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON schema of the enum; only pydantic calls it."""
        return _open_json_schema(cls, handler(schema), handler, "integer")

    @property
    def is_known(self) -> bool:
        return type(self).__members__.get(self._name_) is self


class TaskType(OpenStrEnum):
    """The kind of work; also a calendar task's `task_way`."""

    OTHER = "Other"
    CALL = "Call"
    EMAIL = "Email"
    TEXT = "Text"
    APPOINTMENT = "Appointment"


class AssignedRole(OpenStrEnum):
    """The role that the task is assigned to."""

    AGENT = "Agent"
    ASSISTANT = "Assistant"


class EntryType(OpenStrEnum):
    """The kind of a calendar entry."""

    TASK = "TASK"
    APPOINTMENT = "APPOINTMENT"


class WebhookEvent(OpenIntEnum):
    """The event type of a webhook subscription (`listId` on the wire)."""

    AGENT = 1
    LEAD = 2
    LEAD_ACTIVITY = 3
    LISTING_ALERT = 4
    TRANSACTION = 5
    CALL = 6
    EMAIL = 7
    TEXT = 8
    NOTE = 9
    TASK = 10
    APPOINTMENT = 11
    PIPELINE = 12


class PermissionMode(OpenIntEnum):
    """Whose leads a webhook subscription covers."""

    ASSIGNMENT = 0
    OWNERSHIP = 1
