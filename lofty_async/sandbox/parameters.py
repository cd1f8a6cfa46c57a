"""The parameters that each call takes, by label; any other is refused instead of being ignored."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from . import refusals

if TYPE_CHECKING:
    from multidict import MultiMapping

Names = frozenset[str]

_LEAD: Final = frozenset({"leadId"})
_RANGE: Final = frozenset({"startTime", "endTime", "startTimeMs", "endTimeMs", "timeZoneCode"})
_TIMES: Final = frozenset({"content", "startAt", "endAt", "timeZoneCode", "address"})
_PAGE: Final = frozenset({"scrollId", "offset", "limit", "sort", "desc"})
_TASK_V1: Final = frozenset({"content", "leadId", "deadline", "type", "assignedRole", "finishFlag"})

QUERIES: Final[Mapping[str, Names]] = {
    "GET /v2.0/tasks": _LEAD,
    "GET /v2.0/tasks/my-tasks": frozenset({"userId", "currentId", "limit", "timeZoneCode"}),
    "GET /v2.0/calendar": _RANGE | {"leadId", "includeFinished", "page", "pageSize", "sort", "desc", "sourceType"},
    "GET /v2.0/calendar/meetings/available": _RANGE | {"limit"},
    "GET /v1.0/tasks": _LEAD,
    "GET /v1.0/appts": _LEAD,
    "GET /v1.0/leads": _PAGE
    | frozenset({"stage", "source", "phone", "email", "assignedUserId", "contacted", "groups", "segments"})
    | frozenset({"allTags", "anyTags", "groupIds", "querySubGroup", "languages", "preciseSearchFlag", "key"})
    | frozenset({"roleAssigneeFilters", "otherFilters", "returnFields"}),
}
REPEATABLE: Final = frozenset({"sourceType"})
"""Parameters that a query may hold more than once."""

BODIES: Final[Mapping[str, Names]] = {
    "POST /v2.0/tasks": _TIMES | {"type", "leadId", "assignedRole"},
    "PUT /v2.0/tasks/{taskId}": _TIMES,
    "POST /v2.0/calendar": _TIMES | {"type", "leadId", "startAtMs", "endAtMs", "taskWay", "assignedRole"},
    "PUT /v2.0/calendar/{calendarId}": _TIMES | {"leadId", "startAtMs", "endAtMs", "reminderType", "reminderTime"},
    "POST /v1.0/tasks": _TASK_V1,
    "PUT /v1.0/tasks/{taskId}": _TASK_V1,
    "POST /v1.0/webhook": frozenset({"listId", "callbackUrl", "limit", "permissionMode"}),
}
EMPTY_BODIES: Final = (b"", b"{}")


def check_query(label: str, query: "MultiMapping[str]") -> None:
    """Raises: Refusal naming a parameter that the call does not take, or takes only once."""
    _check(query.keys(), QUERIES.get(label, frozenset()))
    for name in query.keys() - REPEATABLE:
        if len(query.getall(name)) > 1:
            raise refusals.invalid(f"{name} is given more than once")


def check_body(label: str, body: Iterable[str]) -> None:
    """Raises: Refusal naming a field that the call does not take."""
    _check(body, BODIES[label])


def check_no_body(label: str, body: bytes) -> None:
    """Raises: Refusal where a call that takes no body has one."""
    if label not in BODIES and body not in EMPTY_BODIES:
        raise refusals.invalid("this call takes no body")


def _check(given: Iterable[str], known: Names) -> None:
    for name in given:
        if name not in known:
            raise refusals.invalid(f"{name} is not a parameter of this call")
