import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofty_async import models
from lofty_async._codec import BadRecord, codec_of, structure, structure_list
from lofty_async._convert import unstructure
from lofty_async._json import dumps, loads
from lofty_async._times import epoch_ms, format_time
from lofty_async.errors import DecodeError
from lofty_async.models import (
    AgentInfo,
    AppointmentV1,
    AssignedRole,
    CalendarEntry,
    CustomAttribute,
    CustomRole,
    Lead,
    LeadFamilyMember,
    LeadInquiry,
    LeadProperty,
    LeadTag,
    Location,
    MeetingSlot,
    Office,
    PermissionMode,
    Task,
    TaskType,
    TaskV1,
    User,
    WebhookEvent,
    WebhookSubscription,
)

MODELS: list[type[Any]] = [kind for kind in vars(models).values() if attrs.has(kind)]
VENDOR_FILE = (Path(__file__).parents[1] / "../shared/contract/openapi.json").resolve()
VENDOR_NAMES = {
    AgentInfo: "AgentInfo",
    AppointmentV1: "Appointment",
    CalendarEntry: "CalendarItemV2",
    CustomAttribute: "CustomAttribute",
    CustomRole: "CustomRole",
    Lead: "LeadResponse",
    LeadFamilyMember: "LeadFamilyMember",
    LeadInquiry: "LeadInquiry",
    LeadProperty: "LeadProperty",
    LeadTag: "UserLeadTagVo",
    Location: "Location",
    MeetingSlot: "AvailableMeetingSlotV2",
    Office: "OfficeBo",
    Task: "TaskResponseV2",
    TaskV1: "TaskResponse",
    User: "UserResponse",
    WebhookSubscription: "WebhookResponse",
}
USUAL = settings.default
assert USUAL
HALF = settings(max_examples=USUAL.max_examples // 2)  # there are many models
MARCH = datetime(2026, 3, 1, 15, tzinfo=UTC)
MARCH_TEXT = "2026-03-01T07:00:00-08:00"
MARCH_MS = 1_772_377_200_000

TIMES = st.one_of(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)).flatmap(  # noqa: DTZ001 - wire text
        lambda time: st.sampled_from(["", "Z", "GMT", "-08:00", "+0530", " PST"]).map(
            lambda zone: time.isoformat() + zone
        )
    ),
    st.sampled_from(["2026-03-01 15:00:00", "2026-03-01T15:00:00-08:00", "2026-03-01T15:00:00.5-08:00"]),
    st.integers(-(10**15), 10**15),
)
GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats()
    | st.text()
    | st.sampled_from(["", "0", "-1", "9007199254740993", "True", "false", "Call", "Agent", "TASK", 0, -1, 1.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def wire_names(kind: type[Any]) -> list[str]:
    return [name for field in codec_of(kind).fields for name in field.wire_names]


@cache
def usual_values(kind: type[Any]) -> dict[str, st.SearchStrategy[Any]]:
    by_message: dict[Any, st.SearchStrategy[Any]] = {
        "expected an integer": st.integers(-1, 2**63) | st.integers(-1, 2**63).map(str),
        "expected a time": TIMES,
        "expected a boolean": st.booleans() | st.sampled_from(["true", "FALSE", 0, 1]),
        "expected a text": st.text(max_size=80),
        "expected a number": st.floats(0, 10**9) | st.integers(-1, 10**9) | st.just("2.5"),
        "expected a code": st.integers(-2, 2**63) | st.sampled_from(["POPUP", "007", "7", "-7", "-1", "\u0667"]),
        "expected an object": st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | st.just(""),
        "expected a list": st.lists(st.integers(-1, 9) | st.text(max_size=3) | st.dictionaries(st.text(), st.text())),
    }
    usual: dict[str, st.SearchStrategy[Any]] = {}
    for field in codec_of(kind).fields:
        with pytest.raises(ValueError, match="expected") as refusal:
            field.reader.read(object())
        usual |= dict.fromkeys(field.wire_names, by_message[str(refusal.value)])
    return usual


@st.composite
def records(draw: st.DrawFn, kind: Any) -> Any:
    """Mostly records that could come from the server, with something odd here and there."""
    usual = {name: draw(strategy) for name, strategy in usual_values(kind).items()}
    odd = draw(st.dictionaries(st.sampled_from([*usual, "unknown"]), GARBAGE, max_size=3))
    missing = draw(st.sets(st.sampled_from(list(usual)), max_size=3))
    return {name: value for name, value in (usual | odd).items() if name not in missing}


def to_wire(kind: type[Any], model: Any) -> dict[str, Any]:
    """The record that is read as this model: wire names, times as ISO 8601 with offset and in milliseconds."""
    record: dict[str, Any] = {}
    for field in codec_of(kind).fields:
        value = getattr(model, field.name)
        name, *names_in_milliseconds = field.wire_names
        record[name] = wire_value(value)
        for other in names_in_milliseconds:
            record[other] = value and epoch_ms(value)
    return record


def wire_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [wire_value(item) for item in value]
    if attrs.has(type(value)):
        return to_wire(type(value), value)
    return format_time(value) if isinstance(value, datetime) else value


def outcome(read: Any, record: Any) -> Any:
    try:
        model = read(record)
    except ValueError as error:
        return str(error)
    return [(type(value), value) for value in attrs.astuple(model, recurse=False)]


def cached_values(name: str) -> dict[Any, Any]:
    cache = next(field.reader.cache for field in codec_of(Task).fields if field.name == name)
    assert cache is not None
    return cache.values


def task(**fields: Any) -> Task:
    return structure(Task, {"id": 7} | fields, path="task", request="GET /v2.0/tasks/7")


@pytest.mark.skipif(not VENDOR_FILE.exists(), reason="the vendor's description is not here")
@pytest.mark.parametrize("kind", MODELS)
def test_every_field_of_the_vendor_s_is_read(kind: type[Any]) -> None:
    schemas = json.loads(VENDOR_FILE.read_text())["components"]["schemas"]
    assert set(wire_names(kind)) == set(schemas[VENDOR_NAMES[kind]]["properties"])


@pytest.mark.parametrize("kind", MODELS)
@HALF
@given(data=st.data())
def test_the_generated_reader_agrees_with_the_detailed_one(kind: type[Any], data: st.DataObject) -> None:
    codec = codec_of(kind)
    record = data.draw(records(kind) | GARBAGE)

    def read_fast(record: Any, *, again: bool = False) -> Any:
        items: list[Any] = []
        codec._read_rows([[record.get(name) for name in wire_names(kind)]], items.append, again)
        return items[0]

    detailed = outcome(codec._read_by_field, record)
    assert outcome(codec.read, record) == detailed
    if not isinstance(detailed, str):
        assert outcome(read_fast, record) == detailed
        assert outcome(partial(read_fast, again=True), record) == detailed


@pytest.mark.parametrize("kind", MODELS)
@HALF
@given(data=st.data())
def test_what_was_read_survives_the_wire(kind: type[Any], data: st.DataObject) -> None:
    try:
        model = structure(kind, data.draw(records(kind)), path="", request="")
    except DecodeError:
        return
    assert structure(kind, loads(dumps(to_wire(kind, model))), path="", request="") == model


@pytest.mark.parametrize("kind", MODELS)
@HALF
@given(data=st.data())
def test_what_is_read_is_a_model_like_any_other(kind: Any, data: st.DataObject) -> None:
    usual = {name: data.draw(strategy) for name, strategy in usual_values(kind).items()}
    try:
        model = structure(kind, usual, path="", request="")
    except DecodeError:
        return
    built = kind(**{attribute.name: getattr(model, attribute.name) for attribute in attrs.fields(kind)})
    assert type(model) is kind
    assert model == built
    assert hash(model) == hash(built)
    assert repr(model) == repr(built)
    assert pickle.loads(pickle.dumps(model)) == built  # noqa: S301 - our own bytes
    assert copy.copy(model) == copy.deepcopy(model) == attrs.evolve(model) == built
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(kind)[0].name, None)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"leadId": "9007199254740993"}, "lead_id", 2**53 + 1),
        ({"leadId": 2**53 + 1}, "lead_id", 2**53 + 1),
        ({"leadId": 0}, "lead_id", None),
        ({"leadId": "0"}, "lead_id", None),
        ({"leadId": -1}, "lead_id", None),
        ({"reminderType": 0}, "reminder_type", 0),
        ({"reminderType": -1}, "reminder_type", None),
        ({"reminderType": -5}, "reminder_type", -5),
        ({"content": ""}, "content", None),
        ({"content": "null"}, "content", "null"),
        ({"content": 5}, "content", "5"),
        ({"content": 0}, "content", "0"),
        ({"content": -1}, "content", None),
        ({"leadPhone": 14155550100}, "lead_phone", "14155550100"),
        ({"finishFlag": "false"}, "finished", False),
        ({"finishFlag": "TRUE"}, "finished", True),
        ({"finishFlag": 0}, "finished", False),
        ({"finishFlag": 1}, "finished", True),
        ({"finishFlag": None}, "finished", None),
        ({"overdueFlag": True}, "overdue", True),
        ({"endAt": "2026-03-01T15:00:00GMT"}, "end_at", MARCH),
        ({"endAt": MARCH_MS}, "end_at", MARCH),
        ({"endAt": 0}, "end_at", None),
        ({"finishTime": ""}, "finished_at", None),
        ({"createTime": "2026-03-01 15:00:00"}, "created_at", MARCH),
        ({"lastUpdate": "2026-03-01T07:00:00-08:00"}, "updated_at", MARCH),
        ({"timeZoneCode": "America/Los_Angeles"}, "time_zone", "America/Los_Angeles"),
        ({"type": "Call"}, "type", TaskType.CALL),
        ({"type": ""}, "type", None),
        ({"unknown": object()}, "lead_id", None),
    ],
)
def test_a_task_field_is_read(fields: dict[str, Any], name: str, value: object) -> None:
    read = getattr(task(**fields), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "record", "model"),
    [
        (
            AppointmentV1,
            {
                "id": 1,
                "descr": "x",
                "deadline": MARCH_MS,
                "endTime": MARCH_MS,
                "overdue": True,
                "assignToUid": 0,
            },
            AppointmentV1(id=1, content="x", start_at=MARCH, end_at=MARCH, overdue=True),
        ),
        (
            CalendarEntry,
            {"id": "1-task", "type": "TASK", "finished": False, "startAt": "", "startAtMs": MARCH_MS},
            CalendarEntry(id="1-task", type=models.EntryType.TASK, finished=False, start_at=MARCH),
        ),
        (
            MeetingSlot,
            {"startTime": "2026-03-01T15:00:00Z", "startTimeMs": "unread", "endTimeMs": MARCH_MS},
            MeetingSlot(start_at=MARCH, end_at=MARCH),
        ),
        (
            Lead,
            {
                "leadId": 1,
                "lastUpdateTime": "2026-03-01 15:00:00",
                "emails": ["a@example.com", "", None],
                "leadTypes": [-1, "2", 0],
                "tags": [None, {"tagId": 3, "tagName": "VIP"}],
                "phones": None,
            },
            Lead(
                id=1,
                updated_at=MARCH,
                emails=("a@example.com",),
                lead_types=(-1, 2, 0),
                tags=(LeadTag(tag_id=3, tag_name="VIP"),),
            ),
        ),
        (
            TaskV1,
            {"id": 1, "deadline": "2026-03-01 15:00:00", "deleteFlag": False},
            TaskV1(id=1, end_at=MARCH, deleted=False),
        ),
        (User, {"id": 1, "timeZoneId": "UTC", "role": 0}, User(id=1, time_zone="UTC", role=0)),
        (
            WebhookSubscription,
            {"subscribeId": 1, "listId": 10, "permissionMode": 0},
            WebhookSubscription(id=1, event=WebhookEvent.TASK, permission_mode=PermissionMode.ASSIGNMENT),
        ),
    ],
)
def test_each_model_has_its_own_wire_names(kind: type[Any], record: dict[str, Any], model: object) -> None:
    assert structure(kind, record, path="", request="") == model


