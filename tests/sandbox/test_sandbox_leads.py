from typing import TYPE_CHECKING, Any

import pytest

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


async def test_filters_and_order(api: "Api") -> None:
    wanted = api.sandbox.state.add_lead(email="only@example.com", phone="+14155550123", stage="Rare")
    for query in (
        {"email": "only@example.com"},
        {"phone": "4155550123"},
        {"stage": "Rare", "source": "Website"},
    ):
        assert ids((await api.get("/v1.0/leads", **query)).body) == [wanted.id]
    assert ids((await api.get("/v1.0/leads", desc="true", limit=1)).body) == [wanted.id]


async def test_leads_come_and_go_while_somebody_pages(api: "Api") -> None:
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
