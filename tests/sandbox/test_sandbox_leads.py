import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lofty_async.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api, Clock


def ids(body: dict[str, Any]) -> list[int]:
    return [lead["leadId"] for lead in body["leads"]]


@pytest.fixture
async def sandbox(clock: "Clock") -> Sandbox:
    return Sandbox(25, 1, clock=clock)


async def test_pages_by_offset(api: "Api") -> None:
    pages = [(await api.get("/v1.0/leads", offset=offset, limit=10)).body for offset in (0, 10, 20)]
    assert [number for page in pages for number in ids(page)] == list(api.sandbox.state.leads)
    assert pages[2]["_metadata"] | {"scrollId": ""} == {
        "collection": "leads",
        "limit": 10,
        "offset": 20,
        "total": 25,
        "scrollId": "",
    }


async def test_pages_by_scrolling(api: "Api") -> None:
    found, scroll = list[int](), ""
    for _ in range(3):
        page = (await api.get("/v1.0/leads", scrollId=scroll, limit=10)).body
        found += ids(page)
        scroll = page["_metadata"]["scrollId"]
    assert found == list(api.sandbox.state.leads)


async def test_past_the_end_the_last_full_page_is_served_again(api: "Api") -> None:
    page = (await api.get("/v1.0/leads", offset=25, limit=10)).body
    assert ids(page) == list(api.sandbox.state.leads)[-10:]


async def test_past_the_end_there_may_be_nothing(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(25, repeat_last_page=False, clock=clock)) as api:
        assert ids((await api.get("/v1.0/leads", offset=25)).body) == []


async def test_ten_by_default(api: "Api") -> None:
    assert len((await api.get("/v1.0/leads")).body["leads"]) == 10


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ({"limit": 0}, {"errorCode": 20042, "errorMsg": "LIMIT_NOT_VALID"}),
        ({"limit": 101}, {"errorCode": 20042, "errorMsg": "LIMIT_NOT_VALID"}),
        ({"offset": -1}, {"errorCode": 20012, "errorMsg": "INVALID_PARAMETER: offset is negative"}),
        *(
            (
                {"scrollId": scroll},
                {"errorCode": 20012, "errorMsg": "INVALID_PARAMETER: scrollId is unknown or has expired"},
            )
            for scroll in ("page-2", "scroll--5", "scroll-", "scroll- 5", "scroll-0x5", "scroll-" + "f" * 17)
        ),
    ],
)
async def test_list_refuses(api: "Api", query: dict[str, Any], refused: dict[str, Any]) -> None:
    answer = await api.get("/v1.0/leads", **query)
    assert (answer.status, answer.body) == (400, refused)


TOUCHED = datetime(2026, 5, 1, tzinfo=UTC)
WANTED: dict[str, Any] = {
    "first_name": "Zoë",
    "email": "Only@example.com",
    "phone": "+14155550123",
    "stage": "Rare, very",
    "source": "Fair",
    "assigned_user_id": 7,
    "lender_user_id": 8,
    "custom_roles": {"Coordinator": 9},
    "tags": ("one", "two, too"),
    "segments": ("North", "South"),
    "language": "is",
    "office_id": 3102,
    "last_touch": TOUCHED,
    "last_visit": TOUCHED,
    "score": 1000,
}


def roles(**user_ids: list[int]) -> str:
    return json.dumps([{"roleName": role, "assigneeToIds": ids} for role, ids in user_ids.items()])