@pytest.mark.parametrize(
    ("kind", "record", "path", "record_id", "message"),
    [
        (Task, {"id": 7, "endAt": "soon"}, "it.endAt", 7, "expected a time"),
        (Task, {"id": 7, "leadId": True}, "it.leadId", 7, "expected an integer"),
        (Task, {"id": 7, "leadId": 1.0}, "it.leadId", 7, "expected an integer"),
        (Task, {"id": 7, "leadId": "1.0"}, "it.leadId", 7, "expected an integer"),
        (Task, {"id": 7, "leadId": "٣"}, "it.leadId", 7, "expected an integer"),
        (Task, {"id": 7, "content": 1.5}, "it.content", 7, "expected a text"),
        (Task, {"id": 7, "content": ["x"]}, "it.content", 7, "expected a text"),
        (Task, {"id": 7, "leadName": ["x"]}, "it.leadName", 7, "expected a text"),
        (Task, {"id": 7, "type": {}}, "it.type", 7, "expected a text"),
        (Task, {"id": 7, "allDay": "yes"}, "it.allDay", 7, "expected a boolean"),
        (Task, {"id": 7, "allDay": 2}, "it.allDay", 7, "expected a boolean"),
        (Task, {"id": "7", "allDay": []}, "it.allDay", "7", "expected a boolean"),
        (Task, {"id": 0}, "it.id", 0, "is missing"),
        (Task, {}, "it.id", None, "is missing"),
        (Task, {"id": True}, "it.id", None, "expected an integer"),
        (Task, [], "it", None, "expected an object"),
        (Task, None, "it", None, "expected an object"),
        (CalendarEntry, {"id": 0}, "it.id", 0, "is missing"),
        (MeetingSlot, {"startTimeMs": MARCH_MS}, "it.endTime", None, "is missing"),
        (MeetingSlot, {"startTimeMs": "x", "endTimeMs": 1}, "it.startTimeMs", None, "expected a time"),
        (Lead, {"leadId": 7, "emails": "x"}, "it.emails", 7, "expected a list"),
        (Lead, {"leadId": 7, "leadTypes": [1, "x"]}, "it.leadTypes[1]", 7, "expected an integer"),
        (Lead, {"leadId": 7, "tags": [{"tagId": "x"}]}, "it.tags[0].tagId", 7, "expected an integer"),
        (Lead, {"leadId": 7, "tags": ["x"]}, "it.tags[0]", 7, "expected an object"),
        (WebhookSubscription, {"subscribeId": 7, "listId": "x"}, "it.listId", 7, "expected an integer"),
    ],
)
def test_a_bad_record_says_where_it_is_bad(
    kind: type[Any], record: Any, path: str, record_id: object, message: str
) -> None:
    with pytest.raises(DecodeError) as failure:
        structure(kind, record, path="it", request="GET /it")
    error = failure.value
    assert (error.path, error.record_id, error.message, error.request) == (
        path,
        record_id,
        message,
        "GET /it",
    )
    assert failure.value.__cause__ is None


