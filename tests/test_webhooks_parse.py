"""What a posted body is read as."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async.errors import DecodeError
from lofty_async.models import WebhookEvent
from lofty_async.webhooks import NoticeKind, WebhookNotice, parse_webhook

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = 1_772_366_400_000


def only(body: dict[str, Any]) -> WebhookNotice:
    (notice,) = parse_webhook(body).notices
    return notice


def mark_and_encode(text: str) -> bytes:
    return text.encode("utf-8-sig")


class TestABodySeenLive:
    BODY: ClassVar[dict[str, Any]] = {
        "listId": 2,
        "teamId": 77,
        "updatedLead": [{"leadId": 5, "updateTime": NOON_MS}],
    }

    @pytest.mark.parametrize(
        "encode",
        [lambda text: text, lambda text: text.encode(), lambda text: "\ufeff" + text, mark_and_encode, json.loads],
    )
    def test_reads_the_same_as_text_bytes_and_object(self, encode: Any) -> None:
        batch = parse_webhook(encode(json.dumps(self.BODY)))
        assert batch.event is WebhookEvent.LEAD
        assert batch.team_id == 77
        assert batch.raw == self.BODY
        assert batch.notices == (
            WebhookNotice(
                bucket="updatedLead",
                kind=NoticeKind.LEAD,
                lead_id=5,
                at=NOON,
                raw=self.BODY["updatedLead"][0],
            ),
        )

    def test_batches_and_notices_can_be_put_in_sets(self) -> None:
        batch = parse_webhook(self.BODY)
        assert {batch, *batch.notices} == {parse_webhook(self.BODY), *batch.notices}


TASK, APPOINTMENT, LEAD, OTHER = NoticeKind.TASK, NoticeKind.APPOINTMENT, NoticeKind.LEAD, NoticeKind.OTHER


@pytest.mark.parametrize(
    ("event", "bucket", "record", "read"),
    [
        # The event decides, and tells what `id` is.
        (10, "updatedTask", {"taskId": 1, "leadId": 2}, (TASK, 1, 2)),
        (10, "deletedTask", {"id": 1}, (TASK, 1, None)),
        (11, "createdAppointment", {"appointmentId": 1, "leadId": 2}, (APPOINTMENT, 1, 2)),
        (11, "finishedAppointment", {"id": 1}, (APPOINTMENT, 1, None)),
        (11, "updated", {"taskId": 1}, (APPOINTMENT, 1, None)),
        (2, "updatedLead", {"id": 2}, (LEAD, None, 2)),
        (2, "updatedLead", {"leadId": 2, "id": 9}, (LEAD, None, 2)),
        (2, "updatedLead", {"leadId": 2, "taskId": 1}, (LEAD, 1, 2)),
        # A record that names itself more exactly than the event does.
        (10, "updated", {"appointmentId": 1}, (APPOINTMENT, 1, None)),
        (10, "updated", {"id": "1-appointment"}, (APPOINTMENT, 1, None)),
        (None, "updated", {"id": "1-Task"}, (TASK, 1, None)),
        # Other events, or none: the keys say it, or nobody does.
        (3, "newActivity", {"leadId": 2, "id": 9}, (OTHER, None, 2)),
        (3, "newTask", {"id": 9}, (OTHER, None, None)),
        (9, "updated", {"taskId": 1}, (TASK, 1, None)),
        (9, "updated", {"appointmentId": 1}, (APPOINTMENT, 1, None)),
        (9, "updated", {"taskId": 1, "appointmentId": 3}, (OTHER, 1, None)),
        (None, "updatedTask", {"id": 1}, (TASK, 1, None)),
        (99, "createdAppointments", {"id": 1}, (APPOINTMENT, 1, None)),
        (None, "updatedLead", {"leadId": 2}, (LEAD, None, 2)),
        (None, "leadTask", {"id": 9}, (OTHER, None, None)),
        (None, "taskforce", {"id": 9}, (OTHER, None, None)),
        # Ids as digits count; what is no id does not.
        (10, "updatedTask", {"taskId": "1", "leadId": "2"}, (TASK, 1, 2)),
        (10, "updatedTask", {"taskId": 0, "id": 1, "leadId": -1}, (TASK, 1, None)),
        (10, "updatedTask", {"taskId": True, "leadId": 2.0}, (TASK, None, None)),
        (10, "updatedTask", {"taskId": 2**63, "leadId": "9" * 5000}, (TASK, None, None)),
        (10, "updatedTask", {"taskId": 2**63 - 1, "leadId": "٣"}, (TASK, 2**63 - 1, None)),
        # A record need not be an object.
        (10, "deletedTask", 1, (TASK, None, None)),
        (None, "anything", None, (OTHER, None, None)),
        (None, "anything", [{"taskId": 1}], (OTHER, None, None)),
    ],
)
def test_kind_and_ids_are_what_the_body_says_and_no_more(
    event: int | None, bucket: str, record: Any, read: tuple[NoticeKind, int | None, int | None]
) -> None:
    notice = only({"listId": event, bucket: [record]})
    assert (notice.kind, notice.task_id, notice.lead_id) == read
    assert (notice.bucket, notice.raw) == (bucket, record)


@pytest.mark.parametrize(
    ("bucket", "record", "at"),
    [
        ("updatedTask", {"updateTime": NOON_MS}, NOON),
        ("updatedTask", {"updatedAt": "2026-03-01T12:00:00GMT"}, NOON),
        ("updatedTask", {"updateTime": "soon", "timestamp": NOON_MS}, NOON),
        ("createdTask", {"createTime": NOON_MS, "updateTime": 1}, NOON),
        ("finishedTask", {"finishedAt": "2026-03-01T04:00:00-08:00"}, NOON),
        ("deletedTask", {"deleteTime": NOON_MS}, NOON),
        ("updatedTask", {"createTime": NOON_MS}, None),
        ("unfinishedTask", {"finishTime": NOON_MS}, None),
        ("updatedTask", {"updateTime": 10**30}, None),
        ("updatedTask", {"updateTime": True}, None),
        ("updatedTask", {"updateTime": ""}, None),
        ("updatedTask", {"updateTime": 0}, None),
        ("updatedTask", {"updateTime": {"at": NOON_MS}}, None),
    ],
)
def test_the_time_is_that_of_what_happened(bucket: str, record: Any, at: datetime | None) -> None:
    assert only({bucket: [record]}).at == at


@pytest.mark.parametrize(
    ("number", "event"), [(10, WebhookEvent.TASK), ("11", WebhookEvent.APPOINTMENT), (0, None), ([], None)]
)
def test_the_event_is_kept_known_or_not(number: Any, event: WebhookEvent | None) -> None:
    assert parse_webhook({"listId": number}).event is event


def test_an_unknown_event_is_kept() -> None:
    event = parse_webhook({"listId": 13}).event
    assert event == 13
    assert event is not None
    assert not event.is_known


@pytest.mark.parametrize(
    ("body", "records"),
    [
        ('{"a": [1], "a": [2]}', [1, 2]),
        ('{"a": [1], "a": null}', [1]),
        ('{"a": 7, "a": [2]}', [2]),
        ('{"a": null, "a": [2]}', [2]),
    ],
)
def test_a_repeated_key_loses_no_record(body: str, records: list[int]) -> None:
    assert [notice.raw for notice in parse_webhook(body).notices] == records


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe\xfa",
        b"null",
        b"[]",
        "3",
        '"text"',
        "[" * 100_000,
        '{"a": [1' + "0" * 5000 + "]}",
    ],
)
def test_what_is_no_json_object_is_a_decode_error(body: bytes | str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_webhook(body)
    assert len(caught.value.body) <= 200
    assert caught.value.__cause__ is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
ID_LIKE = JSON | st.integers(-1, 5) | st.sampled_from(["7", "7-task", "7-appointment", "7-other", "-1"])
TIME_LIKE = JSON | st.sampled_from([NOON_MS, 10**18, -1, "2026-03-01T15:00:00GMT", "0000-00-00 00:00:00"])
RECORDS = JSON | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("taskId", "id", "appointmentId", "leadId"), ID_LIKE),
        **dict.fromkeys(("updateTime", "createTime", "finishedAt", "deletedAt"), TIME_LIKE),
    },
)
BUCKETS = st.text() | st.sampled_from(["createdTask", "updatedLead", "deletedAppointment", "finishedTasks"])
BODIES = st.builds(
    lambda buckets, head: {**buckets, **head},
    st.dictionaries(BUCKETS, st.lists(RECORDS, max_size=4) | JSON, max_size=4),
    st.fixed_dictionaries({}, optional={"listId": ID_LIKE | st.integers(1, 13), "teamId": ID_LIKE}),
)


def records_of(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, record) for key, value in body.items() if isinstance(value, list) for record in value)


@given(BODIES)
def test_no_record_is_ever_lost_or_changed(body: dict[str, Any]) -> None:
    expected = list(records_of(body))
    for form in (body, json.dumps(body), json.dumps(body).encode()):
        batch = parse_webhook(form)
        assert [(notice.bucket, notice.raw) for notice in batch.notices] == expected
        assert batch.raw == body
        assert all(notice.at is None or notice.at.tzinfo is not None for notice in batch.notices)


@given(st.binary() | st.text() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value).encode("utf-16")))
def test_anything_else_is_a_batch_or_a_decode_error(body: bytes | str) -> None:
    try:
        batch = parse_webhook(body)
    except DecodeError:
        return
    assert len(batch.notices) == len(list(records_of(batch.raw)))


def test_reading_a_webhook_needs_no_http_library() -> None:
    # The packages' own names import the client and the receiver, so only this module is looked at.
    code = (
        "import sys, types, importlib.util as u\n"
        "(home,) = u.find_spec('lofty_async').submodule_search_locations\n"
        "for name in ('lofty_async', 'lofty_async.webhooks'):\n"
        "    bare = sys.modules[name] = types.ModuleType(name)\n"
        "    bare.__path__ = [home + name.removeprefix('lofty_async').replace('.', '/')]\n"
        "from lofty_async.webhooks.parse import parse_webhook\n"
        "assert parse_webhook('{}').notices == ()\n"
        "assert 'aiohttp' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("body", [b"\xf0\x9f\x8f\xa1" * 1_000_000, "\U0001f3e1" * 1_000_000])
def test_little_is_shown_of_what_is_no_json(body: bytes | str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_webhook(body)
    assert caught.value.body == "\U0001f3e1" * 199 + "\u2026"
