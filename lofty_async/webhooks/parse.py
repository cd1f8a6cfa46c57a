"""Parsing of webhook bodies: most are undocumented, so no key is required and no record is dropped."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeGuard

from attrs import field, frozen

from lofty_async._enums import OpenStrEnum, WebhookEvent
from lofty_async._times import parse_time
from lofty_async.errors import DecodeError, cut

_SHOWN_BYTES = 1000  # more than what is shown of a body, at 4 bytes a character
_LARGEST_ID = 2**63 - 1
_NUMERIC_ID = re.compile(r"[0-9]{1,19}")
_COMPOSITE_ID = re.compile(r"([0-9]{1,19})-(task|appointment)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_CHANGES = ("create", "finish", "delete")


class NoticeKind(OpenStrEnum):
    """The kind of record that a notice is about; `OTHER` if that is not certain."""

    TASK = "task"
    APPOINTMENT = "appointment"
    LEAD = "lead"
    OTHER = "other"


@frozen(kw_only=True)
class WebhookNotice:
    """One record of a webhook: a hint that a record has changed, to be read again through the API.

    `bucket` is the key of the record's list, which names the change (`updatedLead`). `task_id` is the id of a task or
    an appointment: they share one space of ids, and `tasks.get` reads both. `at` is the time of the change as the
    record gives it. A value that is not certain is `None`; `raw` is the whole record.
    """

    bucket: str
    kind: NoticeKind = NoticeKind.OTHER
    task_id: int | None = None
    lead_id: int | None = None
    at: datetime | None = None
    raw: Any = field(default=None, hash=False)


@frozen(kw_only=True)
class WebhookBatch:
    """One body posted by Lofty: its notices in order, and the whole body in `raw`."""

    event: WebhookEvent | None = None
    team_id: int | None = None
    notices: tuple[WebhookNotice, ...] = ()
    raw: dict[str, Any] = field(factory=dict[str, Any], hash=False)


def parse_webhook(body: bytes | str | dict[str, Any]) -> WebhookBatch:
    """Parses one posted body: every element of every list in it becomes a notice.

    Lofty documents `listId` and `teamId` for all events; every other key may be there or not.

    Raises:
        DecodeError: The body is not JSON, or not an object.
    """
    content = body if isinstance(body, dict) else _decoded(body)
    number = _numeric_id(content.get("listId"))
    event = None if number is None else WebhookEvent(number)
    return WebhookBatch(
        event=event,
        team_id=_numeric_id(content.get("teamId")),
        notices=tuple(_notice(event, bucket, record) for bucket, record in _records(content)),
        raw=content,
    )


def _decoded(body: bytes | str) -> dict[str, Any]:
    try:
        # The standard decoder, for its pairs: without them a repeated key would lose records. It takes NaN
        # too: a body must not be lost because of a number.
        text = body.removeprefix("\ufeff") if isinstance(body, str) else body  # of bytes it drops the mark itself
        content = json.loads(text, object_pairs_hook=_joined)
    except (ValueError, RecursionError):
        # The decoder's own error holds the whole body, so it is not chained.
        raise DecodeError("the webhook body is not JSON", body=_shown(body)) from None
    if not _is_object(content):
        raise DecodeError("the webhook body is not a JSON object", body=_shown(body))
    return content


def _joined(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object whose repeated keys keep the records of all their lists; `dict` would keep the last list."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        before = content.get(key)
        content[key] = value if before is None else _both(before, value)
    return content


def _both(before: Any, after: Any) -> Any:
    if not _is_list(before):
        return after
    if _is_list(after):
        before += after  # in place: a body may repeat a key a hundred thousand times
    return before


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _shown(body: bytes | str) -> str:
    # Cut before it is decoded. The decoder takes UTF-16 and UTF-32 too; for showing, a few replaced characters do.
    return cut(body if isinstance(body, str) else body[:_SHOWN_BYTES].decode("utf-8", "replace"))


def _records(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for bucket, records in content.items():
        if _is_list(records):
            for record in records:
                yield bucket, record


def _notice(event: WebhookEvent | None, bucket: str, record: Any) -> WebhookNotice:
    fields = record if _is_object(record) else {}
    kind = _kind(event, bucket, fields)
    return WebhookNotice(
        bucket=bucket,
        kind=kind,
        task_id=_task_id(kind, fields),
        lead_id=_lead_id(kind, fields),
        at=_changed_at(bucket, fields),
        raw=record,
    )


def _kind(event: WebhookEvent | None, bucket: str, fields: dict[str, Any]) -> NoticeKind:
    named = _kind_by_ids(fields)
    if event is WebhookEvent.LEAD:
        return NoticeKind.LEAD
    if event is WebhookEvent.APPOINTMENT:
        # Calendar entries give an appointment's id as `taskId`, so that key does not speak against the event.
        return NoticeKind.APPOINTMENT
    if event is WebhookEvent.TASK:
        return named or NoticeKind.TASK
    if named is None and (event is None or not event.is_known):
        named = _kind_by_bucket(bucket)
    return named or NoticeKind.OTHER


def _kind_by_ids(fields: dict[str, Any]) -> NoticeKind | None:
    for key in ("taskId", "appointmentId", "id"):
        if composite := _composite(fields.get(key)):
            return NoticeKind(composite[2].lower())
    is_task, is_appointment = (_any_id(fields.get(key)) is not None for key in ("taskId", "appointmentId"))
    if is_task == is_appointment:
        return None
    return NoticeKind.TASK if is_task else NoticeKind.APPOINTMENT


def _kind_by_bucket(bucket: str) -> NoticeKind | None:
    nouns = {word.lower().removesuffix("s") for word in _WORD.findall(bucket)}
    kinds = [kind for kind in (NoticeKind.TASK, NoticeKind.APPOINTMENT, NoticeKind.LEAD) if kind in nouns]
    return kinds[0] if len(kinds) == 1 else None


def _task_id(kind: NoticeKind, fields: dict[str, Any]) -> int | None:
    keys = ["taskId", "appointmentId"]
    if kind in (NoticeKind.TASK, NoticeKind.APPOINTMENT):
        keys.append("id")
    return _first_id(keys, fields)


def _lead_id(kind: NoticeKind, fields: dict[str, Any]) -> int | None:
    return _first_id(["leadId", "id"] if kind is NoticeKind.LEAD else ["leadId"], fields)


def _first_id(keys: list[str], fields: dict[str, Any]) -> int | None:
    found = (_any_id(fields.get(key)) for key in keys)
    return next((number for number in found if number is not None), None)


def _any_id(value: object) -> int | None:
    composite = _composite(value)
    return _numeric_id(composite[1] if composite else value)


def _composite(value: object) -> re.Match[str] | None:
    return _COMPOSITE_ID.fullmatch(value) if isinstance(value, str) else None


def _numeric_id(value: object) -> int | None:
    """A positive 64-bit number, as a number or as digits; the API writes 0 and -1 for "none"."""
    if isinstance(value, str) and _NUMERIC_ID.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _LARGEST_ID else None


def _changed_at(bucket: str, fields: dict[str, Any]) -> datetime | None:
    stems = [stem for stem in _CHANGES if bucket.lower().startswith(stem)]
    keys = [key for stem in [*stems, "update"] for key in (f"{stem}Time", f"{stem}{_past(stem)}At")]
    times = (_time(fields.get(key)) for key in [*keys, "eventTime", "timestamp"])
    return next((time for time in times if time is not None), None)


def _past(stem: str) -> str:
    return "d" if stem.endswith("e") else "ed"


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError):
        # A time that cannot be parsed stays in `raw`; the notice must not be lost because of it.
        return None