def test_the_bad_value_is_shown_but_never_all_of_it() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10_000, deep):
        with pytest.raises(DecodeError) as failure:
            task(endAt=value)
        assert 0 < len(failure.value.body) <= 200


def test_a_path_may_be_empty() -> None:
    with pytest.raises(DecodeError) as failure:
        structure(Task, {}, path="", request="")
    assert failure.value.path == "id"


def test_unknown_enum_values_are_kept() -> None:
    fax = task(type="Fax", assignedRole="Owner")
    assert fax.type == "Fax"
    assert isinstance(fax.type, TaskType)
    assert not fax.type.is_known
    assert task(type="Fax").type is fax.type
    assert isinstance(fax.assigned_role, AssignedRole)
    assert unstructure(fax)["type"] == "Fax"
    hook = structure(WebhookSubscription, {"subscribeId": 1, "listId": 99}, path="", request="")
    assert hook.event == 99
    assert unstructure(hook)["event"] == 99


@pytest.mark.parametrize("digits", [str(2**64), "9" * 5000, str(-(2**63) - 1)])
def test_digits_beyond_64_bits_are_no_integer(digits: str) -> None:
    with pytest.raises(DecodeError, match=r"expected an integer at .*leadId"):
        task(leadId=digits)
    assert task(reminderType=digits).reminder_type == digits
    assert task(leadId=str(2**64 - 1)).lead_id == 2**64 - 1