@pytest.mark.parametrize(
    "query",
    [
        {"email": "only@example.com"},
        {"phone": "4155550123"},
        {"phone": "+14155550123"},
        {"stage": "Rare, very"},
        {"source": "Fair"},
        {"assignedUserId": 7},
        {"contacted": "true", "assignedUserId": 7},
        {"groups": "West,North"},
        {"segments": "South"},
        {"allTags": "two, too"},
        {"anyTags": "none,one"},
        {"groupIds": 3102},
        {"groupIds": "77,3102"},
        {"groupIds": 3101, "querySubGroup": "true"},
        {"languages": "fo,is"},
        {"key": "zoë"},
        {"key": "55550123"},
        {"key": "ONLY@"},
        {"key": "only@example.com", "preciseSearchFlag": "true"},
        {"email": "nly@example", "preciseSearchFlag": "false"},
        {"roleAssigneeFilters": roles(Agent=[7])},
        {"roleAssigneeFilters": roles(Lender=[1, 8], Coordinator=[9])},
        {"stage": "Rare, very", "source": "Fair", "offset": 0},
    ],
)
async def test_filters_find_matching_leads(api: "Api", query: dict[str, Any]) -> None:
    for lead_id in api.sandbox.state.leads:
        api.sandbox.state.leads[lead_id] = evolve(api.sandbox.state.leads[lead_id], office_id=3103)
    wanted = api.sandbox.state.add_lead(**WANTED)
    assert ids((await api.get("/v1.0/leads", **query)).body) == [wanted.id]


@pytest.mark.parametrize(
    "query",
    [
        {"email": "nly@example"},
        {"phone": "550123"},
        {"key": "zoë", "preciseSearchFlag": "true"},
        {"stage": "Rare, very", "source": "Website"},
        {"contacted": "false", "assignedUserId": 7},
        {"allTags": "one,none"},
        {"groupIds": 3101, "assignedUserId": 7},
        {"roleAssigneeFilters": roles(Agent=[7], Lender=[7])},
        {"roleAssigneeFilters": roles(Nobody=[7])},
    ],
)
async def test_filters_omit_other_leads(api: "Api", query: dict[str, Any]) -> None:
    api.sandbox.state.add_lead(**WANTED)
    found = (await api.get("/v1.0/leads", **query)).body
    assert (ids(found), found["_metadata"]["total"]) == ([], 0)


@pytest.mark.parametrize(
    "query",
    [
        {"assignedUserId": "x"},
        {"contacted": "yes"},
        {"groupIds": "x"},
        {"groupIds": "3101,"},
        {"querySubGroup": "true"},
        {"preciseSearchFlag": "true"},
        {"sort": "createtime"},
        {"sort": "DripStatus"},
        {"desc": "1"},
        {"otherFilters": "{}"},
        {"returnFields": "leadId"},
        {"scrollId": "scroll-5", "offset": 5},
        *({"roleAssigneeFilters": text} for text in ("x", "{}", "[]", "[1]", '[{"roleName":"Agent"}]', "[" * 2500)),
        {"roleAssigneeFilters": '[{"roleName":"Agent","assigneeToIds":["7"]}]'},
        {"roleAssigneeFilters": '[{"roleName":1,"assigneeToIds":[7]}]'},
    ],
)
async def test_invalid_filters_are_errors(api: "Api", query: dict[str, Any]) -> None:
    answer = await api.get("/v1.0/leads", **query)
    assert (answer.status, answer.body["errorCode"]) == (400, 20012)


@pytest.mark.parametrize(
    ("sort", "field"),
    [
        ("Score", "score"),
        ("CreateTime", "created_at"),
        ("AssignTime", "assigned_at"),
        ("LastContact", "last_touch"),
        ("LastActivity", "last_visit"),
    ],
)
async def test_orders(api: "Api", sort: str, field: str) -> None:
    leads = api.sandbox.state.leads
    found = ids((await api.get("/v1.0/leads", sort=sort, limit=100)).body)
    values = [getattr(leads[lead_id], field) for lead_id in found]
    known = [value for value in values if value is not None]
    assert (known, len(found)) == (sorted(known), len(leads))
    assert all(value is None for value in values[: len(values) - len(known)])
    backwards = await api.get("/v1.0/leads", sort=sort, desc="true", limit=100)
    assert ids(backwards.body) == found[::-1]


