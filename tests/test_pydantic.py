import json
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Annotated, Any

import attrs
import httpx
import jsonschema
import pytest
from fastapi import Body, FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from lofty_async.models import Lead, LeadTag, Location, Task, TaskType, WebhookEvent, WebhookSubscription
from tests.model_values import MODELS, models_of

USUAL = settings.default
assert USUAL
FEW = settings(max_examples=USUAL.max_examples // 10)  # there are many models
TASK = Task(
    id=2**62,
    lead_id=5,
    type=TaskType("Fax"),
    end_at=datetime(2026, 3, 1, 15, 0, 0, 123456, tzinfo=timezone(timedelta(hours=-8))),
    reminder_type="POPUP",
)
TASK_ADAPTER = TypeAdapter(Task)


class Answer(BaseModel):
    """A pydantic model of a user of the SDK."""

    task: Task
    lead: Lead | None = None
    kinds: list[TaskType] = []


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@pytest.mark.parametrize("kind", MODELS)
class TestEveryModel:
    @given(data=st.data())
    @FEW
    def test_goes_through_pydantic_exactly(self, kind: Any, data: st.DataObject) -> None:
        adapter, model = adapter_of(kind), data.draw(models_of(kind))
        text = adapter.dump_json(model)
        assert json.loads(text) == adapter.dump_python(model, mode="json") == model.to_dict()
        dumped = adapter.dump_python(model)
        for again in (adapter.validate_json(text), adapter.validate_python(dumped), kind.from_json(text)):
            assert again == model
            assert repr(again) == repr(model)
        assert adapter.validate_python(model) is model
        assert repr(adapter.validate_json(model.to_json(ids_as_strings=True))) == repr(model)

    @given(data=st.data())
    @FEW
    def test_is_what_its_json_schema_says(self, kind: Any, data: st.DataObject) -> None:
        plain = data.draw(models_of(kind)).to_dict()
        for mode in ("validation", "serialization"):
            jsonschema.validate(plain, json_schema(kind, mode), jsonschema.Draft202012Validator)

    def test_has_every_key_in_the_schema_of_what_is_written(self, kind: Any) -> None:
        names = [one.name for one in attrs.fields(kind)]
        written, read = json_schema(kind, "serialization"), json_schema(kind, "validation")
        assert list(written["properties"]) == list(read["properties"]) == written["required"] == names
        assert read.get("required", []) == [one.name for one in attrs.fields(kind) if one.default is attrs.NOTHING]
        assert written["title"] == read["title"] == kind.__name__
        assert written["description"] == read["description"]

    def test_is_not_read_from_what_is_no_object(self, kind: Any) -> None:
        values: tuple[object, ...] = (None, 5, "x", [])
        for value in values:
            with pytest.raises(ValidationError):
                adapter_of(kind).validate_python(value)


@cache
def json_schema(kind: Any, mode: Any) -> dict[str, Any]:
    return adapter_of(kind).json_schema(mode=mode)


def test_the_schema_says_what_is_there() -> None:
    for mode in ("validation", "serialization"):
        schema = json_schema(Task, mode)
        fields = schema["properties"]
        assert (fields["id"]["type"], fields["id"]["format"]) == ("integer", "int64")
        null = {"type": "null"}
        assert fields["lead_id"]["anyOf"] == [{"type": "integer", "format": "int64"}, null]
        assert fields["end_at"]["anyOf"] == [{"type": "string", "format": "date-time"}, null]
        code = [{"type": "integer", "format": "int64"}, {"type": "string"}]
        assert fields["reminder_type"]["anyOf"] == [*code, null]
        known = {"type": "string", "enum": [kind.value for kind in TaskType]}
        assert schema["$defs"]["TaskType"]["anyOf"] == [known, {"type": "string"}]
    event = json_schema(WebhookSubscription, "serialization")["$defs"]["WebhookEvent"]
    assert event["anyOf"] == [{"type": "integer", "enum": list(range(1, 13))}, {"type": "integer"}]


def test_a_field_of_a_pydantic_model_works() -> None:
    lead = Lead(id=1, tags=(LeadTag(tag_id=2),), phones=("555",))
    answer = Answer(task=TASK, lead=lead, kinds=[TaskType.CALL, TaskType("Fax")])
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert Answer.model_validate(answer.model_dump()) == answer
    assert answer.task is TASK
    assert json.loads(answer.model_dump_json())["lead"] == lead.to_dict()


def test_pydantic_s_own_options_apply() -> None:
    assert TASK_ADAPTER.dump_python(Task(id=1, content="c"), exclude_none=True) == {"id": 1, "content": "c"}
    assert TASK_ADAPTER.dump_python(Task(id=1, content="c"), exclude_defaults=True) == {"id": 1, "content": "c"}
    assert TASK_ADAPTER.dump_python(Task(id=1, content="c"), include={"content"}) == {"content": "c"}
    assert TASK_ADAPTER.dump_python(TASK)["end_at"] is TASK.end_at


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({}, ("id",)),
        ({"id": 1.0}, ("id",)),
        ({"id": True}, ("id",)),
        ({"id": 1, "finished": "yes"}, ("finished",)),
        ({"id": 1, "content": 5}, ("content",)),
        ({"id": 1, "end_at": "2026-03-01T15:00:00"}, ("end_at",)),
        ({"id": 1, "end_at": 1772377200}, ("end_at",)),
        ({"id": 1, "reminder_type": 1.5}, ("reminder_type",)),
    ],
)
def test_an_error_names_the_field(values: Any, place: tuple[str, ...]) -> None:
    for validate, value in ((TASK_ADAPTER.validate_python, values), (TASK_ADAPTER.validate_json, json.dumps(values))):
        with pytest.raises(ValidationError) as refusal:
            validate(value)
        assert [error["loc"] for error in refusal.value.errors()] == [place]