def test_what_repeats_is_held_once() -> None:
    one, other = loads(b'[{"id":1,"leadLastName":"Nguyen"},{"id":2,"leadLastName":"Nguyen"}]')
    assert task(**one).lead_last_name is task(**other).lead_last_name


def test_what_is_held_is_bounded() -> None:
    cached = cached_values("lead_last_name")
    for number in range(5000):
        task(leadLastName=f"name {number}")
    assert len(cached) <= 1024 + 2
    assert task(leadLastName=None).lead_last_name is None
    task(leadLastName="x" * 1000)
    assert "x" * 1000 not in cached


def test_a_task_never_changed_holds_one_time() -> None:
    never_changed = task(createTime=MARCH_TEXT, lastUpdate=MARCH_TEXT)
    changed = task(createTime=0, lastUpdate=MARCH_TEXT)
    assert never_changed.updated_at is never_changed.created_at
    assert never_changed.updated_at == changed.updated_at == MARCH


def test_a_task_not_changed_since_it_was_finished_holds_that_time_once() -> None:
    finished = task(createTime="2026-02-01T07:00:00-08:00", finishTime=MARCH_TEXT, lastUpdate=MARCH_TEXT)
    assert finished.updated_at is finished.finished_at
    assert finished.created_at != finished.finished_at == MARCH