async def test_lists_show_changes_of_a_lead_and_of_permissions(api: "Api", lead_id: int) -> None:
    state = api.sandbox.state
    assert (await api.get("/v1.0/leads", stage="Frozen")).body["_metadata"]["total"] == 0
    state.leads[lead_id] = evolve(state.leads[lead_id], stage="Frozen", quirks={})
    assert [lead["stage"] for lead in (await api.get("/v1.0/leads", stage="Frozen")).body["leads"]] == ["Frozen"]
    before = (await api.get("/v2.0/tasks/my-tasks", limit=100)).body["tasks"]
    state.forbidden_leads.add(lead_id)
    after = (await api.get("/v2.0/tasks/my-tasks", limit=100)).body["tasks"]
    assert [task["id"] for task in after] == [task["id"] for task in before if task["leadId"] != lead_id]
    assert len(after) < len(before)


async def test_the_order_of_the_list(api: "Api") -> None:
    every = api.sandbox.state.leads.ids()
    assert ids((await api.get("/v1.0/leads", sort="Default", limit=100)).body) == every
    assert ids((await api.get("/v1.0/leads", desc="true", limit=100)).body) == every[::-1]
    assert ids((await api.get("/v1.0/leads", offset=9, limit=4)).body) == every[9:13]


async def test_records_have_every_field_of_the_description(api: "Api") -> None:
    if api.description is None:
        pytest.skip("the vendor's description is not there")
    added = api.sandbox.state.add_lead(**WANTED)
    (lead,) = (await api.get("/v1.0/leads", email=added.email)).body["leads"]
    me = (await api.get("/v1.0/me")).body
    for record, name in (
        (lead, "LeadResponse"),
        (lead["tags"][0], "UserLeadTagVo"),
        (lead["leadInquiry"], "LeadInquiry"),
        (lead["leadInquiry"]["locations"][0], "Location"),
        (lead["leadPropertyList"][0], "LeadProperty"),
        (lead["leadFamilyMemberList"][0], "LeadFamilyMember"),
        (lead["customAttributes"][0], "CustomAttribute"),
        (lead["customRoleList"][0], "CustomRole"),
        (me, "UserResponse"),
        (me["agentInfo"], "AgentInfo"),
        (me["group"], "OfficeBo"),
    ):
        assert record.keys() == api.description.schema(name).keys(), name


async def test_a_lead_shows_what_is_known_of_it(api: "Api") -> None:
    added = api.sandbox.state.add_lead(**WANTED)
    (lead,) = (await api.get("/v1.0/leads", email=added.email)).body["leads"]
    assert [tag["tagName"] for tag in lead["tags"]] == ["one", "two, too"]
    assert (lead["segments"], lead["groups"], lead["language"]) == (["North", "South"], ["North", "South"], "is")
    assert (lead["ownershipScope"], lead["ownershipId"], lead["lenderUserId"]) == ("OFFICE", 3102, 8)
    assert (lead["lastTouch"], lead["lastVisit"]) == ("2026-05-01T00:00:00+00:00", "2026-05-01T00:00:00Z")
    assert [(role["role"], role["assigneeId"]) for role in lead["customRoleList"]] == [("Coordinator", 9)]


async def test_leads_change_between_pages(api: "Api") -> None:
    first, second = api.sandbox.state.leads.ids()[:2]
    api.sandbox.state.remove_lead(first)
    added = api.sandbox.state.add_lead()
    page = (await api.get("/v1.0/leads", limit=100)).body
    assert (ids(page)[0], ids(page)[-1], page["_metadata"]["total"]) == (second, added.id, 25)
    assert (await api.get("/v2.0/tasks", leadId=added.id)).body == {"tasks": []}
    gone = await api.get("/v2.0/tasks", leadId=first)
    assert (gone.status, gone.body["code"]) == (404, 20006)


async def test_awkward_leads(api: "Api") -> None:
    leads = (await api.get("/v1.0/leads", limit=100)).body["leads"]
    assert any(lead["leadUserId"] > 2**53 for lead in leads)
    assert any(lead["phones"] is None for lead in leads)
    assert any("tags" not in lead for lead in leads)
    assert not leads[0]["lastUpdateTime"].endswith("Z")


async def test_the_callers_own_id_joins_with_no_record(api: "Api") -> None:
    me = (await api.get("/v1.0/me")).body
    assert len(str(me["id"])) < 15
    assert (await api.get("/v2.0/tasks/my-tasks", userId=me["id"])).body == {"tasks": []}
