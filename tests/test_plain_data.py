import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from lofty_async import DecodeError, converter
from lofty_async._json import orjson
from lofty_async.models import (
    CalendarEntry,
    Lead,
    LeadInquiry,
    LeadProperty,
    LeadTag,
    MeetingSlot,
    PermissionMode,
    Task,
    TaskType,
    TaskV1,
    User,
    WebhookEvent,
    WebhookSubscription,
)
from tests.model_values import MODELS, models_of

USUAL = settings.default
assert USUAL
FEW = settings(max_examples=USUAL.max_examples // 10)  # there are many models
PACIFIC = timezone(timedelta(hours=-8))
MARCH = datetime(2026, 3, 1, 15, tzinfo=PACIFIC)
MARCH_TEXT = "2026-03-01T15:00:00-08:00"
NO_IDS: list[object] = [1.0, True, "", "1.0", "x", 2**64, str(2**64), "\u0663", [], "9" * 5000]
NAIVE = datetime(2026, 3, 1, 15)  # noqa: DTZ001 - what is to be refused

ENCODERS: dict[str, Callable[[Any], str | bytes]] = {"json": json.dumps}
if orjson:
    ENCODERS["orjson"] = orjson.dumps


class TimeOfAnotherLibrary(datetime):
    """Writes itself in its own way, as pandas' Timestamp does."""

    def isoformat(self, *_: object) -> str:
        return "with nanoseconds"


class IntegerOfAnotherLibrary:
    def __index__(self) -> int:
        return 2**60


def exactly(model: Any) -> str:
    """The repr, which tells an enum from its value and a time from the same instant at another offset."""
    return repr(model)


@pytest.mark.parametrize("kind", MODELS)
class TestEveryModel:
    @given(data=st.data())
    @FEW
    def test_comes_back_exactly(self, kind: Any, data: st.DataObject) -> None:
        model = data.draw(models_of(kind))
        for ids_as_strings in (False, True):
            plain = model.to_dict(ids_as_strings=ids_as_strings)
            text = model.to_json(ids_as_strings=ids_as_strings)
            assert list(plain) == [one.name for one in attrs.fields(kind)]
            assert json.loads(text) == plain
            for again in (kind.from_dict(plain), kind.from_json(text), kind.from_json(text.encode())):
                assert again == model
                assert exactly(again) == exactly(model)
            for dumps in ENCODERS.values():
                assert exactly(kind.from_json(dumps(plain))) == exactly(model)

    @given(data=st.data(), key=st.text(max_size=3), value=st.none() | st.integers() | st.text())
    @FEW
    def test_is_read_from_all_that_says_the_same(self, kind: Any, data: st.DataObject, key: str, value: object) -> None:
        model = data.draw(models_of(kind))
        plain = converter.unstructure(model)
        assert plain == model.to_dict()
        assert exactly(converter.structure(plain, kind)) == exactly(model)
        for values in (attrs.asdict(model), attrs.asdict(model, recurse=False), {f"later_{key}": value} | plain):
            assert exactly(kind.from_dict(values)) == exactly(model)

    def test_refuses_what_is_no_object(self, kind: Any) -> None:
        values: tuple[Any, ...] = (None, [], "x", 5)
        for value in values:
            with pytest.raises(DecodeError, match="expected an object") as refusal:
                kind.from_dict(value)
            assert refusal.value.path == kind.__name__


def test_a_task_reads_as_json() -> None:
    task = Task(id=2**62, lead_id=5, type=TaskType("Fax"), end_at=MARCH, reminder_type="POPUP", finished=False)
    plain = task.to_dict()
    told = {name: value for name, value in plain.items() if value is not None}
    assert told == {
        "id": 2**62,
        "lead_id": 5,
        "type": "Fax",
        "end_at": MARCH_TEXT,
        "reminder_type": "POPUP",
        "finished": False,
    }
    assert type(told["type"]) is str
    assert task.to_json().startswith('{"id":4611686018427387904,"lead_id":5,')


def test_ids_can_be_strings_at_every_depth() -> None:
    lead = Lead(
        id=2**60, score=5, lead_types=(-1, 3), tags=(LeadTag(tag_id=3),), lead_inquiry=LeadInquiry(id=4, price_min=6)
    )
    plain = lead.to_dict(ids_as_strings=True)
    assert (plain["id"], plain["score"], plain["team_id"], plain["lead_types"]) == (str(2**60), 5, None, [-1, 3])
    assert (plain["tags"][0]["tag_id"], plain["lead_inquiry"]["id"], plain["lead_inquiry"]["price_min"]) == (
        "3",
        "4",
        6,
    )
    assert CalendarEntry(id="5-task", task_id=5).to_dict(ids_as_strings=True)["task_id"] == "5"


def test_a_code_stays_the_kind_that_it_is() -> None:
    assert [Task.from_dict({"id": 1, "reminder_type": code}).reminder_type for code in (7, "7", "007")] == [
        7,
        "7",
        "007",
    ]


def test_a_value_is_never_taken_for_the_name_of_a_member() -> None:
    read = Task.from_dict({"id": 1, "type": "CALL"}).type
    assert (read, read is TaskType.CALL) == ("CALL", False)
    hook = WebhookSubscription.from_dict({"id": 1, "event": 10, "permission_mode": 7})
    assert (hook.event, hook.permission_mode) == (WebhookEvent.TASK, PermissionMode(7))


def test_what_is_missing_or_null_is_the_default() -> None:
    assert Task.from_dict({"id": 1, "content": None}) == Task(id=1)
    assert Lead.from_dict({"id": 1, "phones": None}) == Lead(id=1)


@pytest.mark.parametrize("text", ["2026-03-01T23:00:00Z", "2026-03-01T23:00:00.000Z", "2026-03-01 23:00:00+00:00"])
def test_a_time_may_be_written_as_other_languages_do(text: str) -> None:
    assert exactly(Task.from_dict({"id": 1, "end_at": text}).end_at) == exactly(MARCH.astimezone(UTC))


def test_values_of_other_libraries_become_plain() -> None:
    time = TimeOfAnotherLibrary(2026, 3, 1, 15, tzinfo=PACIFIC)
    task = Task.from_dict({"id": IntegerOfAnotherLibrary(), "lead_id": IntegerOfAnotherLibrary(), "end_at": time})
    assert task == Task(id=2**60, lead_id=2**60, end_at=MARCH)
    assert (type(task.id), type(task.end_at)) == (int, datetime)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Task, {}, "is missing at Task.id"),
        (Task, {"id": None}, "is missing at Task.id"),
        (MeetingSlot, {"start_at": MARCH_TEXT}, "is missing at MeetingSlot.end_at"),
        *[(Task, {"id": value}, "expected an integer of 64 bits at Task.id") for value in NO_IDS],
        (Task, {"id": 7, "team_id": float("nan")}, "expected an integer of 64 bits at Task.team_id (record 7)"),
        (User, {"id": "7", "new_lead_count": "5"}, "expected an integer of 64 bits at User.new_lead_count (record 7)"),
        (Task, {"id": 7, "content": 5}, "expected a text at Task.content (record 7)"),
        (Task, {"id": 7, "type": 5}, "expected a text at Task.type (record 7)"),
        (Task, {"id": 7, "finished": 1}, "expected a boolean at Task.finished (record 7)"),
        (Task, {"id": 7, "reminder_type": 1.5}, "expected an integer of 64 bits at Task.reminder_type (record 7)"),
        (WebhookSubscription, {"id": 7, "event": "10"}, "expected an integer of 64 bits at WebhookSubscription.event"),
        (LeadProperty, {"bathrooms": float("inf")}, "expected a finite number at LeadProperty.bathrooms"),
        (LeadProperty, {"bathrooms": 10**400}, "expected a finite number at LeadProperty.bathrooms"),
        (LeadProperty, {"bathrooms": Decimal(1)}, "expected a finite number at LeadProperty.bathrooms"),
        (Lead, {"id": 7, "phones": "555"}, "expected a list at Lead.phones (record 7)"),
        (Lead, {"id": 7, "phones": {"a": 1}}, "expected a list at Lead.phones (record 7)"),
        (Lead, {"id": 7, "phones": ["1", None]}, "expected a text at Lead.phones[1] (record 7)"),
        (Lead, {"id": 7, "tags": [{}, 5]}, "expected an object at Lead.tags[1] (record 7)"),
        (
            Lead,
            {"id": 7, "tags": [{"tag_id": 1.5}]},
            "expected an integer of 64 bits at Lead.tags[0].tag_id (record 7)",
        ),
        (Lead, {"id": 7, "lead_inquiry": []}, "expected an object at Lead.lead_inquiry (record 7)"),
    ],
)
def test_an_error_names_the_model_and_the_field(kind: Any, values: Any, message: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        kind.from_dict(values)
    assert str(refusal.value).startswith(message)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("value", [NAIVE, "2026-03-01", "2026-03-01T15:00:00", "soon", "", 0, 1772377200000, 1.5])
def test_a_time_without_an_offset_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError, match=r"expected a time with an offset, such as .* at Task\.end_at"):
        Task.from_dict({"id": 1, "end_at": value})