def test_times_are_held_once_a_page_is_read_again() -> None:
    body = b'[{"id":1,"lastUpdate":"2031-05-06T07:08:09-08:00"},{"id":2,"startAt":"2031-05-06T07:08:10-08:00"}]'
    pages = [structure_list(Task, loads(body), path="tasks", request="")[0] for _ in range(4)]
    assert pages[0] == pages[1] == pages[2] == pages[3]
    # The second reading keeps the times; if that fills and empties the cache, the third does.
    assert pages[2][1].start_at is pages[3][1].start_at


def test_times_are_held_once_where_two_pages_are_read_in_turn() -> None:
    bodies = [
        b'[{"id":1,"lastUpdate":"2031-06-06T07:08:09-08:00","startAt":"2031-05-06T07:08:11-08:00"}]',
        b'[{"id":2,"lastUpdate":"2031-07-06T07:08:09-08:00","startAt":"2031-05-06T07:08:12-08:00"}]',
    ]
    pages = [[structure_list(Task, loads(body), path="tasks", request="")[0] for body in bodies] for _ in range(4)]
    assert pages[0] == pages[1] == pages[2] == pages[3]
    for again, once_more in zip(pages[2], pages[3], strict=True):
        assert again[0].start_at is once_more[0].start_at


def test_times_of_pages_read_once_are_not_held() -> None:
    texts = [f"2032-05-06T07:08:{second}-08:00" for second in range(10, 60)]
    for text in texts:
        structure_list(Task, [{"id": 1, "lastUpdate": text}], path="tasks", request="")
    assert not cached_values("updated_at").keys() & set(texts)


