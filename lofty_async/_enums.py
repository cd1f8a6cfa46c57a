"""Open enums: a value that is not known yet is kept, not refused."""

from enum import IntEnum, StrEnum
from typing import Self

Code = int | str
"""A code whose meaning the API does not document."""


def as_code(text: str) -> Code:
    """The integer whose digits the text is, else the text, so that a column of text gives back what it was given."""
    is_number = text.isascii() and text.removeprefix("-").isdigit() and str(int(text[:20])) == text
    return int(text) if is_number else text


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

    @property
    def is_known(self) -> bool:
        return type(self).__members__.get(self._name_) is self


class TaskType(OpenStrEnum):
    """What is to be done; also a calendar task's `task_way`."""

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
    """What a calendar entry is."""

    TASK = "TASK"
    APPOINTMENT = "APPOINTMENT"


class WebhookEvent(OpenIntEnum):
    """What a webhook subscription is told about (`listId` on the wire)."""

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