@pytest.mark.parametrize(
    ("kind", "record", "name"),
    [
        (Task, {"id": 1, "leadId": 2}, "leadId"),
        (TaskV1, {"id": 1, "deadline": 5}, "deadline"),
        (Lead, {"id": 1, "tags": [{"tagId": 5}]}, r"tags\[0\]\.tagId"),
    ],
)
def test_a_record_of_the_api_is_not_taken_for_a_model(kind: Any, record: Any, name: str) -> None:
    message = rf"is a name of the API, not of the model's fields, which to_dict writes at {kind.__name__}\.{name}"
    with pytest.raises(DecodeError, match=message):
        kind.from_dict(record)


@pytest.mark.parametrize("text", ["", "{", "nonsense", b"\xff", "NaN", b"\x1b[31m", "\ud800"])
def test_what_is_no_json_is_refused(text: Any) -> None:
    with pytest.raises(DecodeError, match=r"^expected JSON at Task$"):
        Task.from_json(text)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DecodeError, match="expected JSON as a str or bytes, not dict at Task"):
        Task.from_json({"id": 1})  # type: ignore[arg-type] # the slip
    assert Task.from_json(memoryview(b'\xef\xbb\xbf{"id":"1"}')) == Task.from_json(bytearray(b'{"id":1}'))