def test_a_list_keeps_its_good_records() -> None:
    wire = [{"id": 1}, {"id": 2, "endAt": "soon"}, "x", {"id": 4, "leadId": 5}, {}]
    items, bad = structure_list(Task, wire, path="tasks", request="GET /v2.0/tasks")
    assert items == [Task(id=1), Task(id=4, lead_id=5)]
    assert [(one.position, one.error.path) for one in bad] == [
        (1, "tasks[1].endAt"),
        (1, "tasks[2]"),
        (2, "tasks[4].id"),
    ]
    assert isinstance(bad[0], BadRecord)
    assert bad[0].record is wire[1]
    assert bad[0].error.record_id == 2


@given(st.lists(records(Task) | GARBAGE, max_size=8))
def test_a_list_is_its_records_one_by_one(wire: list[Any]) -> None:
    items, told = structure_list(Task, wire, path="tasks", request="")
    good, bad = [], []
    for index, record in enumerate(wire):
        try:
            good.append(structure(Task, record, path=f"tasks[{index}]", request=""))
        except DecodeError as error:
            bad.append((len(good), str(error), repr(record)))
    assert items == good
    assert [(one.position, str(one.error), repr(one.record)) for one in told] == bad


def test_lists_that_leave_keys_out_and_lists_that_do_not_may_alternate() -> None:
    full, bare = to_wire(Task, Task(id=1, content="Call")), {"id": 2}
    expected = [Task(id=1, content="Call"), Task(id=2)]
    for first, second in [(full, bare), (bare, full), (bare, bare), (full, full), (full, full), (bare, full)]:
        read, _ = structure_list(Task, [first, second], path="tasks", request="")
        assert read == [expected[first is bare], expected[second is bare]]


@pytest.mark.parametrize("records", [None, []])
def test_no_list_is_an_empty_list(records: Any) -> None:
    assert structure_list(Task, records, path="tasks", request="") == ([], ())


@pytest.mark.parametrize("records", [{}, "tasks", 0])
def test_what_is_not_a_list_is_refused(records: Any) -> None:
    with pytest.raises(DecodeError, match="expected a list at tasks"):
        structure_list(Task, records, path="tasks", request="")


def test_a_model_leaves_as_plain_json() -> None:
    zone = timedelta(hours=-8)
    lead = structure(
        Lead,
        {
            "leadId": 2**60,
            "tags": [{"tagId": 3}],
            "segments": ["a"],
            "lastTouch": "2026-03-01T15:00:00-08:00",
        },
        path="",
        request="",
    )
    assert lead.last_touch is not None
    assert lead.last_touch.utcoffset() == zone
    plain = unstructure(lead)
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["id"], plain["tags"], plain["segments"]) == (
        2**60,
        [unstructure(LeadTag(tag_id=3))],
        ["a"],
    )
    assert plain["last_touch"] == "2026-03-01T15:00:00-08:00"


def test_ids_leave_as_strings_for_those_who_round_integers() -> None:
    lead = Lead(id=2**60, score=5, tags=(LeadTag(tag_id=3),))
    plain = unstructure(lead, ids_as_strings=True)
    assert (plain["id"], plain["score"], plain["team_id"]) == (str(2**60), 5, None)
    assert [(tag["tag_id"], tag["tag_name"]) for tag in plain["tags"]] == [("3", None)]
    inquiry = unstructure(Lead(id=1, lead_inquiry=LeadInquiry(id=2, price_min=3)), ids_as_strings=True)["lead_inquiry"]
    assert (inquiry["id"], inquiry["price_min"]) == ("2", 3)
    assert unstructure(AppointmentV1(id=1, assign_to_uid=2), ids_as_strings=True)["assign_to_uid"] == "2"
