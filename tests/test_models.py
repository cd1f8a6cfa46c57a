import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from inspect import getmembers
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import models
from lofty_async._enums import OpenIntEnum, OpenStrEnum
from lofty_async.models import AssignedRole, EntryType, PermissionMode, Task, TaskType, WebhookEvent

MODELS: list[Any] = [kind for _, kind in getmembers(models, attrs.has)]
ENUMS: list[Any] = [kind for _, kind in getmembers(models, lambda it: isinstance(it, type) and issubclass(it, Enum))]
TEXT_ENUMS: list[type[OpenStrEnum]] = [kind for kind in ENUMS if issubclass(kind, str)]
NUMBER_ENUMS: list[type[OpenIntEnum]] = [kind for kind in ENUMS if issubclass(kind, int)]
MEMBERS: list[Any] = [member for kind in ENUMS for member in kind]
UNKNOWN: list[Any] = [TaskType("Visit"), TaskType("CALL"), TaskType(""), WebhookEvent(99), PermissionMode(-7)]

DUPLICATES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *[lambda it, n=n: pickle.loads(pickle.dumps(it, n)) for n in range(2, 6)],  # noqa: S301 - our own bytes
]


def made(kind: Any) -> Any:
    """A model with a value for every field that has no default."""
    values = {"id": 7, "start_at": datetime(2026, 3, 1, tzinfo=UTC), "end_at": datetime(2026, 3, 2, tzinfo=UTC)}
    required = [each.name for each in attrs.fields(kind) if each.default is attrs.NOTHING]
    return kind(**{name: values[name] for name in required})


def test_every_name_of_the_package_is_a_model_or_an_enum() -> None:
    assert {kind.__name__ for kind in MODELS + ENUMS} == set(models.__all__)


@pytest.mark.parametrize("kind", MODELS)
class TestEveryModel:
    def test_is_frozen(self, kind: Any) -> None:
        model = made(kind)
        name = attrs.fields(kind)[0].name
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, name, 8)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(model, name)

    def test_is_slotted(self, kind: Any) -> None:
        assert not hasattr(made(kind), "__dict__")

    def test_takes_keywords_only(self, kind: Any) -> None:
        assert all(each.kw_only for each in attrs.fields(kind))
        with pytest.raises(TypeError):
            kind(7)

    def test_is_a_value(self, kind: Any) -> None:
        model = made(kind)
        assert model == made(kind)
        assert hash(model) == hash(made(kind))
        for duplicate in DUPLICATES:
            assert duplicate(model) == model

    def test_is_what_attrs_would_compare_hash_and_show(self, kind: Any) -> None:
        twin = attrs.make_class(kind.__name__, [one.name for one in attrs.fields(kind)], frozen=True, kw_only=True)
        values = [attrs.asdict(made(kind), recurse=False)]
        values += [values[0] | {one.name: "another"} for one in attrs.fields(kind)]
        for value in values:
            assert repr(kind(**value)) == repr(twin(**value))
            assert [kind(**value) == kind(**other) for other in values] == [value == other for other in values]
        assert len({kind(**value) for value in values}) == len(values)

    def test_equals_no_model_of_another_class(self, kind: Any) -> None:
        derived = type(kind.__name__, (kind,), {"__slots__": ()})
        assert made(kind) != made(derived)
        assert made(kind) != attrs.astuple(made(kind))

    def test_has_absent_fields_as_none_or_as_an_empty_tuple(self, kind: Any) -> None:
        defaults = {each.default for each in attrs.fields(kind)}
        assert defaults <= {attrs.NOTHING, None, ()}

    def test_says_what_it_is(self, kind: Any) -> None:
        assert kind.__doc__
        assert not kind.__doc__.startswith("Method generated")


@pytest.mark.parametrize("kind", [kind for kind in MODELS if "finish" in " ".join(kind.__annotations__)])
def test_one_vocabulary_is_used_over_all_models(kind: Any) -> None:
    names = {each.name for each in attrs.fields(kind)}
    assert {"id", "lead_id", "content", "finished", "end_at"} <= names
    assert not names & {"finish_flag", "overdue_flag", "deadline", "finish_time", "last_update", "time_zone_code"}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_known_value_is_its_member(member: Any) -> None:
    assert type(member)(member.value) is member
    assert member.is_known
    for duplicate in DUPLICATES:
        assert duplicate(member) is member


@pytest.mark.parametrize("unknown", UNKNOWN, ids=repr)
def test_an_unknown_value_is_kept(unknown: Any) -> None:
    assert not unknown.is_known
    again_by: list[Callable[[Any], Any]] = [*DUPLICATES, type(unknown)]
    for again in (duplicate(unknown) for duplicate in again_by):
        assert (type(again), again, again.value) == (type(unknown), unknown, unknown.value)
        assert not again.is_known


@pytest.mark.parametrize("kind", TEXT_ENUMS)
@given(text=st.text())
def test_a_text_enum_is_its_string(kind: type[OpenStrEnum], text: str) -> None:
    value = kind(text)
    assert value == text == str(value) == f"{value}" == value.value
    assert hash(value) == hash(text)
    assert {text: "found"}[value] == "found"
    assert type(value.value) is str


@pytest.mark.parametrize("kind", NUMBER_ENUMS)
@given(number=st.integers())
def test_a_number_enum_is_its_integer(kind: type[OpenIntEnum], number: int) -> None:
    value = kind(number)
    assert value == number == int(value) == value.value
    assert hash(value) == hash(number)
    assert str(value) == f"{value}" == str(number)
    assert type(value.value) is int


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(kind, value) for kind in TEXT_ENUMS for value in (None, 1, b"Call", ["Call"])],
        *[(kind, value) for kind in NUMBER_ENUMS for value in (None, "1", 1.5, [1])],
    ],
)
def test_what_is_no_text_or_number_is_no_value_of_the_enum(kind: Any, value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        kind(value)


def test_a_boolean_is_no_unknown_number() -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        WebhookEvent(False)


def test_values_of_other_enums_are_taken_for_what_they_say() -> None:
    assert type(TaskType(EntryType.TASK).value) is str
    assert type(WebhookEvent(PermissionMode(50)).value) is int


def test_a_member_reads_like_the_vendor_s_word() -> None:
    assert (TaskType.CALL, AssignedRole.AGENT, EntryType.APPOINTMENT) == ("Call", "Agent", "APPOINTMENT")
    assert (WebhookEvent.TASK, WebhookEvent.APPOINTMENT, PermissionMode.ASSIGNMENT) == (10, 11, 0)


def test_unknown_members_do_not_enter_the_vocabulary() -> None:
    assert TaskType("Visit") not in list(TaskType)
    assert "Visit" not in TaskType.__members__


def test_a_model_holds_open_values() -> None:
    assert Task(id=1, type=TaskType("Visit")) == Task(id=1, type=TaskType("Visit"))