@given(st.text())
def test_no_error_shows_control_characters_or_megabytes(text: str) -> None:
    hostile = f"\x1b]0;{text}\u202e\r\n" * 500
    cases: list[tuple[Any, Any]] = [
        (Task, {"id": hostile}),
        (Task, {"id": hostile, "end_at": hostile}),
        (Lead, {"id": 1, "tags": [{"tag_id": {hostile: hostile}}]}),
        (Lead, {hostile: hostile}),
    ]
    for kind, values in cases:
        with pytest.raises(DecodeError) as refusal:
            kind.from_dict(values)
        error = refusal.value
        assert all(part.isprintable() for part in (str(error), error.path or "", error.body))
        assert len(error.body) <= 200


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Task(id=1, end_at=NAIVE), r"^Task\.end_at must be timezone-aware, e\.g\. datetime\.now\(UTC\)$"),
        (Task(id=1, end_at="soon"), r"^Task\.end_at must be a datetime, not str$"),  # type: ignore[arg-type] # the slip
        (LeadProperty(bathrooms=float("nan")), r"^LeadProperty\.bathrooms must be a finite number, not nan$"),
        (Lead(id=1, tags=(LeadTag(created_at=NAIVE),)), r"^LeadTag\.created_at must be timezone-aware"),
        (Lead(id=1, tags=5), r"^Lead\.tags "),  # type: ignore[arg-type] # the slip
        (Lead(id=1, tags=(5,)), r"^Lead(Tag)?\.(tags|lead_id) "),  # type: ignore[arg-type] # the slip
    ],
)
@pytest.mark.parametrize("ids_as_strings", [False, True])
def test_what_json_cannot_say_is_refused(model: Any, message: str, ids_as_strings: bool) -> None:
    with pytest.raises(ValueError, match=message):
        model.to_dict(ids_as_strings=ids_as_strings)
    with pytest.raises(ValueError, match=message):
        model.to_json(ids_as_strings=ids_as_strings)
    with pytest.raises(ValueError, match=message):
        converter.unstructure(model)


@frozen
class Job:
    """A class of a user of the SDK."""

    task: Task
    tags: list[LeadTag]
    due: datetime
    kind: TaskType
    event: WebhookEvent | None


def test_the_converter_knows_models_within_other_classes() -> None:
    job = Job(Task(id=1, end_at=MARCH), [LeadTag(tag_id=2)], MARCH, TaskType("Fax"), WebhookEvent(99))
    plain = json.loads(json.dumps(converter.unstructure(job)))
    assert exactly(converter.structure(plain, Job)) == exactly(job)
    assert converter.structure([{"id": "5"}], list[Task]) == [Task(id=5)]


def test_a_model_is_the_same_whatever_hooks_a_converter_has() -> None:
    own = converter.copy()
    own.register_unstructure_hook(datetime, datetime.timestamp)
    own.register_structure_hook(datetime, lambda value, _: datetime.fromtimestamp(value, UTC))
    job = Job(Task(id=1, end_at=MARCH), [], MARCH, TaskType.CALL, None)
    plain = own.unstructure(job)
    assert (plain["due"], plain["task"]["end_at"]) == (MARCH.timestamp(), MARCH_TEXT)
    assert own.structure(plain, Job) == job
    assert job.task.to_dict() == converter.unstructure(job.task) == plain["task"]
