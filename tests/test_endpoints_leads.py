"""`lofty.leads`: pages by offset or scroll id, and filters."""

from contextlib import suppress
from typing import Any

import pytest

from lofty_async import InvalidRequestError, Lead, LoftyClient
from lofty_async.sandbox import Sandbox


async def test_all_leads_each_once(lofty: LoftyClient, sandbox: Sandbox) -> None:
    leads = await lofty.leads.list().collect()
    assert [lead.id for lead in leads] == sandbox.state.leads.ids()
    assert all(isinstance(lead, Lead) for lead in leads)
    assert dict(sandbox.requests[0].query) == {"limit": "100", "offset": "0"}


@pytest.mark.parametrize("scroll", [False, True])
@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("count", [0, 4, 10, 23])
async def test_page_by_page(count: int, scroll: bool, repeats: bool) -> None:
    async with (
        Sandbox(count, repeat_last_page=repeats) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
    ):
        leads = await lofty.leads.list(page_size=5, scroll=scroll).collect()
        assert [lead.id for lead in leads] == sandbox.state.leads.ids()
        places = ["scrollId" if "scrollId" in request.query else "offset" for request in sandbox.requests]
        assert set(places[1:]) <= ({"scrollId"} if scroll else {"offset"})
        assert len(places) <= count // 5 + 2


FILTERS: dict[str, tuple[Any, str, str]] = {
    "stage": ("New Leads", "stage", "New Leads"),
    "source": ("Website", "source", "Website"),
    "phone": ("+1 415", "phone", "+1 415"),
    "email": ("a+b@example.com", "email", "a+b@example.com"),
    "assigned_user_id": (2**62, "assignedUserId", "4611686018427387904"),
    "contacted": (True, "contacted", "true"),
    "groups": ("A & B", "groups", "A & B"),
    "segments": ("s", "segments", "s"),
    "all_tags": ("a,b", "allTags", "a,b"),
    "any_tags": ("a,b", "anyTags", "a,b"),
    "group_ids": (5, "groupIds", "5"),
    "query_sub_group": (False, "querySubGroup", "false"),
    "sort": ("createTime", "sort", "createTime"),
    "desc": (True, "desc", "true"),
    "languages": ("en", "languages", "en"),
    "precise_search_flag": (True, "preciseSearchFlag", "true"),
    "role_assignee_filters": ("x", "roleAssigneeFilters", "x"),
    "key": ("Anna", "key", "Anna"),
    "other_filters": ("{}", "otherFilters", "{}"),
    "return_fields": ("id", "returnFields", "id"),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_filters_go_out_under_the_vendors_names(sandbox: Sandbox, lofty: LoftyClient, name: str) -> None:
    value, wire_name, wire_value = FILTERS[name]
    filters: Any = {name: value}
    with suppress(InvalidRequestError):  # the sandbox refuses what the vendor does not document
        await lofty.leads.list(**filters).collect()
    assert sandbox.requests[0].query[wire_name] == wire_value


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"colour": "blue"}, "colour"),
        ({"stage": 5}, "stage"),
        ({"stage": ""}, "stage"),
        ({"stage": "half a \ud83c character"}, "stage"),
        ({"contacted": "yes"}, "contacted"),
        ({"assigned_user_id": 0}, "assigned_user_id"),
        ({"assigned_user_id": "5"}, "assigned_user_id"),
        ({"group_ids": True}, "group_ids"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 101}, "page_size"),
        ({"prefetch": -1}, "prefetch"),
    ],
)
def test_what_is_wrong_is_refused_at_once(lofty: LoftyClient, options: Any, argument: str) -> None:
    with pytest.raises(InvalidRequestError, match=argument) as caught:
        lofty.leads.list(**options)
    assert caught.value.argument == argument