def test_an_error_in_a_nested_model_names_the_way() -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(Lead).validate_python({"id": 1, "tags": [{}, {"tag_id": "x"}]})
    assert [error["loc"] for error in refusal.value.errors()] == [("tags", 1, "tag_id")]


@pytest.mark.parametrize(
    ("kind", "value", "member"),
    [
        (TaskType, "Call", TaskType.CALL),
        (TaskType, "CALL", TaskType("CALL")),
        (WebhookEvent, 10, WebhookEvent.TASK),
        (WebhookEvent, 99, WebhookEvent(99)),
        (WebhookEvent, "99", WebhookEvent(99)),
    ],
)
def test_an_open_enum_keeps_what_it_does_not_know(kind: Any, value: object, member: Any) -> None:
    adapter = adapter_of(kind)
    read = adapter.validate_python(value)
    assert (type(read), read, read.is_known) == (kind, member, member.is_known)
    assert json.loads(adapter.dump_json(read)) == member.value


@pytest.mark.parametrize("value", [True, 1.0, "x", None, "1.0"])
def test_what_is_no_number_is_no_number_of_an_enum(value: object) -> None:
    with pytest.raises(ValidationError):
        adapter_of(WebhookEvent).validate_python(value)


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks")
    async def tasks() -> list[Task]:
        return [TASK]

    @app.get("/by")
    async def by(kind: TaskType, event: WebhookEvent) -> list[Any]:
        return [kind, event]

    @app.post("/tasks")
    async def create(task: Annotated[Task, Body()]) -> Answer:
        return Answer(task=task)

    @app.get("/places", response_model_exclude_none=True)
    async def places() -> list[Location]:
        return [Location(city="Oakland")]

    return app


@pytest.fixture
def app() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=application()), base_url="http://app")


async def test_a_route_answers_with_models(app: httpx.AsyncClient) -> None:
    assert (await app.get("/tasks")).json() == [TASK.to_dict()]
    assert (await app.get("/places")).json() == [{"city": "Oakland"}]


async def test_a_route_takes_models_and_open_values(app: httpx.AsyncClient) -> None:
    assert (await app.post("/tasks", json={"id": "5", "type": "Fax"})).json()["task"] == Task(
        id=5, type=TaskType("Fax")
    ).to_dict()
    refusal = await app.post("/tasks", json={"id": 5, "end_at": "soon"})
    assert (refusal.status_code, refusal.json()["detail"][0]["loc"]) == (422, ["body", "end_at"])
    assert (await app.get("/by", params={"kind": "Fax", "event": 99})).json() == ["Fax", 99]


async def test_the_openapi_document_renders(app: httpx.AsyncClient) -> None:
    document = (await app.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {"Answer", "Location", "TaskType"} < schemas.keys()
    content = document["paths"]["/tasks"]["get"]["responses"]["200"]["content"]
    name = content["application/json"]["schema"]["items"]["$ref"].rpartition("/")[2]
    assert schemas[name]["required"] == [one.name for one in attrs.fields(Task)]
    assert schemas[name]["properties"]["id"]["format"] == "int64"
    assert schemas["TaskType"]["anyOf"][1] == {"type": "string"}
    assert (await app.get("/docs")).status_code == 200
